"""Whether what lies ahead moves in the picture as the floor at the robot's feet does.

A network takes a lower floor behind an edge for the same floor that goes on. But as the robot
moves, its points move less: by the ratio of the two heights. In: grey pictures, the camera and its
mount; no odometry, since the near floor, of known height below the lens, says how it has moved.
Out: why the floor must not be believed.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any

import cv2
import numpy as np

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.ground_plane import largest_in_view
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.trust import is_elsewhere

POINTS, APART_PX, QUALITY = 40, 6, 0.02  # at the robot's feet, and as many beyond
LEAST_TEXTURE = 1e-5  # of cv2.cornerMinEigenVal
WINDOW, LEVELS = (11, 11), 3
CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
THERE_AND_BACK_PX = 0.5  # largest difference of a point from where it came, tracked backward
NOISE_PX = 0.3  # of a tracked point
# Of the picture below the horizon, from the bottom, that is the floor at the robot's feet; and how
# many points there, what share of all there, have to move as one.
NEAR_SHARE, LEAST_NEAR, LEAST_SHARE = 0.45, 8, 0.5
FARTHEST_M = 1.4  # where a lower floor is looked for: farther away motion tells too little
LEAST_WAY_M, LONGEST_S = 0.03, 1.0  # of the lens between two pictures, and the time between them
REFITS = 4
# How high a point is, by its motion: as a share of the floor's way, known to CERTAIN at least. It
# is lower where that is less than 1 by LOWER and by DEVIATIONS; less than LEAST is another motion.
CERTAIN, LOWER, DEVIATIONS, LEAST = 0.12, 0.15, 3.0, 0.3
LEAST_LOWER = 6  # points that have to say so
CERTAIN_OF_MANY, DEVIATIONS_OF_MANY, MEDIAN = 0.25, 4.0, 1.25
BAND_M, BANDS_M = 0.3, (0.5, 0.65, 0.8, 0.95, 1.1)
PLACES = 32
# A lower floor that was found twice within so many metres, of so many places that are remembered,
# is held as a contradiction of two sources is; one that was found once for this share of that.
SAME_PLACE_M, SUSPECTS, SHORT = 0.3, 6, 0.35


@dataclasses.dataclass(frozen=True)
class Moved:
    """How the lens has moved over the floor: metres ahead and to the left, and turned (rad)."""

    ahead_m: float = 0.0
    left_m: float = 0.0
    turned_rad: float = 0.0

    @property
    def way_m(self) -> float:
        """How far."""
        return math.hypot(self.ahead_m, self.left_m)

    def pose(self) -> np.ndarray:
        """(4, 4) from the body at its end into that at its begin."""
        c, s = math.cos(self.turned_rad), math.sin(self.turned_rad)
        made = np.eye(4)
        made[:2, :2] = (c, -s), (s, c)
        made[:2, 3] = self.ahead_m, self.left_m
        return made


@dataclasses.dataclass(frozen=True)
class FloorPoints:
    """Points of two pictures on the floor, (n, 2) metres ahead and to the left of the lens.

    noise_m: (n,), a standard deviation of both along the ray. near: (n,) bool, at the robot's feet.
    """

    before: np.ndarray
    now: np.ndarray
    noise_m: np.ndarray
    near: np.ndarray

    def motion(self) -> Moved | None:
        """Return how the lens has moved if the near points are floor; None if they do not say."""
        before, now, noise = (a[self.near] for a in (self.before, self.now, self.noise_m))
        if len(before) < LEAST_NEAR:
            return None
        weight = 1 / noise**2
        for _ in range(REFITS):
            turned, moved = _rigid(before, now, weight)
            off = np.linalg.norm(before - now @ _turn(turned).T - moved, axis=1) / noise
            scale = max(1.0, 1.5 * float(np.median(off)))
            weight = np.maximum(1 - (off / (4 * scale)) ** 2, 0) ** 2 / noise**2
            if np.count_nonzero(weight) < LEAST_NEAR:
                return None
        with_it = off < DEVIATIONS
        if with_it.sum() < max(LEAST_NEAR, LEAST_SHARE * len(off)):
            return None
        return Moved(float(moved[0]), float(moved[1]), turned)

    def lower(self, motion: Moved) -> tuple[np.ndarray, np.ndarray]:
        """Return which points are lower than the floor, and the way of each by that of the floor.

        The floor's points seem to move by the way of the lens, those of a floor of another height
        below the lens by that times the ratio of the heights.
        """
        way = np.array([motion.ahead_m, motion.left_m])
        seeming = self.before - self.now @ _turn(motion.turned_rad).T
        share = seeming @ way / motion.way_m**2
        aside = np.abs(seeming @ np.array([-way[1], way[0]])) / motion.way_m
        sigma = self.noise_m / motion.way_m
        far = np.linalg.norm(self.now, axis=1)
        same = (aside < DEVIATIONS * self.noise_m) & (share > LEAST) & (far < FARTHEST_M)
        alone = same & (sigma < CERTAIN)
        alone &= share < 1 - np.maximum(LOWER, DEVIATIONS * sigma)
        found = alone if alone.sum() >= LEAST_LOWER else np.zeros_like(alone)
        for begin in BANDS_M:  # points that are too uncertain alone, but not together
            band = same & (sigma < CERTAIN_OF_MANY) & (far >= begin) & (far < begin + BAND_M)
            if band.sum() < LEAST_LOWER:
                continue
            of_all = MEDIAN * float(np.median(sigma[band])) / math.sqrt(band.sum())
            if float(np.median(share[band])) < 1 - max(LOWER, DEVIATIONS_OF_MANY * of_all):
                found = found | (band & (share < 1 - LOWER))
        return found, share


def _turn(by_rad: float) -> np.ndarray:
    c, s = math.cos(by_rad), math.sin(by_rad)
    return np.array([[c, -s], [s, c]])


def _rigid(before: np.ndarray, now: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """The turn and the way of the lens that carry `now` to `before`, by weighted least squares."""
    total = weight.sum()
    a, b = weight @ now / total, weight @ before / total
    p, q = now - a, before - b
    sine = float(weight @ (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]))
    cosine = float(weight @ (p * q).sum(axis=1))
    turned = math.atan2(sine, cosine)
    return turned, b - _turn(turned) @ a


class FloorMotion:
    """Judges the floor of one camera, picture by picture.

    `found`: why the floor must not be believed; '' if nothing speaks against it. It is held until
    the camera looks elsewhere: by how the near floor moves, the robot has turned or moved on.
    """

    def __init__(self) -> None:
        self._known: tuple[object, _Floor] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self.found = ''
        self._grey: np.ndarray | None = None
        self._stamp_s = -math.inf
        self._points = np.zeros((0, 2), np.float32)
        self._place = np.eye(4)
        # From where a lower floor was found, and by which share of what is elsewhere it is held.
        self._places: list[tuple[np.ndarray, float]] = []
        # Where one seemed to be, (2,) m, in the last pairs in which one did.
        self._suspects: collections.deque[np.ndarray] = collections.deque(maxlen=SUSPECTS)

    def update(
        self, stamp_s: float, grey: np.ndarray, camera: CameraModel, mount: CameraMount
    ) -> str:
        """Take a picture, (h, w) uint8, of a camera of its size; return `found`."""
        if not 0 <= stamp_s - self._stamp_s <= LONGEST_S or (
            self._grey is None or self._grey.shape != grey.shape
        ):
            self._begin(stamp_s, grey, camera, mount)
            return self.found
        seen = self._followed(grey, camera, mount)
        motion = seen.motion() if seen is not None else None
        if seen is None or motion is None:
            self._begin(stamp_s, grey, camera, mount)
            return self.found
        here = self._place @ motion.pose()
        if motion.way_m >= LEAST_WAY_M:
            self._judge(seen, motion, here)
        elif abs(motion.turned_rad) < 0.02 and stamp_s - self._stamp_s < 0.5 * LONGEST_S:
            return self.found  # hardly any motion: wait for more
        self._place = here
        if self._places and all(is_elsewhere(at, here, share=by) for at, by in self._places):
            self._places, self.found = [], ''
        self._begin(stamp_s, grey, camera, mount)
        return self.found

    def _judge(self, seen: FloorPoints, motion: Moved, here: np.ndarray) -> None:
        lower, share = seen.lower(motion)
        if lower.sum() < LEAST_LOWER:
            return
        middle = np.median(seen.now[lower], axis=0)
        suspect = (here @ np.array([*middle, 0.0, 1.0]))[:2]
        again = [np.linalg.norm(suspect - each) < SAME_PLACE_M for each in self._suspects]
        self._suspects.append(suspect)
        # Once may be chance, or something that moves: it is held for a short way.
        share_held = 1.0 if any(again) else SHORT
        nearest = float(np.percentile(np.linalg.norm(seen.now[lower], axis=1), 20))
        ratio = float(np.median(share[lower]))
        self.found = (
            f'{int(lower.sum())} points from {nearest:.1f} m on move in the picture as if '
            f'{1 / ratio:.1f} times as far below the lens as the floor: an edge or a step '
            f'down, held until the robot has turned {29 * share_held:.0f} degrees or moved '
            f'{2 * share_held:g} m'
        )
        if any(again) or all(is_elsewhere(at, here, share=0.2) for at, _ in self._places):
            self._places = [*self._places, (here, share_held)][-PLACES:]

    def _begin(
        self, stamp_s: float, grey: np.ndarray, camera: CameraModel, mount: CameraMount
    ) -> None:
        """Points are followed from this picture on."""
        self._grey, self._stamp_s = grey, stamp_s
        texture = cv2.cornerMinEigenVal(grey, 5)
        on_floor = self._floor(camera, mount, grey.shape)
        self._points = np.concatenate(
            [_corners(texture, region) for region in (on_floor.feet, on_floor.beyond)]
        )

    def _floor(self, camera: CameraModel, mount: CameraMount, shape: tuple[int, ...]) -> _Floor:
        """The floor as it lies in the picture, computed again when anything changes."""
        key = camera, mount, shape
        if self._known is None or self._known[0] != key:
            self._known = key, _Floor(camera, mount, shape)
        return self._known[1]

    def _followed(
        self, grey: np.ndarray, camera: CameraModel, mount: CameraMount
    ) -> FloorPoints | None:
        """The points as they are on the floor, where they can be followed."""
        if len(self._points) < LEAST_NEAR:
            return None
        before = self._points[:, None]
        now, there = _flow(self._grey, grey, before)
        back, again = _flow(grey, self._grey, now, before)
        good = (there[:, 0] > 0) & (again[:, 0] > 0)
        good &= np.linalg.norm((back - before)[:, 0], axis=1) < THERE_AND_BACK_PX
        if good.sum() < LEAST_NEAR:
            return None
        before, now = before[good, 0].astype(float), now[good, 0].astype(float)
        on_floor = self._floor(camera, mount, grey.shape)
        ends, shifted = on_floor.at(now), on_floor.at(now + (0.0, 1.0))
        starts = on_floor.at(before)
        noise = np.linalg.norm(shifted - ends, axis=1) * NOISE_PX * math.sqrt(2)
        known = np.isfinite(starts).all(axis=1) & np.isfinite(ends).all(axis=1) & (noise > 0)
        near = on_floor.below(now) > (1 - NEAR_SHARE) * on_floor.lowest
        return FloorPoints(starts[known], ends[known], noise[known], near[known])


def _corners(texture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(n, 2) float32, the best textured pixel of each square of a region, POINTS at most."""
    side = 2 * APART_PX
    rows, columns = (length // side for length in texture.shape)
    squares = np.where(region, texture, 0)[: rows * side, : columns * side]
    squares = squares.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side * side)
    best = squares.argmax(axis=1)
    value = squares[np.arange(len(best)), best]
    chosen = np.argsort(-value, kind='stable')[:POINTS]
    chosen = chosen[value[chosen] > QUALITY * value.max(initial=LEAST_TEXTURE)]
    row, column = np.divmod(chosen, columns)
    y, x = np.divmod(best[chosen], side)
    return np.stack([column * side + x, row * side + y], axis=1).astype(np.float32)


