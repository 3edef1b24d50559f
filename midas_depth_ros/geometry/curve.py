"""A monotone curve of 1/Z over relative inverse depth, for networks that are not quite affine.

Straight between about ten knots, fitted to anchors, stiff where there are few. Beyond the anchors
it returns to the line that it replaces (`ScaleShift.inverse_depth`).
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.fitting import robust_deviation

Curve = tuple[tuple[float, float], ...]

KNOTS, MIN_ANCHORS = 10, 13
OUTLIER = 3.0  # median deviations beyond which an anchor does not count
RETURN = 0.3  # of the spread of the anchors, within which the curve returns to the line
STIFFNESS = 0.3  # of the curve against bending, as against an average anchor
ROUNDS = 2


def monotone_curve(
    d: np.ndarray, inverse: np.ndarray, weight: np.ndarray, scale: float, shift: float
) -> Curve:
    """Return points (d, 1/Z) of a curve through anchors (n,), about the line 1/Z = scale d + shift.

    weight: (n,), 0 = does not count. () where there are too few anchors for a curve.
    """
    good = weight > 0
    points: Curve = ()
    error = from_line = inverse - scale * d - shift
    for _ in range(ROUNDS):
        far = np.abs(error)
        good = good & (far <= OUTLIER * max(robust_deviation(far[good]), 1e-9))
        if good.sum() < MIN_ANCHORS:
            return ()
        knots = np.unique(np.quantile(d[good], np.linspace(0, 1, KNOTS)))
        if len(knots) < 4:
            return ()
        beside = _heights(knots, d[good], from_line[good], weight[good])
        beyond = RETURN * float(knots[-1] - knots[0])
        ends = np.concatenate([[knots[0] - beyond], knots, [knots[-1] + beyond]])
        heights = _rising(np.concatenate([[0.0], beside, [0.0]]) + scale * ends + shift)
        points = tuple(zip(ends.tolist(), heights.tolist(), strict=True))
        error = inverse - np.interp(d, ends, heights)
    return points


def moved(curve: Curve, scale: float, shift: float) -> Curve:
    """Return the curve with the line 1/Z = scale d + shift added to it, still rising."""
    if not curve:
        return ()
    knots, heights = np.array(curve).T
    heights = _rising(heights + scale * knots + shift)
    return tuple(zip(knots.tolist(), heights.tolist(), strict=True))


def _heights(knots: np.ndarray, d: np.ndarray, error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What is added to the line at the knots: least squares, stiff against bending."""
    part = np.clip(np.searchsorted(knots, d, side='right') - 1, 0, len(knots) - 2)
    share = (d - knots[part]) / (knots[part + 1] - knots[part])
    basis = np.zeros((len(d), len(knots)))
    row = np.arange(len(d))
    basis[row, part], basis[row, part + 1] = 1 - share, share
    bends = np.diff(np.eye(len(knots)), n=2, axis=0)
    stiff = STIFFNESS * float(weight.mean()) * len(d) / len(knots)
    matrix = (basis * weight[:, None]).T @ basis + stiff * bends.T @ bends
    matrix += 1e-6 * float(weight.mean()) * np.eye(len(knots))
    return np.linalg.solve(matrix, basis.T @ (weight * error))


def _rising(heights: np.ndarray) -> np.ndarray:
    """The mean of the running maximum and the running minimum from the other end: rises."""
    return 0.5 * (np.maximum.accumulate(heights) + np.minimum.accumulate(heights[::-1])[::-1])
