"""Scale and shift from the floor: how high and how tilted the camera is says what 1/Z it has.

For every pixel below the horizon the mount gives 1/Z of the floor there, g. On the floor d is a
line of g, d = (g - shift) / scale; what stands on the floor lies above that line, and hardly
anything lies below it. The line is found by deterministic RANSAC over coarse cells and refined
by reweighted least squares of d on g (g is exact, d is what has noise: the other way round the
scale would come out too small). `ground_gates` then judges it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    Grid,
    NoFloor,
    checked,
    reduced,
    robust_deviation,
    tukey_votes,
    weighted_line,
)
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.scale import Refusal, ScaleShift

# --- Whether a line of d over the floor's 1/Z can be believed to be the floor.
#
# A wall that a tilted camera sees, a ramp, a box front: each has a line too, as exact as the
# floor's. What gives them away is what the scale that follows says of everything else: nothing has
# a negative depth, and hardly anything lies behind the floor. A robot stops on "unknown", and
# drives into what is wrongly called far: so doubt means no.


@dataclasses.dataclass(frozen=True)
class GroundOptions:
    """Limits of `fit_ground_plane`; shares are 0 to 1, and of the picture unless said otherwise.

    tolerance: how far off the floor's 1/Z still is floor, as a share of it; tolerance_floor: but
    at least this share of the largest 1/Z of floor in view. nearest_to_horizon: floor with less
    1/Z, as a share of the largest, is not looked at. flattest: a smaller spread of d, as a share
    of the largest, is no picture. min_valid: of the picture has a value. min_candidates: of the
    picture is below the horizon. min_share, min_share_bottom: of what is below the horizon, and
    of its nearest quarter, that must be floor. min_spread: of 1/Z among the floor's pixels, as a
    share of the largest. max_residual: deviation of the floor's pixels, in tolerances.
    max_behind, max_behind_bottom, max_behind_feet: of what is below the horizon, of its nearest
    quarter and of its nearest twelfth, that may lie behind the floor: far off that may be a
    cliff, near by the "floor" is the top of something whose front is at the robot's feet.
    beyond, max_beyond, max_beyond_above: how much of the picture, and of what is above the
    horizon, may have 1/Z below minus `beyond` times the largest. min_horizon: of the picture must
    be above the horizon, 0 = it need not be in view; what one plane fills may be ramp or wall.
    """

    tolerance: float = 0.12
    tolerance_floor: float = 0.025
    nearest_to_horizon: float = 0.04
    min_valid: float = 0.5
    flattest: float = 1e-5
    min_candidates: float = 0.08
    min_share: float = 0.25
    min_share_bottom: float = 0.25
    min_spread: float = 0.2
    max_residual: float = 0.5
    max_behind: float = 0.6
    max_behind_bottom: float = 0.15
    max_behind_feet: float = 0.35
    beyond: float = 0.08
    max_beyond: float = 0.05
    max_beyond_above: float = 0.25
    min_horizon: float = 0.04

    def tolerance_of(self, ground: np.ndarray, largest: float) -> np.ndarray:
        """How far off `ground`, the floor's 1/Z, still is floor; 1/m."""
        return np.maximum(
            ground * ground.dtype.type(self.tolerance),
            ground.dtype.type(self.tolerance_floor * largest),
        )


@dataclasses.dataclass(frozen=True)
class GroundCells:
    """A coarse picture: (rows, columns) arrays.

    d: scaled so that its spread is about 0 to 1: the picture's own is d * spread + far. ground:
    1/Z of the floor, 1/m, `largest` the largest of it. tolerance: in 1/m. candidate: where floor
    could be seen.
    """

    d: np.ndarray
    ground: np.ndarray
    known: np.ndarray
    candidate: np.ndarray
    largest: float
    far: float
    spread: float
    tolerance: np.ndarray


