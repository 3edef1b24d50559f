"""Errors of the dashboard: HTTP error responses, and faults that are counted and logged.

Every error response is JSON, `{"error": "one sentence"}`, and never contains a traceback or a path.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
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

STATUS_TEXTS = {
    400: 'Malformed request.',
    401: 'The token is missing or invalid.',
    403: 'The request comes from another site.',
    404: 'Not found, or no longer available.',
    405: 'Method not allowed.',
    406: 'None of the types in Accept is available.',
    408: 'The request took too long to arrive.',
    409: 'The depth node refused.',
    413: 'Too many bytes or pixels.',
    415: 'Unsupported content type.',
    421: 'Unknown host name.',
    422: 'Invalid value, or damaged picture.',
    429: 'Too many requests.',
    500: 'Internal error.',
    503: 'Busy, timed out, or no depth node.',
    504: 'The depth node did not answer.',
}
# The first match counts.
STATUS_OF_ERRORS: tuple[tuple[type[Exception], int], ...] = (
    (PictureTooLarge, 413),
    (UnsupportedFormat, 415),
    (ImageError, 422),
    (ViewError, 422),
    (DepthError, 503),
)
LONGEST_TEXT = 1000
INTERNAL_ERROR = 'internal error: see the dashboard log'


class Refused(HTTPException):
    """A refused request: an HTTP status and one sentence.

    An HTTPException, because FastAPI turns anything else raised while a body is read into a 400.
    """

    def __init__(self, status: int, text: str, retry_after_s: int | None = None) -> None:
        headers = {'Retry-After': str(retry_after_s)} if retry_after_s else {}
        if status == 401:
            headers['WWW-Authenticate'] = 'Bearer'
        super().__init__(status, sanitize(text, LONGEST_TEXT), headers)

    @property
    def text(self) -> str:
        """The sentence."""
        return str(self.detail)

    def response(self) -> JSONResponse:
        """Return the error response."""
        return JSONResponse({'error': self.text}, self.status_code, self.headers)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of these error responses."""
    schema = {'type': 'object', 'properties': {'error': {'type': 'string'}}, 'required': ['error']}
    content = {'application/json': {'schema': schema}}
    return {each: {'description': STATUS_TEXTS[each], 'content': content} for each in statuses}


def add_handlers(app: FastAPI) -> None:
    """Turn every exception of the app into such a response."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)
    for kind, _ in STATUS_OF_ERRORS:
        app.add_exception_handler(kind, _known)


async def _http(request: Request, error: Any) -> JSONResponse:
    if isinstance(error, Refused):
        return error.response()
    status, detail = error.status_code, error.detail
    text = f'{STATUS_TEXTS[status]} {detail}' if status == 400 else STATUS_TEXTS.get(status, detail)
    return JSONResponse({'error': sanitize(text, LONGEST_TEXT)}, status, error.headers)


async def _invalid(request: Request, error: Any) -> JSONResponse:
    """FastAPI's validation errors in one sentence."""
    texts = []
    for each in error.errors()[:5]:
        where = '.'.join(map(str, each['loc'][1:])) or str(each['loc'][0])
        texts.append(f'{where}: {each["msg"]}')
    return JSONResponse(
        {'error': sanitize('; '.join(texts), LONGEST_TEXT) or STATUS_TEXTS[422]}, 422
    )


async def _known(request: Request, error: Exception) -> JSONResponse:
    status = next(code for kind, code in STATUS_OF_ERRORS if isinstance(error, kind))
    if isinstance(error, DepthError):  # its text contains file names
        log.error('%s', error)
        return JSONResponse({'error': 'no model is loaded: see the dashboard log'}, 503)
    return JSONResponse({'error': sanitize(error, LONGEST_TEXT)}, status)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({'error': INTERNAL_ERROR}, 500)


# --- Faults in data from outside: counted, and logged now and then.

LOG_PERIOD_S = 10.0
MOST_KINDS = 100
LONGEST_FAULT = 500  # characters
ANYTHING_ELSE = 'anything else'

SPACES = re.compile(r'[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+')
# Control characters, bidirectional marks, surrogates.
UNSAFE = re.compile(
    '[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f'
    '\ufeff\ufff9-\ufffb\ud800-\udfff]'
)


def sanitize(text: Any, most: int = LONGEST_FAULT) -> str:
    """Return a text as one line of at most `most` characters, unsafe ones replaced by U+FFFD."""
    cut = str(text)[: most + 1]
    fit = UNSAFE.sub('\N{REPLACEMENT CHARACTER}', SPACES.sub(' ', cut))
    return fit if len(cut) <= most else f'{fit[: most - 3]}...'


class Faults:
    """Counts faults by kind, and logs each kind at most once per period. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._logged: dict[str, tuple[float, int]] = {}  # kind -> time and count
        self._last = ''

    def count(self, what: str, error: BaseException | str) -> None:
        """Count a fault of kind `what`."""
        named = isinstance(error, str)
        text = sanitize(f'{what}: {error}' if named else f'{what}: {type(error).__name__}: {error}')
        now = self._clock()
        with self._lock:
            if what not in self._counts and len(self._counts) >= MOST_KINDS:
                what = ANYTHING_ELSE
            count = self._counts[what] = self._counts.get(what, 0) + 1
            # Texts of exceptions may reveal internals: they go to the log only.
            self._last = text if named else sanitize(f'{what}: {type(error).__name__}')
            logged_s, before = self._logged.get(what, (-LOG_PERIOD_S, 0))
            due = now - logged_s >= LOG_PERIOD_S
            if due:
                self._logged[what] = (now, count)
        if due:
            more = f' ({count - before} since the last report)' if before else ''
            log.warning('%s%s', text, more)

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Count any exception raised in the block as a fault of kind `what`, and suppress it.

        Data from outside must not end the thread that processes it, and the exceptions that a
        message may cause in a library cannot all be listed.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the boundary
            self.count(what, error)

    def summary(self) -> dict[str, Any]:
        """Return them as GET /api/status reports them."""
        with self._lock:
            return {
                'count': sum(self._counts.values()),
                'kinds': {sanitize(what): count for what, count in self._counts.items()},
                'last': self._last,
            }
