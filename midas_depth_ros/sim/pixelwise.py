"""Small steps on whole pictures of numbers, in the way that costs least time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Three = Sequence[np.ndarray] | np.ndarray  # of one shape


def dot(one: Three, other: Three | Sequence[np.float32]) -> np.ndarray:
    """The sum of three products, pixel by pixel; `other` may be three numbers."""
    total = one[0] * other[0]
    product = one[1] * other[1]
    total += product
    total += np.multiply(one[2], other[2], out=product)
    return total


def tripled(values: np.ndarray) -> np.ndarray:
    """(H, W) float32 -> (H, W, 3): NumPy is slow where it repeats a value three times itself."""
    return cv2.cvtColor(values, cv2.COLOR_GRAY2RGB)


def look_up(index: np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """`values[index]`, float32, for an index of uint8."""
    table = np.zeros(256, np.float32)
    table[: len(values)] = values
    return cv2.LUT(index, table)


def smooth_edges(picture: np.ndarray, index: np.ndarray, deviation_px: float = 0.0) -> None:
    """Blur (H, W, 3) in place where two surfaces meet, against staircases; 0 = OpenCV's own."""
    edge = np.zeros(index.shape, bool)
    across, along = index[:, 1:] != index[:, :-1], index[1:] != index[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    cv2.copyTo(cv2.GaussianBlur(picture, (3, 3), deviation_px), edge.astype(np.uint8), picture)
