"""Obstacles per bearing, as a planar lidar would give them (sensor_msgs/LaserScan, REP 117).

A bearing has the distance of its nearest obstacle, +inf where floor is seen and no obstacle
stands on it, and NaN where the camera does not look or sees no floor.
"""

from __future__ import annotations

import math

import numpy as np

from midas_depth_ros.geometry.errors import InvalidOptions
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.obstacles import Obstacles
from midas_depth_ros.geometry.pictures import Grid

RANK = 3  # the third nearest pixel of a bearing is its distance: one or two may be noise


def laser_scan(
    obstacles: Obstacles,
    grid: Grid,
    mount: CameraMount,
    *,
    angle_min: float,
    angle_max: float,
    angle_increment: float,
    range_min: float = 0.05,
    range_max: float = 8.0,
) -> np.ndarray:
    """(n,) float32 ranges in metres along the floor, counter-clockwise about body z, 0 = ahead.

    n = round((angle_max - angle_min) / angle_increment) + 1; radians. Nearer than `range_min`
    is given as `range_min`, since nav2 skips what is below it; farther than `range_max` is +inf.
    Raises `InvalidOptions` for angles that make no scan.
    """
    if not (angle_increment > 0 and angle_max >= angle_min and range_max > range_min >= 0):
        raise InvalidOptions(
            f'a scan from {angle_min} to {angle_max} rad in steps of {angle_increment}, '
            f'{range_min} to {range_max} m, is none: angles and ranges must increase'
        )
    count = round((angle_max - angle_min) / angle_increment) + 1
    bearing = bearings(grid, mount)
    # Where beams are closer together than pixels, several share a pixel's answer.
    pitch = _pixel_pitch(bearing)
    group = max(1, math.ceil(pitch / angle_increment))
    bins = np.floor((bearing - (angle_min - 0.5 * angle_increment)) / (group * angle_increment))
    groups = -(-count // group)
    inside = (bins >= 0) & (bins < groups)
    ranges = np.full(groups, np.nan, np.float32)
    floor = bins[obstacles.floor & inside].astype(np.int64)
    ranges[np.bincount(floor, minlength=groups) >= 1] = np.inf
    hit = obstacles.mask & inside
    away = np.hypot(obstacles.points[hit][:, 0], obstacles.points[hit][:, 1])
    _fill_nearest(ranges, bins[hit].astype(np.int64), away)
    ranges[ranges > range_max] = np.inf
    ranges[ranges < range_min] = range_min
    return np.repeat(ranges, group)[:count]


def bearings(grid: Grid, mount: CameraMount) -> np.ndarray:
    """(h, w) float32 radians about body z, counter-clockwise, 0 = ahead; NaN where blind."""
    axes = mount.body_axes().astype(np.float32)
    x, y = grid
    ahead = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2]
    left = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2]
    return np.arctan2(left, ahead)


def scan_limits(grid: Grid, mount: CameraMount, angle_increment: float) -> tuple[float, float]:
    """First and last angle of the beams that the camera looks into, multiples of the increment."""
    bearing = bearings(grid, mount)
    lower = bearing[bearing.shape[0] // 2 :]
    first = math.ceil(float(np.nanmin(lower)) / angle_increment) * angle_increment
    last = math.floor(float(np.nanmax(lower)) / angle_increment) * angle_increment
    return first, max(first, last)


def _pixel_pitch(bearing: np.ndarray) -> float:
    """The largest angle between neighbours in the middle row."""
    middle = bearing[bearing.shape[0] // 2]
    steps = np.abs(np.diff(middle))
    return float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0


def _fill_nearest(ranges: np.ndarray, bins: np.ndarray, away: np.ndarray) -> None:
    """The RANK-th nearest of each bin, or its farthest where there are fewer."""
    order = np.lexsort((away, bins))
    bins, away = bins[order], away[order]
    filled, start, size = np.unique(bins, return_index=True, return_counts=True)
    ranges[filled] = away[start + np.minimum(size, RANK) - 1]
