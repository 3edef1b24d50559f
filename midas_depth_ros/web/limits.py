"""Limits of the dashboard: bytes, pixels, rate, time, jobs and memory that clients may use.

`Limits` holds all of them, `Rate` limits requests per client, and `Jobs` runs work in threads of
its own, refuses what exceeds its queue, and replaces a thread that hangs.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import ipaddress
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from midas_depth_ros.options.declarations import SharedOptions
from midas_depth_ros.web.errors import Refused

# --- Addresses of the dashboard and of its clients.

DEFAULT_PORTS = {'http': '80', 'https': '443'}


def origin_of(address: str) -> str:
    """Return the origin of `https://name[:port]`, as browsers write it.

    Raises ValueError for anything else, such as an address with a path, a user or a wildcard.
    """
    match = re.fullmatch(
        r'(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?/?', address.lower()
    )
    if match is None:
        raise ValueError(
            f'{address!r} is not an origin: give a scheme, a host name and, if needed, a port, '
            'such as https://robots.example.org'
        )
    scheme, name, port = match.groups()
    other_port = port is not None and port != DEFAULT_PORTS[scheme]
    return f'{scheme}://{name}{f":{port}" if other_port else ""}'


def is_local(host: str) -> bool:
    """Return whether a server listening on this address is reachable from this machine only."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_of(scope: Mapping[str, Any]) -> str:
    """Return the client of an ASGI scope, request or WebSocket as `client_key` does; '' if unknown.

    X-Forwarded-For is ignored: anybody can set it.
    """
    return client_key((scope.get('client') or ('',))[0])


def client_key(host: str) -> str:
    """Return what counts as one client: the /64 network of an IPv6 address, or this machine.

    Whoever has one address of a /64 network has all of them.
    """
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return host[:100]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            network = ipaddress.ip_network((address, 64), strict=False)
            return 'this machine' if address.is_loopback else str(network)
        address = address.ipv4_mapped
    return 'this machine' if address.is_loopback else str(address)


Result = TypeVar('Result')

MOST_CLIENTS_REMEMBERED = 1024
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the HTTP part. Larger pictures are reduced to `kept_side` on reading."""

    # Connections, see `server`.
    connections: int = 512
    connections_per_client: int = 128
    header_s: float = 15.0  # until a request's header has arrived
    stall_s: float = 20.0  # without a byte of a response being read
    unsent_bytes: int = 64 * MIB  # of all responses that wait for slow readers
    # Request bodies, see `access`.
    upload_bytes: int = 20 * MIB
    json_bytes: int = 16 * 2**10
    upload_s: float = 30.0  # until a request's body has arrived
    uploads: int = 16  # at once, arriving or being processed
    uploads_per_client: int = 12
    uploads_in_all_bytes: int = 64 * MIB  # of requests not answered yet
    # Pictures.
    pixels: int = SharedOptions.max_pixels
    decoded_bytes: int = 256 * MIB  # while a picture is decoded
    kept_side: int = 1920  # px
    job_s: float = 60.0  # waiting and processing
    waiting_jobs: int = 8
    cache_bytes: int = 128 * MIB
    predictions_per_s: float = 4.0
    prediction_burst: int = 20
    renderings_per_s: float = 30.0
    rendering_burst: int = 90
    # The robot.
    changes_per_s: float = 20.0
    change_burst: int = 60
    viewers: int = 200
    viewers_per_client: int = 100
    # Invalid tokens.
    guesses_per_s: float = 0.5
    guess_burst: int = 20
    guesses_in_all_per_s: float = 10.0
    guess_burst_in_all: int = 200


class Rate:
    """A token bucket per client: `burst` requests at once, `per_s` on average."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def take(self, client: str, count: int = 1) -> None:
        """Count requests of a client. Raises Refused (429) if they are too many."""
        self.check(client, count)
        self._buckets[client] = (self._level(client) - count, self._clock())
        self._buckets.move_to_end(client)
        while len(self._buckets) > MOST_CLIENTS_REMEMBERED:
            self._buckets.popitem(last=False)

    def check(self, client: str, count: int = 1) -> None:
        """Raise Refused (429) if `take` would, without counting."""
        level = self._level(client)
        if level < count:
            wait_s = max(1, round((count - level) / self._per_s))
            raise Refused(429, f'too many requests: try again in {wait_s} s', wait_s)

    def _level(self, client: str) -> float:
        now = self._clock()
        level, then = self._buckets.get(client, (float(self._burst), now))
        return min(self._burst, level + (now - then) * self._per_s)


