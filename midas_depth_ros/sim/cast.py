"""Which part of a place every ray meets first, and how far away: exact, for many parts.

All parts' windows in the picture are found at once; then each part is met, nearest first, by the
rays of its window alone, and not at all where everything there is nearer already. Float64 where
surfaces are round: near a silhouette float32 is not enough.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.parts import BALL, BOX, Hall, PartTable
from midas_depth_ros.sim.rays import NEAR_M

# What a pixel shows: one of these, or FIRST_PART + the part's row.
SKY, GROUND, CEILING, WALLS, FIRST_PART = 0, 1, 2, 3, 7

_PARALLEL = 1e-30  # stands for 0, of which 0 times the inverse is not a number
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])


@dataclasses.dataclass(frozen=True)
class Grid:
    """Normalised coordinates of a picture's pixels, float64, and their ranges by line.

    x is (1, W) or (H, W), y (H, 1) or (H, W). column_range, row_range: lowest and highest x of
    every column, y of every row. focal_px: pixels per unit in the middle.
    """

    x: np.ndarray
    y: np.ndarray
    column_range: tuple[np.ndarray, np.ndarray]
    row_range: tuple[np.ndarray, np.ndarray]
    focal_px: float

    @functools.cached_property
    def x32(self) -> np.ndarray:
        return self.x.astype(np.float32)

    @functools.cached_property
    def y32(self) -> np.ndarray:
        return self.y.astype(np.float32)


def plain_grid(x: np.ndarray, y: np.ndarray, focal_px: float) -> Grid:
    """Of a lens that does not distort: x by column and y by row."""
    return Grid(x[None, :], y[:, None], (x, x), (y, y), focal_px)


@functools.lru_cache(maxsize=64)
def grid_of(camera: CameraModel) -> Grid:
    """The grid of a camera, kept, for a distorting lens takes a while."""
    if not camera.distortion_model:
        x = (np.arange(camera.width) - camera.cx) / camera.fx
        y = (np.arange(camera.height) - camera.cy) / camera.fy
        return plain_grid(x, y, camera.fx)
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    columns, rows = (x.min(axis=0), x.max(axis=0)), (y.min(axis=1), y.max(axis=1))
    return Grid(x, y, columns, rows, camera.fx)


@dataclasses.dataclass(frozen=True)
class View:
    """Rays: pixel (x, y) looks along x * axes[:, 0] + y * axes[:, 1] + axes[:, 2] from `origin`."""

    grid: Grid
    axes: np.ndarray
    origin: np.ndarray

    def directions(self) -> list[np.ndarray]:
        """Three (H, W) float32 arrays."""
        x, y = self.grid.x32, self.grid.y32
        right, down, ahead = self.axes.T.astype(np.float32)
        return [x * right[i] + (y * down[i] + ahead[i]) for i in range(3)]

    def mirrored(self) -> View:
        """The same rays after they were mirrored by the floor."""
        flip = np.array([1.0, 1.0, -1.0])
        return View(self.grid, self.axes * flip[:, None], self.origin * flip)


def cast(
    view: View, table: PartTable, hall: Hall | None, ground_m: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(Z (H, W) float32, inf for the sky; what is seen (H, W) int16).

    `ground_m` is the height of the ground, None without one.
    """
    distance, index = _backdrop(view, hall, ground_m)
    if len(table) == 0:
        return distance, index
    rows, columns, nearest = _windows(view, table)
    origins = np.einsum('pij,pj->pi', table.to_unit, view.origin - table.centre)
    units = table.to_unit @ view.axes
    shown = (rows[:, 0] < rows[:, 1]) & (columns[:, 0] < columns[:, 1])
    order = np.flatnonzero(shown)[np.argsort(nearest[shown], kind='stable')]
    all_of = zip(
        order.tolist(),
        rows[order].tolist(),
        columns[order].tolist(),
        nearest[order].tolist(),
        table.shape[order].tolist(),
        origins[order].tolist(),
        units[order].tolist(),
        table.taper[order].tolist(),
        strict=True,
    )
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        for part, (top, bottom), (left, right), least, shape, origin, unit, taper in all_of:
            window = slice(top, bottom), slice(left, right)
            target = distance[window]
            if target.max() <= least:
                continue
            direction = _local(view.grid, window, unit, shape == BOX)
            if shape == BOX:
                met = _meet_box(origin, direction)
            elif shape == BALL:
                met = _meet_ball(origin, direction)
            else:
                met = _meet_tube(origin, direction, taper)
            nearer = met < target
            np.copyto(target, met, where=nearer, casting='same_kind')
            np.copyto(index[window], np.int16(FIRST_PART + part), where=nearer)
    return distance, index


def _local(
    grid: Grid, window: tuple[slice, slice], unit: list[list[float]], single: bool
) -> list[np.ndarray]:
    """The window's directions in the part's units, (h, w) each; float32 where that is enough."""
    all_x, all_y = (grid.x32, grid.y32) if single else (grid.x, grid.y)
    x = all_x[:, window[1]] if len(all_x) == 1 else all_x[window]
    y = all_y[window[0]] if all_y.shape[1] == 1 else all_y[window]
    return [x * a + (y * b + c) for a, b, c in unit]


