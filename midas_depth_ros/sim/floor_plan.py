"""The floor from above: which finish it has where, and how much stands close by to darken it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from midas_depth_ros.sim.parts import BOX, FLOOR_ID, PartTable, Place
from midas_depth_ros.sim.surface_points import SurfacePoints

CELLS, COARSE = 1024, 256  # of the plan of finishes, of that of the darkening, along a side
DARKEST = 0.6
SHIFT = 4  # binary digits of a cell that a corner is rounded to
HANGING_M = 0.5  # from this height on a part no longer darkens the floor
_ROUND = np.array([(math.cos(i * math.tau / 10), math.sin(i * math.tau / 10)) for i in range(10)])
_SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


class FloorPlan:
    """Of the square with sides of 2 * `reach_m` about (x_m, y_m)."""

    def __init__(
        self, place: Place, table: PartTable, x_m: float, y_m: float, reach_m: float
    ) -> None:
        self._corner = np.array([x_m - reach_m, y_m - reach_m])
        self._per_metre = 1 / (2 * reach_m)
        self._floor = place.floor
        self._finish = self._finishes(place) if place.markings else None
        self._open = self._openness(table)

    def lay(self, surface: SurfacePoints, on_floor: np.ndarray) -> None:
        """Give the floor's pixels the finishes of what is painted there."""
        if self._finish is None:
            return
        columns, rows = self._cells(surface, CELLS)
        finish = cv2.remap(
            self._finish,
            columns,
            rows,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self._floor,
        )
        np.copyto(surface.finish, finish, where=on_floor)

    def occlusion(self, surface: SurfacePoints, on_floor: np.ndarray) -> np.ndarray:
        """What of the light from everywhere reaches the floor, (H, W) float32."""
        columns, rows = self._cells(surface, COARSE)
        share = cv2.remap(
            self._open,
            columns,
            rows,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=255,
        )
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
        """Of parts from above, (n, corners, 2)."""
        scaled = outline * table.half[parts, None, :2]
        turned = scaled @ table.turn[parts, :2, :2].transpose(0, 2, 1)
        return self._polygon(turned + table.centre[parts, None, :2], COARSE)

    def _polygon(self, corners: np.ndarray, count: int) -> np.ndarray:
        """Corners in metres as `cv2.fillPoly` takes them, for a plan of so many cells."""
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
