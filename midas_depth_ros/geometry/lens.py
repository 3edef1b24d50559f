"""Lens distortion as sensor_msgs/CameraInfo names it: its models, and both ways through each.

Points are normalised coordinates (x', y') = (X/Z, Y/Z), two arrays of one shape. `distort` goes
from the ideal pinhole to the lens, `undistort` back; where there is no way back, it says NaN.
"""

from __future__ import annotations

import cv2
import numpy as np

# Model name -> the lengths that its coefficient list may have (CameraInfo.msg, OpenCV).
COEFFICIENT_COUNTS: dict[str, tuple[int, ...]] = {
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}
TILT = slice(12, 14)  # coefficients of a tilted sensor: not modelled, must be 0
REFINEMENTS = 4
PROBE = 1e-5  # step of the numeric derivative, normalised coordinates


def distort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal normalised coordinates -> those at which the lens images the point.

    Brown-Conrady with its rational and thin prism terms for `plumb_bob` and
    `rational_polynomial`, Kannala-Brandt for `equidistant`. `model` and `coefficients` must
    have been checked.
    """
    squared = x * x + y * y
    if model == 'equidistant':
        radius = np.sqrt(squared)
        angle = np.arctan(radius)
        k1, k2, k3, k4 = coefficients
        a2 = angle * angle
        bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        scale = np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (tuple(coefficients) + (0.0,) * 12)[:12]
    radial = 1 + squared * (k1 + squared * (k2 + squared * k3))
    radial = radial / (1 + squared * (k4 + squared * (k5 + squared * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x) + squared * (s1 + s2 * squared),
        y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y + squared * (s3 + s4 * squared),
    )


def undistort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...], tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised coordinates as the lens imaged them -> ideal ones, float64.

    NaN where the lens model has no inverse: outside the circle of a fisheye, or beyond the
    radius at which a polynomial turns back. `tolerance` (normalised coordinates) is how
    closely a result must lead back to where it came from.
    """
    start = _opencv_undistort(x, y, model, coefficients)
    with np.errstate(all='ignore'):
        return _refined(x, y, *start, model, coefficients, tolerance)


def _opencv_undistort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    points = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    inverse = cv2.fisheye.undistortPoints if model == 'equidistant' else cv2.undistortPoints
    result = inverse(points, np.eye(3), np.array(coefficients, dtype=np.float64))
    result = result.reshape(*x.shape, 2)
    return result[..., 0], result[..., 1]


def _refined(
    x_wanted: np.ndarray,
    y_wanted: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    model: str,
    coefficients: tuple[float, ...],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method from OpenCV's answer, which stops after five steps of its own."""
    for step in range(REFINEMENTS + 1):
        x_here, y_here = distort(x, y, model, coefficients)
        x_dx, y_dx = distort(x + PROBE, y, model, coefficients)
        x_dy, y_dy = distort(x, y + PROBE, model, coefficients)
        a, b = (x_dx - x_here) / PROBE, (x_dy - x_here) / PROBE
        c, d = (y_dx - y_here) / PROBE, (y_dy - y_here) / PROBE
        determinant = a * d - b * c
        x_error, y_error = x_wanted - x_here, y_wanted - y_here
        if step < REFINEMENTS:
            x = x + (d * x_error - b * y_error) / determinant
            y = y + (a * y_error - c * x_error) / determinant
    # A polynomial that has turned back images other points there too: mirrored in radius
    # (negative determinant), or across the centre.
    good = (np.hypot(x_error, y_error) < tolerance) & (determinant > 0)
    good &= x * x_wanted + y * y_wanted >= 0
    return np.where(good, x, np.nan), np.where(good, y, np.nan)
