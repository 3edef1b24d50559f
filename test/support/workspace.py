"""The package as colcon installs it, for tests that use it as a robot would."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Workspace:
    """A colcon install folder and the environment that its setup.bash makes."""

    def __init__(self, folder: Path) -> None:
        self.install = folder / 'install'
        self.environment = self._sourced()

    def executable(self, name: str) -> Path:
        """Where `ros2 run midas_depth_ros NAME` would find it."""
        return self.install / 'midas_depth_ros' / 'lib' / 'midas_depth_ros' / name

    def share(self, *parts: str) -> Path:
        """A file of the package's share folder."""
        return self.install.joinpath('midas_depth_ros', 'share', 'midas_depth_ros', *parts)

    def _sourced(self) -> dict[str, str]:
        script = f'source {shlex.quote(str(self.install / "setup.bash"))} && env -0'
        output = subprocess.run(['bash', '-c', script], capture_output=True, check=True).stdout
        pairs = [entry.split('=', 1) for entry in output.decode().split('\0') if '=' in entry]
        return dict(pairs)


def build(folder: Path) -> Workspace:
    """`colcon build` of the package into a folder; AssertionError with its output if it fails."""
    command = ['colcon', '--log-base', str(folder / 'log'), 'build', '--base-paths', str(ROOT)]
    command += ['--packages-select', 'midas_depth_ros', '--build-base', str(folder / 'build')]
    command += ['--install-base', str(folder / 'install')]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ, check=False
    )
    if result.returncode:
        raise AssertionError(f'colcon build failed:\n{result.stdout}\n{result.stderr}')
    return Workspace(folder)


@pytest.fixture(scope='session')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The package built once for all tests that want it installed."""
    return build(tmp_path_factory.mktemp('workspace'))
