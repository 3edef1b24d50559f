"""What was seen a moment ago and is out of view now: beside the robot, or below the camera.

A camera loses sight of things as the robot passes or turns. They are kept for some seconds and
carried along by the robot's own motion, until a beam tells otherwise.
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.control.corridor import Pose
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView

MOST_POINTS = 2000


class ObstacleMemory:
    """Points (m) on the robot as it was at the newest scan; those of that scan included."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.x = self.y = self._seen_s = np.empty(0)

    def see(self, view: ScanView, seen_s: float, moved: Pose, options: AvoidanceOptions) -> None:
        """Take in a scan of the moment `seen_s`; `moved` is the robot's motion since the last one.

        Older points stay if they are near and recent, and no beam tells of their bearing, or they
        are so near the sensor that it may miss them.
        """
        x, y = moved.to_now(self.x, self.y)
        near = np.hypot(x, y) <= options.slow_distance + options.robot_front
        recent = self._seen_s >= seen_s - options.memory  # also where a moment is infinite
        place = options.sensor
        overlooked = np.hypot(x - place.x, y - place.y) < place.blind_range
        kept = np.flatnonzero(near & recent & (overlooked | ~view.knows(x, y)))[-MOST_POINTS:]
        self.x = np.concatenate([x[kept], view.x])
        self.y = np.concatenate([y[kept], view.y])
        self._seen_s = np.concatenate([self._seen_s[kept], np.full(view.x.shape, seen_s)])
