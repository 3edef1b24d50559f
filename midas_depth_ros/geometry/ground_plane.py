"""Scale and shift from the floor: camera height and tilt give the floor's 1/Z in every pixel.

For every pixel below the horizon the mount gives g, 1/Z of the floor there. On the floor d is a
line of g, d = (g - shift) / scale; what stands on the floor lies above that line, and hardly
anything below it. The line is found by deterministic RANSAC over coarse cells and refined by
reweighted least squares of d on g (g is exact and d is noisy: the other way round the scale would
be too small). It is then checked for credibility.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np

from midas_depth_ros.geometry.far_reaching import (
    correlated,
    far_reaching_line,
    smooth_deviation,
)
from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    Grid,
    NoFloor,
    checked,
    deviation_within,
    median,
    quantiles_of,
    reduced_with_grid,
    tukey_votes,
    weighted_line,
)
from midas_depth_ros.geometry.floor_drop import FloorDrop, beyond_drop, find_drop
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.scale import Refusal, ScaleShift, less_certain
from midas_depth_ros.options.metric import ObstacleOptions, SigmaOptions

# --- Whether a fitted line of d over the floor's 1/Z is credible.
#
# A wall seen by a tilted camera, a ramp, the front of a box: each gives a line as exact as the
# floor's. The resulting scale exposes them: nothing can have a negative depth, and hardly anything
# lies behind the floor. A robot stops on "unknown" and drives into what is wrongly called far, so a
# doubtful fit is refused. Limits are shares of the picture unless noted.

TOLERANCE = 0.12  # how far off the floor's 1/Z still is floor, as a share of it,
LEAST_TOLERANCE = 0.025  # or of the largest 1/Z of floor in view
NEAREST_TO_HORIZON = 0.04  # floor with less 1/Z, as a share of the largest, is ignored
FLATTEST = 1e-5  # least spread of d, as a share of the largest
MIN_VALID = 0.5  # with a value
MIN_CANDIDATES = 0.08  # below the horizon
# Of what is below the horizon, and of its nearest quarter, that must be floor.
MIN_SHARE, MIN_SHARE_BOTTOM = 0.25, 0.25
MIN_SPREAD = 0.2  # of 1/Z among the floor's pixels, as a share of the largest
# Deviation of the floor's pixels, in tolerances; and where most is floor. By chance it is 0.577.
MAX_RESIDUAL, MAX_RESIDUAL_OPEN = 0.45, 0.57
OPEN_SHARE = 0.6
# Of what is below the horizon, of its nearest quarter and of its nearest twelfth, that may lie
# behind the floor: far away it may be a cliff; near by, the "floor" is the top of an object whose
# front is at the robot's feet.
MAX_BEHIND, MAX_BEHIND_BOTTOM, MAX_BEHIND_FEET = 0.6, 0.15, 0.35
# How much of the picture, unless most below the horizon is floor, and of what is above the horizon
# may have 1/Z below minus BEYOND times the largest. Networks put some of the sky there.
BEYOND, MAX_BEYOND, MAX_BEYOND_ABOVE = 0.08, 0.05, 0.25
# How uncertain depth may be because of smooth errors, like a network's: its standard deviation as a
# share, at the worst of these distances that is not nearer than any floor in view.
MAX_UNCERTAIN, MAX_UNCERTAIN_OPEN = 0.08, 0.04
LEAST_OF_WITNESS = 0.05  # share by which a floor that is refused for its unevenness may be off
UNCERTAIN_AT_M = (0.5, 1.0, 2.0, 4.0)
# What is off by more than the tolerance does not count as floor: a normal distribution with this
# residual, in tolerances, was by so much wider before.
CUT_OFF = ((0.0, 0.4, 0.45, 0.5, 0.52, 0.54), (1.0, 1.07, 1.16, 1.38, 1.55, 1.86))
# Above the horizon: a plane that fills the picture may be a ramp or a wall. That something stands
# before its far end does not tell them apart: a ramp may end at a wall, too.
MIN_HORIZON = 0.04


@dataclasses.dataclass(frozen=True)
class GroundCells:
    """A coarse picture: (rows, columns) arrays.

    d: scaled to a spread of about 0 to 1; the picture's own is d * spread + far. ground: 1/Z of the
    floor, 1/m, `largest` its largest. tolerance: in 1/m. candidate: where floor could be seen.
    """

    d: np.ndarray
    ground: np.ndarray
    known: np.ndarray
    candidate: np.ndarray
    largest: float
    far: float
    spread: float
    tolerance: np.ndarray


class GroundLine:
    """A line: 1/Z = scale * d + shift, in the units of the picture.

    inverse_depth: 1/Z of every cell by it. off: of every cell from the floor in tolerances,
    positive = nearer; on_floor: the cells on it, `count` of them, `share` of the candidates; sure:
    those of them where d also rises like a floor, so not at the foot of a wall. residual: standard
    deviation of those on it, 1/m.
    """

    def __init__(
        self, cells: GroundCells, cell_scale: float, cell_shift: float,
        rise: np.ndarray | None = None, drop: FloorDrop | None = None,
    ) -> None:  # fmt: skip
        """`cell_scale` and `cell_shift` are those of `cells.d`; rise: `_rise` of the cells. drop:
        where the floor falls off; what is beyond is not on it.
        """
        self.drop = drop
        self.inverse_depth = cells.d * cell_scale + cell_shift
        error = self.inverse_depth - cells.ground
        self.off = error / cells.tolerance
        self.on_floor = (np.abs(self.off) < 1) & cells.candidate
        if drop is not None:
            self.on_floor &= ~beyond_drop(error, cells.ground, (drop.edge, drop.fall))
        self.sure = self.on_floor
        if rise is not None:
            self.sure = self.on_floor & ~_too_steep(rise * cell_scale)
        self.count = int(self.on_floor.sum())
        self.share = self.count / int(cells.candidate.sum())
        self.scale = cell_scale / cells.spread
        self.shift = cell_shift - self.scale * cells.far
        squared = error[self.on_floor] ** 2
        self.residual = float(np.sqrt(np.mean(squared))) if self.count else math.inf


def _check_support(cells: GroundCells, line: GroundLine) -> None:
    if line.share < MIN_SHARE:
        raise NoFloor(
            f'only {line.share:.0%} of what is below the horizon lies on the floor, '
            f'{MIN_SHARE:.0%} are needed'
        )
    ground = cells.ground[cells.candidate]
    nearer, at_feet = quantiles_of(ground, 0.75, 11 / 12)
    nearest = cells.candidate & (cells.ground >= nearer)
    bottom = float(line.on_floor[nearest].mean())
    if bottom < MIN_SHARE_BOTTOM:
        raise NoFloor(f'only {bottom:.0%} of the nearest part of the picture is floor')
    feet = cells.candidate & (cells.ground >= at_feet)
    step = float((line.off[nearest] < -1).mean())
    if step > MAX_BEHIND_BOTTOM or (line.off[feet] < -1).mean() > MAX_BEHIND_FEET:
        raise NoFloor(f'{step:.0%} of the nearest part of the picture would lie behind the floor')
    low, high = quantiles_of(cells.ground[line.on_floor], 0.05, 0.95)
    if high - low < MIN_SPREAD * cells.largest:
        raise NoFloor(
            f'the floor in view reaches only from {1 / high:.2f} to {1 / low:.2f} m: too little '
            'for a scale'
        )


def _check_behind(cells: GroundCells, line: GroundLine) -> None:
    behind = float((line.off[cells.candidate] < -1).mean())
    if behind > MAX_BEHIND:
        raise NoFloor(f'{behind:.0%} of what is below the horizon would lie behind the floor')


def _unevenness(cells: GroundCells, line: GroundLine) -> tuple[str, float]:
    """Why a floor is too uncertain for metres, '' if it is not; by what share it is uncertain."""
    residual = float(np.sqrt(np.mean(line.off[line.on_floor] ** 2)))
    uncertain = uncertainty(cells, line)
    is_open = line.share >= OPEN_SHARE and uncertain <= MAX_UNCERTAIN_OPEN
    most = MAX_RESIDUAL_OPEN if is_open else MAX_RESIDUAL
    uncertain *= float(np.interp(residual, *CUT_OFF))
    if residual > most:
        return (
            f'what is below the horizon is too uneven for a floor: 1/Z is off by '
            f'{residual * TOLERANCE:.1%} (1 sigma), {most * TOLERANCE:.1%} are allowed'
        ), uncertain
    if uncertain > MAX_UNCERTAIN and not is_open:
        return (
            f'the floor is uneven over long stretches: distances would be uncertain by '
            f'{uncertain:.0%} or more (1 sigma), {MAX_UNCERTAIN:.0%} are allowed'
        ), uncertain
    return '', uncertain


def uncertainty(cells: GroundCells, line: GroundLine) -> float:
    """Return the standard deviation of depth, as a share, that smooth errors cause.

    Errors of a network are alike over a stretch of the picture, so that the many cells of a floor
    say no more than a few independent ones would. Their variance is that of the smoothed residual,
    their correlation falls off as a Gaussian; the rest is the covariance of a weighted line with
    correlated errors (the sandwich formula).
    """
    on = line.on_floor
    ground = np.where(on, cells.ground, 0.0)
    weight = np.where(on, cells.tolerance, np.inf) ** -2.0
    total = float(weight.sum())
    middle = float((weight * ground).sum()) / total
    lever = np.where(on, ground - middle, 0.0)
    scatter = float((weight * lever * lever).sum())
    error = weight * np.where(on, cells.tolerance, 0.0)  # of one deviation
    level, slope = error / total, error * lever / scatter
    spread_level, spread_slope = correlated(level), correlated(slope)
    variances = float((level * spread_level).sum()), float((slope * spread_slope).sum())
    covariance = float((level * spread_slope).sum())
    nearest = min(1 / cells.largest, UNCERTAIN_AT_M[-1])
    worst = 0.0
    for metres in UNCERTAIN_AT_M:
        arm = 1 / metres - middle
        variance = variances[0] + 2 * arm * covariance + arm * arm * variances[1]
        if metres >= nearest:
            worst = max(worst, math.sqrt(max(variance, 0.0)) * metres)
    return worst * smooth_deviation(line.off, line.sure)


def _check_horizon(cells: GroundCells, line: GroundLine, min_horizon: float) -> None:
    above = cells.ground[cells.known] < 0
    if above.mean() < min_horizon:
        raise NoFloor(
            'the horizon is not in view: floor, ramp and wall cannot be told apart; point the '
            'camera less far down'
        )
    beyond = line.inverse_depth[cells.known] < -BEYOND * cells.largest
    too_much = beyond[~above if line.share >= OPEN_SHARE else ...].mean() > MAX_BEYOND
    if too_much or (above.any() and beyond[above].mean() > MAX_BEYOND_ABOVE):
        raise NoFloor(
            f'{beyond.mean():.0%} of the picture would lie beyond the horizon: a wall, a ramp, or '
            'the camera pitch is wrong'
        )


CELLS = 64 * 48
PAIRS = 192  # hypotheses
SCORED = 3  # step between the candidates that score hypotheses
LEVER = 0.12  # of the largest g: least difference between the cells of a pair
BEHIND_COST = 2.0  # largest cost of a cell behind the floor; of one before it: 1
# A line that some cells fit closely, within this share of the tolerance, beats a compromise between
# the floor before a cliff and the one below it; its weight.
CLOSELY, CLOSE_VOTE = 0.12, 2.0
REFITS = 6
# How steeply d may rise with the floor's 1/Z, against the line's own slope, from cell to cell: the
# foot of a wall is as near as the floor before it, but does not rise. Over this many cells.
SLOPES, RISE_OVER = (0.6, 1.7), 2
WIDE = 3.0  # times the median 1/Z of floor: beyond that a lens looks almost straight down
FINEST, COARSEST = 0.05, 0.43  # limits of the deviation, of the tolerance
BENT = 1.3  # tolerances within which a line goes between a floor and a lower one beyond its edge
# Of the depth from which on a drop counts, since a fall comes out as less than it is. What is less
# is not looked for: it would hardly hurt, and of a mat at the robot's feet, whose front is out of
# view, the top would be taken for the floor, and all the rest for farther than it is.
LEAST_OF_DROP = 0.7


def fit_ground_plane(
    d: np.ndarray, grid: Grid, mount: CameraMount, *, min_horizon: float = MIN_HORIZON,
    sigma: SigmaOptions | None = None, max_drop_m: float = ObstacleOptions.max_drop,
) -> ScaleShift | Refusal:  # fmt: skip
    """Return scale and shift of relative inverse depth from the floor in it, or why there are none.

    d: (h, w) float32 or float64, 16x16 or more, larger = nearer; values that are not finite are
    ignored. grid: `CameraModel.normalised_grid(w, h)`, NaN where the lens model has no inverse.
    min_horizon: of the picture that must be above the horizon; 0 = it need not be in view. sigma:
    how exactly the mount is known. max_drop_m: as `ObstacleOptions.max_drop`; where the floor falls
    off by about as much or more, the scale is that of the floor before the edge. A floor that is
    only too uneven is the refusal's witness. Deterministic. Raises `InvalidInverseDepth` for arrays
    of the wrong shape or type.
    """
    d = checked(d, grid)
    try:
        cells, line = unjudged_line(d, grid, mount, max_drop_m)
        _check_support(cells, line)
    except NoFloor as none:
        return Refusal(str(none))
    uneven, uncertain = _unevenness(cells, line)
    try:
        _check_behind(cells, line)
        _check_horizon(cells, line, min_horizon)
    except NoFloor as none:
        return Refusal(uneven or str(none))
    points = round(line.count * d.size / cells.d.size)
    fit = ScaleShift(line.scale, line.shift, 'ground', line.share, line.residual, points)
    if line.drop is not None:
        fit = dataclasses.replace(fit, floor_drop=(line.drop.edge, line.drop.fall))
    by_line, by_mount = _line_covariance(cells, line), mount_covariance(fit, mount, sigma)
    both = [first + second for first, second in zip(by_line, by_mount, strict=True)]
    fit = dataclasses.replace(fit, covariance=(both[0], both[1], both[2]))
    if uneven:
        return Refusal(uneven, less_certain(fit, max(uncertain, LEAST_OF_WITNESS)))
    return fit


def unjudged_line(
    d: np.ndarray, grid: Grid, mount: CameraMount, max_drop_m: float = ObstacleOptions.max_drop
) -> tuple[GroundCells, GroundLine]:
    """Return what is most like a floor in (h, w) relative inverse depth, credible or not; for
    measuring what `fit_ground_plane` refuses. Raises `NoFloor` where nothing is like one.
    """
    cells = _cells(d, grid, mount)
    least_m = LEAST_OF_DROP * max_drop_m
    least_fall = least_m / (mount.height_m + least_m)
    return cells, _refined(cells, _best_hypothesis(cells), least_fall)


# --- How uncertain scale and shift are: by the scatter of the floor's cells, and by the mount.

# Cells this near to each other have one error, as those of a network are smooth; and since errors
# reach farther than that, and regions are few, the variance is so much larger. Chosen on smooth
# errors of 3 %, 8 and 25 pixels wide, in a rendered room.
REGION, FAR_REACHING = 8, 3.0
Covariance = tuple[float, float, float]


def mount_covariance(
    fit: ScaleShift, mount: CameraMount, sigma: SigmaOptions | None = None
) -> Covariance:
    """Return the `ScaleShift.covariance` of a mount that is not known exactly.

    A camera that is pitched by p more than it is said to be, on a height that is a share q more,
    has a floor whose 1/Z is g (1 - p tan(pitch) - q) + p / (height cos(pitch)): a line of g, so
    such errors change nothing but scale and shift.
    """
    sigma = sigma or SigmaOptions()
    pitch, lift = mount.pitch_rad, 1 / (mount.height_m * math.cos(mount.pitch_rad))
    by_pitch = np.array(
        [-fit.scale * math.tan(pitch), -fit.shift * math.tan(pitch) + lift]
    ) * sigma.pitch  # fmt: skip
    by_height = np.array([fit.scale, fit.shift]) * sigma.height
    return _covariance(np.outer(by_pitch, by_pitch) + np.outer(by_height, by_height))


def _line_covariance(cells: GroundCells, line: GroundLine) -> Covariance:
    """Return the covariance by the deviations of the floor's cells from their line.

    That of d on g with errors that are the same within a region and independent between them (the
    sandwich with clusters: White 1980, Liang and Zeger 1986), carried over to 1/Z of d.
    """
    at = line.on_floor
    ground = cells.ground[at].astype(np.float64)
    d = cells.d[at].astype(np.float64) * cells.spread + cells.far
    error = d - (ground - line.shift) / line.scale
    weight = 1 / cells.tolerance[at].astype(np.float64) ** 2
    design = np.stack([ground, np.ones_like(ground)])
    region = _regions(cells.d.shape)[at]
    pulls = np.stack([np.bincount(region, weight * error * row) for row in design])
    bread = np.linalg.inv((design * weight) @ design.T)
    # From d = g / scale - shift / scale to 1/Z = scale * d + shift.
    turned = np.array([[-line.scale, 0.0], [-line.shift, -1.0]]) * line.scale
    both = turned @ bread @ pulls
    return _covariance(FAR_REACHING * (both @ both.T))


def _covariance(matrix: np.ndarray) -> Covariance:
    return float(matrix[0, 0]), float(matrix[0, 1]), float(matrix[1, 1])


@functools.lru_cache(maxsize=8)
def _regions(shape: tuple[int, int]) -> np.ndarray:
    """The number of the region that each cell is in."""
    rows, columns = np.indices(shape)
    return rows // REGION * (shape[1] // REGION + 1) + columns // REGION


def floor_mask(d: np.ndarray, grid: Grid, mount: CameraMount, scale: ScaleShift) -> np.ndarray:
    """Return (h, w) bool: the pixels on the floor by this scale, to the tolerance of the fit."""
    return floor_of(scale.inverse_depth(d), mount.ground_inverse_depth(grid))


def floor_of(inverse: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: where 1/Z is that of the floor, `ground`, to the tolerance of the fit."""
    largest = largest_in_view(ground)
    tolerance = _tolerance(ground, largest)
    return (np.abs(inverse - ground) < tolerance) & (ground > NEAREST_TO_HORIZON * largest)


