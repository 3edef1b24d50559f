"""`colcon test`, as the README calls it: pytest runs, and reports what it ran."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def colcon(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ['colcon', '--log-base', str(folder / 'log'), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_colcon_test_runs_the_quick_part_and_reports(tmp_path: Path) -> None:
    """Of the quick part one file: the whole runs beside this test anyway."""
    here = ['--base-paths', str(ROOT), '--packages-select', 'midas_depth_ros']
    bases = ['--build-base', str(tmp_path / 'build'), '--install-base', str(tmp_path / 'install')]
    built = colcon('build', *here, *bases, folder=tmp_path)
    assert built.returncode == 0, built.stderr
    chosen = ['--event-handlers', 'console_direct+', '--pytest-args', '-k', 'test_mount.py']
    ran = colcon('test', *here, *bases, '--return-code-on-test-failure', *chosen, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout
    collected, deselected = map(
        int, re.search(r'collected (\d+) items / (\d+) deselected', ran.stdout).groups()
    )
    assert 1000 < collected < 6000, 'neither nothing nor everything'
    assert deselected < collected
    result = colcon('test-result', '--test-result-base', str(tmp_path / 'build'), folder=tmp_path)
    found = re.search(r'Summary: (\d+) tests, 0 errors, 0 failures', result.stdout)
    assert found, result.stdout
    assert int(found.group(1)) > 5
