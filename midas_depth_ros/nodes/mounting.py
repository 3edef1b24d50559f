"""How the camera is mounted now: from parameters or TF, and from an Imu where one is named."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sensor_msgs.msg import Imu

from midas_depth_ros.geometry import CameraMount, MountError, Refusal
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.settings import DepthNodeSettings
from midas_depth_ros.nodes.tf_mount import TfMount

if TYPE_CHECKING:
    from rclpy.node import Node

IMU_TIMEOUT_S = 0.5


@dataclasses.dataclass(frozen=True)
class Attitude:
    """Roll (right side down is positive) and pitch (nose down is positive), when it was heard."""

    roll_rad: float
    pitch_rad: float
    received_s: float


class Mounting:
    """Gives the mount of the cameras; a silent or senseless Imu means that there is none."""

    def __init__(
        self,
        node: Node,
        settings: Callable[[], DepthNodeSettings],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives the seconds by which an Imu is silent; a bag that is read has its own."""
        self._clock = clock
        self._settings = settings
        self._attitude: Attitude | None = None
        self._node = node
        topic = settings().imu_topic
        self._subscription = (
            qos.make_subscription(node, Imu, topic, self._on_imu, qos.NEWEST_IMAGE)
            if topic
            else None
        )

        self._tf = TfMount(node) if settings().mount_from_tf else None

    def close(self) -> None:
        """Unsubscribe."""
        if self._tf is not None:
            self._tf.close()
            self._tf = None
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def now(self, optical_frame: str) -> CameraMount | Refusal:
        """The mount of the camera with this frame_id, or why it is not known."""
        settings = self._settings()
        if self._tf is not None:
            fixed = self._tf.mount(optical_frame, settings.body_frame)
        else:
            fixed = from_parameters(settings)
        if isinstance(fixed, Refusal):
            return fixed
        roll, pitch = fixed.roll_rad, fixed.pitch_rad
        if self._subscription is not None:
            attitude = self._attitude
            if attitude is None or self._clock() - attitude.received_s > IMU_TIMEOUT_S:
                return Refusal(f'no orientation from {settings.imu_topic}')
            roll, pitch = roll + attitude.roll_rad, pitch + attitude.pitch_rad
        try:
            return CameraMount(fixed.height_m, pitch, roll)
        except MountError as error:
            return Refusal(str(error))

    def _on_imu(self, message: Imu) -> None:
        angles = roll_and_pitch(message)
        if angles is not None:
            self._attitude = Attitude(*angles, self._clock())


def from_parameters(settings: DepthNodeSettings) -> CameraMount | Refusal:
    """The mount that the parameters tell."""
    for name in ('camera_height', 'camera_pitch'):
        if math.isnan(getattr(settings, name)):
            return Refusal(f'{name} is not set')
    try:
        return CameraMount(settings.camera_height, settings.camera_pitch, settings.camera_roll)
    except MountError as error:
        return Refusal(str(error))


def roll_and_pitch(message: Imu) -> tuple[float, float] | None:
    """Roll and pitch in radians of an Imu in a body frame (REP 103, 145), or None without one.

    A first element of -1 in orientation_covariance means that there is no orientation.
    """
    q = message.orientation
    norm = math.sqrt(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w)
    if not math.isfinite(norm) or abs(norm - 1) > 0.05 or message.orientation_covariance[0] == -1:
        return None
    x, y, z, w = q.x / norm, q.y / norm, q.z / norm, q.w / norm
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    return roll, pitch
