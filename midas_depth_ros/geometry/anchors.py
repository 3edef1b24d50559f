"""Scale and shift from anchors: places in the picture whose 1/Z is known, each with a deviation.

A robust, weighted fit of 1/Z on relative inverse depth: a line, or a monotone curve of few knots.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.geometry.curve import Curve, monotone_curve
from midas_depth_ros.geometry.fitting import (
    median,
    quantile,
    quantile_of,
    robust_deviation,
    tukey_votes,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.options.metric import ScaleOptions

MIN_ANCHORS = 12
MIN_SHARE = 0.5  # of the weight that must agree with one line,
MIN_WITNESS_SHARE = 0.35  # and for a witness: what two movers or two floors share has none
PAIRS = 160  # hypotheses
# By which share of 1/Z a network is off: at first, and limits of what is found.
NETWORK, NETWORK_LEAST, NETWORK_MOST = 0.12, 0.06, 0.25
FAR_SHARE = 0.15  # of the median 1/Z: what is farther is no more exact than that
EDGE_SHARE = 0.35  # of the change of d around an anchor: by which its d may be wrong
LEVER = 0.5  # of the spread of d: least difference of a pair
REACH = 3.0  # deviations within which an anchor has a vote
REFITS = 5
LINE, FEW = 2, 0.5  # what a line takes of the patches, and what is left at least
PATCH = 0.3  # of the width: errors of a network are alike within it, as on one object
MAX_SIGMA, SIGMA_AT = 0.18, 0.7  # of 1/Z, as a share, for so much of the picture
# What is known of any picture: its farthest part is not nearer than its middle, and not beyond
# infinity. 1/Z there, as a share of that of the anchors, and how uncertain this is.
FARTHEST, FARTHEST_SIGMA = 0.5, 0.3
FAR_SHARE_OF_PICTURE = 0.02
# Anchors count as much as there is picture with a d like theirs: in so many parts of equal size, up
# to this factor.
PARTS, MOST_EMPHASIS = 8, 5.0
MIN_COVERED = 0.2  # of the picture must have a d between those of anchors
# Beyond the d of anchors a network may bend: as often its error as it is farther than they spread.
BEND = 1.0


class Unsure(Refusal):
    """A fit that is right within its covariance, but too uncertain to give metres by itself."""


@dataclasses.dataclass(frozen=True)
class Anchors:
    """d, inverse (1/Z, 1/m), sigma (of it), edge (change of d around it): (n,) float64 each;
    place: (n, 2), in widths of the picture. picture: (m,) d of the whole picture, some of its
    pixels, ascending.
    """

    d: np.ndarray
    inverse: np.ndarray
    sigma: np.ndarray
    edge: np.ndarray
    place: np.ndarray
    picture: np.ndarray


def fit_anchors(anchors: Anchors, shape: str = ScaleOptions.shape) -> ScaleShift | Refusal:
    """Return the fit of 1/Z on d, or why there is none: then perhaps with a witness.

    Deterministic.
    """
    if len(anchors.d) < MIN_ANCHORS:
        return Refusal(f'only {len(anchors.d)} corners have a depth, {MIN_ANCHORS} are needed')
    level = _level(anchors)
    emphasis = _emphasis(anchors)
    start = _best_hypothesis(anchors, emphasis, level)
    if start is None:
        return Refusal('no two corners agree that nearer is larger')
    scale, shift, network = *start, NETWORK
    patches = int(np.count_nonzero(np.bincount(_patches(anchors))))
    for _ in range(REFITS):
        off, tolerance = _off(anchors, scale, shift, network, level)
        votes = tukey_votes(off, REACH) * (np.abs(off) < REACH)
        if votes.sum() < 0.25 * MIN_ANCHORS:
            return Refusal('the depths of the corners scatter too widely around any fit')
        line = _line(anchors, emphasis * votes / tolerance**2, float(votes.sum()) / patches)
        if line is None or not line[0] > 0:
            return Refusal('the scale that fits the corners is not positive: nearer is not larger')
        scale, shift = line
        network = max(_network(anchors, scale, shift, network, level), NETWORK_LEAST)
    return _judged(anchors, emphasis, (scale, shift), network, level, shape)


def _part(anchors: Anchors) -> np.ndarray:
    """In which part of the picture, from far to near, each anchor is by its d, (n,) int."""
    count = len(anchors.picture)
    limits = anchors.picture[[count * part // PARTS for part in range(1, PARTS)]]
    return np.searchsorted(limits, anchors.d)


def _emphasis(anchors: Anchors) -> np.ndarray:
    """Weights (n,) of mean 1 by which anchors stand for the picture, not for its texture."""
    part = _part(anchors)
    each = np.bincount(part, minlength=PARTS)
    weight = np.clip(len(anchors.d) / (PARTS * np.maximum(each, 1)), 0, MOST_EMPHASIS)[part]
    return weight / weight.mean()


def _patches(anchors: Anchors) -> np.ndarray:
    """In which part of the picture each anchor is, (n,) int: errors of neighbours are alike."""
    column, row = (anchors.place / PATCH).astype(int).T
    return np.minimum(row, 15) * 16 + np.minimum(column, 15)


def _line(anchors: Anchors, weight: np.ndarray, count: float) -> tuple[float, float] | None:
    """A weighted line of 1/Z on d, that also knows the farthest part of the picture: by this about
    as surely as by `count` anchors.
    """
    farthest = float(anchors.picture[round(FAR_SHARE_OF_PICTURE * (len(anchors.picture) - 1))])
    of_anchors = float(weight.sum())
    level = float(weight @ anchors.inverse) / of_anchors
    if not level > 0:
        return None
    of_farthest = max(count, 1.0) / (FARTHEST_SIGMA * level) ** 2
    total = of_anchors + of_farthest
    d_mean = (float(weight @ anchors.d) + of_farthest * farthest) / total
    inverse_mean = (of_anchors + of_farthest * FARTHEST) * level / total
    x, far_x = anchors.d - d_mean, farthest - d_mean
    lever = weight * x
    bottom = float(lever @ x) + of_farthest * far_x * far_x
    if not bottom > 0:
        return None
    rise = float(lever @ (anchors.inverse - inverse_mean))
    scale = (rise + of_farthest * far_x * (FARTHEST * level - inverse_mean)) / bottom
    return scale, inverse_mean - scale * d_mean


def _level(anchors: Anchors) -> float:
    """The typical 1/Z of the anchors, by the certain ones."""
    middle = median(anchors.sigma)
    return max(median(anchors.inverse[anchors.sigma <= middle]), middle, 1e-6)


def _off(
    anchors: Anchors, scale: float, shift: float, network: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """How far the anchors are from a line, in deviations, and these deviations in 1/m."""
    fitted = scale * anchors.d + shift
    own = network * np.maximum(fitted, FAR_SHARE * level)
    tolerance = np.sqrt(anchors.sigma**2 + own**2 + (EDGE_SHARE * scale * anchors.edge) ** 2)
    return (anchors.inverse - fitted) / tolerance, tolerance


def _network(anchors: Anchors, scale: float, shift: float, network: float, level: float) -> float:
    """By which share of 1/Z d is off beyond the deviations of the anchors."""
    off, tolerance = _off(anchors, scale, shift, network, level)
    spread = robust_deviation(np.abs(off))
    fitted = np.maximum(scale * anchors.d + shift, FAR_SHARE * level)
    beyond = (spread**2 - 1) * median((tolerance / fitted) ** 2) + network**2
    return min(math.sqrt(max(beyond, 0.0)), NETWORK_MOST)


@functools.lru_cache(maxsize=64)
def _pairs(count: int) -> np.ndarray:
    """(PAIRS, 2) indices below `count`, always the same."""
    return np.random.default_rng(0).integers(count, size=(PAIRS, 2))


def _best_hypothesis(
    anchors: Anchors, emphasis: np.ndarray, level: float
) -> tuple[float, float] | None:
    """The line through two anchors with most others near it."""
    first, second = _pairs(len(anchors.d)).T
    run = anchors.d[first] - anchors.d[second]
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = (anchors.inverse[first] - anchors.inverse[second]) / run
        shift = anchors.inverse[first] - scale * anchors.d[first]
    ascending = np.sort(anchors.d)
    spread = quantile(ascending, 0.9) - quantile(ascending, 0.1)
    possible = np.isfinite(scale) & (scale > 0) & (np.abs(run) >= LEVER * spread)
    if not possible.any():
        return None
    scale, shift = scale[possible], shift[possible]
    own = NETWORK * np.maximum(np.abs(anchors.inverse), FAR_SHARE * level)
    tolerance = 2 * np.sqrt(anchors.sigma**2 + own**2)
    weight = np.minimum(1 / tolerance, 3 / median(tolerance)) * emphasis
    # (scale d + shift - inverse) / tolerance, of all hypotheses and anchors; as shares of the
    # typical d and 1/Z, which float32 bears.
    unit = max(abs(quantile(ascending, 0.5)), spread)
    lines = np.stack([scale * unit, shift, -np.ones(len(scale))], axis=1).astype(np.float32)
    points = np.stack([anchors.d / unit, np.ones(len(tolerance)), anchors.inverse]) / tolerance
    off = lines @ points.astype(np.float32)
    np.abs(off, out=off)
    np.minimum(off, 1, out=off)
    best = int(np.argmin(off @ weight.astype(np.float32)))
    return float(scale[best]), float(shift[best])


def _judged(
    anchors: Anchors,
    emphasis: np.ndarray,
    line: tuple[float, float],
    network: float,
    level: float,
    shape: str,
) -> ScaleShift | Refusal:
    scale, shift = line
    off, tolerance = _off(anchors, scale, shift, network, level)
    near = np.abs(off) < REACH
    weight = emphasis * tukey_votes(off, REACH) * near / tolerance**2
    plain = emphasis / tolerance**2
    share = float(plain[near].sum() / plain.sum())
    if near.sum() < MIN_ANCHORS or share < MIN_WITNESS_SHARE:
        return Refusal(_too_few(near, share))
    ascending = np.sort(anchors.d[near])
    low, high = quantile(ascending, 0.05), quantile(ascending, 0.95)
    covered = float(np.diff(np.searchsorted(anchors.picture, (low, high)))[0])
    covered /= len(anchors.picture)
    centre = float(weight @ anchors.d / weight.sum())
    spread = float(weight @ (anchors.d - centre) ** 2)
    # Errors of neighbours are alike: as many anchors count as there are patches with one. Two of
    # these say nothing of the scatter: a line goes through them.
    patches = int(np.count_nonzero(np.bincount(_patches(anchors)[near])))
    scatter = max(1.0, float(weight @ off**2 / weight.sum()))
    few = patches / max(patches - LINE, FEW)
    inflated = scatter * max(1.0, near.sum() / patches) * few
    of_scale, of_middle = inflated / spread, inflated / float(weight.sum())
    picture = anchors.picture[:: max(1, len(anchors.picture) // 64)]
    inverse = np.maximum(scale * picture + shift, FAR_SHARE * level)
    outside = np.maximum(np.maximum(low - picture, picture - high), 0) / max(high - low, 1e-12)
    bent = BEND * _network(anchors, scale, shift, network, level) * outside * inverse
    spread_there = np.sqrt(of_middle + (picture - centre) ** 2 * of_scale + bent**2)
    sigma = quantile_of(spread_there / inverse, SIGMA_AT)
    # What is uncertain beyond the anchors is so as by another slope.
    most = slice(len(picture) // 20, len(picture) - len(picture) // 20)
    of_scale += _slope_beyond(bent[most], picture[most] - centre, high - low)
    covariance = (of_scale, -centre * of_scale, of_middle + centre * centre * of_scale)
    error = anchors.inverse - scale * anchors.d - shift
    residual = float(np.sqrt(weight @ error**2 / weight.sum()))
    curve: Curve = ()
    if shape == 'spline':
        curve = monotone_curve(anchors.d, anchors.inverse, weight, scale, shift)
    fit = ScaleShift(
        scale, shift, 'odometry', share, residual, int(near.sum()), covariance=covariance,
        curve=curve,
    )  # fmt: skip
    if share < MIN_SHARE:
        return Refusal(_too_few(near, share), fit)
    if covered < MIN_COVERED:
        reason = (
            f'the corners are only like {covered:.0%} of the picture in relative inverse depth, '
            f'{MIN_COVERED:.0%} are needed: the rest has no texture'
        )
        return Unsure(reason, fit)
    return Unsure(too_uncertain(sigma), fit) if sigma > MAX_SIGMA else fit


def too_uncertain(sigma: float) -> str:
    """Return why a scale is refused that is off by such a share (1 sigma)."""
    return f'the scale by the corners is off by {sigma:.0%} (1 sigma): {MAX_SIGMA:.0%} are allowed'


def _slope_beyond(bent: np.ndarray, aside: np.ndarray, spread: float) -> float:
    """The variance of a slope that deviates by as much as `bent` (n,) beyond the anchors."""
    beyond = bent > 0
    if not beyond.any():
        return 0.0
    return float(np.max((bent[beyond] / np.maximum(np.abs(aside[beyond]), 0.25 * spread)) ** 2))


def _too_few(near: np.ndarray, share: float) -> str:
    return (
        f'only {int(near.sum())} corners ({share:.0%}) agree with one scale, {MIN_ANCHORS} '
        f'({MIN_SHARE:.0%}) are needed'
    )
