"""Fits that outliers do not move: Tukey's votes, robust deviation, weighted line; and no specks.

Iteratively reweighted least squares: from a first guess, what lies far off it loses its vote, and
the rest is fitted again. Votes fade smoothly, so that rounding cannot tip a fit.
"""

from __future__ import annotations

import cv2
import numpy as np

BIWEIGHT = 4.7  # Tukey's constant: where a residual loses its vote, in deviations
PER_MEDIAN = 1.4826  # standard deviation of a normal distribution by the median of |x|


def tukey_votes(off: np.ndarray, reach: float) -> np.ndarray:
    """Tukey's biweight of residuals (n,): 1 for none, 0 from `reach` on, in the unit of `off`."""
    scaled = off / reach
    return np.maximum(1 - scaled * scaled, 0) ** 2


def robust_deviation(off: np.ndarray) -> float:
    """Standard deviation of (n,) absolute residuals, n > 0, by their median, in their unit."""
    return PER_MEDIAN * median(off)


def median(values: np.ndarray) -> float:
    """np.median of (n,), n > 0, without its overhead."""
    half = values.size // 2
    if values.size % 2:
        return float(np.partition(values, half)[half])
    lower, upper = np.partition(values, (half - 1, half))[half - 1 : half + 1]
    return 0.5 * float(lower + upper)


def weighted_line(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float] | None:
    """(slope, x, y) of the least squares line and of a point on it; None where all x are alike.

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
    """(h, w) bool less its connected parts of fewer than `smallest` pixels."""
    if smallest <= 1 or not mask.any():
        return mask
    # Parts that do not touch are at most one in four pixels; 16 bits are three times as fast.
    kind = cv2.CV_16U if mask.size < 4 * 65_535 else cv2.CV_32S
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=8, ltype=kind
    )
    large = stats[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False  # what is outside the mask
    return np.take(large, labels)  # half the time of large[labels]
