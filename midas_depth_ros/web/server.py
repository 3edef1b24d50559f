"""uvicorn around the dashboard: bounded connections, a ready callback and a clean shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import resource
import signal
import socket
import sys
import termios
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
from midas_depth_ros.web.limits import Limits, Rate, client_key

# --- Connections: a bounded number, closed when nothing comes of them.
#
# asyncio's own accept loop spins when the process has no file descriptor left, and neither it nor
# uvicorn closes a connection whose header never ends or whose response is never read. So
# connections are accepted here and checked once a second; at the limit the oldest idle one is
# closed.

CHECK_PERIOD_S = 1.0
ACCEPT_AT_ONCE = 16
ACCEPT_AGAIN_S = 0.25  # after accept has failed
CLOSING_S = 5.0  # for pending data when a connection is closed
ACKNOWLEDGED_AT = 120  # tcpi_bytes_acked in Linux's tcp_info
# Of a connection the kernel holds little more than what is on its way: what waits here can be
# bounded, and facts do not queue behind many pictures.
KERNEL_BYTES = 64 * 1024
# File descriptors for other uses: ROS, the log, uploads, libraries that are loaded later.
SPARE_FILES = 128
FEWEST = 4
MOST_FILES = 65_536
HEADER, BODY, ANSWER, LIVE, CLOSING = 'header', 'body', 'answer', 'live', 'closing'


def raw_refusal(status: str, text: str, retry_after_s: int = 0) -> bytes:
    """Return an error response as bytes, for a connection without a request."""
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
    """One connection: its client, what it waits for, and since when."""

    client: str
    since_s: float
    transport: asyncio.Transport | None = None  # None while connecting
    state: str = HEADER
    request: Any = None  # uvicorn's cycle, one per request
    unsent: int = 0  # bytes that this process holds for it
    queued: int = 0  # the same, with those that the kernel holds
    acknowledged: int = 0  # bytes that the client's system has received so far
    moved_s: float = 0.0  # when bytes of a response were last taken

    @property
    def is_closed(self) -> bool:
        """Whether its socket is closed."""
        transport = self.transport
        return transport is not None and transport.get_extra_info('socket').fileno() < 0


class Connections:
    """The listening socket and its open connections; a server as uvicorn knows it."""

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
        self._listen()

    def close(self) -> None:
        """Stop accepting."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    async def wait_closed(self) -> None:
        """Nothing to wait for."""

    def summary(self) -> dict[str, int]:
        """Return them as GET /api/status reports them."""
        return {'open': len(self._open), 'most': self._most, 'refused': self.refused}

    def check(self) -> None:
        """Close what has waited for too long; called every CHECK_PERIOD_S."""
        now_s = time.monotonic()
        self._forget_closed()
        for connection in list(self._open):
            if connection.transport is not None:
                with self._faults.guard('a connection'):
                    self._judge(connection, connection.transport, now_s)
        unsent = sum(connection.unsent for connection in self._open)
        # The largest first: nobody reads those.
        for connection in sorted(self._open, key=lambda each: -each.unsent):
            if unsent <= self._limits.unsent_bytes:
                break
            unsent -= connection.unsent
            self._end(connection, 'too many unread responses')

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptor or memory left: clients wait
                self._faults.count('accepting a connection', error)
                self._loop.remove_reader(self._listening.fileno())
                self._again = self._loop.call_later(ACCEPT_AGAIN_S, self._listen)
                return
            accepted.setblocking(False)
            with contextlib.suppress(AttributeError, OSError):  # a system without it
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
            connection = Connection(client_key(str(address[0])), time.monotonic())
            if not self._make_room(connection.client):
                self.refused += 1
                _refuse(accepted)
                continue
            self._open.add(connection)
            task = self._loop.create_task(self._connect(connection, accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _listen(self) -> None:
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
        """Return whether one more is allowed, after closing the oldest idle one if necessary."""
        self._forget_closed()
        of_client = {each for each in self._open if each.client == client}
        for found, most in (
            (of_client, self._limits.connections_per_client),
            (self._open, self._most),
        ):
            if len(found) < most:
                continue
            idle = [each for each in found if each.transport and self._state(each) == HEADER]
            if not idle:
                return False
            self._end(min(idle, key=lambda each: each.since_s), 'too many connections')
        return True

    def _forget_closed(self) -> None:
        self._open = {connection for connection in self._open if not connection.is_closed}

    def _state(self, connection: Connection) -> str:
        """What a connection waits for, by the state of h11."""
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
        acknowledged = acknowledged_bytes(transport)
        # More may have been queued than was taken.
        progresses = queued < connection.queued or acknowledged > connection.acknowledged
        if progresses or connection.queued == 0:  # else it has only begun
            connection.moved_s = now_s
        connection.queued, connection.acknowledged = queued, acknowledged
        waited_s = now_s - connection.since_s
        patience_s = CLOSING_S if state == CLOSING else self._limits.stall_s
        if now_s - connection.moved_s > patience_s:
            self._end(connection, 'a response is not read by the client')
        elif state == HEADER and waited_s > self._limits.header_s:
            if request is None:  # else an idle keep-alive connection
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
    """Send the reason if that is possible without waiting, and close."""
    with contextlib.suppress(OSError):
        accepted.send(TOO_MANY_CONNECTIONS)
        accepted.shutdown(socket.SHUT_WR)
    accepted.close()


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes sent but not acknowledged by the peer; 0 if the system does not say."""
    answer = bytearray(4)
    try:
        fcntl.ioctl(transport.get_extra_info('socket').fileno(), termios.TIOCOUTQ, answer)
    except (OSError, ValueError):
        return 0
    return int.from_bytes(answer, sys.byteorder)


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that the peer has acknowledged so far; 0 if the system does not say."""
    connection = transport.get_extra_info('socket')
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED_AT + 8)
    except (AttributeError, OSError, ValueError):
        return 0
    return int.from_bytes(info[ACKNOWLEDGED_AT:], sys.byteorder)


def max_connections() -> int:
    """Return for how many connections there are file descriptors, after raising the soft limit."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (
        MOST_FILES if each == resource.RLIM_INFINITY else min(each, MOST_FILES) for each in limits
    )
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, limits[1]))
            soft = hard
    try:
        used = len(os.listdir('/proc/self/fd'))
    except OSError:
        used = SPARE_FILES
    left = soft - used
    return max(FEWEST, left - min(SPARE_FILES, left // 2))


# --- The protocols of requests and of WebSockets.

MOST_UNFINISHED_BYTES = 32 * 1024  # of a request's header
# Each chunk of a body takes time, however small: thousands of them hold up everybody else.
FREE_CHUNKS, SMALLEST_CHUNK = 100, 512  # bytes, on average of what comes after


class Conversation(h11.Connection):
    """A client's requests; a body in many tiny chunks is a malformed one."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """Return the next event, as h11 does. Raises h11.RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._bytes // SMALLEST_CHUNK:
                raise h11.RemoteProtocolError('the body is sent in too many small chunks')
        return event


class RequestProtocol(H11Protocol):
    """The protocol of requests, for clients that go on after their answer, too."""

    def __init__(self, config: uvicorn.Config, *states: Any) -> None:
        super().__init__(config, *states)
        self.conn = Conversation(h11.SERVER, MOST_UNFINISHED_BYTES)

    def data_received(self, data: bytes) -> None:
        """Pass data on; what is malformed ends the connection."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # it has been answered already
            self.transport.abort()


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHUTDOWN_S = 2  # for open connections
PING_S = 10.0
PONG_S = 30.0  # a browser that does not answer a ping for so long is gone; pictures go before it
# From a browser: enough for its messages, too little for a flood.
INBOUND_BYTES_PER_S, INBOUND_BURST = 32 * 1024, 256 * 1024


class LiveProtocol(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]
    """A WebSocket that drops a browser which floods it, even with frames that never end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start counting."""
        self._inbound = Rate(INBOUND_BYTES_PER_S, INBOUND_BURST)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass data on, up to the limit."""
        try:
            self._inbound.take('', len(data))
        except Refused:
            self.transport.abort()
            return
        super().data_received(data)


def with_clean_shutdown(app: ASGIApp) -> ASGIApp:
    """Wrap the app for two cases that are no fault of it.

    uvicorn may have refused a malformed request while its body was being read, so that the app's
    response comes too late; and a request that waits at shutdown gets a 503.
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
            except asyncio.CancelledError:  # by uvicorn at shutdown
                if scope['type'] == 'http' and not started:
                    ending = Refused(503, 'the dashboard is shutting down: try again', 5)
                    await ending.response()(scope, receive, send)

    return asgi


class Server(uvicorn.Server):
    """Serves the app; stops on a signal, or when `failure` returns a reason.

    failure: called once a second; '' while all is well.
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
            http=RequestProtocol,
            ws=LiveProtocol,
            lifespan='off',
            log_config=None,
            log_level='warning',
            access_log=False,  # it would contain tokens
            server_header=False,
            proxy_headers=False,  # anybody can set X-Forwarded-For
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ws_max_size=4096,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,  # JPEGs do not shrink, and no zip bombs
            h11_max_incomplete_event_size=MOST_UNFINISHED_BYTES,
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
        """Accept with `Connections` instead of asyncio's server."""
        (listening,) = sockets or []
        self._connections = Connections(listening, self._protocol, self._limits, self._faults)
        self.servers: list[Any] = [self._connections]
        self._watching = asyncio.get_running_loop().create_task(self._watch(self._connections))
        self.started = True
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop checking, then as uvicorn."""
        if self._watching is not None:
            self._watching.cancel()
        await super().shutdown(sockets=sockets)

    def summary(self) -> dict[str, int]:
        """Return the connections as GET /api/status reports them."""
        return self._connections.summary() if self._connections is not None else {}

    def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serve until SIGINT, SIGTERM or a failure; `failure_reason` is '' after a signal."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True

        # uvicorn re-raises a caught signal once it has stopped: this handler then takes it.
        previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            self.run(sockets=[listening])
        finally:
            for number, handler in previous.items():
                # Shutdown is already in progress: a second signal must not kill it.
                signal.signal(number, signal.SIG_IGN if self.should_exit else handler)

    def _protocol(self) -> asyncio.BaseProtocol:
        return RequestProtocol(self.config, self.server_state, self.lifespan.state)

    async def _watch(self, connections: Connections) -> None:
        while True:
            connections.check()
            self.failure_reason = self._failure()
            if self.failure_reason:
                self.should_exit = True
                return
            await asyncio.sleep(CHECK_PERIOD_S)
