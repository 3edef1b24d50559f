"""One browser's live view over a WebSocket: the newest pictures and facts, at its own pace.

To the browser go texts (JSON: facts that changed) and binary messages (one frame: a 2-byte length,
a JSON header of so many bytes, a JPEG). For each frame the browser answers `{"shown": stream}`
before it gets the next one of that stream, so that a slow one skips frames and nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from midas_depth_ros.web.feed import Bell, Feed, Picture

PICTURE_PERIOD_S = 1 / 15  # of each stream and browser, at the shortest
FACTS_PERIOD_S = 0.1
IDLE_S = 5.0  # a browser hears at least so often that the dashboard lives
TRY_AGAIN_LATER = 1013
LONGEST_MESSAGE = 1000


class LiveView:
    """Serves one browser until it goes."""

    def __init__(self, websocket: WebSocket, feed: Feed) -> None:
        self._socket = websocket
        self._feed = feed
        self._sent: dict[str, int] = {}  # the number of the last frame of each stream
        self._unanswered: set[str] = set()
        self._due_s: dict[str, float] = {}
        self._told_s = -math.inf
        self._seen: dict[str, int] = {}

    async def serve(self, bell: Bell) -> None:
        """Send what is new and take answers; returns when the browser is gone."""
        listener = asyncio.create_task(self._listen(bell))
        try:
            while not listener.done():
                wait_s = await self._send_news()
                await bell.wait(wait_s)
        except (WebSocketDisconnect, RuntimeError):
            pass  # closed while we were sending
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await listener

    async def _listen(self, bell: Bell) -> None:
        try:
            while True:
                stream = shown(await self._socket.receive_text())
                self._unanswered.discard(stream)
                bell.ring()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            bell.ring()

    async def _send_news(self) -> float:
        """Send what is due; returns after how long to look again."""
        now = time.monotonic()
        if now - self._told_s >= FACTS_PERIOD_S:
            news = self._feed.facts(self._seen)
            if news or now - self._told_s >= IDLE_S:
                await self._socket.send_text(json.dumps(news, allow_nan=False))
                self._told_s = now
        pending = self._feed.has_news(self._seen)
        wait_s = self._told_s + (FACTS_PERIOD_S if pending else IDLE_S) - now
        for stream, picture in self._feed.pictures().items():
            if picture.number == self._sent.get(stream) or stream in self._unanswered:
                continue
            due_s = self._due_s.get(stream, 0.0)
            if now < due_s:
                wait_s = min(wait_s, due_s - now)
                continue
            await self._send_picture(stream, picture)
            self._due_s[stream] = now + PICTURE_PERIOD_S
        return max(wait_s, 0.001)

    async def _send_picture(self, stream: str, picture: Picture) -> None:
        self._sent[stream] = picture.number
        jpeg = picture.jpeg() if picture.made else await asyncio.to_thread(picture.jpeg)
        if jpeg:
            self._unanswered.add(stream)
            await self._socket.send_bytes(framed(stream, picture.number, jpeg))


def framed(stream: str, number: int, jpeg: bytes) -> bytes:
    """One binary message."""
    header = json.dumps({'stream': stream, 'number': number}).encode()
    return len(header).to_bytes(2, 'big') + header + jpeg


def shown(text: str) -> str:
    """The stream that a browser says it has shown; '' for what is no such message."""
    if len(text) > LONGEST_MESSAGE:
        return ''
    try:
        message: Any = json.loads(text)
    except ValueError:
        return ''
    stream = message.get('shown') if isinstance(message, dict) else None
    return stream if isinstance(stream, str) else ''


async def live(websocket: WebSocket, feed: Feed, most: int) -> None:
    """Serve one WebSocket."""
    await websocket.accept()
    with feed.viewing(most) as bell:
        if bell is None:
            await websocket.close(TRY_AGAIN_LATER, 'too many browsers look')
            return
        await LiveView(websocket, feed).serve(bell)
