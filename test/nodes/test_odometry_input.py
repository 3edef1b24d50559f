"""Where a camera was when its picture was taken, by odometry: by stamp, and never guessed."""

from __future__ import annotations

import contextlib
import math
import sys
import types

import numpy as np
import pytest
from driving import header
from frames import OPTICAL, add, turned
from nav_msgs.msg import Odometry
from raw_messages import raw_messages
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu

from midas_depth_ros.geometry import MotionReset, Refusal, TransformTree
from midas_depth_ros.nodes.bag.pipeline import OfflineNode
from midas_depth_ros.nodes.depth.frame_scale import check_source
from midas_depth_ros.nodes.depth.metric_sources import Mounting
from midas_depth_ros.nodes.depth.odometry_input import CameraMotion, OdometryInput
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised
from midas_depth_ros.nodes.ros.transforms import TfMount
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import Pose

SECOND = 1_000_000_000
MOUNT = {'camera_height': 0.3, 'camera_pitch': 0.1}


def odometry(
    stamp_s: float, x_m: float = 0.0, y_m: float = 0.0, yaw_rad: float = 0.0, **frames: str
) -> Odometry:
    message = Odometry(header=header(stamp_s, frames.get('frame', 'odom')))
    message.child_frame_id = frames.get('child', 'base_link')
    message.pose.pose.position.x, message.pose.pose.position.y = x_m, y_m
    message.pose.pose.orientation.z = math.sin(yaw_rad / 2)
    message.pose.pose.orientation.w = math.cos(yaw_rad / 2)
    return message


def imu(stamp_s: float, pitch: float) -> Imu:
    message = Imu(header=header(stamp_s, 'imu'))
    message.orientation.y, message.orientation.w = math.sin(pitch / 2), math.cos(pitch / 2)
    return message


class Rig:
    """A camera of an offline node, its mount and its motion."""

    def __init__(
        self,
        camera: str = 'camera',
        tf: TfMount | None = None,
        by_parameters: bool = False,
        **parameters,
    ) -> None:
        """by_parameters: TF says how the body moves, not how the camera is mounted."""
        parameters = {'odometry.topic': 'odom', **parameters}
        settings = build(DepthNodeSettings, parameters)
        self.node = OfflineNode(settings, lambda *_: None, lambda *_: None)
        self.mounting = Mounting(self.node, camera, None if by_parameters else tf)
        self.odometry = OdometryInput(self.node, tf)
        self.motion = CameraMotion(self.odometry, self.mounting)

    def hear(self, *messages, topic: str = '/odom') -> Rig:
        for message in messages:
            for subscription in self.node.subscriptions[topic]:
                subscription.deliver(bytes(serialize_message(message)))
        return self

    def at(self, stamp_s: float):
        return self.motion.pose(round(stamp_s * SECOND), 'optical')


def driving(rate_hz: int = 20, seconds: float = 2.0) -> list[Odometry]:
    """Half a metre per second straight on from 10 s, by x."""
    count = round(seconds * rate_hz)
    return [odometry(10 + i / rate_hz, 0.5 * i / rate_hz) for i in range(count + 1)]


def test_the_pose_is_that_of_the_pictures_stamp():
    rig = Rig(**MOUNT).hear(*driving())
    found = rig.at(11.033)
    expected = Pose(0.5 * 1.033, 0.0, 0.3, 0.0, 0.1)
    np.testing.assert_allclose(found[:3, :3], expected.optical_axes, atol=1e-9)
    np.testing.assert_allclose(found[:3, 3], expected.position, atol=1e-4)
    assert rig.motion.words == 'interpolated'


def test_a_picture_newer_than_the_newest_message_is_said():
    rig = Rig(**MOUNT).hear(*driving())
    assert rig.at(12.1)[0, 3] == pytest.approx(0.5 * 2.1, abs=1e-3)
    assert rig.motion.words == 'continued by 0.100 s'
    refused = rig.at(12.35)
    assert (
        refused.reason == 'no odometry from odom near the picture: the nearest is 0.35 s away '
        'by its stamp'
    )
    assert rig.motion.words.startswith('none: ')


def test_without_odometry_there_is_no_pose_and_no_word():
    settings = build(DepthNodeSettings, MOUNT)
    node = OfflineNode(settings, lambda *_: None, lambda *_: None)
    motion = CameraMotion(OdometryInput(node), Mounting(node, 'camera'))
    assert motion.pose(SECOND, 'optical') is None
    assert not motion.words
    assert not node.subscriptions


