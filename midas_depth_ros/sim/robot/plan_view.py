"""A scene from above: distances from a point, and along rays, to solids and walls.

Exact closed forms in metres, for a range of heights; anything wholly above or below is ignored.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from midas_depth_ros.sim.scene.scene import Box, Room, Scene, Solid

THIN_M = 1e-4  # half the thickness of a point or a line
_CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


class Convex:
    """The convex hull of points (N, 2), in metres; exact, as every `Outline`."""

    def __init__(self, points: np.ndarray) -> None:
        hull = cv2.convexHull(np.asarray(points, np.float32), clockwise=False)[:, 0]
        if len(hull) < 3:  # a point or a line: give it an inside
            hull = (hull[:, None] + THIN_M * _CORNERS).reshape(-1, 2).astype(np.float32)
            hull = cv2.convexHull(hull, clockwise=False)[:, 0]
        self.corners = hull.astype(np.float64)  # (M, 2), to the left round

    @functools.cached_property
    def bounds(self) -> tuple[float, float, float]:
        """A circle around it: centre x, y and radius, metres."""
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        x, y = 0.5 * (low + high)
        return float(x), float(y), float(np.hypot(*(self.corners - (x, y)).T).max())

    @functools.cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Outward normals (M, 2), and the distance of each edge along its own (M,)."""
        along = np.roll(self.corners, -1, axis=0) - self.corners
        length = np.hypot(*along.T)
        normal = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(length, 1e-12)[:, None]
        return normal, (normal * self.corners).sum(axis=1)

    def gap(self, x: float, y: float) -> float:
        """Return the distance (m) from a point to the nearest edge; 0 inside."""
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
        """Return metres along unit rays from a point to the first edge; inf: missed, 0: inside."""
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


Heights = tuple[float, float]  # lowest and highest, metres above the floor


@dataclasses.dataclass(frozen=True)
class Rectangle:
    """A box from above: its centre, half its length and width in metres, and its yaw."""

    x_m: float
    y_m: float
    half_length_m: float
    half_width_m: float
    yaw_rad: float

    @property
    def bounds(self) -> tuple[float, float, float]:
        """A circle around it: centre x, y and radius, metres."""
        return self.x_m, self.y_m, math.hypot(self.half_length_m, self.half_width_m)

    @property
    def corners(self) -> np.ndarray:
        """(4, 2) metres."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        own = signs * (self.half_length_m, self.half_width_m)
        return own @ np.array([[c, s], [-s, c]]) + (self.x_m, self.y_m)

    def gap(self, x: float, y: float) -> float:
        """Return the distance (m) from a point to the nearest edge; 0 inside."""
        along, beside = self._turned(x - self.x_m, y - self.y_m)
        outside = max(abs(along) - self.half_length_m, 0), max(abs(beside) - self.half_width_m, 0)
        return math.hypot(*outside)

    def reach(self, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Return metres along unit rays from a point to the first edge; inf: missed, 0: inside."""
        starts = self._turned(x - self.x_m, y - self.y_m)
        enter, leave = np.full(dx.shape, -np.inf), np.full(dx.shape, np.inf)
        halves = (self.half_length_m, self.half_width_m)
        for start, half, ray in zip(starts, halves, self._turned(dx, dy), strict=True):
            with np.errstate(divide='ignore', invalid='ignore'):
                one, other = (-half - start) / ray, (half - start) / ray
            beside = ray == 0  # parallel: always or never between the two edges
            inside = abs(start) <= half
            one = np.where(beside, -np.inf if inside else np.inf, one)
            other = np.where(beside, np.inf, other)
            enter = np.maximum(enter, np.minimum(one, other))
            leave = np.minimum(leave, np.maximum(one, other))
        return np.where((enter <= leave) & (leave >= 0), np.maximum(enter, 0), np.inf)

    def _turned(self, x, y):  # type: ignore[no-untyped-def]
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return c * x + s * y, c * y - s * x


