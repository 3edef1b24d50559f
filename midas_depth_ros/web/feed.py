"""The newest facts and pictures of the robot, and the WebSocket that sends them to a browser.

The ROS thread sets pictures and facts; each browser's coroutine takes the newest it has not sent.
Nothing queues: a picture that nobody fetched is replaced. Without ROS the feed stays empty.

Every picture and fact carries the time it was heard and a lifetime. After that it counts as
unknown, even if the thread that set it has died.
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
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from midas_depth_ros.web.errors import Faults, Refused, sanitize
from midas_depth_ros.web.limits import Jobs, Limits, Rate, client_of

PICTURE_LIFETIME_S = 3.0
MOST_FACTS = 300
MOST_STREAMS = 64
LONGEST_FACT = 64 * 1024  # characters of JSON
LONGEST_STRING = 500
DEEPEST = 6
LARGEST_INTEGER = 2**53  # that JavaScript represents exactly


class Picture:
    """One frame of a stream, encoded as JPEG at most once, when the first browser wants it.

    lifetime_s: how long it counts as live.
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
    def is_expired(self) -> bool:
        """Whether it is too old to be shown."""
        return self._clock() - self.heard_s > self.lifetime_s

    def jpeg(self) -> bytes:
        """Return the JPEG, empty if it cannot be made. Call it outside the event loop."""
        with self._lock:
            if self._make_jpeg is not None:
                with self._faults.guard('a picture'):
                    self._jpeg = self._make_jpeg()
                self._make_jpeg = None
            return self._jpeg

    async def encoded(self, encoders: Jobs) -> bytes:
        """Return the JPEG, made once for all browsers that wait; empty as that of `jpeg`."""
        if self._make_jpeg is None:
            return self._jpeg
        if self._making is None:
            self._making = asyncio.ensure_future(encoders.run(self.jpeg))
        try:
            # A browser that disconnects must not cancel it for the others.
            return await asyncio.shield(self._making)
        except Refused as refusal:
            self._faults.count('a picture', refusal.text)
            return b''


@dataclasses.dataclass(frozen=True)
class Fact:
    """One fact as JSON, and `otherwise`, its value once `lifetime_s` (None: forever) is over.

    revision: that of the feed when it was last set; changed: when its value last changed.
    """

    text: str
    otherwise: str
    heard_s: float
    lifetime_s: float | None
    changed: int
    revision: int

    def text_at(self, now_s: float) -> str:
        """Return the value as JSON at a time."""
        return self.otherwise if self.is_expired(now_s) else self.text

    def is_expired(self, now_s: float) -> bool:
        """Return whether its lifetime is over."""
        return self.lifetime_s is not None and now_s - self.heard_s > self.lifetime_s

    def age(self, now_s: float) -> dict[str, Any]:
        """Return its age, its lifetime and whether that is over."""
        return {
            'age_s': round(now_s - self.heard_s, 3),
            'lifetime_s': self.lifetime_s,
            'silent': self.is_expired(now_s),
        }


