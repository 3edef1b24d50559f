"""A weights file as its publisher promises it, and whether a file on disk is that one.

In goes a path and a `WeightsFile` (name, address, size, SHA-256), out comes a `Finding`. A file
counts as good only when its size and its SHA-256 are both right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch, WeightsNotFound

HASHED_AT_ONCE = 1 << 20  # bytes
MB = 1_000_000
MOST_WEIGHTS_BYTES = 1 << 28  # of any weights file: three times the official one


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What the publisher promises: `size` in bytes, `sha256` in lower-case hexadecimal digits.

    `name` is the name under which we keep the file, `aliases` are others under which the very
    same bytes are known to lie about.
    """

    name: str
    url: str
    size: int
    sha256: str
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name to look for, ours first."""
        return (self.name, *self.aliases)


# The v2_1 release of isl-org/MiDaS.
MIDAS_SMALL = WeightsFile(
    name='midas_v21_small_256.pt',
    url='https://github.com/isl-org/MiDaS/releases/download/v2_1/midas_v21_small_256.pt',
    size=85_761_505,
    sha256='70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca',
    aliases=('midas_v21_small-70d6b9c8.pt',),
)


class FileState(enum.Enum):
    """What is at a path."""

    MISSING = 'missing'
    GOOD = 'good'
    CORRUPT = 'corrupt'


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found at `path`: `size` in bytes (None without a file), `fault` '' when good."""

    path: Path
    state: FileState
    size: int | None
    fault: str


@contextlib.contextmanager
def opened(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """A regular file of at most `most_bytes`, open for reading.

    Raises WeightsCorrupt where it is none or cannot be opened, WeightsMismatch where it is larger.
    """
    try:
        # A pipe would be waited for, for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise WeightsCorrupt(
            f'{path} cannot be read as a model ({reason}): check the path and its rights'
        ) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise WeightsCorrupt(f'{path} is not a regular file: give the path of a model')
    with os.fdopen(handle, 'rb') as file:
        if status.st_size > most_bytes:
            raise WeightsMismatch(
                f'{path} is no depth network of ours: it has {status.st_size / MB:.0f} MB, wanted '
                f'are at most {most_bytes / MB:.0f} MB: use midas_small or embedded, or what '
                '`midas_depth export` made of them'
            )
        yield file


def read_file(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; raises as `opened` does."""
    with opened(path, most_bytes) as file:
        try:
            return file.read(most_bytes)
        except OSError as error:
            raise WeightsCorrupt(f'{path} cannot be read: {error.strerror or error}') from error


def digest_of(weights: Path) -> str:
    """SHA-256 of a weights file; raises as `opened` does."""
    with opened(weights, MOST_WEIGHTS_BYTES):
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


def examine(path: Path, spec: WeightsFile) -> Finding:
    """Look at a path and tell whether the promised file is there; raises nothing.

    The whole file is hashed each time, and no note of earlier results is kept beside it: the
    85 MB took 0.05 to 0.1 s with the CPU's SHA instructions and 0.4 s without, little beside
    loading a network, and the bytes have to be read for that in any case. A note of size and
    time stamp would not notice a block gone bad on an SD card.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Finding(path, FileState.MISSING, None, 'is not there')
    except OSError as error:
        return Finding(path, FileState.CORRUPT, None, f'cannot be read: {error.strerror}')
    try:
        fault = _fault_of(path, status, spec)
    except OSError as error:
        fault = f'cannot be read: {error.strerror}'
    return Finding(path, FileState.CORRUPT if fault else FileState.GOOD, status.st_size, fault)


def _fault_of(path: Path, status: os.stat_result, spec: WeightsFile) -> str:
    if not stat.S_ISREG(status.st_mode):
        return 'is not a regular file'  # opening a pipe would wait for ever
    if status.st_size != spec.size:
        return f'has {status.st_size} bytes instead of {spec.size}'
    found = sha256_of(path)
    return '' if found == spec.sha256 else f'has SHA-256 {found} instead of {spec.sha256}'


def verify(path: Path | str, spec: WeightsFile = MIDAS_SMALL) -> None:
    """Return if `path` is the promised file, by size and SHA-256.

    Raises WeightsNotFound if nothing is there, WeightsCorrupt if it is another file or cannot be
    read. The file is never touched.
    """
    finding = examine(Path(path), spec)
    if finding.state is FileState.MISSING:
        raise WeightsNotFound(f'{path} is not there: give the path of {spec.name}')
    if finding.state is FileState.CORRUPT:
        raise WeightsCorrupt(
            f'{path} {finding.fault}: it is not {spec.name} as published; '
            f'replace it by a fresh copy of {spec.url}'
        )
