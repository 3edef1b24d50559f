"""Who may look where: the pure rooms run without ROS and do not reach into each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'midas_depth_ros'
# Which other rooms a pure room may import.
ALLOWED = {
    'avoidance': set(),
    'depth': set(),
    'geometry': set(),
    'images': set(),
    'views': set(),
    'sim': {'geometry'},
}
ROS = (
    'rclpy', 'sensor_msgs', 'std_msgs', 'std_srvs', 'geometry_msgs', 'diagnostic_msgs',
    'nav_msgs', 'lifecycle_msgs', 'rcl_interfaces', 'rosgraph_msgs', 'builtin_interfaces',
    'launch', 'launch_ros', 'ament_index_python',
)  # fmt: skip
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {ros!r}:
            raise ModuleNotFoundError('ROS is not to be imported here: ' + name)

sys.meta_path.insert(0, NoRos())
for name in {names!r}:
    importlib.import_module(name)
print(len({names!r}), 'torch' in sys.modules)
"""


def modules(room: str) -> list[str]:
    paths = sorted((PACKAGE / room).rglob('*.py'))
    names = ['.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in paths]
    return [name.removesuffix('.__init__') for name in names]


@pytest.mark.parametrize('room', ALLOWED)
def test_a_pure_room_imports_where_there_is_no_ros(room):
    # Only networks and the torch backend need torch; the other backends need their library.
    libraries = ('networks', '_backend', 'openvino_runtime', 'openvino_conversion')
    names = [name for name in modules(room) if not name.endswith(libraries)]
    code = IMPORT_EVERYTHING.format(ros=ROS, names=names)
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(len(names)), 'False'], 'torch was loaded needlessly'


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize('room', ALLOWED)
def test_a_pure_room_does_not_reach_into_others(room):
    for path in (PACKAGE / room).rglob('*.py'):
        for name in imported(path):
            parts = name.split('.')
            if parts[0] == 'midas_depth_ros' and len(parts) > 1:
                assert parts[1] in ALLOWED[room] | {room}, f'{path} imports {name}'


def test_nodes_do_no_arithmetic_on_pixels():
    for path in (PACKAGE / 'nodes').rglob('*.py'):
        assert not {'scipy', 'torch', 'timm', 'PIL'} & {
            name.split('.')[0] for name in imported(path)
        }, path
