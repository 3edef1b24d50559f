"""How far each metre can be believed: a standard deviation of 1/Z for every pixel."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.scale import ScaleShift


def inverse_depth_sigma(d: np.ndarray, scale: ScaleShift) -> np.ndarray:
    """Return the standard deviation of 1/Z in 1/m, (h, w) float32, of relative inverse depth."""
    return np.full(d.shape, scale.residual, np.float32)
