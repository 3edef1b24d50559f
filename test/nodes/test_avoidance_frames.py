"""Where a scan's frame sits: TF, parameters, and what is refused. tf2_ros comes with ROS only."""

from __future__ import annotations

import math
import sys
import time
import types
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.time import Time
from std_msgs.msg import Header

from midas_depth_ros.avoidance import BadScan, SensorPlace, read_scan
from midas_depth_ros.nodes.avoidance_node import ScanFrames

PLACE = SensorPlace(x=0.3, y=0.1, yaw=0.2, min_range=0.05)


class TransformException(Exception):
    """As tf2's."""


class Buffer:
    """Knows transforms to base_link by frame and stamp (s); None = at any time (static)."""

    known: ClassVar[dict[tuple[str, int | None], TransformStamped]] = {}

    def lookup_transform(self, target, source, when: Time):
        assert target == 'base_link'
        seconds = when.nanoseconds // 10**9
        for key in ((source, None), (source, seconds)):
            if key in self.known:
                return self.known[key]
        raise TransformException(f'{source} at {seconds} is not in the graph')


class TransformListener:
    """Listens to nothing."""

    def __init__(self, buffer, node):
        self.buffer = buffer


@pytest.fixture
def tf2(monkeypatch):
    module = types.ModuleType('tf2_ros')
    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformException = TransformException
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    monkeypatch.setattr(Buffer, 'known', {})
    return Buffer.known


def turned(roll=0.0, pitch=0.0, yaw=0.0) -> Quaternion:
    """A rotation by fixed axes, as static_transform_publisher takes it."""
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    return Quaternion(
        x=sr * cp * cy - cr * sp * sy,
        y=cr * sp * cy + sr * cp * sy,
        z=cr * cp * sy - sr * sp * cy,
        w=cr * cp * cy + sr * sp * sy,
    )


def transform(x=0.0, y=0.0, z=0.2, **angles: float) -> TransformStamped:
    message = TransformStamped()
    message.transform.rotation = turned(**angles)
    translation = message.transform.translation
    translation.x, translation.y, translation.z = x, y, z
    return message


def header(frame='laser', seconds=100) -> Header:
    message = Header(frame_id=frame)
    message.stamp.sec = seconds
    return message


def points(placed) -> np.ndarray:
    """Where the points 1 m ahead of the sensor, and 1 m to its left, come to lie."""
    turns = -1.0 if placed.upside_down else 1.0
    step = math.pi / 2
    view = read_scan([1.0, 1.0], 0.0, turns * step, turns * step, 0.01, 9.0, placed.place)
    return np.round(np.stack([view.x, view.y], axis=1), 6)


def test_tf_says_where_a_scan_was_taken(tf2):
    tf2['laser', None] = transform(0.4, -0.2, yaw=math.pi / 2)
    placed = ScanFrames(None, 'base_link').place(header(), True, PLACE)
    assert (placed.place.x, placed.place.y) == (0.4, -0.2)
    assert placed.place.yaw == pytest.approx(math.pi / 2)
    assert placed.place.min_range == 0.05
    assert placed.by == 'TF, from laser'
    np.testing.assert_allclose(points(placed), [[0.4, 0.8], [-0.6, -0.2]], atol=1e-6)


@pytest.mark.parametrize('yaw', [math.pi, -math.pi])
def test_the_sensor_of_a_long_vehicle_is_taken_as_tf_has_it(tf2, yaw):
    tf2['laser', None] = transform(-19.0, 5.5, yaw=yaw)
    placed = ScanFrames(None, 'base_link').place(header(), True, PLACE)
    assert (placed.place.x, placed.place.y) == (-19.0, 5.5)


@pytest.mark.parametrize('yaw', [0.0, 0.5, math.pi])
def test_a_lidar_that_hangs_upside_down_counts_the_other_way(tf2, yaw):
    tf2['laser', None] = transform(0.1, roll=math.pi, yaw=yaw)
    placed = ScanFrames(None, 'base_link').place(header(), True, PLACE)
    assert placed.upside_down
    ahead, left = (math.cos(yaw), math.sin(yaw)), (math.sin(yaw), -math.cos(yaw))
    expected = np.array([ahead, left]) + (0.1, 0.0)
    np.testing.assert_allclose(points(placed), expected, atol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'roll': 0.3}, 'laser is tilted by 17 degrees'),
        ({'pitch': -0.5}, 'tilted by 29 degrees'),
        ({'roll': math.pi / 2}, 'tilted by 90 degrees'),
        ({'roll': math.pi - 0.2}, 'tilted by 169 degrees'),
        ({'x': 1e3}, 'puts laser 1e+03 m, 0 m from the robot'),
        ({'y': math.nan}, 'nan'),
    ],
)
def test_a_transform_that_cannot_be_is_refused(tf2, changes, words):
    tf2['laser', None] = transform(**changes)
    with pytest.raises(BadScan) as refusal:
        ScanFrames(None, 'base_link').place(header(), True, PLACE)
    assert words in str(refusal.value)


