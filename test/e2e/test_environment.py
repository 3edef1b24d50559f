"""What scripts/environment.py says when something is missing, and what it leaves alone."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(monkeypatch):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location('environment', ROOT / 'scripts/environment.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    return module


@pytest.mark.parametrize('running', [(3, 9), (3, 14), (2, 7)])
def test_an_unsupported_python_is_named_with_the_remedy(environment, running):
    with pytest.raises(environment.SetupError) as error:
        environment.check_python(running)
    assert f'Python {running[0]}.{running[1]}' in str(error.value)
    assert '3.10 to 3.13' in str(error.value)
    assert 'MIDAS_DEPTH_PYTHON' in str(error.value)


def test_arm_without_a_ros_is_named_with_the_remedy(environment):
    with pytest.raises(environment.SetupError, match=r'x86-64 alone, and this is aarch64: source'):
        environment.check_machine('aarch64', '')
    environment.check_machine('aarch64', 'jazzy')
    environment.check_machine('x86_64', '')


def test_a_full_disk_is_said_before_the_download(environment):
    with pytest.raises(environment.SetupError, match=r'0\.9 GB free at .*, 1\.1 GB needed\. Free'):
        environment.check_disk(900_000_000, ['runtime', 'package'])
    with pytest.raises(environment.SetupError, match=r'3\.6 GB needed \(9\.6 GB where .* CUDA\)'):
        environment.check_disk(900_000_000, ['runtime', 'package', 'torch', 'dev'])
    environment.check_disk(100_000_000_000, ['runtime', 'torch', 'dev'])


def test_torch_is_installed_only_where_something_asks_for_it(environment, monkeypatch):
    wanted = []
    monkeypatch.setattr(environment, 'set_up', wanted.append)
    for words in ([], ['--torch'], ['--dev']):
        monkeypatch.setattr(sys, 'argv', ['environment.py', *words])
        assert environment.main() == 0
    assert wanted == [['runtime'], ['runtime', 'torch'], ['runtime', 'torch', 'dev']]
    heavy = ('torch', 'timm', 'nncf', 'nvidia')
    assert not [line for line in environment.requirements('runtime') if line.startswith(heavy)]


def test_a_missing_venv_module_names_the_package(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ensurepip', None)
    with pytest.raises(environment.SetupError, match=r'apt install python3\.\d+-venv'):
        environment.check_venv_module()


def test_a_sourced_ros_whose_rclpy_cannot_be_imported_is_named(environment, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setattr(environment.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(environment.SetupError, match='jazzy is sourced'):
        environment.sourced_ros()


def test_beside_a_sourced_ros_only_what_is_lacking_is_installed(environment):
    lines = ['numpy==9.9', 'PyYAML==9.9', 'no-such-thing==1.0', 'setuptools==79.0.1']
    assert environment.missing(lines) == ['no-such-thing==1.0', 'setuptools==79.0.1']
    assert environment.kept_numpy() == [f'numpy=={np.__version__}']


def test_beside_a_sourced_ros_opencv_follows_its_numpy(environment, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, 'find_spec', lambda name: None)
    assert environment.missing(['opencv-python-headless==9.9']) == ['opencv-python-headless']


def test_every_requirement_can_be_looked_for_by_its_import_name(environment):
    lines = [
        line for part in ('runtime', 'torch', 'dev') for line in environment.requirements(part)
    ]
    stubs = [line for line in lines if line.startswith('types-')]
    assert [line for line in environment.missing(lines) if 'setuptools' not in line] == stubs


def test_every_requirement_is_pinned(environment):
    for part in ('ros', 'runtime', 'torch', 'dev'):
        for line in environment.requirements(part):
            assert '==' in line, line


def test_no_python_at_all_is_named_with_the_remedy(tmp_path):
    for tool in ('bash', 'dirname', 'env'):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    result = subprocess.run(
        [ROOT / 'scripts/demo'],
        env={'PATH': str(tmp_path), 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert 'no Python 3.10 to 3.13 found' in result.stderr
    assert 'apt install' in result.stderr


def test_a_failing_pip_is_told_with_its_own_words(environment, tmp_path, monkeypatch):
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "ERROR: no index answers"\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(environment, 'VENV', tmp_path)
    with pytest.raises(environment.SetupError, match=r'(?s)no index answers.*Check the network'):
        environment.pip('install', 'numpy')


def test_a_second_run_finds_everything_done(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'VENV', tmp_path)
    done = {part: environment.fingerprint(part, '') for part in ('runtime', 'package', 'dev')}
    environment.write_stamp(done)
    monkeypatch.setattr(environment, 'pip', lambda *words: pytest.fail(f'pip {words}'))
    environment.set_up(['runtime', 'dev'])
    assert environment.read_stamp() == done


def test_changed_requirements_are_installed_again(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'VENV', tmp_path)
    done = {part: environment.fingerprint(part, '') for part in ('runtime', 'package')}
    environment.write_stamp({**done, 'dev': 'older'})
    calls = []
    monkeypatch.setattr(environment, 'pip', lambda *words: calls.append(words))
    environment.set_up(['runtime', 'dev'])
    assert calls == [('install', f'-r{ROOT / "requirements" / "dev.txt"}')]
    assert environment.read_stamp()['dev'] == environment.fingerprint('dev', '')
