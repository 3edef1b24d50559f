"""Weights files: what their publishers promise, where they lie on disk, and how they are fetched.

In goes a `WeightsFile` (name, address, size, SHA-256), out comes the path of a file whose size and
SHA-256 were checked just now. Folders searched, in this order: the one named by
MIDAS_DEPTH_WEIGHTS_DIR, the user's cache, and the caches of torch.hub and of Hugging Face's hub.

A download grows in `<name>.part`, from which a later try, or a later process, resumes. One process
at a time works on a folder. The transfer has a thread of its own: whatever it hangs in (looking up
a host name cannot be interrupted), the caller has an answer within its `DownloadLimit`.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import logging
import os
import pwd
import re
import shutil
import stat
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import platformdirs
import tqdm

from midas_depth_ros.depth.errors import (
    DownloadFailed,
    WeightsCorrupt,
    WeightsNotFound,
    printable,
)
from midas_depth_ros.depth.files import MOST_WEIGHTS_BYTES, flush, sha256_of

if TYPE_CHECKING:
    # Takes a quarter of a second to import, and most starts need no download.
    import requests

KB, MB = 1000, 1_000_000
DIR_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_DIR'
URL_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_URL'
CACHE_NAME = 'midas_depth_ros'

logger = logging.getLogger(__name__)


# --- A weights file as its publisher promises it, and whether a file on disk is that one.


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


# --- The folders in which weights may lie. torch is not imported: the folder of torch.hub follows
# from the variables that torch reads.


@dataclasses.dataclass(frozen=True)
class WeightsFolder:
    """A folder to search."""

    label: str
    folder: Path


def weights_folders() -> list[WeightsFolder]:
    """The folders to search, in order, as far as their variables and the home folder exist."""
    found = (
        (DIR_VARIABLE, _named_folder()),
        ("user's cache", user_cache()),
        ('torch hub', _torch_hub_cache()),
    )
    return [WeightsFolder(label, folder) for label, folder in found if folder]


def _named_folder() -> Path | None:
    named = os.environ.get(DIR_VARIABLE)
    return absolute(named) if named else None


def absolute(path: Path | str) -> Path:
    """The path from the root on, `~` expanded."""
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
    cache, home = os.environ.get('XDG_CACHE_HOME'), _home()
    above = absolute(cache) if cache else home / '.cache' if home else None
    return above / 'torch' / 'hub' / 'checkpoints' if above else None


# The hub keeps a file at <hub>/models--ORG--NAME/snapshots/REVISION/FILE, most often a link into
# its folder of blobs. Source: the documentation of huggingface_hub, "Understand caching".
HUB_ADDRESS = re.compile(
    r'https://huggingface\.co/(?:(spaces|datasets)/)?([\w.-]+)/([\w.-]+)/resolve/([\w.-]+)/([\w./-]+)'
)
MOST_REVISIONS = 100


def _hub_cache() -> Path | None:
    """The cache of Hugging Face's hub, by the variables that its library reads."""
    for variable in ('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE'):
        if named := os.environ.get(variable):
            return absolute(named)
    if hub_home := os.environ.get('HF_HOME'):
        return absolute(hub_home) / 'hub'
    cache, home = os.environ.get('XDG_CACHE_HOME'), _home()
    above = absolute(cache) if cache else home / '.cache' if home else None
    return above / 'huggingface' / 'hub' if above else None


def _hub_paths(spec: WeightsFile) -> list[Path]:
    """Where the hub keeps the file: first the published revision, then others that are there."""
    found, hub = HUB_ADDRESS.fullmatch(spec.url), _hub_cache()
    if not found or hub is None:
        return []
    kind, owner, name, revision, file = found.groups()
    snapshots = hub / f'{kind or "models"}--{owner}--{name}' / 'snapshots'
    others: list[str] = []
    with contextlib.suppress(OSError):
        others = sorted(os.listdir(snapshots))[:MOST_REVISIONS]
    there = [snapshots / each / file for each in others if os.path.lexists(snapshots / each / file)]
    published = snapshots / revision / file
    return [published, *(path for path in there if path != published)]


