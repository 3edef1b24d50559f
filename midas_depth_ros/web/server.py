"""uvicorn around the dashboard: a socket that is ours, an address that is told, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from midas_depth_ros.web.connections import LOOK_S, Connections, InboundRate
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.faults import Faults
from midas_depth_ros.web.limits import Limits

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GOODBYE_S = 2  # for browsers that do not let go
PING_S = 10.0  # a browser that does not answer so long is gone


class LiveProtocol(AutoWebSocketsProtocol):  # type: ignore[misc, valid-type]
    """A WebSocket whose browser cannot flood us: frames without an end never reach the app."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As uvicorn's."""
        self._inbound = InboundRate()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, up to a bound."""
        if self._inbound.takes(len(data)):
            super().data_received(data)
        else:
            self.transport.abort()


def ending_well(app: ASGIApp) -> ASGIApp:
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
                    ending = Refused(503, 'the dashboard is ending: try again', 5)
                    await ending.response()(scope, receive, send)

    return asgi


class Server(uvicorn.Server):
    """Says when it is ready; a signal ends it without a word, `trouble` with a reason.

    trouble: asked once a second why it cannot go on; '' while it can.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_ready: Callable[[], None],
        limits: Limits | None = None,
        faults: Faults | None = None,
        trouble: Callable[[], str] = lambda: '',
    ) -> None:
        config = uvicorn.Config(
            ending_well(app),
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
            timeout_graceful_shutdown=GOODBYE_S,
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
        self._trouble = trouble
        self._connections: Connections | None = None
        self._watching: asyncio.Task[None] | None = None
        self.ended_because = ''

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
        """Serve until SIGINT or SIGTERM, or until there is trouble; returns then.

        `ended_because` is then the trouble, '' after a signal (also if it came twice).
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True

        # uvicorn raises what it caught again once it has ended: these then take it.
        previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            self.run(sockets=[listening])
        finally:
            for number, handler in previous.items():
                # Who was asked to end is ending: a second signal must not kill it now.
                signal.signal(number, signal.SIG_IGN if self.should_exit else handler)

    def _protocol(self) -> asyncio.BaseProtocol:
        return H11Protocol(self.config, self.server_state, self.lifespan.state)

    async def _watch(self, connections: Connections) -> None:
        while True:
            connections.look()
            self.ended_because = self._trouble()
            if self.ended_because:
                self.should_exit = True
                return
            await asyncio.sleep(LOOK_S)
