"""The mount from TF. tf2_ros comes with ROS only; where it is missing a stand-in answers."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped

from midas_depth_ros.geometry import CameraMount, Refusal
from midas_depth_ros.nodes.tf_mount import TfMount, rotation_matrix


class TransformException(Exception):
    """As tf2's."""


class Buffer:
    """Knows one transform."""

    found: TransformStamped | None = None

    def lookup_transform(self, target, source, time):
        if self.found is None:
            raise TransformException(f'{source} is not in the graph')
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
    found = TfMount(None).mount('optical', 'base_footprint')
    assert (found.height_m, found.pitch_rad, found.roll_rad) == pytest.approx((0.42, pitch, roll))


def test_a_camera_that_looks_aside_is_refused(tf2, monkeypatch):
    monkeypatch.setattr(Buffer, 'found', transform(CameraMount(0.3, 0.1), yaw=0.5))
    found = TfMount(None).mount('optical', 'base_link')
    assert isinstance(found, Refusal)
    assert '29 degrees aside' in found.reason


def test_a_missing_transform_is_said(tf2):
    found = TfMount(None).mount('optical', 'base_link')
    assert found == Refusal('no transform from optical to base_link: optical is not in the graph')


def test_without_tf2_ros_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ValueError, match=r'mount_from_tf needs tf2_ros.*apt: ros-'):
        TfMount(None)
