"""Scale and shift, which make relative inverse depth d metric: 1/Z = scale * d + shift.

A fit gives a `ScaleShift` or, if it is not credible, a `Refusal` with the reason.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.curve import moved
from midas_depth_ros.options.metric import DepthImageOptions, ScaleOptions
from midas_depth_ros.options.text import printable


@dataclasses.dataclass(frozen=True)
class ScaleShift:
    """1/Z = scale * d + shift, in 1/m.

    source: 'ground', 'odometry', 'reference', 'marker', 'model', 'fixed', or several joined by
    '+'. covariance: (variance of scale, covariance of both, variance of shift), in their units;
    zeros = not known. curve: points (d, 1/Z) of a monotone curve in place of the line, which it
    follows outside of them; () = the line. inlier_share: of what was fitted, 0 to 1.
    residual: standard deviation of the inliers from the fit, in 1/m. points: number of inliers
    (pixels, or reference points). far_end: where d is this or less, the network only says "at least
    so far" (`ModelSpec.far_end`). floor_drop: of a floor that falls off, its 1/Z at the edge (1/m),
    and the share by which 1/Z is less beyond it; zeros = it does not, or nobody knows.
    """

    scale: float
    shift: float
    source: str = 'fixed'
    inlier_share: float = 1.0
    residual: float = 0.0
    points: int = 0
    far_end: float = -math.inf
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    curve: tuple[tuple[float, float], ...] = ()
    floor_drop: tuple[float, float] = (0.0, 0.0)

    @property
    def floor_residual(self) -> float:
        """By how much the floor is off its fit, 1/m; 0 where nothing was fitted to the floor.

        The anchors of other sources are no floor: a marker half a metre away, or a door post beside
        a lidar, may be off by more than a kerb stands out of the floor.
        """
        return self.residual if 'ground' in self.source.split('+') else 0.0

    def on_line(
        self, scale: float, shift: float, covariance: tuple[float, float, float]
    ) -> ScaleShift:
        """Return the fit with another line, and its curve moved along with it."""
        curve = moved(self.curve, scale - self.scale, shift - self.shift)
        return dataclasses.replace(
            self, scale=scale, shift=shift, covariance=covariance, curve=curve
        )

    def inverse_depth(self, d: np.ndarray) -> np.ndarray:
        """Return 1/Z in 1/m, float32, in the shape of `d`; 0 or less has no depth."""
        inverse = d.astype(np.float32) * np.float32(self.scale) + np.float32(self.shift)
        if self.curve:
            at, on_curve = np.array(self.curve).T
            inside = (d >= at[0]) & (d <= at[-1])
            inverse[inside] = np.interp(d[inside], at, on_curve)
        return inverse

    def depth(
        self,
        d: np.ndarray,
        *,
        min_depth_m: float = DepthImageOptions.min,
        max_depth_m: float = DepthImageOptions.max,
        beyond: float = math.nan,
    ) -> np.ndarray:
        """Return metric depth Z (REP 118) of relative inverse depth `d`, same shape, float32
        metres.

        NaN where unknown or nearer than `min_depth_m`. `beyond`: the value of everything farther
        than `max_depth_m`, without depth (1/Z <= 0) or at `far_end`. A depth image wants NaN there;
        `find_obstacles` wants `min_depth_m=0, beyond=math.inf`: what touches the lens is in the
        way, and a cliff shows nothing but what is far.
        """
        inverse = self.seen_inverse_depth(d)
        return depth_of_inverse(
            inverse, min_depth_m=min_depth_m, max_depth_m=max_depth_m, beyond=beyond
        )

    def seen_inverse_depth(self, d: np.ndarray) -> np.ndarray:
        """Return `inverse_depth`, but 0 at `far_end`: farther than can be measured."""
        inverse = self.inverse_depth(d)
        if self.far_end > -math.inf:
            inverse[d <= self.far_end] = 0.0
        return inverse


def depth_of_inverse(
    inverse: np.ndarray,
    *,
    min_depth_m: float = DepthImageOptions.min,
    max_depth_m: float = DepthImageOptions.max,
    beyond: float = math.nan,
) -> np.ndarray:
    """Return Z of 1/Z, (h, w) float32, with the limits of `ScaleShift.depth`."""
    with np.errstate(divide='ignore'):
        depth = 1 / inverse
    # NaN is not less than anything: it stays.
    depth[inverse < 1 / max_depth_m] = beyond
    if min_depth_m > 0:
        depth[inverse > 1 / min_depth_m] = math.nan
    return depth


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there is no scale: a sentence for diagnostics, made printable, since it may name frames.

    witness: a fit that is too uncertain to give metres, with a covariance that says so, but that
    may contradict another source; None where nothing was found, or what was found is no scale.
    """

    reason: str
    witness: ScaleShift | None = None

    def __post_init__(self) -> None:
        if not self.reason.isprintable():
            object.__setattr__(self, 'reason', printable(self.reason))


def less_certain(fit: ScaleShift, share: float) -> ScaleShift:
    """Return the same scale, whose metres may besides all be off together by this share."""
    ss, st, tt = fit.covariance
    more = (
        ss + (share * fit.scale) ** 2,
        st + share * share * fit.scale * fit.shift,
        tt + (share * fit.shift) ** 2,
    )
    return dataclasses.replace(fit, covariance=more)


# --- Scale and shift over time: smoothed while they agree, replaced at a jump, dropped when old.
#
# Both are filtered together: the scale of one frame with the shift of another would fit neither.
# Time is that of the stamps.

