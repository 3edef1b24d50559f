"""What comes from outside and is wrong: refused, counted, said, and nothing else happens."""

from __future__ import annotations

import contextlib
import resource
import struct

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from driving import diagnostics
from driving import read as read_values
from geometry_msgs.msg import Twist, TwistStamped, Vector3Stamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from raw_messages import raw_messages
from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    Imu,
    LaserScan,
    PointCloud2,
    PointField,
    Range,
)
from std_srvs.srv import Trigger

from midas_depth_ros.nodes.avoidance_node import AvoidanceNode
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised
from midas_depth_ros.nodes.ros.quality_of_service import make_subscription
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera

MESSAGES = (
    Image(encoding='rgb8', data=[1] * 30),
    CompressedImage(format='jpeg', data=[3] * 30),
    CameraInfo(d=[1.0] * 5, distortion_model='plumb_bob'),
    Imu(),
    LaserScan(ranges=[1.0] * 9),
    Range(range=1.0),
    PointCloud2(fields=[PointField(name=name) for name in 'xyz'], data=[1] * 36),
    Twist(),
    TwistStamped(),
    Vector3Stamped(),
    Odometry(child_frame_id='base'),
    DiagnosticArray(status=[DiagnosticStatus(name='n', values=[KeyValue(key='k', value='v')] * 3)]),
    ParameterEvent(
        node='/n',
        new_parameters=[Parameter(name='p', value=ParameterValue(string_array_value=['a', 'bc']))],
    ),
)
NAMES = [type(message).__name__ for message in MESSAGES]


@pytest.mark.parametrize('message', MESSAGES, ids=NAMES)
def test_what_is_whole_is_read_and_what_is_cut_is_not(message):
    data = bytes(serialize_message(message))
    assert deserialised(data, type(message)) == message
    for size in range(len(data)):
        try:
            read = deserialised(data[:size], type(message))
        except Unreadable:
            continue
        assert len(data) - size <= 8, 'only padding may lack'
        assert read == message


@pytest.mark.parametrize('message', MESSAGES, ids=NAMES)
def test_whatever_comes_is_a_message_or_unreadable(message, capfd):
    for data in raw_messages(message, 3000):
        with contextlib.suppress(Unreadable):
            assert isinstance(deserialised(data, type(message)), type(message))
    assert 'exceeds' not in capfd.readouterr().err, 'the middleware was asked for what is not there'


@pytest.mark.parametrize('order', ['>', '<'])
def test_either_byte_order_and_alignment_is_read(order):
    """An Imu with a frame_id of odd length, so that padding matters."""
    for kind, alignment in ((0, 8), (6, 4)):
        text = b'imu\0'[:4]
        body = struct.pack(order + 'iII', 1, 2, len(text)) + text
        body += bytes(-len(body) % alignment) + struct.pack(order + '37d', *range(37))
        data = bytes([0, kind + (order == '<'), 0, 0]) + body
        message = deserialised(data, Imu)
        assert message.header.frame_id == 'imu'
        assert list(message.linear_acceleration_covariance) == list(range(28, 37))
        with pytest.raises(Unreadable, match='ends within linear_acceleration_covariance'):
            deserialised(data[:-1], Imu)


@pytest.mark.parametrize('kind', [DiagnosticArray, PointCloud2, ParameterEvent])
def test_a_claim_of_millions_of_parts_allocates_nothing(kind):
    data = b'\0\1\0\0' + struct.pack('<iII', 1, 2, 1) + bytes(4)
    if kind is PointCloud2:
        data += struct.pack('<II', 1, 1)
    data += struct.pack('<I', 20_000_000) + bytes(20_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match='20000000 parts'):
        deserialised(data, kind)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


# --- subscriptions -------------------------------------------------------------------------------


