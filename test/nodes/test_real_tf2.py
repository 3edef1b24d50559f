"""Beside the real tf2_ros, which comes with ROS: the same transforms, and odometry over /tf.

Transforms are published as a robot does, by tf2_ros's broadcasters over DDS; the metres are those
that nav_msgs/Odometry gives.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from drives import HEIGHT_M, MOUNT, PITCH_RAD, ExactEstimator, Showing, drive, odometry, view
from driving import diagnostics, header, read, state, values
from frames import SECOND, quaternion_of, turned
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import State
from nav_msgs.msg import Odometry
from raw_messages import raw_messages
from rclpy.serialization import serialize_message

from midas_depth_ros.geometry import BodyPose, CameraMount, TransformFault, TransformTree
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.transforms import TreeFeeder

tf2_ros = pytest.importorskip('tf2_ros', reason='tf2_ros is not installed: it comes with ROS')
from rclpy.duration import Duration  # noqa: E402
from rclpy.time import Time  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

OPTICAL_FRAME = 'camera_optical_frame'
OURS = {
    'picture_check': False,
    'frozen_after': 0.0,
    'output_size': 'network',
    'diagnostics_rate': 10.0,
    'process_every_frame': True,  # pictures come faster than their stamps say
    'scale.time_constant': 0.0,
    'scale.source': 'odometry',
}
BY_TF = {'odometry.fixed_frame': 'odom'}


def transform(parent, child, stamp_s, place=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped(header=header(stamp_s, parent), child_frame_id=child)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, place)
    q.x, q.y, q.z, q.w = map(float, turn)
    return message


# --- The tree and tf2's own buffer.


def random_robot(seed: int) -> list[tuple[TransformStamped, bool]]:
    """Ten frames that hang and move in some way, and one tree apart; some come out of order."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(1, 10):
        parent = f'f{random.integers(number)}' if number != 7 else 'apart'
        static = random.random() < 0.3
        begin, count = random.uniform(10, 10.5), 1 if static else random.integers(1, 25)
        for i in range(count):
            turn = random.normal(size=4)
            made.append(
                (
                    transform(
                        parent,
                        f'f{number}',
                        round(begin + 0.07 * i, 3),
                        random.normal(size=3),
                        turn / np.linalg.norm(turn),
                    ),
                    static,
                )
            )
    order = np.argsort([stamp_ns(m.header) / SECOND + random.uniform(0, 0.2) for m, _ in made])
    return [made[index] for index in order]


@pytest.mark.parametrize('seed', range(8))
def test_the_tree_says_what_tf2_says(seed):
    tree, buffer = TransformTree(), tf2_ros.Buffer()
    feeder = TreeFeeder(None, tree)
    for message, static in random_robot(seed):
        for taker in (feeder, buffer):
            (taker.set_transform_static if static else taker.set_transform)(message, 'test')
    random = np.random.default_rng(seed)
    found = refused = 0
    for _ in range(400):
        target, source = (f'f{number}' for number in random.integers(0, 10, 2))
        stamp = round(random.uniform(9.9, 12.2), 3)
        time = Time(nanoseconds=round(stamp * SECOND))
        try:
            expected = buffer.lookup_transform(target, source, time).transform
        except tf2_ros.TransformException:
            refused += 1
            if target != source:
                with pytest.raises(TransformFault):
                    tree.lookup(target, source, time.nanoseconds)
            continue
        found += 1
        t, q = expected.translation, expected.rotation
        pose = BodyPose(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))
        ours = tree.lookup(target, source, time.nanoseconds)
        np.testing.assert_allclose(ours.matrix(), pose.matrix(), atol=1e-7)
        if target != source and tree.span(target, source) is not None:
            newest = buffer.lookup_transform(target, source, Time()).header
            assert tree.span(target, source)[1] == stamp_ns(newest)
    assert found > 30
    assert refused > 60


# --- A depth_node with TF over DDS.