def test_the_place_of_the_lens_counts_and_each_camera_has_its_own():
    own = {
        'cameras': ('front', 'left'),
        'camera_x': 0.2,
        **MOUNT,
        'mounts.left.camera_yaw': math.pi / 2,
        'mounts.left.camera_y': 0.15,
        'mounts.left.camera_pitch': 0.4,
        'mounts.left.body_frame': 'left_view',
    }
    front = Rig('front', **own).hear(odometry(10, 1.0, 0.0, math.pi / 2)).at(10)
    np.testing.assert_allclose(front[:3, 3], (1.0, 0.2, 0.3), atol=1e-9)
    np.testing.assert_allclose(front[:3, 2], (0, math.cos(0.1), -math.sin(0.1)), atol=1e-9)
    left = Rig('left', **own).hear(odometry(10, 1.0, 0.0, 0.0)).at(10)
    np.testing.assert_allclose(left[:3, 3], (1.2, 0.15, 0.3), atol=1e-9)
    np.testing.assert_allclose(left[:3, 2], (0, math.cos(0.4), -math.sin(0.4)), atol=1e-9)


def test_an_unknown_height_is_no_hindrance_but_an_unknown_pitch_is():
    found = Rig(camera_pitch=0.1).hear(*driving()).at(11)
    assert found[0, 3] == pytest.approx(0.5)
    refused = Rig(camera_height=0.3).hear(*driving()).at(11)
    assert 'camera_pitch is not set' in refused.reason
    assert '~/calibrate_pitch' in refused.reason


def test_an_imu_tilts_the_camera_and_its_silence_is_said():
    parameters = {'imu_topic': 'imu', **MOUNT}
    rig = Rig(**parameters).hear(*driving()).hear(imu(11.0, pitch=0.05), topic='/imu')
    expected = Pose(0.5, 0.0, 0.3, 0.0, 0.15)
    np.testing.assert_allclose(rig.at(11)[:3, :3], expected.optical_axes, atol=1e-6)
    assert 'no orientation from imu' in rig.at(11.8).reason


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda m: setattr(m.pose.pose.position, 'x', math.nan), 'its position (nan, 0, 0)'),
        (lambda m: setattr(m.pose.pose.orientation, 'w', 0.0), 'its orientation (0, 0, 0, 0)'),
        (lambda m: setattr(m, 'header', header(0)), 'its messages have no stamp'),
    ],
)
def test_what_is_no_pose_is_named(change, words):
    message = odometry(10)
    change(message)
    rig = Rig(**MOUNT).hear(message)
    assert rig.at(10).reason.startswith(f'no odometry from odom: {words}')
    rig.hear(odometry(10.0))
    assert not isinstance(rig.at(10), Refusal)


def test_silence_has_a_reason():
    assert Rig(**MOUNT).at(10).reason == 'no odometry from odom'


def test_after_a_jump_one_picture_has_no_pose_and_says_so():
    rig = Rig(**MOUNT).hear(*driving())
    assert not isinstance(rig.at(12), Refusal)
    rig.hear(odometry(12.05, -3.0), odometry(12.1, -2.975))
    reset = rig.at(12.08)
    assert isinstance(reset, MotionReset)
    assert reset.reason == 'odometry began anew: its position jumped by 4.00 m within 0.05 s'
    assert rig.at(12.1)[0, 3] == pytest.approx(-2.975)


def test_frames_that_change_begin_anew():
    rig = Rig(**MOUNT).hear(*driving())
    rig.at(12)
    rig.hear(odometry(12.05, 1.0, child='base_footprint'))
    assert 'its frames changed' in rig.at(12.05).reason
    assert rig.odometry.moved_frame == 'base_footprint'


def test_turned_pictures_turn_their_optical_frame():
    upside_down = Rig(rotate=180, **MOUNT).hear(*driving()).at(11)
    np.testing.assert_allclose(upside_down, Rig(**MOUNT).hear(*driving()).at(11))


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_an_odd_message_gives_a_pose_or_a_reason():
    rig = Rig(**MOUNT)
    for data in raw_messages(odometry(7, 1.0), 1500):
        with contextlib.suppress(Unreadable):
            message = deserialised(data, Odometry)
            rig.odometry._on_odometry(message)
            found = rig.at(7)
            assert isinstance(found, Refusal) or np.isfinite(found).all()


def test_odometry_that_nothing_provides_is_refused_at_the_start():
    settings = build(DepthNodeSettings, {'scale.source': 'odometry'})
    with pytest.raises(ValueError, match=r'scale\.source is odometry.*set odometry\.topic'):
        check_source(settings, types.SimpleNamespace())
    both = {'odometry.topic': 'odom', 'odometry.fixed_frame': 'odom'}
    with pytest.raises(ValueError, match=r'odometry\.topic and odometry\.fixed_frame'):
        check_source(build(DepthNodeSettings, both), types.SimpleNamespace())