def test_a_subscription_counts_says_and_lives(ros, capfd):
    ros.survives = True
    heard, told = [], []
    node = ros.make_node('listener')
    profile = QoSProfile(depth=5000)
    make_subscription(node, Range, 'ranges', heard.append, profile)
    make_subscription(node, Range, 'ranges', lambda message, info: heard.append(info), profile)
    make_subscription(node, Range, 'ranges', lambda m: 1 / 0, profile, on_fault=told.append)
    publisher = ros.publisher(Range, 'ranges')
    ros.spin_until(lambda: publisher.get_subscription_count() == 3)
    publisher.publish(b'\x00\x07\x00\x00' + b'\x55' * 20)
    publisher.publish(b'\xff\xff\x00\x00')
    publisher.publish(Range(range=2.5))
    ros.spin_until(lambda: len(heard) == 2 and len(told) == 3)
    assert [message.range for message in heard if isinstance(message, Range)] == [2.5]
    assert sum(hasattr(each, 'get') for each in heard) == 1, 'what the middleware knows of it'
    assert told[-1] == 'ZeroDivisionError: division by zero'
    faults = boundary.faults_of(node)['/ranges']
    assert faults.count == 7
    assert faults.recent
    assert '/ranges: 7 (' in boundary.refused_words(node, recent=True)
    lines = [line for line in capfd.readouterr().err.splitlines() if '/ranges: refused' in line]
    assert len(lines) == 1, 'throttled'
    assert '[WARN]' in lines[0]


def test_long_faults_are_kept_short(ros):
    node = ros.make_node('listener')
    boundary.refuse(node, 'talk', 'x' * 10_000)
    assert len(boundary.faults_of(node)['talk'].last) < 500


def test_depth_node_tells_of_messages_that_are_none(ros, start):
    start()
    publisher = ros.publisher(CameraInfo, 'camera/camera_info')
    publisher.publish(b'\x00\x0b\x00\x00' + bytes(50))
    status = diagnostics(ros, 'model', lambda s: read_values(s)['messages refused'])
    assert '/camera/camera_info: 1 (' in read_values(status)['messages refused']
    assert status.level == DiagnosticStatus.WARN
    assert 'not plain CDR' in status.message


def test_camera_info_without_numbers_is_said_once_and_forgets_what_was_known(ros, start, capfd):
    start(horizontal_fov=1.0)
    publisher = ros.publisher(CameraInfo, 'camera/camera_info')
    good = CameraInfo(width=64, height=48, k=[60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1.0])
    publisher.publish(good)
    diagnostics(
        ros, 'camera camera', lambda s: read_values(s)['calibration'] == 'camera_info 64x48'
    )
    bad = CameraInfo(width=64, height=48, k=[float('nan')] * 9)
    for _ in range(20):
        publisher.publish(bad)
        ros.spin_for(0.01)
    status = diagnostics(
        ros, 'camera camera', lambda s: read_values(s)['calibration'] != 'camera_info 64x48'
    )
    assert 'nan' in read_values(status)['calibration']
    assert capfd.readouterr().err.count('camera_info ignored') == 1


# --- services ------------------------------------------------------------------------------------


def odd_values() -> list[ParameterValue]:
    kinds = ParameterType
    return [
        ParameterValue(type=200),
        ParameterValue(type=10),
        ParameterValue(type=kinds.PARAMETER_NOT_SET),
        ParameterValue(type=kinds.PARAMETER_DOUBLE, double_value=float('nan')),
        ParameterValue(type=kinds.PARAMETER_DOUBLE, double_value=1.7e308),
        ParameterValue(type=kinds.PARAMETER_INTEGER, integer_value=-(2**63)),
        ParameterValue(type=kinds.PARAMETER_STRING, string_value='\x1b[2J' + 'x' * 100_000),
        ParameterValue(type=kinds.PARAMETER_STRING_ARRAY, string_array_value=['\0', '']),
        ParameterValue(type=kinds.PARAMETER_BYTE_ARRAY, byte_array_value=[b'\xff'] * 3),
    ]


@pytest.mark.parametrize('make', [AvoidanceNode, SyntheticCamera])
def test_odd_parameters_are_answered_with_a_no(ros, make):
    ros.survives = True  # rclpy's own callbacks raise
    name = ros.make_node(make).get_name()
    names = ('rate', 'use_sim_time', 'nothing', '', 'x' * 10_000, 'seed', 'stop_distance')
    for value in odd_values():
        parameters = [Parameter(name=each, value=value) for each in names]
        request = SetParameters.Request(parameters=parameters)
        answer = ros.call(SetParameters, f'{name}/set_parameters', request)
        assert len(answer.results) == len(names)
        assert all(result.reason for result in answer.results if not result.successful)
        request = SetParametersAtomically.Request(parameters=parameters)
        answer = ros.call(SetParametersAtomically, f'{name}/set_parameters_atomically', request)
        assert not answer.result.successful
        assert answer.result.reason
    for names in (['nothing'], [''], ['x' * 10_000], ['rate'] * 1000):
        ros.call(GetParameters, f'{name}/get_parameters', GetParameters.Request(names=names))
        ros.call(
            DescribeParameters,
            f'{name}/describe_parameters',
            DescribeParameters.Request(names=names),
        )
        request = ListParameters.Request(prefixes=names, depth=2**64 - 1)
        ros.call(ListParameters, f'{name}/list_parameters', request)