@dataclasses.dataclass(frozen=True)
class GroundLine:
    """A fitted line: 1/Z = cell_scale * cells.d + cell_shift = scale * d + shift.

    off: of every cell from the floor in tolerances, positive = nearer; on_floor: the cells on it,
    `count` of them, `share` of the candidates. residual: their standard deviation, 1/m.
    """

    scale: float
    shift: float
    off: np.ndarray
    inverse_depth: np.ndarray
    on_floor: np.ndarray
    count: int
    share: float
    residual: float

    @classmethod
    def of(cls, cells: GroundCells, cell_scale: float, cell_shift: float) -> GroundLine:
        """The line with this scale and shift of `cells.d`."""
        inverse_depth = cells.d * cell_scale + cell_shift
        error = inverse_depth - cells.ground
        off = error / cells.tolerance
        on_floor = (np.abs(off) < 1) & cells.candidate
        count = int(on_floor.sum())
        scale = cell_scale / cells.spread
        return cls(
            scale=scale,
            shift=cell_shift - scale * cells.far,
            off=off,
            inverse_depth=inverse_depth,
            on_floor=on_floor,
            count=count,
            share=count / int(cells.candidate.sum()),
            residual=float(np.sqrt(np.mean(error[on_floor] ** 2))) if count else math.inf,
        )


def check(cells: GroundCells, line: GroundLine, options: GroundOptions) -> None:
    """Raise `NoFloor`, with the reason, unless `line` is credible."""
    _check_support(cells, line, options)
    _check_horizon(cells, line, options)


def _check_support(cells: GroundCells, line: GroundLine, options: GroundOptions) -> None:
    if line.share < options.min_share:
        raise NoFloor(
            f'only {line.share:.0%} of what is below the horizon lies on the floor, '
            f'{options.min_share:.0%} are needed'
        )
    ground = cells.ground[cells.candidate]
    nearest = cells.candidate & (cells.ground >= np.quantile(ground, 0.75))
    bottom = float(line.on_floor[nearest].mean())
    if bottom < options.min_share_bottom:
        raise NoFloor(f'only {bottom:.0%} of the nearest part of the picture is floor')
    feet = cells.candidate & (cells.ground >= np.quantile(ground, 11 / 12))
    step = float((line.off[nearest] < -1).mean())
    if step > options.max_behind_bottom or (line.off[feet] < -1).mean() > options.max_behind_feet:
        raise NoFloor(f'{step:.0%} of the nearest part of the picture would lie behind the floor')
    low, high = np.quantile(cells.ground[line.on_floor], (0.05, 0.95))
    if high - low < options.min_spread * cells.largest:
        raise NoFloor(
            f'the floor in view reaches only from {1 / high:.2f} to {1 / low:.2f} m: too little '
            'for a scale'
        )
    residual = float(np.sqrt(np.mean(line.off[line.on_floor] ** 2)))
    if residual > options.max_residual:
        raise NoFloor('what is below the horizon is too uneven for a floor')
    behind = float((line.off[cells.candidate] < -1).mean())
    if behind > options.max_behind:
        raise NoFloor(f'{behind:.0%} of what is below the horizon would lie behind the floor')


def _check_horizon(cells: GroundCells, line: GroundLine, options: GroundOptions) -> None:
    above = cells.ground[cells.known] < 0
    if above.mean() < options.min_horizon:
        raise NoFloor(
            'the horizon is not in view: floor, ramp and wall cannot be told apart; point the '
            'camera less far down'
        )
    beyond = line.inverse_depth[cells.known] < -options.beyond * cells.largest
    if beyond.mean() > options.max_beyond or (
        above.any() and beyond[above].mean() > options.max_beyond_above
    ):
        raise NoFloor(
            f'{beyond.mean():.0%} of the picture would lie beyond the horizon: a wall, a ramp, or '
            'the camera pitch is wrong'
        )


CELLS = 64 * 48
PAIRS = 192  # hypotheses
SCORED = 3  # every so many-th candidate has a say in choosing among hypotheses
LEVER = 0.12  # of the largest g: cells of a pair are at least so different
BEHIND_COST = 2.0  # a cell behind the floor costs up to so much, one before it up to 1
CLOSELY = 0.12  # of the tolerance: a line that some cells fit so closely beats a compromise
CLOSE_VOTE = 2.0  # between the floor before a cliff and the one below it
REFITS = 6
WIDE = 3.0  # times the median 1/Z of floor: beyond, a lens looks almost straight down
FINEST, COARSEST = 0.05, 0.43  # of the tolerance: the deviation is believed to be between


