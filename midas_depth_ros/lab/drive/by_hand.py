"""The person beside the robot: drives it by hand while it has no metres.

By odometry alone a robot that stands has no metres, and what is not seen is not free: its avoidance
holds it. So a person starts it, sees where it is free, and drives it until metres come. How often
and how far is counted.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.options.stream import RobotSettings

START_S, PATIENCE_S = 0.6, 2.0  # without metres until the person helps, at the start and later
LET_GO_S = 2.0  # after which an avoidance_node without commands no longer sends zeros
LONGEST_S = 8.0  # by hand without metres: then the person waits before trying again
SPEED_M_S, TURN_RAD_S = 0.2, 0.6
ROOM_M = 0.45  # free ahead of the rim, to drive on
ASIDE_M = 0.10  # free beside the robot


@dataclasses.dataclass(frozen=True)
class Help:
    """How often a person drove by hand, how far (m), and how long there were no metres (s)."""

    times: int = 0
    way_m: float = 0.0
    without_metres_s: float = 0.0

    def plus(self, other: Help) -> Help:
        """Return the sum of two drives."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Help(*(one + more for one, more in zip(mine, theirs, strict=True)))


class Person:
    """Watches a drive from its begin on; `help` is what it took so far. Times in seconds."""

    def __init__(self, begin_s: float, radius_m: float = RobotSettings.radius) -> None:
        self.help = Help()
        self._radius_m = radius_m
        self._metres_s = begin_s - PATIENCE_S + START_S  # when there were metres last
        self._now_s = begin_s
        self._driven_m = 0.0
        self._since_s = math.nan  # when the person took over; NaN = does not drive
        self._side = 1.0
        self._was_commanded = False  # whether the robot has been left to its avoidance since

    @property
    def drives(self) -> bool:
        """Whether the person drives at the moment."""
        return not math.isnan(self._since_s)

    def see_metres(self, now_s: float) -> None:
        """Take notice of a scan: the robot has metres."""
        self._metres_s = max(self._metres_s, now_s)

    def command(
        self, now_s: float, bearings_rad: np.ndarray, ranges_m: np.ndarray, driven_m: float
    ) -> tuple[float, float] | None:
        """Return forward speed (m/s) and turn (rad/s) by hand; None: the robot is left to itself.

        bearings_rad, ranges_m: (n,), what is really around its middle, to the left positive.
        driven_m: how far it has driven in all.
        """
        elapsed, self._now_s = now_s - self._now_s, now_s
        moved_m, self._driven_m = driven_m - self._driven_m, driven_m
        waited = now_s - self._metres_s
        help_ = self.help
        if self.drives:
            help_ = dataclasses.replace(help_, way_m=help_.way_m + moved_m)
        if waited > START_S:
            help_ = dataclasses.replace(help_, without_metres_s=help_.without_metres_s + elapsed)
        if waited < START_S:
            self._since_s = math.nan
        elif not self.drives and waited >= PATIENCE_S:
            self._since_s, help_ = now_s, dataclasses.replace(help_, times=help_.times + 1)
            self._side = self._freer_side(bearings_rad, ranges_m)
        elif self.drives and now_s - self._since_s > LONGEST_S:
            self._since_s, self._metres_s = math.nan, now_s - START_S
        self.help = help_
        if not self.drives:
            self._was_commanded = self._was_commanded or waited < START_S
            return None
        if self._was_commanded and now_s - self._since_s < LET_GO_S:
            return 0.0, 0.0
        speed = SPEED_M_S if self._room(bearings_rad, ranges_m) > ROOM_M else 0.0
        return speed, 0.0 if speed else self._side * TURN_RAD_S

    def _room(self, bearings_rad: np.ndarray, ranges_m: np.ndarray) -> float:
        """Metres ahead of the rim that are free over the robot's width."""
        x, y = ranges_m * np.cos(bearings_rad), ranges_m * np.sin(bearings_rad)
        ahead = (np.abs(y) < self._radius_m + ASIDE_M) & (x > 0) & np.isfinite(ranges_m)
        return float(x[ahead].min()) - self._radius_m if ahead.any() else math.inf

    @staticmethod
    def _freer_side(bearings_rad: np.ndarray, ranges_m: np.ndarray) -> float:
        near = np.minimum(ranges_m, 3.0)
        left, right = (near[np.abs(bearings_rad - side) < 1.2].mean() for side in (1.2, -1.2))
        return 1.0 if left >= right else -1.0
