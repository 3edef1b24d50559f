"""Estimators with answers that a test can work out by hand."""

from __future__ import annotations

import math
import threading

import cv2
import numpy as np

from midas_depth_ros.depth.models import Output


class BrightnessEstimator:
    """Relative inverse depth = brightness, at half the picture's size. Counts its calls."""

    model = 'brightness'
    backend = 'numpy'
    precision = 'f32'
    choice = ''
    gives = Output.RELATIVE_INVERSE_DEPTH
    far_end, focal_reference_px, domain = -math.inf, None, ''
    licence = ''
    of_pictures = False  # brightness is no depth, and the pictures of tests show nothing

    def __init__(self, notice: str = '') -> None:
        self.notice = notice
        self.calls = 0
        self.closed = False
        self.fail_next: Exception | None = None
        self.gate = threading.Event()  # cleared, inference waits: a slow model
        self.gate.set()

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.gate.wait(timeout=30)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        return rgb[::2, ::2].mean(axis=2, dtype=np.float32)

    def enlarge(self, small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        return self.enlarge(self.infer(rgb), rgb.shape[:2])

    def close(self) -> None:
        self.closed = True


class SceneEstimator(BrightnessEstimator):
    """Returns the exact depth of a rendered scene, with a random scale and shift in every frame."""

    model = 'scene'

    def __init__(self, depth_z: np.ndarray, seed: int = 0) -> None:
        super().__init__()
        self.depth_z = depth_z
        self._random = np.random.default_rng(seed)

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        scale, shift = self._random.uniform(0.2, 5.0), self._random.uniform(-0.2, 0.5)
        with np.errstate(divide='ignore'):
            inverse = np.where(np.isfinite(self.depth_z), 1 / self.depth_z, 0)
        return ((inverse - shift) / scale).astype(np.float32)