def test_a_request_without_end_is_answered_with_a_no(ros, capfd):
    ros.survives = True
    name = ros.make_node(AvoidanceNode).get_name()
    many = [''] * 100_000
    request = ListParameters.Request(prefixes=many)
    assert not ros.call(ListParameters, f'{name}/list_parameters', request).result.names
    request = GetParameters.Request(names=many)
    assert not ros.call(GetParameters, f'{name}/get_parameters', request).values
    request = SetParameters.Request(parameters=[Parameter(name='rate')] * 5000)
    results = ros.call(SetParameters, f'{name}/set_parameters', request).results
    assert not any(result.successful for result in results)
    assert '5000 parameters in one request' in results[0].reason
    assert '100000 prefixes in one request' in capfd.readouterr().err


def test_a_service_that_waits_is_answered_within_the_boundary_too(ros, start):
    """As in the program: its `main` guards all services, and rclpy awaits what it sees to wait."""
    ros.survives = True
    node = start(wait=False, autostart=False)
    boundary.guard_services(node)
    for name in ('calibrate_pitch', 'calibrate_distance'):
        answer = ros.call(Trigger, f'depth_node/{name}', Trigger.Request())
        assert not answer.success
        assert 'activate' in answer.message

    async def fails(request, response):
        raise ArithmeticError('a bug of ours')

    node.create_service(Trigger, '~/fails', fails)
    boundary.guard_services(node)
    answer = ros.call(Trigger, 'depth_node/fails', Trigger.Request())
    assert not answer.success
    assert 'request refused: ArithmeticError: a bug of ours' in answer.message


def test_a_parameter_type_that_does_not_exist_is_named(ros):
    ros.survives = True
    ros.make_node(AvoidanceNode)
    parameter = Parameter(name='rate', value=ParameterValue(type=200))
    request = SetParameters.Request(parameters=[parameter, parameter])
    results = ros.call(SetParameters, 'avoidance_node/set_parameters', request).results
    assert [result.successful for result in results] == [False, False]
    assert '200 is not a valid' in results[0].reason


@pytest.mark.sampled
@pytest.mark.parametrize('label', ['', 'fly', 'x' * 10_000, '\x1b[2J'])
@pytest.mark.parametrize('number', [0, 2, 77, 255])
def test_a_transition_that_does_not_exist_is_answered_with_a_no(ros, start, number, label):
    start()
    request = ChangeState.Request(transition=Transition(id=number, label=label))
    assert not ros.call(ChangeState, 'depth_node/change_state', request).success


# --- what comes out of the executor --------------------------------------------------------------


def raised(module: str, inner: str = '') -> Exception:
    """An exception as it comes out of rclpy's task, raised in a function of this module."""
    text = 'def work():\n    raise ValueError("seconds")'
    namespaces = [{'__name__': module}]
    exec(text, namespaces[0])
    if inner:
        namespaces.append({'__name__': inner, 'work': namespaces[0]['work']})
        exec('def outer():\n    work()', namespaces[1])
    task = {'__name__': 'rclpy.task', 'work': namespaces[-1].get('outer', namespaces[0]['work'])}
    exec('def run():\n    work()', task)
    try:
        task['run']()
    except ValueError as error:
        return error
    raise AssertionError


def test_only_what_rclpy_raises_by_itself_comes_from_outside():
    assert boundary.is_from_outside(raised('rclpy.time_source'))
    assert boundary.is_from_outside(raised('enum', 'rclpy.parameter'))
    assert boundary.is_from_outside(raised('sensor_msgs.msg._image', 'rclpy.executors'))
    assert not boundary.is_from_outside(
        raised('midas_depth_ros.nodes.depth.worker', 'rclpy.executors')
    )
    assert not boundary.is_from_outside(raised('numpy', 'rclpy.executors'))
    assert not boundary.is_from_outside(raised('rclpy.executors', '__main__'))
    with pytest.raises(RuntimeError) as caught:
        deserialize_message(b'\xff', Range)
    assert not boundary.is_from_outside(caught.value), 'not raised at work on a message'
