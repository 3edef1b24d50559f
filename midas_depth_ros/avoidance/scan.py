"""A scan as it comes, checked and placed on the robot, and which places it knows.

`read_scan` takes the fields of any sensor_msgs/LaserScan and returns a `ScanView`, in which every
beam is an obstacle at a distance, clear up to a distance, or unknown (REP 117), or raises
`BadScan`.

A beam is a line without width. A place between two beams is known where both reach that far and
nothing as wide as the smallest obstacle fits between them: few or distant beams, and a gap left by
something dropped, know nothing of what may stand between. `ScanCoverage` computes rings of bearings
once per scan and looks places up in them (m, on the robot as it was at the scan).
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
# Spacing of the rings: at least RING_M, farther out RING_SHARE of the distance.
RING_M, RING_SHARE = 0.04, 0.05
FARTHEST_M = 50.0
# Right behind a hit lies the object itself, not a gap in what is known. More than one ring.
THICK_M, THICK_SHARE = 0.05, 0.06
BORDER_RAD = 0.15  # by which the border of a camera's view wavers from scan to scan


class ScanCoverage:
    """The places that one scan knows."""

    def __init__(
        self,
        first: float,
        step: float,
        ranges: Floats,
        known_m: Floats,
        place: SensorPlace,
        smallest_obstacle_m: float,
    ) -> None:
        """`first` and `step` in rad; `ranges` and `known_m` (n,) in m as in `ScanView`."""
        self._place, self._first, self._turns = place, first, math.copysign(1.0, step)
        self._step = abs(step)
        turn = FULL_TURN / self._step
        count = min(len(ranges), max(1, math.ceil(turn - 0.5)))
        hits = np.where(np.isfinite(ranges), ranges, np.inf)
        reach = np.minimum(known_m, FARTHEST_M)
        reach = np.where(np.isfinite(hits), reach + _thickness(reach), reach)
        if count < len(ranges):  # more than one turn: both beams of a bearing must agree
            surplus = np.arange(count, len(ranges)) % count
            np.minimum.at(reach, surplus, reach[count:])
            np.minimum.at(hits, surplus, hits[count:])
        self._reach, self._hits = reach[:count], hits[:count]
        informative = np.flatnonzero((self._reach > 0) | np.isfinite(self._hits))
        # First and last beam between which it knows anything; an empty view knows nothing.
        self._view = (int(informative[0]), int(informative[-1])) if informative.size else None
        self._turn = max(turn, float(count))
        # Farther than this, neighbouring beams are too far apart to know anything.
        self._dense_m = smallest_obstacle_m / self._step
        farthest = min(float(self._reach.max()), self._dense_m)
        self._rings = _rings(farthest)
        self._table = self._known_by_ring(smallest_obstacle_m)

    @property
    def view_rad(self) -> tuple[float, float] | None:
        """The angles between which it knows anything, the lesser one first; None if nothing."""
        if self._view is None:
            return None
        ends = [self._first + self._turns * self._step * index for index in self._view]
        return min(ends), max(ends)

    def widen(self, first_rad: float, last_rad: float) -> None:
        """Count the beams between two angles as looked along, too, on a side where the view has
        become narrower by more than its border wavers.
        """
        if self._view is None:
            return
        begin, end = self._view
        ends = sorted((self._beam_at(first_rad), self._beam_at(last_rad)))
        margin = BORDER_RAD / self._step
        self._view = (
            ends[0] if begin - ends[0] > margin else begin,
            ends[1] if ends[1] - end > margin else end,
        )

    def _beam_at(self, angle_rad: float) -> int:
        """The beam nearest to an angle."""
        index = round((angle_rad - self._first) * self._turns / self._step)
        return min(max(index, 0), len(self._reach) - 1)

    def knows(self, x: Floats, y: Floats) -> Booleans:
        """Return whether each place is known: seen free, or the front of something hit."""
        return self._lookup(*self._polar(x, y))

    def free(self, x: Floats, y: Floats) -> Booleans:
        """Return whether each place was seen free, with some distance to the end of its beam."""
        distance, bearing = self._polar(x, y)
        return self._lookup(distance + _thickness(distance), bearing)

    def reached(self, x: Floats, y: Floats) -> Booleans:
        """Return whether the nearest beam reaches each place, whatever gaps are beside it."""
        distance, bearing = self._polar(x, y)
        nearest, looks = self._nearest(bearing)
        return looks & (self._reach[nearest] >= distance)

    def hits_at(self, x: Floats, y: Floats) -> Booleans:
        """Return whether the nearest beam hit something close to each place."""
        distance, bearing = self._polar(x, y)
        nearest, looks = self._nearest(bearing)
        return looks & (np.abs(self._hits[nearest] - distance) <= 2 * _thickness(distance))

    def looks_at(self, x: Floats, y: Floats) -> Booleans:
        """Return whether the sensor looks at each place: within its view, not so near that it may
        lie below it, not behind a hit.
        """
        return self._looks(*self._polar(x, y))

    def unknown_in_view(self, x: Floats, y: Floats) -> Booleans:
        """Return whether the sensor looks at each place and does not know it."""
        distance, bearing = self._polar(x, y)
        near = distance <= self._dense_m
        return near & self._looks(distance, bearing) & ~self._lookup(distance, bearing)

    def _looks(self, distance: Floats, bearing: Floats) -> Booleans:
        nearest, looks = self._nearest(bearing)
        if self._view is None:
            return np.zeros(np.shape(distance), bool)
        # The view may be narrower than the scan, whose outer beams are then always unknown.
        looks &= (nearest >= self._view[0]) & (nearest <= self._view[1])
        return looks & (distance >= self._place.blind_range) & (distance <= self._hits[nearest])

    def _polar(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Distance in m from the sensor, and bearing in steps from the first beam."""
        dx, dy = x - self._place.x, y - self._place.y
        turned = (np.arctan2(dy, dx) - self._place.yaw - self._first) * self._turns
        return np.hypot(dx, dy), np.mod(turned, FULL_TURN) / self._step

    def _nearest(self, bearing: Floats) -> tuple[NDArray[np.int64], Booleans]:
        """The beam within half a step of each bearing, and whether there is one."""
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
        """(rings, 2 n + 1): known or not, in half steps from the first beam; the last column is the
        rest of the turn. Gaps too narrow for the smallest obstacle are closed.
        """
        away = self._rings[:, None]
        known = self._reach[None, :] >= away
        at = self._step * np.arange(len(self._reach))
        before = np.maximum.accumulate(np.where(known, at, -np.inf), axis=1)
        after = np.minimum.accumulate(np.where(known, at, np.inf)[:, ::-1], axis=1)[:, ::-1]
        # The scan is circular: before the first known beam lies the last one.
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
    """Distances (m) of the rings, up to about `farthest_m`."""
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
MAX_ANGLE = 2 * FULL_TURN
# Drivers disagree on whether angle_max is the last beam or the one after it.
BEAMS_OFF, SHARE_OFF = 2.0, 0.01
SMALLEST_INCREMENT = 1e-6  # rad
TOO_NEAR_M = 0.01  # least range of a beam that is "too near to measure"
# Of a beam that was seen free for 0 m: it has looked, and knows nothing of what lies there.
LOOKED_M = 1e-3
# More beams than this are bundled: each bundle is as near, and knows as little, as its worst beam.
MAX_BUNDLES = 4000


