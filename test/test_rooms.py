"""Who may look where: the pure rooms run without ROS and do not reach into each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'midas_depth_ros'
PURE = ('avoidance', 'depth', 'geometry', 'images', 'options', 'sim', 'views')
# Which other rooms a room may import: the table of ARCHITECTURE.md.
ALLOWED: dict[str, set[str]] = {
    'depth': set(),
    'options': {'depth'},
    'avoidance': {'options'},
    'geometry': {'options'},
    'images': {'options'},
    'views': {'options'},
    'sim': {'geometry', 'options'},
    'nodes': set(PURE),
    'web': set(PURE) - {'avoidance', 'sim'} | {'nodes'},
    'lab': set(PURE) | {'nodes'},
    'cli': {*PURE, 'nodes', 'web', 'lab'},
}
DOORS = ('__main__.py', 'start.py')  # where the package is entered: they look anywhere
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


@pytest.mark.parametrize('room', PURE)
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


def test_every_room_is_in_the_table():
    rooms = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert rooms == set(ALLOWED)
    text = (ROOT / 'ARCHITECTURE.md').read_text()
    for room in rooms:
        assert f'| `{room}/` |' in text, room


@pytest.mark.parametrize('room', ALLOWED)
def test_a_room_does_not_reach_into_others(room):
    for path in (PACKAGE / room).rglob('*.py'):
        if path.name in DOORS:
            continue
        for name in imported(path):
            parts = name.split('.')
            if parts[0] == 'midas_depth_ros' and len(parts) > 1:
                assert parts[1] in ALLOWED[room] | {room}, f'{path} imports {name}'


def test_nodes_do_no_arithmetic_on_pixels():
    for path in (PACKAGE / 'nodes').rglob('*.py'):
        assert not {'scipy', 'torch', 'timm', 'PIL'} & {
            name.split('.')[0] for name in imported(path)
        }, path
