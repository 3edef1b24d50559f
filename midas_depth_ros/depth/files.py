"""Reads weights files without trusting what they say of themselves.

Regular files, zip archives and NumPy archives; `torch_files` and `safetensors_files` read the other
formats. In: a path. Out: bytes, or NumPy arrays by name. What a file claims to hold is compared
with a limit before anything is allocated, and no code of it is run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import lzma
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch

MB = 1_000_000
MOST_WEIGHTS_BYTES = 1_500_000_000  # of any weights file: DPT-Large has 1,376 MB
HASHED_AT_ONCE = 1 << 20  # bytes
MOST_AXES = 8
NAMED_KEYS = 3  # in an error text
# What wrappers of a module put before the names of its weights.
PREFIXES = ('module.', '_orig_mod.', 'model.')

Entry = TypeVar('Entry')


@dataclass(frozen=True)
class Header:
    """What a weights file says that it holds: shapes by name, and plain values beside them."""

    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[Any, Any]


@dataclass(frozen=True)
class Table:
    """What a weights file holds by name: arrays, and plain values beside them."""

    arrays: Mapping[str, NDArray[Any]]
    values: Mapping[Any, Any]


def without_prefixes(table: Mapping[str, Entry]) -> dict[str, Entry]:
    """The same entries; a prefix that all names have, and that is not part of them, is removed."""
    entries = dict(table)
    while entries:
        shared = [each for each in PREFIXES if all(name.startswith(each) for name in entries)]
        if not shared:
            break
        entries = {name.removeprefix(shared[0]): entry for name, entry in entries.items()}
    return entries


def why_no_file(path: Path) -> str:
    """Why there is no readable file at a path, in words; '' where there is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return str(getattr(error, 'strerror', None) or error)
    if stat.S_ISDIR(mode):
        return 'it is a folder'
    return '' if stat.S_ISREG(mode) else 'it is a pipe, a device or a socket'


@contextlib.contextmanager
def open_file(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `most_bytes` for reading.

    Raises WeightsCorrupt where it cannot be opened or is not a regular file, WeightsMismatch where
    it is larger.
    """
    try:
        # Without O_NONBLOCK a pipe would block for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise WeightsCorrupt(
            f'{path} cannot be read as a model ({reason}): check the path and its permissions'
        ) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise WeightsCorrupt(f'{path} is not a regular file: give the path of a model')
    with os.fdopen(handle, 'rb') as file:
        if status.st_size > most_bytes:
            raise WeightsMismatch(
                f'{path} is not a supported model: it has {status.st_size / MB:.0f} MB, the limit '
                f'is {most_bytes / MB:.0f} MB: choose a model by its name, or a file written by '
                '`midas_depth export`'
            )
        yield file


def read_file(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; raises as `open_file` does."""
    with open_file(path, most_bytes) as file:
        try:
            # Not the limit: Python would allocate it.
            return file.read(min(most_bytes, os.fstat(file.fileno()).st_size))
        except OSError as error:
            raise WeightsCorrupt(f'{path} cannot be read: {error.strerror or error}') from error


def digest_of(weights: Path) -> str:
    """SHA-256 of a weights file; raises as `open_file` does."""
    with open_file(weights, MOST_WEIGHTS_BYTES):
        try:
            return sha256_of(weights)
        except OSError as error:
            raise WeightsCorrupt(f'{weights} cannot be read: {error.strerror or error}') from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in lower-case hexadecimal digits; OSError if unreadable."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Write a file or folder to the disk: a power cut must not leave an empty one. OSError.

    A disk may notice only now that it is full.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise  # those: a file system that cannot sync, such as some a folder
    finally:
        os.close(handle)


# --- Zip archives, and the NumPy arrays in them.

MOST_DIRECTORY_BYTES = 1 << 20  # some 10,000 entries; the networks have 500
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others allocate what a file claims
NUMBERS = 'fiub'  # kinds of NumPy's types that are numbers
REASON_LENGTH = 200

# Raised by the libraries on files that are cut, altered or of another kind.
READ_FAILURES = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,  # encrypted, nested too deeply, unknown compression
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)


def reason(error: BaseException) -> str:
    """The first line of a library's error text, cut where it is long, or the error's type."""
    line = next(iter(str(error).splitlines()), '') or type(error).__name__
    return line if len(line) <= REASON_LENGTH else f'{line[:REASON_LENGTH]}...'


