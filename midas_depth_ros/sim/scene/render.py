"""A scene, a camera and a pose give a picture and the exact depth of every pixel.

All rays are cast at once with NumPy: surface, position on it and light first, colours last. Depth
is exact; the picture is recognisable, and bit-identical for the same scene.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.scene.scene import (
    Box,
    Material,
    Pose,
    Rays,
    Room,
    Scene,
    SceneError,
    Solid,
    meet,
)

# --- What every pixel shows before it has a colour: floor, walls and sky first, then solids.

SKY, FLOOR, SIDE_WALL, END_WALL, CEILING, FIRST_SOLID = range(6)  # material indices
BACKDROP_LIGHT = (1.0, 1.0, 0.9, 0.8, 0.95)  # by material index
CREASE_M, CREASE = 0.22, 0.3  # how far and how much meeting surfaces darken each other


@dataclasses.dataclass
class Surfaces:
    """What each pixel shows, (H, W) arrays: the surface, where on it, and in what light.

    distance: along the ray, = depth Z in metres, inf for the sky. material: index, uint8. across,
    up: position on the surface, metres. light: factor on the colour. slant: cosine of ray and
    normal.
    """

    distance: np.ndarray
    material: np.ndarray
    across: np.ndarray
    up: np.ndarray
    light: np.ndarray
    slant: np.ndarray

    def band(self, rows: slice) -> Surfaces:
        """Return a view of some rows."""
        return Surfaces(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def backdrop(room: Room | None, rays: Rays) -> Surfaces:
    """Return the floor and the room; the sky where there are no walls or ceiling."""
    (ox, oy, oz), (dx, dy, dz) = rays.origin.astype(np.float32), rays.directions
    with np.errstate(divide='ignore', invalid='ignore'):
        if room is None:
            down = dz < 0
            distance = np.where(down, -oz / dz, np.float32(np.inf))
            material = np.where(down, np.uint8(FLOOR), np.uint8(SKY))
            slant = np.abs(dz)
        else:
            distance, material, slant = _meet_room(room, rays)
    reach = np.where(np.isfinite(distance), distance, np.float32(0))
    x, y, z = ox + reach * dx, oy + reach * dy, oz + reach * dz
    is_end = material == END_WALL
    surfaces = Surfaces(
        distance=distance,
        material=material,
        across=np.where(is_end, y, x),
        up=np.where(is_end | (material == SIDE_WALL), z, y),
        light=np.ones_like(distance),
        slant=slant,
    )
    if room is not None:
        _darken_creases(room, surfaces, y, z)
    return surfaces


def _meet_room(room: Room, rays: Rays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, material and slant of the inside of the room, or of the sky without ceiling."""
    (ox, oy, oz), (dx, dy, dz) = rays.origin, rays.directions
    lid = math.inf if room.ceiling is None else room.height_m - oz
    ends = _until(dx, room.x_min_m - ox, room.x_max_m - ox)
    sides = _until(dy, room.y_min_m - oy, room.y_max_m - oy)
    levels = _until(dz, -oz, lid)
    distance = np.minimum(np.minimum(ends, sides), levels)
    is_level, is_side = distance == levels, distance == sides
    material = np.where(is_side, np.uint8(SIDE_WALL), np.uint8(END_WALL))
    material = np.where(is_level, np.where(dz < 0, np.uint8(FLOOR), np.uint8(CEILING)), material)
    slant = np.where(is_level, np.abs(dz), np.where(is_side, np.abs(dy), np.abs(dx)))
    if room.ceiling is None:
        above = (distance * dz > room.height_m - oz) | ~np.isfinite(distance)
        material[above], distance[above] = SKY, np.inf
    return distance, material, slant


def _until(direction: np.ndarray, low: float, high: float) -> np.ndarray:
    """How far a ray goes along one axis before it meets `low` or `high`; inf for direction 0."""
    distance = np.where(direction > 0, np.float32(high), np.float32(low)) / direction
    distance[direction == 0] = np.inf
    return distance


def _darken_creases(room: Room, surfaces: Surfaces, y: np.ndarray, z: np.ndarray) -> None:
    """Corners get ambient light from fewer directions."""
    to_side = np.minimum(y - np.float32(room.y_min_m), np.float32(room.y_max_m) - y)
    to_level = np.minimum(z, np.float32(room.height_m) - z)
    material = surfaces.material
    gap = np.where(material == SIDE_WALL, to_level, to_side)
    gap = np.where(material == END_WALL, np.minimum(to_side, to_level), gap)
    gap *= np.float32(1 / CREASE_M)
    gap *= gap
    light = look_up(material, BACKDROP_LIGHT) * (1 - np.float32(CREASE) / (1 + gap))
    surfaces.light = np.where(material == SKY, np.float32(1), light)


