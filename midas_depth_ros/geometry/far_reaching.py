"""The line of d on the floor's 1/Z where errors reach far, as those of a network do.

Cells near each other then say nearly the same, and a long stretch of floor says not much more than
a short one. Generalised least squares (Aitken 1936) knows that: what differs between neighbours
counts for more, what a whole region has in common for less. In: coarse cells and their votes. Out:
slope and offset of the line.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

# Cells are averaged over blocks of this side. The correlation of two blocks falls off as
# exp(-distance / REACH); the rest, this share of the variance, is different in every block.
# `REACH` is that of errors 25 pixels wide in 256; chosen on rendered rooms (seed 9100).
BLOCK, REACH, OWN = 4, 2.1, 0.1
LEAST_SHARE = 0.3  # of a block that must have votes
LEAST_BLOCKS = 6


def far_reaching_line(
    d: np.ndarray, ground: np.ndarray, tolerance: np.ndarray, votes: np.ndarray
) -> tuple[float, float] | None:
    """Return (slope, offset) of d = slope * ground + offset, or None with too little floor.

    d, ground, tolerance, votes: (rows, columns); tolerance: to which errors are in proportion;
    votes: 0 to 1, 0 where d is unknown or not floor.
    """
    shape = votes.shape[0] // BLOCK, votes.shape[1] // BLOCK
    counts = votes > 0
    weight = np.divide(votes, tolerance, out=np.zeros(votes.shape), where=counts)
    layers = (votes, np.where(counts, d, 0) * weight, np.where(counts, ground, 0) * weight, weight)
    stacked = cv2.merge([layer.astype(np.float32) for layer in layers])
    small = cv2.resize(stacked, shape[::-1], interpolation=cv2.INTER_AREA).reshape(-1, 4)
    used = np.flatnonzero(small[:, 0] > LEAST_SHARE)
    if used.size < LEAST_BLOCKS:
        return None
    blocks = small[used].astype(np.float64)
    share = blocks[:, 0]
    values, slopes, ones = (blocks[:, 1:] / share[:, None]).T
    covariance = _correlation(shape)[np.ix_(used, used)] + np.diag(OWN / share)
    design = np.stack([slopes, ones], axis=1)
    solved = np.linalg.solve(covariance, np.column_stack([design, values]))
    normal = design.T @ solved
    try:
        slope, offset = np.linalg.solve(normal[:, :2], normal[:, 2])
    except np.linalg.LinAlgError:
        return None
    return float(slope), float(offset)


@functools.lru_cache(maxsize=8)
def _correlation(shape: tuple[int, int]) -> np.ndarray:
    """(n, n) of the blocks."""
    at = np.indices(shape).reshape(2, -1).T.astype(np.float64)
    return np.asarray(np.exp(-np.linalg.norm(at[:, None] - at, axis=-1) / REACH))


# The reach of errors, a standard deviation, in cells; averaged over so many cells, nothing is left
# of what differs from cell to cell.
SMOOTH_REACH, SMOOTH_OVER = 8.0, 4


def correlated(values: np.ndarray) -> np.ndarray:
    """Return the sum over all (rows, columns) cells, each weighted by its correlation with this
    one, which falls off as a Gaussian.
    """
    blurred = cv2.GaussianBlur(values, (0, 0), SMOOTH_REACH, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred * (math.tau * SMOOTH_REACH**2))


def smooth_deviation(off: np.ndarray, sure: np.ndarray) -> float:
    """Return the deviation of cells averaged over their neighbours, beyond what errors leave that
    are different in every cell.

    off: (rows, columns) deviations; sure: bool, which of them count. In the unit of `off`; 1 where
    too few count.
    """
    window = SMOOTH_OVER, SMOOTH_OVER
    share = cv2.blur(sure.astype(np.float32), window)
    mean = cv2.blur(np.where(sure, off, 0.0).astype(np.float32), window)
    enough = sure & (share > 0.3)
    if not enough.any():
        return 1.0
    smoothed = float(np.mean((mean[enough] / share[enough]) ** 2))
    left = float(np.mean(off[enough] ** 2) * np.mean(1 / share[enough])) / SMOOTH_OVER**2
    return math.sqrt(max(smoothed - left, 0.0))
