"""Reads zip archives of weights without trusting what they say of themselves.

In: a file. Out: the bytes of its entries, and NumPy's arrays in them. What an entry claims to
unpack to is held against a bound before anything is unpacked; nothing of it is run.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt
from midas_depth_ros.depth.weights import opened

MOST_DIRECTORY_BYTES = 1 << 20  # some 10,000 entries; the networks have 500
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others allocate what a file tells them
NUMBERS = 'fiub'  # kinds of NumPy's types that are numbers
REASON_LENGTH = 200

# What the libraries raise on files that are cut, altered or something else altogether.
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
    RuntimeError,  # encrypted, nested too deeply, a compression that is not known
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)


def reason(error: BaseException) -> str:
    """The first line of a library's text, cut where it is long, or the error's kind."""
    line = next(iter(str(error).splitlines()), '') or type(error).__name__
    return line if len(line) <= REASON_LENGTH else f'{line[:REASON_LENGTH]}...'


class Archive:
    """Entries of a zip file by name, which may unpack to `most_bytes` in all."""

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self._archive, self._left = archive, most_bytes
        self.names = archive.namelist()

    def read(self, name: str) -> bytes:
        """The entry's bytes; raises BadZipFile, and what else is in READ_FAILURES."""
        entry = self._archive.getinfo(name)
        if entry.compress_type not in COMPRESSIONS:
            raise zipfile.BadZipFile(f'{name} is compressed in a way that no weights are')
        self._left -= entry.file_size
        if self._left < 0:
            raise zipfile.BadZipFile('it unpacks to more than any network of ours has')
        return self._archive.read(entry)


class _CarefulFile(io.BufferedReader):
    """A file that reads no more at once than it was told."""

    most_at_once = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most_at_once:
            raise zipfile.BadZipFile('its list of entries is longer than that of any weights')
        return super().read(size)


@contextlib.contextmanager
def opened_archive(path: Path, most_file_bytes: int, most_bytes: int) -> Iterator[Archive]:
    """A zip file, to read from.

    Raises WeightsCorrupt where it is no regular file, WeightsMismatch where it has more than
    `most_file_bytes`, and what is in READ_FAILURES where it is no such archive.
    """
    with opened(path, most_file_bytes) as file:
        careful = _careful(file)
        with zipfile.ZipFile(careful) as archive:
            careful.most_at_once = most_bytes
            yield Archive(archive, most_bytes)


def _careful(file: BinaryIO) -> _CarefulFile:
    return _CarefulFile(io.FileIO(file.fileno(), closefd=False))


def array_of(data: bytes) -> NDArray[np.generic]:
    """The array in the bytes of an .npy file, without a copy.

    Raises ValueError where it is no array of numbers, or does not fill the bytes; and what is in
    READ_FAILURES.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f'version {version} of the format is not known')
    if dtype.hasobject:
        raise ValueError('it holds pickled objects, which are not opened: allow_pickle is off')
    if dtype.kind not in NUMBERS:
        raise ValueError(f'it holds {str(dtype)[:40]}, not numbers')
    rest = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f'an array {str(shape)[:80]} of {dtype} in {rest} bytes')
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order='F' if by_columns else 'C')


def read_npz(path: Path, most_bytes: int) -> dict[str, NDArray[np.float32]]:
    """The arrays of a NumPy archive by name, as float32; runs no code of the file.

    Raises WeightsCorrupt where the file is no such archive, or
    unpacks to more than `most_bytes`; WeightsMismatch where the file itself is larger.
    """
    arrays = {}
    try:
        with opened_archive(path, most_bytes, most_bytes) as archive:
            for name in archive.names:
                with np.errstate(over='ignore'):  # what does not fit is infinite, and refused
                    array = np.asarray(array_of(archive.read(name)), np.float32)
                arrays[name.removesuffix('.npy')] = array
    except READ_FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a NumPy archive of weights ({reason(error)}): copy the file '
            'again'
        ) from error
    return arrays
