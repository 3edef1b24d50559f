"""avoidance_node over real DDS: what it lets through, what stops it, and what it says."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driving import diagnostics, read
from geometry_msgs.msg import Twist, TwistStamped, Vector3Stamped
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from ros_helpers import Ros
from sensor_msgs.msg import LaserScan
from traffic import Traffic, laser_scan

from midas_depth_ros.nodes.avoidance_node import AvoidanceNode

NAN, INF = math.nan, math.inf
# Patient, where a test is not about time: the machine may be busy.
PATIENT = {
    'timeout': 3.0,
    'command_timeout': 3.0,
    'resume_delay': 0.0,
    'reaction_time': 0.0,
    'diagnostics_rate': 10.0,
    'robot_front': 0.2,
    'sensor.x': 0.2,
    'stop_distance': 0.4,
    'slow_distance': 1.4,
}
HASTY = {**PATIENT, 'timeout': 0.3, 'command_timeout': 0.3}


@pytest.fixture
def start(ros: Ros) -> Callable[..., Node]:
    """An avoidance_node with these parameters."""

    def make(base: dict[str, Any] = PATIENT, **parameters: Any) -> Node:
        return ros.make_node(AvoidanceNode, parameters={**base, **parameters})

    return make


def status(ros: Ros, state: str) -> DiagnosticStatus:
    """The next diagnostics with this state."""
    return diagnostics(ros, 'avoidance', lambda s: read(s)['state'] == state)


def set_live(node: Node, **values: Any) -> bool:
    parameters = [Parameter(name, value=value) for name, value in values.items()]
    return all(result.successful for result in node.set_parameters(parameters))


# --- commands and scans ------------------------------------------------------------------------


def test_the_way_is_free_then_slow_then_blocked_then_free(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.5, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.5)
    traffic.scan = laser_scan(0.9)
    traffic.wait(lambda t: 0.0 < t.linear.x < 0.3, 'slowing')
    traffic.scan, traffic.command = laser_scan(0.3), (0.5, 0.4)
    stopped = traffic.wait(lambda t: t.linear.x == 0 and t.angular.z == 0.4, 'turning in place')
    assert (stopped.linear.y, stopped.linear.z, stopped.angular.x) == (0.0, 0.0, 0.0)
    traffic.scan, traffic.command = laser_scan(5.0), (0.5, 0.0)
    traffic.wait_speed(0.5)
    assert all(0 <= t.linear.x <= 0.5 for t in traffic.twists())


def test_without_anything_but_a_command_the_robot_may_turn_but_not_go(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command = (0.5, 0.3)
    traffic.wait(lambda t: t.angular.z == 0.3)
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    found = status(ros, 'stopped: no data')
    assert found.level == DiagnosticStatus.ERROR
    assert read(found)['reason'] == 'scan: none yet; closeness: none yet'


def test_a_scan_that_falls_silent_stops_the_robot(ros, start):
    start(HASTY, command_timeout=3.0)
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    traffic.scan = None
    traffic.wait_speed(0.0, 0.0)
    assert 'scan: silent for' in read(status(ros, 'stopped: no data'))['reason']


def test_a_scan_that_is_late_by_its_stamp_stops_the_robot(ros, start):
    node = start(HASTY, command_timeout=3.0)
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    traffic.late_s = 2.0
    traffic.wait_speed(0.0, 0.0)
    assert 'scan: late: stamped' in read(status(ros, 'stopped: no data'))['reason']
    assert set_live(node, stamps='ignore')
    traffic.wait_speed(0.3)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('late_s', 'words'),
    [
        (-3600.0, 'stamped by another clock, 3.6e+03 s ahead of ours'),
        (-5.0, 's ahead of ours'),
        (65.0, 's behind ours'),
        (1e6, 'stamped by another clock, 1e+06 s behind ours'),
        (None, 'not stamped (its stamp is 0)'),
    ],
)
def test_stamps_of_another_clock_are_refused_unless_that_is_allowed(ros, start, late_s, words):
    node = start(source='scan')
    traffic = Traffic(ros)
    traffic.stamp, traffic.late_s = late_s is not None, late_s or 0.0
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    found = diagnostics(ros, 'avoidance', lambda s: words in s.message)
    assert (found.level, read(found)['state']) == (DiagnosticStatus.ERROR, 'stopped: no data')
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    assert set_live(node, other_clock=True)
    traffic.wait_speed(0.3)
    said = diagnostics(ros, 'avoidance', lambda s: 'judged by receipt' in s.message)
    assert words in read(said)['scan judged by receipt']
    assert set_live(node, other_clock=False)
    traffic.wait_speed(0.0, 0.0)


def test_a_scan_whose_stamp_stands_still_is_frozen(ros, start):
    node = start(source='scan')
    traffic = Traffic(ros, clock=False)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    for changes in ({'other_clock': True}, {'stamps': 'ignore'}):
        assert set_live(node, **changes)
        frozen_ns = 10**18  # in 2001
        traffic.now_ns = lambda ns=frozen_ns: ns
        traffic.wait_speed(0.0, 0.0)
        found = diagnostics(ros, 'avoidance', lambda s: 'frozen' in s.message)
        assert found.level == DiagnosticStatus.ERROR
        assert 'messages with the same stamp' in read(found)['scan last fault']
        traffic.now_ns = None
        traffic.wait_speed(0.3)


def test_closeness_and_stamped_commands_are_judged_by_their_stamps_too(ros, start):
    start(source='closeness', stamped=True)
    traffic = Traffic(ros, stamped=True)
    traffic.command, traffic.closeness = (0.3, 0.0), (0.0, 0.0, 0.0)
    traffic.wait_speed(0.2)
    traffic.stamp = False
    traffic.wait_speed(0.0, 0.0)
    found = diagnostics(ros, 'avoidance', lambda s: 'not stamped' in s.message)
    values = read(found)
    assert 'not stamped' in values['closeness last fault']
    assert 'not stamped' in values['cmd_vel_in last fault']


# --- what was seen free -------------------------------------------------------------------------


def seen_free(metres: float | None, **changes: Any) -> LaserScan:
    """What belongs to a scan of nothing but unknown beams."""
    ranges = np.full(121, NAN if metres is None else metres)
    return laser_scan(**{'ranges': ranges, **changes})


@pytest.mark.parametrize('partner_last', [False, True])
def test_unknown_beams_are_known_as_far_as_their_floor_was_seen(ros, start, partner_last):
    start(source='scan')
    traffic = Traffic(ros)
    traffic.partner_last = partner_last
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(ranges=np.full(121, NAN))
    status(ros, 'stopped: no data')
    assert {t.linear.x for t in traffic.twists()} <= {0.0}
    traffic.seen_free = seen_free(2.5)
    traffic.wait_speed(0.3)
    traffic.seen_free = seen_free(0.9)  # 0.5 m before the front
    traffic.wait(lambda t: 0 < t.linear.x < 0.2, 'as slow as so little sight allows')
    found = diagnostics(ros, 'avoidance', lambda s: read(s)['state'] == 'slowing')
    assert int(read(found)['seen_free joined with a scan']) > 3
    traffic.seen_free = seen_free(None)
    traffic.wait_speed(0.0, 0.0)


@pytest.mark.parametrize('given', [{'other_clock': True}, {'stamps': 'ignore'}])
def test_an_old_seen_free_without_a_stamp_makes_no_floor_free(ros, given):
    """Of a camera that has gone blind: nothing says that it belongs to the new scan."""
    parameters = {**PATIENT, **given, 'source': 'scan', 'base_frame': ''}
    node = ros.make_node(AvoidanceNode, parameters=parameters)
    blind = laser_scan(ranges=np.full(121, NAN))
    command = Twist()
    command.linear.x = 0.3
    free = seen_free(4.0)
    for message in (blind, free):
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    node._on_seen_free(free)
    for _ in range(6):
        node._on_scan(blind, {})
        node._on_command(command)
        node._on_timer()
        assert node._decision.linear == 0.0


@pytest.mark.parametrize(
    'changes',
    [
        {'angle_min': -0.9},
        {'angle_increment': 0.01},
        {'beams': 120, 'ranges': np.full(120, 3.0)},
        {'frame': 'elsewhere'},
    ],
    ids=['angle_min', 'angle_increment', 'beams', 'frame'],
)
def test_what_belongs_to_another_scan_is_not_joined(ros, start, changes):
    start(source='scan')
    traffic = Traffic(ros)
    frame = changes.pop('frame', 'base_link')
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(ranges=np.full(121, NAN))
    traffic.seen_free = seen_free(3.0, **changes)
    traffic.seen_free.header.frame_id = frame
    found = diagnostics(ros, 'avoidance', lambda s: int(read(s)['seen_free refused']) > 3)
    assert 'differ from those of the scan' in read(found)['seen_free last fault']
    assert {t.linear.x for t in traffic.twists()} == {0.0}


# --- frames -------------------------------------------------------------------------------------


def test_scans_of_another_frame_are_refused_and_said(ros, start):
    start(source='scan')
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    rear = laser_scan(INF)
    rear.header.frame_id = 'rear_laser'
    traffic.scan = rear
    traffic.wait_speed(0.0, 0.0)
    found = diagnostics(ros, 'avoidance', lambda s: 'rear_laser' in s.message)
    assert found.level == DiagnosticStatus.ERROR
    assert "frame 'base_link' at" in read(found)['sensor place']
    traffic.scan = laser_scan(5.0)
    traffic.wait_speed(0.3)


def clear_scan() -> LaserScan:
    return laser_scan(INF)


def far_closeness() -> Vector3Stamped:
    return Vector3Stamped()


@pytest.mark.parametrize(('source', 'made'), [('scan', clear_scan), ('closeness', far_closeness)])
def test_two_sensors_on_one_topic_are_refused_and_said(ros, start, source, made):
    """What one sees beside what the other does not see would count as free by turns."""
    start(source=source)
    traffic = Traffic(ros)
    traffic.command, traffic.scan, traffic.closeness = (0.3, 0.0), laser_scan(0.3), (0.0, 0.9, 0.0)
    status(ros, 'stopped: obstacle')
    other = ros.make_node('other_sensor')
    publisher = other.create_publisher(type(made()), source, qos_profile_sensor_data)

    def send():
        message = made()
        message.header.stamp = other.get_clock().now().to_msg()
        publisher.publish(message)

    timer = other.create_timer(0.01, send)
    found = diagnostics(ros, 'avoidance', lambda s: 'publishers on' in s.message)
    assert '/other_sensor' in found.message
    ros.spin_for(1.5)
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    timer.cancel()
    ros.executor.create_task(other.destroy_publisher, publisher)
    traffic.scan, traffic.closeness = laser_scan(5.0), (0.0, 0.0, 0.0)
    traffic.wait(lambda t: t.linear.x > 0.1, 'going on')


def test_the_frame_that_counts_can_be_named_and_changed(ros, start):
    node = start(source='scan', **{'sensor.frame': 'laser'})
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    found = diagnostics(ros, 'avoidance', lambda s: "sensor.frame is 'laser'" in s.message)
    assert found.level == DiagnosticStatus.ERROR
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    assert set_live(node, **{'sensor.frame': 'base_link'})
    traffic.wait_speed(0.3)


# --- commands that come back --------------------------------------------------------------------


@pytest.mark.parametrize(
    'remaps',
    [
        ['cmd_vel_in:=cmd_vel'],
        ['cmd_vel:=cmd_vel_in'],
        ['cmd_vel:=/base/cmd', 'cmd_vel_in:=/base/cmd'],
        ['__ns:=/robot', 'cmd_vel:=/loop', 'cmd_vel_in:=/loop'],
        ['scan:=/a/scan', 'seen_free:=/a/scan'],
    ],
)
def test_two_topics_in_one_are_refused_at_the_start(ros, remaps):
    arguments = ['--ros-args']
    for remap in remaps:
        arguments += ['-r', remap]
    with pytest.raises(ValueError, match=r'(cmd_vel_in|seen_free) are both /.*: remap one'):
        ros.make_node(AvoidanceNode, parameters=PATIENT, cli_args=arguments)


def test_as_a_process_it_ends_with_1_where_it_would_hear_itself(ros):
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.avoidance_node', '--ros-args']
    result = subprocess.run(
        [*command, '-r', 'cmd_vel_in:=cmd_vel'],
        env={**ros.environment, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert 'cmd_vel and cmd_vel_in are both /cmd_vel: remap one' in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('stamped', [False, True])
def test_a_relay_that_feeds_it_with_its_own_commands_stops_the_robot(ros, start, stamped):
    start(HASTY, timeout=3.0, stamped=stamped)
    traffic = Traffic(ros, stamped=stamped)
    traffic.command, traffic.scan = (0.3, 0.1), laser_scan(5.0)
    traffic.wait_speed(0.3)
    kind = TwistStamped if stamped else Twist
    relay = ros.make_node('relay')
    back = relay.create_publisher(kind, 'cmd_vel_in', 10)
    relay.create_subscription(kind, 'cmd_vel', back.publish, 10)
    traffic.command = None  # and the commander is gone
    found = status(ros, 'stopped: own commands come back')
    assert found.level == DiagnosticStatus.ERROR
    traffic.wait_speed(0.0, 0.0)
    ros.destroy(relay)
    traffic.command = (0.3, 0.0)
    traffic.wait_speed(0.3)


def test_two_avoidance_nodes_in_a_row_are_no_relay(ros, start):
    ros.make_node(
        AvoidanceNode,
        parameters=PATIENT,
        cli_args=['--ros-args', '-r', '__node:=first', '-r', 'cmd_vel:=between'],
    )
    ros.make_node(
        AvoidanceNode, parameters=PATIENT, cli_args=['--ros-args', '-r', 'cmd_vel_in:=between']
    )
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.1), laser_scan(5.0)
    traffic.wait_speed(0.3)
    ros.spin_for(2.0)
    assert all(t.linear.x == pytest.approx(0.3) for t in traffic.twists()[-20:])


def test_who_else_sends_cmd_vel_is_named(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    first = diagnostics(ros, 'avoidance', lambda s: True)
    assert first.level == DiagnosticStatus.OK, first.message
    other = ros.make_node('joystick')
    other.create_publisher(Twist, 'cmd_vel', 1)
    found = diagnostics(ros, 'avoidance', lambda s: s.level == DiagnosticStatus.WARN)
    assert 'cmd_vel is also published by /joystick' in found.message
    assert read(found)['others on cmd_vel'] == '/joystick'


# --- zeros --------------------------------------------------------------------------------------


def test_a_command_that_stops_arriving_stops_the_robot_and_then_the_sending(ros, start):
    start(HASTY, timeout=3.0)
    traffic = Traffic(ros)
    traffic.scan = laser_scan(5.0)
    ros.spin_for(0.3)
    assert traffic.sent == []  # nobody has commanded anything yet
    traffic.command = (0.3, 0.2)
    traffic.wait_speed(0.3)
    traffic.command = None
    stop = traffic.wait_speed(0.0, 0.0)
    assert stop.angular.z == 0.0
    assert read(status(ros, 'stopped: no command'))['reason'].startswith('silent for')
    ros.spin_for(1.5)
    count = len(traffic.sent)
    ros.spin_for(0.3)
    assert len(traffic.sent) == count


@pytest.mark.parametrize('command', [(NAN, 0.0), (0.3, INF)])
def test_a_command_that_is_no_number_stops_the_robot(ros, start, command):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.2), laser_scan(5.0)
    traffic.wait_speed(0.3)
    traffic.command = command
    assert traffic.wait_speed(0.0, 0.0).angular.z == 0.0
    assert status(ros, 'stopped: bad command').level == DiagnosticStatus.WARN


def test_sideways_motion_is_left_out_and_said(ros, start, log_lines):
    start()
    out = ros.collect(Twist, 'cmd_vel')
    publisher = ros.publisher(Twist, 'cmd_vel_in')
    twist = Twist()
    twist.linear.y, twist.angular.z = 0.5, 0.1
    publisher.publish(twist)
    ros.spin_until(lambda: any(t.angular.z == 0.1 for t in out))
    assert all(t.linear.y == 0 for t in out)
    ros.spin_until(
        lambda: any('lateral and vertical motion' in line for line in log_lines()), what='a warning'
    )


def test_stamped_commands(ros, start):
    start(stamped=True)
    traffic = Traffic(ros, stamped=True)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    message = traffic.sent[-1]
    assert message.header.frame_id == 'base_link'
    age_s = ros.node.get_clock().now().nanoseconds / 1e9 - message.header.stamp.sec
    assert 0 <= age_s < 60
    traffic.late_s = 5.0  # commands that were given long ago
    traffic.wait_speed(0.0, 0.0)


# --- bad scans ---------------------------------------------------------------------------------

BAD = {
    'empty': {'ranges': []},
    'no increment': {'angle_increment': 0.0},
    'NaN increment': {'angle_increment': NAN},
    'other increment': {'angle_increment': 0.1},
    'no reach': {'range_max': 0.0},
    'NaN reach': {'range_min': NAN},
    'infinite angle': {'angle_min': -INF},
}


@pytest.mark.sampled
@pytest.mark.parametrize('changes', BAD.values(), ids=BAD)
def test_a_malformed_scan_is_refused_named_and_survived(ros, start, changes):
    start(HASTY, command_timeout=3.0)
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0, **changes)
    found = diagnostics(ros, 'avoidance', lambda s: int(read(s)['scan refused']) > 3)
    assert read(found)['scan last fault']
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    traffic.scan = laser_scan(5.0)
    traffic.wait_speed(0.3)


UNKNOWN = {
    'NaN': np.full(121, NAN),
    'zero': np.zeros(121),
    'negative': np.full(121, -1.0),
    'below range_min': np.full(121, 0.01),
    'too near to measure': np.full(121, -INF),
}


@pytest.mark.sampled
@pytest.mark.parametrize('ranges', UNKNOWN.values(), ids=UNKNOWN)
def test_ranges_that_say_nothing_good_stop_the_robot(ros, start, ranges):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    traffic.scan = laser_scan(ranges=ranges)
    traffic.wait_speed(0.0, 0.0)


def test_infinite_is_clear(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(INF)
    traffic.wait_speed(0.3)


def test_scans_of_noise_are_survived(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command = (0.3, 0.0)
    random = np.random.default_rng(7)
    values = np.array([0.0, -1.0, 1.0, 1e-30, 1e30, 3e38, NAN, INF, -INF, 0.02, -0.02])
    publisher = ros.publisher(LaserScan, 'scan')
    names = ('angle_min', 'angle_max', 'angle_increment', 'range_min', 'range_max')
    for _ in range(150):
        message = LaserScan()
        for name in names:
            setattr(message, name, float(random.choice(values)))
        message.ranges = random.choice(values, random.integers(0, 200)).tolist()
        message.header.stamp.sec = int(random.integers(-(2**31), 2**31))
        publisher.publish(message)
        ros.spin_for(0.002)
    traffic.scan = laser_scan(5.0)
    traffic.wait_speed(0.3)
    assert all(math.isfinite(t.linear.x) and t.linear.x <= 0.3 for t in traffic.twists())


def test_a_lidar_that_looks_backward_hangs_upside_down_and_sees_all_around(ros, start):
    start(**{'sensor.yaw': math.pi, 'sensor.x': 0.0})
    traffic = Traffic(ros)
    traffic.command = (0.5, 0.0)
    # Its beam 0 points backward, and it counts clockwise: beam 180 is straight ahead.
    ranges = np.full(360, INF)
    step = math.radians(1)
    lidar = {'angle_min': 0.0, 'angle_max': -359 * step, 'angle_increment': -step}
    traffic.scan = laser_scan(ranges=ranges, **lidar)
    traffic.wait_speed(0.5)
    ranges[180] = 0.5
    traffic.scan = laser_scan(ranges=ranges, **lidar)
    traffic.wait_speed(0.0, 0.0)
    ranges[180], ranges[0] = INF, 0.5
    traffic.scan = laser_scan(ranges=ranges, **lidar)
    traffic.wait_speed(0.5)
    traffic.command = (-0.1, 0.0)
    traffic.wait_speed(0.0, 0.0)
    ranges[0] = INF
    traffic.scan = laser_scan(ranges=ranges, **lidar)
    traffic.wait_speed(-0.1)
    found = diagnostics(ros, 'avoidance', lambda s: read(s)['turning checked'] == 'yes')
    assert found.level == DiagnosticStatus.OK


def test_a_camera_alone_backs_up_nowhere_and_cannot_check_turning(ros, start):
    node = start(source='scan')
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (-0.5, 0.1), laser_scan(5.0)
    traffic.wait(lambda t: t.angular.z == 0.1)
    found = diagnostics(ros, 'avoidance', lambda s: 'm behind are known' in s.message)
    assert 'nothing is observed beside' in read(found)['turning checked']
    assert {t.linear.x for t in traffic.twists()} == {0.0}
    assert set_live(node, blind_reverse_speed=0.05)
    traffic.wait_speed(-0.05)
    assert set_live(node, allow_reverse=False)
    traffic.wait_speed(0.0, 0.0)
    assert status(ros, 'stopped: bad command').level == DiagnosticStatus.WARN


# --- closeness ---------------------------------------------------------------------------------


def test_closeness_alone(ros, start):
    start(source='closeness')
    assert ros.node.get_subscriptions_info_by_topic('/scan') == []
    traffic = Traffic(ros)
    traffic.command, traffic.closeness = (0.5, 0.0), (0.0, 0.0, 0.0)
    traffic.wait_speed(0.2)
    traffic.closeness = (0.0, 0.7, 0.0)
    traffic.wait_speed(0.0, 0.0)
    assert read(status(ros, 'stopped: obstacle'))['source'] == 'closeness'
    traffic.closeness = (0.0, 0.0, 0.0)
    traffic.wait_speed(0.2)
    traffic.closeness = (0.0, 0.0, NAN)
    traffic.wait_speed(0.0, 0.0)
    assert 'unknown' in read(status(ros, 'stopped: no data'))['reason']


def test_auto_goes_over_to_closeness_when_the_scan_falls_silent(ros, start):
    start(HASTY, command_timeout=3.0)
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.5, 0.0), laser_scan(5.0)
    traffic.closeness = (0.0, 0.0, 0.0)
    traffic.wait_speed(0.5)
    traffic.scan = None
    traffic.wait_speed(0.2)
    assert read(status(ros, 'slowing'))['source'] == 'closeness'
    traffic.scan = laser_scan(5.0)
    traffic.wait_speed(0.5)


# --- steering, parameters, words ---------------------------------------------------------------


def test_steering_is_switched_on_live(ros, start):
    node = start()
    traffic = Traffic(ros)
    bearings = np.linspace(-1, 1, 121)
    ranges = np.where(bearings > -0.4, 0.6, INF)  # free on the right
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(ranges=ranges)
    traffic.wait(lambda t: t.angular.z == 0)
    assert set_live(node, **{'steering.enabled': True})
    traffic.wait(lambda t: t.angular.z < -0.1, 'a turn to the right')


def test_live_parameters_hold_at_once_and_wrong_ones_are_refused(ros, start):
    node = start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(2.0)
    traffic.wait_speed(0.3)
    assert set_live(node, slow_distance=4.0)
    assert set_live(node, stop_distance=2.5)
    traffic.wait_speed(0.0, 0.0)
    assert not set_live(node, slow_distance=2.0)
    assert not set_live(node, robot_width=-1.0)
    assert not set_live(node, source='scan')
    assert set_live(node, stop_distance=0.4)
    traffic.wait(lambda t: t.linear.x > 0)


@pytest.mark.parametrize(
    ('parameters', 'named'),
    [
        ({'source': 'radar'}, 'auto, scan, closeness'),
        ({'stop_distance': 2.0}, 'slow_distance 1.4 is not above stop_distance 2'),
        ({'closeness.slow': 0.7}, 'closeness.slow 0.7 is not below closeness.stop 0.6'),
        ({'sensor.x': 1.0}, 'sensor.x 1 lies beyond'),
        ({'robot_width': 0.0}, 'robot_width'),
        ({'timeout': -1.0}, 'timeout'),
        ({'max_unknown': NAN}, 'max_unknown'),
        ({'qos_overrides./cmd_vel.publisher.history': 'all'}, 'history'),
    ],
)
def test_what_is_wrong_at_the_start_is_named(start, parameters, named):
    with pytest.raises(ValueError, match=named):
        start(**parameters)


def test_the_state_is_logged_when_it_changes_and_only_then(ros, start, log_lines):
    start()
    traffic = Traffic(ros)

    def said() -> list[str]:
        return [
            line.partition('[avoidance_node]: ')[2]
            for line in log_lines()
            if '[avoidance_node]' in line
        ]

    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    ros.spin_until(lambda: any(text.startswith('clear (free for') for text in said()))
    traffic.scan = laser_scan(0.3)
    ros.spin_until(lambda: any(text == 'stopped: obstacle (free for 0.30 m)' for text in said()))
    count = len(said())
    ros.spin_for(0.5)
    assert len(said()) == count
    assert count <= 5


def test_diagnostics_tell_figures_and_counts(ros, start):
    start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    found = diagnostics(ros, 'avoidance', lambda s: read(s)['linear [m/s]'] == '0.300')
    values = read(found)
    assert (found.name, found.level) == ('avoidance_node: avoidance', DiagnosticStatus.OK)
    assert found.message == f'clear ({values["reason"]})'
    assert values['source'] == 'scan'
    # Less what was driven since the scan.
    assert 4.5 < float(values['free way [m]']) <= 5.0
    assert values['unknown share of the corridor'] == '0.00'
    assert (values['scan topic'], values['scan publishers']) == ('/scan', '1')
    assert int(values['scan received']) > 0
    assert int(values['cmd_vel_in received']) > 0


def test_scans_of_any_quality_are_heard_and_velocities_are_reliable(ros, start):
    start()
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        ros.publisher(LaserScan, 'scan', QoSProfile(depth=1, reliability=reliability))
    (endpoint,) = ros.spin_until(lambda: ros.node.get_publishers_info_by_topic('/cmd_vel'))
    assert endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE


# --- time and end ------------------------------------------------------------------------------


def test_in_simulated_time_and_when_that_stands_still_or_jumps_back(ros, start):
    start(use_sim_time=True)
    traffic = Traffic(ros, clock=True)
    traffic.command, traffic.scan = (0.3, 0.1), laser_scan(5.0)
    traffic.wait_speed(0.3)
    traffic.time_s = 20.0  # as when a bag begins anew
    traffic.wait_speed(0.3)
    clock, traffic.time_s = traffic.time_s, None
    traffic.command = None
    traffic.wait(lambda t: t.linear.x == 0 and t.angular.z == 0, 'a stop')
    assert '/clock' in read(status(ros, 'stopped: the clock stands still'))['reason']
    traffic.time_s, traffic.command = clock, (0.3, 0.0)
    traffic.wait_speed(0.3)


def test_without_a_simulated_clock_nothing_moves_and_it_says_so(ros, start):
    start(use_sim_time=True)
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    found = status(ros, 'stopped: the clock stands still')
    assert found.level == DiagnosticStatus.ERROR
    assert all(t.linear.x == 0 for t in traffic.twists())


def test_it_decides_by_a_clock_that_nobody_can_set_back(ros, start):
    """With the computer's own clock, cmd_vel would be silent until it is where it was."""
    node = start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    traffic.wait_speed(0.3)
    computer = node.get_clock()
    assert all(timer.clock is not computer for timer in node.timers)
    assert set_live(node, use_sim_time=True)  # which stands still
    traffic.wait_speed(0.0, 0.0)
    status(ros, 'stopped: the clock stands still')
    assert sum(timer.clock is computer for timer in node.timers) == 1
    assert set_live(node, use_sim_time=False)
    traffic.wait_speed(0.3)


