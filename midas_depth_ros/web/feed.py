"""What is known of the robot at this moment, between the thread that learns it and the browsers.

The ROS thread puts pictures and facts in; each browser's coroutine takes the newest of what it has
not seen. Nothing queues: a picture that nobody fetched is replaced. Without ROS it stays empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Picture:
    """One frame of a stream; made into a JPEG at most once, when the first browser wants it."""

    _numbers = itertools.count(1)

    def __init__(self, make_jpeg: Callable[[], bytes]) -> None:
        self.number = next(self._numbers)
        self._make_jpeg: Callable[[], bytes] | None = make_jpeg
        self._jpeg = b''
        self._lock = threading.Lock()

    @property
    def made(self) -> bool:
        """Whether the JPEG is there already."""
        return self._make_jpeg is None

    def jpeg(self) -> bytes:
        """The JPEG; empty where the frame cannot be shown. To be called outside the event loop."""
        with self._lock:
            if self._make_jpeg is not None:
                self._jpeg = self._make_jpeg()
                self._make_jpeg = None
            return self._jpeg


class Feed:
    """The newest picture of every stream and the newest facts, with a bell for each browser.

    Streams are named `<camera>/picture` and `<camera>/heatmap`; facts are JSON-ready values.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._facts: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._bells: set[Bell] = set()
        self._on_audience: Callable[[int], None] = lambda viewers: None

    @property
    def viewers(self) -> int:
        """How many browsers look."""
        with self._lock:
            return len(self._bells)

    def put(self, stream: str, picture: Picture) -> None:
        """A new frame of a stream."""
        with self._lock:
            self._pictures[stream] = picture
        self._ring()

    def drop(self, stream: str) -> None:
        """A stream that there is no more."""
        with self._lock:
            self._pictures.pop(stream, None)

    def tell(self, name: str, value: Any) -> None:
        """A fact; None where it is no longer known."""
        with self._lock:
            if name in self._facts and self._facts[name] == value:
                return
            self._facts[name] = value
            self._versions[name] = self._versions.get(name, 0) + 1
        self._ring()

    def pictures(self) -> dict[str, Picture]:
        """The newest frame of each stream."""
        with self._lock:
            return dict(self._pictures)

    def facts(self, seen: dict[str, int] | None = None) -> dict[str, Any]:
        """The facts; with `seen` only those that are new to it, which it then has seen."""
        with self._lock:
            if seen is None:
                return dict(self._facts)
            news = {n: v for n, v in self._facts.items() if seen.get(n) != self._versions[n]}
            seen.update({name: self._versions[name] for name in news})
            return news

    def has_news(self, seen: dict[str, int]) -> bool:
        """Whether there are facts that are new to `seen`."""
        with self._lock:
            return any(seen.get(name) != version for name, version in self._versions.items())

    def on_audience(self, callback: Callable[[int], None]) -> None:
        """Have somebody told how many browsers look, from whatever thread."""
        self._on_audience = callback

    @contextlib.contextmanager
    def viewing(self, most: int) -> Iterator[Bell | None]:
        """A browser that looks, with its bell; None if there are too many already."""
        bell = Bell(asyncio.get_running_loop())
        with self._lock:
            admitted = len(self._bells) < most
            if admitted:
                self._bells.add(bell)
        if not admitted:
            yield None
            return
        self._on_audience(self.viewers)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells.discard(bell)
            self._on_audience(self.viewers)

    def _ring(self) -> None:
        with self._lock:
            bells = list(self._bells)
        for bell in bells:
            bell.ring()


class Bell:
    """Wakes one coroutine from whatever thread, however often it is rung."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._rung = False

    def ring(self) -> None:
        """There is something new."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Until it is rung, or for so long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
        self._rung = False
