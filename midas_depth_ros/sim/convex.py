"""A convex shape seen from above: how far it is from a point, and along rays."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

THIN_M = 1e-4  # half as thick a point or a line is taken to be
_CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


class Convex:
    """The convex hull of points (N, 2), in metres; as `plan_view.Outline` it answers exactly."""

    def __init__(self, points: np.ndarray) -> None:
        hull = cv2.convexHull(np.asarray(points, np.float32), clockwise=False)[:, 0]
        if len(hull) < 3:  # a point or a line has no inside: give it one
            hull = (hull[:, None] + THIN_M * _CORNERS).reshape(-1, 2).astype(np.float32)
            hull = cv2.convexHull(hull, clockwise=False)[:, 0]
        self.corners = hull.astype(np.float64)  # (M, 2), to the left round

    @functools.cached_property
    def bounds(self) -> tuple[float, float, float]:
        """A circle around it: its middle x, y and its radius, metres."""
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        x, y = 0.5 * (low + high)
        return float(x), float(y), float(np.hypot(*(self.corners - (x, y)).T).max())

    @functools.cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Outward normals (M, 2), and how far out each edge is along its own (M,)."""
        along = np.roll(self.corners, -1, axis=0) - self.corners
        length = np.hypot(*along.T)
        normal = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(length, 1e-12)[:, None]
        return normal, (normal * self.corners).sum(axis=1)

    def gap(self, x: float, y: float) -> float:
        """Metres from a point to the nearest edge; 0 inside."""
        normal, out = self._edges
        if (normal @ (x, y) <= out).all():
            return 0.0
        start = self.corners
        along = np.roll(start, -1, axis=0) - start
        away = np.array([x, y]) - start
        share = (away * along).sum(axis=1) / np.maximum((along * along).sum(axis=1), 1e-12)
        nearest = away - along * np.clip(share, 0, 1)[:, None]
        return float(np.hypot(*nearest.T).min())

    def reach(self, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Metres along unit rays from a point to the first edge; inf = missed, 0 = inside."""
        normal, out = self._edges
        facing = normal[:, :1] * dx + normal[:, 1:] * dy  # (M, n): above 0 the ray leaves
        beyond = (out - normal @ (x, y))[:, None]  # (M, 1): below 0 the point is outside
        with np.errstate(divide='ignore', invalid='ignore'):
            at = beyond / facing
        enter = np.where(facing < 0, at, -np.inf).max(axis=0)
        leave = np.where(facing > 0, at, np.inf).min(axis=0)
        missed = ((facing == 0) & (beyond < 0)).any(axis=0)
        hit = (enter <= leave) & (leave >= 0) & ~missed
        return np.where(hit, np.maximum(enter, 0), math.inf)
