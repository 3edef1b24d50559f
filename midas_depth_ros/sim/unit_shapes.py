"""Where rays meet the unit shapes, by closed forms: box, ball and tube within -1..1 on all axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midas_depth_ros.sim.parts import BALL, BOX

_PARALLEL = 1e-30  # instead of 0, of which 0 times the inverse is not a number

Along = list[np.ndarray]
Start = Sequence[float | np.ndarray]  # one origin for all rays, or one for each


def meet_unit(shape: int, origin: Start, direction: Along, taper: float | np.ndarray) -> np.ndarray:
    """How far along each ray it first meets the shape from outside; inf where it misses.

    `taper`: radius of a tube's top. Divides by 0 where a ray is parallel to a face: silence NumPy.
    `direction` is written to.
    """
    if shape == BOX:
        return _meet_box(origin, direction)
    return _meet_ball(origin, direction) if shape == BALL else _meet_tube(origin, direction, taper)


def _meet_box(origin: Start, direction: Along) -> np.ndarray:
    near, far = np.full((), -np.inf, np.float32), np.full((), np.inf, np.float32)
    for start, along in zip(origin, direction, strict=True):
        along += _PARALLEL
        reach = np.reciprocal(along, out=along)
        middle = reach * -start
        np.abs(reach, out=reach)
        leave = middle + reach
        enter = np.subtract(middle, reach, out=middle)
        near = np.maximum(near, enter, out=enter)
        far = np.minimum(far, leave, out=leave)
    return np.where((near <= far) & (near > 0), near, np.inf)


def _meet_ball(origin: Start, direction: Along) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    inside = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    near = (-b - np.sqrt(inside)) / a  # not a number where it misses
    return np.where(near > 0, near, np.inf)


def _meet_tube(origin: Start, direction: Along, taper: float | np.ndarray) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    middle, rate = 0.5 * (1.0 + taper), 0.5 * (taper - 1.0)  # radius = middle + rate * z
    radius = middle + rate * oz
    a = dx * dx + dy * dy - (rate * rate) * dz * dz
    b = ox * dx + oy * dy - (rate * radius) * dz
    root = np.sqrt(b * b - a * (ox * ox + oy * oy - radius * radius))
    met = (-b - root) / a
    met[~((met > 0) & (np.abs(oz + met * dz) <= 1.0))] = np.inf
    if np.any(rate):
        other = (root - b) / a
        other[~((other > 0) & (np.abs(oz + other * dz) <= 1.0))] = np.inf
        met = np.minimum(met, other)
    outside = np.abs(oz) > 1.0
    if np.any(outside):
        reach = (np.copysign(1.0, oz) - oz) / dz
        x, y = ox + reach * dx, oy + reach * dy
        lid = np.where(oz < 0, 1.0, taper)
        reach[~((reach > 0) & (x * x + y * y <= lid * lid) & outside)] = np.inf
        met = np.minimum(met, reach)
    return met