# --- From TF. tf2_ros comes with ROS only: its listener is in test_real_tf2.py.

BY_TF = {'odometry.topic': '', 'odometry.fixed_frame': 'odom'}


def tf_of_drive(rate_hz: int = 20, until_s: float = 12.0) -> TfMount:
    """The drive of `driving`, and a lens 0.25 m ahead that looks ahead."""
    tree = TransformTree()
    for i in range(round((until_s - 10) * rate_hz) + 1):
        add(tree, 'odom', 'base_link', 10 + i / rate_hz, (0.5 * i / rate_hz, 0, 0))
    add(tree, 'base_link', 'optical', None, (0.25, 0, 0), OPTICAL)
    return TfMount(None, tree=tree)


def test_tf_says_how_the_body_moves():
    rig = Rig(tf=tf_of_drive(), by_parameters=True, **BY_TF, **MOUNT)
    expected = Pose(0.5, 0.0, 0.3, 0.0, 0.1)
    found = rig.at(11)
    np.testing.assert_allclose(found[:3, :3], expected.optical_axes, atol=1e-9)
    np.testing.assert_allclose(found[:3, 3], expected.position, atol=1e-9)
    assert rig.at(12.1)[0, 3] == pytest.approx(1.05)
    assert rig.motion.words == 'continued by 0.100 s'
    assert 'the newest transform from base_link to odom is 0.50 s from' in rig.at(12.5).reason
    lost = Rig(tf=tf_of_drive(), by_parameters=True, **BY_TF, **MOUNT, body_frame='nowhere').at(11)
    assert lost.reason.startswith("no transform from nowhere to odom: there is no frame 'nowhere'")


@pytest.mark.parametrize('stamp_s', [9.9, 10.0, 10.001, 11.0, 11.237, 12.0, 12.004, 12.15])
def test_tf_and_messages_give_the_same_pose(stamp_s):
    by_tf = Rig(tf=tf_of_drive(), by_parameters=True, **BY_TF, **MOUNT).at(stamp_s)
    by_messages = Rig(**MOUNT).hear(*driving()).at(stamp_s)
    np.testing.assert_allclose(by_tf, by_messages, atol=1e-9)


def test_tf_says_where_the_lens_is():
    for parameters in ({'odometry.topic': 'odom'}, BY_TF):
        rig = Rig(tf=tf_of_drive(), **parameters, mount_from_tf=True)
        if not rig.odometry.by_tf:
            rig.hear(*driving())
        found = rig.at(11)
        np.testing.assert_allclose(found[:3, 3], (0.75, 0.0, 0.0), atol=1e-9)
        np.testing.assert_allclose(found[:3, :3], Pose().optical_axes, atol=1e-9)


def test_each_camera_moves_with_its_own_frame():
    tf = tf_of_drive()
    add(tf._tree, 'base_link', 'left_view', None, (0.0, 0.15, 0.0), turned(math.pi / 2))
    own = {'cameras': ('front', 'left'), 'mounts.left.body_frame': 'left_view', **MOUNT}
    front = Rig('front', tf=tf, by_parameters=True, **BY_TF, **own).at(11)
    np.testing.assert_allclose(front[:3, 3], (0.5, 0.0, 0.3), atol=1e-9)
    np.testing.assert_allclose(front[:3, 2], (math.cos(0.1), 0, -math.sin(0.1)), atol=1e-9)
    left = Rig('left', tf=tf, by_parameters=True, **BY_TF, **own).at(11)
    np.testing.assert_allclose(left[:3, 3], (0.5, 0.15, 0.3), atol=1e-9)
    np.testing.assert_allclose(left[:3, 2], (0, math.cos(0.1), -math.sin(0.1)), atol=1e-9)


@pytest.mark.parametrize('yaw', [0.0, math.pi / 2, 0.5])
def test_the_imu_tilts_a_camera_that_looks_aside_as_the_body_is_tilted(yaw):
    """By messages of the body, and by TF of a frame that looks as the camera does: the same."""
    tf = tf_of_drive()
    add(tf._tree, 'base_link', 'view', None, (0.0, 0.0, 0.0), turned(yaw))
    own = {'imu_topic': 'imu', 'mounts.camera.camera_yaw': yaw, **MOUNT}
    nodding = imu(11.0, pitch=0.05)
    by_messages = Rig(**own).hear(*driving()).hear(nodding, topic='/imu').at(11)
    by_tf = Rig(tf=tf, by_parameters=True, body_frame='view', **BY_TF, **own)
    np.testing.assert_allclose(by_tf.hear(nodding, topic='/imu').at(11), by_messages, atol=1e-9)


