"""What one dashboard lets its clients ask of it: bytes, pixels, rate, time, jobs, memory.

The limits are one frozen object; `Rate` counts who asks how often, `Jobs` runs the work in
threads of its own and refuses more than may wait.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from midas_depth_ros.web.errors import Refused

Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')

MOST_CLIENTS_REMEMBERED = 1024


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the HTTP part; `kept_side` is what larger pictures are reduced to after reading."""

    upload_bytes: int = 20 * 2**20
    json_bytes: int = 16 * 2**10
    upload_s: float = 30.0  # until the body of a request is there
    pixels: int = 33_554_432
    kept_side: int = 1920  # px
    job_s: float = 60.0  # waiting and working
    waiting_jobs: int = 8
    cache_bytes: int = 128 * 2**20
    predictions_per_s: float = 4.0
    prediction_burst: int = 20
    renderings_per_s: float = 30.0
    rendering_burst: int = 90
    changes_per_s: float = 20.0
    change_burst: int = 60
    viewers: int = 200


class Rate:
    """A token bucket per client: `burst` at once, `per_s` in the long run."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def take(self, client: str) -> None:
        """Count one request of a client; raises Refused (429) when it is one too many."""
        now = self._clock()
        level, then = self._buckets.pop(client, (float(self._burst), now))
        level = min(self._burst, level + (now - then) * self._per_s)
        self._buckets[client] = (max(level - 1, 0) if level >= 1 else level, now)
        while len(self._buckets) > MOST_CLIENTS_REMEMBERED:
            self._buckets.popitem(last=False)
        if level < 1:
            wait_s = max(1, round((1 - level) / self._per_s))
            raise Refused(429, f'too many requests: try again in {wait_s} s', wait_s)


class Jobs:
    """Threads for work that must not hold up the server, with a bounded number that wait."""

    def __init__(self, limits: Limits, threads: int = 1, name: str = 'pictures') -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + limits.waiting_jobs
        self._lock = threading.Lock()
        self._open = 0

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """The function's result. Raises Refused: 503 when too many wait, 504 when out of time."""
        with self._lock:
            if self._open >= self._most:
                raise Refused(503, f'{self._open} pictures are being worked on: try again', 2)
            self._open += 1
        future = self._pool.submit(functools.partial(function, *args, **kwargs))
        # Counted until it has ended, also where nobody waits for it any more.
        future.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limits.job_s)
        except asyncio.TimeoutError:
            text = f'it took longer than {self._limits.job_s:g} s: the machine is busy'
            raise Refused(504, text) from None

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: Future) -> None:
        with self._lock:
            self._open -= 1