class Robot(Showing):
    """A depth_node and a robot that publishes TF, or nav_msgs/Odometry, and pictures."""

    def __init__(self, ros, by_tf: bool = True, **parameters) -> None:
        exact = ExactEstimator()
        given = {**OURS, **(BY_TF if by_tf else {'odometry.topic': 'odom'}), **parameters}
        self.node = ros.make_node(DepthNode, lambda settings: exact, parameters=given)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        super().__init__(ros, exact)
        self.wheels = None if by_tf else ros.publisher(Odometry, 'odom')
        self.tf = tf2_ros.TransformBroadcaster(ros.node)
        self.static = tf2_ros.StaticTransformBroadcaster(ros.node)
        listening = [f'/{name}' for name in ('tf', 'tf_static')]
        if by_tf or parameters.get('mount_from_tf'):
            ros.spin_until(lambda: all(map(ros.node.count_subscribers, listening)), what='TF')
            ros.spin_for(0.3)

    def close(self) -> None:
        """End the node, and what publishes to it."""
        self.ros.destroy(self.node)
        for publisher in filter(None, (self.images, self.infos, self.wheels)):
            self.ros.node.destroy_publisher(publisher)

    def mounted(self, height_m: float = HEIGHT_M, pitch_rad: float = PITCH_RAD, x_m: float = 0.0):
        axes = CameraMount(height_m, pitch_rad).body_axes()
        place = (x_m, 0.0, height_m)
        found = transform('base_link', OPTICAL_FRAME, 0.0, place, quaternion_of(axes))
        self.static.sendTransform(found)
        self.ros.spin_for(0.1)

    def says(self, step, rate_hz: float = 30.0, late_s: float = 0.0, **frames) -> None:
        """TF of the 0.1 s up to a step and, unless it is late, just beyond."""
        count = round(0.1 * rate_hz) + 1
        for i in range(-count, 2):
            at_s = step.stamp_s + i / rate_hz - late_s
            x_m = step.said_m + 0.4 * (at_s - step.stamp_s)
            message = transform(
                frames.get('parent', 'odom'), frames.get('child', 'base_link'), at_s, (x_m, 0, 0)
            )
            self.tf.sendTransform(message)

    def go(self, steps, tell=None) -> list[float]:
        """Show the pictures of these steps; returns the metres by true metres."""
        before = len(self.depth)
        for step in steps:
            if self.wheels is not None:
                self.wheels.publish(odometry(step.stamp_s, step.said_m, step.yaw_rad))
            else:
                (tell or self.says)(step)
            self.show(step.stamp_s, view(step.x_m, step.yaw_rad), info_s=0.02)
        self.ros.spin_for(0.3)
        return [self.ratio(message) for message in self.depth[before:]]

    def told(self, words: str) -> str:
        """What diagnostics say of the odometry, once it has these words."""
        status = diagnostics(
            self.ros, 'camera camera', lambda s: words in read(s).get('odometry', '')
        )
        return read(status)['odometry']


def good(ratios: list[float], at_least: int) -> bool:
    return len(ratios) >= at_least and float(np.abs(np.array(ratios) - 1).max()) < 0.12


@pytest.fixture
def robot(ros):
    return lambda by_tf=True, **parameters: Robot(ros, by_tf, **parameters)


def test_tf_gives_the_metres_that_odometry_gives(robot):
    steps = drive(2.0)
    with_tf = robot(**MOUNT)
    by_tf = with_tf.go(steps)
    of_tf = {stamp_ns(message.header): values(message) for message in with_tf.depth}
    assert with_tf.told('').startswith('interpolated')
    with_tf.close()
    with_wheels = robot(by_tf=False, **MOUNT)
    by_wheels = with_wheels.go(steps)
    assert good(by_tf, 15)
    assert by_tf == pytest.approx(by_wheels, abs=0.002)
    for message in with_wheels.depth:
        np.testing.assert_allclose(
            of_tf[stamp_ns(message.header)], values(message), rtol=0.005, equal_nan=True
        )


def test_the_mount_comes_from_static_tf_too(robot):
    """Lens and floor from /tf_static: no ruler, no angle in the parameters."""
    here = robot(mount_from_tf=True)
    here.mounted()
    assert good(here.go(drive(2.0)), 12)


def test_a_picture_before_its_transforms_has_metres_by_the_motion_so_far(robot):
    here = robot(**MOUNT)
    ratios = here.go(drive(2.0), lambda step: here.says(step, late_s=0.08))
    assert good(ratios, 12)
    assert re.fullmatch(r'continued by 0\.0\d\d s', here.told('continued by'))


def test_transforms_that_come_too_late_are_no_motion(robot):
    here = robot(**MOUNT)
    assert here.go(drive(1.0), lambda step: here.says(step, late_s=0.5)) == []
    text = here.told('the newest transform from base_link to odom is')
    assert 's from the picture by its stamp' in text


