"""The floor from above: which finish it has where, and how much stands close by to darken it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from midas_depth_ros.sim.parts import BOX, FLOOR_ID, PartTable, Place
from midas_depth_ros.sim.surface_points import SurfacePoints

CELLS, COARSE = 1024, 256  # of the plan of finishes, of that of the darkening, along a side
DARKEST = 0.6
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
            self._fill(plan, np.array(marking.corners), marking.finish)
        return plan

    def _fill(self, plan: np.ndarray, corners: np.ndarray, value: int) -> None:
        cells = (corners - self._corner) * (self._per_metre * len(plan)) - 0.5
        cells = np.clip(cells, -4 * len(plan), 5 * len(plan))
        cv2.fillPoly(plan, [np.rint(cells * 16).astype(np.int32)], value, shift=4)

    def _openness(self, table: PartTable) -> np.ndarray:
        plan = np.full((COARSE, COARSE), 255, np.uint8)
        bottom = table.corners[:, :, 2].min(axis=1) if len(table) else np.zeros(0)
        away = np.abs(table.centre[:, :2] - self._corner - 0.5 / self._per_metre).max(axis=1)
        close = away < 0.5 / self._per_metre + table.half.max(axis=1)
        close &= (bottom > -0.2) & (bottom < HANGING_M) & (table.object_id != FLOOR_ID)
        for i in np.argsort(-bottom, kind='stable'):
            if not close[i]:
                continue
            outline = _SQUARE if table.shape[i] == BOX else _ROUND
            scaled = outline * table.half[i, :2]
            corners = scaled @ table.turn[i, :2, :2].T + table.centre[i, :2]
            dark = DARKEST * (1 - max(bottom[i], 0) / HANGING_M)
            self._fill(plan, corners, int(255 * (1 - dark)))
        sigma = max(0.10 * self._per_metre * COARSE, 0.8)
        near = cv2.GaussianBlur(plan, (0, 0), sigma)
        wide = cv2.blur(plan, (int(6 * sigma) | 1, int(6 * sigma) | 1))
        return cv2.addWeighted(near, 0.6, wide, 0.4, 0)
