"""What MiDaS_small does to a picture before the network, and to the network's output after it.

In: (H, W, 3) uint8 RGB. Out: (1, 3, h, w) float32 for the network, and its (h, w) output enlarged
to the picture again. The sizes, the interpolation and the colour statistics are those that the
network was trained with; needs no torch, so every backend shares it.

Source: transforms of release v2_1 of isl-org/MiDaS, for MiDaS_small.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

TARGET_SIDE = 256
MULTIPLE = 32
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
GAIN, OFFSET = 1 / (255 * STD), -MEAN / STD


def network_input_size(width: int, height: int) -> tuple[int, int]:
    """The size (width, height) at which the network sees a picture of `width` x `height` pixels.

    The picture is scaled to fit into 256 x 256; each side then goes to the nearest multiple of 32
    (half to even), and is at least 32, where the reference would give 0.
    Raises ValueError where a side is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f'a picture of {width} x {height} pixels has no network input size')
    scale = min(TARGET_SIDE / width, TARGET_SIDE / height)
    return _constrained(scale * width), _constrained(scale * height)


def _constrained(side: float) -> int:
    multiple = round(side / MULTIPLE) * MULTIPLE  # Python rounds half to even, as NumPy does
    return min(max(multiple, MULTIPLE), TARGET_SIDE)


def preprocess(rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Scale and normalise a picture: (H, W, 3) uint8 RGB to (1, 3, h, w) float32.

    In memory the colours stay last, as they are in pictures. `size` (width, height) overrides what
    MiDaS_small chooses.
    """
    size = size or network_input_size(rgb.shape[1], rgb.shape[0])
    # The resize is linear, so the arithmetic can wait until the picture is small.
    small = cv2.resize(rgb.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    # (v / 255 - mean) / std, in two passes over whole rows: three at a time would be slow.
    rows = small.reshape(size[1], 3 * size[0])
    rows *= np.tile(GAIN, size[0])
    rows += np.tile(OFFSET, size[0])
    network_input: NDArray[np.float32] = small.transpose(2, 0, 1)[np.newaxis]
    return network_input


def enlarge(small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring relative inverse depth (h, w) to `shape` = (H, W): bicubic, corners not aligned.

    Cubic interpolation overshoots at edges; what falls below 0 is clipped there.
    """
    height, width = shape
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.maximum(large, 0.0, out=large)
