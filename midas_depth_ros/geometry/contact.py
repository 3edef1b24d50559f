"""What stands on the floor is as far away as its foot.

A network errs smoothly: an obstacle and the floor before it are off by much the same share. Of the
floor the mount says where it is. So where an obstacle meets the floor, its 1/Z can be corrected by
what the floor right before it is off, and it is then as far away as its foot by pitch and height
alone (the range of Stein, Mano and Shashua, Vision-based ACC with a single camera, IV 2003). Both
ranges are fused by how uncertain they are: on an exact floor nothing changes.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from midas_depth_ros.geometry.fitting import robust_deviation

# A foot is sought below the lowest pixel of an obstacle in every column. Means are over so many
# rows and columns, and leave out this many rows beside the foot, where a network blurs.
ROWS, COLUMNS, BESIDE = 5, 3, 1
SEARCHES = 3
# Share by which the floor before a foot may be off: farther away, and nearer. The latter may be a
# floor that rises a little, and moves what stands on it away from the robot.
MOST_OFF, MOST_NEARER = 0.35, 0.1
# A pixel above a foot belongs to the same front, up to this difference of ln(range).
SAME_FRONT = 0.35
# Pixels between an obstacle and its foot are its front, and not floor that is seen under it. Fewer
# rows do not tell.
LEAST_BETWEEN = 4
# How uncertain a range is, by the floor's deviation: that by depth so many times as much, since the
# fit follows the floor's errors, but not those above it; that by the foot a share of it, since the
# errors of front and floor are not quite the same, and so many rows.
STANDING, ALIKE, FOOT_ROWS = 2.0, 0.2, 1.0
LEAST_SHARE = 1e-3
LEAST_FLOOR = 0.6  # of the pixels before a foot
SAMPLED = 2  # step between rows and columns for the floor's deviation


@dataclasses.dataclass(frozen=True)
class Feet:
    """Where obstacles meet the floor, by column, (w,).

    found: bool. seen_log, foot_log: float32, the logarithm of the metres ahead to the front by its
    depth, and by its foot. share: how uncertain the latter is, as a share.
    """

    found: np.ndarray
    seen_log: np.ndarray
    foot_log: np.ndarray
    share: np.ndarray


def range_factors(
    inverse: np.ndarray,
    ground: np.ndarray,
    ahead: np.ndarray,
    raised: np.ndarray,
    floor: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of obstacles are not as far away as they seem, (n,) indices into h * w,
    and by what their ranges are to be multiplied, (n,) float32.

    inverse: (h, w) float32 1/Z, 0 unknown. ground: that of the floor. ahead: metres ahead per metre
    of Z, positive. raised: (h, w) bool, obstacles that stand out of the floor. floor: (h, w) bool,
    floor that is seen.
    """
    nothing = np.zeros(0, np.intp), np.zeros(0, np.float32)
    if not raised.any() or not floor.any():
        return nothing
    shape = inverse.shape
    off = np.zeros(shape, np.float32)
    np.divide(inverse, ground, out=off, where=floor)
    np.subtract(off, 1, out=off, where=floor)
    np.clip(off, -MOST_OFF, MOST_NEARER, out=off)
    every = np.s_[::SAMPLED, ::SAMPLED]
    of_all = np.abs(off[every][floor[every]])
    deviation = robust_deviation(of_all) if of_all.size else 0.0
    near, of_floor = inverse / ahead, ground / ahead  # 1/x, 1/m
    blank = ~(ahead > 0)
    if blank.any():
        # Pixels without a ray, as in a fisheye's corners: one would make all means below it NaN,
        # and rows are counted down to the foot.
        near[blank] = of_floor[blank] = 0.0
        middle = shape[0] // 2
        of_floor[middle:][blank[middle:]] = math.inf
    feet = _feet(near, of_floor, off, raised, floor, deviation)
    if not feet.found.any():
        return nothing
    by_depth = STANDING * deviation
    weight = (by_depth**2 / (by_depth**2 + feet.share**2)).astype(np.float32)
    pixels = np.flatnonzero(raised & feet.found)
    column = pixels % shape[1]
    with np.errstate(divide='ignore', invalid='ignore'):
        seen = np.log(near.reshape(-1)[pixels])
        front = np.abs(seen + feet.seen_log[column]) < SAME_FRONT
    pixels, column, seen = pixels[front], column[front], seen[front]
    # What sticks out towards the robot is not moved back to the foot, only as far as its front.
    most = feet.foot_log[column] - feet.seen_log[column] + np.float32(deviation)
    return pixels, np.exp(weight[column] * np.minimum(seen + feet.foot_log[column], most))


def _feet(
    near: np.ndarray,
    of_floor: np.ndarray,
    off: np.ndarray,
    raised: np.ndarray,
    floor: np.ndarray,
    deviation: float,
) -> Feet:
    """Find the foot below the lowest pixel of an obstacle in every column."""
    height, width = near.shape
    columns = np.arange(width)
    size, half = (COLUMNS, ROWS), ROWS // 2
    mean = cv2.blur(near, size)
    weight = cv2.blur(floor.view(np.uint8) * np.uint8(100), size)  # percent
    ratio = cv2.blur(off, size)
    lowest = height - 1 - np.argmax(raised[::-1], axis=0)

    def at(values: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.asarray(values[np.clip(row, 0, height - 1), columns])

    front = at(mean, lowest - half)
    lowered = np.zeros(width, np.float32)
    foot, stands = lowest, np.ones(width, bool)
    for search in range(SEARCHES):
        foot = np.count_nonzero(of_floor < front / (1 + lowered), axis=0)
        before = foot + BESIDE + half
        share = at(weight, before)
        is_floor = share > 100 * LEAST_FLOOR
        lowered = np.where(is_floor, 100 * at(ratio, before) / np.maximum(share, 1), lowered)
        if search == 0:
            middle = (lowest + foot) // 2
            under = at(of_floor, middle) * (1 + lowered)
            stands = at(near, middle) > 0.5 * (front + under)
            stands |= foot - lowest < LEAST_BETWEEN
        front = np.where(stands, at(mean, foot - BESIDE - half), front)
    found = raised.any(axis=0) & stands & is_floor & (before < height) & (front > 0)
    here = at(of_floor, foot)
    with np.errstate(divide='ignore', invalid='ignore'):
        rows = FOOT_ROWS * np.maximum(here - at(of_floor, foot - 1), 0) / here
        seen_log = -np.log(front).astype(np.float32)
        foot_log = seen_log + np.log1p(lowered).astype(np.float32)
    share = np.hypot(rows, ALIKE * deviation)
    share = np.where(np.isfinite(share), np.maximum(share, LEAST_SHARE), math.inf)
    return Feet(found, seen_log, foot_log, share)
