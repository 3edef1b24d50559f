"""Fetches one promised file over HTTP, from the first byte to the renamed, checked file.

In goes a `WeightsFile`, a target path and an address; out comes the file at the target, or a
`TransferError` with the reason. What has arrived lies in `<target>.part`, from which a later
try, or a later process, resumes. The caller sees to it that no two work on the same target.

The transfer has a thread of its own: whatever it hangs in (the look-up of a name cannot be cut
short), the caller is told in time, by `patience`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import requests
import urllib3.exceptions

from midas_depth_ros.depth.errors import printable
from midas_depth_ros.depth.progress import BYTES_PER_MB, show_progress
from midas_depth_ros.depth.weights import (
    FETCH_PATIENCE,
    Judge,
    Patience,
    WeightsFile,
    examine,
)

logger = logging.getLogger(__name__)


CHUNK = 1 << 12  # bytes: on a slow line more of them would be waited for, and lost, for minutes
MAX_REDIRECTS = 10
POLL_S = 0.05
REASON_LENGTH = 600

# How often in a row a fault of each kind is tried before giving up.
TRIES_PERMANENT = 1
TRIES_UNREACHABLE = 2  # a robot without network must not wait long at every start
TRIES_TRANSIENT = 4
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclasses.dataclass(frozen=True)
class DownloadOptions:
    """How patient a download is.

    `read_timeout_s` is the longest silence of the server. Between tries the pause doubles from
    `first_pause_s`. Where there is no terminal a line is logged every `log_every_s`. `patience`
    bounds all of it; `clock` gives it seconds.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    first_pause_s: float = 1.0
    log_every_s: float = 5.0
    patience: Patience = FETCH_PATIENCE
    clock: Callable[[], float] = time.monotonic

    def judge(self, spec: WeightsFile) -> Judge:
        """Of one download, from now on."""
        return Judge(self.patience, spec.size, self.clock)


class TransferError(Exception):
    """Why a transfer ended early, and how many tries in a row such a fault deserves."""

    def __init__(self, reason: str, tries: int = TRIES_PERMANENT) -> None:
        # Parts of it are the server's words, which go to a log and a terminal.
        super().__init__(printable(reason[:REASON_LENGTH]))
        self.tries = tries


def partial_path(target: Path) -> Path:
    """Where a download of `target` grows until it is complete."""
    return target.with_name(target.name + '.part')


def download(
    spec: WeightsFile,
    target: Path,
    url: str,
    *,
    progress: bool = True,
    options: DownloadOptions | None = None,
    judge: Judge | None = None,
) -> None:
    """Fetch `url` to `target`, which appears only when it is complete and its SHA-256 is right.

    `judge` has watched over the waiting before. Raises TransferError when the network or the
    server is at fault, OSError when the disk is.
    """
    options = options or DownloadOptions()
    judge = judge or options.judge(spec)
    part = partial_path(target)
    _check_room(spec, part)
    where = printable(target)
    logger.info('fetching %s (%.1f MB) from %s', where, spec.size / BYTES_PER_MB, _shown(url))
    with show_progress(spec, size_of(part), progress, options.log_every_s) as report:
        transfer = _Transfer(spec, part, url, report, options)
        pieced = transfer.carry_out(judge)
        fault = examine(part, spec).fault
        if fault and pieced:
            logger.warning('%s.part %s after resuming: once more from the start', where, fault)
            part.unlink()
            transfer.carry_out(judge)
            fault = examine(part, spec).fault
    if fault:
        part.unlink()
        raise TransferError(f'what came from {_shown(url)} {fault}')
    _put_in_place(part, target)


def size_of(part: Path) -> int:
    """Bytes that are there already."""
    return part.stat().st_size if part.exists() else 0


def _check_room(spec: WeightsFile, part: Path) -> None:
    missing = spec.size - size_of(part)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise TransferError(f'{part.parent} has {free} bytes free, {missing} are needed')


def _put_in_place(part: Path, target: Path) -> None:
    """Rename once the bytes are on the disk: a power cut leaves the whole file or none."""
    with part.open('rb') as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(folder)
    finally:
        os.close(folder)


