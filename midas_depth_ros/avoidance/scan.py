"""Which places a scan tells of: between its beams, as far as each of them is known to be free.

A beam is a line without width. A place between two beams is known where both reach as far, and
nothing as wide as the smallest obstacle fits between them there: few or far beams, and a gap left
by what was dropped, know nothing of what may stand between. Rings of bearings are worked out once
for a scan; places (m, on the robot as it was at the scan) are then looked up.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.options.avoidance import AvoidanceSettings, SensorPlace

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
FULL_TURN = 2 * math.pi
# Rings: so far apart, and with distance so much of it.
RING_M, RING_SHARE = 0.04, 0.05
FARTHEST_M = 50.0
TINY_M = 1e-6
# What is right behind a hit is the thing itself, no gap in what is known. More than one ring.
THICK_M, THICK_SHARE = 0.05, 0.06


class Sighted:
    """The places that one scan tells of."""

    def __init__(
        self,
        first: float,
        step: float,
        ranges: Floats,
        known_m: Floats,
        place: SensorPlace,
        smallest_obstacle_m: float,
    ) -> None:
        """`first` and `step` in rad, `ranges` and `known_m` (n,) in m as in a `ScanView`."""
        self._place, self._first, self._turns = place, first, math.copysign(1.0, step)
        self._step = abs(step)
        turn = FULL_TURN / self._step
        count = min(len(ranges), max(1, math.ceil(turn - 0.5)))
        hits = np.where(np.isfinite(ranges), ranges, np.inf)
        reach = np.minimum(known_m, FARTHEST_M)
        reach = np.where(np.isfinite(hits), reach + _thickness(reach), reach)
        if count < len(ranges):  # more than a turn: both beams of a bearing must agree
            surplus = np.arange(count, len(ranges)) % count
            np.minimum.at(reach, surplus, reach[count:])
            np.minimum.at(hits, surplus, hits[count:])
        self._reach, self._hits, self._known = reach[:count], hits[:count], known_m[:count]
        self._says = np.flatnonzero((self._reach > 0) | np.isfinite(self._hits))
        self._turn = max(turn, float(count))
        # Where a single step is too wide nothing is known.
        self._dense_m = smallest_obstacle_m / self._step
        farthest = min(float(self._reach.max()), self._dense_m)
        self._rings = _rings(farthest)
        self._table = self._known_by_ring(smallest_obstacle_m)

    def tells(self, x: Floats, y: Floats) -> Booleans:
        """Whether a place is known: seen to be free, or the front of something that was hit."""
        return self._lookup(*self._polar(x, y))

    def knows(self, x: Floats, y: Floats) -> Booleans:
        """Whether a place was seen to be free, to the very end of its beam."""
        distance, bearing = self._polar(x, y)
        nearest, looks = self._nearest(bearing)
        ends = looks & (distance <= self._known[nearest] + TINY_M)
        return self.free(x, y) | (ends & self._lookup(distance, bearing))

    def free(self, x: Floats, y: Floats) -> Booleans:
        """Whether a place was seen to be free, and is not the end of it."""
        distance, bearing = self._polar(x, y)
        return self._lookup(distance + _thickness(distance), bearing)

    def touched(self, x: Floats, y: Floats) -> Booleans:
        """Whether the beam next to a place reaches so far, gaps beside it or not."""
        distance, bearing = self._polar(x, y)
        nearest, looks = self._nearest(bearing)
        return looks & (self._reach[nearest] >= distance)

    def hits_at(self, x: Floats, y: Floats) -> Booleans:
        """Whether the beam next to a place hit something about there."""
        distance, bearing = self._polar(x, y)
        nearest, looks = self._nearest(bearing)
        return looks & (np.abs(self._hits[nearest] - distance) <= 2 * _thickness(distance))

    def looks_at(self, x: Floats, y: Floats) -> Booleans:
        """Whether the sensor looked at a place: it is neither aside of its view, nor so near that
        it may lie below it, nor behind what was hit.
        """
        return self._looks(*self._polar(x, y))

    def denies(self, x: Floats, y: Floats) -> Booleans:
        """Whether the sensor looked at a place and cannot tell."""
        distance, bearing = self._polar(x, y)
        near = distance <= self._dense_m
        return near & self._looks(distance, bearing) & ~self._lookup(distance, bearing)

    def _looks(self, distance: Floats, bearing: Floats) -> Booleans:
        nearest, looks = self._nearest(bearing)
        if not self._says.size:
            return np.zeros(np.shape(distance), bool)
        # A view may be narrower than the scan: its ends say nothing in every scan.
        looks &= (nearest >= self._says[0]) & (nearest <= self._says[-1])
        return looks & (distance >= self._place.blind_range) & (distance <= self._hits[nearest])

    def _polar(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Distance in m from the sensor, and bearing in steps from the first beam."""
        dx, dy = x - self._place.x, y - self._place.y
        turned = (np.arctan2(dy, dx) - self._place.yaw - self._first) * self._turns
        return np.hypot(dx, dy), np.mod(turned, FULL_TURN) / self._step

    def _nearest(self, bearing: Floats) -> tuple[NDArray[np.int64], Booleans]:
        """The beam within half a step, and whether there is one."""
        count = len(self._reach)
        index = np.floor(bearing + 0.5).astype(np.int64)
        index = np.where(bearing >= self._turn - 0.5, 0, index)
        return np.minimum(index, count - 1), index < count

    def _lookup(self, distance: Floats, bearing: Floats) -> Booleans:
        count = len(self._reach)
        ring = np.searchsorted(self._rings, distance)
        column = np.floor(2 * bearing).astype(np.int64)  # half steps
        after = bearing - (count - 1)
        column = np.where(after >= 0.5, 2 * count, column)
        column = np.where((after >= 0) & (bearing >= self._turn - 0.5), 2 * count - 1, column)
        near = ring < len(self._rings)
        return near & self._table[np.where(near, ring, 0), column]

    def _known_by_ring(self, smallest_m: float) -> Booleans:
        """(rings, 2 n + 1): by half steps from the first beam on; the last is the rest of a turn.

        With closing of gaps in which nothing of the smallest size can hide.
        """
        away = self._rings[:, None]
        known = self._reach[None, :] >= away
        at = self._step * np.arange(len(self._reach))
        before = np.maximum.accumulate(np.where(known, at, -np.inf), axis=1)
        after = np.minimum.accumulate(np.where(known, at, np.inf)[:, ::-1], axis=1)[:, ::-1]
        # Once round: before the first known beam lies the last one.
        before = np.maximum(before, before[:, -1:] - FULL_TURN)
        after = np.minimum(after, after[:, :1] + FULL_TURN)
        following = np.concatenate([after[:, 1:], after[:, :1] + FULL_TURN], axis=1)
        closed = (following - before) * away <= smallest_m
        alone = known & (self._step * away <= smallest_m)
        table = np.empty((len(away), 2 * len(at) + 1), bool)
        table[:, 0:-1:2] = closed | alone
        table[:, 1:-1:2] = closed | np.roll(alone, -1, axis=1)
        table[:, -1] = closed[:, -1]
        return table


def _thickness(distance: Floats) -> Floats:
    return np.maximum(THICK_M, THICK_SHARE * distance)


def _rings(farthest_m: float) -> Floats:
    """Distances (m) up to about the farthest one, none beyond it."""
    rings = [RING_M]
    while (following := rings[-1] + max(RING_M, RING_SHARE * rings[-1])) <= farthest_m:
        rings.append(following)
    return np.array(rings)


# --- A scan as it comes (any sensor_msgs/LaserScan's fields), checked, as points on the robot's
# plane.
#
# In come angles and ranges that may be anything; out goes a `ScanView` in which every beam is an
# obstacle at a distance, clear up to a distance, or unknown (REP 117), or a `BadScan` that names
# what is wrong.

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