# --- Surface patterns: seamless squares that multiply the colour of a material.
#
# `sheet(seed)` has all of them below each other, so that a single look-up textures a picture.

SIDE = 256  # texels along one side of a pattern
BORDER = 1  # texels by which a pattern continues, so that interpolation has no seam


@dataclasses.dataclass(frozen=True)
class Sheet:
    """All patterns: `texels` (rows, SIDE + 2, 3) uint8, and where each pattern starts.

    `first_row` and `mean` (3 values, 0..1) are by pattern name.
    """

    texels: np.ndarray
    first_row: dict[str, int]
    mean: dict[str, np.ndarray]


def _grain(rng: np.random.Generator, amount: float, blur: float) -> np.ndarray:
    """Seamless noise about 0 with deviation `amount`, smoothed over `blur` texels."""
    noise = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    frequency = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None, :] ** 2
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-frequency * (4.0 * blur) ** 2))
    return (smooth * (amount / smooth.std())).astype(np.float32)


def _lines(position: np.ndarray, width: float) -> np.ndarray:
    """1 on a line of `width` around every whole number of `position`, else 0."""
    return (np.abs(position - np.round(position)) < 0.5 * width).astype(np.float32)


def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of every texel, 0..1: u across the columns, v up the rows."""
    centre = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    u, v = np.meshgrid(centre, centre)
    return u, v


def _plain(rng: np.random.Generator) -> np.ndarray:
    return 0.9 + _grain(rng, 0.02, 1.0) + _grain(rng, 0.025, 12.0)


def _checker(rng: np.random.Generator) -> np.ndarray:
    u, v = _coordinates()
    light = (np.floor(2 * u) + np.floor(2 * v)) % 2
    return 0.55 + 0.4 * light + _grain(rng, 0.02, 2.0)


def _tiles(rng: np.random.Generator) -> np.ndarray:
    """Two by two tiles of different brightness, with dark joints."""
    u, v = _coordinates()
    column, row = np.floor(2 * u).astype(int), np.floor(2 * v).astype(int)
    tone = rng.uniform(0.82, 1.0, (2, 2)).astype(np.float32)[row, column]
    joint = np.maximum(_lines(2 * u, 0.03), _lines(2 * v, 0.03))
    return (tone + _grain(rng, 0.03, 5.0)) * (1 - 0.35 * joint)


def _planks(rng: np.random.Generator) -> np.ndarray:
    """Eight rows of boards along u, ends staggered, with grain along them."""
    u, v = _coordinates()
    row = np.floor(8 * v).astype(int)
    along = 2 * u + rng.uniform(0, 1, 8).astype(np.float32)[row]
    board = (np.floor(along) % 2).astype(int)
    tone = rng.uniform(0.72, 1.0, (8, 2)).astype(np.float32)[row, board]
    fibre = cv2.blur(np.pad(_grain(rng, 0.25, 0.5), ((0, 0), (15, 15)), mode='wrap'), (31, 1))
    joint = np.maximum(_lines(8 * v, 0.06), _lines(along, 0.008))
    return (tone + fibre[:, 15:-15]) * (1 - 0.45 * joint)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    u, v = _coordinates()
    row = np.floor(8 * v).astype(int)
    along = 4 * u + 0.5 * (row % 2)
    tone = rng.uniform(0.75, 1.0, (8, 4)).astype(np.float32)
    tone = tone[row, np.floor(along).astype(int) % 4]
    joint = np.maximum(_lines(8 * v, 0.12), _lines(along, 0.05))
    return (tone + _grain(rng, 0.04, 1.5)) * (1 - 0.3 * joint) + 0.15 * joint


def _wall(rng: np.random.Generator) -> np.ndarray:
    """One section of a corridor's wall, floor to ceiling: skirting, a door, a picture."""
    u, v = _coordinates()
    paint = (0.93 + _grain(rng, 0.012, 1.0) + _grain(rng, 0.02, 16.0))[..., None]
    wall = paint * np.ones(3, np.float32)

    def patch(u0: float, u1: float, v0: float, v1: float, colour: tuple[float, ...]) -> None:
        inside = (u >= u0) & (u < u1) & (v >= v0) & (v < v1)
        wall[inside] = np.array(colour, np.float32) * (0.02 + paint[inside])

    patch(0.0, 1.0, 0.0, 0.045, (0.38, 0.36, 0.34))
    patch(0.10, 0.36, 0.0, 0.85, (0.50, 0.47, 0.42))
    patch(0.12, 0.34, 0.0, 0.83, (0.62, 0.42, 0.26))
    patch(0.31, 0.33, 0.40, 0.42, (0.85, 0.85, 0.8))
    patch(0.58, 0.82, 0.50, 0.74, (0.25, 0.22, 0.2))
    patch(0.60, 0.80, 0.52, 0.72, tuple(rng.uniform(0.35, 0.9, 3)))
    return wall


