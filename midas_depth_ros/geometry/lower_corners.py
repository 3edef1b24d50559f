"""Corners that lie below the floor: an edge or a step down that the network takes for floor.

Where the motion of the camera is known, the distance of each corner that is followed is measured,
whatever the network says. On a floor it is where its ray meets the floor; behind an edge it is
farther, by the ratio of the heights of the lens, all corners alike. A reflection in a polished
floor lies below it, too, but one corner by as much as it was high and the next by something else.
In: the corners of a frame and the mount. Out: why the floor must not be believed.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.agreement import HELD_S
from midas_depth_ros.geometry.fitting import median
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.trust import is_elsewhere
from midas_depth_ros.options.metric import ObstacleOptions, SigmaOptions

# Corners are judged together whose rays meet the floor from one of these distances on, in heights
# of the lens, to so many times as far. Farther on a small error of the pitch is as much as a step.
FROM, WIDE = (1.0, 1.33, 1.78, 2.37, 3.16), 2.0
MOST_SIGMA = 0.2  # of the floor's 1/Z: a corner that is less certain says nothing
FEWEST, MOST_LEFT_OUT = 5, 0.25  # corners that lie lower, and the share of those that do not
# The 1/Z of a corner by that of the floor: more is an obstacle, which the floor may go on behind;
# less, or below 0, is a corner that was followed wrongly.
STANDS, DEEPEST = 1.12, 0.05
LOWER, DEVIATIONS = 0.12, 3.0  # it is less by this share and by so many deviations
ALIKE = 1.2  # factor from their median within which the ratios of one lower floor's corners are
HELD = 2  # frames in a row that have to say so, for it to be held
PLACES, APART = 32, 0.2


@dataclasses.dataclass(frozen=True)
class Corners:
    """Corners of one frame: rays (n, 3), x', y', 1 in the optical frame; inverse, 1/Z, and its
    standard deviation sigma (n,), 1/m, inf = not known. off: by which share all may be off alike.
    """

    rays: np.ndarray
    inverse: np.ndarray
    sigma: np.ndarray
    off: float


@dataclasses.dataclass(frozen=True)
class Lower:
    """What lies lower: how many corners, from how many metres away on, by how many metres."""

    corners: int
    from_m: float
    below_m: float


def lower_corners(
    corners: Corners, mount: CameraMount, sigma: SigmaOptions | None = None,
    max_drop_m: float = ObstacleOptions.max_drop,
) -> Lower | None:  # fmt: skip
    """Return the lower floor that the corners of a frame lie on; None if they do not say so.

    sigma: how exactly the mount is known. max_drop_m: a floor that is less below is no drop.
    """
    sigma = sigma or SigmaOptions()
    x, y = corners.rays[:, 0], corners.rays[:, 1]
    ground = mount.ground_inverse_depth((x, y))
    with np.errstate(divide='ignore', invalid='ignore'):
        away = np.linalg.norm(corners.rays @ mount.body_axes().T[:, :2], axis=1) / ground
        share = corners.inverse / ground
        below = mount.height_m * (1 / share - 1)
        # An error of the pitch by p moves the floor's 1/Z by p / height.
        of_mount = np.hypot(sigma.height, sigma.pitch / (mount.height_m * ground))
        certain = np.hypot(corners.sigma / ground, corners.off)
        known = (ground > 0) & (certain < MOST_SIGMA) & (share > DEEPEST) & (share < STANDS)
        least = np.maximum(LOWER, DEVIATIONS * np.hypot(certain, of_mount))
    lower = known & (share < 1 - least) & (below > max_drop_m)
    for heights in FROM:
        nearest = heights * mount.height_m
        here = known & (away >= nearest) & (away < WIDE * nearest)
        found = here & lower
        if np.count_nonzero(found) < FEWEST:
            continue
        middle = median(share[found])
        found &= (share < ALIKE * middle) & (ALIKE * share > middle)
        count = int(np.count_nonzero(found))
        if count >= max(FEWEST, (1 - MOST_LEFT_OUT) * np.count_nonzero(here)):
            return Lower(count, float(away[found].min()), float(median(below[found])))
    return None


class LowerCorners:
    """The judgement on the floor of one camera, frame by frame.

    `found`: why the floor must not be believed; '' if nothing speaks against it. What frames in a
    row have found is held until the camera looks elsewhere, or `HELD_S` where nobody knows that.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self.found, self._in_a_row = '', 0
        self._held = False
        self._here_s = -math.inf  # when the robot was last known to see it still
        self._places: list[np.ndarray] = []

    def forget_places(self) -> None:
        """The fixed frame has changed: what was found in the old one is held by time alone."""
        self._places, self._in_a_row = [], 0

    def update(self, stamp_s: float, lower: Lower | None, pose: np.ndarray | None) -> str:
        """Take what the corners of a frame say, seen from a pose (4, 4); return `found`.

        stamp_s: of the frame, s. pose: None = unknown, then no corner is measured.
        """
        if self._held and self._is_over(stamp_s, pose):
            self._places, self._held = [], False
        if not self._held:
            self.found = ''
        elif pose is not None and self._places:
            self._here_s = stamp_s
        if lower is None or pose is None:
            self._in_a_row = 0
            return self.found
        self._in_a_row += 1
        self.found = (
            f'{lower.corners} corners from {lower.from_m:.1f} m on lie {lower.below_m:.2f} m below '
            'the floor: an edge or a step down, a wrong camera_height or camera_pitch, or wheel '
            'slip'
        )
        if self._in_a_row >= HELD:
            self._held, self._here_s = True, stamp_s
            if all(is_elsewhere(place, pose, share=APART) for place in self._places):
                self._places = [*self._places, pose][-PLACES:]
        return self.found

    def _is_over(self, stamp_s: float, pose: np.ndarray | None) -> bool:
        """Whether the robot no longer sees what was found, from wherever that was."""
        if pose is None or not self._places:
            return not 0 <= stamp_s - self._here_s <= HELD_S
        return all(is_elsewhere(place, pose) for place in self._places)


__all__ = ['Corners', 'Lower', 'LowerCorners', 'lower_corners']
