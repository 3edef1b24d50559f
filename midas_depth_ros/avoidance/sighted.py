"""Which places a scan tells of: between its beams, as far as each of them is known to be free.

A beam is a line without width. A place between two beams is known where both reach as far, and
nothing as wide as the smallest obstacle fits between them there: few or far beams, and a gap left
by what was dropped, know nothing of what may stand between. Rings of bearings are worked out once
for a scan; places (m, on the robot as it was at the scan) are then looked up.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.options.avoidance import SensorPlace

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
