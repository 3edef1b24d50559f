"""Where the floor in view falls off: a kerb, an edge of stairs, with lower floor beyond it.

Scale and shift of relative inverse depth are free, so one line fits a floor and a lower one behind
it not badly: it goes between both, within what a network may be off by. But at the edge d falls at
once, over the whole width, as smooth errors do not. In: coarse cells that could be floor. Out: the
line of what is nearer than the edge, and how much lower the rest is, where such a fall is certain.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.far_reaching import correlated, smooth_deviation
from midas_depth_ros.geometry.fitting import BIWEIGHT, PER_MEDIAN, tukey_votes

# Edges that are tried: this many, between these quantiles of the floor's 1/Z in view. A cell that
# is so near to one, as a share, may be on either side and has no vote.
EDGES, FROM, TO, BESIDE = 9, 0.15, 0.85, 0.03
FINEST, COARSEST = 0.05, 0.6  # limits of the deviation, of the tolerance
LEAST_CELLS, STEP = 10, 2  # on either side; between cells that count
# Lower floor has less 1/Z, by the share drop / (camera height + drop). From which share on that is
# a drop, round by round; how many deviations make it certain; how uncertain it is at least, and how
# much of the tolerance cells are off together at least.
LEAST_FALLS = (0.04, 0.07, 0.1, 0.1)
SIGMAS, LEAST_SIGMA, LEAST_SMOOTH = 5.0, 0.01, 0.02
HALF = 0.5  # of the fall: what is lower by more than this is lower floor, the rest is not


@dataclasses.dataclass(frozen=True)
class FloorDrop:
    """d = slope * ground + offset before the edge. What is beyond it has `ground` below `edge` (in
    1/m, from which on it may have), and 1/Z that is less than `ground` by the share `fall`.
    """

    slope: float
    offset: float
    edge: float
    fall: float


def find_drop(
    d: np.ndarray, ground: np.ndarray, tolerance: np.ndarray, possible: np.ndarray,
    one_line: tuple[float, float],
) -> FloorDrop | None:  # fmt: skip
    """Return where a floor in view falls off, None where that is not certain.

    d, ground, tolerance: (rows, columns), relative inverse depth, 1/Z of the floor and how far it
    may be off that, 1/m. possible: bool, the cells that may be floor. one_line: slope and offset of
    d = slope * ground + offset without an edge. Two lines have to fit better than that, as they do
    not to a floor and the foot of a wall. Robust least squares of
    d = slope * ground * (1 - fall) + offset, fall = 0 before the edge.
    """
    at = np.flatnonzero(possible)[::STEP]
    if at.size < 4 * LEAST_CELLS:
        return None
    g, v, allowed = (each.ravel()[at].astype(np.float64) for each in (ground, d, tolerance))
    steps = np.sort(g)[np.linspace(FROM * (g.size - 1), TO * (g.size - 1), EDGES + 1).astype(int)]
    edges = steps[:-1, None]
    beyond, apart = g < edges, np.abs(g - edges) >= BESIDE * edges
    votes = apart.astype(np.float64)
    products = np.stack([np.ones_like(g), g, g * g, v, g * v], axis=1) / allowed[:, None] ** 2
    for least in LEAST_FALLS:
        there = votes * beyond
        few = np.minimum(there.sum(axis=1), (votes - there).sum(axis=1)) < LEAST_CELLS
        try:
            inverse, pull = _inverse_normal(votes @ products, there @ products, few)
        except np.linalg.LinAlgError:
            return None  # all of it is at one distance
        slope, offset, less = (inverse @ pull).swapaxes(0, 1)
        # Where a few values of 1/Z do not tell all three, rounding may leave a variance below 0.
        variance = inverse[:, 2, 2]
        falls = ~few & (slope[:, 0] > 0) & (less > least * slope)[:, 0] & (variance > 0)
        if not falls.any():
            return None
        slope = np.where(falls[:, None], slope, 1.0)
        off = (v - offset - g * (slope - less * beyond)) / (slope * allowed)
        deviation = PER_MEDIAN * np.median(np.abs(off), axis=1, keepdims=True)
        deviation = np.clip(deviation, FINEST, COARSEST)
        votes = tukey_votes(off / deviation, BIWEIGHT) * apart
    certain = less[:, 0] / (deviation[:, 0] * np.sqrt(np.where(falls, variance, 1.0)))
    best = int(np.argmax(np.where(falls, certain, 0.0)))
    off_one = np.median(np.abs(v - one_line[0] * g - one_line[1]) / allowed)
    if not np.median(np.abs(off[best])) * slope[best, 0] < off_one:
        return None
    fall = float(less[best, 0] / slope[best, 0])
    columns = np.stack([g, np.ones_like(g), -g * beyond[best]])
    pulls = (inverse[best, 2] @ columns) * votes[best] / allowed
    if fall < SIGMAS * _sigma(possible.shape, at, pulls, off[best], votes[best]):
        return None
    return FloorDrop(float(slope[best, 0]), float(offset[best, 0]), float(steps[best + 1]), fall)


def beyond_drop(
    error: np.ndarray, ground: np.ndarray, floor_drop: tuple[float, float]
) -> np.ndarray:
    """Return bool, in the shape of `ground`: what lies beyond the edge, and lower.

    error: 1/Z less that of the floor, `ground`, 1/m. floor_drop: `ScaleShift.floor_drop`.
    """
    edge, fall = floor_drop
    return np.asarray((ground < edge) & (error < -HALF * fall * ground))


def _inverse_normal(
    everywhere: np.ndarray, there: np.ndarray, few: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse normal matrices (m, 3, 3) and right sides (m, 3, 1) of slope, offset and what the
    slope is less by beyond each edge; of identity where there are few cells.

    everywhere, there: (m, 5) weighted sums of 1, g, g g, d and g d, of all cells and beyond.
    """
    ones, g, gg, v, gv = everywhere.T
    _, far_g, far_gg, _, far_gv = there.T
    rows = [[gg, g, -far_gg], [g, ones, -far_g], [-far_gg, -far_g, far_gg]]
    normal = np.array(rows).transpose(2, 0, 1)
    normal[few] = np.eye(3)
    return np.linalg.inv(normal), np.stack([gv, v, -far_gv], axis=1)[:, :, None]


def _sigma(
    shape: tuple[int, ...], at: np.ndarray, pulls: np.ndarray, off: np.ndarray, votes: np.ndarray
) -> float:
    """The standard deviation of the fall: neighbours err alike (the sandwich formula).

    pulls: by how much one tolerance at each cell changes the fall; off: in tolerances.
    """
    by_cell, errors, counts = np.zeros((3, math.prod(shape)))
    by_cell[at], errors[at], counts[at] = pulls, off, votes > 0.1
    by_cell, errors = by_cell.reshape(shape), errors.reshape(shape)
    variance = float((by_cell * correlated(by_cell)).sum())
    smooth = max(smooth_deviation(errors, counts.reshape(shape) > 0), LEAST_SMOOTH)
    return math.hypot(math.sqrt(max(variance, 0.0)) * smooth, LEAST_SIGMA)


__all__ = ['FloorDrop', 'beyond_drop', 'find_drop']
