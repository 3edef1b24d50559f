"""What the motion in the pictures says of the camera itself: how it is placed, how wide it sees.

Driving straight, everything moves away from one point: the direction of driving. Turning about
more than one axis, as in a hand or on a drone, the pictures also show the focal length.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import cv2
import numpy as np

from midas_depth_ros.geometry.fitting import BIWEIGHT, robust_deviation, tukey_votes
from midas_depth_ros.geometry.two_views import ViewPair, direction_by_pictures, focal_change

HEADINGS, MIN_HEADINGS = 80, 6  # pairs of views whose heading is kept; needed for one
HEADING_FORGET = 0.98  # of the axis that the robot turns about, per pair
HEADING_FLOOR_RAD = math.radians(0.4)  # by which a robot sways
STRAIGHT_RAD = math.radians(4.0)  # turned more between two views: only the axis says something
AXIS_RAD = math.radians(8.0)  # least turn whose axis says something
# Pairs whose focal length is kept; least deviation of one, and of all together: a lens that is
# not as calibrated is not averaged out.
FOCALS, FOCAL_FLOOR, FOCAL_COMMON = 200, 0.02, 0.01
# As many pairs as the assumed deviation counts; least share of it, squared.
ASSUMED, LEAST_BESIDE = 12, 0.25
DOUBTED = 3  # pairs from which a focal length is in doubt
WRONG, WRONG_SIGMAS = 0.04, 2.0  # a focal length farther off than these is wrong
MOST_WRONG = 0.2  # and beyond this it is not believed
KNOWN = 0.035  # largest deviation of a focal length that others are corrected by
FOLLOWS = 0.003  # least change of a correction
WAITING = 24  # pairs that wait for turns about other axes, at most
# Of the squared turns that must be about other axes than the main one: wheels on bumps pitch by 1.5
# degrees where they turn by 10.
OTHER_AXES = 0.03
# Of the squared ways that must be along the axis of turns: no wheels climb out of the plane that
# they turn in by 10 degrees.
OUT_OF_PLANE = math.sin(math.radians(10)) ** 2

Views = tuple[np.ndarray, np.ndarray, np.ndarray]  # rays there, here, and certainty of the points


@dataclasses.dataclass(frozen=True)
class Heading:
    """How a camera is placed against its own motion; radians.

    pitch_rad: positive = looks down from the direction of driving. yaw_rad: positive = looks to the
    left of it. roll_rad: positive = rolled to the right, against the axis that the robot turns
    about; NaN while it has not turned. sigma_rad: one standard deviation of pitch and yaw. points:
    corners that it was made of. Of a body that drives forward along its x axis on a floor.
    """

    pitch_rad: float
    yaw_rad: float
    sigma_rad: float
    roll_rad: float = math.nan
    points: int = 0


class HeadingFilter:
    """The direction of driving as the camera sees it: medians over many pairs of views."""

    def __init__(self) -> None:
        self.value: Heading | None = None
        self._seen: collections.deque[tuple[float, float, float]] = collections.deque(
            maxlen=HEADINGS
        )
        self._axis, self._axis_weight = np.zeros(3), 0.0

    def update(self, pair: ViewPair) -> None:
        """Take one pair."""
        turn = cv2.Rodrigues(pair.rotation)[0].ravel()
        angle = float(np.linalg.norm(turn))
        if angle > AXIS_RAD:
            down = turn if turn[1] > 0 else -turn
            self._axis = HEADING_FORGET * self._axis + down
            self._axis_weight = HEADING_FORGET * self._axis_weight + angle
        if angle > STRAIGHT_RAD:
            return
        aside, certain = direction_by_pictures(pair)
        information = float(np.linalg.eigvalsh(certain)[0])
        if information <= 0:
            return
        # Towards where the camera moved, halfway between both views: robots drive along arcs.
        half = cv2.Rodrigues(-0.5 * turn)[0]
        more = np.clip(aside - pair.aside, -0.3, 0.3) @ pair.across
        ahead = half @ -(pair.way / np.linalg.norm(pair.way) + more)
        if not ahead[2] > 0.2:
            return
        pitch, yaw = -math.atan2(ahead[1], ahead[2]), math.atan2(ahead[0], ahead[2])
        self._seen.append((pitch, yaw, 1 / (1 / information + HEADING_FLOOR_RAD**2)))
        if len(self._seen) >= MIN_HEADINGS:
            self.value = self._estimate(int(np.count_nonzero(pair.votes)))

    def _estimate(self, points: int) -> Heading:
        pitch, yaw, weight = np.array(self._seen).T
        middle = _weighted_median(pitch, weight), _weighted_median(yaw, weight)
        spread = max(
            robust_deviation(np.abs(pitch - middle[0])), robust_deviation(np.abs(yaw - middle[1]))
        )
        # Two pairs of one picture, and pictures after each other, err alike.
        sigma = max(spread, HEADING_FLOOR_RAD) * 1.25 / math.sqrt(len(pitch) / 4)
        roll = math.nan
        if self._axis_weight > AXIS_RAD:
            roll = math.atan2(self._axis[0], self._axis[1])
        return Heading(*middle, sigma, roll, points * len(pitch))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind='stable')
    share = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(share, 0.5 * share[-1])]])


class FocalFilter:
    """The focal length by many pairs of views, as a multiple of the calibrated one.

    Turns by odometry say how far the picture should move, pixels say how far it does. A wheeled
    robot turns about one axis only and never moves along it, and its odometry may be as wrong as
    its calibration: there this says nothing. `factor`: to correct by; 1 unless the calibration is
    clearly wrong. `doubt`: why nothing should be measured until that is known, '' mostly.
    """

    def __init__(self) -> None:
        self.factor, self.doubt = 1.0, ''
        self.estimate = self.sigma = math.nan
        self._seen: collections.deque[tuple[float, float]] = collections.deque(maxlen=FOCALS)
        self._turns, self._ways, self._most = np.zeros((3, 3)), np.zeros((3, 3)), 0.0
        self._axes = False
        # Nothing is worked out before it can say something.
        self._waiting: collections.deque[_Waiting] = collections.deque(maxlen=WAITING)

    @property
    def uncertain(self) -> float:
        """By which share a corrected focal length, and each 1/Z by it, is uncertain (1 sigma)."""
        return self.sigma if self.factor != 1 else 0.0

    def add(self, views: Views, motion: np.ndarray, turn_sigma_rad: float, focal_px: float) -> None:
        """Take two views, as of `focal_change`, to be worked out later."""
        turn = cv2.Rodrigues(motion[:3, :3])[0].ravel()  # by odometry: of wheels about one axis
        way = cv2.Rodrigues(-0.5 * turn)[0] @ motion[:3, 3]  # halfway
        self._turns += np.outer(turn, turn)
        self._ways += np.outer(way, way)
        self._most = max(self._most, float(np.linalg.norm(turn)))
        known = math.log(self.factor)
        self._waiting.append(_Waiting(known, views, motion, turn_sigma_rad, focal_px))
        self._axes = self._in_a_hand()
        if not self._axes:
            self.doubt = ''

    def _in_a_hand(self) -> bool:
        """Whether a camera moves as no wheels do: turns about other axes, moves along its own."""
        sizes, axes = np.linalg.eigh(self._turns)
        if sizes[1] > OTHER_AXES * sizes[2]:
            return True
        main = axes[:, 2]
        aside = float(main @ self._ways @ main)
        return self._most > AXIS_RAD and aside > OUT_OF_PLANE * float(np.trace(self._ways))

    def learn(self) -> bool:
        """Work out one pair, if that can say something; return whether `factor` has changed.

        One in each frame: there are two of each step, and many wait at first.
        """
        if not (self._waiting and self._axes):
            return False
        each = self._waiting.popleft()
        change, variance = focal_change(
            *each.views, each.motion, each.turn_sigma_rad, each.focal_px
        )
        if not math.isfinite(variance):
            return False
        change = each.known + max(-0.3, min(0.3, change))
        self._seen.append((change, 1 / (variance + FOCAL_FLOOR**2)))
        if len(self._seen) < DOUBTED:
            return False
        before = self.factor
        self._judge(self._estimate())
        return self.factor != before

    def _estimate(self) -> float:
        """Set the estimate by all pairs; return its logarithm."""
        value, weight = np.array(self._seen).T
        middle = _weighted_median(value, weight)
        votes = weight * tukey_votes((value - middle) * np.sqrt(weight), BIWEIGHT)
        middle = float(votes @ value / max(votes.sum(), 1e-12))
        # How much turns are wrong is assumed at first; how much pairs differ says it better.
        beside = float(votes @ (weight * (value - middle) ** 2) / max(votes.sum(), 1e-12))
        beside = (ASSUMED + len(value) * beside) / (ASSUMED + len(value))
        # Each pose is that of some pairs: half as many are independent.
        variance = 2 * max(beside, LEAST_BESIDE) / max(float(votes.sum()), 1e-12)
        self.sigma = math.hypot(math.sqrt(variance), FOCAL_COMMON)
        self.estimate = math.exp(middle)
        return middle

    def _judge(self, middle: float) -> None:
        """Correct, or doubt, the calibration by the logarithm of the focal length found.

        A correction follows what is found from then on. What contradicts the calibration is a doubt
        until it is certain enough to correct it.
        """
        off, self.doubt = abs(middle), ''
        corrected = self.factor != 1.0
        wrong = corrected or off > max(WRONG, WRONG_SIGMAS * self.sigma)
        if wrong and off < MOST_WRONG and self.sigma < KNOWN:
            if abs(middle - math.log(self.factor)) > FOLLOWS:
                self.factor = self.estimate
            return
        beside = abs(middle - math.log(self.factor))
        if beside > max(WRONG, WRONG_SIGMAS * self.sigma):
            self.doubt = (
                f'the pictures turn as with {self.estimate:.2f} +- {self.sigma:.2f} times the '
                'calibrated focal length: calibrate the camera, or check the turns by odometry'
            )


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """A pair to be worked out; known: the logarithm of the factor that it was seen with."""

    known: float
    views: Views
    motion: np.ndarray
    turn_sigma_rad: float
    focal_px: float