def _cells(d: np.ndarray, grid: Grid, mount: CameraMount) -> GroundCells:
    """Reduce to coarse cells, scaled to unit spread, with the floor's g in each."""
    valid = np.isfinite(d) & np.isfinite(grid[0])
    if valid.mean() < MIN_VALID:
        raise NoFloor(f'only {valid.mean():.0%} of the picture has a value')
    (coarse, x, y), known = reduced_with_grid(d, grid, valid, CELLS)
    seen = coarse[known]
    far, near = quantiles_of(seen, 0.02, 0.98)
    if not near - far > FLATTEST * float(np.abs(seen).max()):
        raise NoFloor('relative inverse depth is the same everywhere: dark, or nothing in view')
    coarse = (coarse - far) / (near - far)
    ground = mount.ground_inverse_depth((x, y))
    largest = largest_in_view(ground)
    floor_may_be = known & (ground > NEAREST_TO_HORIZON * largest) & (largest > 0)
    if floor_may_be.mean() < MIN_CANDIDATES:
        raise NoFloor(
            f'only {floor_may_be.mean():.0%} of the picture is below the horizon that camera '
            f'pitch {mount.pitch_rad:.3f} rad gives: too little to see the floor'
        )
    return GroundCells(
        d=coarse, ground=ground, known=known, candidate=floor_may_be, largest=largest,
        far=float(far), spread=float(near - far),
        tolerance=_tolerance(ground, largest),
    )  # fmt: skip


