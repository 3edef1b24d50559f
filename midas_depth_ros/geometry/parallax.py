"""Scale and shift from the robot's own motion: corners tracked, triangulated, and fitted.

In: every picture, how its camera was placed (odometry), and the relative inverse depth in it. Out:
scale and shift with their covariance, or the reason why there are none.
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.options.metric import OdometryOptions, ScaleOptions


class ParallaxScale:
    """The scale of one camera by its motion, frame by frame."""

    def __init__(self, options: OdometryOptions | None = None) -> None:
        self.options = options or OdometryOptions()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""

    def update(
        self,
        stamp_s: float,
        grey: np.ndarray,
        d: np.ndarray,
        camera: CameraModel,
        pose: np.ndarray | Refusal,
        shape: str = ScaleOptions.shape,
    ) -> ScaleShift | Refusal:
        """Return scale and shift of one frame, or why the motion does not give them.

        grey: (H, W) uint8. d: (h, w) float32 relative inverse depth, NaN unknown. camera: of
        pictures of the size of `grey`. pose: (4, 4) float64, from the optical frame into a fixed
        one, at the stamp of the picture; or why it is unknown. shape: `scale.shape`.
        """
        return Refusal('not written yet')

    def values(self) -> dict[str, str]:
        """What there is to know of the last frame, for diagnostics."""
        return {}
