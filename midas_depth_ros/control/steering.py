"""Which way is free: a heading toward the widest gap of a scan, or a side by closeness.

Plain numbers in, a turning rate in rad/s (positive = to the left) out.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.control.corridor import Footprint
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView
from midas_depth_ros.control.unseen import Known

Floats = NDArray[np.float64]

HEADINGS = 19
GAIN = 2.0  # rad/s for each rad that the gap lies aside
# What a detour costs, in m of free way: 1 rad aside, or to the other side than before.
ASIDE_M = 0.3
CHANGE_OF_MIND_M = 0.15
SAME_SHARE = 0.05  # sides that differ less look the same
MOST_ACROSS = 100


class Surroundings(Known, Protocol):
    """What is known about the robot, and where (m) obstacles are."""

    x: Floats
    y: Floats


class Steering:
    """Chooses where to turn, and stays with the side once chosen while it is as good."""

    def __init__(self) -> None:
        self._side = 1.0
        self._searching = False  # no gap in view: turning until there is one

    def by_scan(
        self, known: Surroundings, view: ScanView, footprint: Footprint, options: AvoidanceOptions
    ) -> float:
        """The turning rate toward the best gap; where there is none, round to the chosen side."""
        limit = options.steering.max_angle
        headings = np.linspace(-limit, limit, HEADINGS)
        values = self._values(headings, known, footprint, options)
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
        bearings = view.angle_min + view.increment * np.arange(len(view.known_m)) + view.place.yaw
        bearings = np.mod(bearings + np.pi, 2 * np.pi) - np.pi
        open_m = np.minimum(view.known_m, options.slow_distance)
        open_m[np.abs(bearings) > options.steering.max_angle] = 0.0
        left, right = open_m[bearings > 0].sum(), open_m[bearings < 0].sum()
        if abs(left - right) > SAME_SHARE * (left + right):
            self._side = 1.0 if left > right else -1.0

    def _values(
        self,
        headings: Floats,
        known: Surroundings,
        footprint: Footprint,
        options: AvoidanceOptions,
    ) -> Floats:
        """How good each heading is, in m; -Inf if the way there is not free, or not known."""
        # What ends within half of the slow zone is no gap, only an end a little farther off.
        near = (options.stop_distance + options.resume_margin + options.slow_distance) / 2
        far = options.slow_distance
        free = _free_ahead(headings, known.x, known.y, footprint)
        # A camera sees the sides only from afar on; once turned there it sees what is near, too,
        # and whether to go is not decided here.
        half = footprint.half_width + footprint.margin
        apart = max(options.smallest_obstacle / 2, half / MOST_ACROSS)
        across = np.linspace(-half, half, 2 * math.ceil(half / apart) + 1)
        x, y = np.meshgrid(footprint.front + np.array([near, far]), across, indexing='ij')
        c, s = np.cos(headings)[:, None, None], np.sin(headings)[:, None, None]
        places = c * x - s * y, s * x + c * y
        own = np.abs(across) <= footprint.half_width
        unknown = (1.0 - known.touched(*places).mean(axis=2) > options.max_unknown).any(axis=1)
        unknown |= ~known.tells(places[0][..., own], places[1][..., own]).all(axis=(1, 2))
        other_side = headings * self._side < 0
        values = np.minimum(free, far) - ASIDE_M * np.abs(headings) - CHANGE_OF_MIND_M * other_side
        return np.where(unknown | (free <= near), -np.inf, values)


def _free_ahead(headings: Floats, x: Floats, y: Floats, footprint: Footprint) -> Floats:
    """(headings,) `free_straight` of the robot turned on the spot to each heading."""
    c, s = np.cos(headings)[:, None], np.sin(headings)[:, None]
    along, across = c * x + s * y, np.abs(c * y - s * x)
    ahead = (along > footprint.front) & (across <= footprint.half_width + footprint.margin)
    touched = (along > 0) & (along <= footprint.front) & (across <= footprint.half_width)
    free = np.where(ahead, along - footprint.front, np.inf).min(axis=1, initial=np.inf)
    return np.where(touched.any(axis=1), 0.0, free)
