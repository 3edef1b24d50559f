"""Two views of one camera whose motion is about known: the motion corrected, and depth by it.

Only the length of the way is taken from outside as it is. Its direction and the turn are corrected
by the pictures, with what odometry says of them as a prior: a camera that is pitched otherwise than
configured, or a stamp that is a few milliseconds late in a turn, would spoil every depth.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    inverted,
    robust_deviation,
    solved,
    tukey_votes,
)

ITERATIONS = 4
LEAST_PX, MOST_PX = 0.12, 1.0  # limits of the deviation of a point from its epipolar line
STEP_RAD = 1e-4  # of numeric slopes
ALIKE = 10.0  # corners that err like one: neighbours are blurred and lit alike
FIRST_PX = 8.0  # its upper limit at first, a third in each iteration
FOCAL_SIGMA = 0.2  # of the logarithm of the focal length
DIRECTION_SIGMA_RAD, PLACE_SIGMA_M = math.radians(3.0), 0.003


@dataclasses.dataclass(frozen=True)
class ViewPair:
    """The motion between an earlier view and this one, corrected by the pictures.

    rotation (3, 3), way (3,): x here = rotation @ x there + way, metres. turned (3,): the
    correction of the turn, rad. aside (2,): that of the direction, rad, along `across` (2, 3).
    votes (n,): 0 to 1, of the points. deviation_px: theirs from the epipolar lines.
    turn_sigma_rad: what odometry is believed of the turn. Of turn and direction: information
    (5, 5) and pull (5,) by the pictures, prior (5,) by odometry, covariance (5, 5) by both.
    """

    rotation: np.ndarray
    way: np.ndarray
    turned: np.ndarray
    aside: np.ndarray
    across: np.ndarray
    votes: np.ndarray
    deviation_px: float
    turn_sigma_rad: float
    information: np.ndarray
    pull: np.ndarray
    prior: np.ndarray
    covariance: np.ndarray


def corrected_motion(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, motion: np.ndarray,
    turn_sigma_rad: float, focal_px: float, direction_sigma_rad: float = DIRECTION_SIGMA_RAD,
) -> ViewPair:  # fmt: skip
    """Return the motion that fits the pictures, near the one given.

    there, here: (n, 3) rays (x', y', 1) of the same points. certainty: (n, 3), as of
    `PointTracks`. motion: (4, 4), x here = motion @ x there, with a way of more than 0 m.
    direction_sigma_rad: how far its direction may be off. Least squares of the distances from
    epipolar lines (Sampson), with Tukey's weights.
    """
    rotation, way = motion[:3, :3].copy(), motion[:3, 3]
    length = float(np.linalg.norm(way))
    direction = first = way / length
    direction_sigma = math.hypot(direction_sigma_rad, PLACE_SIGMA_M / length)
    across = tangents(first)
    prior = np.array([turn_sigma_rad] * 3 + [direction_sigma] * 2) ** -2.0
    change = np.zeros(5)
    views = _Views(there.T, here.T, _inverse(certainty))
    for iteration in range(ITERATIONS):
        off, slope = _lines(views, rotation, direction, focal_px, across)
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        votes = tukey_votes(off, BIWEIGHT * deviation)
        weighted = slope * (votes / (ALIKE * deviation**2))
        information = weighted @ slope.T
        pull = -weighted @ off
        step = solved(information + np.diag(prior), pull - prior * change)
        change = change + step
        rotation = cv2.Rodrigues(step[:3])[0] @ rotation
        direction = first + change[3:] @ across
        direction = direction / np.linalg.norm(direction)
    return ViewPair(
        rotation, length * direction, change[:3], change[3:], across, votes, deviation,
        turn_sigma_rad, information, pull, prior, inverted(information + np.diag(prior)),
    )  # fmt: skip


def direction_by_pictures(pair: ViewPair) -> tuple[np.ndarray, np.ndarray]:
    """Return what the pictures alone say of the direction along `across`, (2,) rad, and the
    information (2, 2) in this: the turn is eliminated, with its prior.
    """
    told, pull = ALIKE * pair.information, ALIKE * pair.pull
    turned = told[:3, :3] + np.diag(pair.prior[:3])
    mixed = solved(turned, np.column_stack([told[:3, 3:], pull[:3]]))
    of_direction = told[3:, 3:] - told[3:, :3] @ mixed[:, :2]
    to = pull[3:] - told[3:, :3] @ mixed[:, 2]
    return pair.aside + np.linalg.lstsq(of_direction, to, rcond=1e-9)[0], of_direction


def tangents(direction: np.ndarray) -> np.ndarray:
    """Return two unit vectors (2, 3) at right angles to a unit vector (3,) and each other."""
    x, y, z = direction.tolist()
    sign = math.copysign(1.0, z)
    a = -1 / (sign + z)  # Duff et al. 2017: no case is near a pole
    b = x * y * a
    return np.array([[1 + sign * x * x * a, sign * b, -sign * x], [b, sign + y * y * a, -y]])


def _inverse(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverses of n symmetric matrices (n, 3), xx, xy and yy: these, (n,) each."""
    xx, xy, yy = symmetric.T
    size = xx * yy - xy * xy
    return yy / size, -xy / size, xx / size


