"""Where a camera was mounted when its picture was taken: by stamp, by camera, and never guessed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu

from midas_depth_ros.geometry import CameraMount, Refusal
from midas_depth_ros.nodes.bag.pipeline import OfflineNode
from midas_depth_ros.nodes.depth.metric_sources import (
    Attitude,
    Attitudes,
    Mounting,
    mount_of,
    shared_frame,
)
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

SECOND = 1_000_000_000
HEIGHT = {'camera_height': 0.3, 'camera_pitch': 0.1}


def imu(stamp_s: float, roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> bytes:
    message = Imu()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(stamp_s * SECOND), SECOND)
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    message.orientation = Quaternion(
        w=cr * cp * cy + sr * sp * sy,
        x=sr * cp * cy - cr * sp * sy,
        y=cr * sp * cy + sr * cp * sy,
        z=cr * cp * sy - sr * sp * cy,
    )
    return bytes(serialize_message(message))


def mounted(camera='camera', heard=(), **parameters):
    """The Mounting of a camera that has heard these messages of an Imu."""
    settings = build(DepthNodeSettings, parameters)
    node = OfflineNode(settings, lambda *_: None, lambda *_: None)
    mounting = Mounting(node, camera)
    for data in heard:
        for subscription in node.subscriptions['/imu']:
            subscription.deliver(data)
    return mounting


def at(mounting, stamp_s):
    return mounting.at(round(stamp_s * SECOND), 'optical')


def test_between_two_messages_the_attitude_is_interpolated():
    heard = [imu(10.0, pitch=0.0), imu(10.1, pitch=0.2), imu(10.2, pitch=-0.1, roll=0.1)]
    mounting = mounted(heard=heard, imu_topic='imu', **HEIGHT)
    assert at(mounting, 10.0).pitch_rad == pytest.approx(0.1)
    assert at(mounting, 10.05).pitch_rad == pytest.approx(0.2)
    assert at(mounting, 10.1).pitch_rad == pytest.approx(0.3)
    later = at(mounting, 10.15)
    assert (later.pitch_rad, later.roll_rad) == pytest.approx((0.15, 0.05), abs=1e-3)


def test_not_the_newest_counts_but_what_was_at_the_stamp():
    heard = [imu(10.0 + i / 100, pitch=0.3 * math.sin(0.2 * i)) for i in range(100)]
    mounting = mounted(heard=heard, imu_topic='imu', **HEIGHT)
    for i in (3, 20, 50, 90):
        assert at(mounting, 10.0 + i / 100).pitch_rad == pytest.approx(
            0.1 + 0.3 * math.sin(0.2 * i)
        )


@pytest.mark.parametrize(
    ('stamp_s', 'words'),
    [
        (9.5, 'nearest is 0.50 s away'),
        (10.35, 'nearest is 0.25 s away'),
        (12.0, 'nearest is 1.00 s away'),
        (1e9, 'by its stamp'),
    ],
)
def test_with_none_near_the_stamp_the_mount_is_refused(stamp_s, words):
    heard = [imu(10.0), imu(10.1), imu(11.0)]  # a gap that nobody can bridge
    mounting = mounted(heard=heard, imu_topic='imu', **HEIGHT)
    refused = at(mounting, stamp_s)
    assert isinstance(refused, Refusal)
    assert 'no orientation from imu near the picture' in refused.reason
    assert words in refused.reason
    assert isinstance(mounting.pitch_at(round(stamp_s * SECOND), 'optical'), Refusal)
    assert isinstance(at(mounting, 10.05), CameraMount)


def test_an_imu_that_says_nothing_is_refused_with_the_reason():
    assert 'no orientation from imu' in at(mounted(imu_topic='imu', **HEIGHT), 1.0).reason
    unstamped = mounted(heard=[imu(0.0)], imu_topic='imu', **HEIGHT)
    assert 'its messages have no stamp' in at(unstamped, 1.0).reason
    message = Imu()
    message.header.stamp.sec = 1
    message.orientation.w = 1.0
    message.orientation_covariance[0] = -1.0
    without = mounted(heard=[bytes(serialize_message(message))], imu_topic='imu', **HEIGHT)
    assert 'no valid orientation' in at(without, 1.0).reason


def test_late_messages_are_left_out_and_a_clock_that_goes_back_begins_anew():
    attitudes = Attitudes()
    for stamp, pitch in ((10.0, 0.1), (10.2, 0.2), (10.1, 0.9), (10.2, 0.9)):
        attitudes.add(round(stamp * SECOND), Attitude(0.0, pitch))
    assert attitudes.at(round(10.1 * SECOND)).pitch_rad == pytest.approx(0.15)
    attitudes.add(3 * SECOND, Attitude(0.0, 0.5))
    assert attitudes.at(3 * SECOND).pitch_rad == 0.5
    assert attitudes.at(10 * SECOND) == pytest.approx(7.0)


@pytest.mark.parametrize('back_s', [0.2, 0.5, 0.9])
def test_a_clock_that_is_set_back_a_little_begins_anew(back_s):
    attitudes = Attitudes()
    for i in range(100):
        attitudes.add(round((10 + i / 100) * SECOND), Attitude(0.0, 0.1))
    for i in range(100, 104):
        attitudes.add(round((10 - back_s + i / 100) * SECOND), Attitude(0.0, 0.3))
    found = attitudes.at(round((10 - back_s + 1.03) * SECOND))
    assert isinstance(found, Attitude)
    assert found.pitch_rad == 0.3


def test_batches_of_an_imu_that_overlap_are_no_clock_that_is_set_back():
    attitudes = Attitudes()
    for batch in range(20):
        for i in range(48):  # 400 Hz, ten times a second
            stamp_s = 10 + batch / 10 + (i - 8) / 400
            attitudes.add(round(stamp_s * SECOND), Attitude(0.0, 0.1 * stamp_s))
    for stamp_s in (10.05, 10.5, 11.0, 11.95):
        found = attitudes.at(round(stamp_s * SECOND))
        assert isinstance(found, Attitude)
        assert found.pitch_rad == pytest.approx(0.1 * stamp_s, abs=1e-4)


def test_a_turn_through_half_a_circle_is_bridged_the_short_way():
    attitudes = Attitudes()
    attitudes.add(0, Attitude(math.pi - 0.1, 0.0))
    attitudes.add(SECOND // 10, Attitude(-math.pi + 0.1, 0.0))
    assert abs(attitudes.at(SECOND // 20).roll_rad) == pytest.approx(math.pi)


@pytest.mark.parametrize(
    ('yaw', 'expected'),
    [(0.0, (0.16, 0.0)), (math.pi, (0.04, 0.0)), (math.pi / 2, (0.1, 0.06))],
)
def test_the_pitch_of_the_body_is_what_it_is_for_a_camera_that_looks_elsewhere(yaw, expected):
    parameters = {'mounts.camera.camera_yaw': yaw, 'imu_topic': 'imu', **HEIGHT}
    mount = at(mounted(heard=[imu(10.0, pitch=0.06, yaw=1.0)], **parameters), 10.0)
    assert (mount.pitch_rad, mount.roll_rad) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize('camera_yaw', [0.0, 0.7, -2.0, math.pi])
def test_a_tilted_body_tilts_the_floor_as_geometry_says(camera_yaw):
    roll, pitch, mount = 0.12, -0.2, CameraMount(0.5, 0.25, 0.1)
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    body = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array(
        [[1, 0, 0], [0, cr, -sr], [0, sr, cr]]
    )
    cy, sy = math.cos(camera_yaw), math.sin(camera_yaw)
    aside = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    world_from_optical = body @ aside @ mount.body_axes()
    tilted = mount.tilted(roll, pitch, camera_yaw)
    np.testing.assert_allclose(tilted.ground_normal(), -world_from_optical[2], atol=1e-12)


TWO = {'cameras': ('front', 'rear'), **HEIGHT}


def test_two_cameras_in_one_frame_have_no_metres():
    for camera in ('front', 'rear'):
        refused = at(mounted(camera, **TWO), 1.0)
        assert isinstance(refused, Refusal)
        assert "would both measure in the frame 'base_link'" in refused.reason
        assert f'mounts.{camera}.body_frame' in refused.reason


def test_each_camera_has_its_own_mount_and_frame():
    own = {
        **TWO,
        'mounts.rear.camera_height': 0.5,
        'mounts.rear.camera_pitch': 0.2,
        'mounts.rear.body_frame': 'rear_view',
    }
    front, rear = (mounted(camera, **own) for camera in ('front', 'rear'))
    assert (front.body_frame, rear.body_frame) == ('base_link', 'rear_view')
    assert at(front, 1.0) == CameraMount(0.3, 0.1)
    assert at(rear, 1.0) == CameraMount(0.5, 0.2)
    assert rear.pitch_at(0, '') == pytest.approx(0.2)
    assert mount_of(build(DepthNodeSettings, own), 'front').camera_roll == 0.0


def test_who_names_one_frame_for_both_has_said_so():
    same = {**TWO, 'mounts.front.body_frame': 'base', 'mounts.rear.body_frame': 'base'}
    assert isinstance(at(mounted('front', **same), 1.0), CameraMount)
    half = {**TWO, 'mounts.front.body_frame': 'base_link'}
    assert shared_frame(build(DepthNodeSettings, half), 'front')


def test_an_imu_of_its_own_is_for_one_camera_only():
    own = {**TWO, 'mounts.rear.body_frame': 'rear_view', 'mounts.rear.imu_topic': 'imu'}
    rear = mounted('rear', heard=[imu(5.0, pitch=0.05)], **own)
    assert at(rear, 5.0).pitch_rad == pytest.approx(0.15)
    assert isinstance(at(rear, 7.0), Refusal)
    assert at(mounted('front', **own), 7.0).pitch_rad == pytest.approx(0.1)


def test_closeness_takes_the_pitch_of_the_stamp_and_needs_no_height():
    heard = [imu(10.0, pitch=0.05)]
    mounting = mounted(heard=heard, imu_topic='imu', camera_pitch=0.1)
    assert mounting.pitch_at(10 * SECOND, '') == pytest.approx(0.15)
    assert math.isnan(mounted().pitch_at(0, ''))
    assert mounted(camera_pitch=0.2).pitch_at(0, '') == pytest.approx(0.2)
