"""Parameters as data: bounds, types, and that each one declared is read by somebody."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy.node
from fakes import BrightnessEstimator
from rclpy.parameter import Parameter

from midas_depth_ros.nodes.avoidance_node import AvoidanceNode
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import parameters
from midas_depth_ros.nodes.ros.parameters import ParameterServer, choices_of
from midas_depth_ros.nodes.sources.image_stream import ImageStream
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera
from midas_depth_ros.options.declarations import Options, parameter, specs
from midas_depth_ros.options.depth import DepthNodeSettings, HeatmapOptions, MountOptions

NODES = Path(parameters.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Example(Options):
    """Settings with one parameter of each kind."""

    speed: float = parameter(1.0, 'Speed.', unit='m/s', minimum=0.0, maximum=2.0, live=True)
    angle: float = parameter(
        float('nan'), 'Angle; NaN = unknown.', unit='rad', minimum=-3.0, maximum=3.0, live=True
    )
    count: int = parameter(3, 'Count.', minimum=1, maximum=9, live=True)
    mode: str = parameter('a', 'Mode.', choices=('a', 'b'), live=True)
    names: tuple[str, ...] = parameter(('x',), 'Names.')
    label: str = parameter('', 'Label.', live=True)
    place: str = parameter('', 'Place.')

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
    mode = node.describe_parameter('mode')
    assert mode.additional_constraints.startswith('one_of: ["a", "b"]')
    assert choices_of(mode) == ['a', 'b']
    assert choices_of(speed) == []
    assert node.describe_parameter('names').read_only


def test_heatmap_parameters_are_the_options_of_the_views():
    assert dataclasses.asdict(HeatmapOptions()) == dataclasses.asdict(HeatmapOptions())


def test_every_parameter_of_the_depth_node_is_read_by_somebody():
    source = ''.join(path.read_text() for path in NODES.rglob('*.py'))
    by_camera = {field.name for field in dataclasses.fields(MountOptions)}
    for field in dataclasses.fields(DepthNodeSettings):
        if field.name not in by_camera:
            assert re.search(rf'settings(\(\))?\.{field.name}\b', source), field.name
    mounting = (NODES / 'depth' / 'metric_sources.py').read_text()
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
            r'mounts\.fornt\.camera_height is unknown.*a name in cameras',
        ),
        ('mounts.front.hieght', r'one of camera_height, camera_pitch'),
        ('mounts.fornt.camera_height', r'cameras \(front, rear/left\)'),
        ('mounts.camera_height', r'mounts\.camera_height is unknown'),
    ],
)
def test_a_group_for_a_name_that_is_none_is_said(ros, given, words):
    node = ros.make_node('example', parameters={**NAMES, given: 0.3})
    with pytest.raises(ValueError, match=words):
        ParameterServer(node, DepthNodeSettings)


def test_groups_follow_the_names_while_they_may_change(ros):
    node = ros.make_node('example', parameters={'mounts.camera.camera_pitch': 0.2})
    server = ParameterServer(node, DepthNodeSettings, lambda: '')
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


@pytest.mark.parametrize(
    ('name', 'sent', 'got'),
    [
        ('speed', 2, 2.0),
        ('speed', '1e-05', 1e-05),
        ('speed', '5e-1', 0.5),
        ('speed', '.5', 0.5),
        ('angle', 'nan', math.nan),
        ('angle', '.NaN', math.nan),
        ('angle', '', math.nan),
        ('angle', -1, -1.0),
        ('label', 7, '7'),
        ('label', 'nan', 'nan'),
    ],
)
def test_what_tools_send_in_another_type_is_taken_as_it_is_meant(ros, name, sent, got):
    """At the start and later alike: `ros2 param load` sends NaN as text."""

    def value_of(server):
        value = getattr(server.current, name)
        return type(value), repr(value)

    later = ros.make_node('later')
    server = ParameterServer(later, Example)
    change = [rclpy.node.Parameter(name, value=sent)]
    assert later.set_parameters(change)[0].successful
    assert later.set_parameters_atomically(change).successful
    first = ParameterServer(ros.make_node('first', parameters={name: sent}), Example)
    assert value_of(server) == value_of(first) == (type(got), repr(got))


@pytest.mark.parametrize(
    ('name', 'sent', 'words'),
    [
        ('speed', 'fast', "'fast' is not a double"),
        ('speed', '', "'' is not a double"),
        ('speed', 'nan', 'NaN is not accepted'),
        ('speed', '1e999', 'finite'),
        ('speed', '.inf', 'finite'),
        ('speed', True, 'True is not a double'),
        ('speed', '1' * 100_000, 'is not a double'),
        ('angle', 9, 'above the maximum 3 rad; nan means unknown'),
        ('count', '5', "'5' is not an int"),
        ('label', True, 'in quotes'),
        ('label', 1.5, 'in quotes'),
    ],
)
def test_what_cannot_be_meant_is_refused(ros, name, sent, words):
    node = ros.make_node('later')
    server = ParameterServer(node, Example)
    before = server.current, node.describe_parameter(name)
    result = node.set_parameters([rclpy.node.Parameter(name, value=sent)])[0]
    assert not result.successful
    assert words in result.reason or 'out of range' in result.reason, 'as rclpy has it'
    assert len(result.reason) < 1000
    assert (server.current, node.describe_parameter(name)) == before
    with pytest.raises(ValueError, match=re.escape(words)):
        ParameterServer(ros.make_node('first', parameters={name: sent}), Example)


def test_what_is_read_at_the_start_is_refused_also_while_others_may_change(ros):
    """autostart is read once, before a lifecycle manager could change it."""
    node = ros.make_node(
        DepthNode, lambda settings: BrightnessEstimator(), parameters={'autostart': False}
    )
    descriptor = node.describe_parameter('autostart')
    assert descriptor.read_only
    assert descriptor.additional_constraints.endswith('at start')
    (result,) = node.set_parameters([Parameter('autostart', value=True)])
    assert not result.successful
    assert 'it is read when the node starts' in result.reason
    for name, value in (('autostart', False), ('num_threads', 2)):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful, result.reason


def test_what_is_fixed_may_be_set_to_what_it_is(ros):
    node = ros.make_node('example', parameters={'names': ['on', '7'], 'place': '0123'})
    ParameterServer(node, Example)
    same = [
        rclpy.node.Parameter('names', value=['on', '7']),
        rclpy.node.Parameter('place', value=83),
    ]
    assert all(result.successful for result in node.set_parameters(same))
    assert node.set_parameters_atomically(same).successful
    assert node.get_parameter('place').value == '0123'
    mixed = [*same, rclpy.node.Parameter('count', value=4)]
    assert node.set_parameters_atomically(mixed).successful
    assert node.get_parameter('count').value == 4
    other = [rclpy.node.Parameter('count', value=5), rclpy.node.Parameter('names', value=['on'])]
    assert not node.set_parameters_atomically(other).successful
    assert node.get_parameter('count').value == 4, 'all or none'


def test_unknown_names_are_answered_with_the_nearest(ros):
    node = ros.make_node('example')
    ParameterServer(node, Example)
    result = node.set_parameters([rclpy.node.Parameter('sped', value=1.0)])[0]
    assert (result.successful, result.reason) == (
        False,
        'there is no parameter sped: did you mean speed?',
    )


def test_unknown_names_at_the_start_are_named_and_the_node_lives(ros, capfd, tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text(
        'example:\n  ros__parameters:\n    countt: 3\n    qos_overrides: {/a: {x: 1}}\n'
        '    heat: {gama: 1.0}\n    use_sim_time: false\n'
    )
    arguments = ['--ros-args', '--params-file', str(file), '-p', 'sped:=1.0', '-p', 'Mode:=b']
    arguments += ['-p', 'zzz:=1', '-p', 'start_type_description_service:=false']
    node = ros.make_node('example', cli_args=arguments)
    assert ParameterServer(node, Example).current.count == Example().count
    said = capfd.readouterr().err
    for words in (
        'there is no parameter countt: did you mean count?',
        'there is no parameter sped: did you mean speed?',
        'there is no parameter Mode: did you mean mode?',
        'there is no parameter heat.gama',
        'there is no parameter zzz',
    ):
        assert words in said
    for name in ('qos_overrides', 'use_sim_time', 'start_type'):
        assert name not in said


@pytest.mark.parametrize('make', [DepthNode, AvoidanceNode, SyntheticCamera, ImageStream])
def test_a_quality_of_service_for_what_is_not_there_is_named(ros, capfd, tmp_path, make):
    topic, end = {
        DepthNode: ('/camera/image_raw', 'subscription'),
        AvoidanceNode: ('/scan', 'subscription'),
    }.get(make, ('/camera/image_raw', 'publisher'))
    good = f'qos_overrides.{topic}.{end}.reliability'
    slips = [
        f'qos_overrides.{topic}.{end}.reliabilty',
        f'qos_overrides.{topic.removeprefix("/")}.{end}.reliability',
        f'qos_overrides./{topic}s.{end}.depth',
    ]
    others = ['qos_overrides./tf.subscription.depth', 'qos_overrides./clock.publisher.depth']
    given = {name: 5 if name.endswith('depth') else 'reliable' for name in [good, *slips, *others]}
    if make is ImageStream:
        cv2.imwrite(str(tmp_path / 'still.png'), np.zeros((8, 8, 3), np.uint8))
        given['source'] = str(tmp_path / 'still.png')
    options = [lambda settings: BrightnessEstimator()] if make is DepthNode else []
    node = ros.make_node(make, *options, parameters=given)
    ros.spin_until(lambda: node.has_parameter(good), what='the topic')
    said = ''

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return all(name in said for name in slips)

    ros.spin_until(told, what='what is not used')
    assert f'{slips[0]}: did you mean {good}' in said
    assert all(f'there is no parameter {name}' not in said for name in [good, *others])


def test_a_flood_of_unknown_names_is_one_line(ros, capfd):
    node = ros.make_node('example', parameters={f'x{number}': 1 for number in range(3000)})
    ParameterServer(node, Example)
    said = capfd.readouterr().err
    assert 'and 2990 more' in said
    assert len(said) < 2000


def test_names_that_are_right_are_no_reason_to_warn(ros, capfd):
    node = ros.make_node('example', parameters={'cameras': ['a'], 'mounts.a.camera_yaw': 1.0})
    ParameterServer(node, DepthNodeSettings)
    assert 'there is no parameter' not in capfd.readouterr().err
