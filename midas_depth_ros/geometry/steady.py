"""Relative inverse depth of a video made steady: one scale for all frames, then less noise.

A network's scale and shift change with every frame, so that averaging its values mixes what cannot
be compared. Here each frame is first brought to its own spread, then aligned to the last steady
frame by a robust affine fit, and only then averaged over time. Pixels that change do not wait.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.pictures import checked

FAR_PERCENTILE, NEAR_PERCENTILE = 5.0, 95.0  # become 0 and 1
SAMPLES = 16_384
REFITS = 4
OUTLIER = 2.5  # robust deviations
FINEST = 0.01  # of the spread: differences below this are agreement
LEAST_AGREEMENT = 0.5  # of the picture, else it is another scene
LEAST_CORRELATION = 0.7
MOST_STRETCH = 3.0  # between two frames of one scene
MOVED = (0.05, 0.15)  # of the spread: a change from which a pixel stops waiting, and is at once new
RETURN_S = 1.0  # with which the common scale gives way to each frame's own, so that it cannot drift
GAP_S = 2.0  # after a longer pause nothing is averaged


class SteadyDepth:
    """The steady relative inverse depth of one camera.

    What comes out has 0 at the far and 1 at the near end of what is in view, about; it does not
    depend on the scale and shift of any frame that came in. Not to be shared between threads.
    """

    def __init__(self, time_constant_s: float = 0.2) -> None:
        """`time_constant_s` of the averaging; 0 aligns and does not average."""
        self.time_constant_s = time_constant_s
        self._last: NDArray[np.float32] | None = None
        self._stamp_s = -math.inf

    def reset(self) -> None:
        """Forget the past: the next frame stands alone."""
        self._last = None

    def update(self, stamp_s: float, d: NDArray[np.floating]) -> NDArray[np.float32]:
        """One frame: (h, w) float32 relative inverse depth to (h, w) float32, steady.

        What is not finite stays so. Another size, a stamp that goes back, a pause and another
        scene start anew. Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
        """
        own = own_spread(checked(d, None))
        elapsed_s, last = stamp_s - self._stamp_s, self._last
        self._stamp_s = stamp_s
        steady = own
        if last is not None and last.shape == own.shape and 0 <= elapsed_s <= GAP_S:
            line = affine_between(own, last)
            if line is not None:
                steady = self._blended(last, own, line, elapsed_s)
        self._last = steady
        return steady

    def _blended(
        self,
        last: NDArray[np.float32],
        own: NDArray[np.float32],
        line: tuple[float, float],
        elapsed_s: float,
    ) -> NDArray[np.float32]:
        keep = math.exp(-elapsed_s / RETURN_S)
        aligned = own * np.float32(line[0] ** keep) + np.float32(line[1] * keep)
        if self.time_constant_s <= 0:
            return aligned
        weight = -math.expm1(-elapsed_s / self.time_constant_s)
        low, high = MOVED
        moved = np.clip((np.abs(aligned - last) - low) / (high - low), 0, 1)
        share = (weight + (1 - weight) * moved).astype(np.float32)
        blended = last + share * (aligned - last)
        return np.where(np.isfinite(blended), blended, aligned)


def own_spread(d: NDArray[np.floating]) -> NDArray[np.float32]:
    """(h, w) with the far percentile at 0 and the near one at 1; a flat picture becomes 0."""
    known = _sampled(d)
    known = known[np.isfinite(known)]
    if not known.size:
        return np.full(d.shape, np.nan, np.float32)
    far, near = np.percentile(known.astype(np.float64), (FAR_PERCENTILE, NEAR_PERCENTILE))
    spread = near - far
    if not spread > 1e-6 * max(abs(near), abs(far)):
        return np.where(np.isfinite(d), np.float32(0), np.float32(np.nan))
    return ((d - far) / spread).astype(np.float32)


def affine_between(
    source: NDArray[np.float32], target: NDArray[np.float32]
) -> tuple[float, float] | None:
    """(a, b) with a * source + b = target where they show the same; None where they do not.

    Both in units of their own spread. Both have noise, so the slope is the ratio of their spreads:
    that of least squares would be too small in every frame.
    """
    x, y = _sampled(source).astype(np.float64), _sampled(target).astype(np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if not x.size:
        return None
    a, b = 1.0, float(np.median(y - x))
    for _ in range(REFITS):
        off = np.abs(a * x + b - y)
        agreed = off <= max(OUTLIER * 1.4826 * float(np.median(off)), FINEST)
        x_in, y_in = x[agreed], y[agreed]
        (xx, xy), (_, yy) = np.cov(x_in, y_in, bias=True)
        if min(xx, yy) < FINEST**2 or xy < LEAST_CORRELATION * math.sqrt(xx * yy):
            return None
        a = math.sqrt(yy / xx)
        b = float(y_in.mean() - a * x_in.mean())
    near_enough = np.mean(np.abs(a * x + b - y) <= MOVED[1]) >= LEAST_AGREEMENT
    if not (near_enough and 1 / MOST_STRETCH <= a <= MOST_STRETCH):
        return None
    return a, b


def _sampled(values: NDArray) -> NDArray:
    step = max(1, math.ceil(math.sqrt(values.size / SAMPLES)))
    return values[::step, ::step].reshape(-1)