class Archive:
    """Entries of a zip file by name, which may unpack to `most_bytes` in all."""

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self._archive, self._left = archive, most_bytes
        self.names = archive.namelist()

    def size_of(self, name: str) -> int:
        """Bytes of an entry, as the file says; KeyError where there is none."""
        return self._archive.getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """The entry's bytes; raises BadZipFile, and what else is in READ_FAILURES."""
        entry = self._archive.getinfo(name)
        if entry.compress_type not in COMPRESSIONS:
            raise zipfile.BadZipFile(f'{name} has a compression that weights never have')
        self._left -= entry.file_size
        if self._left < 0:
            raise zipfile.BadZipFile('it unpacks to more than any supported network has')
        return self._archive.read(entry)


class _LimitedFile(io.BufferedReader):
    """A file that limits how much is read at once."""

    most_at_once = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most_at_once:
            raise zipfile.BadZipFile('its list of entries is longer than that of any weights')
        return super().read(size)


@contextlib.contextmanager
def opened_archive(path: Path, most_file_bytes: int, most_bytes: int) -> Iterator[Archive]:
    """Open a zip file for reading.

    Raises WeightsCorrupt where it is not a regular file, WeightsMismatch where it has more than
    `most_file_bytes`, and what is in READ_FAILURES where it is not a zip file.
    """
    with open_file(path, most_file_bytes) as file:
        limited = _LimitedFile(io.FileIO(file.fileno(), closefd=False))
        with zipfile.ZipFile(limited) as archive:
            limited.most_at_once = most_bytes
            yield Archive(archive, most_bytes)


def array_of(data: bytes) -> NDArray[np.generic]:
    """The array in the bytes of an .npy file, without a copy.

    Raises ValueError where it is not an array of numbers or does not fill the bytes, and what is in
    READ_FAILURES.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f'version {version} of the format is unknown')
    if dtype.hasobject:
        raise ValueError('it holds pickled objects, which are refused: allow_pickle is off')
    if dtype.kind not in NUMBERS:
        raise ValueError(f'it holds {str(dtype)[:40]}, not numbers')
    rest = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f'an array {str(shape)[:80]} of {dtype} in {rest} bytes')
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order='F' if by_columns else 'C')


def read_npz(path: Path, most_bytes: int) -> dict[str, NDArray[np.float32]]:
    """The arrays of a NumPy archive by name, as float32; runs no code of the file.

    Raises WeightsCorrupt where the file is not such an archive or unpacks to more than
    `most_bytes`, WeightsMismatch where the file itself is larger.
    """
    arrays = {}
    try:
        with opened_archive(path, most_bytes, most_bytes) as archive:
            for name in archive.names:
                with np.errstate(over='ignore'):  # too large for float32: infinite, and refused
                    array = np.asarray(array_of(archive.read(name)), np.float32)
                arrays[name.removesuffix('.npy')] = array
    except READ_FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a NumPy archive of weights ({reason(error)}): copy the file '
            'again'
        ) from error
    return arrays


def check_shapes(
    found: Mapping[Any, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    path: Path,
    kind: str,
    use: str,
) -> None:
    """Check the keys and shapes of a state dict; raises WeightsMismatch, which names the faults.

    `kind`: the expected model. `use`: the file to use instead.
    """
    faults = [
        _listed('missing', sorted(wanted.keys() - found.keys())),
        _listed('unexpected', sorted(found.keys() - wanted.keys(), key=str)),
        _listed(
            'of another shape',
            [
                f'{key} {found[key]} instead of {tuple(shape)}'
                for key, shape in wanted.items()
                if key in found and found[key] != tuple(shape)
            ],
        ),
    ]
    if any(faults):
        raise WeightsMismatch(
            f'{path} is not a state dict of {kind}: {"; ".join(filter(None, faults))}. Use '
            f'{use} or weights trained from it'
        )


def _listed(fault: str, keys: list[Any]) -> str:
    if not keys:
        return ''
    more = ', ...' if len(keys) > NAMED_KEYS else ''
    named = ', '.join(str(key)[:80] for key in keys[:NAMED_KEYS])
    return f'{len(keys)} {fault} ({named}{more})'
