"""How far the robot can go: what it sweeps on a straight line, an arc or a turn, and would hit.

Points on the robot's plane come in (m; x forward, y left, origin where it turns), distances
along its way or angles come out. The footprint is a rectangle; what is ahead keeps a margin at
the sides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.control.sighted import FULL_TURN

Floats = NDArray[np.float64]
STRAIGHT = 1e-4  # 1/m: flatter arcs are straight
TIGHTEST = 1e3  # 1/m
# What lies deeper within the outline cannot be a thing beside the robot: it is its own.
OWN_DEPTH_M = 0.05


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the robot is, seen from where it was: m and rad."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    def to_past(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Points on the robot now, as they lay on the robot then."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * x - s * y, self.y + s * x + c * y

    def to_now(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Points on the robot then, as they lie on the robot now."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        return c * dx + s * dy, c * dy - s * dx

    def then(self, step: Pose) -> Pose:
        """The pose after this one and a further one, which is seen from it."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Pose(
            self.x + c * step.x - s * step.y, self.y + s * step.x + c * step.y, self.yaw + step.yaw
        )

    def moved(self, forward: float, turned: float) -> Pose:
        """The pose after an arc of `forward` m on which the robot turned by `turned` rad."""
        yaw = self.yaw + turned / 2
        shrunk = forward * float(np.sinc(turned / FULL_TURN))  # the chord of the arc
        return Pose(
            self.x + shrunk * math.cos(yaw), self.y + shrunk * math.sin(yaw), self.yaw + turned
        )


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The robot from above: half its width, how far it reaches ahead and back, side margin; m."""

    half_width: float
    front: float
    rear: float
    margin: float = 0.0

    @property
    def length(self) -> float:
        """From back to front, m."""
        return self.front + self.rear

    @property
    def radius(self) -> float:
        """Of the circle that its corners sweep on the spot, m."""
        return math.hypot(max(self.front, self.rear), self.half_width)

    def backward(self) -> Footprint:
        """The same robot when its back is its front."""
        return Footprint(self.half_width, self.rear, self.front, self.margin)

    def grown(self, by: float) -> Footprint:
        """The same robot, larger to all sides."""
        return Footprint(self.half_width + by, self.front + by, self.rear + by, self.margin)

    def covers(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether it stands on each point."""
        return (x >= -self.rear) & (x <= self.front) & (np.abs(y) <= self.half_width)


def free_straight(x: Floats, y: Floats, footprint: Footprint) -> float:
    """How far ahead of the front the nearest point in the straight corridor is; Inf without one."""
    ahead = (x > footprint.front) & (np.abs(y) <= footprint.half_width + footprint.margin)
    touched = (x > 0) & (x <= footprint.front) & (np.abs(y) <= footprint.half_width)
    if touched.any():
        return 0.0
    return float((x[ahead] - footprint.front).min(initial=math.inf))


def free_arc(x: Floats, y: Floats, curvature: float, footprint: Footprint) -> float:
    """How far (m, of the origin) the robot comes on an arc before it touches a point; Inf = freely.

    `curvature` in 1/m, positive = to the left. Seen from the robot every point runs on a circle
    about the turning centre; where that first cuts the footprint's outline, it is touched.
    """
    if abs(curvature) < STRAIGHT:
        return free_straight(x, y, footprint)
    if curvature < 0:
        y = -y
    radius = 1 / min(abs(curvature), TIGHTEST)
    # What is beside the robot already may be nearer than the margin, and yet be passed.
    half = np.where(
        x > footprint.front, footprint.half_width + footprint.margin, footprint.half_width
    )
    inside = (x >= -footprint.rear) & (x <= footprint.front) & (np.abs(y) <= half)
    if (inside & (x > 0)).any():
        return 0.0
    x, y, half = x[~inside], y[~inside], half[~inside]
    away = radius - y  # from the turning centre toward the robot
    squared = x * x + away * away
    now = np.arctan2(x, away)
    turn = np.full(x.shape, np.inf)
    for edge_x in (footprint.front, -footprint.rear):
        root = np.sqrt(np.maximum(squared - edge_x**2, 0))
        for edge_away in (root, -root):
            valid = (squared >= edge_x**2) & (np.abs(radius - edge_away) <= half)
            turn = np.where(valid, np.minimum(turn, _turn(now, edge_x, edge_away)), turn)
    for edge_away in (radius - half, radius + half):
        root = np.sqrt(np.maximum(squared - edge_away**2, 0))
        for side_x in (root, -root):
            valid = squared >= edge_away**2
            valid &= (side_x <= footprint.front) & (side_x >= -footprint.rear)
            turn = np.where(valid, np.minimum(turn, _turn(now, side_x, edge_away)), turn)
    turn = turn[turn <= math.pi]  # what is further round is seen again before that
    return float(radius * turn.min(initial=math.inf))


def _turn(now: Floats, edge_x: Floats | float, edge_away: Floats | float) -> Floats:
    return np.mod(now - np.arctan2(edge_x, edge_away), FULL_TURN)


def free_turn(x: Floats, y: Floats, left: bool, footprint: Footprint, margin: float) -> float:
    """How far (rad) the robot may turn on the spot before a corner or side touches a point.

    Inf = freely. `margin` (m) is kept to what is not within it already. A point that touches or
    is a little within the outline stops only the turning that would press on it.
    """
    if not left:
        y = -y
    near = np.hypot(x, y) <= footprint.radius + margin
    x, y = x[near], y[near]
    free = math.inf
    wide = footprint.grown(margin)
    beside = wide.covers(x, y)
    for outline, these in ((wide, ~beside), (footprint, beside & ~footprint.covers(x, y))):
        free = min(free, _turn_to_touch(x[these], y[these], outline))
    within = footprint.covers(x, y)
    return 0.0 if _pressed(x[within], y[within], footprint) else free


def _turn_to_touch(x: Floats, y: Floats, footprint: Footprint) -> float:
    """The least turn to the left after which one of the points, all outside, is touched."""
    squared, bearing = x * x + y * y, np.arctan2(y, x)
    turn = np.full(x.shape, np.inf)
    half, front, rear = footprint.half_width, footprint.front, footprint.rear
    for edge in (front, -rear):
        root = np.sqrt(np.maximum(squared - edge**2, 0))
        for at in (root, -root):
            valid = (squared >= edge**2) & (np.abs(at) <= half)
            angle = np.mod(bearing - np.arctan2(at, edge), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    for edge in (half, -half):
        root = np.sqrt(np.maximum(squared - edge**2, 0))
        for at in (root, -root):
            valid = (squared >= edge**2) & (at <= front) & (at >= -rear)
            angle = np.mod(bearing - np.arctan2(edge, at), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    return float(turn.min(initial=math.inf))


def _pressed(x: Floats, y: Floats, footprint: Footprint) -> bool:
    """Whether a turn to the left would take one of the points, all within, deeper."""
    depths = np.stack(
        [
            footprint.front - x,
            x + footprint.rear,
            footprint.half_width - y,
            y + footprint.half_width,
        ]
    )
    # How fast each edge comes over the point, in m for each rad.
    pressing = np.stack([-y, y, x, -x])
    edge = depths.argmin(axis=0)[None, :]
    depth = np.take_along_axis(depths, edge, axis=0)
    press = np.take_along_axis(pressing, edge, axis=0)
    return bool(((depth <= OWN_DEPTH_M) & (press > 0)).any())
