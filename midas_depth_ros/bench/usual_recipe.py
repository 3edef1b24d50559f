"""The usual recipe: how MiDaS is run on a CPU where nobody has looked at the time it takes.

PyTorch as it comes, float32, the default memory layout; the picture resized by cubic interpolation,
the depth too, stretched from its minimum to its maximum, and coloured. It is what everything else
is compared with.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable
from midas_depth_ros.depth.models import MIDAS_SMALL, kind_of, midas_small

NAME = 'usual recipe'


class UsualRecipe:
    """The network of a weights file, eager. Raises BackendUnavailable without torch and timm."""

    def __init__(self, weights: Path, num_threads: int = 0) -> None:
        try:
            import torch

            from midas_depth_ros.depth.networks import import_timm

            import_timm()
            from midas_depth_ros.depth.backends.torch_backend import load_network
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise BackendUnavailable(
                f'the usual recipe needs torch and timm ({error}): pip install torch torchvision '
                'timm'
            ) from error
        self._torch = torch
        if num_threads:
            torch.set_num_threads(num_threads)
        self._network = load_network(weights).eval()
        kind = kind_of(weights)
        self._preprocess = kind.preprocess
        self._is_midas = kind is MIDAS_SMALL

    def preprocess(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (1, 3, h, w) float32, colours first in memory as is usual."""
        return np.ascontiguousarray(self._preprocess(rgb))

    def network(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 to (h, w) float32."""
        with self._torch.no_grad():
            depth: NDArray[np.float32] = self._network(self._torch.from_numpy(network_input))[0]
        return np.asarray(depth)

    def depth_and_heatmap(
        self, rgb: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB to (H, W) float32 and a (H, W, 3) uint8 BGR heatmap."""
        torch = self._torch
        batch = torch.from_numpy(self._network_input(rgb))
        with torch.no_grad():
            prediction = self._network(batch)
            prediction = torch.nn.functional.interpolate(
                prediction.unsqueeze(1), size=rgb.shape[:2], mode='bicubic', align_corners=False
            ).squeeze()
        depth = prediction.cpu().numpy()
        low, high = depth.min(), depth.max()
        index = (255 * (depth - low) / max(high - low, 1e-6)).astype(np.uint8)
        return depth, cv2.applyColorMap(index, cv2.COLORMAP_INFERNO)

    def _network_input(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not self._is_midas:
            return self.preprocess(rgb)
        picture = rgb / 255.0
        size = midas_small.network_input_size(rgb.shape[1], rgb.shape[0])
        small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        normalised = (small - midas_small.MEAN) / midas_small.STD
        return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis], np.float32)