def _candidates(spec: WeightsFile) -> dict[Path, tuple[WeightsFolder, WeightsFile]]:
    """Every path at which the weights are looked for, in order, its folder and the file there."""
    found: dict[Path, tuple[WeightsFolder, WeightsFile]] = {}
    if not spec.sha256:
        return found
    for place in weights_folders():
        for name in spec.names:
            found.setdefault(place.folder / name, (place, spec))
    for file in (spec, *spec.twins):
        for path in _hub_paths(file):
            if file is spec or os.path.lexists(path):
                found.setdefault(path, (WeightsFolder('Hugging Face', path.parent), file))
    return found


def candidate_paths(spec: WeightsFile) -> list[Path]:
    """Every path at which the weights are looked for, in order."""
    return list(_candidates(spec))


def examine_all(spec: WeightsFile) -> list[tuple[WeightsFolder, FileCheck]]:
    """What is at every path that is looked at, in order, missing files included."""
    return [(place, examine(path, file)) for path, (place, file) in _candidates(spec).items()]


def download_folder() -> Path | None:
    """Where downloads go: MIDAS_DEPTH_WEIGHTS_DIR if set, else the user's cache, else None."""
    return _named_folder() or user_cache()


# --- How long a download may take, and when it is given up because it would take longer.
#
# A robot that starts does not wait for a day: 'auto' has a model that ships instead.


@dataclasses.dataclass(frozen=True)
class DownloadLimit:
    """`budget_s` is for everything: waiting for another process, looking up names, the transfer.

    From `grace_s` on, the rate of the last `grace_s` says how long the rest takes; where that is
    more than the budget has left, the download is given up at once. What has arrived stays, and the
    next start resumes it.
    """

    budget_s: float
    grace_s: float
    remedy: str = ''


HOUR_S = 3600.0
AUTO_LIMIT = DownloadLimit(
    300.0, 20.0, '`midas_depth weights fetch` waits longer, and the next start resumes'
)
NAMED_LIMIT = DownloadLimit(HOUR_S, 60.0, '`midas_depth weights fetch` waits longer')
FETCH_LIMIT = DownloadLimit(24 * HOUR_S, 60.0)