@pytest.mark.parametrize('length', [0.0, math.nan, 7.0])
def test_a_quaternion_that_is_none_is_refused(tf2, length):
    message = tf2['laser', None] = transform()
    message.transform.rotation = Quaternion(x=0.0, y=0.0, z=0.0, w=length)
    with pytest.raises(BadScan, match='quaternion of length'):
        ScanFrames(None, 'base_link').place(header(), True, PLACE)


def test_a_slight_tilt_is_none(tf2):
    tf2['laser', None] = transform(pitch=0.05, roll=-0.05)
    assert not ScanFrames(None, 'base_link').place(header(), True, PLACE).upside_down


def test_without_a_transform_the_remedy_is_said(tf2):
    with pytest.raises(BadScan) as refusal:
        ScanFrames(None, 'base_link').place(header(), True, PLACE)
    assert 'no transform from laser to base_link (laser at 100 is not in' in str(refusal.value)
    assert "set base_frame to ''" in str(refusal.value)
    with pytest.raises(BadScan, match='without frame_id'):
        ScanFrames(None, 'base_link').place(header(''), True, PLACE)


def test_the_transform_is_that_of_the_stamp(tf2):
    tf2['laser', 100], tf2['laser', 101] = transform(0.1), transform(0.2)
    tf2['laser', 0] = transform(0.3)  # Time(): the newest
    frames = ScanFrames(None, 'base_link')
    assert frames.place(header(seconds=100), True, PLACE).place.x == 0.1
    assert frames.place(header(seconds=101), True, PLACE).place.x == 0.2
    with pytest.raises(BadScan, match='laser at 102'):
        frames.place(header(seconds=102), True, PLACE)
    # The stamp of another clock names no moment of ours.
    assert frames.place(header(seconds=102), False, PLACE).place.x == 0.3


def test_of_a_scan_in_the_base_frame_itself_the_parameters_tell(tf2):
    placed = ScanFrames(None, 'base_link').place(header('base_link'), True, PLACE)
    assert (placed.place, placed.by) == (PLACE, 'parameters')


@pytest.mark.parametrize(('base_frame', 'hidden'), [('', False), ('base_link', True)])
def test_the_parameters_tell_where_there_is_no_tf(tf2, monkeypatch, base_frame, hidden):
    tf2['laser', None] = transform(9.0)
    if hidden:
        monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    frames = ScanFrames(None, base_frame)
    assert ('is not installed' if hidden else 'base_frame is empty') in frames.described
    assert frames.place(header(), True, PLACE).place == PLACE
    frames.keep('laser', frames.place(header(), True, PLACE))
    assert frames.described == "frame 'laser' at 0.30 m, 0.10 m, 0.20 rad by parameters"


@pytest.mark.parametrize('base_frame', ['', 'base_link'])
def test_scans_of_two_frames_are_not_mixed(tf2, base_frame):
    tf2['front', None], tf2['rear', None] = transform(0.2), transform(-0.2, yaw=math.pi)
    frames = ScanFrames(None, base_frame)
    frames.place(header('rear'), True, PLACE)  # which could not be used for another reason
    frames.keep('front', frames.place(header('front'), True, PLACE))
    with pytest.raises(BadScan) as refusal:
        frames.place(header('rear'), True, PLACE)
    assert "a scan in frame 'rear' among those in 'front'" in str(refusal.value)
    frames.place(header('front'), True, PLACE)
    # Whoever names one frame gets that one.
    named = SensorPlace(frame='rear')
    frames.place(header('rear'), True, named)
    with pytest.raises(BadScan, match=r"in frame 'front': sensor\.frame is 'rear'"):
        frames.place(header('front'), True, named)


@pytest.mark.skipif(not find_spec('tf2_ros'), reason='tf2_ros is not installed: it comes with ROS')
def test_with_the_real_tf2_ros(ros):
    from tf2_ros import StaticTransformBroadcaster

    node: Any = ros.make_node('frames')
    frames = ScanFrames(node, 'base_link')
    broadcaster = StaticTransformBroadcaster(ros.node)
    message = transform(0.25, -0.1, roll=math.pi, yaw=0.4)
    message.header.frame_id, message.child_frame_id = 'base_link', 'laser'
    broadcaster.sendTransform(message)
    seconds = int(time.time())

    def placed():
        try:
            return frames.place(header(seconds=seconds), True, PLACE)
        except BadScan:
            return None

    found = ros.spin_until(placed, what='the transform')
    assert found.upside_down
    assert (found.place.x, found.place.y) == pytest.approx((0.25, -0.1))
    assert found.place.yaw == pytest.approx(0.4)
    with pytest.raises(BadScan, match='no transform from elsewhere'):
        frames.place(header('elsewhere'), True, PLACE)
