"""No default and no bound of a declared option stands in the code a second time."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest

from midas_depth_ros.options.reference import NODES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'midas_depth_ros'
SOURCES = {
    **{each: PACKAGE / each for each in (
        'avoidance', 'cli', 'depth', 'geometry', 'images', 'lab', 'nodes', 'sim', 'views', 'web',
    )},
    'benchmarks': ROOT / 'benchmarks',
    'launch': ROOT / 'launch',
}  # fmt: skip
UNIT = re.compile(r'_(m|s|rad|px|hz|rad_s|m_s|m_s2|rad_s2)$')
# Nothing, not given, no limit: these say that an option is not used, not what it is.
NEUTRAL = (0, '', False, None, (), math.inf)
LIMITS = ('min', 'max', 'ge', 'gt', 'le', 'lt')  # of click's ranges and of FastAPI's parameters
# The same word for another thing.
OTHERS = {
    ('benchmarks/simulated_recording.py', 'seed'),  # of the world of the example
    ('benchmarks/simulated_recording.py', 'world'),
    ('cli/evaluate.py', 'latency'),  # of the depth node, not of the robot's wheels
    ('lab/evaluate/verdict.py', 'latency_s'),
    ('benchmarks/bandwidth.py', 'model'),  # of a measurement, as the next ones are
    ('benchmarks/edges.py', 'model'),
    ('benchmarks/markers.py', 'model'),
    ('benchmarks/drive_accuracy.py', 'model'),
    ('benchmarks/metric_on_real.py', 'model'),
    ('benchmarks/node.py', 'model'),
    ('benchmarks/sigma.py', 'model'),
    ('benchmarks/graph.py', 'size'),  # of a network's input
    ('benchmarks/large_pictures.py', 'model'),  # that is measured
    ('benchmarks/large_pictures.py', 'size'),  # of the pictures
    ('benchmarks/large_pictures.py', 'width'),
    ('benchmarks/speed.py', 'backend'),
    ('benchmarks/speed.py', 'height'),
    ('benchmarks/drive_accuracy.py', 'model'),  # that is measured
    ('benchmarks/metric_on_real.py', 'model'),
    ('benchmarks/odometry_scale.py', 'model'),
    ('benchmarks/speed.py', 'precision'),
    ('benchmarks/speed.py', 'size'),
    ('benchmarks/speed.py', 'width'),
    ('benchmarks/speed.py', 'world'),  # of the training
    ('cli/demo.py', 'timeout'),  # until the first frame
    ('cli/demo.py', 'world'),  # the number of a world, not its kind
    ('cli/drive.py', 'rate'),  # of a drive's pictures
    ('cli/drive.py', 'seed'),  # of the first of many worlds
    ('cli/export.py', 'precision'),  # of the file that is written
    ('cli/video.py', 'rate'),  # of pictures without times
    ('cli/video.py', 'width'),  # of a panel of the video
    ('depth/files.py', 'size'),  # of what is read
    ('depth/backends/__init__.py', 'precision'),  # in which a loaded network computes
    ('depth/models/monodepth2.py', 'mode'),  # of a resize
    ('geometry/closeness.py', 'time_constant_s'),  # of a video's depth, not of the scale
    ('geometry/scale.py', 'source'),  # of one fit: where it came from
    ('images/blindness.py', 'check'),  # whether a picture is judged, not the scale
    ('lab/demo/run.py', 'timeout_s'),  # until the first frame
    ('lab/demo/run.py', 'transport'),  # how the demonstration's own camera sends
    ('lab/demo/recording.py', 'transport'),
    ('lab/speed/nodes.py', 'cameras'),  # of a measurement
    ('sim/furnished/place.py', 'size'),  # of a piece of furniture
    ('sim/furnished/shading.py', 'gamma'),  # of a camera's pictures
    ('sim/robot/robot.py', 'camera_pitch_rad'),  # of a robot that is made without settings
    ('sim/robot/robot.py', 'height_m'),
    ('depth/models/spec.py', 'mean'),  # of a network
    ('depth/models/spec.py', 'std'),
    ('sim/scene/scene.py', 'colour'),  # of a thing
    ('sim/scene/scene.py', 'height_m'),  # of a name
    ('sim/scene/scene.py', 'z_m'),  # of a pose
    ('views/pictures.py', 'max_width'),  # of a page and of an animation
}
# The same thing a second time, in `depth`, which may import no other name.
AGAIN = {
    ('depth/estimator.py', 'allow_download'),
    ('depth/models/__init__.py', 'allow_download'),
    ('depth/weights.py', 'allow_download'),
}


def declared() -> set[str]:
    return {spec.name.rpartition('.')[2] for node in NODES for spec in node.specs()}


def where(path: Path) -> str:
    return str(path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT))


def option_name(call: ast.Call) -> str:
    """Of `click.option('--max-width', ...)`: max_width; '' for other calls."""
    first = call.args[0] if call.args and ast.unparse(call.func).endswith('option') else None
    named = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return first.value.lstrip('-').partition('/')[0].replace('-', '_') if named else ''


def defaults(path: Path):
    """(name, expression) of the defaults of functions, fields of classes and click's options."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            with_default = (given.posonlyargs + given.args)[-len(given.defaults) :]
            for name, value in (
                *(zip(with_default, given.defaults, strict=True) if given.defaults else ()),
                *zip(given.kwonlyargs, given.kw_defaults, strict=True),
            ):
                yield name.arg, value
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield field.target.id, field.value
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == 'default' and option_name(node):
                    yield option_name(node), keyword.value


