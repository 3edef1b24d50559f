"""Two views of one camera whose motion is about known: the motion corrected, and depth by it.

Only the length of the way is taken from outside as it is. Its direction and the turn are corrected
by the pictures, with what odometry says of them as a prior: a camera that is pitched otherwise than
configured, or a stamp that is a few milliseconds late in a turn, would spoil every depth.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import cv2
import numpy as np

from midas_depth_ros.geometry.fitting import BIWEIGHT, robust_deviation, tukey_votes

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
    direction_information (2, 2), direction_by_pictures (2,): what the pictures alone say of the
    latter. votes (n,): 0 to 1, of the points. deviation_px: theirs from the epipolar lines.
    turn_sigma_rad: what odometry is believed of the
    turn. covariance (5, 5): of turn and direction after the correction.
    """

    rotation: np.ndarray
    way: np.ndarray
    turned: np.ndarray
    aside: np.ndarray
    across: np.ndarray
    direction_information: np.ndarray
    direction_by_pictures: np.ndarray
    votes: np.ndarray
    deviation_px: float
    turn_sigma_rad: float
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
        lines = _lines(views, rotation, direction, focal_px)
        off, slope = lines.off, _by_motion(views, lines, direction, across)
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        votes = tukey_votes(off, BIWEIGHT * deviation)
        weighted = slope * (votes / (ALIKE * deviation**2))
        information = weighted @ slope.T
        pull = -weighted @ off
        step = np.linalg.solve(information + np.diag(prior), pull - prior * change)
        change = change + step
        rotation = cv2.Rodrigues(step[:3])[0] @ rotation
        direction = first + change[3:] @ across
        direction = direction / np.linalg.norm(direction)
    # What the pictures alone say of the direction: the turn is eliminated, with its prior.
    told, pull = ALIKE * information, ALIKE * pull
    turned = told[:3, :3] + np.diag(prior[:3])
    mixed = np.linalg.solve(turned, np.column_stack([told[:3, 3:], pull[:3]]))
    of_direction = told[3:, 3:] - told[3:, :3] @ mixed[:, :2]
    to = pull[3:] - told[3:, :3] @ mixed[:, 2]
    by_pictures = change[3:] + np.linalg.lstsq(of_direction, to, rcond=1e-9)[0]
    return ViewPair(
        rotation, length * direction, change[:3], change[3:], across, of_direction, by_pictures,
        votes, deviation, turn_sigma_rad,
        np.linalg.inv(information + np.diag(prior)),
    )  # fmt: skip


def tangents(direction: np.ndarray) -> np.ndarray:
    """Return two unit vectors (2, 3) at right angles to a unit vector (3,) and each other."""
    least = np.zeros(3)
    least[int(np.argmin(np.abs(direction)))] = 1.0
    beside = _skew(direction)
    one = beside @ least
    one /= np.linalg.norm(one)
    return np.stack([one, beside @ one])


