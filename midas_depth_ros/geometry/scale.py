"""Scale and shift, which make relative inverse depth d metric: 1/Z = scale * d + shift.

What a fit gives is a `ScaleShift` or, where nothing can be believed, a `Refusal` with the reason.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

MIN_DEPTH_M, MAX_DEPTH_M = 0.05, 20.0


@dataclasses.dataclass(frozen=True)
class ScaleShift:
    """1/Z = scale * d + shift, in 1/m.

    source: 'ground', 'reference' or 'fixed'. inlier_share: of what was fitted, 0 to 1.
    residual: standard deviation of the inliers from the fit, in 1/m. points: how many inliers
    there are (pixels, or reference points).
    """

    scale: float
    shift: float
    source: str = 'fixed'
    inlier_share: float = 1.0
    residual: float = 0.0
    points: int = 0

    def inverse_depth(self, d: np.ndarray) -> np.ndarray:
        """1/Z in 1/m, float32, of the shape of `d`; 0 and less for what has no depth."""
        return d.astype(np.float32) * np.float32(self.scale) + np.float32(self.shift)

    def depth(
        self,
        d: np.ndarray,
        *,
        min_depth_m: float = MIN_DEPTH_M,
        max_depth_m: float = MAX_DEPTH_M,
        beyond: float = math.nan,
    ) -> np.ndarray:
        """Metric depth Z (REP 118) of relative inverse depth `d`, same shape, float32 metres.

        NaN where it is unknown or nearer than `min_depth_m`. `beyond` is what to say of all that
        is farther than `max_depth_m` or has no depth (1/Z <= 0). A depth image wants NaN there;
        `find_obstacles` wants `min_depth_m=0, beyond=math.inf`: what touches the lens is in the
        way, and a cliff shows nothing but what is far.
        """
        inverse = self.inverse_depth(d)
        with np.errstate(divide='ignore'):
            depth = 1 / inverse
        depth[inverse < 1 / max_depth_m] = beyond  # NaN is not less than anything: it stays
        if min_depth_m > 0:
            depth[inverse > 1 / min_depth_m] = math.nan
        return depth


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there is no scale: a sentence for diagnostics."""

    reason: str
