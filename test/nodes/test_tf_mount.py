"""The mount from TF. tf2_ros comes with ROS only; where it is missing a stand-in answers."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped

from midas_depth_ros.geometry import CameraMount, Refusal
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.nodes.depth.metric_sources import TfMount, rotation_matrix

NOW = 100_000_000_000


class TransformException(Exception):
    """As tf2's."""


class Buffer:
    """Knows one transform."""

    found: TransformStamped | None = None
    always = True  # a static one: it holds for every moment

    def lookup_transform(self, target, source, time):
        if self.found is None:
            raise TransformException(f'{source} is not in the graph')
        stamp = stamp_ns(self.found.header)
        if not self.always and time.nanoseconds not in (0, stamp):
            raise TransformException('would require extrapolation')
        return self.found


class TransformListener:
    """Listens to nothing."""

    def __init__(self, buffer, node):
        self.buffer = buffer

    def unregister(self):
        self.buffer = None


@pytest.fixture
def tf2(monkeypatch):
    module = types.ModuleType('tf2_ros')
    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformException = TransformException
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    return module


def quaternion(matrix) -> Quaternion:
    """Of a rotation matrix, by the eigenvector that belongs to it."""
    m = matrix
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    x, y, z, w = np.linalg.eigh(k)[1][:, -1]
    return Quaternion(x=x, y=y, z=z, w=w)


def transform(mount: CameraMount, yaw: float = 0.0) -> TransformStamped:
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ mount.body_axes()
    message = TransformStamped()
    message.transform.rotation = quaternion(turned)
    message.transform.translation.z = mount.height_m
    return message


@pytest.mark.parametrize(('pitch', 'roll'), [(0.0, 0.0), (0.3, 0.0), (-0.2, 0.1), (0.5, -0.3)])
def test_the_mount_comes_back_from_its_transform(tf2, monkeypatch, pitch, roll):
    mount = CameraMount(0.42, pitch, roll)
    monkeypatch.setattr(Buffer, 'found', transform(mount))
    np.testing.assert_allclose(
        rotation_matrix(Buffer.found.transform.rotation), mount.body_axes(), atol=1e-9
    )
    found = TfMount(None).mount('optical', 'base_footprint', NOW)
    assert (found.height_m, found.pitch_rad, found.roll_rad) == pytest.approx((0.42, pitch, roll))


def test_a_camera_that_looks_aside_is_refused(tf2, monkeypatch):
    monkeypatch.setattr(Buffer, 'found', transform(CameraMount(0.3, 0.1), yaw=0.5))
    found = TfMount(None).mount('optical', 'base_link', NOW)
    assert isinstance(found, Refusal)
    assert '29 degrees to the side' in found.reason


@pytest.mark.parametrize(('late_ms', 'good'), [(0, True), (60, True), (-60, True), (300, False)])
def test_a_moving_mount_is_that_of_the_picture_or_none(tf2, monkeypatch, late_ms, good):
    found = transform(CameraMount(0.3, 0.1))
    found.header.stamp.sec, found.header.stamp.nanosec = divmod(NOW - late_ms * 10**6, 10**9)
    monkeypatch.setattr(Buffer, 'found', found)
    monkeypatch.setattr(Buffer, 'always', False)
    mount = TfMount(None).mount('optical', 'base_link', NOW)
    if good:
        assert mount.pitch_rad == pytest.approx(0.1)
    else:
        assert 'is 0.30 s from the picture' in mount.reason


def test_a_lens_beside_the_frame_is_refused(tf2, monkeypatch):
    found = transform(CameraMount(0.3, 0.1))
    found.transform.translation.x = 0.2
    monkeypatch.setattr(Buffer, 'found', found)
    refused = TfMount(None).mount('optical', 'base_link', NOW)
    assert 'the lens of optical is 0.20 m from the origin of base_link' in refused.reason


def test_a_missing_transform_is_said(tf2):
    found = TfMount(None).mount('optical', 'base_link', NOW)
    assert found == Refusal('no transform from optical to base_link: optical is not in the graph')


def test_without_tf2_ros_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ValueError, match=r'mount_from_tf needs tf2_ros.*apt: ros-'):
        TfMount(None)
