"""Keeps converted models on disk, so that a conversion happens once.

In: a `Key` that says of which weights, for what, by which versions; and a function that builds the
model into a folder. Out: a folder with the model's files and `about.json`. An entry appears whole
or not at all, one process builds while others wait, and an entry whose files are not those that
were written is built anew. Where nothing can be kept, the model is built into a temporary folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from midas_depth_ros.depth.weights_file import sha256_of
from midas_depth_ros.depth.weights_places import absolute, user_cache

DIR_VARIABLE = 'MIDAS_DEPTH_CACHE_DIR'
SUBFOLDER = 'converted'
ABOUT = 'about.json'
NAME_DIGITS = 16
READABLE = 0o755

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Key:
    """What a converted model depends on; another value of any of these is another entry.

    `input_size` is 'h x w', or 'any'. `conversion` is the version of our own graph and steps.
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
        """Of the entry's folder."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:NAME_DIGITS]
        return f'{self.network}-{self.backend}-{self.precision}-{digest}'

    def outdates(self, other: dict[str, Any]) -> bool:
        """Whether the other is the same model made by another version."""
        same = ('weights_sha256', 'network', 'input_size', 'backend', 'precision')
        mine = dataclasses.asdict(self)
        return all(mine[field] == other.get(field) for field in same) and mine != other


# Builds the model's files into an empty folder; gives what is to be remembered about it.
Build = Callable[[Path], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A converted model: its folder, and what `Build` gave."""

    folder: Path
    about: dict[str, Any]


def cache_folder() -> Path | None:
    """MIDAS_DEPTH_CACHE_DIR, else in the user's cache; None where there is no home."""
    if named := os.environ.get(DIR_VARIABLE):
        return absolute(named) / SUBFOLDER
    cache = user_cache()
    return cache / SUBFOLDER if cache else None


def find(key: Key) -> Entry | None:
    """The entry, if all its files are as they were written; a damaged one is named in the log."""
    folder = cache_folder()
    return _sound(folder / key.name, key) if folder else None


def remembered(key: Key) -> dict[str, Any] | None:
    """What is remembered about an entry, without a look at its files."""
    folder = cache_folder()
    return (_record(folder / key.name) or {}).get('about') if folder else None


@contextlib.contextmanager
def provide(key: Key, build: Build) -> Iterator[Entry]:
    """The entry, built if need be; its files may be gone after the context where none is kept.

    Raises what `build` raises.
    """
    folder = cache_folder()
    entry = _kept(folder, key, build) if folder else None
    if entry:
        yield entry
        return
    with tempfile.TemporaryDirectory(prefix='midas_depth_') as temporary:
        yield Entry(Path(temporary), build(Path(temporary)))


def store(key: Key, build: Build) -> Path:
    """Build the entry anew and keep it; returns its folder. OSError where nothing can be kept."""
    folder = cache_folder()
    if folder is None:
        raise OSError(f'there is no home folder to keep it in: name a folder by {DIR_VARIABLE}')
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, key):
        return _publish(folder, key, build).folder


def _kept(folder: Path, key: Key, build: Build) -> Entry | None:
    found = _sound(folder / key.name, key)
    if found:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        logger.warning(
            'cannot keep the converted model in %s (%s): it is converted at every start; name '
            'another folder by %s', folder, error.strerror or error, DIR_VARIABLE,
        )  # fmt: skip
        return None
    with _locked(folder, key):
        return _sound(folder / key.name, key) or _publish(folder, key, build)


@contextlib.contextmanager
def _locked(folder: Path, key: Key) -> Iterator[None]:
    lock = filelock.FileLock(folder / f'.{key.name}.lock')
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning('another process is converting %s: waiting for it', key.name)
        lock.acquire()
    except NotImplementedError:  # a file system without locks: at worst it is converted twice
        logger.warning('%s cannot be locked', folder)
    try:
        yield
    finally:
        lock.release()


def _publish(folder: Path, key: Key, build: Build) -> Entry:
    """Build beside, then rename; whoever looks sees the whole entry or none."""
    beside = Path(tempfile.mkdtemp(prefix=f'.{key.name}.', dir=folder))
    try:
        about = build(beside)
        files = {path.name: _figures(path) for path in sorted(beside.iterdir())}
        record = {'key': dataclasses.asdict(key), 'files': files, 'about': about}
        (beside / ABOUT).write_text(json.dumps(record, indent=1))
        for path in beside.iterdir():
            _flush(path)
        beside.chmod(READABLE)  # mkdtemp keeps it to one user; a robot's service may be another
        target = folder / key.name
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        _flush(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _remove_outdated(folder, key)
    return Entry(target, about)


def _flush(path: Path) -> None:
    """On to the disk: a power cut must not leave a renamed folder of empty files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def _figures(path: Path) -> dict[str, Any]:
    return {'bytes': path.stat().st_size, 'sha256': sha256_of(path)}


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        return None
    tables = isinstance(record, dict) and all(
        isinstance(record.get(part), dict) for part in ('key', 'files', 'about')
    )
    return record if tables else None


def _sound(folder: Path, key: Key) -> Entry | None:
    if not folder.exists():
        return None
    record = _record(folder)
    try:
        right = record is not None and record['key'] == dataclasses.asdict(key) and all(
            _figures(folder / name) == figures for name, figures in record['files'].items()
        )  # fmt: skip
    except OSError:
        right = False
    if record is None or not right:
        logger.warning('%s is damaged: it is converted again', folder)
        return None
    return Entry(folder, record['about'])


def _remove_outdated(folder: Path, key: Key) -> None:
    """What other versions made of the same weights; each is tens of megabytes."""
    for other in folder.iterdir():
        record = _record(other) if not other.name.startswith('.') else None
        if record and key.outdates(record['key']):
            logger.info('removing %s, made by another version', other)
            shutil.rmtree(other, ignore_errors=True)
