"""What a request may carry: the content type that its path takes, few enough bytes, soon enough.

An ASGI layer that looks before anything is parsed. A path that takes no body gets none.
"""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits

MULTIPART, JSON = 'multipart/form-data', 'application/json'
# The paths that take a body.
TAKEN = {'/api/predict': MULTIPART, '/api/parameters': JSON, '/api/enabled': JSON}


class BodyGuard:
    """The ASGI layer that refuses bodies by type (415), size (413) and slowness (408)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            bounded = _Bounded(receive, self._allowed(scope), self._limits.upload_s)
            await self._app(scope, bounded, watched)
        except Refused as refusal:
            if started:
                raise
            await refusal.response()(scope, receive, send)

    def _allowed(self, scope: Scope) -> int:
        """How many bytes this request may bring. Raises Refused."""
        wanted = TAKEN.get(scope['path']) if scope['method'] == 'POST' else None
        if wanted is None:
            return self._limits.json_bytes
        headers = Headers(scope=scope)
        given = headers.get('content-type', '').partition(';')[0].strip().lower()
        if given != wanted:
            raise Refused(415, f'the content type is {given[:60] or "missing"}: send {wanted}')
        most = self._limits.upload_bytes if wanted == MULTIPART else self._limits.json_bytes
        length = headers.get('content-length', '0')
        if length.isdecimal() and int(length) > most:
            raise too_many_bytes(most)
        return most


class _Bounded:
    """A `receive` that counts bytes and time."""

    def __init__(self, receive: Receive, most: int, time_s: float) -> None:
        self._receive = receive
        self._most, self._left = most, most
        self._deadline = time.monotonic() + time_s
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # what follows is the disconnect, for which one may wait
            return await self._receive()
        try:
            message = await asyncio.wait_for(
                self._receive(), max(self._deadline - time.monotonic(), 0.001)
            )
        except asyncio.TimeoutError:
            raise Refused(408, 'the request took too long to arrive') from None
        self._left -= len(message.get('body', b''))
        if self._left < 0:
            raise too_many_bytes(self._most)
        self._whole = not message.get('more_body', False)
        return message


def too_many_bytes(most: int) -> Refused:
    """The refusal of a request that is too large."""
    return Refused(413, f'at most {most} bytes are taken: send a smaller picture')
