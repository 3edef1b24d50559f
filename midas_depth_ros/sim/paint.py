"""Surfaces -> colours: pattern, light, haze, and edges smoothed a little.

Takes what is known per pixel and looks every pixel's pattern up in one sheet; a pattern too fine
for its pixel fades to its mean instead of flickering.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from midas_depth_ros.sim.fields import look_up
from midas_depth_ros.sim.patterns import BORDER, BRIGHTEST, PATTERNS, SIDE, sheet
from midas_depth_ros.sim.scene import Material, Scene, SceneError
from midas_depth_ros.sim.surfaces import SKY, Surfaces

MAX_MATERIALS = 256  # material indices are uint8
FINEST = 0.12  # share of a pattern's repeat that its details take
BAND = 64  # rows painted at a time: what is in work stays in the processor's cache


def paint(
    surfaces: Surfaces, materials: Sequence[Material], scene: Scene, focal_px: float
) -> np.ndarray:
    """The picture, (H, W, 3) uint8. Sky has neither pattern nor haze."""
    rgb = np.empty((*surfaces.material.shape, 3), np.uint8)
    for first in range(0, len(rgb), BAND):
        rows = slice(first, first + BAND)
        rgb[rows] = _painted(surfaces.band(rows), materials, scene, focal_px)
    return _edges_smoothed(rgb, surfaces.material)


def check_materials(materials: Sequence[Material]) -> None:
    """Raise `SceneError` for a pattern that does not exist, or more materials than indices."""
    if len(materials) > MAX_MATERIALS:
        raise SceneError(f'{len(materials)} materials: a scene may have {MAX_MATERIALS}')
    for material in materials:
        if material.pattern not in PATTERNS:
            raise SceneError(f'pattern {material.pattern!r} is not one of {", ".join(PATTERNS)}')


def _painted(
    surfaces: Surfaces, materials: Sequence[Material], scene: Scene, focal_px: float
) -> np.ndarray:
    """A few rows of the picture: (pattern or its mean) x colour x light, then haze."""
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
    """The pattern's value at every pixel, (h, w, 3) uint8, interpolated."""
    index, patterns = surfaces.material, sheet(seed)
    u = surfaces.across * look_up(index, [1 / m.repeat_m[0] for m in materials])
    v = surfaces.up * look_up(index, [1 / m.repeat_m[1] for m in materials])
    first = look_up(index, [patterns.first_row[m.pattern] + BORDER - 0.5 for m in materials])
    columns = (u - np.floor(u)) * np.float32(SIDE) + np.float32(BORDER - 0.5)
    rows = (v - np.floor(v)) * np.float32(SIDE) + first
    return cv2.remap(patterns.texels, columns, rows, cv2.INTER_LINEAR)


def _edges_smoothed(rgb: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Blur the picture where two materials meet, against staircases."""
    edge = np.zeros(material.shape, bool)
    across = material[:, 1:] != material[:, :-1]
    along = material[1:] != material[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    cv2.copyTo(cv2.GaussianBlur(rgb, (3, 3), 0), edge.astype(np.uint8), rgb)
    return rgb
