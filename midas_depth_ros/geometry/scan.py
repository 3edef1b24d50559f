"""Obstacles per bearing, as a planar lidar gives them (sensor_msgs/LaserScan, REP 117).

What is not seen is not free. A beam follows the floor outward, pixel by pixel, and knows it only up
to the first pixel that is not floor: an obstacle, something dropped (a speck, or what earlier
frames did not show), something that hangs before it, a gap, the border of the picture. So a range
is

    a distance   an obstacle, or where sight ends before one: free up to there, not beyond
    +inf         the floor was seen up to `range_max`, and nothing stands on it
    NaN          unknown: sight ends before `range_max`, and no obstacle is seen

`Scan.seen_free` is how far the floor was seen on each bearing. A beam whose view begins much later
than straight ahead, as at a corner of a rolled camera, knows nothing. One that leaves the picture
and comes back, as through a fisheye that the sensor crops, knows nothing from there on.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import GeometryError, Grid, once_per_grid
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.obstacles import Obstacles
from midas_depth_ros.options.metric import ScanOptions

RANK = 3  # a beam's range is that of its third nearest pixel: one or two may be noise
SAME_FRONT = 0.9  # of the nearest front's distance: a beam that ends nearer met something else
TO_THE_END = 0.95  # of `range_max`: floor seen this far counts as seen to the end
AHEAD_M = 1.0  # where `view_reaches_m` is told
VIEW_BEGINS = 1.5  # a beam must see the floor within this many times the distance straight ahead
# A corridor whose sides are in view from here on is seen early enough, whatever else: for a lens
# as low as a TurtleBot 3's the floor ahead is in view from 0.23 m on, its sides from 0.47 m.
SIDES_M = 0.5
BELOW_LENS = 0.3  # of the height: the least distance straight ahead that this is a multiple of
# A beam has left the picture where its pixels are so many apart, and the floor between them reaches
# so many times as far.
GAP_PIXELS, GAP_FACTOR = 6.0, 1.5
LOWER_PITCH = 3.0  # times the angle between neighbours in the middle row: most of a lower row


class InvalidOptions(GeometryError, ValueError):
    """Options that are out of range or contradict each other."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """(n,) float32 metres along the floor, counter-clockwise about body z.

    ranges: as of a LaserScan, see the module. seen_free: how far the floor was seen free on each
    bearing, at most `range_max`; NaN where it was not. 0: not even what is before an obstacle is
    known, as where the floor comes into view too late; all 0 where the scans before are refuted.
    """

    ranges: NDArray[np.float32]
    seen_free: NDArray[np.float32]

    @classmethod
    def withdrawal(cls, beams: int) -> Scan:
        """Return a scan that knows nothing, and says that those before it were refuted."""
        return cls(np.full(beams, np.nan, np.float32), np.zeros(beams, np.float32))


class Beams:
    """Which pixels each beam looks along: made once for a camera, its mount and a set of angles.

    Beams at `angle_min` + i * `angle_increment` up to `angle_max`, radians, 0 = ahead: n =
    round((angle_max - angle_min) / angle_increment) + 1. `view_begins_m`: how far ahead the nearest
    floor in view is, inf without any; no beam knows of low things nearer than that.
    `view_reaches_m`: how high above the floor the view straight ahead reaches at `AHEAD_M`, NaN
    without any; no beam knows of what hangs higher than that there. `max_blind_m`: a beam whose
    view begins farther ahead is never free. Raises `InvalidOptions` for angles that are not valid.
    """

    def __init__(
        self,
        grid: Grid,
        mount: CameraMount,
        *,
        angle_min: float,
        angle_max: float,
        angle_increment: float,
        max_blind_m: float = math.inf,
    ) -> None:
        if not (angle_increment > 0 and angle_max >= angle_min):
            raise InvalidOptions(
                f'a scan from {angle_min} to {angle_max} rad in steps of {angle_increment} is '
                'not valid: angles must increase'
            )
        self.count = round((angle_max - angle_min) / angle_increment) + 1
        bearing = bearings(grid, mount)
        ahead, away = _floor_of_rays(grid, mount)
        pitch = _pixel_pitch(bearing, bearing.shape[0] // 2)
        straight = np.abs(bearing) <= pitch
        self.view_begins_m = float(ahead[straight & (ahead > 0)].min(initial=np.inf))
        self.view_reaches_m = _highest_ahead(grid, mount, straight)
        begins_m = max(self.view_begins_m, BELOW_LENS * mount.height_m)
        latest = min(VIEW_BEGINS * begins_m, max_blind_m)
        # Where beams are closer together than pixels, several beams share a pixel; also in the
        # lower rows, where pixels are farther apart, but not without bound: about the point below
        # the lens neighbours look in opposite directions.
        in_time = np.where(straight & (ahead <= latest), ahead, 0.0)
        if in_time.any():
            row = int(np.argmax(in_time)) // bearing.shape[1]
            pitch = min(max(pitch, _pixel_pitch(bearing, row)), LOWER_PITCH * pitch)
        self._shared = max(1, math.ceil(pitch / angle_increment))
        self._groups = -(-self.count // self._shared)
        width = self._shared * angle_increment
        group = np.floor((bearing - (angle_min - 0.5 * angle_increment)) / width)
        with np.errstate(invalid='ignore'):
            inside = (group >= 0) & (group < self._groups)
        # Pixels are sorted by group, so that every group is reduced in one step.
        pixels = np.flatnonzero(inside)
        order = np.argsort(group.ravel()[pixels].astype(np.int32), kind='stable')
        self._pixels = pixels[order]
        self._group = group.ravel()[self._pixels].astype(np.int32)
        self._filled, self._starts, self._sizes = np.unique(
            self._group, return_index=True, return_counts=True
        )
        self._floor_away = away.ravel()[self._pixels]
        first = self._by_group(np.fmin, self._floor_away, np.inf)
        self._begins_in_time = first <= latest
        # Through a lens that bends nothing a beam is straight, and never comes back.
        angles = _pixel_angles(grid)
        self._leaves = np.full(self._groups, np.inf, np.float32)
        if angles is not None:
            self._leaves = self._leaves_picture(mount.height_m, angles.ravel()[self._pixels])
        self._blind = self.view_begins_m > max_blind_m

    def scan(self, obstacles: Obstacles, *, range_min: float, range_max: float) -> Scan:
        """Return the scan of one frame. A range below `range_min` is given as `range_min`, since
        nav2 ignores smaller ones; an obstacle farther than `range_max` hides nothing nearer.

        Raises `InvalidOptions` unless 0 <= range_min < range_max.
        """
        if not range_max > range_min >= 0:
            raise InvalidOptions(
                f'a scan from {range_min} to {range_max} m is not valid: ranges must increase'
            )
        hit = obstacles.mask.ravel()[self._pixels]
        dropped = obstacles.dropped.ravel()[self._pixels]
        floor = obstacles.floor.ravel()[self._pixels]
        x, y = obstacles.points[..., 0], obstacles.points[..., 1]
        away = np.sqrt(x * x + y * y).ravel()[self._pixels]
        # Hidden floor and unknown pixels count where their ray would meet the floor; dropped pixels
        # where they were measured, or at their foot.
        hidden = np.where(floor, np.float32(np.inf), self._floor_away)
        hidden[dropped] = np.fmin(away[dropped], hidden[dropped])
        unknown = self._by_group(np.fmin, np.where(hit, np.float32(np.inf), hidden), np.inf)
        unknown = np.minimum(unknown, self._leaves)
        sight_ends = np.minimum(self._by_group(np.fmin, hidden, np.inf), self._leaves)
        obstacle = self._nearest(hit, away)
        # An obstacle's foot, too low to tell from floor, counts where it was measured.
        nearer = np.fmin(self._floor_away, away)
        in_sight = floor & (self._floor_away < sight_ends[self._group])
        seen = self._by_group(np.fmax, np.where(in_sight, nearer, np.float32(0)), 0.0)
        to_the_end = (sight_ends >= range_max) & (seen >= TO_THE_END * range_max)
        seen[to_the_end] = range_max
        seen[~self._begins_in_time | (seen <= 0)] = np.nan
        ranges = np.where(to_the_end & self._begins_in_time, np.float32(np.inf), np.float32(np.nan))
        near = obstacle <= range_max
        ranges[near] = np.minimum(obstacle, unknown)[near]
        free = np.minimum(seen, np.where(np.isfinite(ranges), ranges, np.float32(range_max)))
        # Nobody looked at what is before an obstacle that comes into view too late.
        free[self._blind | (~self._begins_in_time & np.isfinite(ranges))] = 0.0
        ranges[ranges < range_min] = range_min
        return Scan(self._to_beams(ranges), self._to_beams(free))

    def _leaves_picture(
        self, height_m: float, pixel_rad: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """How far each group follows the floor before it leaves the picture; inf: to its end.

        pixel_rad: how large each pixel is, as `_pixels`.
        """
        leaves = np.full(self._groups, np.inf, np.float32)
        order = np.lexsort((self._floor_away, self._group))
        order = order[np.isfinite(self._floor_away[order])]
        group, away, size = (each[order] for each in (self._group, self._floor_away, pixel_rad))
        down = np.arctan2(np.float32(height_m), away)
        apart = down[:-1] - down[1:] > GAP_PIXELS * np.fmax(size[:-1], size[1:])
        # About the point below the lens, where a beam misses rows, that means nothing.
        near = np.maximum(away[:-1], np.float32(BELOW_LENS * height_m))
        apart &= (away[1:] > GAP_FACTOR * near) & (group[1:] == group[:-1])
        before = np.flatnonzero(apart)[::-1]  # the first one of a group is written last
        leaves[group[before]] = np.nextafter(away[before], np.float32(np.inf))
        return leaves

    def _by_group(
        self, reduction: np.ufunc, values: NDArray[np.float32], otherwise: float
    ) -> NDArray[np.float32]:
        """Reduce the values of each group; `otherwise` where a group has no pixel."""
        result = np.full(self._groups, otherwise, np.float32)
        if len(self._starts):
            result[self._filled] = reduction.reduceat(values, self._starts)
        return result

    def _nearest(self, hit: NDArray[np.bool_], away: NDArray[np.float32]) -> NDArray[np.float32]:
        """The RANK-th nearest hit of each group, or its farthest if there are fewer; or inf.

        The nearest itself if it is much nearer.
        """
        left = np.where(hit, away, np.float32(np.inf))
        ranked: list[NDArray[np.float32]] = []
        for _ in range(RANK):
            nearest = np.fmin.reduceat(left, self._starts)
            ranked.append(nearest)
            found = np.flatnonzero(left == np.repeat(nearest, self._sizes))
            first = np.diff(self._group[found], prepend=-1) > 0  # one of those that are equal
            left[found[first]] = np.inf
        hits = np.add.reduceat(hit, self._starts, dtype=np.intp)
        by_rank = np.choose(np.clip(hits, 1, RANK) - 1, ranked)
        # Fewer pixels that are much nearer are another object, such as one hanging before a wall.
        result = np.full(self._groups, np.inf, np.float32)
        result[self._filled] = np.where(ranked[0] < SAME_FRONT * by_rank, ranked[0], by_rank)
        return result

    def _to_beams(self, by_group: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(by_group, self._shared)[: self.count]


def laser_scan(
    obstacles: Obstacles,
    grid: Grid,
    mount: CameraMount,
    *,
    angle_min: float,
    angle_max: float,
    angle_increment: float,
    range_min: float = ScanOptions.range_min,
    range_max: float = ScanOptions.range_max,
) -> np.ndarray:
    """Return the ranges of `Beams(...).scan(...)` for a single frame: (n,) float32 metres.

    Raises `InvalidOptions` for angles or ranges that are not valid.
    """
    angles = {'angle_min': angle_min, 'angle_max': angle_max, 'angle_increment': angle_increment}
    beams = Beams(grid, mount, **angles)
    return beams.scan(obstacles, range_min=range_min, range_max=range_max).ranges


def corridor_free_m(
    scan: Scan,
    nearest_m: float,
    *,
    angle_min: float,
    angle_increment: float,
    width_m: float,
    begins_m: float,
) -> float:
    """Return how far ahead a corridor is free: to the nearest obstacle, or where sight ends before
    it.

    nearest_m: of the nearest front in the corridor (`Obstacles.nearest_range_m`), which is more
    exact than single beams; inf without one. begins_m: `Beams.view_begins_m`; what is nearer is not
    checked. 0 = nothing is known, also where a side of the corridor comes into view too late.
    """
    angle = angle_min + angle_increment * np.arange(len(scan.ranges))
    sides_m = sides_begin_m(float(angle[0]), float(angle[-1]), width_m)
    if sides_m > max(VIEW_BEGINS * begins_m, 0.5 * width_m, SIDES_M):
        return 0.0
    with np.errstate(divide='ignore', invalid='ignore'):
        leaves = 0.5 * width_m / np.abs(np.tan(angle))  # metres ahead, where a beam has left it
    asked = (np.abs(angle) < 0.5 * math.pi) & (leaves > begins_m)
    if not asked.any():
        return 0.0
    cosine, leaves = np.cos(angle[asked]), leaves[asked]
    ranges = scan.ranges[asked] * cosine
    seen = np.nan_to_num(scan.seen_free[asked], nan=0.0) * cosine
    nothing_seen = np.isnan(ranges) | (scan.seen_free[asked] == 0)
    unknown = nothing_seen & (seen < leaves)
    free = min(nearest_m, float(seen[unknown].min(initial=math.inf)))
    met = float(ranges[np.isfinite(ranges) & (ranges < leaves)].min(initial=math.inf))
    if met < SAME_FRONT * free:
        free = met
    return free if free > begins_m or free == nearest_m else 0.0


def sides_begin_m(first: float, last: float, width_m: float) -> float:
    """Return how far ahead both sides of a corridor are in view, by the first and the last beam
    (rad); inf where all beams look to one side.
    """
    least = min(max(last, 0.0), max(-first, 0.0), 0.5 * math.pi)
    return 0.5 * width_m / math.tan(least) if least > 0 else math.inf


def bearings(grid: Grid, mount: CameraMount) -> np.ndarray:
    """Return (h, w) float32 radians about body z, counter-clockwise, 0 = ahead; NaN where blind."""
    ahead, left = _horizontal(grid, mount)
    return np.arctan2(left, ahead)


def scan_limits(grid: Grid, mount: CameraMount, angle_increment: float) -> tuple[float, float]:
    """Return the first and last angle of the beams in view, multiples of the increment."""
    bearing = bearings(grid, mount)
    lower = bearing[bearing.shape[0] // 2 :]
    first = math.ceil(float(np.nanmin(lower)) / angle_increment) * angle_increment
    last = math.floor(float(np.nanmax(lower)) / angle_increment) * angle_increment
    return first, max(first, last)


def _horizontal(grid: Grid, mount: CameraMount) -> tuple[np.ndarray, np.ndarray]:
    """x and y, in the body frame, of every pixel's ray, per metre of Z."""
    axes = mount.body_axes().astype(np.float32)
    x, y = grid
    ahead = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2]
    left = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2]
    return ahead, left


