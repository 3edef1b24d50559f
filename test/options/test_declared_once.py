"""No default of a declared option stands in the code a second time."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest

from midas_depth_ros.options.reference import NODES

PACKAGE = Path(__file__).resolve().parents[2] / 'midas_depth_ros'
# Not `depth`, whose tables of names `options` reads; not `sim`, whose words are of drawn things.
ROOMS = ('avoidance', 'geometry', 'images', 'lab', 'nodes', 'views', 'web')
UNIT = re.compile(r'_(m|s|rad|px|hz|rad_s|m_s|m_s2|rad_s2)$')
# Nothing, not given, no limit: these say that an option is not used, not what it is.
NEUTRAL = (0, '', False, None, (), math.inf)
# The same word for another thing.
OTHERS = {
    ('geometry/closeness.py', 'time_constant_s'),  # of a video's depth, not of the scale
    ('geometry/scale.py', 'source'),  # of one fit: where it came from
    ('lab/demo/run.py', 'timeout_s'),  # until the first frame
    ('lab/demo/run.py', 'transport'),  # how the demonstration's own camera sends
    ('lab/demo/recording.py', 'transport'),
    ('lab/speed/nodes.py', 'cameras'),  # of a measurement
    ('views/pictures.py', 'max_width'),  # of a page and of an animation
}


def declared() -> set[str]:
    return {spec.name.rpartition('.')[2] for node in NODES for spec in node.specs()}


def defaults(path: Path):
    """(name, expression) of every default of a function and of every field of a class."""
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


@pytest.mark.parametrize('room', ROOMS)
def test_no_default_is_declared_a_second_time(room):
    names, found = declared(), set()
    for path in (PACKAGE / room).rglob('*.py'):
        for name, value in defaults(path):
            if name not in names and UNIT.sub('', name) not in names:
                continue
            try:
                literal = ast.literal_eval(value) if value is not None else None
            except ValueError:
                continue  # a name, as that of the declaration itself
            if literal not in NEUTRAL:
                found.add((str(path.relative_to(PACKAGE)), name))
    assert found <= OTHERS, found - OTHERS
