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
_LOG_RATIO: Final = 16.0

# Steps in value well above this share of the range count as edges and stay.
_EDGE_STEP: Final = 0.08

_CLAHE_TILES: Final = (8, 8)


def smooth(tone: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    """Bilateral smoothing of an (h, w) map: noise goes, steps of depth stay sharp.

    A radius between whole pixels is honoured. Source: Tomasi and Manduchi, ICCV 1998.
    """
    diameter = 2 * math.ceil(radius_px) + 1
    spread_px = max(radius_px / 1.5, 0.05)  # OpenCV squares and divides by it
    return cv2.bilateralFilter(tone, diameter, _EDGE_STEP, spread_px)


def spread(tone: NDArray[np.float32], mapping: str, gamma: float) -> NDArray[np.float32]:
    """Apply the mapping ('linear' or 'log'), then the exponent gamma, to an (h, w) map."""
    if mapping == 'log':
        tone = np.log1p((_LOG_RATIO - 1) * tone) / np.float32(math.log(_LOG_RATIO))
    if gamma != 1:
        tone = np.power(tone, np.float32(gamma))
    return tone


def enhance_contrast(index: NDArray[np.uint8], clip: float) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation of an (H, W) uint8 map.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV.
    """
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=_CLAHE_TILES).apply(index)
