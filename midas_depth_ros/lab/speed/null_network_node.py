"""depth_node around a network that costs nothing: what is left is everything else.

    python -m midas_depth_ros.lab.speed.null_network_node --ros-args -p cameras:=[c0]

Pictures are prepared for the network as ever; its answer is a floor with a box on it, so that
closeness, heatmap and the rest have their usual work.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.estimator import DepthEstimator
from midas_depth_ros.depth.models import PREFERRED, spec
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.depth import DepthNodeSettings

BOX = (slice(0.3, 0.7), slice(0.2, 0.4))  # rows and columns, as shares of the picture


class NullBackend:
    """Prepares pictures as MiDaS_small wants them, then answers the same to every picture."""

    name = 'none'
    precision = 'f32'
    choice = ''

    def __init__(self) -> None:
        self.preprocess = spec(PREFERRED).picture.preprocess
        self._answers: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 to (h, w) float32."""
        size = network_input.shape[2:]
        if size not in self._answers:
            self._answers[size] = floor_with_box(*size)
        return self._answers[size].copy()

    def close(self) -> None:
        """Nothing to free."""


def floor_with_box(height: int, width: int) -> NDArray[np.float32]:
    """(h, w) float32: a floor that comes nearer towards the bottom, and something on it."""
    rows = np.linspace(-0.5, 1.0, height, dtype=np.float32)[:, None]
    depth = np.maximum(rows, 0.0).repeat(width, axis=1)
    down, across = (
        slice(round(part.start * side), round(part.stop * side))
        for part, side in zip(BOX, (height, width), strict=True)
    )
    depth[down, across] = 0.7
    depth += 0.05
    return depth


def make_estimator(settings: DepthNodeSettings) -> DepthEstimator:
    """The estimator that costs nothing."""
    return DepthEstimator('no network', NullBackend())


def main() -> int:
    """Run until stopped."""
    keep_freed_memory()
    return run_node(lambda: DepthNode(make_estimator))


if __name__ == '__main__':
    sys.exit(main())
