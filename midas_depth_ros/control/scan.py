"""A scan as it comes (any sensor_msgs/LaserScan's fields), checked, as points on the robot's plane.

In come angles and ranges that may be anything; out goes a `ScanView` in which every beam is an
obstacle at a distance, clear, or unknown (REP 117), or a `BadScan` that names what is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.control.options import SensorPlace

Floats = NDArray[np.float64]
MAX_BEAMS = 100_000
FULL_TURN = 2 * math.pi
# Drivers disagree on whether angle_max is the last beam or the one after it.
BEAMS_OFF = 2.0
SHARE_OFF = 0.01
SMALLEST_INCREMENT = 1e-6  # rad
TOO_NEAR_M = 0.01  # where a beam that says "too near to measure" is put at least


class BadScan(ValueError):
    """A scan whose fields contradict each other; the text names the bad value."""


@dataclasses.dataclass(frozen=True)
class ScanView:
    """One scan on the robot: `x`, `y` (m) of what was hit; `ranges` of all beams.

    `ranges` (n,): finite = hit, +Inf = clear up to `reach_m`, NaN = unknown.
    """

    angle_min: float
    increment: float
    ranges: Floats
    reach_m: float
    place: SensorPlace
    x: Floats
    y: Floats

    def knows(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether a beam tells of each point (m, on the robot as it was at the scan)."""
        dx, dy = x - self.place.x, y - self.place.y
        turned = (np.arctan2(dy, dx) - self.place.yaw - self.angle_min) * np.sign(self.increment)
        step = abs(self.increment)
        # Beam -0.4 is still the first one.
        index = np.floor(np.mod(turned + step / 2, FULL_TURN) / step).astype(np.int64)
        seen = index < len(self.ranges)
        ranges = self.ranges[np.where(seen, index, 0)]
        clear = np.isposinf(ranges) & (np.hypot(dx, dy) <= self.reach_m)
        return seen & (np.isfinite(ranges) | clear)


def read_scan(
    ranges: Any,
    angle_min: float,
    angle_max: float,
    angle_increment: float,
    range_min: float,
    range_max: float,
    place: SensorPlace = SensorPlace(),  # noqa: B008 - frozen
) -> ScanView:
    """Check a scan and place it on the robot.

    Angles in rad, counter-clockwise from the frame's x axis; ranges in m. A negative increment is
    a sensor that turns the other way, or hangs upside down. By REP 117 +Inf is clear, -Inf too
    near to measure (an obstacle), NaN unknown; beyond `range_max` counts as clear, and what is
    below `range_min`, zero or negative as unknown. Raises BadScan.
    """
    raw = np.asarray(ranges, np.float64)
    _check(raw, angle_min, angle_max, angle_increment, range_min, range_max)
    clean = np.where(raw > range_max, np.inf, raw)
    clean[np.isneginf(raw)] = max(range_min, TOO_NEAR_M)
    unknown = np.isfinite(raw) & ((raw < range_min) | (raw <= 0) | (raw < place.min_range))
    clean[unknown] = np.nan
    if place.zero_is_clear:
        clean[raw == 0] = np.inf
    hit = np.flatnonzero(np.isfinite(clean))
    bearings = angle_min + angle_increment * hit + place.yaw
    return ScanView(
        angle_min,
        angle_increment,
        clean,
        range_max,
        place,
        place.x + clean[hit] * np.cos(bearings),
        place.y + clean[hit] * np.sin(bearings),
    )


def _check(
    ranges: Floats,
    angle_min: float,
    angle_max: float,
    increment: float,
    range_min: float,
    range_max: float,
) -> None:
    if ranges.ndim != 1 or not 0 < ranges.size <= MAX_BEAMS:
        raise BadScan(f'{ranges.size} ranges: there must be 1 to {MAX_BEAMS}')
    if not (math.isfinite(angle_min) and math.isfinite(angle_max)):
        raise BadScan(f'angles from {angle_min} to {angle_max} rad')
    if not SMALLEST_INCREMENT <= abs(increment) <= FULL_TURN:
        raise BadScan(f'angle_increment {increment} rad')
    if not 0 <= range_min < range_max:
        raise BadScan(f'ranges from {range_min} to {range_max} m')
    span = increment * (ranges.size - 1)
    tolerance = max(BEAMS_OFF * abs(increment), SHARE_OFF * abs(span))
    if abs(span) > FULL_TURN + tolerance:
        raise BadScan(f'{ranges.size} beams every {increment:.4g} rad are more than a turn')
    if abs(angle_min + span - angle_max) > tolerance:
        raise BadScan(
            f'{ranges.size} beams every {increment:.4g} rad from {angle_min:.4g} end at '
            f'{angle_min + span:.4g}, not at angle_max {angle_max:.4g} rad'
        )