def _lamps(rng: np.random.Generator) -> np.ndarray:
    """A ceiling of panels with one bright lamp in the middle."""
    u, v = _coordinates()
    panel = (
        0.8 + _grain(rng, 0.01, 1.0) - 0.12 * np.maximum(_lines(4 * u, 0.02), _lines(4 * v, 0.02))
    )
    lamp = (np.abs(u - 0.5) < 0.2) & (np.abs(v - 0.5) < 0.07)
    return np.where(lamp, 1.5, panel)


def _carton(rng: np.random.Generator) -> np.ndarray:
    """A cardboard box: a strip of tape, a label, darker edges."""
    u, v = _coordinates()
    board = 0.88 + _grain(rng, 0.02, 3.0) - 0.2 * np.maximum(_lines(u, 0.03), _lines(v, 0.03))
    tape = np.abs(u - 0.5) < 0.08
    board = np.where(tape, board * 1.18, board)
    label = (np.abs(u - 0.78) < 0.11) & (np.abs(v - 0.3) < 0.1)
    return np.where(label, 1.35, board)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """Slanted warning stripes."""
    u, v = _coordinates()
    dark = (u + 2 * v) % 1.0 < 0.5
    return np.where(dark, 0.25, 1.0) + _grain(rng, 0.02, 2.0)


PATTERNS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    'plain': _plain,
    'checker': _checker,
    'tiles': _tiles,
    'planks': _planks,
    'bricks': _bricks,
    'wall': _wall,
    'lamps': _lamps,
    'carton': _carton,
    'stripes': _stripes,
}
BRIGHTEST = 1.5  # the multiplier that a texel of 255 stands for


@functools.lru_cache(maxsize=8)
def sheet(seed: int) -> Sheet:
    """Return all patterns with the grain of `seed`, bit-identical for the same seed."""
    rows, first_row, mean = [], {}, {}
    for index, (name, draw) in enumerate(PATTERNS.items()):
        tile = draw(np.random.default_rng((seed, index))).astype(np.float32)
        if tile.ndim == 2:
            tile = np.repeat(tile[..., None], 3, axis=2)
        texels = np.clip(np.rint(tile * (255 / BRIGHTEST)), 0, 255).astype(np.uint8)
        first_row[name] = index * (SIDE + 2 * BORDER)
        mean[name] = texels.mean(axis=(0, 1)) / 255
        rows.append(np.pad(texels, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode='wrap'))
    return Sheet(np.ascontiguousarray(np.concatenate(rows)), first_row, mean)


MAX_MATERIALS = 256  # material indices are uint8
FINEST = 0.12  # size of a pattern's details, as a share of its repeat
BAND = 64  # rows painted at a time, to stay in the processor's cache


def paint(
    surfaces: Surfaces, materials: Sequence[Material], scene: Scene, focal_px: float
) -> np.ndarray:
    """Return the picture, (H, W, 3) uint8. The sky has neither pattern nor haze."""
    rgb = np.empty((*surfaces.material.shape, 3), np.uint8)
    for first in range(0, len(rgb), BAND):
        rows = slice(first, first + BAND)
        rgb[rows] = _painted(surfaces.band(rows), materials, scene, focal_px)
    smooth_edges(rgb, surfaces.material)
    return rgb