def _floor_of_rays(grid: Grid, mount: CameraMount) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel's ray meets the floor: metres ahead, and metres away; inf: nowhere."""
    descent = mount.descent(grid)
    ahead, left = _horizontal(grid, mount)
    with np.errstate(divide='ignore', invalid='ignore'):
        reach = np.where(descent > 0, np.float32(mount.height_m) / descent, np.float32(np.inf))
        forward, away = reach * ahead, reach * np.hypot(ahead, left)
    forward[~np.isfinite(reach)] = np.inf
    away[~np.isfinite(reach)] = np.inf
    return forward.astype(np.float32), away.astype(np.float32)


def _highest_ahead(grid: Grid, mount: CameraMount, straight: np.ndarray) -> float:
    """How high above the floor the highest of these pixels sees at `AHEAD_M`, in metres."""
    x, y = grid
    ahead, _ = _horizontal((x[straight], y[straight]), mount)
    rises = -mount.descent(grid)[straight][ahead > 0] / ahead[ahead > 0]
    return mount.height_m + AHEAD_M * float(rises.max()) if rises.size else math.nan


@once_per_grid
def _pixel_angles(grid: Grid) -> np.ndarray | None:
    """(h, w) float32: the largest of the angles (rad) to the neighbours of each pixel; None for a
    lens that bends nothing.
    """
    x, y = grid
    if (x == x[:1]).all() and (y == y[:, :1]).all():
        return None
    rays = np.stack([*grid, np.ones_like(grid[0])])
    rays = rays / np.linalg.norm(rays, axis=0)
    across, down = (np.linalg.norm(np.diff(rays, axis=axis), axis=0) for axis in (2, 1))
    largest = np.full(grid[0].shape, np.nan, np.float32)
    for part, steps in (
        (np.s_[:, :-1], across),
        (np.s_[:, 1:], across),
        (np.s_[:-1], down),
        (np.s_[1:], down),
    ):
        largest[part] = np.fmax(largest[part], steps)
    return largest


def _pixel_pitch(bearing: np.ndarray, row: int) -> float:
    """The largest angle between neighbours in a row."""
    steps = np.abs(np.diff(bearing[row]))
    return float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0
