"""A scale carried from frame to frame: what was fitted before, in the units of this frame.

A network's scale and shift change with every frame, but the metres of what stands still do not.
Points of the last frame, in metres, are placed in this one by the known motion; the line of their
1/Z on this frame's d is what the last scale is here. It is averaged with this frame's own fit.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np

from midas_depth_ros.geometry.anchors import MAX_SIGMA, SIGMA_AT, Unsure, too_uncertain
from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    inverted,
    median,
    quantile_of,
    robust_deviation,
    solved,
    tukey_votes,
    weighted_line,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleShift, less_certain
from midas_depth_ros.geometry.tracking import at_points

COLUMNS, ROWS = 24, 18  # of points that are carried
MIN_POINTS = 60
MIN_CARRIED = 0.25  # of them that must be in view
REFITS = 4
FAR_SHARE = 0.15  # of the median 1/Z: what is farther is no more exact than that
INDEPENDENT = 6.0  # as many count: from elsewhere, neighbours are seen otherwise together
MIN_AGREE = 0.3  # of the points
# A fit that is too uncertain by itself counts together with a carried one: so uncertain at most
# (share of 1/Z), and so far at most (in distances) from the last that was sure by itself.
MOST_UNSURE, MOST_WAY = 0.14, 0.15
LEAST, MOST = 0.04, 0.3  # limits of their deviation from the line, as a share of 1/Z
# Errors of fits are alike over this way, in shares of the distance; over it, the carried scale
# becomes uncertain by this share; in any frame by the second.
ALIKE, CHANGE, CHANGE_ALWAYS = 0.015, 0.05, 0.005
WITNESS_SHARE = 0.05  # by which a fit may be off besides that gives no metres
# By how much more fits differ than they claim: share of the newest, and what one counts at most.
REMEMBERED, MOST_SQUARES = 0.2, 9.0
GATE = 3.0  # deviations beyond which the new fit is used alone
PROBES = (0.25, 0.75)  # quantiles of d at which scales are compared


class Places(Protocol):
    """What `CarriedScale` needs of a camera; places in shares of the picture, (n, 2)."""

    def grid(self, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return places all over the picture and their rays (n, 3)."""
        ...

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where points (n, 3) of the optical frame are seen."""
        ...


@dataclasses.dataclass(frozen=True)
class _Past:
    """Points (n, 3) in the fixed frame, their scale, and where the camera was (4, 4).

    unsure_way: how far it was, in distances, from the last fit that was sure; inf = none was.
    """

    points: np.ndarray
    scale: ScaleShift
    pose: np.ndarray
    unsure_way: float


class CarriedScale:
    """The scale of one camera, averaged along its way."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._past: _Past | None = None
        self._excess = 1.0

    def averaged(
        self, fit: ScaleShift | Unsure, d: np.ndarray, pose: np.ndarray, camera: Places,
        together: float = 0.0,
    ) -> ScaleShift | Refusal:  # fmt: skip
        """Return the average of this frame's fit and what was fitted before, and keep it.

        d: (h, w) relative inverse depth. pose: (4, 4), of the camera in a fixed frame. camera:
        `at` and `project`, in shares of the picture. A fit that is too uncertain by itself is
        refused unless it is certain enough together with what was carried. together: share by which
        1/Z of all frames may be off alike, which no average makes less.
        """
        own = fit.witness if isinstance(fit, Unsure) else fit
        if own is None:
            return fit
        probes = _probes(d)
        before = None
        if self._past is not None:
            before = self._carried(self._past, d, pose, camera, probes)
        result = own
        if before is not None:
            result, squares = _mixed(before[0], own, before[1], probes)
            self._excess += REMEMBERED * (min(squares, MOST_SQUARES) - self._excess)
        unsure_way = math.inf
        if not isinstance(fit, Unsure):
            unsure_way = 0.0
        elif self._past is not None and before is not None and result is not own:
            # What no fit has been sure of is not made sure by repeating it.
            unsure_way = self._past.unsure_way + before[1]
            if math.sqrt(max(self._excess, 1.0)) * _uncertain_by(result, d) > MOST_UNSURE:
                unsure_way = math.inf
        self._keep(result, d, pose, camera, unsure_way)
        if isinstance(fit, Unsure) and unsure_way > MOST_WAY:
            return Refusal(fit.reason, less_certain(result, WITNESS_SHARE))
        return self._judged(result, d, together)

    def _judged(self, scale: ScaleShift, d: np.ndarray, together: float) -> ScaleShift | Refusal:
        """The scale, less certain where fits differ by more than they claim."""
        if self._excess <= 1 and not together:
            return scale
        ss, st, tt = (max(self._excess, 1.0) * each for each in scale.covariance)
        scale = less_certain(dataclasses.replace(scale, covariance=(ss, st, tt)), together)
        sigma = _uncertain_by(scale, d)
        return scale if sigma <= MAX_SIGMA else Refusal(too_uncertain(sigma), scale)

    def _keep(
        self, scale: ScaleShift, d: np.ndarray, pose: np.ndarray, camera: Places, unsure_way: float
    ) -> None:
        shares, rays = camera.grid(COLUMNS, ROWS)
        inverse = scale.inverse_depth(_at(d, shares))
        good = np.isfinite(inverse) & (inverse > 0.02)
        points = rays[good] / inverse[good, None].astype(np.float64)
        self._past = _Past(points @ pose[:3, :3].T + pose[:3, 3], scale, pose, unsure_way)

    def _carried(
        self, past: _Past, d: np.ndarray, pose: np.ndarray, camera: Places, probes: np.ndarray
    ) -> tuple[ScaleShift, float] | None:
        """The past scale in the units of d, and how far the camera has moved, in distances."""
        seen = (past.points - pose[:3, 3]) @ pose[:3, :3]
        seen = seen[seen[:, 2] > 0.05]
        value = _at(d, camera.project(seen))
        good = np.isfinite(value)
        if good.sum() < max(MIN_POINTS, MIN_CARRIED * len(past.points)):
            return None
        value, inverse = value[good], 1 / seen[good, 2]
        line = _line(value, inverse)
        if line is None:
            return None
        moved = float(np.linalg.norm(pose[:3, 3] - past.pose[:3, 3]) * median(inverse))
        old = _transferred(past.scale, (line[0], line[1]), probes)
        if old is None:
            return None
        of_line = line[2][0, 0], line[2][0, 1], line[2][1, 1]
        ss, st, tt = (before + float(more) for before, more in zip(old, of_line, strict=True))
        return dataclasses.replace(
            past.scale, scale=line[0], shift=line[1], covariance=(ss, st, tt)
        ), moved


