"""A scene as data, and where rays meet it: solids and their materials, in metres.

The world is x forward, y left, z up (REP 103); the floor is z = 0 and infinite. `render` draws it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.geometry import CameraModel

# Columns: the axes of the optical frame in a body frame (x forward, y left, z up; REP 103).
OPTICAL_IN_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclasses.dataclass(frozen=True)
class Pose:
    """Position in metres; yaw to the left, pitch downwards, roll to the right positive, radians.

    Turned by yaw, then pitch, then roll, as a body frame is (REP 103).
    """

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.3
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    @property
    def position(self) -> np.ndarray:
        """(3,) float64, metres, in the world."""
        return np.array([self.x_m, self.y_m, self.z_m])

    @property
    def optical_axes(self) -> np.ndarray:
        """(3, 3) float64: columns are the optical frame's x, y and z in the world."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
        pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
        roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
        return yaw @ pitch @ roll @ OPTICAL_IN_BODY


Colour = tuple[float, float, float]
Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]


class SceneError(ValueError):
    """A scene, or a place in it, that cannot be rendered; the text says which and why."""


def _check_positive(part: object, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SceneError(
                f'{name} of {type(part).__name__} is {value}: it must be a positive number'
            )


def _bounds(x: float, y: float, dx: float, dy: float, bottom: float, top: float) -> Bounds:
    return (x - dx, y - dy, bottom), (x + dx, y + dy, top)


@dataclasses.dataclass(frozen=True)
class Material:
    """A colour (RGB, 0..1) under a pattern that repeats every `repeat_m` (across, up) metres."""

    colour: Colour = (0.7, 0.7, 0.7)
    pattern: str = 'plain'
    repeat_m: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_positive(self, repeat_m=min(self.repeat_m))


@dataclasses.dataclass(frozen=True)
class Room:
    """Four walls around the camera, along x and y, and a ceiling unless `ceiling` is None."""

    x_min_m: float
    x_max_m: float
    y_min_m: float
    y_max_m: float
    height_m: float = 2.5
    walls: Material = Material((0.82, 0.80, 0.74))
    ends: Material | None = None
    ceiling: Material | None = Material((0.9, 0.9, 0.9))

    def __post_init__(self) -> None:
        _check_positive(
            self,
            height_m=self.height_m,
            length=self.x_max_m - self.x_min_m,
            width=self.y_max_m - self.y_min_m,
        )


@dataclasses.dataclass(frozen=True)
class Box:
    """An upright box, turned by `yaw_rad` about its vertical axis."""

    x_m: float
    y_m: float
    length_m: float
    width_m: float
    height_m: float
    yaw_rad: float = 0.0
    bottom_m: float = 0.0
    material: Material = Material((0.72, 0.53, 0.33))

    def __post_init__(self) -> None:
        _check_positive(self, length_m=self.length_m, width_m=self.width_m, height_m=self.height_m)

    @property
    def bounds(self) -> Bounds:
        """An axis-parallel box around it: lower and upper corner, metres."""
        c, s = abs(math.cos(self.yaw_rad)), abs(math.sin(self.yaw_rad))
        dx = 0.5 * (c * self.length_m + s * self.width_m)
        dy = 0.5 * (s * self.length_m + c * self.width_m)
        return _bounds(self.x_m, self.y_m, dx, dy, self.bottom_m, self.bottom_m + self.height_m)


@dataclasses.dataclass(frozen=True)
class Wedge(Box):
    """A box whose top slopes along its length: a ramp.

    `height_m` is that of its front end (towards its own +x), `rear_height_m` that of the other one,
    which is not the higher of the two.
    """

    rear_height_m: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rear_height_m <= self.height_m:
            raise SceneError(
                f'rear_height_m of Wedge is {self.rear_height_m}: it must be from 0 to height_m '
                f'({self.height_m}); turn the wedge round for a slope the other way'
            )


@dataclasses.dataclass(frozen=True)
class Cylinder:
    """An upright cylinder: a pole, a bin, a pillar."""

    x_m: float
    y_m: float
    radius_m: float
    height_m: float
    bottom_m: float = 0.0
    material: Material = Material((0.35, 0.45, 0.55))

    def __post_init__(self) -> None:
        _check_positive(self, radius_m=self.radius_m, height_m=self.height_m)

    @property
    def bounds(self) -> Bounds:
        """An axis-parallel box around it: lower and upper corner, metres."""
        r = self.radius_m
        return _bounds(self.x_m, self.y_m, r, r, self.bottom_m, self.bottom_m + self.height_m)


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A ball; `z_m` is its centre."""

    x_m: float
    y_m: float
    z_m: float
    radius_m: float
    material: Material = Material((0.75, 0.25, 0.2))

    def __post_init__(self) -> None:
        _check_positive(self, radius_m=self.radius_m)

    @property
    def bounds(self) -> Bounds:
        """An axis-parallel box around it: lower and upper corner, metres."""
        r = self.radius_m
        return _bounds(self.x_m, self.y_m, r, r, self.z_m - r, self.z_m + r)


Solid = Box | Cylinder | Sphere


@dataclasses.dataclass(frozen=True)
class Scene:
    """A floor, an optional room around the camera, solids in it, and the air between.

    `haze_m`: distance over which colours fade to 37 %, towards `haze_colour`. `seed`: of the grain
    of all patterns.
    """

    floor: Material = Material((0.62, 0.62, 0.6), 'tiles', (0.8, 0.8))
    room: Room | None = None
    solids: tuple[Solid, ...] = ()
    sky_colour: Colour = (0.55, 0.7, 0.9)
    haze_colour: Colour = (0.75, 0.77, 0.78)
    haze_m: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, haze_m=self.haze_m)


# --- One ray per pixel, and which pixels can see a given upright box.
#
# A ray's direction has length 1 along the optical axis, so the distance along a ray is the depth Z
# of what it meets.

NEAR_M = 0.01  # nothing nearer than this is seen
Window = tuple[slice, slice]

_CORNERS = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])
_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Pixel directions of a camera, and their range along every row and column."""

    x: np.ndarray
    y: np.ndarray
    blind: np.ndarray | None
    column_range: tuple[np.ndarray, np.ndarray]
    row_range: tuple[np.ndarray, np.ndarray]


@functools.lru_cache(maxsize=4)
def _grid(camera: CameraModel) -> _Grid:
    x, y = camera.normalised_grid()
    columns = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)  # ignoring NaN
    rows = np.fmin.reduce(y, axis=1), np.fmax.reduce(y, axis=1)
    blind = ~np.isfinite(x)
    if not blind.any():
        return _Grid(x, y, None, columns, rows)
    x, y = np.where(blind, np.float32(0), x), np.where(blind, np.float32(0), y)
    return _Grid(x, y, blind, columns, rows)


