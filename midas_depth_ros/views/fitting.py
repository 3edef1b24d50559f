"""Pictures of any size brought into a frame of a given size, their shape kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.style import BACKGROUND


def fit_into(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The (H, W, 3) picture as large as fits, centred in a (height, width, 3) frame."""
    if picture.shape[:2] == (height, width):
        return picture
    factor = min(height / picture.shape[0], width / picture.shape[1])
    inner_h = min(height, max(1, round(picture.shape[0] * factor)))
    inner_w = min(width, max(1, round(picture.shape[1] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(picture, (inner_w, inner_h), interpolation=method)
    frame = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    frame[top : top + inner_h, left : left + inner_w] = inner
    return frame
