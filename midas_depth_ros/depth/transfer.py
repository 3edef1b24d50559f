"""The transfer of one weights file from a server to the disk, resumed where it broke off.

A download grows in `<name>.part`, from which a later try, or a later process, resumes. The transfer
has a thread of its own: whatever it hangs in (looking up a host name cannot be interrupted), the
caller has an answer within its `DownloadLimit`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import shutil
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tqdm

from midas_depth_ros.depth.download_limit import KB, DownloadOptions, DownloadWatch, duration
from midas_depth_ros.depth.errors import printable
from midas_depth_ros.depth.files import MOST_WEIGHTS_BYTES, flush, sha256_of
from midas_depth_ros.depth.weights_file import WeightsFile, examine

if TYPE_CHECKING:
    # Takes a quarter of a second to import, and most starts need no download.
    import requests

MB = 1_000_000
logger = logging.getLogger(__name__)

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


def download(
    spec: WeightsFile,
    url: str,
    target: Path,
    part: Path,
    options: DownloadOptions,
    watch: DownloadWatch,
) -> None:
    """Fetch the file to `target`, which appears only when it is complete and its SHA-256 is right.

    Raises TransferError when the network or the server is at fault, OSError when the disk is.
    """
    _check_room(spec, part)
    where = printable(target)
    size = f' ({spec.size / MB:.1f} MB)' if spec.size else ''
    logger.info('fetching %s%s from %s', where, size, _shown(url))
    if spec.restriction:
        logger.warning('%s: licence %s, %s', spec.name, spec.licence, spec.restriction)
    with _show_progress(spec, size_of(part), options.log_every_s) as report:
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


def size_of(part: Path) -> int:
    """Bytes that have arrived."""
    return part.stat().st_size if part.exists() else 0


def _check_room(spec: WeightsFile, part: Path) -> None:
    missing = spec.size - size_of(part)
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
        self._done = size_of(self.part)
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
                self._done = have = size_of(part)
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
                if size_of(part) > farthest + (self._size or MOST_WEIGHTS_BYTES) / 100:
                    failures = 0
                farthest = max(farthest, size_of(part))
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
        missing, free = total - size_of(self.part), shutil.disk_usage(self.part.parent).free
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