def fit_ground_plane(
    d: np.ndarray, grid: Grid, mount: CameraMount, *, options: GroundOptions | None = None
) -> ScaleShift | Refusal:
    """Scale and shift of relative inverse depth from the floor in it, or why there are none.

    d: (h, w) float32 or float64, 16x16 or more, larger = nearer; what is not finite is ignored.
    grid: `CameraModel.normalised_grid(w, h)`, NaN where the lens is blind. Deterministic.
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    options = options or GroundOptions()
    d = checked(d, grid)
    try:
        cells = _cells(d, grid, mount, options)
        line = _refined(cells, _best_hypothesis(cells))
        check(cells, line, options)
    except NoFloor as none:
        return Refusal(str(none))
    return ScaleShift(
        scale=line.scale,
        shift=line.shift,
        source='ground',
        inlier_share=line.share,
        residual=line.residual,
        points=round(line.count * d.size / cells.d.size),
    )


def floor_mask(
    d: np.ndarray,
    grid: Grid,
    mount: CameraMount,
    scale: ScaleShift,
    *,
    options: GroundOptions | None = None,
) -> np.ndarray:
    """(h, w) bool: the pixels that lie on the floor by this scale, to the tolerance of the fit."""
    options = options or GroundOptions()
    ground = mount.ground_inverse_depth(grid)
    largest = _largest(ground)
    tolerance = options.tolerance_of(ground, largest)
    off = np.abs(scale.inverse_depth(d) - ground)
    return (off < tolerance) & (ground > options.nearest_to_horizon * largest)


def _cells(d: np.ndarray, grid: Grid, mount: CameraMount, options: GroundOptions) -> GroundCells:
    """The picture reduced to coarse cells, scaled to unit spread, with the floor's g in each."""
    valid = np.isfinite(d) & np.isfinite(grid[0])
    if valid.mean() < options.min_valid:
        raise NoFloor(f'only {valid.mean():.0%} of the picture has a value')
    (coarse, x, y), known = reduced((d, *grid), valid, CELLS)
    far, near = np.percentile(coarse[known], (2.0, 98.0))
    if not near - far > options.flattest * float(np.abs(coarse[known]).max()):
        raise NoFloor('relative inverse depth is the same everywhere: darkness, or nothing in view')
    coarse = (coarse - far) / (near - far)
    ground = mount.ground_inverse_depth((x, y))
    largest = _largest(ground)
    floor_may_be = known & (ground > options.nearest_to_horizon * largest) & (largest > 0)
    if floor_may_be.mean() < options.min_candidates:
        raise NoFloor(
            f'only {floor_may_be.mean():.0%} of the picture is below the horizon that camera '
            f'pitch {mount.pitch_rad:.3f} rad gives: too little to see the floor'
        )
    return GroundCells(
        d=coarse, ground=ground, known=known, candidate=floor_may_be, largest=largest,
        far=float(far), spread=float(near - far),
        tolerance=options.tolerance_of(ground, largest),
    )  # fmt: skip


def _largest(ground: np.ndarray) -> float:
    """The largest 1/Z of floor in view, but for the outermost of a very wide lens; 0: none."""
    below = ground[ground > 0]
    return min(float(below.max()), WIDE * float(np.median(below))) if below.size else 0.0


@functools.lru_cache(maxsize=32)
def _pairs(count: int) -> np.ndarray:
    """(PAIRS, 2) indices below `count`, always the same."""
    return np.random.default_rng(0).integers(count, size=(PAIRS, 2))


def _best_hypothesis(cells: GroundCells) -> tuple[float, float]:
    """(scale, shift), in the cells' units, of the line through two cells that explains most."""
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


def _refined(cells: GroundCells, start: tuple[float, float]) -> GroundLine:
    """Iteratively reweighted least squares of d on g."""
    d = cells.d[cells.candidate].astype(np.float64)
    ground = cells.ground[cells.candidate].astype(np.float64)
    tolerance = cells.tolerance[cells.candidate].astype(np.float64)
    scale, shift = start
    off = (scale * d + shift - ground) / tolerance
    deviation = _deviation(np.abs(off))
    for _ in range(REFITS):
        vote = tukey_votes(off, BIWEIGHT * deviation)
        if vote.sum() < 8:
            break
        line = weighted_line(ground, d, vote / tolerance**2)
        if line is None or not line[0] > 0:
            raise NoFloor('nothing below the horizon comes nearer towards the bottom: no floor')
        slope, g_mean, d_mean = line
        scale, shift = 1 / slope, g_mean - d_mean / slope
        off = (scale * d + shift - ground) / tolerance
        deviation = _deviation(np.abs(off))
    return GroundLine.of(cells, scale, shift)


def _deviation(off: np.ndarray) -> float:
    """Robust standard deviation of what is within the tolerance, in tolerances."""
    near = off[off < 1]
    return min(max(robust_deviation(near), FINEST), COARSEST) if near.size else COARSEST
