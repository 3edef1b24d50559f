"""What the documented installs bring is all that the package imports, and all of it can be had."""

from __future__ import annotations

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from rosdep_extract import EXTRACT, ROOT, UBUNTU, manifest_keys

KEYS = json.loads(EXTRACT.read_text())
BESIDE_APT = {
    line.split('==')[0]
    for line in (ROOT / 'requirements' / 'beside_apt.txt').read_text().splitlines()
    if line and not line.startswith('#')
}
# What is imported by another name than the key or the project that brings it.
KEY_OF = {'cv2': 'opencv', 'PIL': 'pil', 'yaml': 'yaml'}
# What comes along with what we name.
COMES_WITH = {
    'starlette': 'python3-fastapi',
    'pydantic': 'python3-fastapi',
    'h11': 'python3-uvicorn',
    'urllib3': 'python3-requests',
    'backports': 'rosbags',
    'lz4': 'rosbags',
    'compression': 'rosbags',  # Python 3.14's own name of the same
}
# Other ways to run a network, more formats, converting, an autopilot: said where asked for.
OPTIONAL = {'torch', 'torchvision', 'timm', 'onnxruntime', 'nncf', 'pillow_heif', 'px4_msgs'}


def imports(folder: str) -> dict[str, Path]:
    """Top-level names that are imported anywhere in a folder, with one file each."""
    found: dict[str, Path] = {}
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'import_module':
                names = [value.value for value in node.args if isinstance(value, ast.Constant)]
            else:
                continue
            found |= {name.split('.')[0]: path for name in names}
    own = {'midas_depth_ros', *sys.stdlib_module_names}
    return {name: path for name, path in found.items() if name not in own}


def test_every_key_of_the_manifest_is_known_to_rosdep() -> None:
    """A key that has no rule ends `rosdep install` before anything is installed."""
    assert set(KEYS) == set(UBUNTU)
    for distribution, rules in KEYS.items():
        assert sorted(rules) == sorted(manifest_keys()), 'run test/support/rosdep_extract.py'
        for key, rule in rules.items():
            assert rule, f'{key} has no rule for {distribution} on Ubuntu {UBUNTU[distribution]}'


def test_rosdep_never_needs_pip() -> None:
    """It would stop there from Ubuntu 24.04 on (PEP 668), with what comes after it missing."""
    for distribution, rules in KEYS.items():
        for key, rule in rules.items():
            assert rule != 'pip', f'{key} comes from pip in {distribution}'
            assert all(re.fullmatch('[a-z0-9.+-]+', name) for name in rule)


@pytest.mark.parametrize('folder', ['midas_depth_ros', 'launch'])
def test_everything_that_is_imported_is_brought_by_the_install_on_a_robot(folder: str) -> None:
    keys = set(manifest_keys())
    brought = packages_distributions()
    for name, path in imports(folder).items():
        if name in OPTIONAL:
            continue
        ways = {name, f'python3-{KEY_OF.get(name, name)}', COMES_WITH.get(name, '')}
        projects = set(brought.get(name, [])) & BESIDE_APT
        assert ways & (keys | BESIDE_APT) or projects, f'{path} imports {name}: who brings it?'


def test_a_robot_gets_a_fast_backend_without_torch() -> None:
    assert 'openvino' in BESIDE_APT
    assert not {key for key in manifest_keys() if 'torch' in key or 'timm' in key}


def test_the_readme_says_how_in_the_lines_where_it_is_needed() -> None:
    text = (ROOT / 'README.md').read_text()
    lines = re.search(r'```bash\n(cd ~/ros2_ws.*?)```', text, re.S).group(1).splitlines()
    rosdep, pip, colcon = (
        next(number for number, line in enumerate(lines) if word in line)
        for word in ('rosdep install', 'requirements/beside_apt.txt', 'colcon build')
    )
    assert rosdep < pip < colcon
    assert 'PIP_BREAK_SYSTEM_PACKAGES=1' in lines[pip]
