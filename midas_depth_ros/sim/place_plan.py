"""A furnished place seen from above: the outlines of its parts between two heights.

Boxes that stand or lie anyhow and upright tubes have exact outlines; tipped tubes and balls have
the convex hull of many lines on their surface, cut off at the two heights.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from midas_depth_ros.sim.convex import Convex
from midas_depth_ros.sim.parts import BALL, BOX, Hall, Part, Place, rotation
from midas_depth_ros.sim.plan_view import Disc, Heights, Outline, PlanView, Rectangle
from midas_depth_ros.sim.scene import Room

LINES = 48  # around a tube or a ball, and up a ball


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
    lines = _lines(part.shape, part.taper) * part.half
    lines = lines @ rotation(part.yaw_rad, part.pitch_rad, part.roll_rad).T + part.centre
    points = _cut(lines, heights)[:, :2]
    return Convex(points) if len(points) else None


def _cut(lines: np.ndarray, heights: Heights) -> np.ndarray:
    """Where lines (N, 2, 3) begin and end between two heights, (M, 3)."""
    start, along = lines[:, 0], lines[:, 1] - lines[:, 0]
    level = np.abs(along[:, 2]) < 1e-9
    slope = np.where(level, 1.0, along[:, 2])
    at = np.sort((np.array(heights) - start[:, 2:]) / slope[:, None], axis=1)
    begin, end = np.maximum(at[:, 0], 0.0), np.minimum(at[:, 1], 1.0)
    within = (start[:, 2] > heights[0]) & (start[:, 2] < heights[1])
    begin, end = np.where(level, 0.0, begin), np.where(level, 1.0, end)
    kept = np.where(level, within, begin < end)
    both = np.stack([start + along * begin[:, None], start + along * end[:, None]], axis=1)
    return both[kept].reshape(-1, 3)


@functools.lru_cache(maxsize=64)
def _lines(shape: int, taper: float) -> np.ndarray:
    """Lines (N, 2, 3) on the surface of a unit shape, of which it is the hull."""
    if shape == BOX:
        corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
        pairs = itertools.combinations(range(8), 2)
        edges = [(a, b) for a, b in pairs if (corners[a] != corners[b]).sum() == 1]
        return corners[np.array(edges)]
    line = np.linspace(-1, 1, LINES) if shape == BALL else np.array([-1.0, 1.0])
    around = np.arange(LINES) * math.tau / LINES
    radius = np.sqrt(1 - line**2) if shape == BALL else 1 + (taper - 1) * 0.5 * (line + 1)
    rings = np.stack([np.cos(around), np.sin(around)], axis=1)[None] * radius[:, None, None]
    heights = np.broadcast_to(line[:, None, None], (len(line), LINES, 1))
    grid = np.concatenate([rings, heights], axis=2)  # (from bottom to top, around, 3)
    upward = np.stack([grid[:-1], grid[1:]], axis=2).reshape(-1, 2, 3)
    round_about = np.stack([grid, np.roll(grid, -1, axis=1)], axis=2).reshape(-1, 2, 3)
    return np.concatenate([upward, round_about])
