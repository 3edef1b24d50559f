"""Each name in config/nav2_example.yaml, and in what is made of it for a robot, is one that nav2
declares, with a value of its type.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_depth_ros.nodes.ros.nav2_parameters import (
    MANAGER,
    ROBOTS,
    InvalidNav2Parameters,
    Robot,
    check_distribution,
    merged,
    nav2_blocks,
)
from midas_depth_ros.options.declarations import specs
from midas_depth_ros.options.depth import DepthNodeSettings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'config' / 'nav2_example.yaml').read_text(encoding='utf-8')
EXAMPLE = yaml.safe_load(TEXT)
NAV2 = yaml.safe_load((ROOT / 'test' / 'data' / 'nav2_parameters.yaml').read_text('utf-8'))
DISTRIBUTIONS = NAV2['distributions']
SERVED = DISTRIBUTIONS[DISTRIBUTIONS.index('jazzy') :]  # what the file says that it is for
TYPES = {
    'string': str,
    'double': float,
    'int': int,
    'string array': list,
    'double array': list,
}


def declared(kind: str, name: str, distribution: str) -> Any:
    """The default in a distribution, or the name of the type; KeyError where there is no such."""
    facts = NAV2[kind][name]
    return facts['all'] if 'all' in facts else facts[distribution]


def type_of(default: Any) -> type:
    return TYPES.get(default, str) if isinstance(default, str) else type(default)


def entries(blocks: dict = EXAMPLE) -> Iterator[tuple[str, str, Any]]:
    """Every value of the file: what kind of thing it is set on, its name, itself."""
    manager = blocks['lifecycle_manager_depth']['ros__parameters']
    yield from (('lifecycle_manager', name, value) for name, value in manager.items())
    monitor = blocks['collision_monitor']['ros__parameters']
    kinds = dict.fromkeys(monitor['polygons'], 'polygon')
    kinds |= dict.fromkeys(monitor['observation_sources'], 'monitor_source')
    yield from nested('collision_monitor', monitor, kinds)
    costmap = blocks['local_costmap']['local_costmap']['ros__parameters']
    layers = {name: costmap[name]['plugin'] for name in costmap['plugins']}
    for kind, name, value in nested('costmap', costmap, layers):
        if isinstance(value, dict):
            yield from (('costmap_source', each, inner) for each, inner in value.items())
        else:
            yield kind, name, value


def nested(kind: str, block: dict, kinds: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    for name, value in block.items():
        if name in kinds:
            yield from ((kinds[name], each, inner) for each, inner in value.items())
        else:
            assert not isinstance(value, dict), f'{name} is in no list of {kind}'
            yield kind, name, value


def test_the_file_is_read_to_its_end():
    found = list(entries())
    assert {kind for kind, _, _ in found} == set(NAV2) - {'distributions'}
    assert len(found) == len(list(leaves(EXAMPLE)))


def leaves(tree: Any) -> Iterator[Any]:
    for value in tree.values():
        yield from leaves(value) if isinstance(value, dict) else [value]


def check_declared(blocks: dict, distribution: str) -> None:
    for kind, name, value in entries(blocks):
        assert name in NAV2[kind], f'{kind} has no {name}'
        default = declared(kind, name, distribution)
        # rclcpp refuses 1 for a double and 1.0 for an int.
        assert type(value) is type_of(default), f'{kind}.{name} in {distribution}: {value!r}'


@pytest.mark.parametrize('distribution', SERVED)
def test_every_name_is_declared_with_a_type_that_the_value_has(distribution):
    check_declared(EXAMPLE, distribution)


@pytest.mark.parametrize('distribution', SERVED)
@pytest.mark.parametrize('robot', ROBOTS)
def test_so_is_every_name_that_a_robot_gets_alone_or_merged(robot, distribution):
    made = nav2_blocks(EXAMPLE, ROBOTS[robot], 'camera')
    check_declared(made, distribution)
    bare = nav2_blocks(EXAMPLE, Robot(), 'lidar')
    check_declared(merged(bare, made) | {MANAGER: made[MANAGER]}, distribution)


def test_what_is_default_in_one_distribution_and_not_in_the_next_is_left_to_it():
    """One file is for all of them: a value that agrees with one nav2 would be wrong with another.

    enable_stamped_cmd_vel: true in Jazzy is a collision monitor that never hears its input.
    """
    for kind, name, value in entries():
        defaults = [declared(kind, name, each) for each in SERVED]
        assert len({str(each) for each in defaults}) == 1, f'{kind}.{name}: {value!r}'
    stamped = NAV2['collision_monitor']['enable_stamped_cmd_vel']
    assert stamped == {'jazzy': False, 'kilted': True, 'lyrical': True}
    assert 'enable_stamped_cmd_vel' in TEXT, 'it is said what to think of'


def test_what_humble_does_not_have_is_said_where_it_stands():
    lines = TEXT.splitlines()
    for kind, facts in NAV2.items():
        for name in facts if kind != 'distributions' else ():
            if 'all' in facts[name] or not any(each[:2] == (kind, name) for each in entries()):
                continue
            where = [i for i, line in enumerate(lines) if line.strip().startswith(f'{name}:')]
            near = ['\n'.join(lines[max(0, i - 4) : i + 1]) for i in where]
            assert any('Humble' in text for text in near), name


def test_the_manager_waits_for_no_bond_and_the_way_is_said():
    manager = EXAMPLE['lifecycle_manager_depth']['ros__parameters']
    assert manager['bond_timeout'] == 0.0
    assert manager['node_names'] == ['depth_node']
    assert 'autostart:=false' in TEXT


PAGE = (ROOT / 'docs' / 'nav2.md').read_text('utf-8')


def test_the_page_s_parameters_are_declared_by_nav2():
    blocks = [yaml.safe_load(each) for each in re.findall(r'```yaml\n(.*?)```', PAGE, re.DOTALL)]
    assert blocks
    for block in blocks:
        monitor = block['collision_monitor']['ros__parameters']
        sources = monitor['observation_sources']
        # Alone a cloud would make of what is unknown what is clear.
        assert sources[:2] == ['scan', 'proximity']
        kinds = dict.fromkeys(sources, 'monitor_source')
        for kind, name, value in nested('collision_monitor', monitor, kinds):
            assert type(value) is type_of(declared(kind, name, 'lyrical')), name


def test_the_page_s_launch_lines_have_only_arguments_that_there_are():
    text = PAGE.replace('\\\n', ' ')
    lines = [line for line in text.splitlines() if 'nav2_camera.launch.py' in line]
    given = {name for line in lines for name in re.findall(r'([\w.]+):=', line)}
    source = (ROOT / 'launch' / 'nav2_camera.launch.py').read_text('utf-8')
    known = {each.name for each in dataclasses.fields(Robot)}
    known |= {each.name for each in specs(DepthNodeSettings)}
    known |= set(re.findall(r"argument\(\s*'(\w+)'", source))
    assert len(given) >= 8
    assert given <= known


@pytest.mark.parametrize('robot', ['turtlebot3', 'turtlebot4'])
def test_the_page_s_table_of_robots_is_what_the_launch_file_sets(robot):
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f'| `{robot}` ('))
    known = ROBOTS[robot]
    ahead = f'{abs(known.camera_x)} m {"ahead" if known.camera_x > 0 else "behind"}'
    for said in (f'`{known.image_topic}`', f'{known.camera_height} m high', ahead, 'TwistStamped'):
        assert said in row
    assert f'`{known.base_frame}`' in row
    assert (known.camera_pitch, known.stamped) == (0.0, 'true')


def test_humble_is_refused_with_what_to_use_instead():
    with pytest.raises(InvalidNav2Parameters, match='avoidance:=true'):
        check_distribution('humble')
    for name in ('', *SERVED):
        check_distribution(name)
