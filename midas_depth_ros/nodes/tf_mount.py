"""The camera's mount from TF, where tf2_ros is installed (every ROS 2 from apt)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.time import Time

from midas_depth_ros.geometry import CameraMount, MountError, Refusal, turned_axes
from midas_depth_ros.nodes.messages import stamp_ns
from midas_depth_ros.nodes.scheduling import NANOSECONDS

if TYPE_CHECKING:
    from rclpy.node import Node

NEAR_S = 0.1  # a transform is of a picture's time if it is no farther from it
MOST_ASIDE_M = 0.05  # of the lens from the body frame's origin, seen from above


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

    def mount(
        self, optical_frame: str, body_frame: str, stamp: int, rotate: int = 0
    ) -> CameraMount | Refusal:
        """The mount of a camera at a stamp (ns), or why there is none.

        rotate: by how many degrees its pictures are turned. TF tells of the camera as it is, the
        mount is that of the turned pictures. Where TF has nothing for that moment, what is newest
        will do if it is near.
        """
        try:
            found = self._at(optical_frame, body_frame, stamp)
        except self._failure as error:
            return Refusal(f'no transform from {optical_frame} to {body_frame}: {error}')
        if isinstance(found, Refusal):
            return found
        aside = math.hypot(found.translation.x, found.translation.y)
        if not aside <= MOST_ASIDE_M:
            return Refusal(
                f'the lens of {optical_frame} is {aside:.2f} m from the origin of {body_frame} as '
                'seen from above: name a frame below the lens, or distances would begin elsewhere'
            )
        try:
            axes = turned_axes(rotation_matrix(found.rotation), rotate)
            return CameraMount.from_axes(axes, found.translation.z)
        except MountError as error:
            return Refusal(str(error))

    def _at(self, optical_frame: str, body_frame: str, stamp: int) -> Any:
        """A geometry_msgs/Transform, or a Refusal; raises what tf2 does."""
        try:
            moment = Time(nanoseconds=stamp)
            return self._buffer.lookup_transform(body_frame, optical_frame, moment).transform
        except self._failure:
            newest = self._buffer.lookup_transform(body_frame, optical_frame, Time())
        away_s = abs(stamp_ns(newest.header) - stamp) / NANOSECONDS
        if away_s > NEAR_S:
            return Refusal(
                f'the newest transform from {optical_frame} to {body_frame} is {away_s:.2f} s from '
                'the picture by its stamp'
            )
        return newest.transform


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