class DownloadWatch:
    """Watches one download; `total` is its size in bytes, 0 while unknown. `clock`: in seconds."""

    def __init__(
        self, limit: DownloadLimit, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self.total, self._clock = limit, total, clock
        self._start_s = clock()
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def reason_to_stop(self, done: int) -> str:
        """Why not to wait any longer, with `done` bytes there; '' to go on."""
        now, limit = self._clock(), self._limit
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it restarted
        self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[1][0] >= limit.grace_s:
            self._seen.popleft()
        waited = now - self._start_s
        if waited >= limit.budget_s:
            return self._text(done, f'it took more than {duration(limit.budget_s)}')
        then, before = self._seen[0]
        span = now - then
        if span < limit.grace_s:
            return ''
        rate = (done - before) / span
        missing = self.total - done if self.total else 1
        if rate * (limit.budget_s - waited) >= missing:
            return ''
        if rate == 0:
            return self._text(done, f'nothing came for {duration(span)}')
        left = missing / rate
        return self._text(done, f'at {rate / KB:.1f} kB/s the rest would take {duration(left)}')

    def _text(self, done: int, what: str) -> str:
        remedy = f': {self._limit.remedy}' if self._limit.remedy else ''
        total = f' of {self.total}' if self.total else ''
        return (
            f'{done}{total} bytes are here, and {what}; the limit is '
            f'{duration(self._limit.budget_s)}{remedy}'
        )


def duration(seconds: float) -> str:
    """For people: '40 s', '5 min', '23.8 h'."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 2 * HOUR_S:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / HOUR_S:.1f} h' if seconds < 48 * HOUR_S else f'{seconds / 86400:.0f} days'


@dataclasses.dataclass(frozen=True)
class DownloadOptions:
    """How a download is carried out.

    `read_timeout_s` is the longest silence of the server. Between tries the pause doubles from
    `first_pause_s`. Where there is no terminal a line is logged every `log_every_s`. `limit`
    bounds all of it; `clock` gives it seconds.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    first_pause_s: float = 1.0
    log_every_s: float = 5.0
    limit: DownloadLimit = FETCH_LIMIT
    clock: Callable[[], float] = time.monotonic


# --- Finding and fetching.

LOCK_POLL_S = 0.1


def find_weights(spec: WeightsFile) -> Path | None:
    """The first good weights file on disk, or None; a corrupt file is logged and skipped."""
    for path, (_, file) in _candidates(spec).items():
        check = examine(path, file)
        if check.state is FileState.GOOD:
            return path
        if check.state is FileState.CORRUPT:
            logger.warning('%s %s: not used', printable(path), check.fault)
    return None


def ensure_weights(
    spec: WeightsFile, *, allow_download: bool = True, options: DownloadOptions | None = None
) -> Path:
    """The path of a good weights file: found on disk, else fetched into `download_folder()`.

    Raises WeightsNotFound (no file, and no download allowed), WeightsCorrupt (only a wrong file,
    and no download allowed) or DownloadFailed.
    """
    if not spec.sha256:
        raise WeightsNotFound(only_by_path(spec))
    found = find_weights(spec)
    if found:
        return found
    if allow_download:
        return fetch_weights(spec, options=options)
    remedy = f'allow the download, or install it {_by_hand(spec)}'
    corrupt = [f'{f.path} {f.fault}' for _, f in examine_all(spec) if f.state is FileState.CORRUPT]
    if corrupt:
        raise WeightsCorrupt(f'no valid {spec.name}: {"; ".join(corrupt)}; {remedy}')
    places = [place.folder for place in weights_folders()]
    places += [path.parent for path in _hub_paths(spec)[:1]]
    folders = ', '.join(map(str, places))
    raise WeightsNotFound(
        f'no {spec.name} in {folders or f"any folder ({DIR_VARIABLE} names one)"}; {remedy}'
    )


def only_by_path(spec: WeightsFile) -> str:
    """What to do about a file whose SHA-256 is not published, in words."""
    if spec.by_hand:
        return f'{spec.name} is neither looked for nor fetched: see {spec.url}, {spec.by_hand}'
    return (
        f'no SHA-256 of {spec.name} is published, so it is neither looked for nor fetched: get it '
        f'from {spec.url}, and give its path as the model'
    )


def _address(spec: WeightsFile) -> str:
    """The address to download from: MIDAS_DEPTH_WEIGHTS_URL if set, else the official one.

    The variable names a mirror's copy of the file, or, ending in a slash, the folder that holds
    it. Size and SHA-256 are checked all the same.
    """
    mirror = os.environ.get(URL_VARIABLE, '').strip()
    if not mirror:
        return spec.url
    return urllib.parse.urljoin(mirror, spec.name) if mirror.endswith('/') else mirror


def fetch_weights(
    spec: WeightsFile,
    folder: Path | str | None = None,
    *,
    force: bool = False,
    options: DownloadOptions | None = None,
) -> Path:
    """Download the weights into `folder` (default `download_folder()`) unless they are there.

    A corrupt file in the way is moved aside to `<name>.corrupt`. `force` starts again from the
    first byte; a good file stays until its successor is complete.
    Raises DownloadFailed, whose text says why and how to fetch the file by hand.
    """
    if not spec.sha256:
        raise DownloadFailed(f'cannot download {spec.name}: {only_by_path(spec)}')
    options = options or DownloadOptions()
    watch = DownloadWatch(options.limit, spec.size, options.clock)
    target_folder = absolute(folder) if folder else download_folder()
    if target_folder is None:
        reason = 'there is no home folder to keep it in'
        raise DownloadFailed(f'cannot download {spec.name}: {reason}; {_by_hand(spec)}')
    target = target_folder / spec.name
    part = target.with_name(f'{target.name}.part')
    try:
        target_folder.mkdir(parents=True, exist_ok=True)
        with _locked(target, part, watch):
            found = [examine(target_folder / name, spec) for name in spec.names]
            good = [check.path for check in found if check.state is FileState.GOOD]
            if good and not force:
                return good[0]
            if force:
                part.unlink(missing_ok=True)
            for check in found:
                if check.state is FileState.CORRUPT:  # a person may want to look at it
                    aside = check.path.with_name(f'{check.path.name}.corrupt')
                    check.path.replace(aside)
                    names = printable(check.path), check.fault, printable(aside)
                    logger.warning('%s %s: moved aside to %s', *names)
            _download(spec, target, part, options, watch)
    except TransferError as error:
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
        f'by hand: download {spec.url} ({spec.promise}) and put it into '
        f'{into} {DIR_VARIABLE}; a mirror can be named by {URL_VARIABLE}'
    )