class _Views:
    """Rays of the same points in two views, (3, n) each, and the covariances of their places.

    products: (9, n), what an essential matrix is multiplied by, row by row, for here . (E there).
    """

    def __init__(self, there: np.ndarray, here: np.ndarray, spread: tuple[np.ndarray, ...]) -> None:
        self.products = (here[:, None] * there).reshape(9, -1)
        self.both = np.concatenate([there, here])
        self.xx, self.xy, self.yy = spread[0], 2 * spread[1], spread[2]


def _lines(
    views: _Views, rotation: np.ndarray, direction: np.ndarray, focal_px: float,
    across: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Distances (n,) from epipolar lines, in pixels of a good corner, and their slopes (5, n) by
    small turns about three axes and by the direction along `across` (2, 3).
    """
    beside = np.concatenate([direction[None], across]) @ _TURNS.reshape(3, 9)
    beside = beside.reshape(3, 3, 3)
    # The essential matrix, and its slopes.
    matrices = np.concatenate([beside[:1], beside[0] @ _TURNS, beside[1:]]) @ rotation
    lines = np.zeros((4, 6))
    lines[:2, :3], lines[2:, 3:] = matrices[0, :2], matrices[0].T[:2]
    squares = lines @ views.both  # coefficients x and y of the lines here, and there
    x, y = squares[:2]
    product = x * y
    np.multiply(squares, squares, out=squares)
    size = np.maximum(squares[0] + squares[1], 1e-18)
    # The variance across the line, of the place here and of the one there, which is alike.
    variance = squares[0] * views.xx + product * views.xy + squares[1] * views.yy
    variance *= 1 + (squares[2] + squares[3]) / size
    values = matrices.reshape(6, 9) @ views.products
    values *= focal_px / np.sqrt(np.maximum(variance, 1e-18))
    return values[0], values[1:]


def _skew(vector: np.ndarray) -> np.ndarray:
    """Return the matrix M with M @ other = vector x other, and other @ M = other x vector."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


_TURNS = np.stack([_skew(axis) for axis in np.eye(3)])


def focal_change(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, motion: np.ndarray,
    turn_sigma_rad: float, focal_px: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the change of the logarithm of the focal length that fits the pictures best, and the
    variance of this, inf where they say nothing.

    The turn is that of `motion`, its direction is free. Turn and focal length could be fitted
    together, but a lens that is not quite as calibrated would tell them apart wrongly. What a wrong
    turn does is in the variance: the more, the less it is turned, and the longer the way is.
    """
    rotation, way = motion[:3, :3], motion[:3, 3]
    length = float(np.linalg.norm(way))
    first = direction = way / length
    across, spread = tangents(first), _inverse(certainty)
    there, here = there.T, here.T
    sigma = math.hypot(DIRECTION_SIGMA_RAD, PLACE_SIGMA_M / length)
    prior = np.diag(np.array([sigma, sigma, FOCAL_SIGMA]) ** -2.0)
    change = np.zeros(3)
    for iteration in range(ITERATIONS + 1):
        views, wider = _narrowed(there, here, spread, change[2])
        off, by_motion = _lines(views, rotation, direction, wider * focal_px, across)
        beside, wider = _narrowed(there, here, spread, change[2] + STEP_RAD)
        off_beside, _ = _lines(beside, rotation, direction, wider * focal_px, across)
        slope = np.concatenate([by_motion[3:], (off_beside - off)[None] / STEP_RAD])
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        weighted = slope * (tukey_votes(off, BIWEIGHT * deviation) / (ALIKE * deviation**2))
        information = weighted @ slope.T
        step = solved(information + prior, -weighted @ off - prior @ change)
        change = np.clip(change + step, -0.4, 0.4)
        direction = first + change[:2] @ across
        direction = direction / np.linalg.norm(direction)
    covariance = inverted(information + prior)
    certain = 1 / covariance[2, 2] - FOCAL_SIGMA**-2.0  # what the pictures add to the prior
    if not certain > 0:
        return 0.0, math.inf
    more = 1 + FOCAL_SIGMA**-2.0 / certain  # by which the prior has made the change smaller
    of_turn = more * turn_sigma_rad * (covariance[2] @ (weighted @ by_motion[:3].T))
    return float(change[2]) * more, 1 / certain + float(of_turn @ of_turn)


def _narrowed(
    there: np.ndarray, here: np.ndarray, spread: tuple[np.ndarray, ...], change: float
) -> tuple[_Views, float]:
    """The views with a focal length whose logarithm is larger by `change`, and its factor."""
    wider = math.exp(change)
    scaled = np.array([[1 / wider], [1 / wider], [1.0]])
    return _Views(there * scaled, here * scaled, spread), wider


def inverse_depths(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, pair: ViewPair,
    focal_px: float,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Return 1/Z (n,) in this view and its standard deviation, 1/m, of points in both; and by
    which share all of them may be off together (1 sigma), as the motion is uncertain.

    A point that the motion does not move (at the focus of expansion) has an infinite deviation.
    """
    # As it is, turned a little about each axis, and with each other direction.
    rotations, ways = np.stack([pair.rotation] * 6), np.stack([pair.way] * 6)
    rotations[1:4] += STEP_RAD * _TURNS @ pair.rotation
    ways[4:] += float(np.linalg.norm(pair.way)) * STEP_RAD * pair.across
    moved, squared, along = _along_lines(there.T, here.T, certainty.T, rotations, ways)
    inverse = moved[0]
    sigma = math.sqrt(2.0) * pair.deviation_px / focal_px * along / np.sqrt(squared)
    weight = pair.votes / sigma**2
    total = float(weight @ np.abs(inverse))
    if not total > 0:
        return inverse, sigma, math.inf
    slope = (moved[1:] - inverse) @ weight / (STEP_RAD * total)
    return inverse, sigma, math.sqrt(float(slope @ pair.covariance @ slope))


def _along_lines(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, rotations: np.ndarray,
    ways: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """1/Z by some motions (m, 3, 3) and (m, 3), (m, n). By the first of them: the squared lengths
    that it moves a point by per 1/Z, and depth there by depth here, 0.2 to 5; (n,) both.
    """
    back = rotations.swapaxes(1, 2) @ here  # the rays in the axes of the other view
    way = (ways[:, None] @ rotations)[:, 0, :, None]
    lever_x, lever_y = way[:, 0] - there[0] * way[:, 2], way[:, 1] - there[1] * way[:, 2]
    off_x, off_y = back[:, 0] - there[0] * back[:, 2], back[:, 1] - there[1] * back[:, 2]
    xx, xy, yy = certainty
    one, two = xx * lever_x + xy * lever_y, xy * lever_x + yy * lever_y
    squared = np.maximum(one * lever_x + two * lever_y, 1e-18)
    inverse = (one * off_x + two * off_y) / squared
    return inverse, squared[0], np.clip(back[0, 2] - inverse[0] * way[0, 2], 0.2, 5.0)


__all__ = [
    'ViewPair',
    'corrected_motion',
    'direction_by_pictures',
    'focal_change',
    'inverse_depths',
    'tangents',
]
