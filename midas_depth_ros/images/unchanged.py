"""Whether a picture shows the same as an earlier one, but for the noise of the camera.

A picture is compared with the one that was kept, not with the one before it: what moves slowly adds
up. Both are reduced to about what a network sees, and their squared difference is averaged in
blocks, so that a small thing counts where it is, at two scales: the pixels of a block, and the mean
of a block with those around it, which shows what gets brighter as a whole.

The noise is measured by how much two pictures in a row differ: by the median of the blocks of one
brightness, since a sensor's noise depends on it, and the lower quartile of the last pairs, so that
what moved before is not taken for noise. Nor is what differs more from the picture before the last
one: noise does not, what moves does. A JPEG's noise also depends on the place: a block that
flickers more than others of its brightness may do so, within a bound. In doubt a picture has
changed.
"""

from __future__ import annotations

import collections
import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH = 320  # of the reduced pictures, pixels
BLOCK = 8  # pixels of them
FEWEST_BLOCKS = 24  # of a picture; a smaller one is never judged
PAIRS, FEWEST_PAIRS = 30, 8  # whose noise is remembered, and before anything is judged
LEVELS, LEVEL = 8, 32.0  # classes of brightness, and how wide one is in grey levels of 255
FEWEST_OF_LEVEL = 12  # blocks, for a median
QUARTILE = 0.25
# The squares of the differences of a block, by those of the noise of its level: noise alone stays
# below 3. Where a block has differed more in the last pairs, as those of a JPEG do, by more.
LIMIT, MOST_LIMIT = 4.0, 16.0
OWN_LIMIT, OWN_KEPT = 2.0, 0.95  # by what it differed itself, of which so much is left a picture on
GROWTH = 1.4  # of the median of all blocks, which is known far better than one of them
UNEVEN = 4.0  # the noise of one level by that of all: more is something that moves
# Squares of grey levels. Rounding alone gives 1/6 in a pixel.
LEAST_NOISE = np.array([0.17, 0.03])
MOST_NOISE = np.array([18.0, 2.0])
# Noise and an even texture that moves fast look alike: both differ by twice their own variance. So
# the variance of the most structured tenth of the blocks must be so much larger than the noise that
# they would exceed any limit if they moved.
STRUCTURE, STRUCTURED = MOST_LIMIT / 2, 0.9

