"""Shadows: what the light itself sees of a place; what it does not see is in shadow."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from midas_depth_ros.sim.cast import Grid, View, cast, plain_grid
from midas_depth_ros.sim.fields import dot
from midas_depth_ros.sim.parts import Light, PartTable, Place
from midas_depth_ros.sim.surface_points import SurfacePoints

SHADOW_SIDE = 120  # pixels of the picture that the light has of the place
SHADOW_BIAS = 0.012
OFF_M = 0.07
SUN_AWAY_M = 80.0


class ShadowMap:
    """What the light sees: a point that it does not see is in shadow."""

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
        """1 where a surface point sees the light, 0 in shadow, soft between, (H, W) float32."""
        axes, origin = self._view.axes.astype(np.float32), self._view.origin.astype(np.float32)
        grid = self._view.grid
        # A little off the surface, else it would here and there be in its own shadow.
        off = np.float32(2.4 * SUN_AWAY_M / grid.focal_px if self._sunlike else OFF_M)
        away = [
            axis + off * normal - start
            for axis, normal, start in zip(surface.place, surface.normal, origin, strict=True)
        ]
        x, y, z = (dot(away, axis) for axis in axes.T)
        ahead = np.maximum(z, np.float32(1e-3))
        scale, middle = np.float32(grid.focal_px), np.float32(0.5 * (SHADOW_SIDE - 1))
        columns, rows = x / ahead * scale + middle, y / ahead * scale + middle
        nearest = cv2.remap(
            self._depth,
            columns,
            rows,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=math.inf,
        )
        bias = np.float32(0.06) if self._sunlike else np.float32(SHADOW_BIAS) * z + 0.02
        lit = ((z < nearest + bias) | (z <= 0)).astype(np.float32)
        return cv2.GaussianBlur(lit, (5, 5), 0)

    @property
    def _sunlike(self) -> bool:
        return self._view.grid.focal_px > SHADOW_SIDE


def _light_view(view: View, light: Light) -> View:
    """A picture from the lamp downwards, or from the sun on what lies before the camera."""
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
