"""What all fits share: base errors, checked input, coarse cells and robust statistics.

Robust fits are iteratively reweighted least squares: values far off the first guess lose their
weight, and the rest is fitted again. Weights fade smoothly, so that rounding cannot flip a fit.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Hashable
from typing import TypeVar

import cv2
import numpy as np

Grid = tuple[np.ndarray, np.ndarray]
Result = TypeVar('Result')
GRIDS_KEPT = 8  # for each function: a few cameras; an Imu gives each frame a mount of its own
MIN_SIDE = 16
BIWEIGHT = 4.7  # Tukey's constant: where a residual loses its vote, in deviations
BYTES = 256  # values of one
PER_MEDIAN = 1.4826  # standard deviation of a normal distribution by the median of |x|


class GeometryError(Exception):
    """Base of all errors of this package."""


class InvalidInverseDepth(GeometryError, ValueError):
    """Not an (h, w) array of numbers, or one that does not match its coordinate grid."""


class NoFloor(GeometryError):
    """No floor can be fitted; the text is the reason, for diagnostics."""


def checked(inverse_depth: np.ndarray, grid: Grid | None) -> np.ndarray:
    """Return `inverse_depth` as an array; raise `InvalidInverseDepth` unless it and `grid` are (h,
    w).
    """
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


def once_per_grid(function: Callable[..., Result]) -> Callable[..., Result]:
    """Let a function of a grid, and of what else is hashable, remember its last results.

    Only for grids that are read-only and share no memory with others, so that they stay what they
    are: as the node keeps them. What it returns must not be changed either.
    """
    kept: collections.OrderedDict[Hashable, tuple[Grid, Result]] = collections.OrderedDict()

    @functools.wraps(function)
    def remembering(grid: Grid, *of: Hashable) -> Result:
        if any(each.flags.writeable or each.base is not None for each in grid):
            return function(grid, *of)
        key = id(grid[0]), id(grid[1]), *of
        found = kept.pop(key, None)  # the arrays are kept as well, so that no others have their ids
        kept[key] = found = found or (grid, function(grid, *of))
        if len(kept) > GRIDS_KEPT:
            kept.popitem(last=False)
        return found[1]

    return remembering


@once_per_grid
def pixel_angle(grid: Grid) -> float:
    """Return the smallest angle (rad) between neighbouring pixels of the middle row."""
    row = np.arctan(grid[0][grid[0].shape[0] // 2].astype(np.float64))
    steps = np.abs(np.diff(row))
    return float(np.nanmin(steps)) if np.isfinite(steps).any() else math.inf


def reduced(
    arrays: tuple[np.ndarray, ...], valid: np.ndarray, pixels: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return means over blocks, about `pixels` in all; NaN where less than half is valid."""
    size = _reduced_size(valid.shape, pixels)
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


