"""Surfaces lit and photographed: textures, lamp or sun with shadows, reflections, haze, sky.

Light is linear, 1 being a white surface in full light; `develop` makes a picture of it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.furnished.cast import (
    SKY,
    FloorPlan,
    Grid,
    SurfacePoints,
    View,
    cast,
    grid_of,
    plain_grid,
    surface_points,
)
from midas_depth_ros.sim.furnished.place import FLOOR_ID, Finish, Hall, Light, PartTable, Place
from midas_depth_ros.sim.furnished.textures import LEVELS, Atlas
from midas_depth_ros.sim.scene.render import dot, look_up, smooth_edges, tripled
from midas_depth_ros.sim.scene.scene import Pose

# --- Shadows: whatever the light itself does not see of a place.

SHADOW_SIDE = 120  # pixels of the shadow map
SHADOW_BIAS = 0.012
OFF_M = 0.07
SUN_AWAY_M = 80.0


class ShadowMap:
    """What the light sees of a place: all other points are in shadow."""

    def __init__(self, view: View, place: Place, table: PartTable) -> None:
        light = place.light
        self._view = _light_view(view, light)
        if not any(light.colour):
            table = table.subset(np.zeros(len(table), bool))
        dark = np.array([finish.glow == 0 for finish in place.finishes])
        pixel_m = (SUN_AWAY_M if light.is_sun else 1.5) / self._view.grid.focal_px
        casts = dark[table.finish] & (table.half.max(axis=1) > pixel_m)
        self._depth, _ = cast(self._view, table.subset(casts), None, None)

    def lit(self, surface: SurfacePoints) -> np.ndarray:
        """Return 1 where the light reaches a surface point, 0 in shadow, soft between, (H, W)
        float32.
        """
        axes, origin = self._view.axes.astype(np.float32), self._view.origin.astype(np.float32)
        grid = self._view.grid
        # A little off the surface, so that no surface is in its own shadow.
        off = np.float32(2.4 * SUN_AWAY_M / grid.focal_px if self._sunlike else OFF_M)
        away = [
            axis + off * normal - start
            for axis, normal, start in zip(surface.place, surface.normal, origin, strict=True)
        ]
        x, y, z = (dot(away, axis) for axis in axes.T)
        ahead = np.maximum(z, np.float32(1e-3))
        scale, middle = np.float32(grid.focal_px), np.float32(0.5 * (SHADOW_SIDE - 1))
        columns, rows = x / ahead * scale + middle, y / ahead * scale + middle
        nearest = cv2.remap(self._depth, columns, rows, cv2.INTER_NEAREST, borderValue=math.inf)
        bias = np.float32(0.06) if self._sunlike else np.float32(SHADOW_BIAS) * z + 0.02
        lit = ((z < nearest + bias) | (z <= 0)).astype(np.float32)
        return cv2.GaussianBlur(lit, (5, 5), 0)

    @property
    def _sunlike(self) -> bool:
        return self._view.grid.focal_px > SHADOW_SIDE


def _light_view(view: View, light: Light) -> View:
    """The view from the lamp downwards, or from the sun to what is before the camera."""
    if not light.is_sun:
        axes = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
        return View(_square_grid(1.9), axes, np.array(light.place))
    sun = np.array(light.place) / np.linalg.norm(light.place)
    right = np.cross([0.0, 0.0, 1.0], sun) if sun[2] < 0.999 else np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(sun, right) * -1.0, -sun], axis=1)
    ahead = view.axes[:, 2] * np.array([1.0, 1.0, 0.0])
    reach = 9.0 if view.origin[2] > 1.0 else 5.0
    target = view.origin * np.array([1.0, 1.0, 0.0]) + reach * ahead
    return View(_square_grid(1.35 * reach / SUN_AWAY_M), axes, target + SUN_AWAY_M * sun)


@functools.lru_cache(maxsize=8)
def _square_grid(half: float) -> Grid:
    x = np.linspace(-half, half, SHADOW_SIDE)
    return plain_grid(x, x, 0.5 * (SHADOW_SIDE - 1) / half)


CREASE_M, CREASE = 0.2, 0.35
MIRROR_STEP = 2  # reflections have this many times fewer pixels per side


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the views of a place share: its parts, textures, floor plan and shadows."""

    place: Place
    table: PartTable
    atlas: Atlas
    plan: FloorPlan
    shadows: ShadowMap


