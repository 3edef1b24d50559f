"""Pictures turned by quarters, clockwise, and what has to be turned along with them.

For cameras that are mounted upside down or on their side: the optical frame (REP 103) of a turned
picture is that of the camera, turned about the optical axis. Degrees are 0, 90, 180 or 270.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TURNS = (0, 90, 180, 270)
COSINE_AND_SINE = {0: (1.0, 0.0), 90: (0.0, 1.0), 180: (-1.0, 0.0), 270: (0.0, -1.0)}
LOCKED = 1 - 1e-12
# Where the lens models that have a direction keep x and y of it: decentring (p2, p1), thin prism.
DIRECTED = {
    'plumb_bob': ((3, 2),),
    'rational_polynomial': ((3, 2), (8, 10), (9, 11)),
}


def turned(picture: NDArray, degrees: int) -> NDArray:
    """(H, W) or (H, W, n) turned clockwise; contiguous, the same array where nothing is turned."""
    if not degrees:
        return picture
    return np.ascontiguousarray(np.rot90(picture, -degrees // 90))


def turned_points(points: NDArray[np.float32], degrees: int) -> NDArray[np.float32]:
    """(h, w, 3) x, y, z in the optical frame of a picture -> in that of the turned one."""
    if not degrees:
        return points
    return turned(points, degrees) @ turn(degrees).T.astype(points.dtype)


def turned_axes(axes: np.ndarray, degrees: int) -> np.ndarray:
    """(3, 3): optical frame of a picture into another -> that of the turned picture into it."""
    return np.asarray(axes, np.float64) @ turn(degrees).T


def roll_pitch_yaw(axes: np.ndarray) -> tuple[float, float, float]:
    """Angles in radians of the (3, 3) rotation Rz(yaw) Ry(pitch) Rx(roll), as TF's tools want."""
    pitch = math.asin(max(-1.0, min(1.0, -axes[2, 0])))
    if abs(axes[2, 0]) > LOCKED:  # roll and yaw turn about the same axis: one of them will do
        return 0.0, pitch, math.atan2(-axes[0, 1], axes[1, 1])
    return math.atan2(axes[2, 1], axes[2, 2]), pitch, math.atan2(axes[1, 0], axes[0, 0])


def turn(degrees: int) -> np.ndarray:
    """(3, 3) float64: takes a vector of an optical frame into that of the turned picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def turned_lens(model: str, coefficients: tuple[float, ...], degrees: int) -> tuple[float, ...]:
    """The coefficients, as of CameraInfo, of the same lens for the turned picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    result = list(coefficients)
    for across, down in DIRECTED.get(model, ()):
        if max(across, down) < len(result):
            x, y = coefficients[across], coefficients[down]
            result[across], result[down] = cos * x - sin * y, sin * x + cos * y
    return tuple(result)


def turned_offset(x: float, y: float, degrees: int) -> tuple[float, float]:
    """Where a point is in the turned picture, both seen from the picture's middle."""
    cos, sin = COSINE_AND_SINE[degrees]
    return cos * x - sin * y, sin * x + cos * y
