"""The camera's mount from TF, where tf2_ros is installed (every ROS 2 from apt)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.time import Time

from midas_depth_ros.geometry import CameraMount, MountError, Refusal

if TYPE_CHECKING:
    from rclpy.node import Node


class TfMount:
    """Listens to TF. Raises ValueError where tf2_ros is not installed."""

    def __init__(self, node: Node) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            raise ValueError(
                f'mount_from_tf needs tf2_ros ({error}): install it (apt: '
                'ros-$ROS_DISTRO-tf2-ros-py), or give camera_height and camera_pitch instead'
            ) from error
        self._failure = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node)

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()
        self._listener = None

    def mount(self, optical_frame: str, body_frame: str) -> CameraMount | Refusal:
        """The newest mount of a camera, or why there is none."""
        try:
            found = self._buffer.lookup_transform(body_frame, optical_frame, Time()).transform
        except self._failure as error:
            return Refusal(f'no transform from {optical_frame} to {body_frame}: {error}')
        try:
            return CameraMount.from_axes(rotation_matrix(found.rotation), found.translation.z)
        except MountError as error:
            return Refusal(str(error))


def rotation_matrix(q: Any) -> np.ndarray:
    """(3, 3) float64 of a geometry_msgs/Quaternion."""
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / math.hypot(q.x, q.y, q.z, q.w)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
