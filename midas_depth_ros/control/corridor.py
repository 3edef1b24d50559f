"""How far the robot can go: what it sweeps on a straight line or an arc, and what it would hit.

Points on the robot's plane come in (m; x forward, y left, origin where it turns), distances
along its way come out. The footprint is a rectangle; what is ahead keeps a margin at the sides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.control.scan import FULL_TURN, ScanView

Floats = NDArray[np.float64]
STRAIGHT = 1e-4  # 1/m: flatter arcs are straight
TIGHTEST = 1e3  # 1/m
SAMPLES_ACROSS = 61


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

    def backward(self) -> Footprint:
        """The same robot when its back is its front."""
        return Footprint(self.half_width, self.rear, self.front, self.margin)


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


def unknown_shares(
    view: ScanView, pose: Pose, footprint: Footprint, distances: Floats, direction: int = 1
) -> Floats:
    """Which share of the corridor's width, at each distance before the front, no beam tells of.

    `pose` is that of the robot now, from where it was at the scan; `direction` -1 looks backward.
    """
    half = footprint.half_width + footprint.margin
    across = np.linspace(-half, half, SAMPLES_ACROSS)
    ahead = direction * (footprint.front + distances)
    x, y = pose.to_past(*np.broadcast_arrays(ahead[:, None], across[None, :]))
    return 1.0 - view.knows(x, y).mean(axis=1)
