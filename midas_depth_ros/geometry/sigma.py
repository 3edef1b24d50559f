"""How far each metre can be believed: a standard deviation of 1/Z for every pixel."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.scale import ScaleShift


def inverse_depth_sigma(d: np.ndarray, scale: ScaleShift) -> np.ndarray:
    """Return the standard deviation of 1/Z in 1/m, (h, w) float32, of relative inverse depth."""
    return np.full(d.shape, scale.residual, np.float32)


def depth_sigma(depth_z: np.ndarray, inverse_sigma: np.ndarray) -> np.ndarray:
    """Return the standard deviation of Z in metres, (h, w) float32, of that of 1/Z; NaN where Z is
    NaN.
    """
    return np.asarray(depth_z * depth_z * inverse_sigma, np.float32)
