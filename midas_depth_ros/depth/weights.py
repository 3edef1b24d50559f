"""Weights files: what is promised of them, where they lie, how they are found or fetched, and how
long that may take.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import hashlib
import logging
import os
import pwd
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import filelock
import platformdirs

from midas_depth_ros.depth.errors import (
    DownloadFailed,
    WeightsCorrupt,
    WeightsMismatch,
    WeightsNotFound,
    printable,
)

if TYPE_CHECKING:
    from midas_depth_ros.depth.downloads import DownloadOptions

# --- A weights file as its publisher promises it, and whether a file on disk is that one.
#
# In goes a path and a `WeightsFile` (name, address, size, SHA-256), out comes a `Finding`. A file
# counts as good only when its size and its SHA-256 are both right.

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


# --- The folders in which weights may lie, on this machine and for this user.
#
# In go environment variables and the home folder, out come folders and what is in them. torch is
# not imported: the folder of torch.hub is worked out from the variables that torch reads.

DIR_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_DIR'
CACHE_NAME = 'midas_depth_ros'


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder to look into; `ours` tells whether we may write there."""

    label: str
    folder: Path
    ours: bool


def places() -> list[Place]:
    """The folders looked at, in order. Those that no variable and no home leads to are left out."""
    found = []
    if named := os.environ.get(DIR_VARIABLE):
        found.append(Place(DIR_VARIABLE, absolute(named), ours=True))
    if cache := user_cache():
        found.append(Place("user's cache", cache, ours=True))
    if hub := _torch_hub_cache():
        found.append(Place('torch hub', hub, ours=False))
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


def survey(spec: WeightsFile = MIDAS_SMALL) -> list[tuple[Place, Finding]]:
    """What is at every path looked at, in order, the missing ones included."""
    seen: dict[Path, tuple[Place, Finding]] = {}
    for place in places():
        for path in (place.folder / name for name in spec.names):
            if path not in seen:
                seen[path] = (place, examine(path, spec))
    return list(seen.values())


def candidate_paths(spec: WeightsFile = MIDAS_SMALL) -> list[Path]:
    """Every path at which the weights are looked for, in order."""
    paths = (place.folder / name for place in places() for name in spec.names)
    return list(dict.fromkeys(paths))


def download_folder() -> Path | None:
    """Where downloads go: MIDAS_DEPTH_WEIGHTS_DIR if set, else the user's cache, else None."""
    return next((place.folder for place in places() if place.ours), None)


# --- How long a download may take, and when it is given up because it would take longer.
#
# In: a `Patience`, and from time to time how many bytes are there. Out: '' or the reason to give
# up. A robot that starts does not wait for a day: 'auto' has a model that ships instead.

KB = 1000


@dataclasses.dataclass(frozen=True)
class Patience:
    """`budget_s` is for everything: waiting for another process, looking up names, the transfer.

    From `grace_s` on, the rate of the last `grace_s` says how long the rest takes; where that is
    more than the budget has left, it is given up at once. What has arrived stays, and the next
    start goes on from there.
    """

    budget_s: float
    grace_s: float
    remedy: str = ''


HOUR_S = 3600.0
AUTO_PATIENCE = Patience(
    300.0, 20.0, '`midas_depth weights fetch` waits longer, and the next start goes on from here'
)
NAMED_PATIENCE = Patience(HOUR_S, 60.0, '`midas_depth weights fetch` waits longer')
FETCH_PATIENCE = Patience(24 * HOUR_S, 60.0)


