"""What a client is told when something is refused, and how that becomes an HTTP answer.

Every refusal is JSON `{"error": "..."}` with one readable sentence; nothing of the program's
inside, no traceback and no path is ever in it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from midas_depth_ros.depth import DepthError
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.errors import PictureTooLarge, UnsupportedFormat
from midas_depth_ros.views import ViewError

log = logging.getLogger(__name__)

MEANINGS = {
    400: 'The request cannot be read.',
    401: 'The token is missing or wrong.',
    403: 'The request comes from another site.',
    404: 'There is nothing here, or no longer.',
    405: 'Not this method.',
    406: 'None of the types in Accept is available.',
    408: 'The request took too long to arrive.',
    409: 'The depth node refused.',
    413: 'Too many bytes or pixels.',
    415: 'The content type is not supported.',
    421: 'The host name is not known to this dashboard.',
    422: 'A value is wrong, or the picture is damaged.',
    429: 'Too many requests.',
    500: 'An internal error.',
    503: 'Busy, out of time, or no depth node.',
    504: 'The depth node has not answered.',
}
# The first that fits counts.
STATUS_OF_ERRORS: tuple[tuple[type[Exception], int], ...] = (
    (PictureTooLarge, 413),
    (UnsupportedFormat, 415),
    (ImageError, 422),
    (ViewError, 422),
    (DepthError, 503),
)
LONGEST_TEXT = 1000
FAULT = 'internal error: see the log of the dashboard'


class Refused(HTTPException):
    """A request that gets an error answer: an HTTP status and one readable sentence.

    An HTTPException, since FastAPI makes a 400 of everything else that is raised while a body is
    read.
    """

    def __init__(self, status: int, text: str, retry_after_s: int | None = None) -> None:
        headers = {'Retry-After': str(retry_after_s)} if retry_after_s else {}
        if status == 401:
            headers['WWW-Authenticate'] = 'Bearer'
        super().__init__(status, plain(text, LONGEST_TEXT), headers)

    @property
    def text(self) -> str:
        """The sentence."""
        return str(self.detail)

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse({'error': self.text}, self.status_code, self.headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation says in OpenAPI of the errors that it may answer with."""
    schema = {
        'type': 'object',
        'properties': {'error': {'type': 'string'}},
        'required': ['error'],
    }
    content = {'application/json': {'schema': schema}}
    return {
        status: {'description': MEANINGS[status], 'content': content}
        for status in sorted({*statuses, 400, 401, 403, 421, 500})
    }


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app an answer of this kind."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)
    for kind, _ in STATUS_OF_ERRORS:
        app.add_exception_handler(kind, _known)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Refused):
        return error.response()
    status, detail = getattr(error, 'status_code', 500), str(getattr(error, 'detail', ''))
    text = f'{MEANINGS[status]} {detail}' if status == 400 else MEANINGS.get(status, detail)
    headers = getattr(error, 'headers', None)
    return JSONResponse({'error': plain(text, LONGEST_TEXT)}, status, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's complaints in one sentence: where, and what is wrong there."""
    complaints = error.errors() if isinstance(error, RequestValidationError) else []
    texts = []
    for complaint in complaints[:5]:
        where = '.'.join(str(part) for part in complaint['loc'][1:]) or str(complaint['loc'][0])
        texts.append(f'{where}: {complaint["msg"]}')
    return JSONResponse({'error': plain('; '.join(texts), LONGEST_TEXT) or MEANINGS[422]}, 422)


async def _known(request: Request, error: Exception) -> JSONResponse:
    status = next(code for kind, code in STATUS_OF_ERRORS if isinstance(error, kind))
    if isinstance(error, DepthError):  # its text names files of this machine
        log.error('%s', error)
        return JSONResponse({'error': 'there is no model: the log of the dashboard says why'}, 503)
    return JSONResponse({'error': plain(error, LONGEST_TEXT)}, status)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({'error': FAULT}, 500)


# --- What goes wrong with what comes from outside: counted, said now and then, and left behind.
#
# `Faults` is the boundary around work on such data. `plain` makes a text fit for a log and a page.
# `quiet_log` gives the log of the process a bound: whoever makes the dashboard complain a million
# times gets a few lines and a count.


LOG_PERIOD_S = 10.0
MOST_KINDS = 100
LINES_AT_ONCE = 5  # of one kind, before they are only counted
LINES_IN_ALL = 60  # of all kinds, in one period
LONGEST_LINE = 500
LONGEST_LINE = 2000
ANYTHING_ELSE = 'anything else'

SPACES = re.compile(r'[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+')
# Control characters, marks that turn the direction of writing, halves of characters.
UNFIT = re.compile(
    '[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f'
    '\ufeff\ufff9-\ufffb\ud800-\udfff]'
)


def plain(text: Any, most: int = LONGEST_LINE) -> str:
    """A text on one line, of at most so many characters, with U+FFFD for what could do harm."""
    cut = str(text)[: most + 1]
    fit = UNFIT.sub('\N{REPLACEMENT CHARACTER}', SPACES.sub(' ', cut))
    return fit if len(cut) <= most else f'{fit[: most - 3]}...'


class Faults:
    """Counts faults by what they are of, and logs each kind once in a while. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._said: dict[str, tuple[float, int]] = {}  # when, and how many there were then
        self._last = ''

    def count(self, what: str, error: BaseException | str) -> None:
        """One more fault of `what`."""
        named = isinstance(error, str)
        text = plain(f'{what}: {error}' if named else f'{what}: {type(error).__name__}: {error}')
        now = self._clock()
        with self._lock:
            if what not in self._counts and len(self._counts) >= MOST_KINDS:
                what = ANYTHING_ELSE
            count = self._counts[what] = self._counts.get(what, 0) + 1
            # What others raise may tell of the inside of the program: that is for the log alone.
            self._last = text if named else plain(f'{what}: {type(error).__name__}')
            said_s, before = self._said.get(what, (-LOG_PERIOD_S, 0))
            due = now - said_s >= LOG_PERIOD_S
            if due:
                self._said[what] = (now, count)
        if due:
            more = f' ({count - before} since the last time)' if before else ''
            log.warning('%s%s', text, more)

    @contextlib.contextmanager
    def around(self, what: str) -> Iterator[None]:
        """The boundary: what is raised within is counted as a fault of `what` and goes no farther.

        What comes from outside must not be able to end the thread that works on it, and nobody
        can name beforehand all that a message may make a library raise.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the boundary
            self.count(what, error)

    @property
    def total(self) -> int:
        """How many there were."""
        with self._lock:
            return sum(self._counts.values())

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of them."""
        with self._lock:
            return {
                'count': sum(self._counts.values()),
                'kinds': {plain(what): count for what, count in self._counts.items()},
                'last': self._last,
            }


class LogThrottle(logging.Filter):
    """Lets a few records of each kind through in one period, and says how many it kept back.

    Of what goes on in the next period it lets one through. A kind is a logger and an unformatted
    message: what differs only in its values is one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._since_s = -LOG_PERIOD_S
        self._passed: dict[tuple[str, str], int] = {}
        self._kept_back: dict[tuple[str, str], int] = {}
        self._flooding: set[tuple[str, str]] = set()  # those of the period before
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one may be written."""
        kind = (record.name, str(record.msg)[:200])
        with self._lock:
            now = self._clock()
            if now - self._since_s >= LOG_PERIOD_S:
                self._since_s, self._passed, self._lines = now, {}, 0
                self._flooding = set(self._kept_back)
            passed = self._passed.get(kind, 0)
            most = 1 if kind in self._flooding else LINES_AT_ONCE
            if passed >= most or self._lines >= LINES_IN_ALL:
                if kind in self._kept_back or len(self._kept_back) < MOST_KINDS:
                    self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
                return False
            self._passed[kind] = passed + 1
            self._lines += 1
            more = self._kept_back.pop(kind, 0)
        if more:
            record.msg, record.args = f'{record.getMessage()} (and {more} more like it)', ()
        return True


class PlainFormatter(logging.Formatter):
    """A record as lines without control characters; only tracebacks have more than one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The first line."""
        return plain(super().formatMessage(record), LONGEST_LINE)

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The traceback."""
        lines = super().formatException(ei).split('\n')
        return '\n'.join(plain(line, LONGEST_LINE) for line in lines)


def quiet_log() -> None:
    """Have this process log warnings and worse to stderr, with a bound."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter('%(levelname)s %(name)s: %(message)s'))
    handler.addFilter(LogThrottle())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Every byte of an upload that is not as it should be; the answer says it once.
    logging.getLogger('python_multipart').setLevel(logging.ERROR)
