"""One ray per pixel, and which pixels can see a given upright box.

A ray's direction has length 1 along the optical axis, so the distance along a ray is the depth Z
of what it meets.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.pose import Pose

NEAR_M = 0.01  # nothing nearer than this is seen
Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
Window = tuple[slice, slice]

_CORNERS = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])
_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Pixel directions of a camera, and the range of them along every row and column."""

    x: np.ndarray
    y: np.ndarray
    blind: np.ndarray | None
    column_range: tuple[np.ndarray, np.ndarray]
    row_range: tuple[np.ndarray, np.ndarray]


@functools.lru_cache(maxsize=4)
def _grid(camera: CameraModel) -> _Grid:
    x, y = camera.normalised_grid()
    blind = ~np.isfinite(x)
    if blind.any():
        seen_x, seen_y = np.where(blind, np.inf, x), np.where(blind, np.inf, y)
        lowest = seen_x.min(axis=0), seen_y.min(axis=1)
        highest = (
            np.where(blind, -np.inf, x).max(axis=0),
            np.where(blind, -np.inf, y).max(axis=1),
        )
        x, y = np.where(blind, np.float32(0), x), np.where(blind, np.float32(0), y)
    else:
        lowest, highest = (x.min(axis=0), y.min(axis=1)), (x.max(axis=0), y.max(axis=1))
    return _Grid(
        x, y, blind if blind.any() else None, (lowest[0], highest[0]), (lowest[1], highest[1])
    )


class Rays:
    """The rays of one picture: `directions`, three (H, W) float32 arrays, and their `origin`."""

    def __init__(self, camera: CameraModel, pose: Pose) -> None:
        self._grid = _grid(camera)
        self._axes = pose.optical_axes
        self.origin = pose.position
        right, down, ahead = self._axes.T.astype(np.float32)
        self.directions = [
            self._grid.x * right[i] + self._grid.y * down[i] + ahead[i] for i in range(3)
        ]
        self.shape = self._grid.x.shape
        self.blind = self._grid.blind  # pixels of which the lens model knows no direction, or None

    def window(self, bounds: Bounds) -> Window | None:
        """Rows and columns outside of which the upright box `bounds` is not seen; None: nowhere."""
        corners = np.where(_CORNERS, bounds[1], bounds[0])
        points = (corners - self.origin) @ self._axes
        depth = points[:, 2]
        ahead = [points[depth >= NEAR_M]]
        for i, j in _EDGES:  # where an edge passes the camera, only its part ahead counts
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