@contextlib.contextmanager
def _locked(target: Path, part: Path, watch: DownloadWatch) -> Iterator[None]:
    """One process at a time; TransferError where the other one is too slow, or stands still."""
    lock = filelock.FileLock(target.with_name(f'.{target.name}.lock'))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning('another process is fetching %s: waiting for it', printable(target))
        while not lock.is_locked:
            try:
                lock.acquire(timeout=LOCK_POLL_S)
            except filelock.Timeout:
                if reason := watch.reason_to_stop(_size_of(part)):
                    raise TransferError(f'another process is fetching it: {reason}') from None
    try:
        yield
    finally:
        lock.release()


# --- The transfer.

CHUNK = 1 << 12  # bytes: on a slow line more would take minutes to arrive, and be lost with it
MAX_REDIRECTS = 10
POLL_S = 0.05
REASON_LENGTH = 600
# How often in a row a fault of each kind is tried before giving up.
TRIES_PERMANENT = 1
TRIES_UNREACHABLE = 2  # a robot without network must not wait long at every start
TRIES_TRANSIENT = 4
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransferError(Exception):
    """Why a transfer ended early, and how many tries in a row such a fault deserves."""

    def __init__(self, reason: str, tries: int = TRIES_PERMANENT) -> None:
        # Parts of it are the server's words, which go to a log and a terminal.
        super().__init__(printable(reason[:REASON_LENGTH]))
        self.tries = tries


def _download(
    spec: WeightsFile,
    target: Path,
    part: Path,
    options: DownloadOptions,
    watch: DownloadWatch,
) -> None:
    """Fetch the file to `target`, which appears only when it is complete and its SHA-256 is right.

    Raises TransferError when the network or the server is at fault, OSError when the disk is.
    """
    url = _address(spec)
    _check_room(spec, part)
    where = printable(target)
    size = f' ({spec.size / MB:.1f} MB)' if spec.size else ''
    logger.info('fetching %s%s from %s', where, size, _shown(url))
    if spec.restriction:
        logger.warning('%s: licence %s, %s', spec.name, spec.licence, spec.restriction)
    with _show_progress(spec, _size_of(part), options.log_every_s) as report:
        transfer = _Transfer(spec, part, url, report, options)
        resumed = transfer.carry_out(watch)
        fault = examine(part, spec).fault
        if fault and resumed:
            logger.warning('%s.part %s after resuming: starting over', where, fault)
            part.unlink()
            transfer.carry_out(watch)
            fault = examine(part, spec).fault
    if fault:
        part.unlink()
        raise TransferError(f'the file from {_shown(url)} {fault}')
    flush(part)
    part.replace(target)
    flush(target.parent)


def _size_of(part: Path) -> int:
    """Bytes that have arrived."""
    return part.stat().st_size if part.exists() else 0


def _check_room(spec: WeightsFile, part: Path) -> None:
    missing = spec.size - _size_of(part)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise TransferError(f'{part.parent} has {free} bytes free, {missing} are needed')


