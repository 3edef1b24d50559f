"""One browser's live view over a WebSocket: the newest pictures and facts, at its own pace.

To the browser go texts (JSON: facts that changed, how old they are, and the server's clock) and
binary messages (one frame: a 2-byte length, a JSON header of so many bytes, a JPEG). For each frame
the browser answers `{"shown": stream}` before it gets the next one of that stream, so that a slow
one skips frames and nobody waits. `{"clock": number}` comes back as "echo" in the next text: so a
browser knows how late what it gets may be, however long it lay on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from midas_depth_ros.web.feed import Bell, Feed, Picture, Runner, Seen
from midas_depth_ros.web.limits import Limits, client_of

PICTURE_PERIOD_S = 1 / 15  # of each stream and browser, at the shortest
FACTS_PERIOD_S = 0.1
IDLE_S = 1.0  # a browser hears at least so often that the dashboard lives
SEND_S = 10.0  # until a browser that reads nothing is given up
TRY_AGAIN_LATER, POLICY_VIOLATION = 1013, 1008
LONGEST_MESSAGE = 1000
MESSAGES_PER_S, MESSAGE_BURST = 100.0, 400  # from a browser


class LiveView:
    """Serves one browser until it goes."""

    def __init__(self, websocket: WebSocket, feed: Feed, runner: Runner) -> None:
        self._socket = websocket
        self._feed = feed
        self._runner = runner
        self._sent: dict[str, int] = {}  # the number of the last frame of each stream
        self._unanswered: set[str] = set()
        self._due_s: dict[str, float] = {}
        self._told_s = -math.inf
        self._seen = Seen()
        self._echo: float | None = None
        self._making: dict[str, asyncio.Task[tuple[Picture, bytes]]] = {}

    async def serve(self, bell: Bell) -> None:
        """Send what is new and take answers; returns when the browser is gone."""
        listener = asyncio.create_task(self._listen(bell))
        try:
            while not listener.done():
                wait_s = await asyncio.wait_for(self._send_news(bell), SEND_S)
                await bell.wait(wait_s)
        except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            pass  # closed while we were sending, or it takes nothing
        finally:
            listener.cancel()
            for task in self._making.values():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await listener

    async def _listen(self, bell: Bell) -> None:
        level, then = float(MESSAGE_BURST), time.monotonic()
        try:
            while True:
                message = answer_of(await self._socket.receive_text())
                now = time.monotonic()
                level, then = min(MESSAGE_BURST, level + (now - then) * MESSAGES_PER_S) - 1, now
                if level < 0:
                    await self._socket.close(POLICY_VIOLATION, 'too many messages')
                    return
                if isinstance(message.get('shown'), str):
                    self._unanswered.discard(message['shown'])
                clock = message.get('clock')
                if isinstance(clock, (int, float)) and math.isfinite(clock):
                    self._echo = float(clock)
                bell.ring()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            bell.ring()

    async def _send_news(self, bell: Bell) -> float:
        """Send what is due; returns after how long to look again."""
        now = time.monotonic()
        if now - self._told_s >= FACTS_PERIOD_S:
            news = self._feed.news(self._seen)
            if news or self._echo is not None or now - self._told_s >= IDLE_S:
                await self._socket.send_text(self._with_clock(news))
                self._told_s = now
        pending = self._echo is not None or self._feed.has_news(self._seen)
        wait_s = self._told_s + (FACTS_PERIOD_S if pending else IDLE_S) - now
        for stream, picture in self._feed.pictures().items():
            making = self._making.get(stream)
            if making is not None:
                if making.done():
                    del self._making[stream]
                    await self._send_picture(stream, *making.result())
                continue
            if picture.number == self._sent.get(stream) or stream in self._unanswered:
                continue
            due_s = self._due_s.get(stream, 0.0)
            if now < due_s:
                wait_s = min(wait_s, due_s - now)
                continue
            self._sent[stream] = picture.number
            self._due_s[stream] = now + PICTURE_PERIOD_S
            # Beside this loop: a picture that takes long holds up neither facts nor other streams.
            task = asyncio.create_task(self._made(picture))
            task.add_done_callback(lambda _: bell.ring())
            self._making[stream] = task
        return max(wait_s, 0.001)

    def _with_clock(self, news: str) -> str:
        clock = f'"now": {self._feed.clock():.3f}'
        if self._echo is not None:
            clock += f', "echo": {json.dumps(self._echo)}'
            self._echo = None
        return f'{{{", ".join(filter(None, (clock, news)))}}}'

    async def _made(self, picture: Picture) -> tuple[Picture, bytes]:
        return picture, await picture.encoded(self._runner)

    async def _send_picture(self, stream: str, picture: Picture, jpeg: bytes) -> None:
        if jpeg and not picture.silent:
            self._unanswered.add(stream)
            await self._socket.send_bytes(framed(stream, picture, jpeg))


def framed(stream: str, picture: Picture, jpeg: bytes) -> bytes:
    """One binary message; "heard" is by the clock that is "now" in the texts."""
    header = json.dumps(
        {
            'stream': stream,
            'number': picture.number,
            'heard': round(picture.heard_s, 3),
            'lifetime_s': picture.lifetime_s,
        }
    ).encode()
    return len(header).to_bytes(2, 'big') + header + jpeg


def answer_of(text: str) -> dict[str, Any]:
    """What a browser says, if it is an object; nothing for what is no such message."""
    if len(text) > LONGEST_MESSAGE:
        return {}
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


async def live(websocket: WebSocket, feed: Feed, runner: Runner, limits: Limits) -> None:
    """Serve one WebSocket."""
    await websocket.accept()
    client = client_of(websocket)
    with feed.viewing(limits.viewers, client, limits.viewers_per_client) as bell:
        if bell is None:
            await websocket.close(TRY_AGAIN_LATER, 'too many browsers are connected')
            return
        await LiveView(websocket, feed, runner).serve(bell)