def test_a_message_without_child_frame_cannot_be_asked_of_tf():
    rig = Rig(tf=tf_of_drive(), mount_from_tf=True).hear(odometry(10, child=''))
    assert 'no child_frame_id' in rig.at(10).reason


def test_a_jump_of_tf_begins_anew():
    tf = tf_of_drive(until_s=11)
    rig = Rig(tf=tf, by_parameters=True, **BY_TF, **MOUNT)
    for i in range(10):
        assert not isinstance(rig.at(10.5 + i / 20), Refusal)
    for i in range(4):
        add(tf._tree, 'odom', 'base_link', 11.05 + i / 20, (3.525 + i / 40, 0, 0))
    assert isinstance(rig.at(11.05), MotionReset)
    assert rig.at(11.1)[0, 3] == pytest.approx(3.55)


def test_a_recording_that_begins_again_begins_anew_and_keeps_nothing():
    """Its second time has other poses at the same stamps, as a simulation that was reset."""
    tf = tf_of_drive()
    rig = Rig(tf=tf, by_parameters=True, **BY_TF, **MOUNT)
    assert not isinstance(rig.at(11.9), Refusal)
    for i in range(3):
        add(tf._tree, 'odom', 'base_link', 10 + i / 20, (-1 + i / 40, 0, 0))
    reset = rig.at(10.05)
    assert isinstance(reset, MotionReset)
    assert 'its stamps went back' in reset.reason
    assert rig.at(10.075)[0, 3] == pytest.approx(-0.9625)
    assert isinstance(rig.at(11.0), Refusal)  # known only of the first time


def test_nothing_is_made_up_between_transforms_that_are_far_apart():
    """As with messages: tf2's own buffer would interpolate over ten seconds."""
    tf = tf_of_drive(rate_hz=1)
    rig = Rig(tf=tf, by_parameters=True, **BY_TF, **MOUNT)
    assert not isinstance(rig.at(11.0), Refusal)
    refused = rig.at(11.3)
    assert 'on both sides of the picture are 1.00 s apart, more than 0.5 s' in refused.reason
    assert 'it is not known how fast the robot was' in rig.at(12.1).reason


def test_a_first_transform_is_not_taken_for_a_robot_that_stands():
    rig = Rig(tf=tf_of_drive(until_s=10.0), by_parameters=True, **BY_TF, **MOUNT)
    assert not isinstance(rig.at(10.0), Refusal)
    assert 'these are the first' in rig.at(10.1).reason


def test_a_fixed_frame_in_which_nothing_moves_is_said():
    add((tf := tf_of_drive())._tree, 'base_footprint', 'odom', None)
    parameters = {'odometry.topic': '', 'odometry.fixed_frame': 'optical'}
    stuck = Rig(tf=tf, by_parameters=True, **parameters, **MOUNT)
    assert 'base_link does not move in optical' in stuck.at(11).reason
    assert 'odometry.fixed_frame must be a frame in which' in stuck.at(11).reason
    itself = build(DepthNodeSettings, {'odometry.fixed_frame': 'base_link'})
    with pytest.raises(ValueError, match=r"fixed_frame is 'base_link', the body_frame of camera"):
        check_source(itself, types.SimpleNamespace())


def test_two_publishers_of_a_transform_are_none():
    tf = tf_of_drive(until_s=11)
    for i in range(1, 21):
        for late_s, y_m in ((0.0, 0.0), (0.01, 0.3)):
            add(tf._tree, 'odom', 'base_link', 11 + late_s + i / 20, (0.5 + 0.5 * i / 20, y_m, 0))
    rig = Rig(tf=tf, by_parameters=True, **BY_TF, **MOUNT)
    assert 'says by turns that base_link is in two places' in rig.at(11.95).reason


def test_a_child_that_is_renamed_is_missed_by_name():
    tf = tf_of_drive(until_s=11)
    for i in range(20):
        add(tf._tree, 'odom', 'base', 11 + i / 20, (1.0, 0, 0))
    rig = Rig(tf=tf, by_parameters=True, **BY_TF, **MOUNT)
    assert 'the newest transform from base_link to odom is 0.90 s from' in rig.at(11.9).reason


def test_without_tf2_ros_the_remedy_for_a_fixed_frame_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ValueError, match=r'odometry\.fixed_frame needs tf2_ros.*odometry\.topic'):
        Rig(**BY_TF, **MOUNT)