@dataclasses.dataclass
class _Transfer:
    """Fills `part` to its full size, in a thread that is abandoned when it takes too long."""

    spec: WeightsFile
    part: Path
    url: str
    report: Report
    options: DownloadOptions

    def __post_init__(self) -> None:
        self._gate = threading.Lock()
        self._abandoned, self._trouble = False, ''
        self._done = _size_of(self.part)
        self._size = self.spec.size  # 0 until the server says it

    def carry_out(self, watch: DownloadWatch) -> bool:
        """True if it came in pieces; raises TransferError and OSError."""
        outcome: list[bool | BaseException] = []

        def work() -> None:
            try:
                outcome.append(self._receive_all())
            except BaseException as error:  # noqa: BLE001  the caller's thread raises it
                outcome.append(error)

        thread = threading.Thread(target=work, name='download', daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_S)
                watch.total = self._size
                if thread.is_alive() and (reason := watch.reason_to_stop(self._done)):
                    trouble = f' ({self._trouble})' if self._trouble else ''
                    raise TransferError(reason + trouble)
        finally:
            with self._gate:
                self._abandoned = thread.is_alive()
        (result,) = outcome
        if isinstance(result, BaseException):
            raise result
        return result

    @contextlib.contextmanager
    def _may_write(self) -> Iterator[None]:
        """Around all that changes the file: once abandoned, another process may be writing it."""
        with self._gate:
            if self._abandoned:
                raise TransferError('given up')
            yield

    def _receive_all(self) -> bool:
        """With pauses and new tries; True if it came in pieces."""
        spec, part, failures, farthest = self.spec, self.part, 0, 0
        while True:
            with self._may_write():
                self._done = have = _size_of(part)
                if have > (self._size or MOST_WEIGHTS_BYTES):
                    part.unlink()
                    have = 0
            if have == self._size if self._size else have and sha256_of(part) == spec.sha256:
                return True
            try:
                return self._receive(have)
            except TransferError as fault:
                if self._abandoned:
                    raise
                # A line that breaks often but moves on is no reason to give up. A hundredth at
                # least, so that the number of tries stays bounded.
                if _size_of(part) > farthest + (self._size or MOST_WEIGHTS_BYTES) / 100:
                    failures = 0
                farthest = max(farthest, _size_of(part))
                failures += 1
                if failures >= fault.tries:
                    raise
                pause = self.options.first_pause_s * 2 ** (failures - 1)
                self._trouble = str(fault)
                logger.warning('%s; next try in %g s', fault, pause)
                time.sleep(pause)

    def _receive(self, have: int) -> bool:
        """One request: append to the file, or write it anew; True if it was appended to."""
        shown = _shown(self.url)
        headers = {'Accept-Encoding': 'identity'}
        if have:
            headers['Range'] = f'bytes={have}-'
        with _answer(self.url, headers, self.options) as response:
            done = start = self._start_of_body(response, have)
            size = self._size or MOST_WEIGHTS_BYTES
            with self._may_write():
                opened = self.part.open('ab' if start else 'wb')
            with opened as file:
                for chunk in _chunks(response):
                    done += len(chunk)
                    if done > size:
                        raise TransferError(f'{shown} sent more than {size} bytes')
                    with self._may_write():
                        file.write(chunk)
                        file.flush()
                    self._done = done
                    self.report(done, self._size)
        if done < self._size:
            text = f'the connection to {shown} ended after {done} of {size} bytes'
            raise TransferError(text, TRIES_TRANSIENT)
        return start > 0

    def _start_of_body(self, response: requests.Response, have: int) -> int:
        """Offset in the file at which the answer's body starts; TransferError if it is unusable.

        A part of the file that the server cannot continue is removed.
        """
        url, status = _shown(response.url), response.status_code
        if status == 416 and have:
            raise self._restart(f'{url} cannot go on from byte {have}')
        if status not in (200, 206):
            tries = TRIES_TRANSIENT if status in TRANSIENT_STATUSES else TRIES_PERMANENT
            raise TransferError(f'{url} answers {status} {response.reason or ""}'.rstrip(), tries)
        start, total = _span(response)
        if start not in (0, have):
            raise self._restart(f'{url} answers with another part than asked for')
        kind = response.headers.get('Content-Type', 'no type').split(';')[0]
        if self._size and total not in (None, self._size):
            raise TransferError(f'{url} offers {total} bytes ({kind}) instead of {self._size}')
        if kind == 'text/html' and (total is None or not self.spec.size):
            raise TransferError(f'{url} answers with a web page: does this network want a log-in?')
        if total is not None and not self._size:
            self._check_offer(total, url)
            self._size = total
        return start

    def _check_offer(self, total: int, url: str) -> None:
        """Of a size that is not published."""
        if total > MOST_WEIGHTS_BYTES:
            raise TransferError(f'{url} offers {total} bytes: no supported network has as many')
        missing, free = total - _size_of(self.part), shutil.disk_usage(self.part.parent).free
        if missing > free:
            raise TransferError(f'{self.part.parent} has {free} bytes free, {missing} are needed')

    def _restart(self, reason: str) -> TransferError:
        with self._may_write():
            self.part.unlink(missing_ok=True)
        return TransferError(reason, TRIES_TRANSIENT)


