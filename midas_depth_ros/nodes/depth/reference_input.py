"""A range sensor that tells what a metre is: LaserScan, Range or PointCloud2 of one camera.

The newest message is kept; with each picture its points are taken into the picture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import LaserScan, PointCloud2, Range

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    ReferencePoints,
    Refusal,
    cloud_points,
    range_points,
    scan_points,
)
from midas_depth_ros.images import NANOSECONDS, stamp_ns
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import cloud_array
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node

MOST_POINTS = 20_000  # of one message
KINDS = {'scan': LaserScan, 'range': Range, 'points': PointCloud2}


class ReferenceInput:
    """The subscription to <c>/reference/<kind>; nothing where the scale has another source."""

    def __init__(self, node: Node, camera: str, source: str) -> None:
        self._node = node
        self._topic = f'{camera}/reference/{source}'
        self._newest: Any = None
        self._subscription = None
        if source in KINDS:
            self._subscription = qos.make_subscription(
                node, KINDS[source], self._topic, self._on_message, qos.LATCHED
            )

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            qos.unsubscribe(self._node, self._subscription)
            self._subscription = None

    @property
    def awaited(self) -> str:
        """The topic that is subscribed to and its type, '' for none."""
        return '' if self._subscription is None else qos.topic_words(self._subscription)

    def points(
        self,
        picture_stamp_ns: int,
        camera: CameraModel,
        mount: CameraMount,
        settings: DepthNodeSettings,
    ) -> ReferencePoints | Refusal:
        """The newest message's points in the pixels of `camera`, or why there are none."""
        message = self._newest
        if self._subscription is not None:
            mixed = qos.several_publishers(self._node, self._subscription, 'measurements')
            if mixed:
                return Refusal(mixed)
        if message is None:
            return Refusal('; '.join([f'nothing on {self._topic} yet', *self._unheard()]))
        age_s = abs(picture_stamp_ns - stamp_ns(message.header)) / NANOSECONDS
        if age_s > settings.reference.max_age:
            return Refusal(f'{self._topic} is {age_s:.2f} s from the picture')
        try:
            return _points(message, optical_from_sensor(mount, settings), camera)
        except (ValueError, ArithmeticError, MemoryError) as error:
            return Refusal(f'{self._topic}: {error or type(error).__name__}')

    def _unheard(self) -> list[str]:
        """Why publishers of the topic cannot be heard."""
        if self._subscription is None:
            return []
        camera = self._topic.partition('/reference/')[0]
        remedies = {
            qos.type_name(kind): f'set scale.source to {source}, and remap '
            f'{camera}/reference/{source} to this topic'
            for source, kind in KINDS.items()
        }
        return qos.publishers_of(self._node, self._subscription, remedies)[1]

    def _on_message(self, message: Any) -> None:
        self._newest = message


def _points(message: Any, transform: np.ndarray, camera: CameraModel) -> ReferencePoints | Refusal:
    """The points of a message in the pixels of `camera`. Raises ValueError and ArithmeticError."""
    if isinstance(message, Range):
        limits = {'range_min': message.min_range, 'range_max': message.max_range}
        return range_points(message.range, transform, camera, **limits)
    if isinstance(message, LaserScan):
        limits = {'range_min': message.range_min, 'range_max': message.range_max}
        step = stride(len(message.ranges))
        return scan_points(
            message.ranges[::step],
            message.angle_min,
            message.angle_increment * step,
            transform,
            camera,
            **limits,
        )
    points = cloud_array(message)
    return cloud_points(points[:: stride(len(points))], transform, camera)


def stride(count: int) -> int:
    """Of so many points every how many are used: each costs, and a fit wants no more."""
    return max(1, -(-count // MOST_POINTS))


def optical_from_sensor(mount: CameraMount, settings: DepthNodeSettings) -> np.ndarray:
    """(4, 4) float64: from the frame of the reference sensor into the optical frame."""
    reference = settings.reference
    cos, sin = math.cos(reference.yaw), math.sin(reference.yaw)
    body_from_sensor = np.array(
        [
            [cos, -sin, 0.0, reference.x],
            [sin, cos, 0.0, reference.y],
            [0.0, 0.0, 1.0, reference.z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    body_from_optical = np.eye(4)
    body_from_optical[:3, :3] = mount.body_axes()
    body_from_optical[2, 3] = mount.height_m
    return np.linalg.inv(body_from_optical) @ body_from_sensor