class Judge:
    """Watches one download; `total` is its size in bytes. `clock` gives seconds."""

    def __init__(
        self, patience: Patience, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience, self._total, self._clock = patience, total, clock
        self._start_s = clock()
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def reason_to_stop(self, done: int) -> str:
        """Why not to wait any longer, with `done` bytes there; '' to go on."""
        now, patience = self._clock(), self._patience
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it began anew
        self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[1][0] >= patience.grace_s:
            self._seen.popleft()
        waited = now - self._start_s
        if waited >= patience.budget_s:
            return self._text(done, f'it took more than {duration(patience.budget_s)}')
        then, before = self._seen[0]
        span = now - then
        if span < patience.grace_s:
            return ''
        rate = (done - before) / span
        if rate * (patience.budget_s - waited) >= self._total - done:
            return ''
        if rate == 0:
            return self._text(done, f'nothing came for {duration(span)}')
        left = (self._total - done) / rate
        return self._text(done, f'at {rate / KB:.1f} kB/s the rest would take {duration(left)}')

    def _text(self, done: int, what: str) -> str:
        bound = f'at most {duration(self._patience.budget_s)} are waited for it'
        remedy = f': {self._patience.remedy}' if self._patience.remedy else ''
        return f'{done} of {self._total} bytes are here, and {what}; {bound}{remedy}'


def duration(seconds: float) -> str:
    """For people: '40 s', '5 min', '23.8 h'."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 2 * HOUR_S:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / HOUR_S:.1f} h' if seconds < 48 * HOUR_S else f'{seconds / 86400:.0f} days'


# --- Finds the official weights on disk, or fetches them.
#
# In goes a `WeightsFile`, out comes the path of a file whose size and SHA-256 were checked just
# now. Places looked at, in this order: an explicit path (then nothing else), the folder named by
# MIDAS_DEPTH_WEIGHTS_DIR, the user's cache, and the cache of torch.hub (torch is not imported).

__all__ = [
    'DIR_VARIABLE',
    'MIDAS_SMALL',
    'URL_VARIABLE',
    'FileState',
    'Finding',
    'WeightsFile',
    'candidate_paths',
    'download_address',
    'download_folder',
    'ensure_weights',
    'fetch_weights',
    'find_weights',
    'survey',
    'verify',
]

URL_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_URL'
LOCK_POLL_S = 0.1

logger = logging.getLogger(__name__)


def find_weights(
    spec: WeightsFile = MIDAS_SMALL, explicit: Path | str | None = None
) -> Path | None:
    """The first good weights file on disk, or None.

    With `explicit`, only that path counts: None if nothing is there, WeightsCorrupt if it is not
    the promised file. Elsewhere a corrupt file is named in the log and passed over.
    """
    if explicit is not None:
        try:
            verify(absolute(explicit), spec)
        except WeightsNotFound:
            return None
        return absolute(explicit)
    for path in candidate_paths(spec):
        finding = examine(path, spec)
        if finding.state is FileState.GOOD:
            return path
        if finding.state is FileState.CORRUPT:
            logger.warning('%s %s: not used', printable(path), finding.fault)
    return None


def ensure_weights(
    spec: WeightsFile = MIDAS_SMALL,
    explicit: Path | str | None = None,
    *,
    allow_download: bool = True,
    progress: bool = True,
    options: DownloadOptions | None = None,
    patience: Patience | None = None,
) -> Path:
    """The path of a good weights file: found on disk, else fetched into `download_folder()`.

    `explicit` is used or refused, never replaced and never downloaded to. `progress` shows a bar
    on a terminal and writes log lines elsewhere. `patience` bounds how long a download may take,
    waiting for another process included.
    Raises WeightsNotFound (no file, and no download allowed), WeightsCorrupt (only a wrong file,
    and no download allowed) or DownloadFailed.
    """
    found = find_weights(spec, explicit)
    if found:
        return found
    if explicit is not None:
        raise WeightsNotFound(f'{explicit} is not there: give the path of {spec.name}')
    if allow_download:
        return fetch_weights(spec, progress=progress, options=options, patience=patience)
    remedy = f'allow the download, or bring it {_by_hand(spec)}'
    corrupt = [f'{f.path} {f.fault}' for _, f in survey(spec) if f.state is FileState.CORRUPT]
    if corrupt:
        raise WeightsCorrupt(f'no good {spec.name}: {"; ".join(corrupt)}; {remedy}')
    folders = ', '.join(str(place.folder) for place in places()) or f'no folder ({DIR_VARIABLE})'
    raise WeightsNotFound(f'no {spec.name} in {folders}; {remedy}')


def download_address(spec: WeightsFile = MIDAS_SMALL) -> str:
    """The address to download from: MIDAS_DEPTH_WEIGHTS_URL if set, else the official one.

    The variable names a mirror's copy of the file, or, ending in a slash, the folder that holds
    it. Size and SHA-256 are checked all the same.
    """
    mirror = os.environ.get(URL_VARIABLE, '').strip()
    if not mirror:
        return spec.url
    return urllib.parse.urljoin(mirror, spec.name) if mirror.endswith('/') else mirror


def fetch_weights(
    spec: WeightsFile = MIDAS_SMALL,
    folder: Path | str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
    options: DownloadOptions | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download the weights into `folder` (default `download_folder()`) unless they are there.

    One process at a time works on a folder; another waits and then takes what the first brought.
    A corrupt file in the way is moved aside to `<name>.corrupt`. `force` fetches anew from the
    first byte; a good file stays in place until its successor is complete.
    Raises DownloadFailed, whose text says why and how to bring the file by hand.
    """
    # Takes a quarter of a second to import, and most starts need no download.
    from midas_depth_ros.depth import downloads

    options = options or downloads.DownloadOptions()
    if patience:
        options = dataclasses.replace(options, patience=patience)
    judge = options.judge(spec)
    target_folder = absolute(folder) if folder else download_folder()
    if target_folder is None:
        reason = 'there is no home folder to keep it in'
        raise DownloadFailed(f'cannot download {spec.name}: {reason}; {_by_hand(spec)}')
    target = target_folder / spec.name
    try:
        target_folder.mkdir(parents=True, exist_ok=True)
        with _locked(target, judge):
            if not force:
                for path in (target_folder / name for name in spec.names):
                    if examine(path, spec).state is FileState.GOOD:
                        return path
            else:
                downloads.partial_path(target).unlink(missing_ok=True)
            _set_aside_corrupt(target_folder, spec)
            address = download_address(spec)
            downloads.download(
                spec, target, address, progress=progress, options=options, judge=judge
            )
    except downloads.TransferError as error:
        reason = str(error)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = f'cannot write into {target_folder}: {getattr(error, "strerror", "") or error}'
    else:
        return target
    raise DownloadFailed(f'cannot download {spec.name}: {reason}; {_by_hand(spec, target_folder)}')


def _by_hand(spec: WeightsFile, folder: Path | None = None) -> str:
    folder = folder or download_folder()
    into = f'{folder}, or into another folder named by' if folder else 'a folder named by'
    return (
        f'by hand: fetch {spec.url} ({spec.size} bytes, SHA-256 {spec.sha256}) and put it into '
        f'{into} {DIR_VARIABLE}; a mirror can be named by {URL_VARIABLE}'
    )


@contextlib.contextmanager
def _locked(target: Path, judge: Judge) -> Iterator[None]:
    """One process at a time; TransferError where the other one is too slow, or stands still."""
    from midas_depth_ros.depth.downloads import TransferError, partial_path, size_of

    lock = filelock.FileLock(target.with_name(f'.{target.name}.lock'))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning('another process is fetching %s: waiting for it', printable(target))
        while not lock.is_locked:
            try:
                lock.acquire(timeout=LOCK_POLL_S)
            except filelock.Timeout:
                if reason := judge.reason_to_stop(size_of(partial_path(target))):
                    raise TransferError(f'another process is fetching it: {reason}') from None
    try:
        yield
    finally:
        lock.release()


def _set_aside_corrupt(folder: Path, spec: WeightsFile) -> None:
    """Move what is not the promised file out of the way, where a person can look at it."""
    for path in (folder / name for name in spec.names):
        finding = examine(path, spec)
        if finding.state is FileState.CORRUPT:
            aside = path.with_name(path.name + '.corrupt')
            path.replace(aside)
            names = printable(path), finding.fault, printable(aside)
            logger.warning('%s %s: moved aside to %s', *names)
