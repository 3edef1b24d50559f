"""Keeps converted models on disk, so that a conversion happens once.

In: a `Key` (weights, backend, precision, versions) and a function that builds the model into a
folder. Out: a folder with the model's files and `about.json`. An entry appears atomically, and one
process builds while others wait. It is used only where it is exactly what was written: its own key,
the files that are needed and no others, each with its size and SHA-256, in folders that are not
world-writable. Anything else is rebuilt and replaced atomically. Where nothing can be kept, the
model is built in a temporary folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import filelock
import tqdm

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsError, printable
from midas_depth_ros.depth.files import flush, read_file, sha256_of
from midas_depth_ros.depth.weights import absolute, user_cache

DIR_VARIABLE = 'MIDAS_DEPTH_CACHE_DIR'
SUBFOLDER = 'converted'
ABOUT = 'about.json'
TEMPORARY = 'midas_depth_converted_'
NAME_DIGITS = 16
READABLE_FOLDER, READABLE_FILE = 0o755, 0o644
MOST_ABOUT_BYTES = 1 << 20
MOST_BYTES = 4 << 30  # of all entries; a converted model has tens to hundreds of megabytes
UNUSED_S = 60 * 86_400.0  # an entry of another version that is unused for so long is removed
WAIT_S = 120.0  # for another process: several times what a conversion takes on a Raspberry Pi

logger = logging.getLogger(__name__)
T = TypeVar('T')


# --- Temporary folders in which files are made before they get their names.
#
# Each is removed at the end, whatever happens; those of killed processes are removed by the next
# process. A living process holds a lock on its folder.

YOUNG_S = 60.0  # a process locks its folder within this time
OLD_S = 86_400.0  # age of a leftover on a file system without locks
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux, see rename(2)


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent` whose name begins with `prefix`, removed at the end. OSError."""
    remove_leftovers(parent, prefix)
    path = parent / f'{prefix}{secrets.token_hex(8)}'
    try:  # from here on, since a signal may come as soon as the folder is there
        path.mkdir(mode=0o700)
        handle = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(handle)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the scratch folders of processes that have ended; raises nothing."""
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            if path.name.startswith(prefix) and _is_leftover(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_leftover(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    age_s = 0.0
    try:
        age_s = abs(time.time() - os.fstat(handle).st_mtime)
        if age_s < YOUNG_S:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES) and age_s > OLD_S
    finally:
        os.close(handle)
    return True


def put(new: Path, target: Path) -> None:
    """Rename a folder, atomically replacing what had the name. OSError.

    On a file system that cannot exchange two names, nothing has the name for a moment.
    """
    if not os.path.lexists(target):
        new.rename(target)
        return
    if _exchange(new, target):
        with contextlib.suppress(OSError):  # the replaced entry, of no use any more
            if stat.S_ISDIR(new.lstat().st_mode):
                shutil.rmtree(new)
            else:  # a file or a link that somebody put there
                new.unlink()
        return
    old = Path(tempfile.mkdtemp(prefix=f'{new.name}_', dir=new.parent))
    try:
        target.rename(old / target.name)
        new.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically; False where system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # before glibc 2.28, musl, another system
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    return renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0


# --- The cache.


@dataclasses.dataclass(frozen=True)
class Key:
    """What a converted model depends on.

    `input_size` is 'hxw', or 'any'. `conversion` is the version of our own graph and steps.
    """

    weights_sha256: str
    network: str
    input_size: str
    backend: str
    backend_version: str
    precision: str
    conversion: int

    @property
    def name(self) -> str:
        """Name of the entry's folder."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:NAME_DIGITS]
        return f'{self.network}-{self.backend}-{self.precision}-{digest}'

    def outdates(self, other: dict[str, Any]) -> bool:
        """Whether the other key is of the same model, made by another version."""
        same = ('weights_sha256', 'network', 'input_size', 'backend', 'precision')
        mine = dataclasses.asdict(self)
        return all(mine[field] == other.get(field) for field in same) and mine != other


