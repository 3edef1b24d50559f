"""Who may look where: the pure subpackages run without ROS and do not reach into each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'midas_depth_ros'
PURE = ('avoidance', 'depth', 'geometry', 'images', 'options', 'sim', 'views')
# Which other subpackages a subpackage may import: the table of ARCHITECTURE.md.
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


def modules(subpackage: str) -> list[str]:
    paths = sorted((PACKAGE / subpackage).rglob('*.py'))
    names = ['.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in paths]
    return [name.removesuffix('.__init__') for name in names]


@pytest.mark.parametrize('subpackage', PURE)
def test_a_pure_subpackage_imports_where_there_is_no_ros(subpackage):
    # Backends need their library, and the torch layers of models need torch.
    libraries = ('_backend', 'openvino_runtime', '_torch')
    names = [name for name in modules(subpackage) if not name.endswith(libraries)]
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


def test_every_subpackage_is_in_the_table():
    subpackages = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert subpackages == set(ALLOWED)
    text = (ROOT / 'ARCHITECTURE.md').read_text()
    for subpackage in subpackages:
        assert f'| `{subpackage}/` |' in text, subpackage


def test_the_package_imports_nothing_that_is_not_installed():
    for path in PACKAGE.rglob('*.py'):
        found = {name.split('.')[0] for name in imported(path)}
        assert not found & {'training', 'benchmarks', 'test'}, path


@pytest.mark.parametrize('subpackage', ALLOWED)
def test_a_subpackage_does_not_reach_into_others(subpackage):
    for path in (PACKAGE / subpackage).rglob('*.py'):
        if path.name in DOORS:
            continue
        for name in imported(path):
            parts = name.split('.')
            if parts[0] == 'midas_depth_ros' and len(parts) > 1:
                assert parts[1] in ALLOWED[subpackage] | {subpackage}, f'{path} imports {name}'


# What nodes/ may use of NumPy: types, small arrays, and what lays out the bytes of a message.
LAYOUT = {
    'arange', 'array', 'ascontiguousarray', 'dtype', 'eye', 'float32', 'float64', 'frombuffer',
    'linalg', 'ndarray', 'random', 'stack', 'uint8', 'uint16', 'zeros',
}  # fmt: skip
PIXELS = {'answer', 'depth_z', 'heatmap', 'inverse_depth', 'picture', 'rgb'}


def arithmetic_on_pixels(source: str) -> list[str]:
    """The places where code works on the values of a picture, rather than passing it on."""
    tree, found = ast.parse(source), []
    arguments = (node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation)
    arrays = PIXELS | {
        each.arg for each in arguments if 'ndarray' in ast.unparse(each.annotation).lower()
    }

    def is_array(value: ast.AST) -> bool:
        name = value.id if isinstance(value, ast.Name) else getattr(value, 'attr', '')
        return name in arrays

    for node in ast.walk(tree):
        operands: list[ast.AST] = []
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == 'np':
            wrong = node.attr not in LAYOUT
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, 'module', None) or ''}
            wrong = any(
                name.split('.')[0] in ('cv2', 'scipy', 'torch', 'timm', 'PIL') for name in names
            )
        else:
            if isinstance(node, ast.BinOp):
                operands = [node.left, node.right]
            elif isinstance(node, ast.AugAssign):
                operands = [node.target, node.value]
            elif isinstance(node, ast.UnaryOp):
                operands = [node.operand]
            elif isinstance(node, ast.Compare) and not isinstance(node.ops[0], (ast.Is, ast.IsNot)):
                operands = [node.left, *node.comparators]
            wrong = any(map(is_array, operands))
        if wrong:
            found.append(f'line {node.lineno}: {ast.unparse(node)}')
    return found


@pytest.mark.parametrize(
    'line',
    [
        'import cv2',
        'from PIL import Image',
        'low = np.percentile(view.answer, 2)',
        'metres = 1 / view.inverse_depth',
        'def half(values: NDArray[np.uint8]): return values // 2',
        'depth_z[depth_z > 3] = 0',
        'self.rgb *= 2',
    ],
)
def test_arithmetic_on_pixels_is_found(line):
    path = PACKAGE / 'nodes' / 'depth' / 'output.py'
    assert arithmetic_on_pixels(f'{path.read_text()}\n{line}\n')


def test_nodes_do_no_arithmetic_on_pixels():
    for path in (PACKAGE / 'nodes').rglob('*.py'):
        assert not arithmetic_on_pixels(path.read_text()), path