def _flow(first: Any, second: Any, points: Any, guess: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Where points of the first picture are in the second, and whether they were found there.

    guess: where they are, about: then only the finest level is looked at.
    """
    moved, there, _ = cv2.calcOpticalFlowPyrLK(
        first,
        second,
        points,
        None if guess is None else guess.copy(),
        winSize=WINDOW,
        maxLevel=LEVELS if guess is None else 0,
        criteria=CRITERIA,
        flags=0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return moved, there


class _Floor:
    """Where pixels of a picture lie on the floor, and how far below the horizon."""

    def __init__(self, camera: CameraModel, mount: CameraMount, shape: tuple[int, ...]) -> None:
        self._axes, self._height_m = mount.body_axes(), mount.height_m
        self._x, self._y = camera.normalised_grid(shape[1], shape[0])
        descent = mount.descent((self._x, self._y))
        self.lowest = largest_in_view(descent)
        # Where points are at the robot's feet, and where beyond.
        self.feet = descent > (1 - NEAR_SHARE) * self.lowest
        self.beyond = (descent > mount.height_m / FARTHEST_M) & ~self.feet

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 2) metres ahead and to the left; not finite above the horizon."""
        rays = self._rays(pixels)
        with np.errstate(divide='ignore', invalid='ignore'):
            reach = np.where(rays[:, 2] < 0, -self._height_m / rays[:, 2], np.nan)
        return rays[:, :2] * reach[:, None]

    def below(self, pixels: np.ndarray) -> np.ndarray:
        """(n,), as `CameraMount.descent`."""
        return -self._rays(pixels)[:, 2]

    def _rays(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 3) of pixels, in the body frame, per metre of Z."""
        at = pixels[:, None].astype(np.float32)
        x, y = (
            cv2.remap(np.asarray(grid, np.float32), at, None, cv2.INTER_LINEAR)[:, 0]
            for grid in (self._x, self._y)
        )
        rays = np.stack([x, y, np.ones_like(x)], axis=1).astype(float)
        return rays @ self._axes.T