def _backdrop(
    view: View, hall: Hall | None, ground_m: float | None
) -> tuple[np.ndarray, np.ndarray]:
    dx, dy, dz = view.directions()
    ox, oy, oz = view.origin.astype(np.float32)
    with np.errstate(divide='ignore', invalid='ignore'):
        if hall is None:
            if ground_m is None:
                distance = np.full(dz.shape, np.inf, np.float32)
                return distance, np.zeros(dz.shape, np.int16)
            distance = (np.float32(ground_m) - oz) / dz
            down = distance > 0
            distance[~down] = np.inf
            return distance, down.astype(np.int16)
        east, north, up = dx > 0, dy > 0, dz > 0
        low_z = np.float32(0.0 if ground_m is None else ground_m)
        x = np.where(east, np.float32(hall.high[0]) - ox, np.float32(hall.low[0]) - ox) / dx
        y = np.where(north, np.float32(hall.high[1]) - oy, np.float32(hall.low[1]) - oy) / dy
        z = np.where(up, np.float32(hall.height_m) - oz, low_z - oz) / dz
    x, y, z = np.abs(x), np.abs(y), np.abs(z)  # along a wall: -inf, which is never
    distance = np.minimum(np.minimum(x, y), z)
    index = np.where(x == distance, WALLS + east, WALLS + 2 + north)
    index = np.where(z == distance, np.where(up, CEILING, GROUND), index).astype(np.int16)
    return distance, index


def _windows(view: View, table: PartTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per part: first and past-last row (P, 2), column (P, 2), and least Z (P,)."""
    points = (table.corners - view.origin) @ view.axes
    depth = points[..., 2]
    a, b = points[:, _EDGES[:, 0]], points[:, _EDGES[:, 1]]
    with np.errstate(divide='ignore', invalid='ignore'):
        share = (NEAR_M - a[..., 2]) / (b[..., 2] - a[..., 2])
        cut = a + share[..., None] * (b - a)  # where an edge passes the camera's plane
    crosses = (a[..., 2] < NEAR_M) != (b[..., 2] < NEAR_M)
    everything = np.concatenate([points, cut], axis=1)
    seen = np.concatenate([depth >= NEAR_M, crosses], axis=1)
    ahead = np.where(seen, everything[..., 2], 1.0)
    x, y = everything[..., 0] / ahead, everything[..., 1] / ahead
    columns = _lines(view.grid.column_range, x, seen)
    rows = _lines(view.grid.row_range, y, seen)
    return rows, columns, np.maximum(depth.min(axis=1), NEAR_M)


def _lines(
    ranges: tuple[np.ndarray, np.ndarray], values: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """First and past-last line of pixels that meets the seen values, (P, 2); nothing: 0, 0."""
    margin = 1e-4
    low = np.where(seen, values, np.inf).min(axis=1)[:, None] - margin
    high = np.where(seen, values, -np.inf).max(axis=1)[:, None] + margin
    meets = (ranges[0] <= high) & (ranges[1] >= low)
    first = meets.argmax(axis=1)
    last = meets.shape[1] - meets[:, ::-1].argmax(axis=1)
    return np.where(meets.any(axis=1)[:, None], np.stack([first, last], axis=1), 0)


def _meet_box(origin: list[float], direction: list[np.ndarray]) -> np.ndarray:
    near, far = np.float32(-np.inf), np.float32(np.inf)
    for start, along in zip(origin, direction, strict=True):
        along[along == 0] = _PARALLEL
        inverse = np.reciprocal(along)
        middle = inverse * -start
        reach = np.abs(inverse, out=inverse)
        near = np.maximum(near, middle - reach)
        far = np.minimum(far, middle + reach)
    return np.where((near <= far) & (near > 0), near, np.inf)


def _meet_ball(origin: list[float], direction: list[np.ndarray]) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    inside = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    near = (-b - np.sqrt(inside)) / a  # not a number where it misses
    return np.where(near > 0, near, np.inf)


def _meet_tube(origin: list[float], direction: list[np.ndarray], taper: float) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    middle, rate = 0.5 * (1.0 + taper), 0.5 * (taper - 1.0)  # radius = middle + rate * z
    radius = middle + rate * oz
    a = dx * dx + dy * dy - (rate * rate) * dz * dz
    b = ox * dx + oy * dy - (rate * radius) * dz
    root = np.sqrt(b * b - a * (ox * ox + oy * oy - radius * radius))
    met = (-b - root) / a
    met[~((met > 0) & (np.abs(oz + met * dz) <= 1.0))] = np.inf
    if rate:
        other = (root - b) / a
        other[~((other > 0) & (np.abs(oz + other * dz) <= 1.0))] = np.inf
        met = np.minimum(met, other)
    if abs(oz) > 1.0:
        level, lid = math.copysign(1.0, oz), 1.0 if oz < 0 else taper
        reach = (level - oz) / dz
        x, y = ox + reach * dx, oy + reach * dy
        reach[~((reach > 0) & (x * x + y * y <= lid * lid))] = np.inf
        met = np.minimum(met, reach)
    return met