def _at(d: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return at_points(d, shares * np.array([d.shape[1], d.shape[0]]) - 0.5)


def _symmetric_line(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float] | None:
    """(slope, x, y) of a rising line, and a point on it, where both have errors; None = none.

    Its slope is the ratio of the spreads: that of least squares would be less in every frame, and
    what is near would seem farther and farther.
    """
    line = weighted_line(x, y, weight)
    if line is None or not line[0] > 0:
        return None
    _, x_mean, y_mean = line
    along, up = x - x_mean, y - y_mean
    slope = math.sqrt(float(weight @ (up * up)) / float(weight @ (along * along)))
    return slope, x_mean, y_mean


def _line(value: np.ndarray, inverse: np.ndarray) -> tuple[float, float, np.ndarray] | None:
    """A robust line of 1/Z on d, by shares of 1/Z, and its covariance (2, 2)."""
    least = FAR_SHARE * median(inverse)
    votes, level = np.ones(len(value)), np.full(len(value), 1.0)
    for _ in range(REFITS):
        line = _symmetric_line(value, inverse, votes / level**2)
        if line is None:
            return None
        scale, shift = line[0], line[2] - line[0] * line[1]
        # Shares of the mean of both: those of one alone would favour what that makes far by chance.
        level = np.maximum(0.5 * (scale * value + shift + inverse), least)
        off = np.abs(scale * value + shift - inverse) / level
        deviation = min(max(robust_deviation(off), LEAST), MOST)
        votes = tukey_votes(off, BIWEIGHT * deviation)
        if votes.sum() < MIN_AGREE * len(votes):
            return None
    # As many points count as there are things that a network sees otherwise from elsewhere.
    weight = votes / (deviation * level) ** 2 * (INDEPENDENT / votes.sum())
    sums = float(weight.sum()), float(weight @ value), float(weight @ (value * value))
    return scale, shift, inverted(np.array([[sums[2], sums[1]], [sums[1], sums[0]]]))


def _probes(d: np.ndarray) -> np.ndarray:
    some = d[::8, ::8]
    some = some[np.isfinite(some)]
    if not some.size:
        return np.zeros(2)  # which are refused
    return np.array([quantile_of(some, share) for share in PROBES])


def _uncertain_by(scale: ScaleShift, d: np.ndarray) -> float:
    """By which share of 1/Z a scale is uncertain in `SIGMA_AT` of the picture."""
    some = d[::8, ::8]
    some = some[np.isfinite(some)]
    inverse = scale.scale * some + scale.shift
    inverse = np.maximum(inverse, FAR_SHARE * float(np.median(inverse)))
    of_scale, of_both, of_shift = scale.covariance
    variance = (of_scale * some + 2 * of_both) * some + of_shift
    return quantile_of(np.sqrt(np.maximum(variance, 0)) / np.maximum(inverse, 1e-6), SIGMA_AT)


def _matrix(covariance: tuple[float, float, float]) -> np.ndarray:
    ss, st, tt = covariance
    return np.array([[ss, st], [st, tt]])


def _transferred(
    old: ScaleShift, line: tuple[float, float], probes: np.ndarray
) -> tuple[float, float, float] | None:
    """The covariance of an old scale for a line of the same metres in another frame."""
    if not probes[1] > probes[0]:
        return None
    inverse = line[0] * probes + line[1]
    same = (inverse - old.shift) / old.scale  # where the old frame had this 1/Z
    there = np.stack([same, np.ones(2)], axis=1)
    back = inverted(np.stack([probes, np.ones(2)], axis=1))
    moved = back @ there @ _matrix(old.covariance) @ there.T @ back.T
    return float(moved[0, 0]), float(moved[0, 1]), float(moved[1, 1])


def _mixed(
    before: ScaleShift, fit: ScaleShift, moved: float, probes: np.ndarray
) -> tuple[ScaleShift, float]:
    """The average of two scales of one frame, by their covariances."""
    axes = np.stack([probes, np.ones(2)], axis=1)
    old, new = axes @ (before.scale, before.shift), axes @ (fit.scale, fit.shift)
    change = CHANGE**2 * moved / (moved + ALIKE) + CHANGE_ALWAYS**2
    of_old = axes @ _matrix(before.covariance) @ axes.T
    of_old = of_old + change * (np.outer(old, old) + np.diag(old * old))
    of_new = axes @ _matrix(fit.covariance) @ axes.T
    if min(*old, *new) > 0:
        # Deviations are shares of 1/Z: what says less by chance would claim to be more certain.
        of_old, of_new = (
            each * np.outer(*[0.5 * (old + new) / own] * 2)
            for each, own in ((of_old, old), (of_new, new))
        )
    off = new - old
    together = of_old + of_new
    squares = 0.5 * float(off @ solved(together, off))
    if squares > GATE**2:
        return fit, squares
    # What was fitted a moment ago has nearly the same errors: it is not as good as two fits.
    alike = of_new * (1 + ALIKE / max(moved, 1e-3))
    gain = of_old @ inverted(of_old + alike)
    mean = old + gain @ off
    back = inverted(axes)
    scale, shift = back @ mean
    if not scale > 0:
        return fit, squares
    rest = np.eye(2) - gain
    spread = back @ (rest @ of_old @ rest.T + gain @ alike @ gain.T) @ back.T
    covariance = float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1])
    if not all(map(math.isfinite, (scale, shift, *covariance))):
        return fit, squares
    mixed = fit.on_line(float(scale), float(shift), covariance)
    return mixed, squares
