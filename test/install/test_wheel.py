"""`pip install .` where there is nothing else: its commands work, or say what is missing."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'midas_depth_ros'
SAMPLE = PACKAGE / 'assets' / 'samples'
ROS_COMMANDS = [
    *('depth_node', 'avoidance_node', 'image_stream', 'synthetic_camera'),
    'obstacle_distance_node',
]
HOME_VARIABLES = ('PATH', 'HOME', 'TMPDIR', 'PIP_INDEX_URL', 'PIP_CONFIG_FILE', 'PIP_CACHE_DIR')


def call(*command: str | Path, folder: Path, **settings) -> subprocess.CompletedProcess[str]:
    """A command in a folder, without what the test's own environment adds."""
    environment = {name: os.environ[name] for name in HOME_VARIABLES if name in os.environ}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `pip install .` builds it, from a copy: a build leaves its folders behind."""
    folder = tmp_path_factory.mktemp('wheel')
    copy = folder / 'source'
    names = ['midas_depth_ros', 'launch', 'config', 'resource', 'setup.py', 'setup.cfg']
    copy.mkdir()
    for name in [*names, 'package.xml', 'README.md']:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation']
    built = call(*command, '-w', folder, copy, folder=folder)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob('*.whl')
    return found


@pytest.fixture(scope='module')
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a venv that has this wheel and nothing else."""
    folder = tmp_path_factory.mktemp('bare')
    venv.create(folder)
    python = folder / 'bin' / 'python'
    command = [sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', wheel]
    installed = call(*command, folder=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / 'bin'


@pytest.fixture(scope='module')
def complete(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a venv that has the wheel and what pip brings along, from the index."""
    folder = tmp_path_factory.mktemp('complete')
    venv.create(folder)
    python = folder / 'bin' / 'python'
    command = [sys.executable, '-m', 'pip', '--python', python, 'install', '--no-compile', wheel]
    installed = call(*command, folder=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / 'bin'


def test_the_wheel_has_the_package_and_its_assets_and_nothing_else(wheel: Path) -> None:
    files = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assets = {path.relative_to(ROOT) for path in PACKAGE.glob('assets/**/*') if path.is_file()}
    assert len(assets) > 30
    assert assets <= files
    assert not {'training', 'benchmarks', 'test'} & {path.parts[0] for path in files}


@pytest.mark.sampled
@pytest.mark.parametrize('command', ['midas_depth', 'dashboard', *ROS_COMMANDS])
def test_a_command_without_its_libraries_is_one_sentence(bare: Path, command: str) -> None:
    result = call(bare / command, folder=bare)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    (line,) = result.stderr.splitlines()
    assert re.match(rf'error: {command} (cannot import \w+|needs ROS 2)', line), line
    assert 'pip install ' in line or 'source /opt/ros/' in line, line


@pytest.mark.timeout(600)
@pytest.mark.thorough
def test_the_commands_of_the_wheel_work(complete: Path, tmp_path: Path) -> None:
    version = call(complete / 'midas_depth', '--version', folder=tmp_path)
    assert version.stdout.startswith('midas_depth, version '), version.stderr
    picture = next(SAMPLE.glob('*.png'), None) or next(SAMPLE.glob('*.jpg'))
    made = call(complete / 'midas_depth', 'image', picture, '--model', 'embedded', folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert list((tmp_path / 'midas_depth_output').glob('*heatmap*'))


@pytest.mark.timeout(600)
def test_the_dashboard_of_the_wheel_answers(complete: Path, tmp_path: Path) -> None:
    command = [complete / 'dashboard', '--no-ros', '--port', '0']
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready, _, _ = select.select([process.stdout], [], [], 60)
            assert ready, 'no address within a minute'
            address = re.search(r'http://[\d.]+:\d+/', process.stdout.readline()).group()
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert b'<title>' in answer.read()
        finally:
            process.terminate()
        assert process.wait(30) == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize('command', ROS_COMMANDS)
def test_a_node_without_ros_says_how_to_get_it(
    complete: Path, tmp_path: Path, command: str
) -> None:
    result = call(complete / command, folder=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f'error: {command} needs ROS 2'), line
    assert 'scripts/demo' in line