class Rays:
    """The rays of one picture: `directions`, three (H, W) float32 arrays, and their `origin`.

    Directions have length 1 along the optical axis, so distance along a ray is depth Z.
    """

    def __init__(self, camera: CameraModel, pose: Pose) -> None:
        self._grid = _grid(camera)
        self._axes = pose.optical_axes
        self.origin = pose.position
        right, down, ahead = self._axes.T.astype(np.float32)
        self.directions = [
            self._grid.x * right[i] + self._grid.y * down[i] + ahead[i] for i in range(3)
        ]
        self.shape = self._grid.x.shape
        self.blind = self._grid.blind  # pixels without a direction by the lens model, or None

    def window(self, bounds: Bounds) -> Window | None:
        """Return the rows and columns that may see the upright box `bounds`; None: none do."""
        corners = np.where(_CORNERS, bounds[1], bounds[0])
        points = (corners - self.origin) @ self._axes
        depth = points[:, 2]
        ahead = [points[depth >= NEAR_M]]
        for i, j in _EDGES:  # of an edge that passes the camera, only the part ahead counts
            if (depth[i] < NEAR_M) != (depth[j] < NEAR_M):
                share = (NEAR_M - depth[i]) / (depth[j] - depth[i])
                ahead.append(points[None, i] + share * (points[j] - points[i]))
        seen = np.concatenate(ahead)
        if len(seen) == 0:
            return None
        rows = _within(self._grid.row_range, seen[:, 1] / seen[:, 2])
        columns = _within(self._grid.column_range, seen[:, 0] / seen[:, 2])
        return None if rows is None or columns is None else (rows, columns)


