"""How values become colours: the range that is shown, tone, colour maps."""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.options.declarations import bounds_of, spec_of
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.errors import OptionError, ViewError

# --- Colours for the numbers 0 (far) to 255 (near): six tables that OpenCV ships.
#
# In every one the warm end is near. The default, inferno, also grows steadily brighter and is
# readable in grey and for the colour-blind; turbo and jet separate more steps but do neither.

COLORMAPS: Final = spec_of(HeatmapOptions, 'colormap').choices


@functools.cache
def colour_table(name: str) -> NDArray[np.uint8]:
    """The table of a colormap, far to near: (256, 3) uint8 RGB, read-only.

    Raises OptionError if there is no such colormap.
    """
    if name not in COLORMAPS:
        raise OptionError(f'colormap is {name!r}: use one of {list(COLORMAPS)}')
    steps = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(steps, getattr(cv2, f'COLORMAP_{name.upper()}'))[:, 0]
    table = np.ascontiguousarray(bgr[:, ::-1])
    table.setflags(write=False)
    return table


def colourise(index: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Colours of an (H, W) uint8 map, 0 = far, 255 = near: (H, W, 3) uint8 RGB."""
    # OpenCV thinks the table is BGR; handed in as RGB, it gives RGB without another pass.
    table = colour_table(name).reshape(256, 1, 3).copy()
    return cv2.applyColorMap(index, table)


# --- Which relative inverse depth gets the far colour and which the near one.
#
# Per frame these are two percentiles; over time they follow slowly, so that one object that
# comes or goes does not repaint the whole picture. Time is that of the stamps: the result does
# not depend on the frame rate, and replay looks like the live run.

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


# --- What happens to normalised values (0 = far, 1 = near) before they become colours.
#
# Edge-preserving smoothing and the two mappings work on floats; local contrast enhancement works
# on the 8-bit values that index the colour table. None of them leaves 0..1 (0..255).

# Relative inverse depth is affine in 1/Z. If what lies at the near end is R times as near as
# what lies at the far end, log(1 + (R - 1) * x) / log(R) is linear in the logarithm of Z. R is
# unknown; 16 (four doublings, 5 m to 80 m on a street, 0.5 m to 8 m in a room) suits both.
LOG_RATIO: Final = 16.0

# Steps in value well above this share of the range count as edges and stay.
_EDGE_STEP: Final = 0.08

_CLAHE_TILES: Final = (8, 8)

# Smoothing looks at its whole window for each pixel. So wide a window is the widest that is
# offered, and so many looks are a second's work: above that the window is smaller than asked for.
WIDEST_RADIUS_PX: Final = bounds_of(HeatmapOptions, 'smoothing')[1]
MOST_TAPS: Final = 2**30
# OpenCV's threads write outside of their memory where there are more rows than 32768.
MOST_ROWS: Final = 2**14


def smooth(tone: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    """Bilateral smoothing of an (h, w) map: noise goes, steps of depth stay sharp.

    A radius between whole pixels is honoured; above WIDEST_RADIUS_PX, and on maps that would take
    more than MOST_TAPS, it is less. Source: Tomasi and Manduchi, ICCV 1998.
    """
    if tone.shape[0] > MOST_ROWS:
        return np.ascontiguousarray(_smoothed(np.ascontiguousarray(tone.T), radius_px).T)
    return _smoothed(tone, radius_px)


def _smoothed(tone: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    affordable_px = (math.isqrt(MOST_TAPS // tone.size) - 1) // 2
    radius_px = min(radius_px, WIDEST_RADIUS_PX, affordable_px)
    diameter = 2 * math.ceil(radius_px) + 1
    spread_px = max(radius_px / 1.5, 0.05)  # OpenCV squares and divides by it
    return cv2.bilateralFilter(tone, diameter, _EDGE_STEP, spread_px)


def spread(
    tone: NDArray[np.float32], mapping: str, gamma: float, ratio: float = LOG_RATIO
) -> NDArray[np.float32]:
    """Apply the mapping ('linear' or 'log'), then the exponent gamma, to an (h, w) map.

    ratio: of 1/Z at the near end to that at the far end, where it is known.
    """
    if mapping == 'log':
        tone = np.log1p((ratio - 1) * tone) / np.float32(math.log(ratio))
    if gamma != 1:
        tone = np.power(tone, np.float32(gamma))
    return tone


def enhance_contrast(index: NDArray[np.uint8], clip: float) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation of an (H, W) uint8 map.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV.
    """
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=_CLAHE_TILES).apply(index)
