"""A browser without a screen: follows a dashboard over its WebSocket and keeps what it heard."""

from __future__ import annotations

import json
import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class LiveClient:
    """Connected while the block lasts; comes back by itself, as the page does."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip('/').replace('http', 'ws') + '/api/live'
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.facts: dict[str, Any] = {}
        self.frames: dict[str, int] = {}
        self.jpegs: dict[str, bytes] = {}
        self.connections = 0
        self.endings: list[str] = []

    def __enter__(self) -> LiveClient:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(20)

    def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._address, max_size=None) as socket:
                    self.connections += 1
                    self._follow(socket)
            except (ConnectionClosed, OSError) as error:
                self.endings.append(repr(error))
                self._stopping.wait(0.1)

    def _follow(self, socket: Any) -> None:
        while not self._stopping.is_set():
            try:
                message = socket.recv(timeout=0.5)
            except TimeoutError:
                continue
            if isinstance(message, str):
                facts = json.loads(message, parse_constant=self._no_json)
                self.facts.update(facts)
                continue
            length = int.from_bytes(message[:2], 'big')
            stream = json.loads(message[2 : 2 + length])['stream']
            self.jpegs[stream] = message[2 + length :]
            self.frames[stream] = self.frames.get(stream, 0) + 1
            socket.send(json.dumps({'shown': stream}))

    def _no_json(self, constant: str) -> None:
        """NaN and Infinity end a browser's JSON.parse."""
        self.facts['not JSON'] = constant
