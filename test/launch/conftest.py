"""Fixtures of the tests of launch files and their configuration."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from launching import Launcher

if find_spec('rclpy'):
    from ros_helpers import ros  # noqa: F401
    from workspace import workspace  # noqa: F401


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """A launcher with a folder of its own."""
    return Launcher(tmp_path)