# Builds the model's files in an empty folder; returns its metadata.
Build = Callable[[Path], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A converted model: its folder, and the metadata that `Build` returned."""

    folder: Path
    about: dict[str, Any]


def cache_folder() -> Path | None:
    """MIDAS_DEPTH_CACHE_DIR, else in the user's cache; None where there is no home."""
    if named := os.environ.get(DIR_VARIABLE):
        return absolute(named) / SUBFOLDER
    cache = user_cache()
    return cache / SUBFOLDER if cache else None


def find(key: Key, needed: Collection[str] = ()) -> Entry | None:
    """The entry, if it is undamaged; a damaged one is named in the log.

    `needed` are the names of its files; without, those that it lists.
    """
    folder = cache_folder()
    return _sound(folder / key.name, key, needed) if folder else None


def remembered(key: Key) -> dict[str, Any] | None:
    """An entry's metadata, without checking its files."""
    folder = cache_folder()
    record = _record(folder / key.name) if folder else None
    return record['about'] if record and record['key'] == dataclasses.asdict(key) else None


def load(
    key: Key,
    build: Build,
    read: Callable[[Path], T],
    needed: Collection[str],
    *,
    anew: bool = False,
) -> T:
    """Return what `read` makes of the entry's folder; an entry that it refuses is rebuilt once.

    `anew`: build it in any case, if it can be kept. Raises what `build` and `read` raise, and
    OSError where neither the cache nor a temporary folder takes the files.
    """
    with provide(key, build, needed, anew=anew, or_before=anew) as entry:
        try:
            before = entry.folder.stat().st_ino
            loaded = read(entry.folder)
            if entry.folder.stat().st_ino == before:
                return loaded
            fault: Exception = WeightsCorrupt('it was replaced while it was read')
        except (WeightsError, OSError) as error:
            fault = error
    logger.warning('%s is not used (%s): converting again', printable(entry.folder), fault)
    with provide(key, build, needed, anew=True) as entry:
        return read(entry.folder)


@contextlib.contextmanager
def provide(
    key: Key,
    build: Build,
    needed: Collection[str] = (),
    *,
    anew: bool = False,
    or_before: bool = False,
) -> Iterator[Entry]:
    """The entry, built if needed; its files last for the context where none can be kept.

    `anew`: build in any case; `or_before`: where that cannot be kept, the entry before it will do.
    Raises what `build` raises, and OSError as `load` does.
    """
    folder = cache_folder()
    entry = _sound(folder / key.name, key, needed) if folder and not anew else None
    if folder and not entry:
        try:
            with _locked(folder, key):
                # Another process may have built it meanwhile.
                entry = None if anew else _sound(folder / key.name, key, needed)
                entry = entry or _publish(folder, key, build)
        except OSError as error:
            entry = _sound(folder / key.name, key, needed) if or_before else None
            if entry is None:
                logger.warning(
                    'cannot keep the converted model in %s (%s): it is converted at every start; '
                    'name another folder by %s',
                    printable(folder), error.strerror or error, DIR_VARIABLE,
                )  # fmt: skip
    if entry:
        yield entry
        return
    with scratch_folder(Path(tempfile.gettempdir()), TEMPORARY) as temporary:
        yield Entry(temporary, build(temporary))


def store(key: Key, build: Build) -> Path:
    """Rebuild the entry and keep it; returns its folder. OSError where it cannot be kept."""
    folder = cache_folder()
    if folder is None:
        raise OSError(f'there is no home folder to keep it in: name a folder by {DIR_VARIABLE}')
    with _locked(folder, key):
        return _publish(folder, key, build).folder


def _make(folder: Path) -> None:
    """Make the folder and its parents, writable for the owner whatever the umask."""
    if not folder.is_dir():
        if folder.parent != folder:
            _make(folder.parent)
        folder.mkdir(mode=READABLE_FOLDER, exist_ok=True)


def _world_writable(folder: Path) -> str:
    """What is wrong with the permissions of the cache; '' where it is not world-writable."""
    for place in (folder.parent, folder):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f'everyone may write into {place}: remove that permission with chmod o-w'
    return ''


@contextlib.contextmanager
def _locked(folder: Path, key: Key) -> Iterator[None]:
    """The folder, made if needed, for one process at a time.

    Raises OSError, of which TimeoutError where another process does not end.
    """
    _make(folder)
    if fault := _world_writable(folder):
        raise OSError(fault)
    lock = filelock.FileLock(folder / f'.{key.name}.lock')
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning('another process is converting %s: waiting for it', key.name)
        try:
            lock.acquire(timeout=WAIT_S)
        except filelock.Timeout as error:
            text = f'another process has not finished it within {WAIT_S:g} s'
            raise TimeoutError(text) from error
    except NotImplementedError:  # a file system without locks: at worst it is converted twice
        logger.warning('%s cannot be locked', printable(folder))
    try:
        yield
    finally:
        lock.release()


def _publish(folder: Path, key: Key, build: Build) -> Entry:
    """Build the entry beside its place, then put it there atomically."""
    target = folder / key.name
    with scratch_folder(folder, '.') as beside:
        about = build(beside)
        files = {path.name: _figures(path) for path in sorted(beside.iterdir())}
        record = {'key': dataclasses.asdict(key), 'files': files, 'about': about}
        (beside / ABOUT).write_text(json.dumps(record, indent=1))
        for path in beside.iterdir():
            flush(path)
            path.chmod(READABLE_FILE)
        # mkdtemp makes it private to one user; a robot's service may run as another.
        beside.chmod(READABLE_FOLDER)
        put(beside, target)
        flush(folder)
    _tidy(folder, key)
    return Entry(target, about)


def _figures(path: Path) -> dict[str, Any]:
    return {'bytes': path.stat().st_size, 'sha256': sha256_of(path)}


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(read_file(folder / ABOUT, MOST_ABOUT_BYTES))
    except (WeightsError, ValueError, RecursionError):
        return None
    tables = isinstance(record, dict) and all(
        isinstance(record.get(part), dict) for part in ('key', 'files', 'about')
    )
    return record if tables else None


def _sound(folder: Path, key: Key, needed: Collection[str]) -> Entry | None:
    if not os.path.lexists(folder):
        return None
    record = None
    try:
        record = _record(folder)
        fault = _fault_of(folder, record, key, needed)
    except OSError as error:
        fault = str(error.strerror or error)
    if fault or record is None:
        logger.warning('%s is damaged: it is converted again (%s)', printable(folder), fault)
        return None
    _mark_as_used(folder)
    return Entry(folder, record['about'])


def _fault_of(
    folder: Path, record: dict[str, Any] | None, key: Key, needed: Collection[str]
) -> str:
    """How the entry differs from what was written; '' where it does not. OSError."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return 'it is not a folder'
    if fault := _world_writable(folder.parent):
        return fault
    shared = folder.parent.stat().st_mode & stat.S_IWOTH
    if status.st_mode & stat.S_IWOTH or (shared and status.st_uid not in (0, os.geteuid())):
        return 'another user could have written it'
    if record is None:
        return f'{ABOUT} cannot be read'
    if record['key'] != dataclasses.asdict(key):
        return f'{ABOUT} is that of another model'
    listed, there = set(record['files']), {path.name for path in folder.iterdir()}
    if not listed or listed != set(needed or listed):
        return f'{ABOUT} lists other files than are needed'
    if there != listed | {ABOUT}:
        return f'it holds other files than {ABOUT} lists'
    for name in there:
        status = (folder / name).lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & stat.S_IWOTH:
            return f'{name} is not a regular file, or is world-writable'
        figures = record['files'].get(name, {})
        # The size first: hashing a file that was made huge would take for ever.
        if name != ABOUT and (
            not isinstance(figures, dict)
            or figures.get('bytes') != status.st_size
            or figures != _figures(folder / name)
        ):
            return f'{name} is not what was written'
    return ''


def _tidy(folder: Path, key: Key) -> None:
    """Remove entries of other versions that are long unused, and the least recent of too many.

    Recent entries of other versions stay: they may be installed beside this one.
    """
    found = []
    for other in folder.iterdir():
        if other.name.startswith('.') or other.name == key.name:
            continue
        with contextlib.suppress(OSError):  # not a folder, or removed meanwhile
            size = sum(path.lstat().st_size for path in other.iterdir())
            record = _record(other)
            is_outdated = bool(record and key.outdates(record['key']))
            found.append((other.lstat().st_mtime, size, is_outdated, other))
    now_s, total = time.time(), 0
    for used_s, size, is_outdated, other in sorted(found, key=lambda each: each[0], reverse=True):
        total += size
        if total > MOST_BYTES or (is_outdated and now_s - used_s > UNUSED_S):
            logger.info('removing %s, which is long unused', printable(other))
            with contextlib.suppress(OSError), scratch_folder(folder, '.') as beside:
                other.rename(beside / other.name)  # removed atomically


def _mark_as_used(folder: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, or on a read-only disk
        os.utime(folder)


def give_back_memory() -> None:
    """Give freed memory back to the system: after a conversion glibc may keep 2.5 GB of it."""
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


# --- Progress of a conversion: a bar on a terminal, log lines elsewhere.


@contextlib.contextmanager
def show_steps(title: str, count: int) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each of `count` steps as it begins."""
    if sys.stderr is not None and sys.stderr.isatty():
        with tqdm.tqdm(total=count, desc=title) as bar:

            def step(name: str) -> None:
                bar.set_postfix_str(name)
                bar.update()

            yield step
    else:
        number = iter(range(1, count + 1))
        yield lambda name: logger.info('%s: %d of %d, %s', title, next(number), count, name)
