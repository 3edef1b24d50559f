"""uvicorn around the dashboard: a socket that is ours, an address that is told, a clean end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GOODBYE_S = 2  # for browsers that do not let go


class Server(uvicorn.Server):
    """Says when it is ready; a signal ends it without a word."""

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            lifespan='off',
            log_level='warning',
            access_log=False,  # it would write tokens down
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_S,
            ws_max_size=4096,
            h11_max_incomplete_event_size=32 * 1024,
        )
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM; returns then, also if it comes twice."""

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