class Feed:
    """The newest picture of every stream and the newest facts, with an event for each browser.

    Streams are named `<camera>/picture` and `<camera>/heatmap`; facts are JSON values. Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._facts: dict[str, Fact] = {}
        self._revision = 0
        self._waiting: dict[ThreadsafeEvent, str] = {}
        self._on_viewers_changed: Callable[[int], None] = lambda viewers: None

    @property
    def viewers(self) -> int:
        """The number of connected browsers."""
        with self._lock:
            return len(self._waiting)

    def set_picture(self, stream: str, picture: Picture) -> None:
        """Set the newest frame of a stream. Raises ValueError if there are too many streams."""
        with self._lock:
            if stream not in self._pictures and len(self._pictures) >= MOST_STREAMS:
                raise ValueError(f'more than {MOST_STREAMS} streams')
            self._pictures[stream] = picture
        self._wake_all()

    def remove_picture(self, stream: str) -> None:
        """Remove a stream."""
        with self._lock:
            self._pictures.pop(stream, None)

    def set_fact(
        self, name: str, value: Any, lifetime_s: float | None = None, otherwise: Any = None
    ) -> None:
        """Set a fact (None: unknown), valid for `lifetime_s` and then replaced by `otherwise`.

        Raises ValueError or TypeError as `to_json` does, and ValueError for too many facts.
        """
        text, later = to_json(value), to_json(otherwise)
        with self._lock:
            before = self._facts.get(name)
            if before is None and len(self._facts) >= MOST_FACTS:
                raise ValueError(f'more than {MOST_FACTS} facts')
            now_s = self.clock()
            same = before is not None and (before.text, before.otherwise) == (text, later)
            if before is not None and same and before.lifetime_s is lifetime_s is None:
                return
            self._revision += 1
            changed = self._revision
            # A fact that had expired has changed, even if its value is the same.
            if before is not None and same and not before.is_expired(now_s):
                changed = before.changed
            self._facts[name] = Fact(text, later, now_s, lifetime_s, changed, self._revision)
        self._wake_all()

    def remove_fact(self, name: str) -> None:
        """Remove a fact."""
        with self._lock:
            self._facts.pop(name, None)

    def pictures(self) -> dict[str, Picture]:
        """Return the newest frame of each stream, without expired ones."""
        with self._lock:
            return {name: each for name, each in self._pictures.items() if not each.is_expired}

    def facts(self) -> dict[str, Any]:
        """Return the facts that are valid now."""
        now_s = self.clock()
        return {name: json.loads(fact.text_at(now_s)) for name, fact in self._copy().items()}

    def ages(self) -> dict[str, dict[str, Any]]:
        """Return each fact's age in seconds, its lifetime, and whether that is over."""
        now_s = self.clock()
        return {name: fact.age(now_s) for name, fact in self._copy().items()}

    def changes_since(self, position: FeedPosition) -> str:
        """Return what was set since `position`, and advance it: JSON without its braces, or ''.

        That is each fact whose value has changed, and as "heard" the `ages` of all that were set.
        """
        now_s = self.clock()
        with self._lock:
            seen, position.revision = position.revision, self._revision
            new = {name: fact for name, fact in self._facts.items() if fact.revision > seen}
        if not new:
            return ''
        changed = [
            f'{json.dumps(name)}: {fact.text_at(now_s)}'
            for name, fact in new.items()
            if fact.changed > seen
        ]
        ages = {name: fact.age(now_s) for name, fact in new.items()}
        return ', '.join([*changed, f'"heard": {json.dumps(ages)}'])

    def has_changes_since(self, position: FeedPosition) -> bool:
        """Return whether any fact was set since `position`."""
        return any(fact.revision > position.revision for fact in self._copy().values())

    def on_viewers_changed(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the number of browsers whenever it changes, in any thread."""
        self._on_viewers_changed = callback

    @contextlib.contextmanager
    def viewing(
        self, most: int, client: str = '', most_of_client: int = 2**31
    ) -> Iterator[ThreadsafeEvent | None]:
        """Register a browser for the block; yields its event, None if there are too many."""
        event = ThreadsafeEvent(asyncio.get_running_loop())
        with self._lock:
            of_client = list(self._waiting.values()).count(client)
            admitted = len(self._waiting) < most and of_client < most_of_client
            if admitted:
                self._waiting[event] = client
        if not admitted:
            yield None
            return
        self._on_viewers_changed(self.viewers)
        try:
            yield event
        finally:
            with self._lock:
                self._waiting.pop(event, None)
            self._on_viewers_changed(self.viewers)

    def _copy(self) -> dict[str, Fact]:
        with self._lock:
            return dict(self._facts)

    def _wake_all(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for event in waiting:
            event.set()


@dataclasses.dataclass
class FeedPosition:
    """How far one browser has followed the feed."""

    revision: int = 0


class ThreadsafeEvent:
    """Wakes one coroutine from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._is_set = False

    def set(self) -> None:
        """Wake the coroutine."""
        if not self._is_set:
            self._is_set = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it is set, or for `timeout_s`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
        self._is_set = False


def to_json(value: Any) -> str:
    """Return a plain value as JSON (RFC 8259): null for NaN, infinities and huge integers.

    Texts are sanitized. Raises TypeError for other types, ValueError if too deep or too long.
    """
    text = json.dumps(json_safe(value), allow_nan=False)
    if len(text) > LONGEST_FACT:
        raise ValueError(f'{len(text)} characters of JSON, more than {LONGEST_FACT}')
    return text


def json_safe(value: Any, depth: int = 0) -> Any:
    """Return the value without anything that JSON, JavaScript or a page cannot represent."""
    if depth > DEEPEST:
        raise ValueError(f'nested deeper than {DEEPEST}')
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return sanitize(value, LONGEST_STRING)
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_INTEGER else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            sanitize(key, LONGEST_STRING): json_safe(each, depth + 1) for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [json_safe(each, depth + 1) for each in value]
    raise TypeError(f'{type(value).__name__} is not a plain value')


# --- One browser's WebSocket: the newest pictures and facts, at its own pace.
#
# The server sends texts (JSON: facts that changed, their ages, and its clock as "now") and binary
# messages (one frame: a 2-byte length, a JSON header of that length, a JPEG). The browser confirms
# each frame with `{"shown": stream}` before it gets the next one of that stream, so a slow browser
# skips frames and delays nobody. On a slow link a text goes before each frame, and the streams take
# turns. The server ends a connection of which nothing is read (`Limits.stall_s`).
#
# A browser's `{"clock": number}` comes back as "echo" in the next text: that tells it how late a
# message may be.

PICTURE_PERIOD_S = 1 / 15  # shortest, per stream and browser
FACTS_PERIOD_S = 0.1
SHORTEST_WAIT_S = 0.001
IDLE_S = 1.0  # a text is sent at least this often, as a sign of life
TRY_AGAIN_LATER, POLICY_VIOLATION = 1013, 1008
LONGEST_MESSAGE = 1000
MESSAGES_PER_S, MESSAGE_BURST = 100.0, 400  # from a browser


class LiveView:
    """Serves one browser until it disconnects."""

    def __init__(self, websocket: WebSocket, feed: Feed, encoders: Jobs) -> None:
        self._socket = websocket
        self._feed = feed
        self._encoders = encoders
        self._sent: dict[str, int] = {}  # stream -> number of the last frame
        self._unconfirmed: set[str] = set()
        self._due_s: dict[str, float] = {}
        self._turns: dict[str, int] = {}  # stream -> frames of all streams, until its last one
        self._frames = 0
        self._sent_text_s = -math.inf
        self._was_held_up = False  # the last pass, by sending its text
        self._position = FeedPosition()
        self._echo: float | None = None
        self._making: dict[str, asyncio.Task[tuple[Picture, bytes]]] = {}

    async def serve(self, event: ThreadsafeEvent) -> None:
        """Send changes and read confirmations; returns when the browser is gone."""
        listener = asyncio.create_task(self._listen(event))
        try:
            while not listener.done():
                await event.wait(await self._send_news(event))
        except (WebSocketDisconnect, RuntimeError):
            pass  # closed while sending
        finally:
            listener.cancel()
            for task in self._making.values():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await listener

    async def _listen(self, event: ThreadsafeEvent) -> None:
        rate = Rate(MESSAGES_PER_S, MESSAGE_BURST)
        try:
            while True:
                message = parse_message(await self._socket.receive_text())
                rate.take('')
                if isinstance(message.get('shown'), str):
                    self._unconfirmed.discard(message['shown'])
                clock = message.get('clock')
                if isinstance(clock, (int, float)) and abs(clock) <= LARGEST_INTEGER:  # not NaN
                    self._echo = float(clock)
                event.set()
        except Refused:
            await self._socket.close(POLICY_VIOLATION, 'too many messages')
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            event.set()

    async def _send_news(self, event: ThreadsafeEvent) -> float:
        """Send a text and one frame, if they are due; returns the seconds until the next call."""
        began_s = time.monotonic()
        await self._send_text(began_s)
        held_up = time.monotonic() - began_s > FACTS_PERIOD_S
        if held_up and not self._was_held_up:
            self._was_held_up = True
            return SHORTEST_WAIT_S  # facts have come meanwhile, and go before the frame
        self._was_held_up = False
        if await self._send_picture():
            return SHORTEST_WAIT_S
        now = time.monotonic()
        wait_s = self._make_pictures(now, event)
        pending = self._echo is not None or self._feed.has_changes_since(self._position)
        text_s = self._sent_text_s + (FACTS_PERIOD_S if pending else IDLE_S) - now
        return max(min(wait_s, text_s), SHORTEST_WAIT_S)

    async def _send_text(self, now: float) -> None:
        """Send what has changed, if anything has, or a sign of life; not too often."""
        if now - self._sent_text_s < FACTS_PERIOD_S:
            return
        news = self._feed.changes_since(self._position)
        if news or self._echo is not None or now - self._sent_text_s >= IDLE_S:
            self._sent_text_s = now
            await self._socket.send_text(self._with_clock(news))

    async def _send_picture(self) -> bool:
        """Send one encoded frame, of the stream that waited longest; returns whether more wait."""
        made = [stream for stream, making in self._making.items() if making.done()]
        made.sort(key=lambda stream: self._turns.get(stream, 0))
        while made:
            stream = made.pop(0)
            picture, jpeg = self._making.pop(stream).result()
            if jpeg and not picture.is_expired and stream in self._feed.pictures():
                self._frames += 1
                self._turns[stream] = self._frames
                self._unconfirmed.add(stream)
                await self._socket.send_bytes(frame_message(stream, picture, jpeg))
                break
        return bool(made)

    def _make_pictures(self, now: float, event: ThreadsafeEvent) -> float:
        """Start to encode the frames that are due; returns the seconds until the next one is."""
        wait_s = math.inf
        for stream, picture in self._feed.pictures().items():
            seen = picture.number == self._sent.get(stream) or stream in self._unconfirmed
            if seen or stream in self._making:
                continue
            due_s = self._due_s.get(stream, 0.0)
            if now < due_s:
                wait_s = min(wait_s, due_s - now)
                continue
            self._sent[stream] = picture.number
            self._due_s[stream] = now + PICTURE_PERIOD_S
            # In a task: a slow picture delays neither facts nor other streams.
            task = asyncio.create_task(self._encoded(picture))
            task.add_done_callback(lambda _: event.set())
            self._making[stream] = task
        return wait_s

    def _with_clock(self, news: str) -> str:
        clock = f'"now": {self._feed.clock():.3f}'
        if self._echo is not None:
            clock += f', "echo": {json.dumps(self._echo)}'
            self._echo = None
        return f'{{{", ".join(filter(None, (clock, news)))}}}'

    async def _encoded(self, picture: Picture) -> tuple[Picture, bytes]:
        return picture, await picture.encoded(self._encoders)


def frame_message(stream: str, picture: Picture, jpeg: bytes) -> bytes:
    """Return a frame as one binary message; "heard" is in the clock of "now" in the texts."""
    header = json.dumps(
        {
            'stream': stream,
            'number': picture.number,
            'heard': round(picture.heard_s, 3),
            'lifetime_s': picture.lifetime_s,
        }
    ).encode()
    return len(header).to_bytes(2, 'big') + header + jpeg


def parse_message(text: str) -> dict[str, Any]:
    """Return a browser's message; empty if it is not a JSON object."""
    if len(text) > LONGEST_MESSAGE:
        return {}
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


async def serve_live(websocket: WebSocket, feed: Feed, encoders: Jobs, limits: Limits) -> None:
    """Serve one WebSocket."""
    await websocket.accept()
    client = client_of(websocket)
    with feed.viewing(limits.viewers, client, limits.viewers_per_client) as event:
        if event is None:
            await websocket.close(TRY_AGAIN_LATER, 'too many browsers are connected')
            return
        await LiveView(websocket, feed, encoders).serve(event)
