"""Scenes made by hand, as the rendered world would give them, for tests of training."""

from __future__ import annotations

import dataclasses

import numpy as np

HEIGHT, WIDTH = 192, 256


@dataclasses.dataclass(frozen=True)
class Made:
    """A floor with a box before a wall, as the world would give it."""

    rgb: np.ndarray
    depth_z: np.ndarray
    ids: np.ndarray
    kind: str = 'made'


def made(seed: int) -> Made:
    rng = np.random.default_rng(seed)
    depth_z = np.full((HEIGHT, WIDTH), 5.0, np.float32)
    rows = np.arange(110, HEIGHT)
    depth_z[110:] = np.minimum(5.0, 60.0 / (rows - 95))[:, np.newaxis]
    ids = np.full((HEIGHT, WIDTH), 2, np.int16)
    ids[110:] = 1
    ids[:20], depth_z[:20] = 0, np.inf
    left = int(rng.integers(40, 160))
    depth_z[80:150, left : left + 50], ids[80:150, left : left + 50] = 1.1, 3
    rgb = np.repeat(np.uint8(40 * ids + 60)[..., np.newaxis], 3, axis=2)
    return Made(rgb, depth_z, ids)