@dataclasses.dataclass(eq=False)
class _Job:
    """One function call and its future result."""

    work: Callable[[], Any]
    future: Future[Any]
    started_s: float | None = None
    abandoned: bool = False


class Jobs:
    """Worker threads with a bounded queue, for work that must not block the server.

    A thread cannot be killed: one that has worked on the same job for `job_s` is abandoned and
    replaced. Once `most_hung` threads hang, jobs are refused until one of them returns. All are
    daemon threads, so no job can keep the process alive.
    """

    def __init__(
        self,
        limits: Limits,
        threads: int = 1,
        name: str = 'pictures',
        on_hung: Callable[[], None] = lambda: None,
        most_hung: int = 2,
    ) -> None:
        self._job_s = limits.job_s
        self._most = threads + limits.waiting_jobs
        self._threads, self._name = threads, name
        self._on_hung, self._most_hung = on_hung, most_hung
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Job] = collections.deque()
        self._working: set[_Job] = set()  # without abandoned ones
        self._workers = 0  # threads, without those that hang
        self._hung = 0
        self._hung_ever = 0
        self._closed = False

    async def run(self, function: Callable[[], Result]) -> Result:
        """Return the function's result. Raises Refused (503): queue full, or timed out."""
        future: Future[Result] = Future()
        job = _Job(function, future)
        self._abandon_hung()
        with self._changed:
            if self._hung >= self._most_hung:
                text = 'the picture worker hangs: restart the dashboard (see /api/status)'
                raise Refused(503, text, 30)
            count = len(self._waiting) + len(self._working)
            if self._closed or count >= self._most:
                raise Refused(503, f'{count} pictures are being processed: try again', 2)
            self._waiting.append(job)
            self._start_missing()
            self._changed.notify()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._job_s)
        except asyncio.TimeoutError:
            self._abandon_hung()
            text = f'timed out after {self._job_s:g} s: the machine is busy, try again'
            raise Refused(503, text, 5) from None
        finally:
            with self._changed:
                if job in self._waiting:  # no longer wanted
                    self._waiting.remove(job)

    def summary(self) -> dict[str, Any]:
        """Return them as GET /api/status reports them."""
        self._abandon_hung()
        now = time.monotonic()
        with self._changed:
            starts = [job.started_s for job in self._working if job.started_s is not None]
            return {
                'working': len(self._working),
                'waiting': len(self._waiting),
                'longest_s': round(now - min(starts), 1) if starts else 0.0,
                'hung': self._hung,
                'hung_ever': self._hung_ever,
            }

    def close(self) -> None:
        """Cancel waiting jobs; running ones end on their own, or with the process."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _start_missing(self) -> None:
        """Start threads only when needed."""
        wanted = min(self._threads, len(self._working) + len(self._waiting))
        while self._workers < wanted:
            self._workers += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _abandon_hung(self) -> None:
        """Abandon threads that have worked on the same job for too long."""
        # A little less than `job_s`: its caller has waited longer than the job has run.
        latest_s = time.monotonic() - 0.9 * self._job_s
        with self._changed:
            found = [job for job in self._working if (job.started_s or latest_s) < latest_s]
            for job in found:
                job.abandoned = True
                self._working.discard(job)
                self._workers -= 1
                self._hung += 1
                self._hung_ever += 1
            if self._hung < self._most_hung:
                self._start_missing()
        for _ in found:
            self._on_hung()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    self._workers -= 1
                    return
                job = self._waiting.popleft()
                job.started_s = time.monotonic()
                self._working.add(job)
            self._do(job)
            with self._changed:
                self._working.discard(job)
                if job.abandoned:
                    self._hung -= 1
                    return
            del job  # it holds a picture

    def _do(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            result = job.work()
        except BaseException as error:  # noqa: BLE001 - re-raised in `run`
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