def stage_of(place: Place, view: View, texture_atlas: Atlas) -> Stage:
    """Return the stage of a place as it is seen from `view`."""
    table = PartTable(place.parts)
    reach = 8.0 if place.hall is not None else 22.0
    ahead = view.axes[:, 2] * 0.7 * reach
    plan = FloorPlan(place, table, view.origin[0] + ahead[0], view.origin[1] + ahead[1], reach)
    return Stage(place, table, texture_atlas, plan, ShadowMap(view, place, table))


def shade(
    view: View, stage: Stage, found: tuple[np.ndarray, np.ndarray], mirror: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(light (H, W, 3) float32, object ids (H, W) int16) of what `cast` found."""
    distance, index = found
    place, table, atlas, plan = stage.place, stage.table, stage.atlas, stage.plan
    surface = surface_points(view, place, table, distance, index)
    on_floor = surface.object_id == FLOOR_ID
    on_floor &= surface.normal[2] > 0.5
    plan.lay(surface, on_floor)
    colour = _textured(surface, place, atlas, distance, view)
    lit = _lit(surface, place, stage.shadows, plan.occlusion(surface), index)
    glow = look_up(surface.finish, [finish.glow for finish in place.finishes])
    cv2.copyTo(tripled(glow), (glow > 0).astype(np.uint8), lit)
    light = np.multiply(colour, lit, out=colour)
    if mirror and place.mirror > 0:
        _add_reflection(light, on_floor, view, stage)
    if math.isfinite(place.haze_m):
        clear = np.exp(np.where(index == SKY, 0, distance) * np.float32(-1 / place.haze_m))
        light *= tripled(clear)
        light += cv2.merge([(1 - clear) * np.float32(share) for share in place.sky.horizon])
    sky = index == SKY
    if sky.any():
        _paint_sky(light, sky, view, place, atlas)
    return light, surface.object_id


@functools.lru_cache(maxsize=32)
def _stops(count: int) -> np.ndarray:
    """(256, count): weight of each palette stop for each value of a pattern."""
    position = np.linspace(0, count - 1, 256)[:, None]
    return np.maximum(1 - np.abs(position - np.arange(count)), 0).astype(np.float32)


def _textured(
    surface: SurfacePoints, place: Place, atlas: Atlas, distance: np.ndarray, view: View
) -> np.ndarray:
    """Colours without light, (H, W, 3) float32."""
    finish, count = surface.finish, len(place.finishes)
    maps = np.zeros((10, 256), np.float32)
    palettes = np.empty((count, 256, 3), np.float32)
    for i in np.flatnonzero(np.bincount(finish.ravel())).tolist():
        look = place.finishes[i]
        maps[:, i] = _mapping(look)
        stops = np.array(look.palette, np.float32)
        palettes[i] = _stops(len(stops)) @ stops
    a, b, c, d, du, dv, number, grain, per_grain, depth = (cv2.LUT(finish, row) for row in maps)
    slant = np.abs(dot(surface.normal, view.directions))
    reach = np.where(np.isfinite(distance), distance, 1)
    footprint = reach / (np.sqrt(np.maximum(slant, np.float32(0.02))) * view.grid.focal_px)
    u, v = surface.u, surface.v
    value = atlas.look_up(
        number, a * u + b * v + du, c * u + d * v + dv, _level(footprint * (np.abs(a) + np.abs(b)))
    )
    colour = np.take(
        palettes.reshape(-1, 3), finish.astype(np.int32) * 256 + value, axis=0, mode='clip'
    )
    fine = atlas.look_up(grain, u * per_grain, v * per_grain, _level(footprint * per_grain))
    colour *= tripled(1 + depth * (fine * np.float32(1 / 127.5) - 1))
    return colour


def _mapping(look: Finish) -> tuple[float, ...]:
    cos, sin = math.cos(look.turn_rad), math.sin(look.turn_rad)
    across, up = look.repeat_m
    matrix = cos / across, sin / across, -sin / up, cos / up
    return *matrix, *look.offset, look.pattern, look.grain, 1 / look.grain_m, look.grain_depth


def _level(repeats: np.ndarray) -> np.ndarray:
    """The texture level with about one texel per pixel, for pixels that cover these repeats."""
    level = np.log2(np.maximum(repeats * np.float32(256 * 0.7), np.float32(1)))
    return np.minimum(level, np.float32(LEVELS - 1)).astype(np.uint8)


def _lit(
    surface: SurfacePoints,
    place: Place,
    shadows: ShadowMap,
    occlusion: np.ndarray,
    index: np.ndarray,
) -> np.ndarray:
    """Light on every pixel's surface, (H, W, 3) float32."""
    light = place.light
    normal = surface.normal
    if light.is_sun:
        length = math.sqrt(sum(axis * axis for axis in light.place))
        key = dot(normal, [np.float32(axis / length) for axis in light.place])
    else:
        towards = [np.float32(p) - axis for p, axis in zip(light.place, surface.place, strict=True)]
        squared = dot(towards, towards) + np.float32(0.05)
        key = dot(normal, towards) / np.sqrt(squared)
        key = key * np.float32(light.reach_m**2) / (squared + np.float32(0.3 * light.reach_m**2))
    key = np.maximum(key, np.float32(0)) * shadows.lit(surface)
    low = 1 - np.float32(CREASE) / (1 + np.square(surface.place[2] * np.float32(1 / CREASE_M)))
    soft = np.where(surface.object_id == FLOOR_ID, occlusion, low)
    if place.hall is not None:
        soft = soft * _hall_creases(surface, place.hall, index)
    ambient = (
        0.82 + 0.14 * normal[2] + np.float32(0.07) * normal[0] - np.float32(0.05) * normal[1]
    ) * soft
    key *= 0.4 + 0.6 * soft
    colours = zip(light.ambient, light.colour, strict=True)
    return cv2.merge([ambient * np.float32(a) + key * np.float32(c) for a, c in colours])


def _hall_creases(surface: SurfacePoints, hall: Hall, index: np.ndarray) -> np.ndarray:
    """Corners of the hall get less ambient light."""
    x, y, z = surface.place
    gaps = (
        np.minimum(x - np.float32(hall.low[0]), np.float32(hall.high[0]) - x),
        np.minimum(y - np.float32(hall.low[1]), np.float32(hall.high[1]) - y),
        np.float32(hall.height_m) - z,
    )
    wall_x, wall_y, ceiling = (index == 3) | (index == 4), (index == 5) | (index == 6), index == 2
    gap = np.where(ceiling, np.minimum(gaps[0], gaps[1]), gaps[2])
    gap = np.where(wall_x, np.minimum(gaps[1], gaps[2]), gap)
    gap = np.where(wall_y, np.minimum(gaps[0], gaps[2]), gap)
    return 1 - np.float32(0.3) / (1 + np.square(gap * np.float32(1 / 0.25)))


def _add_reflection(light: np.ndarray, on_floor: np.ndarray, view: View, stage: Stage) -> None:
    """Add the mirror image in the floor, stronger at flatter angles."""
    lines = np.flatnonzero(on_floor.any(axis=1))
    if len(lines) == 0:
        return
    rows = slice(int(lines[0]), int(lines[-1]) + 1)
    grid = coarser(view.grid, rows, slice(0, light.shape[1]), MIRROR_STEP)
    below = View(grid, view.axes, view.origin).mirrored()
    found = cast(below, stage.table, stage.place.hall, None)
    image, _ = shade(below, stage, found, mirror=False)
    image = cv2.GaussianBlur(image, (3, 3), 0)
    image = cv2.resize(image, (light.shape[1], rows.stop - rows.start))
    dx, dy, dz = (axis[rows] for axis in view.directions)
    steep = np.abs(dz) / np.sqrt(dx * dx + dy * dy + dz * dz)
    share = np.float32(0.12) + np.float32(0.88) * (1 - steep) ** 4
    share = np.float32(stage.place.mirror) * share
    share = tripled(np.where(on_floor[rows], share, np.float32(0)))
    light[rows] *= 1 - 0.6 * share
    light[rows] += np.minimum(image, np.float32(1.5)) * share


def coarser(full: Grid, rows: slice, columns: slice, step: int) -> Grid:
    """Return every `step`th pixel of these rows and columns."""
    down = slice(rows.start, rows.stop, step)
    across = slice(columns.start, columns.stop, step)
    return Grid(
        full.x[:, across] if len(full.x) == 1 else full.x[down, across],
        full.y[down] if full.y.shape[1] == 1 else full.y[down, across],
        (full.column_range[0][across], full.column_range[1][across]),
        (full.row_range[0][down], full.row_range[1][down]),
        full.focal_px / step,
    )


def _paint_sky(light: np.ndarray, sky: np.ndarray, view: View, place: Place, atlas: Atlas) -> None:
    lines = np.flatnonzero(sky.any(axis=1))
    rows = slice(int(lines[0]), int(lines[-1]) + 1)
    dx, dy, dz = (axis[rows] for axis in view.directions)
    up = np.maximum(dz / np.sqrt(dx * dx + dy * dy + dz * dz), 0)
    high = np.sqrt(up)
    look = place.sky
    cover = np.zeros_like(up)
    if look.cloudiness > 0:
        spread = np.float32(0.25) / (up + np.float32(0.12))
        number = np.full_like(up, look.clouds)
        value = atlas.look_up(number, dx * spread, dy * spread, np.zeros_like(up, np.uint8))
        cover = value * np.float32(2 / 255) - np.float32(2 * (1 - look.cloudiness))
        cover = np.clip(cover, 0, 1) * np.float32(0.8)
    colours = []
    for low, top in zip(look.horizon, look.zenith, strict=True):
        clear = np.float32(low) + high * np.float32(top - low)
        colours.append(clear + cover * (1 - clear))
    cv2.copyTo(cv2.merge(colours), sky[rows].astype(np.uint8), light[rows])


def view_place(
    place: Place, camera: CameraModel, pose: Pose, texture_atlas: Atlas
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (light (H, W, 3) float32, Z (H, W) float32, ids (H, W) int16) of a place."""
    view = View(grid_of(camera), pose.optical_axes, pose.position)
    stage = stage_of(place, view, texture_atlas)
    found = cast(view, stage.table, place.hall, place.ground_m)
    light, ids = shade(view, stage, found)
    smooth_edges(light, found[1], 0.7)
    return light, found[0], ids


# --- From light to the picture of a camera: exposure, white balance, tone curve, blur.


@dataclasses.dataclass(frozen=True)
class Photo:
    """How a camera turns light into a picture.

    exposure: factor on the light. balance: RGB gains. gamma, contrast: of the tone curve. vignette:
    light lost in the corners. blur_px: deviation of the blur of the lens.
    """

    exposure: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 0.0
    vignette: float = 0.0
    blur_px: float = 0.0


def develop(light: np.ndarray, photo: Photo) -> np.ndarray:
    """Return (H, W, 3) float32 light as RGB uint8."""
    return toned(blurred(exposed(light, photo), photo), photo)


def exposed(light: np.ndarray, photo: Photo) -> np.ndarray:
    """Return light (H, W, 3) float32 on the sensor, up to three times nominal white."""
    height, width = light.shape[:2]
    gain = _vignette(height, width, round(photo.vignette, 2)) * np.float32(photo.exposure)
    image = light * tripled(gain)
    return np.minimum(image, np.float32(3.0), out=image)


def blurred(image: np.ndarray, photo: Photo) -> np.ndarray:
    """Return (H, W, 3) float32 blurred by the lens."""
    return cv2.GaussianBlur(image, (0, 0), photo.blur_px) if photo.blur_px > 0 else image


def toned(image: np.ndarray, photo: Photo) -> np.ndarray:
    """Return light on the sensor (H, W, 3) float32 as RGB uint8."""
    return cv2.LUT(cv2.convertScaleAbs(image, alpha=160), _tone(photo))


def _tone(photo: Photo) -> np.ndarray:
    """(1, 256, 3): from light, 160 being nominal white, to grey levels."""
    level = np.arange(256) / 160
    curves = []
    for gain in photo.balance:
        x = level * gain
        x = np.where(x < 0.8, x, 0.8 + 0.2 * np.tanh((x - 0.8) / 0.2))  # a soft shoulder
        x = np.power(x, photo.gamma)
        curves.append(x + photo.contrast * (x * x * (3 - 2 * x) - x))
    table = np.clip(np.rint(np.stack(curves, axis=1) * 255), 0, 255)
    return table.astype(np.uint8)[None]


@functools.lru_cache(maxsize=128)
def _vignette(height: int, width: int, loss: float) -> np.ndarray:
    y = (np.arange(height) - 0.5 * (height - 1)) / (0.5 * height)
    x = (np.arange(width) - 0.5 * (width - 1)) / (0.5 * width)
    squared = 0.5 * (x[None, :] ** 2 + y[:, None] ** 2)
    return (1 - loss * squared).astype(np.float32)
