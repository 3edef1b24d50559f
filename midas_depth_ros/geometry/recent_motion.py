"""Whether the last part of the way fits to the whole of it: wheels that spin, pictures that freeze.

Depth by parallax is right only if the pictures have moved by as much as odometry says, all the way.
In: where points were in the last pictures, the poses of these, and 1/Z of the points by the whole
way. Out: by which share of what odometry says the pictures have moved lately.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry.fitting import BIWEIGHT, median, robust_deviation, solved, tukey_votes

PICTURES, KEPT_S = 20, 2.0  # that are kept
MOST_POINTS, FEWEST_POINTS = 80, 12
SHARE_OF_WAY = 0.3  # of the whole way, that is compared with it
LEAST_FLOW_PX = 0.7  # median motion, by odometry or by the pictures, that can be compared
TURN_SIGMA_RAD = math.radians(0.3)  # of odometry between two pictures
LEAST_PX, ROUNDS = 0.3, 4  # deviation of a point that is followed; of the robust fit
# Beyond this factor, and this many deviations, the parts contradict each other.
MOST_FACTOR, SIGMAS = 1.4, 3.0
SETTLE_S = 1.0  # after a contradiction: wheels that slip go on slipping
WAY_SIGMA_M = 0.003  # by which the way between two poses is wrong


@dataclasses.dataclass(frozen=True)
class _Picture:
    """The pose of its camera (4, 4); the numbers of points (n,), ascending, and their places (n, 2)
    in it.
    """

    stamp_s: float
    pose: np.ndarray
    numbers: np.ndarray
    places: np.ndarray


class RecentMotion:
    """The last pictures of one camera."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget them."""
        self._pictures: collections.deque[_Picture] = collections.deque(maxlen=PICTURES)

    def add(
        self, stamp_s: float, pose: np.ndarray, numbers: np.ndarray, places: np.ndarray
    ) -> None:
        """Take a picture with its pose (4, 4), from the optical into a fixed frame.

        numbers: (n,) of the points that are followed into it, ascending; places: (n, 2) pixels.
        """
        pictures = self._pictures
        while pictures and not 0 <= stamp_s - pictures[0].stamp_s <= KEPT_S:
            pictures.popleft()
        pictures.append(_Picture(stamp_s, pose, numbers, places))

    def renew(self, numbers: np.ndarray, places: np.ndarray) -> None:
        """Replace the points of the last picture: new ones were found in it."""
        last = self._pictures.pop()
        self._pictures.append(_Picture(last.stamp_s, last.pose, numbers, places))

    def share(
        self,
        known: np.ndarray,
        inverse: np.ndarray,
        way_m: float,
        focal_px: float,
        rays_at: Callable[[np.ndarray], np.ndarray],
    ) -> tuple[float, float] | None:
        """Return how much the pictures have moved by what odometry says, and its deviation.

        Over the last part of the way. known: (n,) bool, of which points of the last picture the
        1/Z in it, inverse (n,), is known, by the whole way of way_m; rays_at: (n, 3) rays
        (x', y', 1) of pixels. None where there is nothing to compare.
        """
        here, before = self._pictures[-1], self._earlier(way_m)
        if before is None or not len(before.numbers):
            return None
        place = np.minimum(np.searchsorted(before.numbers, here.numbers), len(before.numbers) - 1)
        some = np.flatnonzero(known & (before.numbers[place] == here.numbers))
        if len(some) < FEWEST_POINTS:
            return None
        if len(some) > MOST_POINTS:
            some = some[np.linspace(0, len(some) - 1, MOST_POINTS).astype(int)]
        rays, seen = rays_at(here.places[some]), rays_at(before.places[place[some]])
        turn = before.pose[:3, :3].T @ here.pose[:3, :3]
        way = before.pose[:3, :3].T @ (here.pose[:3, 3] - before.pose[:3, 3])
        turned = rays @ turn.T
        moved = turned + inverse[some, None] * way
        with np.errstate(all='ignore'):
            still = turned[:, :2] / turned[:, 2:]
            expected = moved[:, :2] / moved[:, 2:] - still
        observed = seen[:, :2] - still
        usable = np.isfinite(expected).all(axis=1) & np.isfinite(observed).all(axis=1)
        usable &= moved[:, 2] > 0.2
        if usable.sum() < FEWEST_POINTS:
            return None
        return _share(expected[usable], observed[usable], still[usable], focal_px, way)

    def contradiction(
        self,
        known: np.ndarray,
        inverse: np.ndarray,
        way_m: float,
        focal_px: float,
        rays_at: Callable[[np.ndarray], np.ndarray],
    ) -> str:
        """Return why depth by the whole way cannot be right, '' if it can; as of `share`."""
        found = self.share(known, inverse, way_m, focal_px, rays_at)
        if found is None:
            return ''
        share, sigma = found
        nearest = min(max(share, 1 / MOST_FACTOR), MOST_FACTOR)
        if abs(share - nearest) <= SIGMAS * sigma:
            return ''
        return (
            f'the pictures have moved {share:.0%} of what odometry and the way before it say: '
            'wheels slip, or one of both was late'
        )

    def _earlier(self, way_m: float) -> _Picture | None:
        """The newest picture from which so much of the way has been gone; None without one."""
        here = self._pictures[-1]
        for each in reversed(self._pictures):
            moved = float(np.linalg.norm(each.pose[:3, 3] - here.pose[:3, 3]))
            if moved >= SHARE_OF_WAY * way_m:
                return each
        return None


def _share(
    expected: np.ndarray, observed: np.ndarray, still: np.ndarray, focal_px: float, way: np.ndarray
) -> tuple[float, float] | None:
    """Robust least squares of observed = share * expected + a small turn, (n, 2) each."""
    flow = [median(np.hypot(*each.T)) for each in (expected, observed)]
    if max(flow) * focal_px < LEAST_FLOW_PX:
        return None
    x, y = still.T
    # The motion of (x', y') by small turns about the three axes (Longuet-Higgins 1980).
    columns = np.empty((4, 2 * len(x)))
    columns[0] = expected.ravel()
    columns[1, ::2], columns[1, 1::2] = x * y, 1 + y * y
    columns[2, ::2], columns[2, 1::2] = -(1 + x * x), -columns[1, ::2]
    columns[3, ::2], columns[3, 1::2] = y, -x
    target, votes = observed.ravel(), np.ones(2 * len(x))
    prior = np.eye(3) * (LEAST_PX / focal_px / TURN_SIGMA_RAD) ** 2
    for _ in range(ROUNDS):
        weighted = columns * votes
        normal, pull = weighted @ columns.T, weighted @ target
        # The turn is eliminated; what is left of the share tells whether it can be known.
        by_share, by_pull = solved(
            normal[1:, 1:] + prior, np.stack([normal[1:, 0], pull[1:]], axis=1)
        ).T
        left = float(normal[0, 0] - normal[0, 1:] @ by_share)
        if not left > 1e-9 * normal[0, 0]:
            return None
        share = float(pull[0] - normal[0, 1:] @ by_pull) / left
        residual = (share * columns[0] + (by_pull - share * by_share) @ columns[1:]) - target
        off = focal_px * np.hypot(residual[::2], residual[1::2])
        deviation = max(robust_deviation(off), LEAST_PX)
        votes = np.repeat(tukey_votes(off, BIWEIGHT * deviation), 2)
    if votes.sum() < len(votes) / 4:
        return None
    variance = (deviation / focal_px) ** 2 / left
    of_way = share * WAY_SIGMA_M / max(float(np.linalg.norm(way)), 1e-6)
    return share, math.hypot(math.sqrt(variance), of_way)
