"""What happens to normalised values (0 = far, 1 = near) before they become colours.

Edge-preserving smoothing and the two mappings work on floats; local contrast enhancement works
on the 8-bit values that index the colour table. None of them leaves 0..1 (0..255).
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Relative inverse depth is affine in 1/Z. If what lies at the near end is R times as near as
# what lies at the far end, log(1 + (R - 1) * x) / log(R) is linear in the logarithm of Z. R is
# unknown; 16 (four doublings, 5 m to 80 m on a street, 0.5 m to 8 m in a room) suits both.
LOG_RATIO: Final = 16.0

# Steps in value well above this share of the range count as edges and stay.
_EDGE_STEP: Final = 0.08

_CLAHE_TILES: Final = (8, 8)

# Smoothing looks at its whole window for each pixel. So wide a window is the widest that is
# offered, and so many looks are a second's work: above that the window is smaller than asked for.
WIDEST_RADIUS_PX: Final = 15.0
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
