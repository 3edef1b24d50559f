"""Depth fused over time: the last frame's, brought to this frame by the known motion."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.fitting import Grid
from midas_depth_ros.options.metric import FusionOptions


class DepthFusion:
    """The fused depth of one camera, frame by frame."""

    def __init__(self, options: FusionOptions | None = None) -> None:
        self.options = options or FusionOptions()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""

    def update(
        self,
        stamp_s: float,
        inverse: np.ndarray,
        sigma: np.ndarray,
        grey: np.ndarray,
        grid: Grid | None,
        pose: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return 1/Z and its standard deviation, both (h, w) float32, 1/m, of this frame, fused.

        inverse, sigma: of this frame alone; NaN unknown. grey: (h, w) uint8, the picture at their
        size. grid: `CameraModel.normalised_grid`. pose: (4, 4) float64, from the optical frame into
        a fixed one; None: the motion is not known.
        """
        return inverse, sigma
