"""What a client is told when something is refused, and how that becomes an HTTP answer.

Every refusal is JSON `{"error": "..."}` with one readable sentence; nothing of the program's
inside, no traceback and no path is ever in it.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from midas_depth_ros.depth import DepthError
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.errors import PictureTooLarge, UnsupportedFormat
from midas_depth_ros.views import ViewError
from midas_depth_ros.web.faults import plain

log = logging.getLogger(__name__)

MEANINGS = {
    400: 'The request cannot be read.',
    401: 'The token is missing or wrong.',
    403: 'The request comes from another site.',
    404: 'There is nothing here, or no longer.',
    405: 'Not this method.',
    406: 'None of the types in Accept can be given.',
    408: 'The request took too long to arrive.',
    409: 'The depth node refused.',
    413: 'Too many bytes or pixels.',
    415: 'Not a content type that is taken here.',
    421: 'Asked under a name that is not ours.',
    422: 'A value is wrong, or the picture is damaged.',
    429: 'Too many requests.',
    500: 'A fault of the program.',
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
FAULT = 'a fault of the program: the log of the dashboard has the details'


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