JUMP = 0.05  # fits whose depths differ by more than this share are not averaged
PROBES_PER_M = (1 / 0.5, 1 / 1.0, 1 / 4.0)  # inverse depths at which two fits are compared
REMEMBERED = 0.2  # of what successive fits differ by: share of the newest
# A scale that is kept without new fits: 1/Z drifts by a share, and by an amount in 1/m, in a second
# (`python -m benchmarks.sigma drift`: rendered drives, furnished rooms, embedded model).
DRIFT_PER_S, SHIFT_DRIFT_PER_S = 0.06, 0.03


# Why a scale is not kept for a frame whose own fit is refused.
CHANGES = 'the scale changes from frame to frame'
ONE_FIT = 'one fit does not tell whether the scale stays'


class ScaleFilter:
    """Takes each frame's fit and returns the scale to use for that frame.

    Its covariance is blended as the scale is: the errors of successive fits are mostly the same
    ones, which no average removes. Where successive fits differ by more than they claim of
    themselves, the excess is added; and it grows while a scale is kept without new fits.

    time_constant_s: of the smoothing; 0 = none. expiry_s: without an accepted fit for so long there
    is no scale. Two fits whose depths at 0.5 to 4 m differ by more than `JUMP` are not averaged:
    the newer one is used alone. A refused frame has an earlier scale only where the last two fits
    agreed: while fits jump from frame to frame, another frame's is wrong for it, and one fit alone
    does not tell.

    `reason`: why there is no scale, or why the last fit was refused; '' if it was accepted.
    """

    def __init__(
        self,
        time_constant_s: float = ScaleOptions.time_constant,
        expiry_s: float = ScaleOptions.expiry,
    ) -> None:
        self.time_constant_s = time_constant_s
        self.expiry_s = expiry_s
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or mount."""
        self.reason = 'no fit yet'
        self._current: ScaleShift | None = None
        self._accepted_s = self._now_s = -math.inf
        self._steady, self._alone = False, True
        self._innovation = np.zeros(3)

    @property
    def age_s(self) -> float:
        """Seconds from the last accepted fit to the last stamp; inf without one."""
        return self._now_s - self._accepted_s if self._current else math.inf

    def update(
        self, stamp_s: float, fit: ScaleShift | Refusal, *, repeated: bool = False
    ) -> ScaleShift | None:
        """Return the scale for this frame, or None. A stamp that goes back starts anew.

        repeated: it is the fit of the frame before, once more. That keeps the scale from getting
        old, but is no second fit: it is not averaged, and makes the scale no steadier.
        """
        if stamp_s < self._now_s:
            self.reset()
        self._now_s = stamp_s
        if self._current and stamp_s - self._accepted_s > self.expiry_s:
            self._current = None
        if isinstance(fit, Refusal):
            self.reason = fit.reason
            if self._current is not None and not self._steady:
                self.reason += f'; {ONE_FIT if self._alone else CHANGES}, so none is kept'
                return None
            return self._grown()
        self.reason = ''
        elapsed = stamp_s - self._accepted_s
        self._accepted_s = stamp_s
        if repeated and self._current is not None:
            return self._grown()
        if self._current is None:
            self._current, self._steady, self._innovation = fit, False, np.zeros(3)
            self._alone = True
        elif self.jump_between(self._current, fit) > JUMP:
            self._current, self._steady, self._innovation = fit, False, np.zeros(3)
            self._alone = False
        else:
            self._current, self._steady = self._blended(self._current, fit, elapsed), True
        return self._grown()

    def _blended(self, old: ScaleShift, new: ScaleShift, elapsed_s: float) -> ScaleShift:
        if self.time_constant_s <= 0:
            return new
        by_scale, by_shift = new.scale - old.scale, new.shift - old.shift
        differ = np.array([by_scale * by_scale, by_scale * by_shift, by_shift * by_shift])
        self._innovation += REMEMBERED * (differ - self._innovation)
        share = -math.expm1(-elapsed_s / self.time_constant_s)
        before, now = np.array(old.covariance), np.array(new.covariance)
        blended = before + share * (now - before)
        covariance = float(blended[0]), float(blended[1]), float(blended[2])
        return new.on_line(old.scale + share * by_scale, old.shift + share * by_shift, covariance)

    def _grown(self) -> ScaleShift | None:
        """The current scale with all that makes it less certain than its fits claim."""
        scale = self._current
        if scale is None:
            return None
        kept_s = self._now_s - self._accepted_s
        drift = np.array([scale.scale**2, scale.scale * scale.shift, scale.shift**2])
        drift = drift * DRIFT_PER_S**2 + np.array([0.0, 0.0, SHIFT_DRIFT_PER_S**2])
        added = kept_s**2 * drift + self._excess(scale) * self._innovation
        if not added.any():
            return scale
        whole = np.array(scale.covariance) + added
        return dataclasses.replace(
            scale, covariance=(float(whole[0]), float(whole[1]), float(whole[2]))
        )

    def _excess(self, scale: ScaleShift) -> float:
        """The share of the innovation that the fits do not claim of themselves, 0 to 1."""
        claimed, found = (
            sum(
                max((c[0] * d + 2 * c[1]) * d + c[2], 0.0) / probe**2
                for probe, d in _probes(scale)
            )
            for c in (scale.covariance, self._innovation)
        )  # fmt: skip
        return max(0.0, 1 - claimed / found) if found > 0 else 0.0

    @staticmethod
    def jump_between(old: ScaleShift, new: ScaleShift) -> float:
        """Return by what share the depths of `old` and `new` differ at most, at 0.5 to 4 m."""
        return max(abs((old.scale * d + old.shift) / probe - 1) for probe, d in _probes(new))


def _probes(scale: ScaleShift) -> list[tuple[float, float]]:
    """1/Z and d of the places at which scales are compared."""
    return [(probe, (probe - scale.shift) / scale.scale) for probe in PROBES_PER_M]