def _materials(scene: Scene) -> list[Material]:
    """The materials of SKY to CEILING and of all solids, checked."""
    room = scene.room or Room(-1, 1, -1, 1)
    materials = [Material(scene.sky_colour), scene.floor, room.walls, room.ends or room.walls]
    materials += [room.ceiling or room.walls, *(solid.material for solid in scene.solids)]
    if len(materials) > MAX_MATERIALS:
        raise SceneError(f'{len(materials)} materials: a scene has at most {MAX_MATERIALS}')
    for material in materials:
        if material.pattern not in PATTERNS:
            raise SceneError(f'pattern {material.pattern!r} is not one of {", ".join(PATTERNS)}')
    return materials


def _painted(
    surfaces: Surfaces, materials: Sequence[Material], scene: Scene, focal_px: float
) -> np.ndarray:
    """Some rows of the picture: (pattern or its mean) x colour x light, then haze."""
    index, patterns = surfaces.material, sheet(scene.seed)
    sky = index == SKY
    distance = np.where(sky, np.float32(1), surfaces.distance)
    clear = np.where(sky, np.float32(1), np.exp(distance * np.float32(-1 / scene.haze_m)))
    details_px = look_up(index, [focal_px * FINEST * min(m.repeat_m) for m in materials])
    footprint = distance / (np.maximum(surfaces.slant, np.float32(1e-3)) * details_px)
    contrast = np.where(sky, np.float32(0), 1 / (1 + footprint * footprint))
    light = surfaces.light * clear
    detail, smooth = light * contrast * np.float32(1 / 255), light * (1 - contrast)
    texels = _texels(surfaces, materials, scene.seed)
    channels = []
    for channel in range(3):
        mean = [float(patterns.mean[m.pattern][channel]) for m in materials]
        mean[SKY] = 1 / BRIGHTEST
        colour = look_up(index, [m.colour[channel] * BRIGHTEST * 255 for m in materials])
        value = texels[..., channel] * detail + look_up(index, mean) * smooth
        channels.append(colour * value + np.float32(255 * scene.haze_colour[channel]) * (1 - clear))
    return cv2.convertScaleAbs(cv2.merge(channels))


def _texels(surfaces: Surfaces, materials: Sequence[Material], seed: int) -> np.ndarray:
    """The interpolated value of the pattern at every pixel, (h, w, 3) uint8."""
    index, patterns = surfaces.material, sheet(seed)
    u = surfaces.across * look_up(index, [1 / m.repeat_m[0] for m in materials])
    v = surfaces.up * look_up(index, [1 / m.repeat_m[1] for m in materials])
    first = look_up(index, [patterns.first_row[m.pattern] + BORDER - 0.5 for m in materials])
    columns = (u - np.floor(u)) * np.float32(SIDE) + np.float32(BORDER - 0.5)
    rows = (v - np.floor(v)) * np.float32(SIDE) + first
    return cv2.remap(patterns.texels, columns, rows, cv2.INTER_LINEAR)


# --- Rendering: the backdrop, solids before it, then colours.

