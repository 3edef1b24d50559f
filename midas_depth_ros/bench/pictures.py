"""The picture that everything is timed with: a corridor of the procedural world, with noise."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.sim import moving_scene, render

TIME_S = 3.0
NOISE = 4.0  # of 255, as a camera's


@functools.lru_cache(maxsize=8)
def picture(width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, read-only."""
    scene = moving_scene(0)
    seen = render(scene.scene_at(TIME_S), scene.camera, scene.pose_at(TIME_S)).rgb
    rgb = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    rgb += np.random.default_rng(0).normal(0, NOISE, rgb.shape).astype(np.float32)
    noisy = np.clip(rgb, 0, 255).astype(np.uint8)
    noisy.setflags(write=False)
    return noisy
