"""Fixtures of the dashboard's tests: the application over an estimator whose answers are known."""

from __future__ import annotations

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

    from midas_depth_ros.web.app import Dashboard

    ADDRESS = 'http://127.0.0.1:8080'

    @pytest.fixture
    def estimator() -> BrightnessEstimator:
        """What the dashboard of this test infers with."""
        return BrightnessEstimator()

    @pytest.fixture
    def make_client(estimator) -> Iterator[Callable[..., TestClient]]:
        """Makes a client of a dashboard with these options; its `dashboard` is the server."""
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
