"""Scans for tests: a wall ahead, or single points, as plain fields or as a view."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from midas_depth_ros.avoidance import ScanView, SensorPlace, read_scan

CENTRE = SensorPlace(x=0.0)


def fields(
    distance: float = 2.0, beams: int = 121, half_angle: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """Return the fields of a scan of a flat wall `distance` m ahead of the sensor."""
    bearings = np.linspace(-half_angle, half_angle, beams)
    ranges = distance / np.cos(bearings)
    return {
        'ranges': np.where(ranges > 8.0, np.inf, ranges),
        'angle_min': -half_angle,
        'angle_max': half_angle,
        'angle_increment': 2 * half_angle / (beams - 1),
        'range_min': 0.05,
        'range_max': 8.0,
        **changes,
    }


def wall(distance: float = 2.0, place: SensorPlace = CENTRE, **changes: Any) -> ScanView:
    """Return a wall `distance` m ahead of the sensor; Inf is an open field."""
    return read_scan(**fields(distance, **changes), place=place)


def points(*where: tuple[float, float], beams: int = 721) -> ScanView:
    """Return a full turn around the robot's centre, clear except for these points (x, y) in m."""
    ranges = np.full(beams, np.inf)
    step = 2 * math.pi / (beams - 1)
    for x, y in where:
        ranges[round((math.atan2(y, x) + math.pi) / step)] = math.hypot(x, y)
    return read_scan(ranges, -math.pi, math.pi, step, 0.02, 12.0, CENTRE)
