"""One picture of a video after the other, side by side with a heatmap whose colours hold still."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.commands.image_outputs import WORDS, Look
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import ScaleFilter, SteadyDepth, closeness
from midas_depth_ros.views import Heatmap, metric_heatmap, side_by_side

LEAST_SIDE = 16  # pixels; of less an encoder may end the process


class VideoView:
    """Draws the frames of one video; what it remembers is what keeps them steady."""

    def __init__(
        self, estimator: DepthEstimator, look: Look, steady_s: float, scale_s: float
    ) -> None:
        """`steady_s`, `scale_s`: time constants of relative depth and of the scale in metres."""
        self._estimator = estimator
        self._look = look
        self._steady = SteadyDepth(steady_s)
        self._scale = ScaleFilter(scale_s)
        self._heatmap = Heatmap()
        self.refused, self.reason = 0, ''  # frames without metres, and why the last of them

    def draw(self, rgb: NDArray[np.uint8], stamp_s: float, name: str) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of one frame: picture | heatmap, with captions and closeness."""
        small = self._estimator.infer(rgb)
        metres, options = self._look.metres, self._look.heatmap
        if options.mode == 'metric':
            scale = self._scale.update(stamp_s, metres.fit(small))
            if scale is None:
                self.refused, self.reason = self.refused + 1, self._scale.reason
            known = None if scale is None else scale.inverse_depth(small)
            heatmap = metric_heatmap(known, rgb, options, rgb.shape[:2])
        else:
            steady = self._steady.update(stamp_s, small)
            heatmap = self._heatmap.render(steady, rgb, stamp_s, options, rgb.shape[:2])
        near = closeness(small, grid=metres.grid(small.shape), camera_pitch_rad=metres.pitch_rad)
        captions = f'{name}  {stamp_s:.1f} s', f'{self._estimator.model}: {WORDS[options.mode]}'
        return side_by_side(rgb, heatmap, captions, (near.left, near.centre, near.right))


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with an even number of rows and columns, and some of them, as encoders want."""
    below, beside = (max(side % 2, LEAST_SIDE - side) for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)
