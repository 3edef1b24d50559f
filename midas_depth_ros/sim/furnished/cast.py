"""Which part of a place every ray meets first, and how far away: exact, for many parts.

The windows of all parts in the picture are found at once. Large parts are then cast one by one,
nearest first, on their windows only, and skipped where everything is nearer already; small parts
all together. Round surfaces in float64: near a silhouette float32 is not enough.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.furnished.place import (
    BALL,
    BOX,
    FLOOR_ID,
    SKY_ID,
    STRUCTURE_ID,
    TUBE,
    Hall,
    PartTable,
    Place,
    meet_unit,
)
from midas_depth_ros.sim.scene.render import dot
from midas_depth_ros.sim.scene.scene import NEAR_M

# What a pixel shows: one of these, or FIRST_PART + the row of the part.
SKY, GROUND, CEILING, WALLS, FIRST_PART = 0, 1, 2, 3, 7

SMALL_PX = 160  # parts with windows of up to this many pixels are cast together
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])


@dataclasses.dataclass(frozen=True)
class Grid:
    """Normalised coordinates of the pixels of a picture, float64, and their ranges by line.

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
    """Return the grid of a lens without distortion: x by column and y by row."""
    return Grid(x[None, :], y[:, None], (x, x), (y, y), focal_px)


def grid_of(camera: CameraModel) -> Grid:
    """Return the grid of a camera; that of a distorting lens is cached, as it takes a while."""
    if camera.distortion_model:
        return _bent_grid(camera)
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    return plain_grid(x, y, camera.fx)


@functools.lru_cache(maxsize=64)
def _bent_grid(camera: CameraModel) -> Grid:
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    columns, rows = (x.min(axis=0), x.max(axis=0)), (y.min(axis=1), y.max(axis=1))
    return Grid(x, y, columns, rows, camera.fx)


@dataclasses.dataclass(frozen=True)
class View:
    """Rays: pixel (x, y) looks along x * axes[:, 0] + y * axes[:, 1] + axes[:, 2] from `origin`."""

    grid: Grid
    axes: np.ndarray
    origin: np.ndarray

    @functools.cached_property
    def directions(self) -> list[np.ndarray]:
        """Three (H, W) float32 arrays; read-only."""
        x, y = self.grid.x32, self.grid.y32
        right, down, ahead = self.axes.T.astype(np.float32)
        return [x * right[i] + (y * down[i] + ahead[i]) for i in range(3)]

    def mirrored(self) -> View:
        """Return the same rays mirrored by the floor."""
        flip = np.array([1.0, 1.0, -1.0])
        return View(self.grid, self.axes * flip[:, None], self.origin * flip)


