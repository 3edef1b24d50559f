"""The mount from TF. tf2_ros comes with ROS only: its listener is in test_real_tf2.py."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from frames import add, quaternion_of, recorded, tf_bytes, turned

from midas_depth_ros.geometry import CameraMount, Refusal, TransformTree
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.message_bytes import read_transforms
from midas_depth_ros.nodes.bag.pipeline import OfflineNode
from midas_depth_ros.nodes.ros.boundary import faults_of
from midas_depth_ros.nodes.ros.transforms import TfMount, TreeFeeder
from midas_depth_ros.options.depth import DepthNodeSettings

NOW_S = 100.0
NOW = 100_000_000_000


def known(
    mount: CameraMount, yaw: float = 0.0, x: float = 0.0, stamp_s: float | None = None
) -> TfMount:
    """Knows how a camera is mounted: always, or at one stamp."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    axes = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ mount.body_axes()
    tree = TransformTree()
    add(tree, 'base_link', 'optical', stamp_s, (x, 0, mount.height_m), quaternion_of(axes))
    return TfMount(None, tree=tree)


@pytest.mark.parametrize(('pitch', 'roll'), [(0.0, 0.0), (0.3, 0.0), (-0.2, 0.1), (0.5, -0.3)])
def test_the_mount_comes_back_from_its_transform(pitch, roll):
    found = known(CameraMount(0.42, pitch, roll)).mount('optical', 'base_link', NOW)
    assert (found.height_m, found.pitch_rad, found.roll_rad) == pytest.approx((0.42, pitch, roll))


def test_a_camera_that_looks_aside_is_refused():
    found = known(CameraMount(0.3, 0.1), yaw=0.5).mount('optical', 'base_link', NOW)
    assert isinstance(found, Refusal)
    assert '29 degrees to the side' in found.reason


@pytest.mark.parametrize(('late_ms', 'good'), [(0, True), (60, True), (-60, True), (300, False)])
def test_a_moving_mount_is_that_of_the_picture_or_none(late_ms, good):
    tf = known(CameraMount(0.3, 0.1), stamp_s=NOW_S - late_ms / 1000)
    mount = tf.mount('optical', 'base_link', NOW)
    if good:
        assert mount.pitch_rad == pytest.approx(0.1)
    else:
        assert mount.reason.startswith('the newest transform from optical to base_link is 0.30 s')


@pytest.mark.parametrize(
    ('apart_s', 'pitch', 'at_s', 'good'),
    [
        (0.4, 0.3, 0.2, True),
        (6.0, 0.7, 3.0, False),
        (6.0, 0.7, 0.05, True),  # as near as the mount may be from the picture
        (6.0, 0.7, 5.95, True),
        (6.0, 0.102, 3.0, True),  # it stands in its joint
    ],
)
def test_a_joint_that_moved_between_rare_transforms_is_nowhere(apart_s, pitch, at_s, good):
    tree = TransformTree()
    for seconds, angle in ((10.0, 0.1), (10.0 + apart_s, pitch)):
        quaternion = quaternion_of(CameraMount(0.3, angle).body_axes())
        add(tree, 'base', 'optical', seconds, (0, 0, 0.3), quaternion)
    found = TfMount(None, tree=tree).mount('optical', 'base', round((10 + at_s) * 1e9))
    assert isinstance(found, CameraMount) == good, found
    if not good:
        assert f'{apart_s:.2f} s apart' in found.reason


@pytest.mark.parametrize(('pan_rad', 'good'), [(0.0, True), (0.2, False)])
def test_a_joint_that_is_seldom_published_may_stand_while_another_moves(pan_rad, good):
    """A pan once a second, a tilt that nods at 50 Hz: only where the pan moved is it unknown."""
    tree, upright = TransformTree(), CameraMount(0.3, 0.0).body_axes()
    for second in range(4):
        half = 0.5 * pan_rad * second
        add(tree, 'base', 'pan', 10 + second, (0, 0, 0.3), (0, 0, np.sin(half), np.cos(half)))
    for number in range(151):
        half = 0.05 * np.sin(0.2 * number)
        add(tree, 'pan', 'tilt', 10 + number / 50, (0, 0, 0), (0, np.sin(half), 0, np.cos(half)))
    add(tree, 'tilt', 'optical', None, (0, 0, 0), quaternion_of(upright))
    found = [
        TfMount(None, tree=tree).lens('optical', 'base', round((10.4 + second) * 1e9))
        for second in range(2)
    ]
    assert all(isinstance(each, Refusal) != good for each in found), found
    if not good:
        assert found[0].reason.startswith('pan has moved')


def test_a_camera_that_two_publishers_place_is_nowhere():
    tree = TransformTree()
    for number in range(20):
        quaternion = quaternion_of(CameraMount(0.3, 0.1).body_axes())
        place = 0, 0, 0.3 if number % 2 else 1.3
        add(tree, 'base', 'optical', 10 + 0.1 * number, place, quaternion)
    found = TfMount(None, tree=tree).mount('optical', 'base', round(11.9e9))
    assert 'in two places' in found.reason


def test_a_lens_beside_the_frame_is_refused():
    refused = known(CameraMount(0.3, 0.1), x=0.2).mount('optical', 'base_link', NOW)
    assert 'the lens of optical is 0.20 m from the origin of base_link' in refused.reason