class BadScan(ValueError):
    """A scan whose fields contradict each other; the text names the bad value."""


@dataclasses.dataclass(frozen=True)
class ScanView:
    """One scan on the robot: `x`, `y` (m) of the hits; `ranges` and `known_m` (n,) of all beams.

    `ranges`: finite = hit, +Inf = clear up to `reach_m`, NaN = unknown. `known_m`: how far each
    beam is known to be free; everything beyond that, behind a hit too, is unknown. `coverage`
    answers for places between beams.
    """

    angle_min: float
    increment: float
    ranges: Floats
    reach_m: float
    place: SensorPlace
    x: Floats
    y: Floats
    known_m: Floats
    coverage: ScanCoverage = dataclasses.field(repr=False)

    def knows_ahead(self, within_rad: float) -> bool:
        """Return whether any beam within this angle of straight ahead knows anything."""
        bearings = self.angle_min + self.increment * np.arange(len(self.known_m)) + self.place.yaw
        ahead = np.abs(np.mod(bearings + math.pi, FULL_TURN) - math.pi) <= within_rad
        return bool((self.known_m[ahead] > LOOKED_M).any())


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

    Angles in rad, counter-clockwise from the frame's x axis; ranges in m. A negative increment is a
    sensor that turns clockwise or hangs upside down. By REP 117 +Inf is clear, -Inf is too near to
    measure (an obstacle) and NaN is unknown; beyond `range_max` is clear; below `range_min`, zero
    and negative are unknown. `seen_free` (n,) in m: how far an unknown beam was nevertheless seen
    free; values that are negative or not finite are ignored, and 0 says that what an earlier scan
    saw there is not known any more, nor what is before a hit there. `smallest_obstacle_m`: the
    widest gap between two beams that still counts as known. Raises BadScan.
    """
    raw = np.asarray(ranges, np.float64)
    _check_angles(raw, angle_min, angle_max, angle_increment)
    if not 0 <= range_min < range_max:
        raise BadScan(
            f'ranges from {range_min} to {range_max} m are not valid: it must be 0 <= range_min < '
            'range_max'
        )
    clean = np.where(raw > range_max, np.inf, raw)
    clean[np.isneginf(raw)] = max(range_min, TOO_NEAR_M)
    unknown = np.isfinite(raw) & ((raw < range_min) | (raw <= 0) | (raw < place.min_range))
    clean[unknown] = np.nan
    if place.zero_is_clear:
        clean[raw == 0] = np.inf
    known = np.where(np.isposinf(clean), range_max, np.nan_to_num(clean, nan=0.0))
    if seen_free is not None:
        seen = _seen_free_m(seen_free, raw.size, range_max)
        known = np.where(np.isnan(clean) | (seen == LOOKED_M), seen, known)
    first, step, bundled, bundled_known = _bundled(angle_min, angle_increment, clean, known)
    hit = np.flatnonzero(np.isfinite(bundled))
    bearings = first + step * hit + place.yaw
    x = place.x + bundled[hit] * np.cos(bearings)
    y = place.y + bundled[hit] * np.sin(bearings)
    coverage = ScanCoverage(first, step, bundled, bundled_known, place, smallest_obstacle_m)
    return ScanView(angle_min, angle_increment, clean, range_max, place, x, y, known, coverage)


def _seen_free_m(seen_free: Any, beams: int, range_max: float) -> Floats:
    seen = np.asarray(seen_free, np.float64)
    if seen.shape != (beams,):
        raise BadScan(f'seen_free has {seen.size} ranges, the scan {beams}')
    sane = np.isfinite(seen) & (seen >= 0)
    return np.where(sane, np.clip(seen, LOOKED_M, range_max), 0.0)


def _bundled(
    first: float, step: float, ranges: Floats, known: Floats
) -> tuple[float, float, Floats, Floats]:
    """The same scan in at most `MAX_BUNDLES` bundles, each as near as its nearest hit."""
    size = -(-ranges.size // MAX_BUNDLES)
    if size == 1:
        return first, step, ranges, known
    count = -(-ranges.size // size)
    spare = count * size - ranges.size
    rows = np.concatenate([ranges, np.full(spare, ranges[-1])]).reshape(count, size)
    known_rows = np.concatenate([known, np.full(spare, known[-1])]).reshape(count, size)
    nearest = np.where(np.isfinite(rows), rows, np.inf).min(axis=1)
    nearest[np.isinf(nearest) & np.isnan(rows).any(axis=1)] = np.nan
    return first + step * (size - 1) / 2, step * size, nearest, known_rows.min(axis=1)


def _check_angles(ranges: Floats, angle_min: float, angle_max: float, increment: float) -> None:
    if ranges.ndim != 1 or not 0 < ranges.size <= MAX_BEAMS:
        raise BadScan(f'{ranges.size} ranges: there must be 1 to {MAX_BEAMS}')
    if not (abs(angle_min) <= MAX_ANGLE and abs(angle_max) <= MAX_ANGLE):
        raise BadScan(
            f'angles from {angle_min} to {angle_max} rad are not valid: each must be within '
            f'+-{MAX_ANGLE:.4g}'
        )
    if not SMALLEST_INCREMENT <= abs(increment) <= FULL_TURN:
        raise BadScan(
            f'angle_increment {increment} rad is not valid: its size must be '
            f'{SMALLEST_INCREMENT:g} to {FULL_TURN:.4g}'
        )
    span = increment * (ranges.size - 1)
    tolerance = max(BEAMS_OFF * abs(increment), SHARE_OFF * abs(span))
    if abs(span) > FULL_TURN + tolerance:
        raise BadScan(f'{ranges.size} beams every {increment:.4g} rad are more than a full turn')
    if abs(angle_min + span - angle_max) > tolerance:
        raise BadScan(
            f'{ranges.size} beams every {increment:.4g} rad from {angle_min:.4g} end at '
            f'{angle_min + span:.4g}, not at angle_max {angle_max:.4g} rad'
        )