@contextlib.contextmanager
def _answer(
    url: str, headers: dict[str, str], options: DownloadOptions
) -> Iterator[requests.Response]:
    """The answer, of which only the head was read; redirects are followed."""
    import requests
    import urllib3.exceptions

    timeout = (options.connect_timeout_s, options.read_timeout_s)
    place = url
    with requests.Session() as session:
        # Else the library follows redirects, and reads the body of each, however long it is.
        session.resolve_redirects = lambda *_, **__: iter(())  # type: ignore[method-assign]
        try:
            auth = requests.utils.get_auth_from_url(url)
            for _ in range(MAX_REDIRECTS + 1):
                response = session.get(
                    place, headers=headers, stream=True, timeout=timeout,
                    auth=auth if any(auth) else None,
                )  # fmt: skip
                target = session.get_redirect_target(response)
                if not target:
                    break
                response.close()
                place = urllib.parse.urljoin(response.url, target)
                if session.should_strip_auth(response.url, place):
                    auth = ('', '')
            else:
                raise TransferError(f'{_shown(url)} redirects in circles')
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _connection_fault(error, place) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise TransferError(f'the request to {_shown(url)} failed: {error}') from error
        with response:
            yield response


def _chunks(response: requests.Response) -> Iterator[bytes]:
    import requests

    try:
        yield from response.iter_content(CHUNK)
    except requests.RequestException as error:
        raise _connection_fault(error, response.url) from error


def _connection_fault(error: requests.RequestException, url: str) -> TransferError:
    import requests
    import urllib3.exceptions

    try:
        host = urllib.parse.urlsplit(url).hostname or 'the server'
    except ValueError:
        host = 'the server'
    cause = getattr(error.args[0], 'reason', None) if error.args else None
    if isinstance(error, requests.ConnectTimeout):
        return TransferError(f'no connection to {host}: it does not answer', TRIES_UNREACHABLE)
    if isinstance(cause, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.SSLError)):
        return TransferError(f'no connection to {host}: {_root(error)}', TRIES_UNREACHABLE)
    return TransferError(f'the connection to {host} broke: {_root(error)}', TRIES_TRANSIENT)


def _root(error: BaseException) -> str:
    """The system's own words at the bottom of nested errors ('Connection refused')."""
    import urllib3.exceptions

    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        nested = [getattr(error, 'reason', None), *error.args, error.__cause__]
        if isinstance(error, urllib3.exceptions.NewConnectionError):
            nested.append(error.__context__)  # urllib3 1.26 names no cause
        inner = next((item for item in nested if isinstance(item, BaseException)), None)
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__


def _span(response: requests.Response) -> tuple[int, int | None]:
    """Offset of the answer's body, and the size of the whole file where the server tells it."""
    if response.status_code == 200:
        length = response.headers.get('Content-Length', '')
        return 0, int(length) if length.isdecimal() else None
    match = re.match(r'bytes (\d+)-\d+/(\d+|\*)', response.headers.get('Content-Range', ''))
    if not match:
        return -1, None
    return int(match[1]), None if match[2] == '*' else int(match[2])


def _shown(url: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return 'the address given'
    return parts._replace(netloc=parts.netloc.rpartition('@')[2], query='', fragment='').geturl()


# --- Progress: a bar on a terminal, log lines elsewhere.


Report = Callable[[int, int], None]  # bytes that are there, and in all (0 where unknown)


@contextlib.contextmanager
def _show_progress(spec: WeightsFile, have: int, log_every_s: float) -> Iterator[Report]:
    """Give a function to call with what is there; `have` bytes at the start."""
    if sys.stderr is not None and sys.stderr.isatty():
        unit = {'unit': 'B', 'unit_scale': True}
        with tqdm.tqdm(total=spec.size or None, initial=have, desc=spec.name, **unit) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total or None
                bar.update(done - bar.n)  # backwards, too, when it restarts

            yield report
    else:
        yield _log_lines(spec, have, log_every_s)


def _log_lines(spec: WeightsFile, have: int, every_s: float) -> Report:
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            text = f'{spec.name}: {done / MB:.1f}{f" of {total / MB:.1f}" if total else ""} MB'
            rate = (done - have) / max(now - start, 1e-3)  # bytes a second
            if rate > 0 and done < total:
                text += f', {rate / KB:.0f} kB/s, {duration((total - done) / rate)} left'
            logger.info('%s', text)

    return report
