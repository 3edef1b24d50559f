"""What one dashboard lets its clients ask of it: bytes, pixels, rate, time, jobs, memory.

The limits are one frozen object; `Rate` counts who asks how often, `Jobs` runs the work in
threads of its own, refuses more than may wait, and does without a thread that hangs.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from midas_depth_ros.options.declarations import SharedOptions
from midas_depth_ros.web.errors import Refused

# --- Where the dashboard listens and who asks it: with the standard library alone.

DEFAULT_PORTS = {'http': '80', 'https': '443'}


def origin_of(address: str) -> str:
    """The origin of `https://name:port` or `https://name`, as browsers write it.

    Raises ValueError for what has a path, a user, a wildcard, or is no such address.
    """
    match = re.fullmatch(
        r'(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?/?', address.lower()
    )
    if match is None:
        raise ValueError(
            f'{address!r} is not an origin: give scheme and name, and a port where there is one, '
            'such as https://robots.example.org'
        )
    scheme, name, port = match.groups()
    other_port = port is not None and port != DEFAULT_PORTS[scheme]
    return f'{scheme}://{name}{f":{port}" if other_port else ""}'


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def client_of(connection: Any) -> str:
    """Who is at the other end of a request or WebSocket, for counting; '' where nobody knows.

    What a header says of it (X-Forwarded-For) is not believed: anybody can write it.
    """
    return counted_as(connection.client.host if connection.client else '')


def counted_as(host: str) -> str:
    """An address as one client: IPv6 by its network of 64 bits, this machine whatever its name.

    Somebody who has one of these has all of them.
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


def address_of(listening: socket.socket) -> str:
    """The address for a browser, `http://host:port`; of several that of the way to the network."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = _outward(listening.family) or socket.gethostname()
    return f'http://{f"[{host}]" if ":" in host else host}:{port}'


def _outward(family: int) -> str:
    """Our address on the way to a far one; '' without a network. Nothing is sent."""
    far = '2001:db8::1' if family == socket.AF_INET6 else '192.0.2.1'  # for documentation only
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
        except OSError:
            return ''
        return str(probe.getsockname()[0])


Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')

MOST_CLIENTS_REMEMBERED = 1024
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the HTTP part; `kept_side` is what larger pictures are reduced to on reading."""

    # Connections, see `connections`.
    connections: int = 512
    connections_per_client: int = 128
    header_s: float = 15.0  # until the header of a request is there
    stall_s: float = 20.0  # without a byte of an answer taken
    unsent_bytes: int = 64 * MIB  # answers that wait for slow readers, in all
    # Bodies, see `bodies`.
    upload_bytes: int = 20 * MIB
    json_bytes: int = 16 * 2**10
    upload_s: float = 30.0  # until the body of a request is there
    uploads: int = 16  # at once, arriving or being worked on
    uploads_per_client: int = 12
    uploads_in_all_bytes: int = 64 * MIB  # of requests that are not answered yet
    # Pictures.
    pixels: int = SharedOptions.max_pixels
    decoded_bytes: int = 256 * MIB  # while a picture is decoded
    kept_side: int = 1920  # px
    job_s: float = 60.0  # waiting and working
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
    # Tokens that were wrong.
    guesses_per_s: float = 0.5
    guess_burst: int = 20
    guesses_in_all_per_s: float = 10.0
    guess_burst_in_all: int = 200


class Rate:
    """A token bucket per client: `burst` at once, `per_s` in the long run."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def take(self, client: str) -> None:
        """Count one request of a client; raises Refused (429) when it is one too many."""
        self.check(client)
        level = self._level(client)
        self._buckets[client] = (max(level - 1, 0.0), self._clock())
        self._buckets.move_to_end(client)
        while len(self._buckets) > MOST_CLIENTS_REMEMBERED:
            self._buckets.popitem(last=False)

    def check(self, client: str) -> None:
        """Raise Refused (429) if `take` would; counts nothing."""
        level = self._level(client)
        if level < 1:
            wait_s = max(1, round((1 - level) / self._per_s))
            raise Refused(429, f'too many requests: try again in {wait_s} s', wait_s)

    def _level(self, client: str) -> float:
        now = self._clock()
        level, then = self._buckets.get(client, (float(self._burst), now))
        return min(self._burst, level + (now - then) * self._per_s)


@dataclasses.dataclass(eq=False)
class _Job:
    """One piece of work, and what waits for it."""

    work: Callable[[], Any]
    future: Future[Any]
    started_s: float | None = None
    abandoned: bool = False


class Jobs:
    """Threads for work that must not hold up the server, with a bounded number that wait.

    A thread cannot be ended from outside: one that has worked on the same job for `job_s` is left
    to itself, and another one takes its place. After `most_hung` of them nothing is taken any
    more until one comes back. They are daemons: no job can keep the process from ending.
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
        self._working: set[_Job] = set()  # without those that were abandoned
        self._workers = 0  # threads, without those that hang
        self._hung = 0
        self._hung_ever = 0
        self._closed = False

    async def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """The function's result. Raises Refused (503): too many wait, or out of time."""
        future: Future[Result] = Future()
        job = _Job(functools.partial(function, *args, **kwargs), future)
        self._look_for_hung()
        with self._changed:
            if self._hung >= self._most_hung:
                text = 'the picture worker hangs: see /api/status, and restart the dashboard'
                raise Refused(503, text, 30)
            count = len(self._waiting) + len(self._working)
            if self._closed or count >= self._most:
                raise Refused(503, f'{count} pictures are being worked on: try again', 2)
            self._waiting.append(job)
            self._start_missing()
            self._changed.notify()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._job_s)
        except asyncio.TimeoutError:
            self._look_for_hung()
            text = f'it took longer than {self._job_s:g} s: the machine is busy, try again'
            raise Refused(503, text, 5) from None
        finally:
            with self._changed:
                if job in self._waiting:  # nobody wants it any more
                    self._waiting.remove(job)

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of them."""
        self._look_for_hung()
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
        """Drop what waits; what runs ends by itself, or with the process."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _start_missing(self) -> None:
        """Threads are started when they are needed."""
        wanted = min(self._threads, len(self._working) + len(self._waiting))
        while self._workers < wanted:
            self._workers += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _look_for_hung(self) -> None:
        """Give up threads that have been at the same job for too long."""
        # A little less: who waits for it has waited for a little longer than it has worked.
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
            del job  # it holds a picture, and the next one may be long in coming

    def _do(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            result = job.work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
