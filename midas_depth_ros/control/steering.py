"""Which way is free: a heading toward the widest gap of a scan, or a side by closeness.

Plain numbers in, a turning rate in rad/s (positive = to the left) out.
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.control.corridor import Footprint, Pose, free_straight, unknown_shares
from midas_depth_ros.control.memory import ObstacleMemory
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView

HEADINGS = 19
GAIN = 2.0  # rad/s for each rad that the gap lies aside
# What a detour costs, in m of free way: 1 rad aside, or to the other side than before.
ASIDE_M = 0.3
CHANGE_OF_MIND_M = 0.15
SAME_SHARE = 0.05  # sides that differ less look the same


class Steering:
    """Chooses where to turn, and stays with the side once chosen while it is as good."""

    def __init__(self) -> None:
        self._side = 1.0
        self._searching = False  # no gap in view: turning until there is one

    def by_scan(
        self,
        view: ScanView,
        memory: ObstacleMemory,
        pose: Pose,
        footprint: Footprint,
        options: AvoidanceOptions,
    ) -> float:
        """The turning rate toward the best gap; where there is none, round to the chosen side."""
        limit = options.steering.max_angle
        headings = np.linspace(-limit, limit, HEADINGS)
        values = [
            self._value(heading, view, memory, pose.moved(0.0, heading), footprint, options)
            for heading in headings
        ]
        best = int(np.argmax(values))
        if values[best] == -np.inf:
            self._search(view, options)
            return self._side * options.steering.max_rate
        self._searching = False
        heading = float(headings[best])
        if heading:
            self._side = float(np.sign(heading))
        rate = options.steering.max_rate
        return max(-rate, min(rate, GAIN * heading))

    def by_closeness(self, left: float, right: float, options: AvoidanceOptions) -> float:
        """The turning rate away from the nearer side."""
        difference = (right - left) / options.closeness.stop
        if abs(difference) > 0.1:
            self._side = 1.0 if difference > 0 else -1.0
        return self._side * options.steering.max_rate

    def _search(self, view: ScanView, options: AvoidanceOptions) -> None:
        """Choose the side that looks more open, once: who changes his mind never gets round."""
        if self._searching:
            return
        self._searching = True
        bearings = view.angle_min + view.increment * np.arange(len(view.ranges)) + view.place.yaw
        bearings = np.mod(bearings + np.pi, 2 * np.pi) - np.pi
        open_m = np.nan_to_num(np.minimum(view.ranges, options.slow_distance), nan=0.0)
        open_m[np.abs(bearings) > options.steering.max_angle] = 0.0
        left, right = open_m[bearings > 0].sum(), open_m[bearings < 0].sum()
        if abs(left - right) > SAME_SHARE * (left + right):
            self._side = 1.0 if left > right else -1.0

    def _value(
        self,
        heading: float,
        view: ScanView,
        memory: ObstacleMemory,
        pose: Pose,
        footprint: Footprint,
        options: AvoidanceOptions,
    ) -> float:
        """How good a heading is, in m; -Inf if the way there is not free, or not known."""
        # What ends within half of the slow zone is no gap, only an end a little farther off.
        near = (options.stop_distance + options.resume_margin + options.slow_distance) / 2
        far = options.slow_distance
        free = free_straight(*pose.to_now(memory.x, memory.y), footprint)
        # A camera sees the sides only from afar on; once turned there it sees what is near, too,
        # and whether to go is not decided here.
        shares = unknown_shares(view, pose, footprint, np.array([near, far]))
        if free <= near or (shares > options.max_unknown).any():
            return -np.inf
        other_side = heading * self._side < 0
        return min(free, far) - ASIDE_M * abs(heading) - CHANGE_OF_MIND_M * other_side