def test_a_missing_transform_is_said():
    found = TfMount(None, tree=TransformTree()).mount('optical', 'base_link', NOW)
    assert found == Refusal(
        'no transform from optical to base_link: nothing was heard on /tf and /tf_static'
    )
    found = known(CameraMount(0.3, 0.1)).lens('optical', 'base_footprint', NOW)
    assert "there is no frame 'base_footprint'; there are: 'base_link', 'optical'" in found.reason


def test_a_frame_named_by_a_message_cannot_write_into_terminals():
    tf, hostile = known(CameraMount(0.3, 0.1)), 'optical\x1b[2J\n\u202eFATAL'
    for found in (
        tf.mount(hostile, 'base_link', NOW),
        tf.lens(hostile, 'base_link', NOW),
        tf.pose(hostile, 'base_link', NOW, 1.0),
        Refusal(f'the lens of {hostile} is far'),
    ):
        assert isinstance(found, Refusal)
        assert found.reason.isprintable()
        assert r'\x1b[2J\n\u202eFATAL' in found.reason


def test_without_tf2_ros_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ValueError, match=r'mount_from_tf needs tf2_ros.*apt: ros-'):
        TfMount(None)


def test_the_listener_of_tf2_ros_fills_the_tree(monkeypatch):
    """With what tf2_ros calls: a buffer's set_transform and set_transform_static."""
    made = types.ModuleType('tf2_ros')
    closed = []
    made.TransformListener = lambda buffer, node: types.SimpleNamespace(
        buffer=buffer, unregister=lambda: closed.append(True)
    )
    monkeypatch.setitem(sys.modules, 'tf2_ros', made)
    tf = TfMount(None)
    feeder = tf._listener.buffer
    assert isinstance(feeder, TreeFeeder)
    feeder.set_transform(recorded('odom', 'base_link', NOW_S - 0.2, (1, 0, 0)), 'somebody')
    feeder.set_transform(recorded('odom', 'base_link', NOW_S + 0.2, (2, 0, 0)), 'somebody')
    feeder.set_transform_static(recorded('base_link', 'eye', 0, (0.1, 0, 0.2)), 'somebody')
    feeder.set_transform(recorded('odom', 'odom', NOW_S), 'somebody')
    assert tf.pose('base_link', 'odom', NOW + 1, 0.2).position[0] == pytest.approx(1.5)
    np.testing.assert_allclose(tf.lens('eye', 'base_link', 5)[:3, 3], (0.1, 0, 0.2))
    tf.close()
    tf.close()
    assert closed == [True]


# --- Recorded transforms, which are read without tf2.


def offline() -> tuple[TfMount, OfflineNode]:
    node = OfflineNode(DepthNodeSettings(), lambda *_: None, lambda *_: None)
    return TfMount.of_recording(node), node


def deliver(node: OfflineNode, topic: str, data: bytes) -> None:
    for subscription in node.subscriptions[topic]:
        subscription.deliver(data)


def test_recorded_bytes_are_read_as_they_were_written():
    sent = [
        recorded('odom', 'base_link', 12.25, (1.5, -2.0, 0.25), turned(0.5)),
        recorded('base_link', 'a_frame_of_another_length', 7.0, (0, 0, 1)),
        recorded('', 'x', 0.0),
    ]
    found = read_transforms(tf_bytes(*sent))
    assert [each.child_frame_id for each in found] == [each.child_frame_id for each in sent]
    assert found[0].header == ((12, 250_000_000), 'odom')
    assert found[0].numbers == pytest.approx((1.5, -2.0, 0.25, *turned(0.5)))
    assert found[1].numbers == (0, 0, 1, 0, 0, 0, 1)
    assert read_transforms(tf_bytes()) == []


def test_a_recording_says_where_frames_are():
    tf, node = offline()
    deliver(node, '/tf_static', tf_bytes(recorded('base_link', 'eye', 0, (0.1, 0, 0.2))))
    for stamp_s, x in ((10.0, 1.0), (10.1, 2.0)):
        deliver(node, '/tf', tf_bytes(recorded('odom', 'base_link', stamp_s, (x, 0, 0))))
    assert tf.pose('eye', 'odom', 10_050_000_000, 0.2).position == pytest.approx((1.6, 0, 0.2))
    assert not faults_of(node)


def test_a_damaged_message_is_a_fault_and_a_bad_transform_is_left_out():
    tf, node = offline()
    good = recorded('odom', 'base_link', 10.0, (1.0, 0, 0))
    bad = recorded('base_link', 'wheel', 10.0, (np.nan, 0, 0))
    deliver(node, '/tf', tf_bytes(bad, good))
    assert not faults_of(node)
    assert tf.lens('base_link', 'odom', 10 * 10**9)[0, 3] == 1.0
    assert "'wheel' in 'base_link': (nan, 0, 0)" in tf.lens('wheel', 'odom', 10 * 10**9).reason
    deliver(node, '/tf', tf_bytes(good, good)[:-9])
    assert 'ends within transform' in faults_of(node)['/tf'].last


def test_any_bytes_are_transforms_or_refused():
    sent = bytearray(tf_bytes(recorded('odom', 'base_link', 10.0), recorded('a', 'b', 1.0)))
    random = np.random.default_rng(3)
    for _ in range(1500):
        data = bytearray(sent)
        for _ in range(random.integers(1, 6)):
            data[random.integers(len(data))] = random.integers(256)
        try:
            found = read_transforms(bytes(data[: random.integers(len(data) + 1)]))
        except ImageError:
            continue
        assert len(found) <= 2
