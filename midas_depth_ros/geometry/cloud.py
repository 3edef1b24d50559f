"""Metric depth as points in the optical frame, in the order of the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.errors import InvalidInverseDepth


def point_cloud(depth_z: np.ndarray, grid: Grid) -> np.ndarray:
    """(h, w, 3) float32 x, y, z in metres, optical frame (REP 103); NaN where depth is none.

    depth_z: (h, w) metres along the optical axis (REP 118); grid: `CameraModel.normalised_grid`.
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    depth = checked(depth_z, grid)
    x, y = grid
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    return np.stack([x * z, y * z, np.where(np.isfinite(x), z, np.float32(np.nan))], axis=-1)


# --- Points and their colours as a PLY file, which MeshLab, CloudCompare and Open3D read.

VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')]
)
PLY_TYPES = {'f4': 'float', 'u1': 'uchar'}


def ply_bytes(
    points: NDArray[np.float32], rgb: NDArray[np.uint8], comments: Sequence[str] = ()
) -> bytes:
    """A binary little-endian PLY of the points that are finite.

    points: (..., 3) float32, optical frame (x right, y down, z forward). rgb: likewise, uint8.
    comments: lines of its header, which say what the unit is; a PLY has none of its own.
    Raises `InvalidInverseDepth` where points and colours do not fit each other.
    """
    if points.shape != rgb.shape or points.shape[-1] != 3:
        raise InvalidInverseDepth(
            f'points {points.shape} and colours {rgb.shape}: give (..., 3) of both, alike'
        )
    flat, colours = points.reshape(-1, 3), rgb.reshape(-1, 3)
    known = np.isfinite(flat).all(axis=1)
    table = np.empty(int(known.sum()), VERTEX)
    for index, (axis, colour) in enumerate((('x', 'red'), ('y', 'green'), ('z', 'blue'))):
        table[axis] = flat[known, index]
        table[colour] = colours[known, index]
    properties = [
        f'property {PLY_TYPES[VERTEX[name].str[1:]]} {name}' for name in VERTEX.names or ()
    ]
    header = [
        'ply',
        'format binary_little_endian 1.0',
        *(f'comment {" ".join(text.split())}' for text in comments),
        f'element vertex {len(table)}',
        *properties,
        'end_header',
    ]
    return '\n'.join(header).encode('ascii', 'replace') + b'\n' + table.tobytes()


# --- What every function of this room does first: check a picture, and reduce it to coarse
# cells.

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