def largest_in_view(ground: np.ndarray) -> float:
    """Return the largest 1/Z of floor in view, less the outermost of a very wide lens; 0: none.

    ground: 1/Z, or what is in proportion to it; not above 0 where no floor can be.
    """
    below = ground[ground > 0]
    return min(float(below.max()), WIDE * median(below)) if below.size else 0.0


def _tolerance(ground: np.ndarray, largest: float) -> np.ndarray:
    """Return how far off `ground`, the floor's 1/Z, still is floor; 1/m."""
    kind = ground.dtype.type
    return np.maximum(ground * kind(TOLERANCE), kind(LEAST_TOLERANCE * largest))


@functools.lru_cache(maxsize=32)
def _pairs(count: int) -> np.ndarray:
    """(PAIRS, 2) indices below `count`, always the same."""
    return np.random.default_rng(0).integers(count, size=(PAIRS, 2))


def _best_hypothesis(cells: GroundCells) -> tuple[float, float]:
    """Return (scale, shift), in the cells' units, of the best line through two cells."""
    d, ground = cells.d[cells.candidate], cells.ground[cells.candidate]
    first, second = _pairs(d.size).T
    d0, d1, g0, g1 = d[first], d[second], ground[first], ground[second]
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = (g1 - g0) / (d1 - d0)
    possible = np.isfinite(scale) & (scale > 0) & (np.abs(g1 - g0) > LEVER * cells.largest)
    if not possible.any():
        raise NoFloor('nothing below the horizon comes nearer towards the bottom: no floor')
    scale = scale[possible].astype(np.float32)
    shift = g0[possible].astype(np.float32) - scale * d0[possible].astype(np.float32)
    weight = (1 / cells.tolerance[cells.candidate][::SCORED]).astype(np.float32)
    d_scored = d[::SCORED].astype(np.float32) * weight
    above = scale[:, None] * d_scored
    above += shift[:, None] * weight
    above -= ground[::SCORED].astype(np.float32) * weight
    closely = np.minimum(np.abs(above) * (1 / CLOSELY), 1).sum(axis=1)
    np.clip(above, -BEHIND_COST, 1, out=above)
    best = int(np.argmin(np.abs(above, out=above).sum(axis=1) + CLOSE_VOTE * closely))
    return float(scale[best]), float(shift[best])


