"""Finds the official weights on disk, or fetches them.

In goes a `WeightsFile`, out comes the path of a file whose size and SHA-256 were checked just now.
Places looked at, in this order: an explicit path (then nothing else), the folder named by
MIDAS_DEPTH_WEIGHTS_DIR, the user's cache, and the cache of torch.hub (torch is not imported).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from midas_depth_ros.depth.errors import (
    DownloadFailed,
    WeightsCorrupt,
    WeightsNotFound,
    printable,
)
from midas_depth_ros.depth.patience import Judge, Patience
from midas_depth_ros.depth.weights_file import (
    MIDAS_SMALL,
    FileState,
    Finding,
    WeightsFile,
    examine,
    verify,
)
from midas_depth_ros.depth.weights_places import (
    DIR_VARIABLE,
    absolute,
    candidate_paths,
    download_folder,
    places,
    survey,
)

if TYPE_CHECKING:
    from midas_depth_ros.depth.downloads import DownloadOptions

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
