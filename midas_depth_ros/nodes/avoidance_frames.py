"""Where the sensor of a scan sits on the robot: from TF, where there is tf2_ros, or by parameters.

A scan's header comes in, a place on the robot goes out, or a `BadScan` whose text says why its
points would be put in a wrong place. Scans of one frame count, those of others are refused.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.time import Time

from midas_depth_ros.avoidance import BadScan, SensorPlace
from midas_depth_ros.nodes.tf_mount import rotation_matrix

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

LEVEL_RAD = 0.1  # a scan that is tilted more than this is none of the robot's plane
FARTHEST_M = 20.0  # no sensor sits so far from its robot


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where a scan's frame is on the robot. `upside_down`: its angles count the other way."""

    place: SensorPlace
    upside_down: bool = False
    by: str = 'parameters'


class ScanFrames:
    """Places the frames of scans on the robot."""

    def __init__(self, node: Node, base_frame: str) -> None:
        """Listens to TF unless `base_frame` is '' or tf2_ros is not installed."""
        self._base_frame = base_frame
        self._buffer: Any = None
        self._failure: type[Exception] = RuntimeError
        self.how = 'parameters: base_frame is empty'
        self._frame: str | None = None  # of the first scan
        self._placed: Placed | None = None
        if not base_frame:
            return
        try:
            import tf2_ros
        except ImportError:
            self.how = 'parameters: tf2_ros is not installed'
            return
        self._failure = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node)
        self.how = f'TF, in {base_frame}'

    @property
    def described(self) -> str:
        """Where the last scan was placed, and who said so."""
        if self._placed is None:
            return self.how
        place = self._placed.place
        return (
            f'frame {self._frame!r} at {place.x:.2f} m, {place.y:.2f} m, {place.yaw:.2f} rad'
            f'{", upside down" if self._placed.upside_down else ""} by {self._placed.by}'
        )

    def place(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> Placed:
        """Where the frame of a scan is, at its stamp if that is of our clock. Raises BadScan."""
        frame = header.frame_id
        if sensor.frame and frame != sensor.frame:
            raise BadScan(f'a scan in frame {frame!r}: sensor.frame is {sensor.frame!r}')
        if not sensor.frame and self._frame not in (None, frame):
            raise BadScan(
                f'a scan in frame {frame!r} among those in {self._frame!r}: one sensor to a topic; '
                'sensor.frame says which one counts'
            )
        placed = Placed(sensor, by='parameters')
        if self._buffer is not None and frame != self._base_frame:
            placed = self._by_tf(header, by_stamp, sensor)
        return placed

    def hold(self, frame: str, placed: Placed) -> None:
        """A scan of this frame is used: those of others are not."""
        self._frame, self._placed = frame, placed

    def _by_tf(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> Placed:
        frame = header.frame_id
        if not frame:
            raise BadScan('a scan without frame_id: TF cannot say where it is')
        when = Time.from_msg(header.stamp) if by_stamp else Time()
        try:
            found = self._buffer.lookup_transform(self._base_frame, frame, when).transform
        except self._failure as error:
            raise BadScan(
                f'no transform from {frame} to {self._base_frame} ({error}): publish one, or set '
                "base_frame to '' and give sensor.x, sensor.y and sensor.yaw"
            ) from error
        q, t = found.rotation, found.translation
        length = math.hypot(q.x, q.y, q.z, q.w)
        if not 0.5 < length < 2.0:
            raise BadScan(f'the transform from {frame} has a quaternion of length {length:.3g}')
        if not math.hypot(t.x, t.y) < FARTHEST_M:
            raise BadScan(f'the transform puts {frame} {t.x:.3g} m, {t.y:.3g} m from the robot')
        axes = rotation_matrix(q)
        tilt = math.acos(float(np.clip(axes[2, 2], -1.0, 1.0)))
        if LEVEL_RAD < tilt < math.pi - LEVEL_RAD:
            raise BadScan(
                f'{frame} is tilted by {math.degrees(tilt):.0f} degrees: its scan is none of the '
                "robot's plane"
            )
        yaw = math.atan2(axes[1, 0], axes[0, 0])
        place = dataclasses.replace(sensor, x=float(t.x), y=float(t.y), yaw=yaw)
        return Placed(place, tilt > math.pi / 2, f'TF, from {frame}')
