"""Which way is free: a heading toward the widest gap of a scan, or a side by closeness.

Plain numbers in, a turning rate in rad/s (positive = to the left) out.
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.control.corridor import Footprint, Pose, free_straight, unknown_shares
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView

HEADINGS = 19
GAIN = 2.0  # rad/s for each rad that the gap lies aside
# What a detour costs, in m of free way: 1 rad aside, or to the other side than before.
ASIDE_M = 0.3
CHANGE_OF_MIND_M = 0.15
CLOSENESS_GAIN = 1.0


class Steering:
    """Chooses where to turn, and stays with the side once chosen while it is as good."""

    def __init__(self) -> None:
        self._side = 1.0

    def by_scan(
        self, view: ScanView, pose: Pose, footprint: Footprint, options: AvoidanceOptions
    ) -> float:
        """The turning rate toward the best gap; where there is none, round to the chosen side."""
        limit = options.steering.max_angle
        headings = np.linspace(-limit, limit, HEADINGS)
        values = [
            self._value(heading, view, pose.moved(0.0, heading), footprint, options)
            for heading in headings
        ]
        best = int(np.argmax(values))
        if values[best] == -np.inf:
            return self._side * options.steering.max_rate
        heading = float(headings[best])
        if heading:
            self._side = float(np.sign(heading))
        rate = options.steering.max_rate
        return max(-rate, min(rate, GAIN * heading))

    def by_closeness(self, left: float, right: float, options: AvoidanceOptions) -> float:
        """The turning rate away from the nearer side."""
        difference = CLOSENESS_GAIN * (right - left) / options.closeness.stop
        if abs(difference) > 0.1:
            self._side = 1.0 if difference > 0 else -1.0
        return self._side * options.steering.max_rate

    def _value(
        self,
        heading: float,
        view: ScanView,
        pose: Pose,
        footprint: Footprint,
        options: AvoidanceOptions,
    ) -> float:
        """How good a heading is, in m; -Inf if the way there is not free, or not known."""
        near, far = options.stop_distance + options.resume_margin, options.slow_distance
        free = free_straight(*pose.to_now(view.x, view.y), footprint)
        distances = np.array([options.stop_distance, near, far])
        shares = unknown_shares(view, pose, footprint, distances)
        if free <= near or (shares[:2] > options.max_unknown).any():
            return -np.inf
        if shares[2] > options.max_unknown:
            free = min(free, near)
        other_side = heading * self._side < 0
        return min(free, far) - ASIDE_M * abs(heading) - CHANGE_OF_MIND_M * other_side
