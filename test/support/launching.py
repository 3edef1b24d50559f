"""Runs the launch files of the source tree, with the real programs or with recording stand-ins."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / 'test' / 'launch' / 'run_launch_file.py'
# Stands for a program that a launch file starts: writes down its arguments, and ends. It goes by
# the name of its node, if it has one, since a launch file may start several of a program.
RECORDER = """\
#!/bin/sh
name="$(basename "$0")"
for word; do case "$word" in __node:=*) name="${word#__node:=}";; esac; done
record="$LAUNCH_RECORDS/$name"
printf '%s\\0' "$@" > "$record.part" && mv "$record.part" "$record"
"""
# Stays until it is ended; says by which process it may be found.
STAYING = """\
echo $$ > "$LAUNCH_RECORDS/../pid of $(basename "$0")"
exec sleep 600
"""
# Is started again whenever it ends. So the second time it ends the launch, once it is alone.
RESTARTED = """\
starts="$LAUNCH_RECORDS/../starts of $(basename "$0")"
echo >> "$starts"
if [ "$(wc -l < "$starts")" -gt 1 ]; then
    while [ "$(pgrep -c -P "$PPID")" -gt 1 ]; do sleep 0.1; done
    kill -INT "$PPID"
fi
exit 1
"""
PROGRAMS = {
    'midas_depth_ros': (
        'avoidance_node',
        'dashboard',
        'depth_node',
        'image_stream',
        'synthetic_camera',
    ),
    'nav2_collision_monitor': ('collision_monitor',),
    'nav2_lifecycle_manager': ('lifecycle_manager',),
    'rviz2': ('rviz2',),
    'tf2_ros': ('static_transform_publisher',),
}


def launch_command(name: str | Path, arguments: dict[str, str]) -> list[str]:
    """The command that runs a launch file: by name of the source tree, by path any."""
    path = name if isinstance(name, Path) else ROOT / 'launch' / f'{name}.launch.py'
    return [sys.executable, str(RUNNER), str(path), *(f'{k}:={v}' for k, v in arguments.items())]


@dataclasses.dataclass(frozen=True)
class Launched:
    """What came of running a launch file: its end, and what each program was called with."""

    exit_code: int
    output: str
    calls: dict[str, list[str]]
    starts: int = 0  # of the dashboard

    def ros_arguments(self, program: str) -> list[str]:
        """The part of a program's command line that is for ROS."""
        call = self.calls[program]
        return call[call.index('--ros-args') :]


class Launcher:
    """Runs launch files in a world where every program only writes down its command line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for package, names in PROGRAMS.items():
            marker = folder / 'prefix/share/ament_index/resource_index/packages' / package
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
            for name in names:
                self._install(folder / 'prefix/lib' / package / name)
        self._install(folder / 'bin/ros2')

    def uninstall(self, *names: str) -> None:
        """Take packages away, and programs that are in none."""
        for name in names:
            marker = self._folder / 'prefix/share/ament_index/resource_index/packages' / name
            marker.unlink(missing_ok=True)
            (self._folder / 'bin' / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def running(self, name: str, **arguments: str) -> Iterator[tuple[subprocess.Popen, Path]]:
        """A launch file whose programs stay, and the folder with a `pid of <program>` of each."""
        for path in (self._folder / 'prefix/lib').glob('*/*'):
            path.write_text(RECORDER + STAYING)
        (self._folder / 'bin/ros2').write_text(RECORDER + STAYING)
        (self._folder / 'records').mkdir()
        with subprocess.Popen(
            launch_command(name, arguments),
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                yield process, self._folder
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            'AMENT_PREFIX_PATH': str(self._folder / 'prefix'),
            'PATH': f'{self._folder / "bin"}:{os.environ["PATH"]}',
            'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
            'LAUNCH_RECORDS': str(self._folder / 'records'),
            'ROS_LOG_DIR': str(self._folder / 'log'),
            'TMPDIR': str(self._folder),  # launch leaves its parameter files behind
        }

    def launch(self, name: str | Path, **arguments: str) -> Launched:
        """Run a launch file to its end."""
        records = self._folder / 'records'
        records.mkdir()
        result = subprocess.run(
            launch_command(name, arguments),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        calls = {p.name: p.read_bytes().decode().split('\0')[:-1] for p in records.iterdir()}
        records.rename(self._folder / f'records_{len(list(self._folder.iterdir()))}')
        starts = self._folder / 'starts of dashboard'
        count = len(starts.read_text().splitlines()) if starts.exists() else 0
        starts.unlink(missing_ok=True)
        return Launched(result.returncode, result.stdout, calls, count)

    def arguments(self, name: str) -> dict[str, dict[str, str | None]]:
        """Each argument that a launch file declares: its description and its default."""
        command = [*launch_command(name, {}), '--list']
        environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'}
        result = subprocess.run(command, env=environment, capture_output=True, check=True)
        return json.loads(result.stdout)

    @staticmethod
    def _install(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RECORDER + (RESTARTED if path.name == 'dashboard' else ''))
        path.chmod(0o755)