def _within(ranges: tuple[np.ndarray, np.ndarray], values: np.ndarray) -> slice | None:
    """The lines of pixels whose range of directions meets that of `values`."""
    margin = 1e-4
    meets = (ranges[0] <= values.max() + margin) & (ranges[1] >= values.min() - margin)
    hits = np.flatnonzero(meets)
    return slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else None


# --- Where rays meet solids, in closed form. In float64: near a silhouette float32 is not enough.

Directions = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Impact:
    """Per ray, (h, w) arrays: distance, unit normal in the world, place on the surface in metres.

    Where the ray misses, the distance is inf and the rest is undefined.
    """

    distance: np.ndarray
    normal: tuple[np.ndarray, np.ndarray, np.ndarray]
    across: np.ndarray
    up: np.ndarray


def meet(solid: Solid, origin: np.ndarray, directions: Directions) -> Impact:
    """Return the first point of every ray on `solid` from outside; origin (3,), three (h, w)
    arrays.
    """
    directions = [axis.astype(np.float64) for axis in directions]
    with np.errstate(divide='ignore', invalid='ignore'):
        if isinstance(solid, Wedge):
            return _meet_wedge(solid, origin, directions)
        if isinstance(solid, Box):
            return _meet_box(solid, origin, directions)
        if isinstance(solid, Cylinder):
            return _meet_cylinder(solid, origin, directions)
        return _meet_sphere(solid, origin, directions)


def _meet_box(box: Box, origin: np.ndarray, directions: Directions) -> Impact:
    c, s = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    dx, dy, dz = directions
    x, y = origin[0] - box.x_m, origin[1] - box.y_m
    local = [c * dx + s * dy, c * dy - s * dx, dz]
    start = [c * x + s * y, c * y - s * x, origin[2] - box.bottom_m - 0.5 * box.height_m]
    half = [0.5 * box.length_m, 0.5 * box.width_m, 0.5 * box.height_m]
    enter = [(-np.copysign(h, d) - o) / d for o, d, h in zip(start, local, half, strict=True)]
    leave = [(np.copysign(h, d) - o) / d for o, d, h in zip(start, local, half, strict=True)]
    near = np.maximum(np.maximum(enter[0], enter[1]), enter[2])
    far = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    distance = np.where((near <= far) & (near > 0), near, np.inf)
    side = [near == enter[0], near == enter[1], near == enter[2]]
    facing = [np.where(hit, -np.sign(d), 0.0) for hit, d in zip(side, local, strict=True)]
    reach = np.where(np.isfinite(distance), distance, 0.0)
    point = [o + reach * d + h for o, d, h in zip(start, local, half, strict=True)]
    across = np.where(side[0], point[1], point[0])
    up = np.where(side[2], point[1], point[2])
    normal = (c * facing[0] - s * facing[1], s * facing[0] + c * facing[1], facing[2])
    return Impact(distance, normal, across, up)


