"""Whether a plane in the lower half of a picture can be believed to be the floor.

A wall, a box front, a ceiling, noise: each has something that fits a plane. What comes in is the
fitted plane and the coarse picture; what comes out is nothing, or `NoFloor` with the reason. A
robot stops on "unknown", and drives into what is wrongly called far: so doubt means no.
"""

from __future__ import annotations

import math

import numpy as np

from midas_depth_ros.geometry.errors import NoFloor
from midas_depth_ros.geometry.relative_floor import MAX_ROLL_RAD, MIN_RISE, Cells, RelativeFloor

MIN_SHARE = 0.25  # of the lower half of the picture lies on the floor
MIN_SHARE_BOTTOM = 0.2  # of its bottom quarter: a floor begins at the camera's feet
MAX_DEVIATION = 0.5  # of the tolerance; values strewn evenly, not gathered on a plane, have 0.58
MAX_BEHIND = 0.12  # of what lies on the floor: nothing is farther away than the floor
TOP = 0.15  # the rows at the top of the picture, as a share of all
MAX_SHARE_TOP = 0.6  # how much of them may go on as floor
MIN_PAST_HORIZON = 0.5  # how much of them must be past the horizon, else they tell nothing
OVERHANG, MAX_OVERHANG = 0.1, 0.5  # nearer than the bottom, by this share of the rise; columns


def check_floor(cells: Cells, floor: RelativeFloor, horizon_y: float = math.inf) -> None:
    """Raise `NoFloor` unless `floor`, fitted to `cells`, is credible.

    horizon_y: image coordinate of the horizon at x = 0, where it is known: a floor may go on up
    to there.
    """
    _check_slope(floor)
    _check_support(cells.lower, floor)
    _check_end(cells, floor, horizon_y)
    _check_overhang(cells, floor)


def _check_slope(floor: RelativeFloor) -> None:
    if floor.rise < MIN_RISE:
        raise NoFloor('the lower half of the picture hardly comes nearer towards its bottom')
    if abs(floor.roll_rad) > MAX_ROLL_RAD:
        raise NoFloor(
            f'the plane in the lower half of the picture is tilted '
            f'{math.degrees(floor.roll_rad):.0f} degrees sideways: a wall'
        )


def _check_support(lower: Cells, floor: RelativeFloor) -> None:
    """Enough lies on the plane, gathered there, down to the bottom, and little behind it."""
    if floor.share < MIN_SHARE:
        raise NoFloor(
            f'only {floor.share:.0%} of the lower half of the picture lies on one floor, '
            f'{MIN_SHARE:.0%} are needed'
        )
    if floor.deviation > MAX_DEVIATION * floor.tolerance:
        raise NoFloor('the lower half of the picture is too uneven for a floor')
    above = lower.d - floor.at(lower.x, lower.y)
    bottom = above[len(above) // 2 :]
    share = float((np.abs(bottom) < floor.tolerance).mean())
    if share < MIN_SHARE_BOTTOM:
        raise NoFloor(f'only {share:.0%} of the bottom of the picture is floor')
    behind = float((above < -floor.tolerance).mean())
    if behind > MAX_BEHIND * floor.share:
        raise NoFloor(f'{behind:.0%} of the lower half of the picture lies behind its floor')


def _check_end(cells: Cells, floor: RelativeFloor, horizon_y: float) -> None:
    """A plane that goes on to the top of the picture, and past the horizon, may be a wall."""
    top = slice(0, max(1, round(TOP * len(cells.d))))
    past_horizon = cells.y[top] < horizon_y  # false where nothing is known
    if past_horizon.mean() < MIN_PAST_HORIZON:
        return
    off = np.abs(cells.d[top] - floor.at(cells.x[top], cells.y[top]))[past_horizon]
    if float((off < floor.tolerance).mean()) > MAX_SHARE_TOP:
        raise NoFloor('one plane fills the picture: floor and wall cannot be told apart')


def _check_overhang(cells: Cells, floor: RelativeFloor) -> None:
    """What stands on the floor nearer than its bottom edge hides that edge.

    Where most columns show floor at the bottom and something nearer above it, the "floor" is
    the lower part of a ball, or a wall under a ceiling.
    """
    feet = slice(-max(1, round(0.5 * TOP * len(cells.d))), None)
    above = cells.d - floor.at(cells.x, cells.y)
    on_floor = (np.abs(above[feet]) < floor.tolerance).any(axis=0)
    edge = np.max(floor.at(cells.x[feet], cells.y[feet]), axis=0)
    nearer = (cells.d > edge + OVERHANG * floor.rise).any(axis=0)
    share = float((on_floor & nearer).mean())
    if share > MAX_OVERHANG:
        raise NoFloor(f'over {share:.0%} of the floor hangs something nearer: this is no floor')