def _refined(cells: GroundCells, start: tuple[float, float], least_fall: float) -> GroundLine:
    """Refine by iteratively reweighted least squares of d on g; before an edge, if the floor falls
    off there by this share or more.
    """
    d = cells.d[cells.candidate].astype(np.float64)
    ground = cells.ground[cells.candidate].astype(np.float64)
    tolerance = cells.tolerance[cells.candidate].astype(np.float64)
    steepness = _rise(cells)
    rise = steepness[cells.candidate]
    scale, shift = start
    off = (scale * d + shift - ground) / tolerance
    deviation = deviation_within(np.abs(off), 1.0, FINEST, COARSEST)
    for _ in range(REFITS):
        vote = tukey_votes(off, BIWEIGHT * deviation)
        vote[_too_steep(rise * scale)] = 0
        if vote.sum() < 8:
            break
        line = weighted_line(ground, d, vote / tolerance**2)
        if line is None or not line[0] > 0:
            raise NoFloor('nothing below the horizon comes nearer towards the bottom: no floor')
        slope, g_mean, d_mean = line
        scale, shift = 1 / slope, g_mean - d_mean / slope
        off = (scale * d + shift - ground) / tolerance
        deviation = deviation_within(np.abs(off), 1.0, FINEST, COARSEST)
    scale, shift = _smoothed(cells, scale, shift, steepness, BIWEIGHT * deviation)
    found = GroundLine(cells, scale, shift, steepness)
    possible = cells.candidate & (np.abs(found.off) < BENT)
    one_line = 1 / scale, -shift / scale
    drop = find_drop(cells.d, cells.ground, cells.tolerance, possible, one_line)
    if drop is None or drop.fall < least_fall:
        return found
    return GroundLine(cells, 1 / drop.slope, -drop.offset / drop.slope, steepness, drop)


