"""uvicorn around the dashboard: a socket that is ours, an address that is told, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.limits import Limits, client_key

# --- The connections of the server: accepted with a bound, and ended when nothing comes of them.
#
# asyncio's own accepting spins when the process has no file left, and neither it nor uvicorn ends
# a connection whose header never ends, or whose answer is never read. Here each connection is
# accepted by hand, looked at once a second, and judged by what it waits for. At the bound the
# oldest one that has not asked for anything makes room, so that who asks at once is answered.

try:
    import fcntl
    import resource
    import termios
except ImportError:  # no POSIX
    resource = None  # type: ignore[assignment]

CHECK_PERIOD_S = 1.0
ACCEPT_AT_ONCE = 16
ACCEPT_AGAIN_S = 0.25  # after the system had nothing left for us
CLOSING_S = 5.0  # for what is on its way when a connection is closed
# Files that are not connections: ROS, the log, uploads, libraries that are loaded later.
SPARE_FILES = 128
FEWEST = 4
MOST_FILES = 65_536
HEADER, BODY, ANSWER, LIVE, CLOSING = 'header', 'body', 'answer', 'live', 'closing'


def raw_refusal(status: str, text: str, retry_after_s: int = 0) -> bytes:
    """An answer for who is not let in, as bytes: there is no request to answer yet."""
    body = f'{{"error": "{text}"}}'.encode()
    retry = f'Retry-After: {retry_after_s}\r\n' if retry_after_s else ''
    head = (
        f'HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n'
        f'{retry}Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n'
    )
    return head.encode() + body


TOO_MANY_CONNECTIONS = raw_refusal('503 Service Unavailable', 'too many connections: try again', 2)
TOO_SLOW = raw_refusal('408 Request Timeout', 'the request took too long to arrive')


@dataclasses.dataclass(eq=False)
class Connection:
    """One connection: whose it is, what it waits for, and since when."""

    client: str
    since_s: float
    transport: asyncio.Transport | None = None  # None while it is being made
    state: str = HEADER
    request: Any = None  # uvicorn's cycle: another one is another request
    unsent: int = 0  # bytes that we hold for it
    queued: int = 0  # and those that the system holds, too
    moved_s: float = 0.0  # when an answer last went on

    @property
    def is_over(self) -> bool:
        """Whether its socket is closed."""
        transport = self.transport
        return transport is not None and transport.get_extra_info('socket').fileno() < 0


class Connections:
    """What listens, as uvicorn knows its servers (`close`, `wait_closed`), and what is open."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        limits: Limits,
        faults: Faults,
    ) -> None:
        self._listening = listening
        self._make_protocol = make_protocol
        self._limits = limits
        self._faults = faults
        self._most = min(limits.connections, max_connections())
        self._open: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0
        listening.setblocking(False)
        self._loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""

    def summary(self) -> dict[str, int]:
        """What GET /api/status says of them."""
        return {'open': len(self._open), 'most': self._most, 'refused': self.refused}

    def check(self) -> None:
        """End what has waited for too long; to be called every CHECK_PERIOD_S."""
        now_s = time.monotonic()
        self._forget_closed()
        for connection in list(self._open):
            if connection.transport is not None:
                with self._faults.guard('a connection'):
                    self._judge(connection, connection.transport, now_s)
        unsent = sum(connection.unsent for connection in self._open)
        # The largest first: those are what nobody reads.
        for connection in sorted(self._open, key=lambda each: -each.unsent):
            if unsent <= self._limits.unsent_bytes:
                break
            unsent -= connection.unsent
            self._end(connection, 'answers wait for readers that do not read')

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file or memory left: whoever waits goes on waiting
                self._faults.count('accepting a connection', error)
                self._loop.remove_reader(self._listening.fileno())
                self._again = self._loop.call_later(ACCEPT_AGAIN_S, self._accept_again)
                return
            accepted.setblocking(False)
            connection = Connection(client_key(str(address[0])), time.monotonic())
            if not self._make_room(connection.client):
                self.refused += 1
                _refuse(accepted)
                continue
            self._open.add(connection)
            task = self._loop.create_task(self._connect(connection, accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _accept_again(self) -> None:
        self._again = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            transport, _ = await self._loop.connect_accepted_socket(self._make_protocol, accepted)
        except (OSError, RuntimeError) as error:
            self._faults.count('accepting a connection', error)
            self._open.discard(connection)
            accepted.close()
            return
        connection.transport = transport

    def _make_room(self, client: str) -> bool:
        """Whether one more may come in; for it the oldest that asks for nothing may have to go."""
        of_client = [each for each in self._open if each.client == client]
        for found, most in (
            (of_client, self._limits.connections_per_client),
            (list(self._open), self._most),
        ):
            if len(found) < most:
                continue
            self._forget_closed()
            left = [each for each in found if each in self._open]
            if len(left) < most:
                continue
            idle = [each for each in left if each.transport and self._state(each) == HEADER]
            if not idle:
                return False
            self._end(min(idle, key=lambda each: each.since_s), 'too many connections')
        return True

    def _forget_closed(self) -> None:
        self._open = {connection for connection in self._open if not connection.is_over}

    def _state(self, connection: Connection) -> str:
        """What a connection waits for, by h11's own account of it."""
        transport = connection.transport
        if transport is None:
            return HEADER
        if transport.is_closing():
            return CLOSING
        protocol = transport.get_protocol()
        conversation = getattr(protocol, 'conn', None)
        if not isinstance(conversation, h11.Connection):
            return LIVE
        if conversation.their_state is h11.SEND_BODY:
            return BODY
        cycle = getattr(protocol, 'cycle', None)
        answered = cycle is None or cycle.response_complete
        return HEADER if answered and not transport.get_write_buffer_size() else ANSWER

    def _judge(self, connection: Connection, transport: asyncio.Transport, now_s: float) -> None:
        state = self._state(connection)
        request = getattr(transport.get_protocol(), 'cycle', None)
        if state != connection.state or request is not connection.request:
            connection.state, connection.request, connection.since_s = state, request, now_s
        connection.unsent = transport.get_write_buffer_size()
        queued = connection.unsent + unacknowledged_bytes(transport)
        if queued < connection.queued or connection.queued == 0:  # it goes on, or has only begun
            connection.moved_s = now_s
        connection.queued = queued
        waited_s = now_s - connection.since_s
        patience_s = CLOSING_S if state == CLOSING else self._limits.stall_s
        if now_s - connection.moved_s > patience_s:
            self._end(connection, 'a response is not read by the client')
        elif state == HEADER and waited_s > self._limits.header_s:
            if request is None:  # else it is only a connection that is kept for later
                transport.write(TOO_SLOW)
            transport.close()
            self._faults.count('a connection', 'no request arrived in time')
        elif state == BODY and waited_s > self._limits.upload_s + CLOSING_S:
            self._end(connection, 'the body of a request did not arrive in time')

    def _end(self, connection: Connection, reason: str) -> None:
        self._faults.count('a connection', reason)
        self._open.discard(connection)
        if connection.transport is not None:
            connection.transport.abort()


def _refuse(accepted: socket.socket) -> None:
    """Say why, as far as that can be said without waiting."""
    with contextlib.suppress(OSError):
        accepted.send(TOO_MANY_CONNECTIONS)
        accepted.shutdown(socket.SHUT_WR)
    accepted.close()


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Bytes that were sent and have not arrived; 0 where the system does not say."""
    if resource is None:
        return 0
    answer = bytearray(4)
    try:
        fcntl.ioctl(transport.get_extra_info('socket').fileno(), termios.TIOCOUTQ, answer)
    except (OSError, ValueError):
        return 0
    return int.from_bytes(answer, sys.byteorder)


def max_connections() -> int:
    """How many connections the process has files for, after asking for as many as it may have."""
    if resource is None:
        return MOST_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MOST_FILES
    try:
        used = len(os.listdir('/proc/self/fd'))
    except OSError:
        used = SPARE_FILES
    left = soft - used
    return max(FEWEST, left - min(SPARE_FILES, left // 2))


class InboundRate:
    """How much a WebSocket may send: enough for a browser's answers, too little for a flood."""

    BYTES_PER_S, BURST = 32 * 1024, 256 * 1024

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left, self._then = float(self.BURST), clock()

    def allows(self, count: int) -> bool:
        """Count bytes; False when it is too much."""
        now = self._clock()
        gained = (now - self._then) * self.BYTES_PER_S
        self._left, self._then = min(self.BURST, self._left + gained) - count, now
        return self._left >= 0


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHUTDOWN_S = 2  # for browsers that do not let go
PING_S = 10.0  # a browser that does not answer so long is gone


class LiveProtocol(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]
    """A WebSocket whose browser cannot flood us: frames without an end never reach the app."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As uvicorn's."""
        self._inbound = InboundRate()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, up to a bound."""
        if self._inbound.allows(len(data)):
            super().data_received(data)
        else:
            self.transport.abort()


def with_clean_shutdown(app: ASGIApp) -> ASGIApp:
    """The app, with a word for two ends that are no fault of it.

    What begins as a request may turn out to be none while its body is read: uvicorn has then
    refused it, and the answer to its beginning comes too late. And who is still waiting when the
    server ends is told so.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        with contextlib.suppress(h11.LocalProtocolError):
            try:
                await app(scope, receive, watched)
            except asyncio.CancelledError:  # by uvicorn, when it ends
                if scope['type'] == 'http' and not started:
                    ending = Refused(503, 'the dashboard is shutting down: try again', 5)
                    await ending.response()(scope, receive, send)

    return asgi


class Server(uvicorn.Server):
    """Says when it is ready; a signal ends it without a word, `failure` with a reason.

    failure: asked once a second why it cannot go on; '' while it can.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_ready: Callable[[], None],
        limits: Limits | None = None,
        faults: Faults | None = None,
        failure: Callable[[], str] = lambda: '',
    ) -> None:
        config = uvicorn.Config(
            with_clean_shutdown(app),
            loop='asyncio',
            http=H11Protocol,
            ws=LiveProtocol,
            lifespan='off',
            log_config=None,
            log_level='warning',
            access_log=False,  # it would write tokens down
            server_header=False,
            proxy_headers=False,  # anybody can write X-Forwarded-For
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ws_max_size=4096,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # pictures do not get smaller, and bombs cannot grow
            h11_max_incomplete_event_size=32 * 1024,
        )
        super().__init__(config)
        self._on_ready = on_ready
        self._limits = limits or Limits()
        self._faults = faults or Faults()
        self._failure = failure
        self._connections: Connections | None = None
        self._watching: asyncio.Task[None] | None = None
        self.failure_reason = ''

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept by `Connections` instead of asyncio's server."""
        (listening,) = sockets or []
        self._connections = Connections(listening, self._protocol, self._limits, self._faults)
        self.servers: list[Any] = [self._connections]
        self._watching = asyncio.get_running_loop().create_task(self._watch(self._connections))
        self.started = True
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        if self._watching is not None:
            self._watching.cancel()
        await super().shutdown(sockets=sockets)

    def summary(self) -> dict[str, int]:
        """What GET /api/status says of the connections."""
        return self._connections.summary() if self._connections is not None else {}

    def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM, or until there is failure; returns then.

        `failure_reason` is then the failure, '' after a signal (also if it came twice).
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True

        # uvicorn raises what it caught again once it has ended: these then take it.
        previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            self.run(sockets=[listening])
        finally:
            for number, handler in previous.items():
                # Shutdown is already in progress: a second signal must not kill it.
                signal.signal(number, signal.SIG_IGN if self.should_exit else handler)

    def _protocol(self) -> asyncio.BaseProtocol:
        return H11Protocol(self.config, self.server_state, self.lifespan.state)

    async def _watch(self, connections: Connections) -> None:
        while True:
            connections.check()
            self.failure_reason = self._failure()
            if self.failure_reason:
                self.should_exit = True
                return
            await asyncio.sleep(CHECK_PERIOD_S)
