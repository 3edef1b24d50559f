"""One picture of a video after the other, with a heatmap whose colours hold still."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.cli.image_outputs import Look, captions_of
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import ScaleFilter, ScaleShift, SteadyDepth, turned
from midas_depth_ros.images import Freeze, Verdict, verdict_for
from midas_depth_ros.views import (
    Heatmap,
    HeatmapOptions,
    one_above_other,
    side_by_side,
)

LAYOUTS = {'side-by-side': side_by_side, 'heatmap': None, 'above': one_above_other}
LEAST_SIDE = 16  # pixels; of less an encoder may end the process


class VideoView:
    """Draws the frames of one video; what it remembers is what keeps them steady."""

    def __init__(
        self,
        estimator: DepthEstimator,
        look: Look,
        steady_s: float,
        scale_s: float,
        frozen_after_s: float = 0.0,
        layout: str = 'side-by-side',
    ) -> None:
        """`steady_s`, `scale_s`: time constants of relative depth and of the scale in metres.

        `frozen_after_s`: as of `Freeze`; 0 = nothing counts as frozen. `layout`: one of LAYOUTS.
        """
        self._lay_out = LAYOUTS[layout]
        self._estimator = estimator
        self._look = look
        self._steady = SteadyDepth(steady_s)
        self._scale = ScaleFilter(scale_s)
        self._heatmap = Heatmap()
        self._freeze = Freeze()
        self._frozen_after_s = frozen_after_s
        # Of the colours in metres, where they were fitted; they hold still after the first frame.
        self.ends_m: tuple[float, float] | None = None
        self.refused, self.reason = 0, ''  # frames without metres, and why the last of them
        # Frames of which nothing, and of which a part is not believed, and why the first of them.
        self.blind, self.partly_blind, self.blind_reason = 0, 0, ''

    def draw(self, rgb: NDArray[np.uint8], stamp_s: float, name: str) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of one frame; beside a picture there are captions and closeness.

        `rgb` is as the camera took it; what comes out is upright.
        """
        rgb = turned(rgb, self._look.metres.rotate)
        answer = self._estimator.infer(rgb)
        verdict = self._verdict(rgb, stamp_s)
        small, options, scale = verdict.hidden(answer), self._look.heatmap, None
        if options.mode == 'metric':
            scale = self._scale.update(stamp_s, self._look.fit(small, verdict))
            if scale is None:
                self.refused, self.reason = self.refused + 1, self._scale.reason
            depth, options = small, self._fitted(scale, small)
        else:
            # What was steady before a frame that says nothing still is after it.
            depth = small if verdict.reason else self._steady.update(stamp_s, small)
        heatmap = self._heatmap.render(depth, rgb, stamp_s, options, rgb.shape[:2], scale)
        if self._lay_out is None:
            return heatmap
        near = self._look.closeness(small, verdict)
        title = f'{name}  {stamp_s:.1f} s'
        captions = captions_of(title, self._estimator.model, options.mode, verdict)
        return self._lay_out(rgb, heatmap, captions, (near.left, near.centre, near.right))

    def _fitted(self, scale: ScaleShift | None, depth: NDArray[np.float32]) -> HeatmapOptions:
        """The options with ends of the colours that fit the first frame in metres."""
        options = self._look.heatmap
        if self.ends_m is None and scale is not None:
            fitted = self._look.fitted(scale.inverse_depth(depth))
            if fitted != options:
                self.ends_m = fitted.metric_near, fitted.metric_far
        if self.ends_m is None:
            return options
        near, far = self.ends_m
        return dataclasses.replace(options, metric_near=near, metric_far=far)

    def _verdict(self, rgb: NDArray[np.uint8], stamp_s: float) -> Verdict:
        """What a frame is worth; it is counted if that is not all."""
        verdict = verdict_for(
            self._estimator,
            rgb,
            check=self._look.picture_check,
            freeze=self._freeze,
            stamp_s=stamp_s,
            frozen_after_s=self._frozen_after_s,
        )
        self.blind += bool(verdict.reason)
        self.partly_blind += bool(verdict.partly)
        self.blind_reason = self.blind_reason or verdict.text
        return verdict


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with an even number of rows and columns, and some of them, as encoders want."""
    below, beside = (max(side % 2, LEAST_SIDE - side) for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)
