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
    `PointTracks`. motion: (4, 4), x here = motion @ x
    there, with a way of more than 0 m. direction_sigma_rad: how far its direction may be off. Least squares of the distances from epipolar lines
    (Sampson), with Tukey's weights.
    """
    rotation, way = motion[:3, :3].copy(), motion[:3, 3]
    length = float(np.linalg.norm(way))
    direction = first = way / length
    direction_sigma = math.hypot(direction_sigma_rad, PLACE_SIGMA_M / length)
    across = tangents(first)
    prior = np.array([turn_sigma_rad] * 3 + [direction_sigma] * 2) ** -2.0
    change = np.zeros(5)
    spread = _inverse(certainty)
    for iteration in range(ITERATIONS):
        off, slope = _epipolar(there, here, spread, rotation, direction, across, focal_px)
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        votes = tukey_votes(off, BIWEIGHT * deviation)
        weighted = slope * (votes / (ALIKE * deviation**2))[:, None]
        information = weighted.T @ slope
        pull = -weighted.T @ off
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
    one = np.cross(direction, least)
    one /= np.linalg.norm(one)
    return np.stack([one, np.cross(direction, one)])


def _inverse(symmetric: np.ndarray) -> np.ndarray:
    """The inverses of n symmetric matrices, given and returned as (n, 3): xx, xy, yy."""
    xx, xy, yy = symmetric.T
    return np.stack([yy, -xy, xx]) / (xx * yy - xy * xy)


def _epipolar(
    there: np.ndarray, here: np.ndarray, spread: np.ndarray, rotation: np.ndarray,
    direction: np.ndarray, across: np.ndarray, focal_px: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Distances from the epipolar lines in pixels of a good corner (n,), their slopes (n, 5)."""
    turned = there @ rotation.T
    beside = _skew(direction)
    line_here = turned @ beside.T  # direction x turned
    plane = here @ beside  # here x direction
    line_there = plane @ rotation
    x, y = line_here[:, 0], line_here[:, 1]
    size = x * x + y * y
    # The variance across the line, of the place here and of the one there, which is alike.
    variance = (x * x * spread[0] + 2 * x * y * spread[1] + y * y * spread[2]) / np.maximum(
        size, 1e-18
    )
    size = size + line_there[:, 0] ** 2 + line_there[:, 1] ** 2
    factor = focal_px / np.sqrt(np.maximum(size * variance, 1e-18))
    off = np.einsum('ij,ij->i', here, line_here) * factor
    slope = np.empty((len(here), 5))
    # turned x (here x direction) = here (turned . direction) - direction (turned . here)
    inner = np.einsum('ij,ij->i', turned, here)
    slope[:, :3] = here * (turned @ direction)[:, None] - inner[:, None] * direction
    # along . (turned x here) = turned . (here x along)
    for number, along in enumerate(across):
        slope[:, 3 + number] = np.einsum('ij,ij->i', turned, here @ _skew(along))
    return off, slope * factor[:, None]


def _skew(vector: np.ndarray) -> np.ndarray:
    """Return the matrix M with M @ other = vector x other, and other @ M = other x vector."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def focal_change(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, motion: np.ndarray, focal_px: float
) -> tuple[float, float]:
    """Return the change of the logarithm of the focal length that fits the pictures best, and the
    inverse variance of this. The turn is that of `motion`, its direction is free.
    """
    rotation, way = motion[:3, :3], motion[:3, 3]
    length = float(np.linalg.norm(way))
    first = direction = way / length
    across, spread = tangents(first), _inverse(certainty)
    sigma = math.hypot(DIRECTION_SIGMA_RAD, PLACE_SIGMA_M / length)
    prior = np.diag(np.array([sigma, sigma, FOCAL_SIGMA]) ** -2.0)
    change = np.zeros(3)
    for iteration in range(ITERATIONS + 1):
        sides = []
        for more in (0.0, STEP_RAD):
            wider = math.exp(change[2] + more)
            scaled = np.array([1 / wider, 1 / wider, 1.0])
            sides.append(
                _epipolar(
                    there * scaled, here * scaled, spread, rotation, direction, across,
                    focal_px * wider,
                )
            )  # fmt: skip
        off = sides[0][0]
        slope = np.column_stack([sides[0][1][:, 3:], (sides[1][0] - off) / STEP_RAD])
        most = max(MOST_PX, FIRST_PX * 0.35**iteration)
        deviation = min(max(robust_deviation(np.abs(off)), LEAST_PX), most)
        weighted = slope * (tukey_votes(off, BIWEIGHT * deviation) / deviation**2)[:, None]
        information = weighted.T @ slope
        step = np.linalg.solve(information + prior, -weighted.T @ off - prior @ change)
        change = np.clip(change + step, -0.4, 0.4)
        direction = first + change[:2] @ across
        direction = direction / np.linalg.norm(direction)
    covariance = np.linalg.inv(information + prior)
    certain = 1 / covariance[2, 2] - FOCAL_SIGMA**-2.0  # what the pictures add to the prior
    if not certain > 0:
        return 0.0, 0.0
    return float(change[2]) * (1 + FOCAL_SIGMA**-2.0 / certain), certain


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
    length = float(np.linalg.norm(pair.way))
    slopes = []
    for number in range(5):
        turn = np.zeros(3)
        way = pair.way
        if number < 3:
            turn[number] = STEP_RAD
        else:
            way = way + length * STEP_RAD * pair.across[number - 3]
        moved = dataclasses.replace(pair, rotation=cv2.Rodrigues(turn)[0] @ pair.rotation, way=way)
        change = inverse_depths(there, here, certainty, moved, focal_px)[0] - inverse
        slopes.append(float(weight @ change) / (STEP_RAD * total))
    slope = np.array(slopes)
    return math.sqrt(float(slope @ pair.covariance @ slope))


def inverse_depths(
    there: np.ndarray, here: np.ndarray, certainty: np.ndarray, pair: ViewPair,
    focal_px: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return 1/Z (n,) in this view and its standard deviation, 1/m, of points in both.

    A point that the motion does not move (at the focus of expansion) has an infinite deviation.
    """
    back = here @ pair.rotation  # the rays in the axes of the other view
    way = pair.way @ pair.rotation
    lever = way[:2] - there[:, :2] * way[2]
    off = back[:, :2] - there[:, :2] * back[:, 2:]
    xx, xy, yy = certainty.T
    x, y = lever.T
    one, two = xx * x + xy * y, xy * x + yy * y
    squared = np.maximum(one * x + two * y, 1e-18)
    inverse = (one * off[:, 0] + two * off[:, 1]) / squared
    along = np.clip(back[:, 2] - inverse * way[2], 0.2, 5.0)  # depth there by depth here
    sigma = math.sqrt(2.0) * pair.deviation_px / focal_px * along / np.sqrt(squared)
    return inverse, sigma


__all__ = [
    'ViewPair',
    'common_share',
    'corrected_motion',
    'focal_change',
    'inverse_depths',
    'tangents',
]
