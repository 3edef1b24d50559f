"""Weights files: where they lie on disk, and how they get there.

In goes a `WeightsFile` (name, address, size, SHA-256), out comes the path of a file whose size and
SHA-256 were checked just now. Folders searched, in this order: the one named by
MIDAS_DEPTH_WEIGHTS_DIR, the user's cache, and the caches of torch.hub and of Hugging Face's hub.
One process at a time works on a folder (`transfer.py` fetches).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pwd
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import filelock
import platformdirs

from midas_depth_ros.depth.download_limit import DownloadOptions, DownloadWatch
from midas_depth_ros.depth.errors import (
    DownloadFailed,
    WeightsCorrupt,
    WeightsNotFound,
    printable,
)
from midas_depth_ros.depth.transfer import TransferError, download, size_of
from midas_depth_ros.depth.weights_file import FileCheck, FileState, WeightsFile, examine

DIR_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_DIR'
URL_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_URL'
CACHE_NAME = 'midas_depth_ros'
LOCK_POLL_S = 0.1

logger = logging.getLogger(__name__)


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


# --- Finding and fetching.


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
            download(spec, _address(spec), target, part, options, watch)
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
                if reason := watch.reason_to_stop(size_of(part)):
                    raise TransferError(f'another process is fetching it: {reason}') from None
    try:
        yield
    finally:
        lock.release()
