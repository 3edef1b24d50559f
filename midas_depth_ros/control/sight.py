"""What a source says about a commanded velocity: how fast it may be, and why.

A `ScanSight` looks along the robot's way in metres, a `ClosenessSight` knows only nearer and
farther; both answer with a `Limit`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.control.corridor import (
    Footprint,
    Pose,
    free_arc,
    free_straight,
    unknown_shares,
)
from midas_depth_ros.control.memory import ObstacleMemory
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView
from midas_depth_ros.control.speed import (
    braking_speed,
    closeness_speed,
    worst_closeness,
    zone_speed,
)
from midas_depth_ros.control.steering import Steering

SECTIONS = 12


@dataclasses.dataclass(frozen=True)
class Limit:
    """How fast forward is allowed (m/s), and why.

    `braking`: the speed above which comfort must not delay braking. `known` is False where it is
    too little sight that stops the robot. `free_m`: the way ahead, NaN where nobody knows.
    """

    speed: float
    braking: float
    known: bool
    text: str
    free_m: float = math.nan
    unknown_share: float = math.nan


def footprint_of(options: AvoidanceOptions) -> Footprint:
    """The robot as the options describe it."""
    return Footprint(
        options.robot_width / 2, options.robot_front, options.robot_rear, options.side_margin
    )


class ScanSight:
    """A scan, what is remembered from before, and where the robot has gone since (`pose`)."""

    source = 'scan'

    def __init__(
        self, view: ScanView, memory: ObstacleMemory, pose: Pose, options: AvoidanceOptions
    ) -> None:
        self._view, self._memory = view, memory
        self._pose, self._options = pose, options
        self._footprint = footprint_of(options)
        self._x, self._y = pose.to_now(memory.x, memory.y)

    def limit(self, linear: float, angular: float, resuming: bool = False) -> Limit:
        """The limit on a forward velocity > 0. Who resumes needs a little more room.

        What is straight ahead counts also in a curve: a robot told to turn may not.
        """
        options = self._options
        distances = np.linspace(options.stop_distance, options.slow_distance, SECTIONS)
        shares = unknown_shares(self._view, self._pose, self._footprint, distances)
        unknown = shares > options.max_unknown
        if unknown[0]:
            text = f'{shares[0]:.0%} of the corridor unknown'
            return Limit(0.0, 0.0, False, text, unknown_share=float(shares[0]))
        seen = float(distances[np.argmax(unknown) - 1]) if unknown.any() else math.inf
        free = free_straight(self._x, self._y, self._footprint)
        free = min(free, self._arc(angular / linear))
        spare = options.resume_margin if resuming else 0.0
        speed = zone_speed(min(free, seen) - spare, linear, options)
        if angular and 0 < speed < linear:
            # Slower at the same turning rate is a tighter arc.
            free = min(free, self._arc(angular / speed))
            speed = zone_speed(min(free, seen) - spare, linear, options)
        room = min(free, seen) - spare - options.stop_distance
        known = speed > 0 or free <= seen
        text = f'free for {free:.2f} m' if known else f'seen only for {seen:.2f} m'
        return Limit(speed, braking_speed(room, options), known, text, free, float(shares[0]))

    def reverse(self, linear: float, angular: float) -> float:
        """How fast (m/s, > 0) backward is allowed by what is seen there, which may be nothing."""
        behind = free_arc(-self._x, -self._y, angular / linear, self._footprint.backward())
        return zone_speed(behind, linear, self._options)

    def steer(self, steering: Steering) -> float:
        """The turning rate toward the free gap in rad/s."""
        return steering.by_scan(
            self._view, self._memory, self._pose, self._footprint, self._options
        )

    def _arc(self, curvature: float) -> float:
        return free_arc(self._x, self._y, curvature, self._footprint)


class ClosenessSight:
    """Closeness left, centre and right: unitless, so neither arcs nor the way since then count."""

    source = 'closeness'

    def __init__(self, left: float, centre: float, right: float, options: AvoidanceOptions) -> None:
        self._sides = (left, right)
        self._options = options
        self._worst = worst_closeness(left, centre, right, options.closeness)
        self._text = f'closeness {left:.2f} {centre:.2f} {right:.2f}'

    def limit(self, linear: float, angular: float, resuming: bool = False) -> Limit:
        """The limit on a forward velocity > 0; NaN stops."""
        known = not math.isnan(self._worst)
        speed = closeness_speed(self._worst, linear, self._options, resuming)
        return Limit(speed, speed, known, self._text if known else f'{self._text}: unknown')

    def reverse(self, linear: float, angular: float) -> float:
        """Nothing is seen behind."""
        return linear

    def steer(self, steering: Steering) -> float:
        """The turning rate away from the nearer side in rad/s."""
        return steering.by_closeness(*self._sides, self._options)


@dataclasses.dataclass(frozen=True)
class NoSight:
    """No fresh data; `text` says why."""

    text: str
    source = 'none'

    def limit(self, linear: float, angular: float, resuming: bool = False) -> Limit:
        """Nothing forward."""
        return Limit(0.0, 0.0, False, self.text)

    def reverse(self, linear: float, angular: float) -> float:
        """Nothing is seen behind either."""
        return linear

    def steer(self, steering: Steering) -> float:
        """Nowhere."""
        return 0.0


Sight = ScanSight | ClosenessSight | NoSight
