"""obstacle_distance_node over DDS: what mavros and PX4 get, and what never reaches them."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driving import diagnostics, header, read
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_helpers import Ros
from sensor_msgs.msg import Image, LaserScan, PointCloud2

from midas_depth_ros.avoidance.obstacle_distance import UNKNOWN_CM, obstacle_distance
from midas_depth_ros.nodes import obstacle_distance_node
from midas_depth_ros.nodes.obstacle_distance_node import (
    ObstacleDistanceNode,
    px4_message,
)
from midas_depth_ros.nodes.ros.boundary import faults_of

STEP = math.radians(0.5)


def scan(values, **fields) -> LaserScan:
    message = LaserScan(header=header(12.5), angle_min=-60 * STEP, angle_increment=STEP)
    message.range_min, message.range_max = 0.1, 6.0
    message.ranges = [float(each) for each in values]
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def mixed() -> np.ndarray:
    values = np.full(121, np.inf)
    values[60:], values[90:] = 2.0, np.nan
    return values


def test_mavros_gets_clockwise_sectors_of_which_it_makes_the_same(ros):
    ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    scans = ros.publisher(LaserScan, 'scan')
    sent = scan(mixed())
    scans.publish(sent)
    ros.spin_until(lambda: got)
    message = got[0]
    assert message.header == sent.header
    assert (message.angle_min, len(message.ranges)) == (0.0, 72)
    assert message.angle_increment == pytest.approx(math.radians(5))
    # As its plugin does: centimetres are truncated, NaN and what is too large are unknown.
    centimetres = np.array(message.ranges, np.float32) * np.float32(1e2)
    known = np.isfinite(centimetres)
    made = np.where(known, centimetres, UNKNOWN_CM).astype(np.uint16)
    wanted = obstacle_distance(
        np.array(sent.ranges), angle_min=sent.angle_min, angle_increment=STEP,
        range_min=sent.range_min, range_max=sent.range_max,
    )  # fmt: skip
    np.testing.assert_array_equal(made, wanted.distances_cm)
    assert int(np.float32(message.range_max) * np.float32(1e2)) == wanted.max_cm == 600
    assert {200, 601, UNKNOWN_CM} == set(made.tolist())


@pytest.mark.parametrize(
    'fields', [{'angle_increment': 0.0}, {'range_max': 0.01}, {'angle_min': math.nan}]
)
def test_a_scan_that_is_none_is_not_passed_on_and_the_node_lives(ros, fields):
    ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    scans = ros.publisher(LaserScan, 'scan')
    scans.publish(scan(mixed(), **fields))
    ros.spin_for(0.3)
    assert not got
    scans.publish(scan(mixed()))
    ros.spin_until(lambda: got)


def test_two_sensors_on_one_topic_are_not_mixed(ros):
    ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    first, second = ros.publisher(LaserScan, 'scan'), ros.publisher(LaserScan, 'scan')
    for _ in range(10):
        first.publish(scan(mixed()))
        second.publish(scan(np.full(121, np.inf)))
        ros.spin_for(0.05)
    before = len(got)
    for _ in range(10):
        first.publish(scan(mixed()))
        second.publish(scan(np.full(121, np.inf)))
        ros.spin_for(0.05)
    assert len(got) == before


def test_a_scan_that_is_late_or_frozen_is_not_passed_on(ros):
    """To an autopilot whatever arrives is new."""
    node = ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    scans = ros.publisher(LaserScan, 'scan')

    def send(late_s: float) -> None:
        scans.publish(
            scan(mixed(), header=header(node.get_clock().now().nanoseconds / 1e9 - late_s))
        )
        ros.spin_for(0.1)

    send(5.0)
    assert not got
    assert 'late: stamped 5' in faults_of(node)['/scan'].last
    send(0.1)
    assert len(got) == 1
    scans.publish(scan(mixed(), header=got[0].header))
    ros.spin_for(0.1)
    assert len(got) == 1
    assert 'frozen' in faults_of(node)['/scan'].last
    send(0.1)
    assert len(got) == 2


def test_after_a_clock_that_goes_back_scans_are_passed_on_again(ros, monkeypatch):
    """As of a bag that is played in a loop: not only once its old time has come again."""
    node = ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    now_s = [0.0]
    monkeypatch.setattr(node, 'get_clock', lambda: SimpleNamespace(now=lambda: Time(now_s[0])))
    Time = lambda seconds: SimpleNamespace(nanoseconds=round(seconds * 1e9))  # noqa: E731, N806
    for begin in (1000.0, 50.0):
        before = len(got)
        for number in range(5):
            now_s[0] = begin + 0.1 * number
            node._on_scan(scan(mixed(), header=header(now_s[0])))
        ros.spin_until(lambda before=before: len(got) == before + 5)


def test_px4_without_its_messages_is_refused_with_the_remedy(ros):
    with pytest.raises(ValueError, match='px4_msgs') as raised:
        ros.make_node(ObstacleDistanceNode, parameters={'autopilot': 'px4'})
    assert 'set autopilot to mavros' in str(raised.value)


@dataclasses.dataclass
class ObstacleDistance:
    """The fields of px4_msgs/ObstacleDistance."""

    timestamp: int = 0
    frame: int = 0
    sensor_type: int = 0
    distances: object = None
    increment: float = 0.0
    min_distance: int = 0
    max_distance: int = 0
    angle_offset: float = 0.0


def test_px4_gets_its_own_fields(monkeypatch):
    module = types.ModuleType('px4_msgs.msg')
    module.ObstacleDistance = ObstacleDistance
    monkeypatch.setitem(sys.modules, 'px4_msgs.msg', module)
    sectors = obstacle_distance(
        mixed(), angle_min=-60 * STEP, angle_increment=STEP, range_min=0.1, range_max=6.0
    )
    message = px4_message(sectors, scan(mixed()), ObstacleDistance)
    assert (message.timestamp, message.frame) == (12_500_000, 12)
    assert (message.increment, message.angle_offset) == (pytest.approx(5.0), 0.0)
    assert (message.min_distance, message.max_distance) == (10, 600)
    np.testing.assert_array_equal(message.distances, sectors.distances_cm)


@pytest.fixture
def warnings(monkeypatch):
    """What the node logs at WARN, where a silence is one after half a second."""
    said: list[str] = []
    monkeypatch.setattr(obstacle_distance_node, 'SILENT_S', 0.5)
    logger = SimpleNamespace(info=lambda text: None, warning=said.append, debug=lambda text: None)
    monkeypatch.setattr(ObstacleDistanceNode, 'get_logger', lambda self: logger)
    return said


@pytest.fixture
def driver(ros):
    """One process cannot have two types on one topic."""
    made = Ros(ros.domain_id)
    yield made
    made.close()


def said_of(ros, level: bytes, *words: str) -> DiagnosticStatus:
    return diagnostics(
        ros,
        'obstacle_distance_node: obstacle distance',
        lambda each: each.level == level and all(word in each.message for word in words),
    )


def test_where_nobody_publishes_scans_it_is_said_once(ros, warnings):
    ros.make_node(ObstacleDistanceNode)
    status = said_of(ros, DiagnosticStatus.ERROR, 'no scan', 'nobody publishes /scan')
    assert read(status)['scan publishers'] == '0'
    ros.spin_for(2.5)
    assert len([text for text in warnings if 'nobody publishes /scan' in text]) == 1


def test_a_scan_of_another_type_is_named(ros, driver, warnings):
    ros.make_node(ObstacleDistanceNode)
    driver.node.create_publisher(PointCloud2, 'scan', 10)
    reason = 'publishes sensor_msgs/msg/PointCloud2, not sensor_msgs/msg/LaserScan'
    said_of(ros, DiagnosticStatus.ERROR, 'not heard', reason)
    ros.spin_for(1.5)
    assert len([text for text in warnings if reason in text]) == 1


def test_who_cannot_hear_the_sectors_is_named(ros, driver, warnings):
    ros.make_node(ObstacleDistanceNode)
    driver.node.create_subscription(Image, 'obstacle_distance', print, 10)
    scans = ros.publisher(LaserScan, 'scan')
    ros.node.create_timer(0.05, lambda: scans.publish(scan(mixed(), header=header(0))))
    reason = 'expects sensor_msgs/msg/Image on /obstacle_distance, not sensor_msgs/msg/LaserScan'
    said_of(ros, DiagnosticStatus.WARN, reason)
    assert [text for text in warnings if reason in text]


def test_where_nobody_hears_the_sectors_the_remedy_is_said(ros, warnings):
    ros.make_node(ObstacleDistanceNode)
    scans = ros.publisher(LaserScan, 'scan')
    ros.node.create_timer(0.05, lambda: scans.publish(scan(mixed(), header=header(0))))
    said_of(ros, DiagnosticStatus.WARN, 'nobody hears /obstacle_distance', 'mavros')
    assert len([text for text in warnings if 'nobody hears /obstacle_distance' in text]) == 1


def test_diagnostics_count_what_came_was_passed_on_and_was_refused(ros, warnings):
    ros.make_node(ObstacleDistanceNode)
    got = ros.collect(LaserScan, 'obstacle_distance')
    scans = ros.publisher(LaserScan, 'scan')
    said_of(ros, DiagnosticStatus.ERROR, 'no scan for 0.5 s: /scan has publishers: 1')
    scans.publish(scan(mixed(), header=header(0), angle_increment=0.0))
    timer = ros.node.create_timer(0.05, lambda: scans.publish(scan(mixed(), header=header(0))))
    values = read(said_of(ros, DiagnosticStatus.WARN, '/scan refused', 'angle_increment 0.0'))
    received, passed_on = int(values['scans received']), int(values['passed on'])
    assert (received - passed_on, values['refused']) == (1, '1')
    assert 'angle_increment 0.0' in values['last fault']
    said_of(ros, DiagnosticStatus.OK, 'scans of /scan are passed on to /obstacle_distance')
    assert len(got) >= passed_on
    timer.cancel()
    said_of(ros, DiagnosticStatus.ERROR, 'no scan for')
    assert len([text for text in warnings if text.startswith('no scan for')]) == 2


def test_where_all_scans_are_refused_the_reason_is_said_and_not_that_none_come(ros, warnings):
    ros.make_node(ObstacleDistanceNode)
    scans = ros.publisher(LaserScan, 'scan')
    bad = scan(mixed(), header=header(0), angle_increment=0.0)
    ros.node.create_timer(0.05, lambda: scans.publish(bad))
    status = said_of(
        ros, DiagnosticStatus.ERROR, 'no scan was passed on for 0.5 s', 'angle_increment 0.0'
    )
    assert status.message.count('angle_increment 0.0') == 1
    assert any(text.startswith('no scan was passed on') for text in warnings)


def test_a_subscriber_that_asks_for_more_than_is_offered_is_named(ros, warnings):
    reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    ros.make_node(
        ObstacleDistanceNode,
        parameters={'qos_overrides./obstacle_distance.publisher.reliability': 'best_effort'},
    )
    ros.node.create_subscription(LaserScan, 'obstacle_distance', lambda _: None, reliable)
    said_of(ros, DiagnosticStatus.ERROR, '/obstacle_distance not heard', 'reliable')
