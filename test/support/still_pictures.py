"""Pictures of a camera that stands: rendered places, the noise of a sensor, and an approach."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import midas_depth_ros

SAMPLES = Path(midas_depth_ros.__file__).parent / 'assets' / 'samples'
SIZE = (640, 480)


def scene(name: str = 'room_1') -> np.ndarray:
    """(480, 640, 3) float32 of a rendered place."""
    rgb = cv2.imread(str(SAMPLES / f'{name}.jpg'))[:, :, ::-1]
    return cv2.resize(rgb, SIZE, interpolation=cv2.INTER_CUBIC).astype(np.float32)


class Camera:
    """Adds the noise of a sensor: more of it where it is bright; perhaps as a JPEG."""

    def __init__(self, noise: float = 2.0, quality: int = 0, seed: int = 0) -> None:
        self._noise, self._quality = noise, quality
        self._random = np.random.default_rng(seed)

    def shot(self, light: np.ndarray) -> np.ndarray:
        spread = self._noise * np.sqrt(0.4 + np.clip(light, 0, 255) / 128)
        noise = self._random.normal(0, 1, light.shape).astype(np.float32)
        rgb = np.clip(np.rint(light + spread * noise), 0, 255).astype(np.uint8)
        if not self._quality:
            return rgb
        data = cv2.imencode('.jpg', rgb, [cv2.IMWRITE_JPEG_QUALITY, self._quality])[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


def approached(light: np.ndarray, factor: float) -> np.ndarray:
    """The middle of a scene, that much nearer."""
    middle = [[factor, 0, (1 - factor) * SIZE[0] / 2], [0, factor, (1 - factor) * SIZE[1] / 2]]
    return cv2.warpAffine(
        light, np.float32(middle), SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
