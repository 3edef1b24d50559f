"""Metric depth as points in the optical frame, in the order of the pixels."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.pictures import Grid, checked


def point_cloud(depth_z: np.ndarray, grid: Grid) -> np.ndarray:
    """(h, w, 3) float32 x, y, z in metres, optical frame (REP 103); NaN where depth is none.

    depth_z: (h, w) metres along the optical axis (REP 118); grid: `CameraModel.normalised_grid`.
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    depth = checked(depth_z, grid)
    x, y = grid
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    return np.stack([x * z, y * z, np.where(np.isfinite(x), z, np.float32(np.nan))], axis=-1)
