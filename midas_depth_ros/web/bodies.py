"""What a request may carry: the content type that its path takes, few enough bytes, soon enough.

An ASGI layer that looks before anything is parsed. A path that takes no body gets none. All uploads
share one budget of number and bytes, which a request gives back when it is answered. They stay in
memory: a file in the temporary folder would be one more thing to bound, on a disk that may be full.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midas_depth_ros.web.addresses import counted_as
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits

MULTIPART, JSON = 'multipart/form-data', 'application/json'
# The paths that take a body.
TAKEN = {'/api/predict': MULTIPART, '/api/parameters': JSON, '/api/enabled': JSON}
# Who brings less than this, after a while, keeps a place that others could use.
SLOWEST_BYTES_PER_S, FAIR_START_S = 16 * 1024, 5.0
RETRY_S = 3
SMALL_BODIES = 64  # at once: a robot can be paused while pictures are being sent


class Uploads:
    """The budget of bodies: so many at once, so many bytes that are not answered yet."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._open: set[Upload] = set()
        self.refused = 0

    def begin(self, client: str, most_bytes: int) -> Upload:
        """One more, of at most so many bytes. Raises Refused (503)."""
        of_client = sum(1 for upload in self._open if upload.client == client)
        if len(self._open) >= self._limits.uploads or of_client >= self._limits.uploads_per_client:
            self.refused += 1
            text = f'{len(self._open)} requests are being sent or worked on: try again'
            raise Refused(503, text, RETRY_S)
        upload = Upload(self, client, most_bytes, self._limits.upload_s, self._clock)
        self._open.add(upload)
        return upload

    def end(self, upload: Upload) -> None:
        """It is answered."""
        self._open.discard(upload)

    def check(self) -> None:
        """Raise Refused (503) where more has come in than may be kept at once."""
        if self.held > self._limits.uploads_in_all_bytes:
            self.refused += 1
            raise Refused(503, 'too many bytes are being sent at once: try again', RETRY_S)

    @property
    def held(self) -> int:
        """Bytes of requests that are not answered yet."""
        return sum(upload.received for upload in self._open)

    def summary(self) -> dict[str, int]:
        """What GET /api/status says of them."""
        return {'open': len(self._open), 'bytes': self.held, 'refused': self.refused}


class Upload:
    """One body on its way: counts its bytes and its time."""

    def __init__(
        self,
        uploads: Uploads,
        client: str,
        most_bytes: int,
        time_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._uploads = uploads
        self._most_bytes = most_bytes
        self._time_s = time_s
        self._clock = clock
        self._started_s = clock()
        self._whole = False
        self.client = client
        self.received = 0

    def bounded(self, receive: Receive) -> Receive:
        """A `receive` that raises Refused: 408 too slow, 413 too much, 503 too much in all."""

        async def receive_bounded() -> Message:
            if self._whole:  # what follows is the disconnect, for which one may wait
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._time_left_s())
            except asyncio.TimeoutError:
                raise Refused(408, 'the request took too long to arrive') from None
            self.received += len(message.get('body', b''))
            self._whole = not message.get('more_body', False)
            if self.received > self._most_bytes:
                raise too_many_bytes(self._most_bytes)
            self._uploads.check()
            return message

        return receive_bounded

    def _time_left_s(self) -> float:
        """For the next piece."""
        fair_s = FAIR_START_S + self.received / SLOWEST_BYTES_PER_S
        age_s = self._clock() - self._started_s
        return max(min(self._time_s, fair_s) - age_s, 0.001)


class BodyGuard:
    """The ASGI layer that refuses bodies: type (415), size (413), slowness (408), number (503)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self.uploads = Uploads(limits)
        small = dataclasses.replace(limits, uploads=SMALL_BODIES, uploads_per_client=SMALL_BODIES)
        self._small = Uploads(small)
        keep_in_memory(limits.upload_bytes)

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
            most_bytes = self._allowed(scope)
            small = most_bytes <= self._limits.json_bytes
            uploads = self._small if small else self.uploads
            if scope['method'] in ('GET', 'HEAD') and not announces_a_body(scope):
                await self._app(scope, receive, watched)
                return
            upload = uploads.begin(counted_as((scope.get('client') or ('',))[0]), most_bytes)
            try:
                await self._app(scope, upload.bounded(receive), watched)
            finally:
                uploads.end(upload)
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
        if length.isdecimal() and int(length[:20]) > most:
            raise too_many_bytes(most)
        return most


def announces_a_body(scope: Scope) -> bool:
    """Whether a body follows the header of a request (RFC 9112, 6.3)."""
    headers = Headers(scope=scope)
    return headers.get('content-length', '0') != '0' or 'transfer-encoding' in headers


def too_many_bytes(most: int) -> Refused:
    """The refusal of a request that is too large."""
    return Refused(413, f'at most {most} bytes are taken: send a smaller picture')


def keep_in_memory(most_bytes: int) -> None:
    """Have Starlette keep what is uploaded, of no more than so many bytes, out of the disk."""
    for name in ('spool_max_size', 'max_file_size'):  # its newer and its older name
        if getattr(MultiPartParser, name, most_bytes + 1) <= most_bytes:
            setattr(MultiPartParser, name, most_bytes + 1)
