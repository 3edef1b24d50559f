"""A furnished place seen from above: the outlines of its parts between two heights.

Boxes and tubes that stand upright have exact outlines; what is tipped, and balls, have the convex
hull of points on their surface, which lie millimetres apart.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from midas_depth_ros.sim.convex import Convex
from midas_depth_ros.sim.parts import BALL, BOX, Hall, Part, Place, rotation
from midas_depth_ros.sim.plan_view import Disc, Heights, Outline, PlanView, Rectangle
from midas_depth_ros.sim.scene import Room

POINTS = 48  # along an edge, around a ring, from top to bottom


def plan_of(place: Place, heights: Heights) -> PlanView:
    """What of a place there is between these heights, in metres above the floor."""
    outlines = [part_outline(part, heights) for part in place.parts]
    return PlanView([each for each in outlines if each is not None], _room(place.hall))


def _room(hall: Hall | None) -> Room | None:
    if hall is None:
        return None
    return Room(hall.low[0], hall.high[0], hall.low[1], hall.high[1], hall.height_m)


def part_outline(part: Part, heights: Heights) -> Outline | None:
    """The part from above as it is between these heights; None where it is not there."""
    low, high = heights
    upright = not part.pitch_rad and not part.roll_rad
    bottom, top = part.centre[2] - part.half[2], part.centre[2] + part.half[2]
    if upright and (bottom >= high or top <= low):
        return None
    if upright and part.shape == BOX:
        return Rectangle(*part.centre[:2], *part.half[:2], part.yaw_rad)
    if upright and part.shape != BALL and part.half[0] == part.half[1]:
        ends = (np.clip([low, high], bottom, top) - bottom) / (top - bottom)
        widest = max(1 + (part.taper - 1) * float(end) for end in ends)
        return Disc(*part.centre[:2], part.half[0] * widest)
    points = _surface(part.shape, part.taper) * part.half
    points = points @ rotation(part.yaw_rad, part.pitch_rad, part.roll_rad).T + part.centre
    points = points[(points[:, 2] > low) & (points[:, 2] < high), :2]
    return Convex(points) if len(points) else None


@functools.lru_cache(maxsize=64)
def _surface(shape: int, taper: float) -> np.ndarray:
    """Points (N, 3) on the edges or the surface of a unit shape."""
    line = np.linspace(-1, 1, POINTS)
    if shape == BOX:
        signs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)])
        edges = [
            np.insert(np.repeat(sign[None], POINTS, axis=0), axis, line, axis=1)
            for sign in signs
            for axis in range(3)
        ]
        return np.concatenate(edges)
    around = np.arange(POINTS) * math.tau / POINTS
    radius = np.sqrt(1 - line**2) if shape == BALL else 1 + (taper - 1) * 0.5 * (line + 1)
    rings = np.stack([np.cos(around), np.sin(around)], axis=1)[None] * radius[:, None, None]
    heights = np.broadcast_to(line[:, None, None], (POINTS, POINTS, 1))
    return np.concatenate([rings, heights], axis=2).reshape(-1, 3)