def _meet_wedge(wedge: Wedge, origin: np.ndarray, directions: Directions) -> Impact:
    """As a box, with the half-space below the slope in place of that below its top."""
    c, s = math.cos(wedge.yaw_rad), math.sin(wedge.yaw_rad)
    dx, dy, dz = directions
    x, y = origin[0] - wedge.x_m, origin[1] - wedge.y_m
    local = [c * dx + s * dy, c * dy - s * dx, dz]
    start = [c * x + s * y, c * y - s * x, origin[2] - wedge.bottom_m]
    slope = (wedge.height_m - wedge.rear_height_m) / wedge.length_m
    middle_m = 0.5 * (wedge.height_m + wedge.rear_height_m)
    half_length, half_width = 0.5 * wedge.length_m, 0.5 * wedge.width_m
    # Outward normals of its six faces and their distances from the local origin.
    faces = [
        ((1.0, 0.0, 0.0), half_length),
        ((-1.0, 0.0, 0.0), half_length),
        ((0.0, 1.0, 0.0), half_width),
        ((0.0, -1.0, 0.0), half_width),
        ((0.0, 0.0, -1.0), 0.0),
        ((-slope, 0.0, 1.0), middle_m),
    ]
    near, far = np.full(dz.shape, -np.inf), np.full(dz.shape, np.inf)
    face = np.zeros(dz.shape, np.int8)
    for number, ((nx, ny, nz), out) in enumerate(faces):
        beyond = nx * start[0] + ny * start[1] + nz * start[2] - out  # above 0: outside of it
        rate = nx * local[0] + ny * local[1] + nz * local[2]
        at = -beyond / rate
        enter = np.where(rate < 0, at, -np.inf)
        missed = (rate == 0) & (beyond > 0)
        leave = np.where(rate > 0, at, np.where(missed, -np.inf, np.inf))
        face[enter > near] = number
        near, far = np.maximum(near, enter), np.minimum(far, leave)
    distance = np.where((near <= far) & (near > 0), near, np.inf)
    reach = np.where(np.isfinite(distance), distance, 0.0)
    point = [o + reach * d for o, d in zip(start, local, strict=True)]
    normals = np.array([normal for normal, _ in faces])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    facing = [np.take(normals[:, axis], face) for axis in range(3)]
    across = np.where(face < 2, point[1], point[0])
    up = np.where(face >= 4, point[1], point[2])
    normal = (c * facing[0] - s * facing[1], s * facing[0] + c * facing[1], facing[2])
    return Impact(distance, normal, across, up)


def _meet_cylinder(cylinder: Cylinder, origin: np.ndarray, directions: Directions) -> Impact:
    dx, dy, dz = directions
    x, y = origin[0] - cylinder.x_m, origin[1] - cylinder.y_m
    low, high = cylinder.bottom_m, cylinder.bottom_m + cylinder.height_m
    a, b = dx * dx + dy * dy, x * dx + y * dy
    inside = a * cylinder.radius_m**2 - (x * dy - y * dx) ** 2
    side = (-b - np.sqrt(inside)) / a
    height = origin[2] + side * dz
    on_side = (inside >= 0) & (side > 0) & (height >= low) & (height <= high)
    level = high if origin[2] > high else low
    lid = (level - origin[2]) / dz
    on_lid = (lid > 0) & ((x + lid * dx) ** 2 + (y + lid * dy) ** 2 <= cylinder.radius_m**2)
    on_lid &= not low <= origin[2] <= high
    distance = np.where(on_lid, lid, np.where(on_side, side, np.inf))
    reach = np.where(np.isfinite(distance), distance, 0.0)
    px, py = x + reach * dx, y + reach * dy
    r = cylinder.radius_m
    normal = (
        np.where(on_lid, 0.0, px / r),
        np.where(on_lid, 0.0, py / r),
        np.where(on_lid, 1.0 if origin[2] > high else -1.0, 0.0),
    )
    across = np.where(on_lid, px, r * np.arctan2(py, px))
    up = np.where(on_lid, py, origin[2] + reach * dz - low)
    return Impact(distance, normal, across, up)


def _meet_sphere(sphere: Sphere, origin: np.ndarray, directions: Directions) -> Impact:
    dx, dy, dz = directions
    x, y, z = origin[0] - sphere.x_m, origin[1] - sphere.y_m, origin[2] - sphere.z_m
    a, b = dx * dx + dy * dy + dz * dz, x * dx + y * dy + z * dz
    inside = b * b - a * (x * x + y * y + z * z - sphere.radius_m**2)
    near = (-b - np.sqrt(inside)) / a
    distance = np.where((inside >= 0) & (near > 0), near, np.inf)
    reach = np.where(np.isfinite(distance), distance, 0.0)
    px, py, pz = x + reach * dx, y + reach * dy, z + reach * dz
    r = sphere.radius_m
    return Impact(distance, (px / r, py / r, pz / r), r * np.arctan2(py, px), pz + r)
