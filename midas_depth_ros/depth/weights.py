"""Weights files: what is promised of them, whether a file is that one, and where they lie.

`downloads` finds or fetches them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch, WeightsNotFound

# --- A weights file as its publisher promises it, and whether a file on disk is that one.
#
# In goes a path and a `WeightsFile` (name, address, size, SHA-256), out comes a `FileCheck`. A file
# counts as good only when its size and its SHA-256 are both right.

HASHED_AT_ONCE = 1 << 20  # bytes
MB = 1_000_000
MOST_WEIGHTS_BYTES = 1 << 28  # of any weights file: three times the official one


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What the publisher promises: `size` in bytes, `sha256` in lower-case hexadecimal digits.

    `name` is the name under which we keep the file, `aliases` are others under which the very
    same bytes are known to lie about. `licence` by its SPDX name, `restriction` what it forbids.
    """

    name: str
    url: str
    size: int
    sha256: str
    aliases: tuple[str, ...] = ()
    licence: str = ''
    restriction: str = ''

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


def why_no_file(path: Path) -> str:
    """Why there is no file to be read at a path, in words; '' where there is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return str(getattr(error, 'strerror', None) or error)
    if stat.S_ISDIR(mode):
        return 'it is a folder'
    return '' if stat.S_ISREG(mode) else 'it is a pipe, a device or a socket'


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
                f'are at most {most_bytes / MB:.0f} MB: choose a model by its name, or '
                'what `midas_depth export` made of one'
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


def examine(path: Path, spec: WeightsFile) -> FileCheck:
    """Look at a path and tell whether the promised file is there; raises nothing.

    The whole file is hashed each time, and no note of earlier results is kept beside it: the
    85 MB took 0.05 to 0.1 s with the CPU's SHA instructions and 0.4 s without, little beside
    loading a network, and the bytes have to be read for that in any case. A note of size and
    time stamp would not notice a block gone bad on an SD card.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return FileCheck(path, FileState.MISSING, None, 'is not there')
    except OSError as error:
        return FileCheck(path, FileState.CORRUPT, None, f'cannot be read: {error.strerror}')
    try:
        fault = _fault_of(path, status, spec)
    except OSError as error:
        fault = f'cannot be read: {error.strerror}'
    return FileCheck(path, FileState.CORRUPT if fault else FileState.GOOD, status.st_size, fault)


def _fault_of(path: Path, status: os.stat_result, spec: WeightsFile) -> str:
    if not stat.S_ISREG(status.st_mode):
        return 'is not a regular file'  # opening a pipe would wait for ever
    if status.st_size != spec.size:
        return f'has {status.st_size} bytes instead of {spec.size}'
    found = sha256_of(path)
    return '' if found == spec.sha256 else f'has SHA-256 {found} instead of {spec.sha256}'


def verify(path: Path | str, spec: WeightsFile) -> None:
    """Return if `path` is the promised file, by size and SHA-256.

    Raises WeightsNotFound if nothing is there, WeightsCorrupt if it is another file or cannot be
    read. The file is never touched.
    """
    check = examine(Path(path), spec)
    if check.state is FileState.MISSING:
        raise WeightsNotFound(f'{path} is not there: give the path of {spec.name}')
    if check.state is FileState.CORRUPT:
        raise WeightsCorrupt(
            f'{path} {check.fault}: it is not {spec.name} as published; '
            f'replace it by a fresh copy of {spec.url}'
        )


# --- The folders in which weights may lie, on this machine and for this user.
#
# In go environment variables and the home folder, out come folders and what is in them. torch is
# not imported: the folder of torch.hub is worked out from the variables that torch reads.

DIR_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_DIR'
CACHE_NAME = 'midas_depth_ros'


@dataclasses.dataclass(frozen=True)
class WeightsFolder:
    """A folder to look into; `ours` tells whether we may write there."""

    label: str
    folder: Path
    ours: bool


def places() -> list[WeightsFolder]:
    """The folders looked at, in order. Those that no variable and no home leads to are left out."""
    found = []
    if named := os.environ.get(DIR_VARIABLE):
        found.append(WeightsFolder(DIR_VARIABLE, absolute(named), ours=True))
    if cache := user_cache():
        found.append(WeightsFolder("user's cache", cache, ours=True))
    if hub := _torch_hub_cache():
        found.append(WeightsFolder('torch hub', hub, ours=False))
    return found


def absolute(path: Path | str) -> Path:
    """The path without `~` and from the root on."""
    # Not Path.expanduser, which raises where there is no home.
    return Path(os.path.abspath(os.path.expanduser(path)))


def _home() -> Path | None:
    """The home folder; HOME may be unset or empty in a container or a system service."""
    if home := os.environ.get('HOME'):
        return absolute(home)
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return absolute(home) if home else None


def user_cache() -> Path | None:
    """The folder of this package in the user's cache; None where there is no home."""
    if os.environ.get('HOME') or os.environ.get('XDG_CACHE_HOME'):
        return absolute(platformdirs.user_cache_dir(CACHE_NAME, appauthor=False))
    home = _home()  # platformdirs would take an empty HOME for the root folder
    return home / '.cache' / CACHE_NAME if home else None


def _torch_hub_cache() -> Path | None:
    if torch_home := os.environ.get('TORCH_HOME'):
        return absolute(torch_home) / 'hub' / 'checkpoints'
    if cache := os.environ.get('XDG_CACHE_HOME'):
        return absolute(cache) / 'torch' / 'hub' / 'checkpoints'
    home = _home()
    return home / '.cache' / 'torch' / 'hub' / 'checkpoints' if home else None


def survey(spec: WeightsFile) -> list[tuple[WeightsFolder, FileCheck]]:
    """What is at every path looked at, in order, the missing ones included."""
    seen: dict[Path, tuple[WeightsFolder, FileCheck]] = {}
    for place in places():
        for path in (place.folder / name for name in spec.names):
            if path not in seen:
                seen[path] = (place, examine(path, spec))
    return list(seen.values())


def candidate_paths(spec: WeightsFile) -> list[Path]:
    """Every path at which the weights are looked for, in order."""
    paths = (place.folder / name for place in places() for name in spec.names)
    return list(dict.fromkeys(paths))


def download_folder() -> Path | None:
    """Where downloads go: MIDAS_DEPTH_WEIGHTS_DIR if set, else the user's cache, else None."""
    return next((place.folder for place in places() if place.ours), None)
