"""What is known of the robot at this moment, between the thread that learns it and the browsers.

The ROS thread puts pictures and facts in; each browser's coroutine takes the newest of what it has
not seen. Nothing queues: a picture that nobody fetched is replaced. Without ROS it stays empty.

Whatever is put in carries the time when it was heard and how long it may be believed. After that it
is unknown by itself, whoever asks and whatever has become of the thread that told it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from midas_depth_ros.web.errors import Faults, Refused, plain
from midas_depth_ros.web.limits import Limits, client_of

PICTURE_LIFETIME_S = 3.0
MOST_FACTS = 300
MOST_STREAMS = 64
LONGEST_FACT = 64 * 1024  # characters of JSON
LONGEST_STRING = 500
DEEPEST = 6
LARGEST_INTEGER = 2**53  # that JavaScript can tell from its neighbours


class Runner(Protocol):
    """What makes pictures outside the event loop, as `limits.Jobs` does."""

    async def run(self, function: Callable[[], bytes]) -> bytes:
        """The function's result. Raises Refused."""


class Picture:
    """One frame of a stream; made into a JPEG at most once, when the first browser wants it.

    `lifetime_s`: for so long after it was heard it may be shown as what the camera sees.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        make_jpeg: Callable[[], bytes],
        lifetime_s: float = PICTURE_LIFETIME_S,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = next(self._numbers)
        self.heard_s = clock()
        self.lifetime_s = lifetime_s
        self._clock = clock
        self._make_jpeg: Callable[[], bytes] | None = make_jpeg
        self._faults = faults or Faults()
        self._jpeg = b''
        self._lock = threading.Lock()
        self._making: asyncio.Task[bytes] | None = None

    @property
    def silent(self) -> bool:
        """Whether it is too old to be shown."""
        return self._clock() - self.heard_s > self.lifetime_s

    def jpeg(self) -> bytes:
        """The JPEG; empty where the frame cannot be shown. To be called outside the event loop."""
        with self._lock:
            if self._make_jpeg is not None:
                with self._faults.around('a picture'):
                    self._jpeg = self._make_jpeg()
                self._make_jpeg = None
            return self._jpeg

    async def encoded(self, runner: Runner) -> bytes:
        """The JPEG, made by one thread for all browsers that wait; empty as that of `jpeg`."""
        if self._make_jpeg is None:
            return self._jpeg
        if self._making is None:
            self._making = asyncio.ensure_future(runner.run(self.jpeg))
        try:
            # One browser that goes does not take the picture from the others.
            return await asyncio.shield(self._making)
        except Refused as refusal:
            self._faults.count('a picture', refusal.text)
            return b''


@dataclasses.dataclass(frozen=True)
class Fact:
    """One thing that is known, as JSON, and until when.

    `otherwise`: what it is, as JSON, once `lifetime_s` is over; without a lifetime it holds on.
    """

    text: str
    otherwise: str
    heard_s: float
    lifetime_s: float | None
    version: int  # of the value
    told: int  # how often it was told

    def silent(self, now_s: float) -> bool:
        """Whether it is too old to be believed."""
        return self.lifetime_s is not None and now_s - self.heard_s > self.lifetime_s

    def heard(self, now_s: float) -> dict[str, Any]:
        """How old it is, and whether that is too old."""
        return {
            'age_s': round(now_s - self.heard_s, 3),
            'lifetime_s': self.lifetime_s,
            'silent': self.silent(now_s),
        }


class Feed:
    """The newest picture of every stream and the newest facts, with an event for each browser.

    Streams are named `<camera>/picture` and `<camera>/heatmap`; facts are what JSON can say.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._facts: dict[str, Fact] = {}
        self._told = 0
        self._waiting: dict[ThreadsafeEvent, str] = {}
        self._on_audience: Callable[[int], None] = lambda viewers: None

    @property
    def viewers(self) -> int:
        """How many browsers look."""
        with self._lock:
            return len(self._waiting)

    def put(self, stream: str, picture: Picture) -> None:
        """A new frame of a stream. Raises ValueError where there are too many streams."""
        with self._lock:
            if stream not in self._pictures and len(self._pictures) >= MOST_STREAMS:
                raise ValueError(f'more than {MOST_STREAMS} streams')
            self._pictures[stream] = picture
        self._wake_all()

    def drop(self, stream: str) -> None:
        """A stream that there is no more."""
        with self._lock:
            self._pictures.pop(stream, None)

    def tell(
        self, name: str, value: Any, lifetime_s: float | None = None, otherwise: Any = None
    ) -> None:
        """A fact, believed for so long after now, and then `otherwise`; None if it is not known.

        Numbers that JSON cannot say become None, and texts lose what does not belong on a page.
        Raises ValueError or TypeError for what cannot be told: too much, or no plain value.
        """
        text, later = as_json(value), as_json(otherwise)
        with self._lock:
            before = self._facts.get(name)
            if before is None and len(self._facts) >= MOST_FACTS:
                raise ValueError(f'more than {MOST_FACTS} facts')
            now_s = self.clock()
            same = before is not None and (before.text, before.otherwise) == (text, later)
            if before is not None and same and before.lifetime_s is lifetime_s is None:
                return
            self._told += 1
            # What has been silent meanwhile is news, also where it is as it was.
            known = before is not None and same and not before.silent(now_s)
            version = before.version if before is not None and known else self._told
            self._facts[name] = Fact(text, later, now_s, lifetime_s, version, self._told)
        self._wake_all()

    def forget(self, name: str) -> None:
        """A fact that nobody needs to know of any more."""
        with self._lock:
            self._facts.pop(name, None)

    def pictures(self) -> dict[str, Picture]:
        """The newest frame of each stream, where it is not too old."""
        with self._lock:
            return {name: each for name, each in self._pictures.items() if not each.silent}

    def facts(self) -> dict[str, Any]:
        """The facts as they may be believed now."""
        now_s = self.clock()
        with self._lock:
            found = dict(self._facts)
        return {
            name: json.loads(fact.otherwise if fact.silent(now_s) else fact.text)
            for name, fact in found.items()
        }

    def heard(self) -> dict[str, dict[str, Any]]:
        """For each fact how long ago it was heard, its lifetime, and whether that is over."""
        now_s = self.clock()
        with self._lock:
            found = dict(self._facts)
        return {name: fact.heard(now_s) for name, fact in found.items()}

    def news(self, seen: Seen) -> str:
        """What was told since `seen`, which then has seen it, as JSON without its braces; or ''.

        The facts whose values are new, and under "heard" what `heard` says of all that were told.
        """
        now_s = self.clock()
        with self._lock:
            new = {n: fact for n, fact in self._facts.items() if fact.told > seen.told}
            if not new:
                return ''
            changed = {n: fact for n, fact in new.items() if fact.version > seen.told}
            seen.told = self._told
        heard = {name: fact.heard(now_s) for name, fact in new.items()}
        told = [
            f'{json.dumps(name)}: {fact.otherwise if fact.silent(now_s) else fact.text}'
            for name, fact in changed.items()
        ]
        return ', '.join([*told, f'"heard": {json.dumps(heard)}'])

    def has_news(self, seen: Seen) -> bool:
        """Whether anything was told that is new to `seen`."""
        with self._lock:
            return any(fact.told > seen.told for fact in self._facts.values())

    def on_audience(self, callback: Callable[[int], None]) -> None:
        """Have somebody told how many browsers look, from whatever thread."""
        self._on_audience = callback

    @contextlib.contextmanager
    def viewing(
        self, most: int, client: str = '', most_of_client: int = 2**31
    ) -> Iterator[ThreadsafeEvent | None]:
        """A browser that looks, with its event; None if there are too many already."""
        event = ThreadsafeEvent(asyncio.get_running_loop())
        with self._lock:
            of_client = sum(1 for each in self._waiting.values() if each == client)
            admitted = len(self._waiting) < most and of_client < most_of_client
            if admitted:
                self._waiting[event] = client
        if not admitted:
            yield None
            return
        self._on_audience(self.viewers)
        try:
            yield event
        finally:
            with self._lock:
                self._waiting.pop(event, None)
            self._on_audience(self.viewers)

    def _wake_all(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for event in waiting:
            event.set()


@dataclasses.dataclass
class Seen:
    """How far one browser has followed the feed."""

    told: int = 0


class ThreadsafeEvent:
    """Wakes one coroutine from whatever thread, however often it is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._is_set = False

    def set(self) -> None:
        """There is something new."""
        if not self._is_set:
            self._is_set = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Until it is set, or for so long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
        self._is_set = False


def as_json(value: Any) -> str:
    """A plain value as JSON (RFC 8259): null for NaN, infinities and absurd integers.

    Raises TypeError for what is not a plain value, ValueError for what is too deep or too long.
    """
    text = json.dumps(said(value), allow_nan=False)
    if len(text) > LONGEST_FACT:
        raise ValueError(f'{len(text)} characters of JSON, more than {LONGEST_FACT}')
    return text


def said(value: Any, depth: int = 0) -> Any:
    """The value with nothing in it that JSON, JavaScript or a page cannot take."""
    if depth > DEEPEST:
        raise ValueError(f'nested deeper than {DEEPEST}')
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain(value, LONGEST_STRING)
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_INTEGER else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(key, LONGEST_STRING): said(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [said(each, depth + 1) for each in value]
    raise TypeError(f'{type(value).__name__} is not a plain value')


# --- One browser's live view over a WebSocket: the newest pictures and facts, at its own pace.
#
# To the browser go texts (JSON: facts that changed, how old they are, and the server's clock) and
# binary messages (one frame: a 2-byte length, a JSON header of so many bytes, a JPEG). For each
# frame the browser answers `{"shown": stream}` before it gets the next one of that stream, so that
# a slow one skips frames and nobody waits. `{"clock": number}` comes back as "echo" in the next
# text: so a browser knows how late what it gets may be, however long it lay on the way.

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

    async def serve(self, event: ThreadsafeEvent) -> None:
        """Send what is new and take answers; returns when the browser is gone."""
        listener = asyncio.create_task(self._listen(event))
        try:
            while not listener.done():
                wait_s = await asyncio.wait_for(self._send_news(event), SEND_S)
                await event.wait(wait_s)
        except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            pass  # closed while we were sending, or it takes nothing
        finally:
            listener.cancel()
            for task in self._making.values():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await listener

    async def _listen(self, event: ThreadsafeEvent) -> None:
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
                event.set()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            event.set()

    async def _send_news(self, event: ThreadsafeEvent) -> float:
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
            task.add_done_callback(lambda _: event.set())
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
    with feed.viewing(limits.viewers, client, limits.viewers_per_client) as event:
        if event is None:
            await websocket.close(TRY_AGAIN_LATER, 'too many browsers are connected')
            return
        await LiveView(websocket, feed, runner).serve(event)