def test_the_node_leaves_with_a_zero(ros, start):
    node = start()
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.2), laser_scan(5.0)
    traffic.wait_speed(0.3)
    ros.destroy(node)
    ros.spin_until(lambda: traffic.twists()[-1].linear.x == 0, what='the last zero')
    assert traffic.twists()[-1].angular.z == 0


def process(ros: Ros, parameters: dict[str, Any] = PATIENT) -> subprocess.Popen[str]:
    """A real avoidance_node."""
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.avoidance_node', '--ros-args']
    for name, value in parameters.items():
        command += ['-p', f'{name}:={value}']
    return subprocess.Popen(
        command,
        env={**ros.environment, 'PYTHONPATH': os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_as_a_process_it_stops_the_robot_when_it_is_ended(ros, number):
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.0), laser_scan(5.0)
    avoidance = process(ros)
    try:
        traffic.wait_speed(0.3)
        avoidance.send_signal(number)
        text, _ = avoidance.communicate(timeout=30)
    finally:
        avoidance.kill()
    assert avoidance.returncode == 0, text
    assert 'Traceback' not in text
    ros.spin_until(lambda: traffic.twists()[-1].linear.x == 0, what='the last zero')
    assert [t.linear.x for t in traffic.twists()[-3:]] == [0.0] * 3


@pytest.mark.parametrize('goes_on', [False, True], ids=['commander gone', 'commander there'])
def test_a_process_that_was_stopped_for_a_while_sends_its_zeros(ros, goes_on):
    """Whatever was sent last holds on the robot: it must be a zero, and again."""
    traffic = Traffic(ros)
    traffic.command, traffic.scan = (0.3, 0.1), laser_scan(5.0)
    avoidance = process(ros, {**PATIENT, 'command_timeout': 0.5, 'timeout': 0.8})
    try:
        traffic.wait_speed(0.3)
        avoidance.send_signal(signal.SIGSTOP)
        ros.spin_for(0.3)
        if not goes_on:
            traffic.command = None
        ros.spin_for(1.7)
        seen = len(traffic.sent)
        assert traffic.twists()[-1].linear.x > 0.29
        avoidance.send_signal(signal.SIGCONT)
        ros.spin_until(lambda: len(traffic.sent) >= seen + 15, what='what comes after')
        after = [t.linear.x for t in traffic.twists()[seen:]]
        if goes_on:
            assert max(after[:2]) < 0.1  # it begins anew
            traffic.wait_speed(0.3)
        else:
            assert set(after) == {0.0}
    finally:
        avoidance.kill()
        avoidance.wait()
        avoidance.stdout.close()


@pytest.mark.sampled
@pytest.mark.parametrize('jump_s', [5.0, 3600.0, -1.0, -50.0, None])
def test_a_jump_of_the_simulated_clock_ends_in_zeros(ros, start, jump_s):
    """None: it stands still."""
    start({**PATIENT, 'command_timeout': 0.5, 'timeout': 0.8}, use_sim_time=True)
    traffic = Traffic(ros, clock=True)
    traffic.time_s = 100.0
    traffic.command, traffic.scan = (0.3, 0.1), laser_scan(5.0)
    traffic.wait_speed(0.3)
    moving = len(traffic.sent)
    traffic.command = None
    traffic.time_s = None if jump_s is None else traffic.time_s + jump_s
    traffic.wait_speed(0.0, 0.0)
    first = next(
        moving + n
        for n, t in enumerate(traffic.twists()[moving:])
        if (t.linear.x, t.angular.z) == (0, 0)
    )
    ros.spin_until(lambda: len(traffic.sent) >= first + (5 if jump_s is None else 15), what='more')
    assert {(t.linear.x, t.angular.z) for t in traffic.twists()[first:]} == {(0.0, 0.0)}
