"""A stand-in for the `embedded` model until that one is trained: a floor finder, not a network.

In: (H, W, 3) uint8 RGB. Out: (h, w) float32 relative inverse depth at network size. It takes the
colours at the bottom of the picture for the floor's, follows the floor upwards in each column to
the first thing of another colour, and lets that thing stand upright there. It knows nothing of
what it sees: furniture in the floor's colour is floor to it, a shadow is an obstacle.

Source: after I. Ulrich and I. Nourbakhsh, "Appearance-Based Obstacle Detection with Monocular
Color Vision", AAAI 2000.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.preprocessing import network_input_size

# Chosen by hand on the few pictures that benchmarks/relative_depth.py measures.
HORIZON = 0.4  # share of the picture's height that is assumed to lie above the horizon
SAMPLE_HEIGHT = 0.2  # of the picture, at its bottom: the trapezoid whose colours are the floor's
SAMPLE_HALF_WIDTH = (0.25, 0.35)  # of the picture's width, at the trapezoid's top and bottom
CHANNEL_SPREAD = (10.0, 3.0, 3.0)  # Lab levels (of 256) by which the floor's colours are widened
LEAST_SHARE = 0.02  # of the most frequent level: rarer levels are not the floor's
LEAST_RUN = 0.06  # of the picture's height: shorter runs of another colour are marks on the floor
MEDIAN_COLUMNS = 11  # over which the obstacles' bases are smoothed
TOP_SHARE = 0.3  # of an obstacle's value that is left at the picture's top edge


class FloorAppearance:
    """Relative inverse depth from floor colour: larger = nearer, 0 at the assumed horizon, no unit.

    Needs NumPy and OpenCV only, keeps nothing between pictures, gives the same answer twice.
    """

    name = 'numpy'
    notice = (
        "'embedded' is a placeholder, not a trained model: it takes the colours at the bottom of "
        'the picture for the floor and what differs for obstacles. Good for trying things out; '
        'do not let a robot rely on it.'
    )

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (h, w) float32 at network size, in 0..1; 1 = bottom row."""
        height, width = rgb.shape[:2]
        small = cv2.resize(rgb, network_input_size(width, height), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (5, 5), 0), cv2.COLOR_RGB2LAB)
        return upright(obstacle_base(floor_mask(lab)), lab.shape[0])

    def close(self) -> None:
        """Nothing to free."""


def floor_mask(lab: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where (h, w, 3) Lab has the colours of the trapezoid at the bottom: (h, w) bool."""
    sample = lab[sample_mask(*lab.shape[:2])]  # (n, 3)
    floor = np.ones(lab.shape[:2], np.bool_)
    for channel, spread in enumerate(CHANNEL_SPREAD):
        counts = np.bincount(sample[:, channel], minlength=256).astype(np.float32)
        counts = cv2.GaussianBlur(counts[np.newaxis], (0, 0), spread)[0]
        floor &= (counts > LEAST_SHARE * counts.max())[lab[..., channel]]
    return floor


def sample_mask(height: int, width: int) -> NDArray[np.bool_]:
    """The trapezoid at the bottom centre whose colours are the floor's: (height, width) bool."""
    top = height * (1.0 - SAMPLE_HEIGHT)
    down = (np.arange(height)[:, np.newaxis] - top) / (height - top)
    half_width = width * np.interp(down, (0.0, 1.0), SAMPLE_HALF_WIDTH)
    off_centre = np.abs(np.arange(width) - (width - 1) / 2.0)
    return (down >= 0.0) & (off_centre <= half_width)


def obstacle_base(floor: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The row at which the floor ends in each column, from below: (h, w) bool to (w,) rows.

    A column that is floor all the way has -1. The lowest run of at least LEAST_RUN rows that are
    not floor counts; a median over columns removes lone ones.
    """
    height, width = floor.shape
    run = max(2, round(LEAST_RUN * height))
    other = np.zeros((height + 1, width), np.int32)
    np.cumsum(~floor[::-1], axis=0, out=other[1:])
    full = other[run:] - other[:-run] == run  # (h - run + 1, w): a run starts here, going up
    base = np.where(full.any(axis=0), height - 1 - full.argmax(axis=0), -1)
    padded = np.pad(base, MEDIAN_COLUMNS // 2, mode='edge')
    windows = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_COLUMNS)
    return np.median(windows, axis=1)


def upright(base: NDArray[np.float64], height: int) -> NDArray[np.float32]:
    """Relative inverse depth of a flat floor on which obstacles stand: (w,) rows to (h, w).

    On the floor it is linear in the row, from 0 at the assumed horizon to 1 at the bottom; from
    an obstacle's base up to the horizon it is the base's, and fades above, where walls end and
    sky or ceiling begins.
    """
    rows = np.arange(height, dtype=np.float64)[:, np.newaxis]  # (h, 1)
    horizon = HORIZON * (height - 1)
    touching = np.maximum(rows, base)  # (h, w): the row where what is seen here meets the floor
    on_floor = np.maximum(touching - horizon, 0.0) / (height - 1 - horizon)
    fade = np.interp(rows, (0.0, horizon), (TOP_SHARE, 1.0))
    return (on_floor * fade).astype(np.float32)
