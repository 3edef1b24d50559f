"""Fixtures of the dashboard's tests: the application over an estimator whose answers are known."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

collect_ignore: list[str] = []
if find_spec('fastapi') is None:
    collect_ignore_glob = ['test_*.py']
else:
    from fakes import BrightnessEstimator
    from starlette.testclient import TestClient

    from midas_depth_ros.cli.dashboard import listening_socket
    from midas_depth_ros.web.app import Dashboard
    from midas_depth_ros.web.errors import Faults
    from midas_depth_ros.web.limits import Limits
    from midas_depth_ros.web.server import Server

    ADDRESS = 'http://127.0.0.1:8080'

    @pytest.fixture
    def estimator() -> BrightnessEstimator:
        """The estimator of the dashboard under test."""
        return BrightnessEstimator()

    @pytest.fixture
    def make_client(estimator) -> Iterator[Callable[..., TestClient]]:
        """Make clients of dashboards with given options; `dashboard` is the server."""
        made = []

        def make(address: str = ADDRESS, **options: Any) -> TestClient:
            options.setdefault('make_estimator', lambda: estimator)
            dashboard = Dashboard(**options)
            client = TestClient(dashboard.asgi, address, raise_server_exceptions=False)
            client.dashboard = dashboard
            made.append(client)
            return client

        yield make
        for client in made:
            client.close()
            client.dashboard.close()

    class Serving(threading.Thread):
        """A real server in a thread, for raw sockets; `dashboard`, `server`, `faults`, `port`."""

        def __init__(self, limits: Limits, app: Any = None, **options: Any) -> None:
            super().__init__(name='server')
            self.faults = Faults()
            self.dashboard = Dashboard(
                limits=limits,
                faults=self.faults,
                connections=lambda: self.server.summary(),
                **{'make_estimator': BrightnessEstimator, **options},
            )
            self.listening = listening_socket('127.0.0.1', 0)
            self.port = self.listening.getsockname()[1]
            self.ready = threading.Event()
            self.server = Server(app or self.dashboard.asgi, self.ready.set, limits, self.faults)
            self.start()
            assert self.ready.wait(20)

        def run(self) -> None:
            self.server.run(sockets=[self.listening])

        def connect(self, data: bytes = b'') -> socket.socket:
            """Open a raw connection and send this."""
            connection = socket.create_connection(('127.0.0.1', self.port), timeout=30)
            connection.sendall(data)
            return connection

        def close(self) -> None:
            self.server.should_exit = True
            self.join(30)
            self.listening.close()
            self.dashboard.close()
            assert not self.is_alive()

    @pytest.fixture
    def serving() -> Iterator[Callable[..., Serving]]:
        """Start servers with given limits."""
        made: list[Serving] = []

        def make(limits: Limits | None = None, **options: Any) -> Serving:
            made.append(Serving(limits or Limits(), **options))
            return made[-1]

        yield make
        for each in made:
            each.close()

    @pytest.fixture
    def client(make_client) -> TestClient:
        """A client of a dashboard without ROS."""
        return make_client()

    if find_spec('schemathesis') is None:
        collect_ignore.append('test_fuzz.py')
    if find_spec('rclpy'):
        from browsing import chromium, complaints, open_page  # noqa: F401
        from ros_helpers import ros  # noqa: F401
    else:
        collect_ignore += ['test_browser.py', 'test_stale_page.py']
        collect_ignore_glob = ['test_ros_*.py']
