"""A weights file as its publisher promises it, and whether a file on disk is that one.

In goes a `WeightsFile` (name, address, size, SHA-256) and a path, out comes what lies there: the
promised file, another one, or nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import stat
from pathlib import Path

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.files import sha256_of


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What the publisher promises: `size` in bytes, `sha256` in lower-case hexadecimal digits.

    `size` is 0 where it is not published: then SHA-256 alone is checked. `sha256` is empty where
    that is not published: such a file is never fetched, nor found by its name; the user gives its
    path; `by_hand` says how to get it. `name` is the name under which we keep the file, `aliases`
    are other names of the very same bytes. `twins` are other files of the same weights, which are
    used where Hugging Face's hub has left them. `licence` is its SPDX name, `restriction` what it
    forbids, and `must_be_accepted` says whether the user has to accept it first.
    """

    name: str
    url: str
    size: int = 0
    sha256: str = ''
    aliases: tuple[str, ...] = ()
    licence: str = ''
    restriction: str = ''
    must_be_accepted: bool = False
    twins: tuple[WeightsFile, ...] = ()
    by_hand: str = ''

    @property
    def promise(self) -> str:
        """Size and SHA-256 in words, as far as they are published."""
        size = f'{self.size} bytes, ' if self.size else ''
        return f'{size}SHA-256 {self.sha256}' if self.sha256 else f'{size}SHA-256 not published'

    @property
    def licence_text(self) -> str:
        """The licence, and what it forbids."""
        return f'{self.licence}: {self.restriction}' if self.restriction else self.licence

    @property
    def suffix(self) -> str:
        """Of its name, such as .pt."""
        return Path(self.name).suffix

    @property
    def names(self) -> tuple[str, ...]:
        """Every name to look for, ours first."""
        return (self.name, *self.aliases)


class FileState(enum.Enum):
    """What is at a path."""

    MISSING = 'missing'
    GOOD = 'good'
    CORRUPT = 'corrupt'


@dataclasses.dataclass(frozen=True)
class FileCheck:
    """What was found at `path`: `size` in bytes (None without a file), `fault` '' when good."""

    path: Path
    state: FileState
    size: int | None
    fault: str


def examine(path: Path, spec: WeightsFile) -> FileCheck:
    """Check whether the promised file is at a path; raises nothing.

    The whole file is hashed each time: the 85 MB took 0.05 to 0.1 s with the CPU's SHA instructions
    and 0.4 s without, little beside loading a network, which has to read them in any case. A record
    of size and time stamp would not notice a block gone bad on an SD card.
    """
    size = None
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            fault = 'is not a regular file'  # opening a pipe would block for ever
        elif not spec.sha256:
            fault = 'cannot be checked: its SHA-256 is not published'
        elif spec.size and size != spec.size:
            fault = f'has {size} bytes instead of {spec.size}'
        else:
            found = sha256_of(path)
            good = found == spec.sha256
            fault = '' if good else f'has SHA-256 {found} instead of {spec.sha256}'
    except (FileNotFoundError, NotADirectoryError):
        return FileCheck(path, FileState.MISSING, None, 'is not there')
    except OSError as error:
        fault = f'cannot be read: {error.strerror}'
    return FileCheck(path, FileState.CORRUPT if fault else FileState.GOOD, size, fault)


def verify(path: Path | str, spec: WeightsFile) -> None:
    """Return if `path` is the promised file, by size and SHA-256. The file is never changed.

    Raises WeightsNotFound if nothing is there, WeightsCorrupt if it is another file or cannot be
    read.
    """
    check = examine(Path(path), spec)
    if check.state is FileState.MISSING:
        raise WeightsNotFound(f'{path} is not there: give the path of {spec.name}')
    if check.state is FileState.CORRUPT:
        raise WeightsCorrupt(
            f'{path} {check.fault}: it is not {spec.name} as published; '
            f'replace it by a fresh copy of {spec.url}'
        )
