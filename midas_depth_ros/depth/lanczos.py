"""Resizes a picture by Lanczos's window as Pillow 13 does, to the bit, without Pillow.

Earlier versions of Pillow take rows and columns in another order, which rounds a tenth of the
values differently; and a network of many layers makes more of it.

In: (H, W, C) uint8. Out: (h, w, C) uint8. Source: the resampling of Pillow, its documentation and
its results (versions 12.3 and 13.0, which differ in the order).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 3  # how many pixels of the smaller picture a weight reaches, to either side
FRACTION_BITS = 22  # of a weight as an integer


def lanczos(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, C) to (h, w, C), `size` = (h, w): averaged where it shrinks."""
    fewer_rows, fewer_columns = (
        old - new for old, new in zip(picture.shape[:2], size, strict=True)
    )
    # Each pass rounds to 8 bits, so their order counts: the rows first where far more of them go.
    order = (0, 1) if fewer_rows > max(0, 2 * fewer_columns) else (1, 0)
    for axis in order:
        if picture.shape[axis] != size[axis]:
            picture = _along(picture, axis, size[axis])
    return picture


def _along(picture: NDArray[np.uint8], axis: int, side: int) -> NDArray[np.uint8]:
    """One axis to `side` pixels."""
    lines = np.ascontiguousarray(picture.swapaxes(0, axis))
    places, weights = _weights(len(lines), side)
    total = np.full((side, *lines.shape[1:]), 1 << FRACTION_BITS - 1, np.int32)  # rounds
    for place, weight in zip(places, weights, strict=True):
        total += lines[place] * weight[:, np.newaxis, np.newaxis]
    resized = np.clip(total >> FRACTION_BITS, 0, 255).astype(np.uint8)
    return resized.swapaxes(0, axis)


def _weights(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """(taps, new) places of the old pixels that make up each new one, and their weights."""
    scale = old / new
    blur = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - WINDOW * blur + 0.5).astype(int), 0)
    behind = np.minimum((centres + WINDOW * blur + 0.5).astype(int), old)
    places = first + np.arange((behind - first).max())[:, np.newaxis]
    x = (places - centres + 0.5) / blur
    weights = np.where((abs(x) < WINDOW) & (places < behind), np.sinc(x) * np.sinc(x / WINDOW), 0)
    weights *= (1 << FRACTION_BITS) / weights.sum(axis=0)
    rounded = np.trunc(weights + np.copysign(0.5, weights)).astype(np.int32)
    return np.minimum(places, old - 1), rounded