def cast(
    view: View, table: PartTable, hall: Hall | None, ground_m: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (Z (H, W) float32, inf for the sky; what is seen (H, W) int16).

    `ground_m`: height of the ground; None without ground.
    """
    distance, index = _backdrop(view, hall, ground_m)
    if len(table) == 0:
        return distance, index
    caster = _PartCaster(view, table, distance, index)
    windows = caster.windows
    pixels = np.prod(np.maximum(windows[:, [1, 3]] - windows[:, [0, 2]], 0), axis=1)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        large = np.flatnonzero(pixels > SMALL_PX)
        caster.place_large(large[np.argsort(windows[large, 4], kind='stable')])
        for shape in (BOX, BALL, TUBE):
            small = np.flatnonzero((pixels > 0) & (pixels <= SMALL_PX) & (table.shape == shape))
            if len(small):
                caster.place_small(small, shape)
    return distance, index


class _PartCaster:
    """Writes parts into `distance` and `index` where they are nearer than what is there.

    Rays are converted to the units of each part, in which it is its unit shape.
    """

    def __init__(
        self, view: View, table: PartTable, distance: np.ndarray, index: np.ndarray
    ) -> None:
        self.windows = _windows(view, table)
        self._grid, self._shapes, self._taper = view.grid, table.shape, table.taper
        self._origins = np.einsum('pij,pj->pi', table.to_unit, view.origin - table.centre)
        self._units = table.to_unit @ view.axes
        self._distance, self._index = distance, index

    def place_large(self, parts: np.ndarray) -> None:
        """Write one part after the other; they come nearest first."""
        for part, window in zip(parts.tolist(), self.windows[parts].tolist(), strict=True):
            top, bottom, left, right = (int(bound) for bound in window[:4])
            pixels = slice(top, bottom), slice(left, right)
            target = self._distance[pixels]
            if target.max() <= window[4]:
                continue
            met = self._met_in(pixels, part, int(self._shapes[part]))
            nearer = met < target
            np.copyto(target, met, where=nearer, casting='same_kind')
            np.copyto(self._index[pixels], np.int16(FIRST_PART + part), where=nearer)

    def place_small(self, parts: np.ndarray, shape: int) -> None:
        """Write all parts at once: a part of few pixels takes as many steps as a large one."""
        top, bottom, left, right = self.windows[parts, :4].astype(np.intp).T
        width = right - left
        count = (bottom - top) * width
        which = np.repeat(np.arange(len(parts)), count)
        within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        row, column = top[which] + within // width[which], left[which] + within % width[which]
        met = self._met_at(row, column, parts[which], shape)
        nearer = np.flatnonzero(met < self._distance[row, column])
        nearer = nearer[np.argsort(-met[nearer], kind='stable')]  # the nearest is written last
        row, column = row[nearer], column[nearer]
        self._distance[row, column] = met[nearer]
        self._index[row, column] = FIRST_PART + parts[which[nearer]]

    def _met_in(self, window: tuple[slice, slice], part: int, shape: int) -> np.ndarray:
        """How far away the rays of a window meet a part, (h, w); inf where they miss."""
        grid = self._grid
        all_x, all_y = (grid.x32, grid.y32) if shape == BOX else (grid.x, grid.y)
        x = all_x[:, window[1]] if len(all_x) == 1 else all_x[window]
        y = all_y[window[0]] if all_y.shape[1] == 1 else all_y[window]
        direction = [x * a + (y * b + c) for a, b, c in self._units[part].tolist()]
        return meet_unit(shape, self._origins[part].tolist(), direction, float(self._taper[part]))

    def _met_at(
        self, row: np.ndarray, column: np.ndarray, part: np.ndarray, shape: int
    ) -> np.ndarray:
        """How far away single pixels' rays each meet a part of their own, (n,)."""
        x = self._grid.x[row if len(self._grid.x) > 1 else 0, column]
        y = self._grid.y[row, column if self._grid.y.shape[1] > 1 else 0]
        units = np.take(self._units.reshape(-1, 9).T, part, axis=1)
        direction = [x * units[i] + y * units[i + 1] + units[i + 2] for i in (0, 3, 6)]
        origin = list(np.take(self._origins.T, part, axis=1))
        return meet_unit(shape, origin, direction, np.take(self._taper, part))


def _backdrop(
    view: View, hall: Hall | None, ground_m: float | None
) -> tuple[np.ndarray, np.ndarray]:
    dx, dy, dz = view.directions
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
    x, y, z = np.abs(x), np.abs(y), np.abs(z)  # -inf along a wall becomes inf: never
    distance = np.minimum(np.minimum(x, y), z)
    index = np.where(x == distance, WALLS + east, WALLS + 2 + north)
    index = np.where(z == distance, np.where(up, CEILING, GROUND), index).astype(np.int16)
    return distance, index


def _windows(view: View, table: PartTable) -> np.ndarray:
    """Per part: first and past-last row, first and past-last column, least Z; (P, 5)."""
    corners = (table.corners - view.origin).reshape(-1, 3) @ view.axes
    points = np.ascontiguousarray(corners.reshape(-1, 8, 3).transpose(2, 1, 0))
    ahead = points[2] >= NEAR_M
    low, high = _extent(points, ahead)
    split = np.flatnonzero(ahead.any(axis=0) & ~ahead.all(axis=0))
    if len(split):  # across the camera's plane: only what is ahead counts
        low[:, split], high[:, split] = _extent(*_cut(points[:, :, split], ahead[:, split]))
    columns = _lines(view.grid.column_range, low[0], high[0])
    rows = _lines(view.grid.row_range, low[1], high[1])
    return np.stack([*rows, *columns, np.maximum(points[2].min(axis=0), NEAR_M)], axis=1)


def _cut(points: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3, 8, n) and where edges cross the camera's plane, and which of them count."""
    a, b = points[:, _EDGES[:, 0]], points[:, _EDGES[:, 1]]
    with np.errstate(divide='ignore', invalid='ignore'):
        cut = a + (NEAR_M - a[2]) / (b[2] - a[2]) * (b - a)
    crosses = ahead[_EDGES[:, 0]] != ahead[_EDGES[:, 1]]
    return np.concatenate([points, cut], axis=1), np.concatenate([ahead, crosses])


def _extent(points: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest normalised x, y (2, P) of points ahead; inf, -inf if there are none."""
    flat = points[:2] / np.where(ahead, points[2], 1.0)
    return np.where(ahead, flat, np.inf).min(axis=1), np.where(ahead, flat, -np.inf).max(axis=1)


def _lines(
    ranges: tuple[np.ndarray, np.ndarray], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and past-last line of pixels between the values of each part, (P,).

    Both ends of the range of a line increase from line to line, with any lens.
    """
    margin = 1e-4
    first = np.searchsorted(ranges[1], low - margin, 'left')
    past = np.searchsorted(ranges[0], high + margin, 'right')
    return first, past


# --- The surface that every pixel shows: place, normal, texture coordinates, finish.

_BACKDROP_NORMALS = np.array(
    [(0, 0, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], np.float32
)


@dataclasses.dataclass(frozen=True)
class SurfacePoints:
    """Per pixel, (H, W): three arrays of place (metres) and normal, `u`, `v` in metres on the
    surface, float32; `finish` uint8; `object_id` int16.
    """

    place: list[np.ndarray]
    normal: list[np.ndarray]
    u: np.ndarray
    v: np.ndarray
    finish: np.ndarray
    object_id: np.ndarray


def surface_points(
    view: View, place: Place, table: PartTable, distance: np.ndarray, index: np.ndarray
) -> SurfacePoints:
    """Return the surface points of what `cast` found."""
    reach = np.where(np.isfinite(distance), distance, np.float32(0))
    points = [
        np.float32(start) + reach * along
        for start, along in zip(view.origin.tolist(), view.directions, strict=True)
    ]
    walls, ceiling = (0, 0, 0, 0), 0
    if place.hall is not None:
        walls, ceiling = place.hall.walls, place.hall.ceiling
    ground, ground_id = place.floor, FLOOR_ID
    if place.ground_m < 0:
        ground, ground_id = place.ground, STRUCTURE_ID
    finishes = np.array([0, ground, ceiling, *walls], np.uint8)
    ids = np.array([SKY_ID, ground_id] + 5 * [STRUCTURE_ID], np.int16)
    extra = np.zeros((len(table), 3), np.float32)
    normals = np.concatenate([_BACKDROP_NORMALS, extra])
    normal = [np.take(normals[:, i], index) for i in range(3)]
    level = index <= CEILING
    u = np.where(level | (index >= WALLS + 2), points[0], points[1])
    v = np.where(level, points[1], points[2])
    finish = np.take(np.concatenate([finishes, table.finish]), index)
    object_id = np.take(np.concatenate([ids, table.object_id]), index)
    result = SurfacePoints(points, normal, u, v, finish, object_id)
    if len(table):
        _add_parts(result, table, index)
    return result


def _add_parts(surface: SurfacePoints, table: PartTable, index: np.ndarray) -> None:
    """Fill in normals and texture coordinates of parts."""
    where = np.flatnonzero(index.ravel() >= FIRST_PART)
    part = index.ravel()[where] - FIRST_PART
    matrix = np.take(table.to_unit.reshape(-1, 9).T.astype(np.float32), part, axis=1)
    centre = np.take(table.centre.T.astype(np.float32), part, axis=1)
    half = np.take(table.half.T.astype(np.float32), part, axis=1)
    x, y, z = (axis.ravel()[where] - centre[i] for i, axis in enumerate(surface.place))
    unit = [dot(matrix[3 * i : 3 * i + 3], (x, y, z)) for i in range(3)]
    shape = table.shape[part]
    is_box, is_ball = shape == BOX, shape == BALL
    size = [np.abs(axis) for axis in unit]
    # For a box, the face; for a tube, whether it is a lid, and the slope.
    first = is_box & (size[0] >= size[1]) & (size[0] >= size[2])
    second = is_box & ~first & (size[1] >= size[2])
    third = is_box & ~first & ~second
    lid = ~is_box & ~is_ball & (size[2] > 0.9999)
    top = third | lid
    around = ~is_box & ~lid
    taper = np.take(table.taper.astype(np.float32), part)
    rate = 0.5 * (taper - 1)
    slope = -rate * (0.5 * (1 + taper) + rate * unit[2])
    inner = [
        np.where(first | around, unit[0], 0),
        np.where(second | around, unit[1], 0),
        np.where(top | is_ball, unit[2], np.where(around, slope, 0)),
    ]
    outward = [dot(matrix[i::3], inner) for i in range(3)]
    length = np.sqrt(dot(outward, outward))
    length = 1 / np.maximum(length, np.float32(1e-12))
    for target, axis in zip(surface.normal, outward, strict=True):
        target.ravel()[where] = axis * length
    turn = np.zeros_like(length)
    bent = np.flatnonzero(around)
    turn[bent] = np.arctan2(unit[1][bent], unit[0][bent])
    local = [unit[i] * half[i] for i in range(3)]
    across = np.where(around, turn * half[0], np.where(first, local[1], local[0]))
    up = np.where(top, local[1], local[2])
    # Every part shows its own piece of the pattern.
    surface.u.ravel()[where] = across + np.float32(0.618) * (part % 97)
    surface.v.ravel()[where] = up + half[2] * ~top


# --- The floor from above: its finishes, and how much nearby parts darken it.

CELLS, COARSE = 1024, 256  # on each side of the plan of finishes, and of darkness
DARKEST = 0.6
SHIFT = 4  # fractional bits of a corner, in cells
HANGING_M = 0.5  # parts higher than this do not darken the floor
_ROUND = np.array([(math.cos(i * math.tau / 10), math.sin(i * math.tau / 10)) for i in range(10)])
_SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


class FloorPlan:
    """The floor of a square with sides of 2 * `reach_m` about (x_m, y_m)."""

    def __init__(
        self, place: Place, table: PartTable, x_m: float, y_m: float, reach_m: float
    ) -> None:
        self._corner = np.array([x_m - reach_m, y_m - reach_m])
        self._per_metre = 1 / (2 * reach_m)
        self._floor = place.floor
        self._finish = self._finishes(place) if place.markings else None
        self._open = self._openness(table)

    def lay(self, surface: SurfacePoints, on_floor: np.ndarray) -> None:
        """Give the pixels of the floor the finishes of its markings."""
        if self._finish is None:
            return
        columns, rows = self._cells(surface, CELLS)
        finish = cv2.remap(self._finish, columns, rows, cv2.INTER_NEAREST, borderValue=self._floor)
        np.copyto(surface.finish, finish, where=on_floor)

    def occlusion(self, surface: SurfacePoints) -> np.ndarray:
        """Return the share of ambient light that reaches the floor, (H, W) float32."""
        columns, rows = self._cells(surface, COARSE)
        share = cv2.remap(self._open, columns, rows, cv2.INTER_LINEAR, borderValue=255)
        return share.astype(np.float32) * np.float32(1 / 255)

    def _cells(self, surface: SurfacePoints, count: int) -> tuple[np.ndarray, np.ndarray]:
        scale = np.float32(self._per_metre * count)
        x, y = (np.float32(c) * scale + np.float32(0.5) for c in self._corner)
        return surface.place[0] * scale - x, surface.place[1] * scale - y

    def _finishes(self, place: Place) -> np.ndarray:
        plan = np.full((CELLS, CELLS), place.floor, np.uint8)
        for marking in place.markings:
            corners = self._polygon(np.array(marking.corners), CELLS)
            cv2.fillPoly(plan, [corners], marking.finish, shift=SHIFT)
        return plan

    def _outlines(self, table: PartTable, parts: np.ndarray, outline: np.ndarray) -> np.ndarray:
        """Outlines of parts from above, (n, corners, 2)."""
        scaled = outline * table.half[parts, None, :2]
        turned = scaled @ table.turn[parts, :2, :2].transpose(0, 2, 1)
        return self._polygon(turned + table.centre[parts, None, :2], COARSE)

    def _polygon(self, corners: np.ndarray, count: int) -> np.ndarray:
        """Convert corners in metres to what `cv2.fillPoly` takes, for a plan of `count` cells."""
        cells = (corners - self._corner) * (self._per_metre * count) - 0.5
        cells = np.clip(cells, -4 * count, 5 * count)
        return np.rint(cells * 2**SHIFT).astype(np.int32)

    def _openness(self, table: PartTable) -> np.ndarray:
        plan = np.full((COARSE, COARSE), 255, np.uint8)
        bottom = table.corners[:, :, 2].min(axis=1) if len(table) else np.zeros(0)
        away = np.abs(table.centre[:, :2] - self._corner - 0.5 / self._per_metre).max(axis=1)
        close = away < 0.5 / self._per_metre + table.half.max(axis=1)
        close &= (bottom > -0.2) & (bottom < HANGING_M) & (table.object_id != FLOOR_ID)
        dark = DARKEST * (1 - np.maximum(bottom, 0) / HANGING_M)
        bright = (255 * (1 - dark)).astype(int)
        order = np.argsort(-bottom, kind='stable')
        order = order[close[order]]
        square = table.shape[order] == BOX
        outlines = iter(self._outlines(table, order[square], _SQUARE))
        rounds = iter(self._outlines(table, order[~square], _ROUND))
        for is_square, value in zip(square.tolist(), bright[order].tolist(), strict=True):
            cv2.fillPoly(plan, [next(outlines if is_square else rounds)], value, shift=SHIFT)
        sigma = max(0.10 * self._per_metre * COARSE, 0.8)
        near = cv2.GaussianBlur(plan, (0, 0), sigma)
        wide = cv2.blur(plan, (int(6 * sigma) | 1, int(6 * sigma) | 1))
        return cv2.addWeighted(near, 0.6, wide, 0.4, 0)