@dataclasses.dataclass(frozen=True)
class Disc:
    """Something round from above."""

    x_m: float
    y_m: float
    radius_m: float

    @property
    def bounds(self) -> tuple[float, float, float]:
        """The circle itself."""
        return self.x_m, self.y_m, self.radius_m

    @property
    def corners(self) -> np.ndarray:
        """(32, 2) metres, on the edge, for drawing."""
        angle = np.arange(32) * math.tau / 32
        around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return around * self.radius_m + (self.x_m, self.y_m)

    def gap(self, x: float, y: float) -> float:
        """Return the distance (m) from a point to the edge; 0 inside."""
        return max(math.hypot(x - self.x_m, y - self.y_m) - self.radius_m, 0.0)

    def reach(self, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Return metres along unit rays from a point to the edge; inf = missed, 0 = inside."""
        px, py = self.x_m - x, self.y_m - y
        ahead, square = px * dx + py * dy, px * px + py * py - self.radius_m**2
        if square <= 0:
            return np.zeros(dx.shape)
        inside = ahead * ahead - square
        with np.errstate(invalid='ignore'):
            return np.where((inside >= 0) & (ahead > 0), ahead - np.sqrt(inside), np.inf)


Outline = Rectangle | Disc | Convex


def outline(solid: Solid, heights: Heights) -> Outline | None:
    """Return the outline of a solid between these heights; None if there is nothing."""
    low, high = heights
    (_, _, bottom), (_, _, top) = solid.bounds
    if bottom >= high or top <= low:
        return None
    if isinstance(solid, Box):
        size = 0.5 * solid.length_m, 0.5 * solid.width_m
        return Rectangle(solid.x_m, solid.y_m, *size, solid.yaw_rad)
    radius = solid.radius_m
    if hasattr(solid, 'z_m'):  # a ball is widest at its middle
        off = max(low - solid.z_m, solid.z_m - high, 0.0)
        radius = math.sqrt(radius**2 - off**2)
    return Disc(solid.x_m, solid.y_m, radius)


class PlanView:
    """Outlines and the walls around them, prepared for many queries."""

    def __init__(self, outlines: Sequence[Outline], room: Room | None = None) -> None:
        self.outlines = tuple(outlines)
        self.room = room
        circles = [each.bounds for each in self.outlines]
        self._x, self._y, self._radius = np.array(circles, np.float64).reshape(-1, 3).T

    @classmethod
    def of_scene(cls, scene: Scene, heights: Heights) -> PlanView:
        """Return the plan of a scene between two heights."""
        outlines = (outline(solid, heights) for solid in scene.solids)
        return cls([each for each in outlines if each is not None], scene.room)

    def gap(self, x: float, y: float) -> float:
        """Return the distance (m) from a point to the nearest solid or wall; 0 inside of one."""
        nearest = math.inf
        if self.room is not None:
            nearest = max(_to_walls(self.room, x, y), 0.0)
        at_least = np.hypot(self._x - x, self._y - y) - self._radius
        for i in np.argsort(at_least):
            if at_least[i] >= nearest:  # and so are all that follow
                break
            nearest = min(nearest, self.outlines[i].gap(x, y))
        return nearest

    def reach(self, x: float, y: float, bearings_rad: np.ndarray) -> np.ndarray:
        """Return metres from a point along world `bearings_rad` (n,) to the first hit, or inf."""
        dx, dy = np.cos(bearings_rad), np.sin(bearings_rad)
        nearest = np.full(dx.shape, np.inf)
        for each in self.outlines:
            nearest = np.minimum(nearest, each.reach(x, y, dx, dy))
        if self.room is not None:
            nearest = np.minimum(nearest, _reach_of_walls(self.room, x, y, dx, dy))
        return nearest


def _to_walls(room: Room, x: float, y: float) -> float:
    return min(x - room.x_min_m, room.x_max_m - x, y - room.y_min_m, room.y_max_m - y)


def _reach_of_walls(room: Room, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Rays from inside the room meet a wall; from outside the distance is 0."""
    if _to_walls(room, x, y) <= 0:
        return np.zeros(dx.shape)
    with np.errstate(divide='ignore', invalid='ignore'):
        along = np.where(dx > 0, room.x_max_m - x, room.x_min_m - x) / dx
        beside = np.where(dy > 0, room.y_max_m - y, room.y_min_m - y) / dy
    return np.minimum(np.where(dx == 0, np.inf, along), np.where(dy == 0, np.inf, beside))
