"""Parameters as data: bounds, types, and that each one declared is read by somebody."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
import rclpy.node

from midas_depth_ros.nodes import parameters
from midas_depth_ros.nodes.declarations import parameter, specs
from midas_depth_ros.nodes.mounting import mount_of
from midas_depth_ros.nodes.parameters import ParameterServer
from midas_depth_ros.nodes.settings import DepthNodeSettings, HeatmapParameters, MountParameters
from midas_depth_ros.views import HeatmapOptions

NODES = Path(parameters.__file__).parent


@dataclasses.dataclass(frozen=True)
class Example:
    """Settings with one parameter of each kind."""

    speed: float = parameter(1.0, 'Speed.', unit='m/s', minimum=0.0, maximum=2.0, live=True)
    angle: float = parameter(float('nan'), 'Angle; NaN = unknown.', unit='rad', live=True)
    count: int = parameter(3, 'Count.', minimum=1, maximum=9, live=True)
    mode: str = parameter('a', 'Mode.', choices=('a', 'b'), live=True)
    names: tuple[str, ...] = parameter(('x',), 'Names.')

    def conflict(self) -> str:
        return 'speed and count do not agree' if self.speed * self.count > 9 else ''


SPECS = {spec.name: spec for spec in parameters.specs(Example)}


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('speed', 2.5, ['speed', '2.5', 'above', '2', 'm/s']),
        ('speed', -1, ['speed', '-1', 'below', '0']),
        ('speed', float('nan'), ['NaN']),
        ('speed', 'fast', ["'fast'", 'double']),
        ('speed', True, ['True', 'double']),
        ('count', 2.0, ['2.0', 'int']),
        ('count', True, ['True', 'int']),
        ('mode', 'c', ["'c'", 'a, b']),
        ('names', 'x', ["'x'", 'string array']),
        ('names', ['x', 7], ['names', '7 is not a string']),
        ('names', ('x', None), ['None is not a string']),
        ('names', [['x']], ["['x'] is not a string"]),
        ('names', ['x', True], ['True is not a string']),
        ('names', [b'x'], ["b'x' is not a string"]),
        ('speed', 10**400, ['speed', 'finite']),
        ('count', 10**400, ['count', '...', 'above the maximum 9']),
        ('mode', 'c' * 10_000, ['ccc...', 'a, b']),
        ('speed', None, ['None']),
    ],
)
def test_a_fault_names_the_value_and_what_is_allowed(name, value, words):
    fault = SPECS[name].fault(value)
    assert fault
    for word in words:
        assert word in fault


@pytest.mark.parametrize(
    ('name', 'value'),
    [('speed', 2), ('speed', 0.0), ('angle', float('nan')), ('mode', 'b'), ('names', ['x', 'y'])],
)
def test_good_values_have_no_fault(name, value):
    assert SPECS[name].fault(value) == ''


def test_values_that_do_not_go_together_are_refused_together(ros):
    node = ros.make_node('example')
    server = ParameterServer(node, Example)
    Parameter = rclpy.node.Parameter  # noqa: N806
    changes = [Parameter('speed', value=2.0), Parameter('count', value=5)]
    result = node.set_parameters_atomically(changes)
    assert (result.successful, result.reason) == (False, 'speed and count do not agree')
    assert (server.current.speed, server.current.count) == (1.0, 3)
    assert node.set_parameters_atomically([Parameter('count', value=5)]).successful
    assert server.current.count == 5


def test_what_is_not_live_is_read_only_on_a_plain_node(ros):
    node = ros.make_node('example')
    server = ParameterServer(node, Example)
    result = node.set_parameters([rclpy.node.Parameter('names', value=['y'])])[0]
    assert not result.successful
    assert 'read-only' in result.reason
    assert server.current.names == ('x',)


def test_start_values_that_do_not_go_together_fail_fast(ros):
    node = ros.make_node('example', parameters={'speed': 2.0, 'count': 9})
    with pytest.raises(ValueError, match='do not agree'):
        ParameterServer(node, Example)


def test_descriptors_tell_tools_the_range_and_the_text(ros):
    node = ros.make_node('example')
    ParameterServer(node, Example)
    speed = node.describe_parameter('speed')
    assert 'm/s' in speed.description
    assert (speed.floating_point_range[0].from_value, speed.floating_point_range[0].to_value) == (
        0.0,
        2.0,
    )
    assert 'a, b' in node.describe_parameter('mode').additional_constraints
    assert node.describe_parameter('names').read_only


def test_heatmap_parameters_are_the_options_of_the_views():
    assert dataclasses.asdict(HeatmapParameters()) == dataclasses.asdict(HeatmapOptions())


def test_every_parameter_of_the_depth_node_is_read_by_somebody():
    source = ''.join(path.read_text() for path in NODES.glob('*.py') if path.name != 'settings.py')
    by_camera = {field.name for field in dataclasses.fields(MountParameters)}
    for field in dataclasses.fields(DepthNodeSettings):
        if field.name not in by_camera:
            assert re.search(rf'settings(\(\))?\.{field.name}\b', source), field.name
    mounting = (NODES / 'mounting.py').read_text()
    for name in by_camera:
        assert re.search(rf'(mount|self\._camera\)|, name\)|camera\))\.{name}\b', mounting), name


NAMES = {'cameras': ['front', 'rear/left']}


def test_there_is_a_group_for_every_name_and_for_no_other(ros):
    node = ros.make_node(
        'example', parameters={**NAMES, 'camera_pitch': 0.1, 'mounts.rear/left.camera_pitch': 0.3}
    )
    server = ParameterServer(node, DepthNodeSettings)
    assert set(server.current.mounts) == {'front', 'rear/left'}
    assert mount_of(server.current, 'front').camera_pitch == 0.1
    assert mount_of(server.current, 'rear/left').camera_pitch == 0.3
    change = rclpy.node.Parameter('mounts.front.camera_height', value=0.4)
    assert node.set_parameters([change])[0].successful
    assert mount_of(server.current, 'front').camera_height == 0.4
    assert math.isnan(mount_of(server.current, 'rear/left').camera_height)
    wrong = rclpy.node.Parameter('mounts.front.camera_height', value=-1.0)
    result = node.set_parameters([wrong])[0]
    assert (result.successful, server.current.mounts['front'].camera_height) == (False, 0.4)
    assert 'below the minimum' in result.reason


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (
            'mounts.fornt.camera_height',
            r'mounts\.fornt\.camera_height: there is none.*name of cameras',
        ),
        ('mounts.front.hieght', r'one of camera_height, camera_pitch'),
        ('mounts.fornt.camera_height', r'cameras \(front, rear/left\)'),
        ('mounts.camera_height', r'mounts\.camera_height: there is none'),
    ],
)
def test_a_group_for_a_name_that_is_none_is_said(ros, given, words):
    node = ros.make_node('example', parameters={**NAMES, given: 0.3})
    with pytest.raises(ValueError, match=words):
        ParameterServer(node, DepthNodeSettings)


def test_groups_follow_the_names_while_they_may_change(ros):
    node = ros.make_node('example', parameters={'mounts.camera.camera_pitch': 0.2})
    server = ParameterServer(node, DepthNodeSettings, lambda: True)
    assert set(server.current.mounts) == {'camera'}
    assert node.set_parameters([rclpy.node.Parameter('cameras', value=['a', 'camera'])])
    server.declare_groups()
    assert set(server.current.mounts) == {'a', 'camera'}
    assert server.current.mounts['camera'].camera_pitch == 0.2


@pytest.mark.parametrize('value', [math.inf, -math.inf])
def test_infinity_is_no_value_of_any_parameter(value):
    for spec in specs(DepthNodeSettings):
        if spec.kind == 'double':
            assert spec.fault(value), spec.name