def _smoothed(
    cells: GroundCells, scale: float, shift: float, rise: np.ndarray, reach: float
) -> tuple[float, float]:
    """Return the mean of a line and of that which takes errors as far-reaching.

    The first is best for errors that differ from cell to cell or come from what stands on the
    floor, the second for bumps of the whole floor. A network makes both.
    """
    off = (scale * cells.d + shift - cells.ground) / cells.tolerance
    votes = np.where(cells.candidate, tukey_votes(off, reach), 0)
    votes[_too_steep(rise * scale)] = 0
    line = far_reaching_line(cells.d, cells.ground, cells.tolerance, votes)
    if line is None or not line[0] > 0:
        return scale, shift
    slope = 0.5 * (1 / scale + line[0])
    offset = 0.5 * (line[1] - shift / scale)
    return 1 / slope, -offset / slope


def _too_steep(rise: np.ndarray) -> np.ndarray:
    """Where d rises too steeply, or too little, for a floor; NaN, at the edge of what is known, is
    not outside of anything.
    """
    return (rise < SLOPES[0]) | (rise > SLOPES[1])


def _rise(cells: GroundCells) -> np.ndarray:
    """How much d rises per 1/Z of the floor, towards where that grows; NaN beside unknown cells."""
    along = np.zeros(2 * RISE_OVER + 1)
    along[0], along[-1] = -1, 1
    across = np.ones(3)

    def gradient(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = values.astype(np.float64)
        return (
            cv2.sepFilter2D(values, -1, along, across, borderType=cv2.BORDER_REPLICATE),
            cv2.sepFilter2D(values, -1, across, along, borderType=cv2.BORDER_REPLICATE),
        )

    (g_right, g_down), (d_right, d_down) = gradient(cells.ground), gradient(cells.d)
    with np.errstate(divide='ignore', invalid='ignore'):
        steepness = g_right * g_right + g_down * g_down
        return np.asarray((d_right * g_right + d_down * g_down) / steepness)
