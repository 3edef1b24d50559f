"""Which relative inverse depth gets the far colour and which the near one.

Per frame these are two percentiles; over time they follow slowly, so that one object that
comes or goes does not repaint the whole picture. Time is that of the stamps: the result does
not depend on the frame rate, and replay looks like the live run.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.errors import ViewError

# Percentiles of 16,000 spread samples differ from those of all pixels by far less than a colour.
_MAX_SAMPLES: Final = 16_384

# After five time constants less than 1 % of an old range is left: then it is only in the way.
_FORGOTTEN_AFTER_TIME_CONSTANTS: Final = 5.0

# Below this span, relative to the values, the differences are noise and are not spread over
# the colours; a constant picture then has one colour, the middle one.
_LEAST_RELATIVE_SPAN: Final = 1e-3
_LEAST_SPAN: Final = 1e-20


class ValueRange(NamedTuple):
    """Relative inverse depth of the far and of the near end of the colours."""

    low: float
    high: float

    def normalise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Finite (h, w) values as 0 (at or beyond far) to 1 (at or before near), float32."""
        least = max(_LEAST_RELATIVE_SPAN * max(abs(self.low), abs(self.high)), _LEAST_SPAN)
        span = max(self.high - self.low, least)
        start = (self.low + self.high - span) / 2
        # Clipped before as well, for far outliers would overflow.
        scaled = np.clip(values, np.float32(start), np.float32(start + span))
        scaled -= np.float32(start)
        scaled *= np.float32(1 / span)
        return np.clip(scaled, 0, 1, out=scaled)


def frame_range(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    percentile_low: float,
    percentile_high: float,
) -> ValueRange | None:
    """Percentiles of the valid pixels of one (h, w) frame; None if no pixel is valid."""
    step = max(1, math.ceil(math.sqrt(values.size / _MAX_SAMPLES)))
    samples = values[::step, ::step][valid[::step, ::step]]
    if samples.size == 0:
        samples = values[valid]
    if samples.size == 0:
        return None
    low, high = np.percentile(samples, (percentile_low, percentile_high))
    return ValueRange(float(low), float(high))


class StableRange:
    """The range of one camera, smoothed exponentially over the stamps of its frames."""

    def __init__(self) -> None:
        self._current: ValueRange | None = None
        self._stamp_s = -math.inf

    @property
    def current(self) -> ValueRange | None:
        """The range last used; None before the first frame with a valid pixel."""
        return self._current

    def reset(self) -> None:
        """Forget the past: the next frame sets the range alone."""
        self._current = None

    def update(
        self, frame: ValueRange | None, stamp_s: float, time_constant_s: float
    ) -> ValueRange | None:
        """Take the range of a frame into account and return the one to use for it.

        A stamp before the last one (a bag that starts again, a clock that was set) or one more
        than five time constants after it starts anew. A frame without a range changes nothing.
        Raises ViewError if the stamp is not finite.
        """
        if not math.isfinite(stamp_s):
            raise ViewError(f'stamp is {stamp_s!r} s: give the finite stamp of the picture')
        if frame is None:
            return self._current
        elapsed_s = stamp_s - self._stamp_s
        last, self._stamp_s = self._current, stamp_s
        forgotten_s = _FORGOTTEN_AFTER_TIME_CONSTANTS * time_constant_s
        if last is None or time_constant_s <= 0 or not 0 <= elapsed_s <= forgotten_s:
            self._current = frame
        else:
            weight = -math.expm1(-elapsed_s / time_constant_s)
            self._current = ValueRange(
                last.low + weight * (frame.low - last.low),
                last.high + weight * (frame.high - last.high),
            )
        return self._current
