"""A scene seen from above: how far its solids and walls are from a point, and along a ray.

Exact closed forms in the plane, for a range of heights: what lies wholly above or below it is not
there. In come a scene, a point and heights in metres; out go distances in metres.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from midas_depth_ros.sim.convex import Convex
from midas_depth_ros.sim.scene import Box, Room, Scene, Solid

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
        """A circle around it: its middle x, y and its radius, metres."""
        return self.x_m, self.y_m, math.hypot(self.half_length_m, self.half_width_m)

    @property
    def corners(self) -> np.ndarray:
        """(4, 2) metres."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        own = signs * (self.half_length_m, self.half_width_m)
        return own @ np.array([[c, s], [-s, c]]) + (self.x_m, self.y_m)

    def gap(self, x: float, y: float) -> float:
        """Metres from a point to the nearest edge; 0 inside."""
        along, beside = self._turned(x - self.x_m, y - self.y_m)
        outside = max(abs(along) - self.half_length_m, 0), max(abs(beside) - self.half_width_m, 0)
        return math.hypot(*outside)

    def reach(self, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Metres along unit rays from a point to the first edge; inf = missed, 0 = inside."""
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
        """Metres from a point to the edge; 0 inside."""
        return max(math.hypot(x - self.x_m, y - self.y_m) - self.radius_m, 0.0)

    def reach(self, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Metres along unit rays from a point to the edge; inf = missed, 0 = inside."""
        px, py = self.x_m - x, self.y_m - y
        ahead, square = px * dx + py * dy, px * px + py * py - self.radius_m**2
        if square <= 0:
            return np.zeros(dx.shape)
        inside = ahead * ahead - square
        with np.errstate(invalid='ignore'):
            return np.where((inside >= 0) & (ahead > 0), ahead - np.sqrt(inside), np.inf)


Outline = Rectangle | Disc | Convex


def outline(solid: Solid, heights: Heights) -> Outline | None:
    """The solid from above as it is between these heights; None where it is not there."""
    low, high = heights
    if isinstance(solid, Box):
        if solid.bottom_m >= high or solid.bottom_m + solid.height_m <= low:
            return None
        size = 0.5 * solid.length_m, 0.5 * solid.width_m
        return Rectangle(solid.x_m, solid.y_m, *size, solid.yaw_rad)
    (_, _, bottom), (_, _, top) = solid.bounds
    if bottom >= high or top <= low:
        return None
    radius = solid.radius_m
    if hasattr(solid, 'z_m'):  # a ball is widest at its middle
        off = max(low - solid.z_m, solid.z_m - high, 0.0)
        radius = math.sqrt(radius**2 - off**2)
    return Disc(solid.x_m, solid.y_m, radius)


class PlanView:
    """Outlines and the walls around them, ready for many questions."""

    def __init__(self, outlines: Sequence[Outline], room: Room | None = None) -> None:
        self.outlines = tuple(outlines)
        self.room = room
        circles = [each.bounds for each in self.outlines]
        self._x, self._y, self._radius = np.array(circles, np.float64).reshape(-1, 3).T

    @classmethod
    def of_scene(cls, scene: Scene, heights: Heights) -> PlanView:
        """What of a scene there is between two heights."""
        outlines = (outline(solid, heights) for solid in scene.solids)
        return cls([each for each in outlines if each is not None], scene.room)

    def gap(self, x: float, y: float) -> float:
        """Metres from a point to the nearest solid or wall; 0 inside of one, inf if none."""
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
        """Metres from a point to what rays at world `bearings_rad` (n,) first meet; inf if none."""
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
    """From inside of a room every ray meets a wall; from outside it has none."""
    if _to_walls(room, x, y) <= 0:
        return np.zeros(dx.shape)
    with np.errstate(divide='ignore', invalid='ignore'):
        along = np.where(dx > 0, room.x_max_m - x, room.x_min_m - x) / dx
        beside = np.where(dy > 0, room.y_max_m - y, room.y_min_m - y) / dy
    return np.minimum(np.where(dx == 0, np.inf, along), np.where(dy == 0, np.inf, beside))