SMALL = 'the picture is too small to compare'
NOTHING_KEPT = 'there is nothing to compare with'
NO_NOISE = 'the pictures have no noise, as of a frozen or simulated camera'
UNKNOWN_NOISE = 'the noise of the camera is not known yet'
NOISY = 'the noise is too strong to tell it from motion'
CHANGED = 'the picture has changed'

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class _Reduced:
    """A picture at WIDTH, (h, w, 3) float32, and its brightness and structure, (rows, columns)."""

    pixels: Floats
    level: NDArray[np.intp]
    structure: Floats

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> _Reduced | None:
        """Reduce an (H, W, 3) uint8 picture; None if that leaves too few blocks."""
        height, width = rgb.shape[:2]
        scale = min(1.0, WIDTH / width)
        columns, rows = (int(scale * side) // BLOCK for side in (width, height))
        if rows * columns < FEWEST_BLOCKS:
            return None
        size = columns * BLOCK, rows * BLOCK
        pixels = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        means = _by_block(pixels)
        squares = _by_block(pixels * pixels) - means * means
        level = np.minimum(means.mean(axis=2) / LEVEL, LEVELS - 1).astype(np.intp)
        return cls(pixels, level, squares.mean(axis=2))


class UnchangedPicture:
    """Compares the pictures of one camera with the one that was kept.

    Give it every picture in turn (`changed`); `keep` makes the last one that which the next ones
    are compared with.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as for a new camera."""
        self._kept: _Reduced | None = None
        self._last: _Reduced | None = None
        self._last_but_one: _Reduced | None = None
        self._noise: collections.deque[NDArray[np.float64]] = collections.deque(maxlen=PAIRS)
        self._own: NDArray[np.float64] | float = 0.0  # by how much each block differed lately

    def keep(self) -> None:
        """Compare the next pictures with the last one."""
        self._kept = self._last

    def changed(self, rgb: NDArray[np.uint8]) -> str:
        """Return why this (H, W, 3) uint8 RGB picture is not the one kept; '' if it is, with noise.

        Where that cannot be told it counts as changed, too: after a start or a change of size, in
        pictures without noise, and in such as have hardly anything else.
        """
        now = _Reduced.of(rgb)
        if now is None:
            self.reset()
            return SMALL
        if self._last is not None and self._last.pixels.shape != now.pixels.shape:
            self.reset()
        reason = self._compared(now)
        before, earlier = self._last, self._last_but_one
        self._last, self._last_but_one = now, before
        if before is None:
            return reason
        pair = _energy(now, before)
        middle = float(np.median(pair[0]))
        if middle == 0:
            return NO_NOISE
        if earlier is not None and np.median(_energy(now, earlier)[0]) > GROWTH * max(
            middle, LEAST_NOISE[0]
        ):
            return CHANGED
        self._noise.append(_medians(pair, before.level))
        self._own = np.maximum(OWN_KEPT * self._own, pair)
        return reason

    def _compared(self, now: _Reduced) -> str:
        """Why this picture is not the one kept, by the noise of the pictures before it."""
        kept = self._kept
        if kept is None:
            return NOTHING_KEPT
        if len(self._noise) < FEWEST_PAIRS:
            return UNKNOWN_NOISE
        noise = _noise_by_level(np.array(self._noise))[:, kept.level]
        middle = np.median(noise, axis=(1, 2))
        structure = float(np.quantile(kept.structure, STRUCTURED))
        if (middle > MOST_NOISE).any() or structure < STRUCTURE * middle[0]:
            return NOISY
        energy = _energy(now, kept)
        if np.median(energy[0] / noise[0]) > GROWTH:
            return CHANGED
        limits = np.clip(OWN_LIMIT * self._own, LIMIT * noise, MOST_LIMIT * noise)
        return CHANGED if (energy > limits).any() else ''


def _by_block(pixels: Floats) -> Floats:
    """Means of BLOCK x BLOCK pixels."""
    size = pixels.shape[1] // BLOCK, pixels.shape[0] // BLOCK
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _energy(one: _Reduced, other: _Reduced) -> NDArray[np.float64]:
    """Return (2, rows, columns): the squared difference of the pixels of each block, and that of
    the means of a block and of those around it, in squares of grey levels, over all colours.
    """
    difference = one.pixels - other.pixels
    fine = _by_block(difference * difference).mean(axis=2)
    means = _by_block(difference)
    coarse = cv2.blur((means * means).mean(axis=2), (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.stack([fine, coarse]).astype(np.float64)


def _medians(energy: NDArray[np.float64], level: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return (2, LEVELS): the median of the blocks of each level; NaN where there are few."""
    found = np.full((2, LEVELS), np.nan)
    for each in range(LEVELS):
        of_level = level == each
        if np.count_nonzero(of_level) >= FEWEST_OF_LEVEL:
            found[:, each] = np.median(energy[:, of_level], axis=1)
    return found


def _noise_by_level(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (2, LEVELS) of (n, 2, LEVELS): what the noise alone makes of a difference.

    A level that was never seen has the least noise of all.
    """
    ordered = np.sort(pairs, axis=0)  # NaN last
    known = np.count_nonzero(np.isfinite(pairs), axis=0)
    at = np.maximum((QUARTILE * (known - 1)).astype(int), 0)
    noise = np.take_along_axis(ordered, at[None], axis=0)[0]
    seen = known >= FEWEST_PAIRS
    if not seen.any(axis=1).all():
        return np.broadcast_to(LEAST_NOISE[:, None], noise.shape)
    least = np.where(seen, noise, np.inf).min(axis=1)
    noise = np.where(seen, noise, least[:, None])
    return np.maximum(np.minimum(noise, UNEVEN * least[:, None]), LEAST_NOISE[:, None])
