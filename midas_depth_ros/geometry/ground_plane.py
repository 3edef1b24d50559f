"""Scale and shift from the floor: how high and how tilted the camera is says what 1/Z it has.

For every pixel below the horizon the mount gives 1/Z of the floor there, g. On the floor d is a
line of g, d = (g - shift) / scale; what stands on the floor lies above that line, and hardly
anything lies below it. The line is found by deterministic RANSAC over coarse cells and refined
by reweighted least squares of d on g (g is exact, d is what has noise: the other way round the
scale would come out too small). `ground_gates` then judges it.
"""

from __future__ import annotations

import functools

import numpy as np

from midas_depth_ros.geometry.errors import NoFloor
from midas_depth_ros.geometry.ground_gates import GroundCells, GroundLine, GroundOptions, check
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.pictures import Grid, checked, reduced
from midas_depth_ros.geometry.scale import Refusal, ScaleShift

CELLS = 64 * 48
PAIRS = 192  # hypotheses
SCORED = 3  # every so many-th candidate has a say in choosing among hypotheses
LEVER = 0.12  # of the largest g: cells of a pair are at least so different
BEHIND_COST = 2.0  # a cell behind the floor costs up to so much, one before it up to 1
CLOSELY = 0.12  # of the tolerance: a line that some cells fit so closely beats a compromise
CLOSE_VOTE = 2.0  # between the floor before a cliff and the one below it
REFITS = 6
WIDE = 3.0  # times the median 1/Z of floor: beyond, a lens looks almost straight down
BIWEIGHT = 4.7  # Tukey's constant: where a residual loses its vote, in deviations
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
    """Reweighted least squares of d on g; votes fade smoothly, so rounding cannot tip it."""
    d = cells.d[cells.candidate].astype(np.float64)
    ground = cells.ground[cells.candidate].astype(np.float64)
    tolerance = cells.tolerance[cells.candidate].astype(np.float64)
    scale, shift = start
    off = (scale * d + shift - ground) / tolerance
    deviation = _deviation(np.abs(off))
    for _ in range(REFITS):
        vote = np.maximum(1 - (off / (BIWEIGHT * deviation)) ** 2, 0) ** 2
        if vote.sum() < 8:
            break
        weight = vote / tolerance**2
        total = weight.sum()
        g_mean, d_mean = (weight @ ground) / total, (weight @ d) / total
        centred = ground - g_mean
        scatter = float(weight @ (centred * centred))
        slope = float(weight @ (centred * (d - d_mean))) / scatter if scatter > 0 else 0.0
        if not slope > 0:
            raise NoFloor('nothing below the horizon comes nearer towards the bottom: no floor')
        scale, shift = float(1 / slope), float(g_mean - d_mean / slope)
        off = (scale * d + shift - ground) / tolerance
        deviation = _deviation(np.abs(off))
    return GroundLine.of(cells, scale, shift)


def _deviation(off: np.ndarray) -> float:
    """Robust standard deviation of what is within the tolerance, in tolerances."""
    near = off[off < 1]
    middle = 1.4826 * float(np.median(near)) if near.size else 1.0
    return float(np.clip(middle, FINEST, COARSEST))