def _inverse(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverses of n symmetric matrices (n, 3), xx, xy and yy: these, (n,) each."""
    xx, xy, yy = symmetric.T
    size = xx * yy - xy * xy
    return yy / size, -xy / size, xx / size


class _Views:
    """Rays of the same points in two views, (3, n) each, and the covariances of their places."""

    def __init__(self, there: np.ndarray, here: np.ndarray, spread: tuple[np.ndarray, ...]) -> None:
        self.there, self.here = np.ascontiguousarray(there), np.ascontiguousarray(here)
        self.xx, self.xy, self.yy = spread[0], 2 * spread[1], spread[2]


class _Lines(NamedTuple):
    """Distances from epipolar lines, in pixels of a good corner (n,), and what they are made of.

    factor: (n,), that makes them pixels. turned: (3, n), the rays there in the axes of here. here:
    (3, n), there: (2, n), coefficients of the lines.
    """

    off: np.ndarray
    factor: np.ndarray
    turned: np.ndarray
    here: np.ndarray
    there: np.ndarray


def _lines(views: _Views, rotation: np.ndarray, direction: np.ndarray, focal_px: float) -> _Lines:
    here = views.here
    essential = _skew(direction) @ rotation
    both = np.concatenate([rotation, essential]) @ views.there
    x, y = both[3], both[4]  # of the line here: direction x turned
    line_there = essential.T[:2] @ here
    size = x * x + y * y
    # The variance across the line, of the place here and of the one there, which is alike.
    variance = x * x * views.xx + x * y * views.xy + y * y * views.yy
    variance /= np.maximum(size, 1e-18)
    size += line_there[0] * line_there[0]
    size += line_there[1] * line_there[1]
    size *= variance
    factor = focal_px / np.sqrt(np.maximum(size, 1e-18))
    off = (here[0] * x + here[1] * y + here[2] * both[5]) * factor
    return _Lines(off, factor, both[:3], both[3:], line_there)


def _by_motion(
    views: _Views, lines: _Lines, direction: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """The slopes (5, n) of the distances by turn and direction."""
    here, turned = views.here, lines.turned
    slope = np.empty((5, here.shape[1]))
    # turned x (here x direction) = here (turned . direction) - direction (turned . here)
    inner = turned[0] * here[0] + turned[1] * here[1] + turned[2] * here[2]
    np.multiply(here, direction @ turned, out=slope[:3])
    slope[:3] -= direction[:, None] * inner
    slope[3:] = _by_direction(views, lines, across)
    slope *= lines.factor
    return slope


def _by_direction(views: _Views, lines: _Lines, across: np.ndarray) -> np.ndarray:
    """The slopes (2, n) by direction, without the factor: along . (turned x here)."""
    return across @ _cross(lines.turned, views.here)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cross products of (3, n) vectors, without the overhead of np.cross."""
    result = np.empty_like(first)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        np.multiply(first[one], second[two], out=result[axis])
        result[axis] -= first[two] * second[one]
    return result


def _skew(vector: np.ndarray) -> np.ndarray:
    """Return the matrix M with M @ other = vector x other, and other @ M = other x vector."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


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
        lines = _lines(views, rotation, direction, wider * focal_px)
        beside, wider = _narrowed(there, here, spread, change[2] + STEP_RAD)
        off_beside = _lines(beside, rotation, direction, wider * focal_px).off
        by_focal = (off_beside - lines.off) / STEP_RAD
        by_direction = _by_direction(views, lines, across) * lines.factor
        slope = np.concatenate([by_direction, by_focal[None]])
        off = lines.off
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        weighted = slope * (tukey_votes(off, BIWEIGHT * deviation) / (ALIKE * deviation**2))
        information = weighted @ slope.T
        step = np.linalg.solve(information + prior, -weighted @ off - prior @ change)
        change = np.clip(change + step, -0.4, 0.4)
        direction_before, direction = direction, first + change[:2] @ across
        direction = direction / np.linalg.norm(direction)
    covariance = np.linalg.inv(information + prior)
    certain = 1 / covariance[2, 2] - FOCAL_SIGMA**-2.0  # what the pictures add to the prior
    if not certain > 0:
        return 0.0, math.inf
    more = 1 + FOCAL_SIGMA**-2.0 / certain  # by which the prior has made the change smaller
    by_turn = _by_motion(views, lines, direction_before, across)[:3]
    of_turn = more * turn_sigma_rad * (covariance[2] @ (weighted @ by_turn.T))
    return float(change[2]) * more, 1 / certain + float(of_turn @ of_turn)


def _narrowed(
    there: np.ndarray, here: np.ndarray, spread: tuple[np.ndarray, ...], change: float
) -> tuple[_Views, float]:
    """The views with a focal length whose logarithm is larger by `change`, and its factor."""
    wider = math.exp(change)
    scaled = np.array([[1 / wider], [1 / wider], [1.0]])
    return _Views(there * scaled, here * scaled, spread), wider


def common_share(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, pair: ViewPair,
    focal_px: float,
) -> float:  # fmt: skip
    """Return by which share all 1/Z may be off together (1 sigma), as the motion is uncertain."""
    inverse, sigma = inverse_depths(there, here, certainty, pair, focal_px)
    weight = pair.votes / sigma**2
    total = float(weight @ np.abs(inverse))
    if not total > 0:
        return math.inf
    # As it is, turned a little about each axis, and with each other direction.
    rotations, ways = np.stack([pair.rotation] * 6), np.stack([pair.way] * 6)
    rotations[1:4] += STEP_RAD * _TURNS @ pair.rotation
    ways[4:] += float(np.linalg.norm(pair.way)) * STEP_RAD * pair.across
    moved = _along_lines(there.T, here.T, certainty.T, rotations, ways)[0]
    slope = (moved[1:] - moved[0]) @ weight / (STEP_RAD * total)
    return math.sqrt(float(slope @ pair.covariance @ slope))


_TURNS = np.stack([_skew(axis) for axis in np.eye(3)])


def inverse_depths(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, pair: ViewPair,
    focal_px: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return 1/Z (n,) in this view and its standard deviation, 1/m, of points in both.

    A point that the motion does not move (at the focus of expansion) has an infinite deviation.
    """
    inverse, squared, along = _along_lines(
        there.T, here.T, certainty.T, pair.rotation[None], pair.way[None]
    )
    along = np.clip(along[0], 0.2, 5.0)
    sigma = math.sqrt(2.0) * pair.deviation_px / focal_px * along / np.sqrt(squared[0])
    return inverse[0], sigma


def _along_lines(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, rotations: np.ndarray,
    ways: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """1/Z by some motions (m, 3, 3) and (m, 3), the squared lengths that it moves a point by per
    1/Z, and depth there by depth here, (m, n) each.
    """
    back = rotations.swapaxes(1, 2) @ here  # the rays in the axes of the other view
    way = (ways[:, None] @ rotations)[:, 0, :, None]
    lever_x, lever_y = way[:, 0] - there[0] * way[:, 2], way[:, 1] - there[1] * way[:, 2]
    off_x, off_y = back[:, 0] - there[0] * back[:, 2], back[:, 1] - there[1] * back[:, 2]
    xx, xy, yy = certainty
    one, two = xx * lever_x + xy * lever_y, xy * lever_x + yy * lever_y
    squared = np.maximum(one * lever_x + two * lever_y, 1e-18)
    inverse = (one * off_x + two * off_y) / squared
    return inverse, squared, back[:, 2] - inverse * way[:, 2]


__all__ = [
    'ViewPair',
    'common_share',
    'corrected_motion',
    'focal_change',
    'inverse_depths',
    'tangents',
]