class _Transfer:
    """Fills `part` to its full size, in a thread that is left alone when it takes too long."""

    def __init__(
        self,
        spec: WeightsFile,
        part: Path,
        url: str,
        report: Callable[[int], None],
        options: DownloadOptions,
    ) -> None:
        self._spec, self._part, self._url = spec, part, url
        self._report, self._options = report, options
        self._gate = threading.Lock()
        self._abandoned = False
        self._done = size_of(part)
        self._trouble = ''

    def carry_out(self, judge: Judge) -> bool:
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
                if thread.is_alive() and (reason := judge.reason_to_stop(self._done)):
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
        """Around all that changes the file: another process may be at it once we were left."""
        with self._gate:
            if self._abandoned:
                raise TransferError('given up')
            yield

    def _receive_all(self) -> bool:
        """With pauses and new tries; True if it came in pieces."""
        spec, part = self._spec, self._part
        failures = 0
        farthest = 0
        while True:
            with self._may_write():
                self._done = have = size_of(part)
                if have > spec.size:
                    part.unlink()
                    have = 0
            if have == spec.size:
                return True
            try:
                return self._receive(have)
            except TransferError as fault:
                if self._abandoned:
                    raise
                # A line that breaks often but moves on is no reason to give up. A hundredth at
                # least, so that the number of tries stays bounded.
                if size_of(part) > farthest + spec.size / 100:
                    failures = 0
                farthest = max(farthest, size_of(part))
                failures += 1
                if failures >= fault.tries:
                    raise
                pause = self._options.first_pause_s * 2 ** (failures - 1)
                self._trouble = str(fault)
                logger.warning('%s; next try in %g s', fault, pause)
                time.sleep(pause)

    def _receive(self, have: int) -> bool:
        """One request: append to the file, or write it anew; True if it was appended to."""
        spec, shown = self._spec, _shown(self._url)
        headers = {'Accept-Encoding': 'identity'}
        if have:
            headers['Range'] = f'bytes={have}-'
        with (
            _Session() as session,
            _answer(session, self._url, headers, self._options) as response,
        ):
            done = start = self._start_of_body(response, have)
            with self._opened('ab' if start else 'wb') as file:
                for chunk in _chunks(response):
                    done += len(chunk)
                    if done > spec.size:
                        raise TransferError(f'{shown} sent more than {spec.size} bytes')
                    with self._may_write():
                        file.write(chunk)
                        file.flush()
                    self._done = done
                    self._report(done)
        if done < spec.size:
            text = f'the connection to {shown} ended after {done} of {spec.size} bytes'
            raise TransferError(text, TRIES_TRANSIENT)
        return start > 0

    def _opened(self, mode: str) -> IO[bytes]:
        with self._may_write():
            return self._part.open(mode)

    def _start_of_body(self, response: requests.Response, have: int) -> int:
        """Offset in the file at which the answer's body starts; TransferError if it is none such.

        A part of the file that the server cannot go on from is removed.
        """
        url, status = _shown(response.url), response.status_code
        if status == 416 and have:
            self._begin_anew()
            raise TransferError(f'{url} cannot go on from byte {have}', TRIES_TRANSIENT)
        if status not in (200, 206):
            tries = TRIES_TRANSIENT if status in TRANSIENT_STATUSES else TRIES_PERMANENT
            raise TransferError(f'{url} answers {status} {response.reason or ""}'.rstrip(), tries)
        start, total = _span(response)
        if start not in (0, have):
            self._begin_anew()
            raise TransferError(f'{url} answers with another part than asked for', TRIES_TRANSIENT)
        kind = response.headers.get('Content-Type', 'no type').split(';')[0]
        if total not in (None, self._spec.size):
            raise TransferError(f'{url} offers {total} bytes ({kind}) instead of {self._spec.size}')
        if total is None and kind == 'text/html':
            raise TransferError(f'{url} answers with a web page: does this network want a log-in?')
        return start

    def _begin_anew(self) -> None:
        with self._may_write():
            self._part.unlink(missing_ok=True)


class _Session(requests.Session):
    """Leaves redirects to `_answer`: the library reads the body of each, however long it is."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None."""
        yield from ()


def _answer(
    session: requests.Session, url: str, headers: dict[str, str], options: DownloadOptions
) -> requests.Response:
    """The answer, of which only the head was read; redirects are followed."""
    timeout = (options.connect_timeout_s, options.read_timeout_s)
    place = url
    try:
        auth = requests.utils.get_auth_from_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = session.get(
                place, headers=headers, stream=True, timeout=timeout,
                auth=auth if any(auth) else None,
            )  # fmt: skip
            target = session.get_redirect_target(response)
            if not target:
                return response
            response.close()
            target = urllib.parse.urljoin(response.url, target)
            if session.should_strip_auth(response.url, target):
                auth = ('', '')
            place = target
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _connection_fault(error, place) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise TransferError(f'{_shown(url)} cannot be asked for: {error}') from error
    raise TransferError(f'{_shown(url)} redirects in circles')


def _chunks(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(CHUNK)
    except requests.RequestException as error:
        raise _connection_fault(error, response.url) from error


def _connection_fault(error: requests.RequestException, url: str) -> TransferError:
    host = _host(url)
    cause = getattr(error.args[0], 'reason', None) if error.args else None
    if isinstance(error, requests.ConnectTimeout):
        return TransferError(f'no connection to {host}: it does not answer', TRIES_UNREACHABLE)
    if isinstance(cause, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.SSLError)):
        return TransferError(f'no connection to {host}: {_root(error)}', TRIES_UNREACHABLE)
    return TransferError(f'the connection to {host} broke: {_root(error)}', TRIES_TRANSIENT)


def _host(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).hostname or 'the server'
    except ValueError:
        return 'the server'


def _root(error: BaseException) -> str:
    """The system's own words at the bottom of nested errors ('Connection refused')."""
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
    length = response.headers.get('Content-Length', '')
    if response.status_code == 200:
        return 0, int(length) if length.isdecimal() else None
    content_range = response.headers.get('Content-Range', '')
    match = re.match(r'bytes (\d+)-\d+/(\d+|\*)', content_range)
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