def test_what_is_missing_is_said_by_name_and_the_node_lives_on(robot):
    here = robot(**MOUNT)
    steps = drive(4.0)
    assert here.go(steps[:2], lambda step: None) == []
    assert 'nothing was heard on /tf and /tf_static' in here.told('nothing was heard')
    here.go(steps[2:4], lambda step: here.says(step, child='wheel'))
    assert "there is no frame 'base_link'; there are: 'odom', 'wheel'" in here.told('no frame')

    def elsewhere(step) -> None:
        here.says(step, parent='map')
        here.says(step, child='wheel')

    here.go(steps[4:6], elsewhere)
    assert "nothing connects the tree of 'base_link' (root 'map')" in here.told('nothing connects')
    assert good(here.go(steps[10:]), 15)


def test_a_frame_that_is_renamed_is_missed_and_found_again(robot):
    here = robot(**MOUNT)
    steps = drive(4.0)
    assert good(here.go(steps[:12]), 5)
    here.go(steps[12:17], lambda step: here.says(step, child='base'))
    text = here.told('the newest transform from base_link to odom is')
    assert text.startswith('none: ')
    assert good(here.go(steps[17:]), 10)


def test_a_bag_that_plays_again_has_metres_again(robot):
    """Twelve seconds of stamps back, more than tf2's own buffer forgets by itself."""
    here = robot(**MOUNT)
    assert good(here.go(drive(2.0, start_s=112.0)), 12)
    again = here.go(drive(2.0, start_s=100.0))
    assert good(again, 12)


def test_two_publishers_of_one_transform_are_no_motion(robot):
    """The wheels, and a filter that has lost itself a little."""
    here = robot(**MOUNT)

    def both(step) -> None:
        for i in range(-3, 1):
            at_s, x_m = step.stamp_s + i / 30, step.said_m + 0.4 * i / 30
            here.tf.sendTransform(transform('odom', 'base_link', at_s, (x_m, 0, 0)))
            here.tf.sendTransform(transform('odom', 'base_link', at_s + 0.01, (x_m, 0.3, 0)))

    ratios = here.go(drive(2.0), both)
    assert all(abs(ratio - 1) < 0.12 for ratio in ratios[:2])
    assert ratios[2:] == []
    assert 'base_link is in two places, as two publishers do' in here.told('in two places')


def test_what_is_no_transform_is_counted_and_named(ros, robot):
    here = robot(**MOUNT)

    def broken(step) -> None:
        here.tf.sendTransform(
            transform('odom', 'base_link', step.stamp_s, (step.said_m, 0, 0), (0, 0, 0, 0))
        )

    assert here.go(drive(0.5), broken) == []
    assert 'orientation (0, 0, 0, 0) is not a unit quaternion' in here.told('orientation')
    ros.survives = True  # refused input is counted as such
    assert good(here.go(drive(2.0, start_s=110.0)), 12)


def test_damaged_bytes_on_tf_end_nothing(ros, robot):
    here = robot(**MOUNT)
    raw = ros.publisher(TFMessage, '/tf')
    ros.survives = True  # refused input is counted as such
    sent = serialize_message(TFMessage(transforms=[transform('odom', 'base_link', 99.0)] * 2))
    for data in raw_messages(TFMessage(transforms=[transform('odom', 'wheel', 99.0)] * 2), 60):
        raw.publish(data)
    raw.publish(bytes(sent)[:-20])
    # No UTF-8 in a name, and a count of four billion.
    raw.publish(bytes(sent).replace(b'base_link', b'\xff\xfe\xfdse_link'))
    raw.publish(bytes(sent)[:4] + b'\xff\xff\xff\xff' + bytes(sent)[8:])
    ros.spin_for(0.5)
    assert good(here.go(drive(2.0)), 12)


def test_the_listener_is_closed_with_the_node_and_may_open_again(ros, robot):
    here = robot(**MOUNT)
    here.close()
    ros.spin_until(lambda: not ros.node.count_subscribers('/tf'), what='closed')
    again = robot(**MOUNT)
    assert good(again.go(drive(1.5)), 8)


def test_turning_frames_are_turned(robot):
    """The body frame looks to the left of where the odometry counts from."""
    buffer = tf2_ros.Buffer(Duration(seconds=10))
    feeder = TreeFeeder(None, tree := TransformTree())
    for taker in (buffer, feeder):
        taker.set_transform(transform('odom', 'base_link', 10, (1, 2, 0), turned(3.0)), 'x')
        taker.set_transform(transform('odom', 'base_link', 11, (1, 2, 0), turned(-3.0)), 'x')
    expected = buffer.lookup_transform('odom', 'base_link', Time(seconds=10, nanoseconds=5 * 10**8))
    assert abs(tree.lookup('odom', 'base_link', 10_500_000_000).yaw_rad) == pytest.approx(np.pi)
    assert abs(expected.transform.rotation.z) == pytest.approx(1.0)
