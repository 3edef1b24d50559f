"""Exact depth made into what a network would give: inverse, noisy, of unknown scale and shift.

In comes depth Z, out goes relative inverse depth in which only the order and the affine relation
to 1/Z are left, as in MiDaS's output. The same seed disturbs the same way.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

PATCH_PX = 8  # half of the noise is of patches so large: a network errs in regions


@dataclasses.dataclass(frozen=True)
class DisturbanceOptions:
    """How much is lost. `noise` is a standard deviation, as a share of 1/Z.

    Every frame has a scale within `scale_factor` times or times less of `scale`, and a shift
    within +-`shift`, in units of `scale` per metre.
    """

    noise: float = 0.03
    scale: float = 100.0
    scale_factor: float = 1.5
    shift: float = 0.3


class Disturbance:
    """Disturbs one frame after the other."""

    def __init__(self, seed: int, options: DisturbanceOptions | None = None) -> None:
        self._rng = np.random.default_rng([seed, 3])
        self.options = options or DisturbanceOptions()

    def relative_inverse_depth(self, depth_z: np.ndarray) -> np.ndarray:
        """(H, W) float32, larger = nearer, >= 0, from depth (H, W) in metres, inf for the sky."""
        options, rng = self.options, self._rng
        stretch = math.log(options.scale_factor)
        scale = options.scale * math.exp(rng.uniform(-stretch, stretch))
        shift = options.scale * rng.uniform(-options.shift, options.shift)
        with np.errstate(divide='ignore'):
            inverse = (np.float32(1) / depth_z).astype(np.float32)
        relative = scale * inverse * (1 + options.noise * self._noise(inverse.shape)) + shift
        # A network's last step is a ReLU: nothing is below 0.
        return np.maximum(relative, 0).astype(np.float32)

    def _noise(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) float32 of deviation 1: of single pixels and of patches, half of it each."""
        height, width = shape
        fine = self._rng.standard_normal(shape, np.float32)
        small = -(-height // PATCH_PX), -(-width // PATCH_PX)
        coarse = self._rng.standard_normal(small, np.float32)
        size = small[1] * PATCH_PX, small[0] * PATCH_PX
        patches = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)[:height, :width]
        return math.sqrt(0.5) * (fine + patches)


def noisy(rgb: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) uint8 as a sensor gives it: grey levels off by `deviation`, of 255."""
    if deviation <= 0:
        return rgb
    noise = cv2.multiply(rng.standard_normal(rgb.shape, np.float32), deviation)
    return cv2.add(rgb, noise, dtype=cv2.CV_8U)
