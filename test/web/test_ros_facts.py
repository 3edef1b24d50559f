"""Messages as JSON facts, and JSON values as parameters."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PointStamped, Vector3, Vector3Stamped
from rcl_interfaces.msg import (
    FloatingPointRange,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
)
from sensor_msgs.msg import LaserScan, Range

from midas_depth_ros.nodes.ros.parameters import choices_of, descriptor_of
from midas_depth_ros.options.declarations import specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.web.app import CONTROLS, parameters_file
from midas_depth_ros.web.ros_camera import (
    CLEAR,
    LifetimeEstimator,
    closeness_facts,
    free_facts,
    point_facts,
    range_facts,
    scan_facts,
    status_facts,
    statuses_of,
)
from midas_depth_ros.web.ros_parameters import parameter_facts, typed_value


def test_a_scan_tells_obstacles_clear_and_unknown_apart():
    scan = LaserScan(
        angle_min=-0.5, angle_increment=0.5, range_max=6.0, ranges=[1.25, math.inf, math.nan]
    )
    facts = scan_facts(scan)
    assert facts == {'first': -0.5, 'step': 0.5, 'most': 6.0, 'ranges': [1.25, CLEAR, None]}
    json.dumps(facts, allow_nan=False)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ('value', 'metres', 'clear'),
    [
        (0.5, 0.5, False),
        (0.0, 0.0, False),
        (6.0, 6.0, True),
        (6.5, None, False),  # beyond the maximum range it is not a measurement
        (-0.5, None, False),
        (NAN, None, False),
        (INF, None, False),
        (-INF, None, False),
    ],
)
def test_proximity_is_clear_at_its_greatest_range(value, metres, clear):
    facts = range_facts(Range(range=value, max_range=6.0))
    assert facts == {'metres': metres, 'clear': clear, 'most': 6.0}


@pytest.mark.parametrize('most', [NAN, INF, -INF, 0.0, -1.0, 3e38])
@pytest.mark.parametrize('value', [NAN, INF, -INF, 0.0, -1.0, 1.0, 3e38])
def test_proximity_without_a_sensible_greatest_range_is_never_clear(value, most):
    facts = range_facts(Range(range=value, max_range=most))
    assert facts == {'metres': None, 'clear': False, 'most': None}


def scan_of(*ranges: float, **fields: float) -> dict | None:
    given = {'angle_min': -0.5, 'angle_increment': 0.5, 'range_max': 6.0, **fields}
    return scan_facts(LaserScan(ranges=[float(value) for value in ranges], **given))


def test_a_beam_says_clear_only_by_infinity():
    """-1 stands for a clear beam here; as a range it is not a measurement."""
    facts = scan_of(-1.0, -INF, 6.5, 3e38, 0.05, INF, 6.0, 0.2, range_min=0.1)
    assert facts['ranges'] == [None, None, None, None, None, CLEAR, 6.0, 0.2]


@pytest.mark.parametrize('value', [NAN, INF, -INF, 3e38, -3e38])
@pytest.mark.parametrize('field', ['angle_min', 'angle_increment', 'range_max'])
def test_a_scan_that_does_not_say_where_it_looked_is_unknown(field, value):
    assert scan_of(1.0, 2.0, **{field: value}) is None


@pytest.mark.parametrize(
    'fields',
    [{'angle_increment': 0.0}, {'range_max': 0.0}, {'range_max': -1.0}, {'angle_min': 9.0}],
)
def test_a_scan_with_impossible_fields_is_unknown(fields):
    assert scan_of(1.0, 2.0, **fields) is None


def test_a_scan_without_beams_is_unknown_and_one_beam_needs_no_step():
    assert scan_of() is None
    assert scan_of(1.0, angle_increment=0.0)['ranges'] == [1.0]
    assert scan_of(*[1.0] * 100, angle_increment=0.1) is None  # more than a full turn
    assert scan_of(1.0, 2.0, angle_increment=-0.5)['step'] == -0.5
    assert scan_of(1.0, range_min=NAN)['ranges'] == [1.0]


def test_ground_is_seen_free_only_as_far_as_it_says():
    """Not before an obstacle whose `seen_free` is 0: what is there was not looked at."""
    ranges = [1.25, 0.0, NAN, INF, -1.0, 9.0]
    given = {'angle_min': -0.5, 'angle_increment': 0.2, 'range_max': 6.0}
    facts = free_facts(LaserScan(ranges=ranges, **given))
    assert facts['free'] == [1.25, 0.0, 0.0, 6.0, 0.0, 6.0]
    json.dumps(facts, allow_nan=False)
    many = [3.0] * 100_000
    many[500], many[70_000] = 1.5, NAN
    merged = free_facts(LaserScan(ranges=many, angle_min=-3.0, angle_increment=6e-5, range_max=6.0))
    assert sorted(set(merged['free'])) == [0.0, 1.5, 3.0]
    assert free_facts(LaserScan(ranges=[1.0], range_max=NAN)) is None


def test_of_very_many_beams_the_nearest_of_neighbours_stays():
    ranges = [INF] * 100_000
    ranges[500], ranges[70_000] = 1.5, NAN
    facts = scan_of(*ranges, angle_min=-3.0, angle_increment=6e-5)
    drawn = facts['ranges']
    group = -(-100_000 // 720)
    assert len(drawn) <= 720
    assert (drawn[500 // group], drawn[70_000 // group]) == (1.5, None)
    assert drawn.count(CLEAR) == len(drawn) - 2
    assert facts['step'] == pytest.approx(6e-5 * group)
    bearing = facts['first'] + 500 // group * facts['step']
    assert bearing == pytest.approx(-3.0 + 500 * 6e-5, abs=6e-5 * group)


@pytest.mark.parametrize('value', [NAN, INF, 1e308, -1e308])
def test_absurd_numbers_are_unknown(value):
    assert point_facts(PointStamped(point=Point(x=value, y=1.0))) == [None, 1.0]
    near = Vector3Stamped(vector=Vector3(x=value, y=0.5, z=-0.25))
    assert closeness_facts(near) == [None, 0.5, -0.25]


@pytest.mark.parametrize(
    ('times', 'lifetimes'),
    [
        ([0.0, 0.2, 0.4, 0.6], [2, 2, 2, 2]),
        ([0.0, 2.0, 4.0, 6.0], [2, 2, 6, 6]),  # slow, but steady
        ([0.0, 60.0, 120.0, 180.0], [2, 2, 10, 10]),
        ([0.0, 0.2, 60.0, 60.2, 60.4], [2, 2, 2, 2, 2]),  # one gap is not a period
        ([0.0, 60.0, 60.2, 120.0], [2, 2, 2, 2]),
    ],
)
def test_what_comes_slowly_is_believed_for_longer_once_it_is_steady(times, lifetimes):
    rhythm = LifetimeEstimator(2.0, 10.0)
    assert [rhythm.update(now) for now in times] == lifetimes


def test_no_more_of_a_status_is_told_than_a_page_can_show():
    status = DiagnosticStatus(values=[KeyValue(key=str(n), value='x') for n in range(5000)])
    assert len(status_facts(status)['values']) == 100
    message = DiagnosticArray(
        status=[DiagnosticStatus(name=f'depth_node: camera c{n}') for n in range(5000)]
    )
    assert len(statuses_of(message, '/depth_node')) == 64


@pytest.mark.parametrize(('level', 'word'), [(b'\0', 'ok'), (b'\x03', 'stale'), (b'\xff', 'stale')])
def test_every_level_has_a_word(level, word):
    assert status_facts(DiagnosticStatus(level=level))['level'] == word


def test_the_nearest_point_is_forward_and_left():
    message = PointStamped(point=Point(x=1.0, y=-0.25, z=9.0))
    assert point_facts(message) == [1.0, -0.25]


def test_diagnostics_of_other_nodes_are_left_alone():
    ours = DiagnosticStatus(
        name='depth_node: camera front',
        level=DiagnosticStatus.WARN,
        message='slow',
        values=[KeyValue(key='frames dropped', value='3')],
    )
    other = DiagnosticStatus(name='other_depth_node: camera front')
    namesake = DiagnosticStatus(name='depth_node: camera front', hardware_id='/b/depth_node')
    named = DiagnosticStatus(name='depth_node: camera rear', hardware_id='/a/depth_node')
    message = DiagnosticArray(status=[other, ours, namesake, named])
    statuses = statuses_of(message, '/a/depth_node')
    assert list(statuses) == ['camera front', 'camera rear']
    assert statuses['camera front'] is ours
    facts = status_facts(statuses['camera front'])
    assert facts == {'level': 'warn', 'message': 'slow', 'values': {'frames dropped': '3'}}


@pytest.mark.parametrize(
    ('value', 'kind', 'field', 'expected'),
    [
        (5, 'double', 'double_value', 5.0),
        (0.5, 'double', 'double_value', 0.5),
        (80, 'int', 'integer_value', 80),
        (80.0, 'int', 'integer_value', 80),
        (80.5, 'int', 'double_value', 80.5),  # for the node to refuse
        (True, 'bool', 'bool_value', True),
        (True, 'double', 'bool_value', True),  # for the node to refuse
        ('turbo', 'string', 'string_value', 'turbo'),
        (3, '', 'integer_value', 3),
    ],
)
def test_values_become_parameters_of_the_kind_that_is_wanted(value, kind, field, expected):
    typed = typed_value(value, kind)
    kinds = {
        'double_value': ParameterType.PARAMETER_DOUBLE,
        'integer_value': ParameterType.PARAMETER_INTEGER,
        'bool_value': ParameterType.PARAMETER_BOOL,
        'string_value': ParameterType.PARAMETER_STRING,
    }
    assert typed.type == kinds[field]
    assert getattr(typed, field) == expected


def test_null_is_the_nan_that_means_unknown():
    typed = typed_value(None, 'double')
    assert typed.type == ParameterType.PARAMETER_DOUBLE
    assert math.isnan(typed.double_value)


def test_what_the_page_needs_of_a_parameter():
    descriptor = ParameterDescriptor(
        name='max_rate',
        description='Frames [per camera] a second. [Hz]',
        dynamic_typing=True,
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1000.0)],
    )
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=1)
    facts = parameter_facts(descriptor, value)
    assert (facts['kind'], facts['value'], facts['default']) == ('double', 1, 5.0)
    assert (facts['text'], facts['unit']) == ('Frames [per camera] a second.', 'Hz')
    # The bounds of the node, and those of the slider.
    assert (facts['low'], facts['high']) == (0.0, 1000.0)
    assert (facts['least'], facts['most'], facts['step']) == (0.0, 30.0, 0.5)
    unknown = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=math.nan)
    assert parameter_facts(descriptor, unknown)['value'] is None
    one_of = 'one_of: ["raw", "compressed", "of; another version"]; at configure'
    chosen = ParameterDescriptor(name='transport', additional_constraints=one_of)
    text = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='raw')
    facts = parameter_facts(chosen, text)
    assert facts['choices'] == ['raw', 'compressed', 'of; another version']
    assert (facts['text'], facts['unit'], facts['default'], facts['live']) == ('', '', 'raw', False)
    assert 'label' not in facts  # no control: it is shown, not set


@pytest.mark.parametrize(
    'constraints',
    ['', 'one of: raw, compressed; live', 'one_of: [', 'one_of: 7', f'one_of: {"[" * 10_000}'],
)
def test_choices_that_the_node_does_not_list_are_those_declared(constraints):
    text = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='raw')
    known = ParameterDescriptor(name='transport', additional_constraints=constraints)
    assert parameter_facts(known, text)['choices'] == ['raw', 'compressed']
    strange = ParameterDescriptor(name='strange', additional_constraints=constraints)
    assert parameter_facts(strange, text)['choices'] == []


def test_the_choices_of_every_parameter_come_back_from_its_descriptor():
    for spec in specs(DepthNodeSettings):
        assert choices_of(descriptor_of(spec, 'at configure')) == list(spec.choices), spec.name


def test_a_parameter_that_nobody_declared_is_told_without_a_default():
    descriptor = ParameterDescriptor(name='strange.one', description='[' * 1000)
    names = ParameterValue(
        type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=['a', "b'"]
    )
    facts = parameter_facts(descriptor, names)
    assert (facts['kind'], facts['value'], facts['default']) == ('string array', ['a', "b'"], None)
    written = parameters_file('/ns/depth_node', [facts])
    assert yaml.safe_load(written) == {
        '/ns/depth_node': {'ros__parameters': {'strange': {'one': ['a', "b'"]}}}
    }


def test_every_control_is_a_live_parameter_of_depth_node():
    live = {spec.name for spec in specs(DepthNodeSettings) if spec.live}
    assert {control.name for control in CONTROLS} <= live