def limits(tree: ast.AST):
    """The expressions that bound a number, in click's way or FastAPI's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (each.value for each in node.keywords if each.arg in LIMITS)
            if ast.unparse(node.func).endswith('Range'):
                yield from node.args


def bounds(path: Path):
    """(name, expression) of the bounds of click's options and of annotated arguments and fields."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and option_name(node):
            yield from ((option_name(node), each) for each in limits(node))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in (*node.args.args, *node.args.kwonlyargs):
                if name.annotation is not None:
                    yield from ((name.arg, each) for each in limits(name.annotation))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            for part in (node.annotation, node.value):
                if part is not None:
                    yield from ((node.target.id, each) for each in limits(part))


def literals(source: str, expressions) -> set[tuple[str, str]]:
    """(file, name) of the expressions of declared options that are written as literals."""
    names, found = declared(), set()
    for path in SOURCES[source].rglob('*.py'):
        for name, value in expressions(path):
            if name not in names and UNIT.sub('', name) not in names:
                continue
            try:
                literal = ast.literal_eval(value) if value is not None else None
            except ValueError:
                continue  # a name, as that of the declaration itself
            if literal not in NEUTRAL:
                found.add((where(path), name))
    return found


@pytest.mark.parametrize('source', SOURCES)
def test_no_default_is_declared_a_second_time(source):
    found = literals(source, defaults)
    assert found <= OTHERS | AGAIN, found - OTHERS - AGAIN


@pytest.mark.parametrize('source', SOURCES)
def test_no_bound_is_declared_a_second_time(source):
    found = literals(source, bounds)
    assert found <= OTHERS | AGAIN, found - OTHERS - AGAIN


def test_every_exception_is_one():
    """Neither list keeps what has gone."""
    found = {
        each for source in SOURCES for way in (defaults, bounds) for each in literals(source, way)
    }
    assert found == OTHERS | AGAIN


def test_a_second_declaration_is_found(tmp_path):
    """Each way in which one can be written."""
    path = tmp_path / 'a.py'
    path.write_text(
        "@click.option('--max-rate', type=click.FloatRange(0.0, 900.0), default=5.0)\n"
        'def f(jpeg_quality: Annotated[int, Query(ge=1, le=100)] = 80): ...\n'
        'class A:\n    smoothing: float = Field(0.0, le=15.0)\n'
    )
    assert {name for name, _ in defaults(path)} == {'max_rate', 'jpeg_quality', 'smoothing'}
    assert {ast.literal_eval(each) for _, each in bounds(path)} == {0.0, 900.0, 1, 100, 15.0}
