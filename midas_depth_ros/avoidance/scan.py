"""A scan as it comes (any sensor_msgs/LaserScan's fields), checked, as points on the robot's plane.

In come angles and ranges that may be anything; out goes a `ScanView` in which every beam is an
obstacle at a distance, clear up to a distance, or unknown (REP 117), or a `BadScan` that names
what is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.avoidance.sighted import FULL_TURN, Sighted
from midas_depth_ros.options.avoidance import AvoidanceSettings, SensorPlace

Floats = NDArray[np.float64]
MAX_BEAMS = 100_000
MOST_ANGLE = 2 * FULL_TURN
# Drivers disagree on whether angle_max is the last beam or the one after it.
BEAMS_OFF = 2.0
SHARE_OFF = 0.01
SMALLEST_INCREMENT = 1e-6  # rad
TOO_NEAR_M = 0.01  # where a beam that says "too near to measure" is put at least
# More beams than that are bundled: each bundle is as near, and knows as little, as its worst beam.
MOST_BUNDLES = 4000


class BadScan(ValueError):
    """A scan whose fields contradict each other; the text names the bad value."""


@dataclasses.dataclass(frozen=True)
class ScanView:
    """One scan on the robot: `x`, `y` (m) of what was hit; `ranges` and `known_m` of all beams.

    `ranges` (n,): finite = hit, +Inf = clear up to `reach_m`, NaN = unknown. `known_m` (n,): how
    far a beam is known to be free; what lies behind that, be it behind a hit, is unknown.
    `sighted` answers for places between beams.
    """

    angle_min: float
    increment: float
    ranges: Floats
    reach_m: float
    place: SensorPlace
    x: Floats
    y: Floats
    known_m: Floats
    sighted: Sighted = dataclasses.field(repr=False)

    def knows(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether each place (m, on the robot as it was at the scan) was seen to be free."""
        return self.sighted.knows(x, y)

    def tells_ahead(self, within_rad: float) -> bool:
        """Whether any beam so near to straight ahead of the robot knows anything."""
        bearings = self.angle_min + self.increment * np.arange(len(self.known_m)) + self.place.yaw
        ahead = np.abs(np.mod(bearings + math.pi, FULL_TURN) - math.pi) <= within_rad
        return bool((self.known_m[ahead] > 0).any())


def read_scan(
    ranges: Any,
    angle_min: float,
    angle_max: float,
    angle_increment: float,
    range_min: float,
    range_max: float,
    place: SensorPlace = SensorPlace(),  # noqa: B008 - frozen
    seen_free: Any = None,
    smallest_obstacle_m: float = AvoidanceSettings.smallest_obstacle,
) -> ScanView:
    """Check a scan and place it on the robot.

    Angles in rad, counter-clockwise from the frame's x axis; ranges in m. A negative increment is
    a sensor that turns the other way, or hangs upside down. By REP 117 +Inf is clear, -Inf too
    near to measure (an obstacle), NaN unknown; beyond `range_max` counts as clear, and what is
    below `range_min`, zero or negative as unknown. `seen_free` (n,) in m: how far an unknown beam
    was seen to be free all the same; of its values those count that are numbers, not below 0.
    Between two beams only what is narrower than `smallest_obstacle_m` may hide. Raises BadScan.
    """
    raw = np.asarray(ranges, np.float64)
    _check(raw, angle_min, angle_max, angle_increment, range_min, range_max)
    clean = np.where(raw > range_max, np.inf, raw)
    clean[np.isneginf(raw)] = max(range_min, TOO_NEAR_M)
    unknown = np.isfinite(raw) & ((raw < range_min) | (raw <= 0) | (raw < place.min_range))
    clean[unknown] = np.nan
    if place.zero_is_clear:
        clean[raw == 0] = np.inf
    known = np.where(np.isposinf(clean), range_max, np.nan_to_num(clean, nan=0.0))
    if seen_free is not None:
        known = np.where(np.isnan(clean), _seen(seen_free, raw.size, range_max), known)
    first, step, bundled, bundled_known = _bundled(angle_min, angle_increment, clean, known)
    hit = np.flatnonzero(np.isfinite(bundled))
    bearings = first + step * hit + place.yaw
    return ScanView(
        angle_min,
        angle_increment,
        clean,
        range_max,
        place,
        place.x + bundled[hit] * np.cos(bearings),
        place.y + bundled[hit] * np.sin(bearings),
        known,
        Sighted(first, step, bundled, bundled_known, place, smallest_obstacle_m),
    )


def _seen(seen_free: Any, beams: int, range_max: float) -> Floats:
    seen = np.asarray(seen_free, np.float64)
    if seen.shape != (beams,):
        raise BadScan(f'seen_free has {seen.size} ranges, the scan {beams}')
    sane = np.isfinite(seen) & (seen >= 0)
    return np.where(sane, np.minimum(seen, range_max), 0.0)


def _bundled(
    first: float, step: float, ranges: Floats, known: Floats
) -> tuple[float, float, Floats, Floats]:
    """The same for at most `MOST_BUNDLES` bundles of beams, each as near as its nearest hit."""
    size = -(-ranges.size // MOST_BUNDLES)
    if size == 1:
        return first, step, ranges, known
    count = -(-ranges.size // size)
    spare = count * size - ranges.size
    rows = np.concatenate([ranges, np.full(spare, ranges[-1])]).reshape(count, size)
    known_rows = np.concatenate([known, np.full(spare, known[-1])]).reshape(count, size)
    nearest = np.where(np.isfinite(rows), rows, np.inf).min(axis=1)
    nearest[np.isinf(nearest) & np.isnan(rows).any(axis=1)] = np.nan
    return first + step * (size - 1) / 2, step * size, nearest, known_rows.min(axis=1)


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
    if not (abs(angle_min) <= MOST_ANGLE and abs(angle_max) <= MOST_ANGLE):
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
