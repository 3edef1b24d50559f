"""Whether a line of d over the floor's 1/Z can be believed to be the floor.

A wall that a tilted camera sees, a ramp, a box front: each has a line too, as exact as the
floor's. What gives them away is what the scale that follows says of everything else: nothing has
a negative depth, and hardly anything lies behind the floor. A robot stops on "unknown", and
drives into what is wrongly called far: so doubt means no.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.errors import NoFloor


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
