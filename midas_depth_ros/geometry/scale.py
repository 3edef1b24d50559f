"""Scale and shift, which make relative inverse depth d metric: 1/Z = scale * d + shift.

What a fit gives is a `ScaleShift` or, where nothing can be believed, a `Refusal` with the reason.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.options.metric import DepthImageOptions, ScaleOptions


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
        min_depth_m: float = DepthImageOptions.min,
        max_depth_m: float = DepthImageOptions.max,
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


# --- Scale and shift over time: smoothed while they agree, new at a jump, gone when too old.
#
# Both are filtered together: a scale from one frame with a shift from another would be the fit of
# neither. Time is that of the stamps.

PROBES_PER_M = (1 / 0.5, 1 / 1.0, 1 / 4.0)  # inverse depths at which two fits are compared


class ScaleFilter:
    """Takes each frame's fit, gives the scale to use for that frame.

    time_constant_s: of the smoothing; 0 = every frame its own. expiry_s: after so long without
    an accepted fit there is no scale. jump: two fits that put something 0.5 to 4 m away elsewhere
    by more than this share are not averaged: the newer one is taken alone. While fits jump from
    frame to frame a refused frame has no scale at all, since another frame's is wrong for it.

    `reason` says why there is no scale, or why the last fit was refused; '' when it was accepted.
    `age_s` is how old the last accepted fit is, inf without one.
    """

    def __init__(
        self,
        time_constant_s: float = ScaleOptions.time_constant,
        expiry_s: float = ScaleOptions.expiry,
        *,
        jump: float = 0.05,
    ) -> None:
        self.time_constant_s = time_constant_s
        self.expiry_s = expiry_s
        self.jump = jump
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or mount."""
        self.reason = 'no fit yet'
        self._current: ScaleShift | None = None
        self._accepted_s = -math.inf
        self._now_s = -math.inf
        self._steady = True

    @property
    def age_s(self) -> float:
        """Seconds from the last accepted fit to the last stamp."""
        return self._now_s - self._accepted_s if self._current else math.inf

    def update(self, stamp_s: float, fit: ScaleShift | Refusal) -> ScaleShift | None:
        """The scale for the frame of this stamp, or None. A stamp that goes back starts anew."""
        if stamp_s < self._now_s:
            self.reset()
        self._now_s = stamp_s
        if self._current and stamp_s - self._accepted_s > self.expiry_s:
            self._current = None
        if isinstance(fit, Refusal):
            return self._held(fit.reason)
        self.reason = ''
        elapsed = stamp_s - self._accepted_s
        self._accepted_s = stamp_s
        if self._current is None:
            self._current, self._steady = fit, True
        elif self.jump_between(self._current, fit) > self.jump:
            self._current, self._steady = fit, False
        else:
            self._current, self._steady = self._blended(self._current, fit, elapsed), True
        return self._current

    def _held(self, reason: str) -> ScaleShift | None:
        self.reason = reason
        if self._current is not None and not self._steady:
            self.reason = f'{reason}; the scale changes from frame to frame and is not kept'
            return None
        return self._current

    def _blended(self, old: ScaleShift, new: ScaleShift, elapsed_s: float) -> ScaleShift:
        if self.time_constant_s <= 0:
            return new
        share = -math.expm1(-elapsed_s / self.time_constant_s)
        return dataclasses.replace(
            new,
            scale=old.scale + share * (new.scale - old.scale),
            shift=old.shift + share * (new.shift - old.shift),
        )

    @staticmethod
    def jump_between(old: ScaleShift, new: ScaleShift) -> float:
        """By what share `old` and `new` differ about the depth of something 0.5 to 4 m away."""
        differences = []
        for inverse_depth in PROBES_PER_M:
            d = (inverse_depth - new.shift) / new.scale
            differences.append(abs((old.scale * d + old.shift) / inverse_depth - 1))
        return max(differences)
