"""Relative inverse depth in the 24 bits of a picture, so that it can go where pictures go.

For evaluation: a camera sends packed depth, and who unpacks it knows what a perfect network would
have answered. Such a picture must not be compressed with loss.
"""

from __future__ import annotations

import numpy as np

STEPS = 4096.0  # per unit: values up to 4095 in steps of 0.0002


def packed(relative: np.ndarray) -> np.ndarray:
    """(H, W) float32, 0 to 4095, as (H, W, 3) uint8; what is outside is clipped."""
    within = np.clip(np.nan_to_num(relative), 0, (2**24 - 1) / STEPS)
    whole = (within * STEPS).astype(np.uint32)
    return np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=-1).astype(np.uint8)


def unpacked(picture: np.ndarray) -> np.ndarray:
    """What `packed` has packed, (H, W) float32."""
    high, middle, low = (picture[..., i].astype(np.float32) for i in range(3))
    return (high * 65536 + middle * 256 + low) / np.float32(STEPS)