def reduced_with_grid(
    d: np.ndarray, grid: Grid, valid: np.ndarray, pixels: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return `reduced((d, *grid), valid, pixels)`."""
    if not valid.all():
        return reduced((d, *grid), valid, pixels)
    size = _reduced_size(valid.shape, pixels)
    return [resized(d, size), *resized_grid(grid, size)], np.ones(size[::-1], bool)


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return means over blocks: (h, w) for `size` = (w, h)."""
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


@once_per_grid
def resized_grid(grid: Grid, size: tuple[int, int]) -> Grid:
    """Return a grid with fewer pixels, `size` = (w, h); read-only as `grid`."""
    x, y = resized(grid[0], size), resized(grid[1], size)
    for fewer, all_ in ((x, grid[0]), (y, grid[1])):
        fewer.setflags(write=all_.flags.writeable)
    return x, y


def _reduced_size(shape: tuple[int, ...], pixels: int) -> tuple[int, int]:
    height, width = shape
    factor = min(1.0, math.sqrt(pixels / (height * width)))
    return max(MIN_SIDE, round(width * factor)), max(MIN_SIDE, round(height * factor))


def tukey_votes(off: np.ndarray, reach: float) -> np.ndarray:
    """Return Tukey's biweight of residuals (n,): 1 at 0, 0 from `reach` on, in their unit."""
    vote = off * (1 / reach)
    vote *= vote
    np.subtract(1, vote, out=vote)
    np.maximum(vote, 0, out=vote)
    vote *= vote
    return vote


def robust_deviation(off: np.ndarray) -> float:
    """Return the standard deviation of (n,) absolute residuals, n > 0, by their median."""
    return PER_MEDIAN * median(off)


def median(values: np.ndarray) -> float:
    """Return the median of (n,) numbers, n > 0: np.median without its overhead."""
    half = values.size // 2
    parted = np.partition(values, half)
    upper = float(parted[half])
    return upper if values.size % 2 else 0.5 * (float(parted[:half].max()) + upper)


def quantile(ascending: np.ndarray, share: float) -> float:
    """Return a quantile of (n,) sorted numbers, n > 0: np.quantile without its overhead."""
    at = share * (ascending.size - 1)
    below = min(int(at), ascending.size - 2) if ascending.size > 1 else 0
    lower, upper = float(ascending[below]), float(ascending[min(below + 1, ascending.size - 1)])
    return lower + (upper - lower) * (at - below)


def quantile_of(values: np.ndarray, share: float) -> float:
    """Return a quantile of (n,) numbers in any order, n > 0, none NaN: a faster np.quantile."""
    return quantiles_of(values, share)[0]


def quantiles_of(values: np.ndarray, *shares: float) -> list[float]:
    """Return several quantiles of (n,) numbers, as `quantile_of`."""
    last = values.size - 1
    places = [share * last for share in shares]
    ends = [(int(at), min(int(at) + 1, last)) for at in places]
    parted = np.partition(values, sorted({end for both in ends for end in both}))
    found = []
    for at, (below, above) in zip(places, ends, strict=True):
        lower, upper, part = parted[below], parted[above], at - below
        if part < 0.5:
            found.append(float(lower + (upper - lower) * part))
        else:
            found.append(float(upper - (upper - lower) * (1 - part)))
    return found


def solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return x of matrix x = right, (n, n) positive definite and (n,) or (n, m) float64:
    np.linalg.solve, in a fifth of its time where n is small. Raises `np.linalg.LinAlgError`.
    """
    good, x = cv2.solve(matrix, right.reshape(len(right), -1), flags=cv2.DECOMP_CHOLESKY)
    if not good:
        raise np.linalg.LinAlgError('the matrix is not positive definite')
    return x.reshape(right.shape)


def inverted(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a matrix (n, n) float64: np.linalg.inv, as `solved`."""
    size, inverse = cv2.invert(matrix)
    if not size:
        raise np.linalg.LinAlgError('the matrix is singular')
    return inverse


def deviation_within(off: np.ndarray, reach: float, least: float, most: float) -> float:
    """Return `robust_deviation` of those below `reach`, within limits; `most` if there are none."""
    near = off[off < reach]
    return min(max(robust_deviation(near), least), most) if near.size else most


def weighted_line(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float] | None:
    """Return (slope, x, y) of the least squares line and a point on it; None if all x are equal.

    x, y, weight: (n,) float64; the weights are not all 0.
    """
    total = weight.sum()
    x_mean, y_mean = float(weight @ x / total), float(weight @ y / total)
    centred = x - x_mean
    scatter = float(weight @ (centred * centred))
    if not scatter > 0:
        return None
    return float(weight @ (centred * (y - y_mean))) / scatter, x_mean, y_mean


def without_specks(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Return the (h, w) bool mask without connected parts of fewer than `smallest` pixels.

    The mask itself, where there are none.
    """
    _, top, _, height = cv2.boundingRect(mask.view(np.uint8))
    if smallest <= 1 or not height:
        return mask
    # Only where there is something; columns would have to be copied.
    filled = slice(top, top + height)
    part = mask[filled]
    # At most one in four pixels is a part of its own; 16 bits are three times as fast.
    kind = cv2.CV_16U if part.size < 4 * 65_535 else cv2.CV_32S
    count, labels = cv2.connectedComponents(part.view(np.uint8), connectivity=8, ltype=kind)
    if count == 2:  # one part
        return mask if np.count_nonzero(part) >= smallest else np.zeros_like(mask)
    # OpenCV's own statistics take four times as long.
    if count <= BYTES:  # 8 bits are twice as fast again
        labels = labels.astype(np.uint8)
        large = cv2.calcHist([labels], [0], None, [count], [0, count]).reshape(-1) >= smallest
    else:
        large = np.bincount(labels.reshape(-1), minlength=count) >= smallest
    if large[1:].all():
        return mask
    large[0] = False  # what is outside the mask
    kept = np.zeros_like(mask)
    if count <= BYTES:
        table = np.zeros(BYTES, np.uint8)
        table[:count] = large
        cv2.LUT(labels, table, dst=kept[filled].view(np.uint8))
    else:
        kept[filled] = np.take(large, labels)  # half the time of large[labels]
    return kept
