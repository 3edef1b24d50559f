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

from midas_depth_ros.geometry.fitting import PER_MEDIAN, robust_deviation, tukey_votes

ITERATIONS = 6
LEAST_PX, MOST_PX = 0.12, 1.0  # limits of the deviation of a corner from its epipolar line
FIRST_REACH_PX = 4.0
TURN_SIGMA_RAD, TURN_SIGMA_SHARE = math.radians(0.3), 0.03  # of odometry, plus a share of the turn
DIRECTION_SIGMA_RAD, PLACE_SIGMA_M = math.radians(3.0), 0.003


@dataclasses.dataclass(frozen=True)
class ViewPair:
    """The motion between an earlier view and this one, corrected by the pictures.

    rotation (3, 3), way (3,): x here = rotation @ x there + way, metres. turned (3,): the
    correction of the turn, rad. aside (2,): that of the direction, rad, along `across` (2, 3).
    direction_information (2, 2), direction_by_pictures (2,): what the pictures alone say of the
    latter. votes (n,): 0 to 1, of the corners. deviation_px: theirs from the epipolar lines.
    turn_sigma_rad: what odometry is believed of the turn.
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
    direction_sigma_rad: float


def corrected_motion(
    there: np.ndarray, here: np.ndarray, motion: np.ndarray, focal_px: float
) -> ViewPair:
    """Return the motion that fits the pictures, near the one given.

    there, here: (n, 3) rays (x', y', 1) of the same corners. motion: (4, 4), x here = motion @ x
    there, with a way of more than 0 m. Least squares of the distances from epipolar lines
    (Sampson), with Tukey's weights.
    """
    rotation, way = motion[:3, :3].copy(), motion[:3, 3]
    length = float(np.linalg.norm(way))
    direction = first = way / length
    turn = float(np.linalg.norm(cv2.Rodrigues(rotation)[0]))
    turn_sigma = TURN_SIGMA_RAD + TURN_SIGMA_SHARE * turn
    direction_sigma = math.hypot(DIRECTION_SIGMA_RAD, PLACE_SIGMA_M / length)
    across = tangents(first)
    prior = np.array([turn_sigma] * 3 + [direction_sigma] * 2) ** -2.0
    change = np.zeros(5)
    reach = FIRST_REACH_PX
    for _ in range(ITERATIONS):
        off, slope = _epipolar(there, here, rotation, direction, across, focal_px)
        deviation = _deviation(np.abs(off), reach)
        votes = tukey_votes(off, 4.7 * deviation) * (np.abs(off) < 4.7 * deviation)
        reach = max(4.7 * deviation, 1.0)
        weighted = slope * (votes / deviation**2)[:, None]
        information = weighted.T @ slope
        pull = -weighted.T @ off
        step = np.linalg.solve(information + np.diag(prior), pull - prior * change)
        change = change + step
        rotation = cv2.Rodrigues(step[:3])[0] @ rotation
        direction = first + change[3:] @ across
        direction = direction / np.linalg.norm(direction)
    # What the pictures alone say of the direction: the turn is eliminated, with its prior.
    turned = information[:3, :3] + np.diag(prior[:3])
    mixed = np.linalg.solve(turned, np.column_stack([information[:3, 3:], pull[:3]]))
    of_direction = information[3:, 3:] - information[3:, :3] @ mixed[:, :2]
    to = pull[3:] - information[3:, :3] @ mixed[:, 2]
    by_pictures = change[3:] + np.linalg.lstsq(of_direction, to, rcond=1e-9)[0]
    return ViewPair(
        rotation, length * direction, change[:3], change[3:], across, of_direction, by_pictures,
        votes, deviation, turn_sigma, direction_sigma,
    )  # fmt: skip


def tangents(direction: np.ndarray) -> np.ndarray:
    """Return two unit vectors (2, 3) at right angles to a unit vector (3,) and each other."""
    least = np.zeros(3)
    least[int(np.argmin(np.abs(direction)))] = 1.0
    one = np.cross(direction, least)
    one /= np.linalg.norm(one)
    return np.stack([one, np.cross(direction, one)])


def _deviation(off: np.ndarray, reach: float) -> float:
    near = off[off < reach]
    return min(max(robust_deviation(near), LEAST_PX), MOST_PX) if near.size else MOST_PX


def _epipolar(
    there: np.ndarray, here: np.ndarray, rotation: np.ndarray, direction: np.ndarray,
    across: np.ndarray, focal_px: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Distances from the epipolar lines in pixels (n,), and their slopes (n, 5)."""
    turned = there @ rotation.T
    plane = np.cross(here, direction)
    line_here = np.cross(direction, turned)
    line_there = plane @ rotation
    size = np.sqrt(
        line_here[:, 0] ** 2 + line_here[:, 1] ** 2 + line_there[:, 0] ** 2 + line_there[:, 1] ** 2
    )
    factor = focal_px / np.maximum(size, 1e-9)
    off = np.einsum('ij,ij->i', here, line_here) * factor
    slope = np.empty((len(here), 5))
    slope[:, :3] = np.cross(turned, plane)
    slope[:, 3:] = np.cross(turned, here) @ across.T
    return off, slope * factor[:, None]


def inverse_depths(
    there: np.ndarray, here: np.ndarray, pair: ViewPair, focal_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return 1/Z (n,) in this view and its standard deviation, 1/m, of corners in both.

    A corner that the motion does not move (at the focus of expansion) has an infinite deviation.
    """
    back = here @ pair.rotation  # the rays in the axes of the other view
    way = pair.way @ pair.rotation
    lever = way[:2] - there[:, :2] * way[2]
    off = back[:, :2] - there[:, :2] * back[:, 2:]
    squared = np.maximum((lever * lever).sum(axis=1), 1e-18)
    inverse = (lever * off).sum(axis=1) / squared
    along = np.clip(back[:, 2] - inverse * way[2], 0.2, 5.0)  # depth there by depth here
    sigma = math.sqrt(2.0) * pair.deviation_px / focal_px * along / np.sqrt(squared)
    return inverse, sigma


__all__ = ['PER_MEDIAN', 'ViewPair', 'corrected_motion', 'inverse_depths', 'tangents']
