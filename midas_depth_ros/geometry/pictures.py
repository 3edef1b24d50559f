"""What every function of this room does first: check a picture, and reduce it to coarse cells."""

from __future__ import annotations

import math

import cv2
import numpy as np

from midas_depth_ros.geometry.errors import InvalidInverseDepth

Grid = tuple[np.ndarray, np.ndarray]
MIN_SIDE = 16


def checked(inverse_depth: np.ndarray, grid: Grid | None) -> np.ndarray:
    """`inverse_depth` as an array; raises `InvalidInverseDepth` unless it and `grid` are (h, w)."""
    d = np.asarray(inverse_depth)
    if d.ndim != 2 or min(d.shape) < MIN_SIDE:
        raise InvalidInverseDepth(
            f'relative inverse depth has shape {d.shape}: it must be (h, w), at least '
            f'{MIN_SIDE}x{MIN_SIDE}'
        )
    if d.dtype not in (np.float32, np.float64):
        raise InvalidInverseDepth(f'relative inverse depth is {d.dtype}: it must be float32')
    if grid is not None and not grid[0].shape == grid[1].shape == d.shape:
        raise InvalidInverseDepth(
            f'the coordinate grid is {grid[0].shape} and {grid[1].shape}, relative inverse depth '
            f'{d.shape}: make the grid with CameraModel.normalised_grid(width, height) of that size'
        )
    return d


def pixel_angle(grid: Grid) -> float:
    """The smallest angle in radians between two neighbouring pixels of the middle row."""
    row = np.arctan(grid[0][grid[0].shape[0] // 2].astype(np.float64))
    steps = np.abs(np.diff(row))
    return float(np.nanmin(steps)) if np.isfinite(steps).any() else math.inf


def reduced(
    arrays: tuple[np.ndarray, ...], valid: np.ndarray, pixels: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Means over blocks of what is valid, at about `pixels`; NaN where less than half is."""
    height, width = valid.shape
    factor = min(1.0, math.sqrt(pixels / valid.size))
    size = max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))
    if valid.all():
        means = [cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in arrays]
        return means, np.ones(means[0].shape, bool)
    weight = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    known = weight > 0.5
    held = np.where(known, weight, np.float32(np.nan))
    means = [
        cv2.resize(np.where(valid, array, 0), size, interpolation=cv2.INTER_AREA) / held
        for array in arrays
    ]
    return means, known