AMBIENT, SUN, SHADE = 0.62, 0.38, 0.1  # light from everywhere, from the lamp, and lost facing away
TO_SUN = np.array([-0.45, 0.35, 0.82]) / np.linalg.norm([-0.45, 0.35, 0.82])
SHADOW_M, SHADOW = 0.45, 0.55  # how far and how much a solid darkens the floor around its foot


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What the camera sees.

    rgb: (H, W, 3) uint8. depth_z: (H, W) float32, metres along the optical axis (REP 118), inf for
    the sky. floor_mask: (H, W) bool, where the floor is seen.
    """

    rgb: np.ndarray
    depth_z: np.ndarray
    floor_mask: np.ndarray


def render(scene: Scene, camera: CameraModel, pose: Pose) -> Rendering:
    """Render `scene` as `camera` sees it from `pose`.

    Pixels without a direction by the lens model are black sky. Raises `SceneError` if the camera is
    below the floor or outside the room, and for a material that cannot be painted.
    """
    materials = _materials(scene)
    _check_inside(scene.room, pose)
    rays = Rays(camera, pose)
    surfaces = backdrop(scene.room, rays)
    for solid in scene.solids:
        _cast_contact_shadow(solid, rays, surfaces)
    for index, solid in enumerate(scene.solids, FIRST_SOLID):
        _place(index, solid, rays, surfaces)
    if rays.blind is not None:
        surfaces.material[rays.blind] = SKY
        surfaces.distance[rays.blind] = np.inf
    rgb = paint(surfaces, materials, scene, camera.fx)
    if rays.blind is not None:
        rgb[rays.blind] = 0
    return Rendering(rgb, surfaces.distance, surfaces.material == FLOOR)


def _check_inside(room: Room | None, pose: Pose) -> None:
    if pose.z_m <= 0:
        raise SceneError(f'camera is {pose.z_m} m high: it must be above the floor')
    if room is not None and not (
        room.x_min_m < pose.x_m < room.x_max_m
        and room.y_min_m < pose.y_m < room.y_max_m
        and pose.z_m < room.height_m
    ):
        raise SceneError(
            f'camera at ({pose.x_m}, {pose.y_m}, {pose.z_m}) m is not inside the room {room}'
        )


def _cast_contact_shadow(solid: Solid, rays: Rays, surfaces: Surfaces) -> None:
    """Darken the floor softly around the foot of a solid."""
    (x0, y0, bottom), (x1, y1, _) = solid.bounds
    strength = SHADOW * max(0.0, 1.0 - bottom / SHADOW_M)
    window = rays.window(((x0 - SHADOW_M, y0 - SHADOW_M, 0.0), (x1 + SHADOW_M, y1 + SHADOW_M, 0.0)))
    if window is None or strength == 0:
        return
    x = surfaces.across[window] - np.float32(solid.x_m)
    y = surfaces.up[window] - np.float32(solid.y_m)
    if isinstance(solid, Box):
        c, s = np.float32(np.cos(solid.yaw_rad)), np.float32(np.sin(solid.yaw_rad))
        along = np.abs(c * x + s * y) - np.float32(0.5 * solid.length_m)
        beside = np.abs(c * y - s * x) - np.float32(0.5 * solid.width_m)
        gap = np.hypot(np.maximum(along, 0), np.maximum(beside, 0))
    else:
        gap = np.maximum(np.hypot(x, y) - np.float32(solid.radius_m), 0)
    dark = np.square(np.maximum(1 - gap * np.float32(1 / SHADOW_M), 0)) * np.float32(strength)
    dark[surfaces.material[window] != FLOOR] = 0
    surfaces.light[window] *= 1 - dark


def _place(index: int, solid: Solid, rays: Rays, surfaces: Surfaces) -> None:
    """Write a solid where it is nearer than what is there."""
    window = rays.window(solid.bounds)
    if window is None:
        return
    directions = [axis[window] for axis in rays.directions]
    impact = meet(solid, rays.origin, directions)
    nearer = impact.distance < surfaces.distance[window]
    normal = [axis[nearer] for axis in impact.normal]
    ray = [axis[nearer] for axis in directions]
    facing = dot(normal, TO_SUN)
    light = AMBIENT + SUN * np.maximum(facing, 0) + SHADE * np.minimum(facing, 0)
    height = rays.origin[2] + impact.distance[nearer] * ray[2]
    for target, values in (
        (surfaces.distance, impact.distance[nearer]),
        (surfaces.across, impact.across[nearer]),
        (surfaces.up, impact.up[nearer]),
        (surfaces.light, light * (1 - CREASE / (1 + np.square(height / CREASE_M)))),
        (surfaces.slant, np.abs(dot(normal, ray))),
        (surfaces.material, index),
    ):
        target[window][nearer] = values


# --- Fast steps on whole pictures, also for `furnished`.

Three = Sequence[np.ndarray] | np.ndarray  # of one shape


def dot(one: Three, other: Three | Sequence[np.float32]) -> np.ndarray:
    """Return the sum of three products, pixel by pixel; `other` may be three numbers."""
    total = one[0] * other[0]
    product = one[1] * other[1]
    total += product
    total += np.multiply(one[2], other[2], out=product)
    return total


def tripled(values: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 as (H, W, 3); faster than NumPy."""
    return cv2.cvtColor(values, cv2.COLOR_GRAY2RGB)


def look_up(index: np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return `values[index]`, float32, for a uint8 index."""
    table = np.zeros(256, np.float32)
    table[: len(values)] = values
    return cv2.LUT(index, table)


def smooth_edges(picture: np.ndarray, index: np.ndarray, deviation_px: float = 0.0) -> None:
    """Blur (H, W, 3) in place where two surfaces meet; deviation 0 is OpenCV's default."""
    edge = np.zeros(index.shape, bool)
    across, along = index[:, 1:] != index[:, :-1], index[1:] != index[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    cv2.copyTo(cv2.GaussianBlur(picture, (3, 3), deviation_px), edge.astype(np.uint8), picture)
