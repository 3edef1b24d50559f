"""Points that are seen in three successive frames, and how much their depth flickers.

Of rendered drives points and motions are exact; in real pictures the points are matched features,
and the motion of the camera is the one that they and the depth of the frames alone tell: it does
not come from what is measured.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from benchmarks.recordings import Recording
from midas_depth_ros.geometry import Refusal
from midas_depth_ros.geometry.flow import motion_of_points
from midas_depth_ros.geometry.rays import BEHIND, Rays, sampled

FARTHEST_M = 6.0  # what is farther away is not judged
GRID_PX = 8  # step between the points of a rendered picture whose flicker is measured
SAME = 0.02  # a point is seen again where its true 1/Z is within this share of what is expected
FEATURES, UNIQUE = 800, 0.8  # per picture; nearest match by second nearest, at most
MIN_MATCHES, EPIPOLAR_PX, SURE = 12, 1.5, 0.99
MOTION_ROUNDS, MAX_OFF_PX = 5, 2.5  # of the median match from the motion of all

Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # (n, 2) pixels in three successive frames


def exact_points(recording: Recording) -> list[Points | None]:
    """Return points of a rendered drive, by its exact depth and poses."""
    rays = Rays().of(recording.grid, recording.true[0].shape)
    lattice = np.zeros(recording.true[0].shape, bool)
    lattice[GRID_PX // 2 :: GRID_PX, GRID_PX // 2 :: GRID_PX] = True

    def seen_in(frame: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        step = np.linalg.inv(recording.poses[other]) @ recording.poses[frame]
        true = recording.true[frame]
        places, _ = rays.places(true, step)
        there = brought(sampled(recording.true[other], places), places, rays, step)
        return places, np.abs(there / true - 1) < SAME

    made: list[Points | None] = []
    for middle in range(1, len(recording.d) - 1):
        (before, seen), (after, again) = (seen_in(middle, middle + way) for way in (-1, 1))
        good = lattice & seen & again & (recording.true[middle] > 1 / FARTHEST_M)
        points = [each[:, good].T for each in (before, rays.pixels, after)]
        made.append((points[0], points[1], points[2]) if good.sum() else None)
    return made


def brought(inverse: np.ndarray, at: np.ndarray, rays: Rays, step: np.ndarray) -> np.ndarray:
    """1/Z (h, w) at pixels `at` (2, h, w) of one camera, in that from which `step` leads there."""
    x, y = (sampled(axis, at) for axis in (rays.x, rays.y))
    back = step[:3, :3].T
    along = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    return inverse / (along - (back[2] @ step[:3, 3]) * inverse)


class Matches:
    """Features of real pictures (H, W) and their matches, in pixels of those shrunk by a factor.

    SIFT features that are each other's best match, and agree on one epipolar geometry.
    """

    def __init__(self, greys: list[np.ndarray], shrink: float) -> None:
        sift = cv2.SIFT_create(FEATURES)  # type: ignore[attr-defined]
        found = [sift.detectAndCompute(grey, None) for grey in greys]
        self._told = [told for _, told in found]
        # In pixels of the given pictures, and of the shrunk ones.
        self._large = [
            np.array(cv2.KeyPoint.convert(keys), np.float32).reshape(-1, 2) for keys, _ in found
        ]
        self.pixels = [((each + 0.5) / shrink - 0.5).astype(np.float32) for each in self._large]
        pairs = [self._matched(one, one - 1) for one in range(1, len(greys))]
        self.to_before: list[np.ndarray] = [np.zeros((0, 2), int), *pairs]  # (n, 2) indices

    def _matched(self, one: int, other: int) -> np.ndarray:
        here, there = self._told[one], self._told[other]
        none = np.zeros((0, 2), int)
        if here is None or there is None or min(len(here), len(there)) < 8:
            return none
        back = _best(there, here)
        both = np.array([(a, b) for a, b in _best(here, there).items() if back.get(b) == a])
        if len(both) < MIN_MATCHES:
            return none
        ends = [self._large[frame][both[:, side]] for side, frame in enumerate((one, other))]
        _, good = cv2.findFundamentalMat(ends[0], ends[1], cv2.FM_RANSAC, EPIPOLAR_PX, SURE)
        return none if good is None else both[good.ravel() > 0]

    def points(self) -> list[Points | None]:
        """Return the points that are matched over three frames."""
        made: list[Points | None] = []
        for middle in range(1, len(self.pixels) - 1):
            before = dict(self.to_before[middle])
            three = [(before[b], b, a) for a, b in self.to_before[middle + 1] if b in before]
            if not three:
                made.append(None)
                continue
            columns = np.array(three).T
            ends = [self.pixels[middle - 1 + k][columns[k]] for k in range(3)]
            made.append((ends[0], ends[1], ends[2]))
        return made

    def steps(self, inverse: list[np.ndarray], rays: Rays) -> list[np.ndarray | None]:
        """Return (4, 4) from each frame into the one before, in the scale of its 1/Z, or None."""
        made: list[np.ndarray | None] = [None]
        for frame in range(1, len(self.pixels)):
            here, there = self.to_before[frame].T
            ends = self.pixels[frame][here], self.pixels[frame - 1][there]
            made.append(_motion(ends[0], ends[1], inverse[frame], rays))
        return made


def _best(one: np.ndarray, other: np.ndarray) -> dict[int, int]:
    pairs = cv2.BFMatcher().knnMatch(one, other, k=2)
    return {a.queryIdx: a.trainIdx for a, b in pairs if a.distance < UNIQUE * b.distance}


def _motion(
    here: np.ndarray, there: np.ndarray, inverse: np.ndarray, rays: Rays
) -> np.ndarray | None:
    """The motion of points (n, 2) with depth, as exactly as they tell it; None if they do not."""
    if len(here) < MIN_MATCHES:
        return None
    at, at_there = (_places(each) for each in (here, there))
    values = [sampled(axis, at)[0] for axis in (rays.x, rays.y, inverse)]
    values += [sampled(axis, at_there)[0] for axis in (rays.x, rays.y)]
    good = np.isfinite(values).all(axis=0) & (values[2] > 0)
    if np.count_nonzero(good) < MIN_MATCHES:
        return None
    x, y, w, x_there, y_there = (each[good].astype(np.float64) for each in values)
    step = np.eye(4)
    for last in range(MOTION_ROUNDS, -1, -1):
        points = step[:3, :3] @ np.stack((x, y, np.ones_like(x))) + step[:3, 3:] * w
        if (points[2] < BEHIND).any():
            return None
        a, b = points[:2] / points[2]
        if not last:
            break
        # Linear in small turns, so again from where the last one led.
        more = motion_of_points(a, b, x_there, y_there, w / points[2], rays.pixel, np.inf)
        if isinstance(more, Refusal):
            return None
        step = more @ step
    off_px = np.hypot(a - x_there, b - y_there) / rays.pixel
    return step if np.median(off_px) < MAX_OFF_PX else None


def _places(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.T.reshape(2, 1, -1), dtype=np.float32)


# --- Flicker.


@dataclasses.dataclass
class Flicker:
    """|second difference| of the logarithm of 1/Z over three frames, of all points."""

    plain: np.ndarray
    aligned: np.ndarray

    @property
    def median(self) -> float:
        return float(np.nanmedian(self.plain))


def flicker(
    inverse: list[np.ndarray | None],
    points: list[Points | None],
    steps: list[np.ndarray | None],
    moved_by: list[np.ndarray],
    rays: Rays,
) -> Flicker:
    """Return the flicker of static points, each brought to the middle one of three cameras.

    steps: per frame (4, 4) from its optical frame into that of the frame before, or None. moved_by:
    1/Z in whose scale these steps are. What the motion changes is no flicker, so it is taken away,
    and as the same share of Z for whatever is judged. aligned: the median of each three frames is
    taken away, too, which is what their scales differ by.
    """
    plain, aligned = [np.zeros(0)], [np.zeros(0)]
    for index, three in enumerate(points):
        frames = inverse[index : index + 3]
        to_before, to_here = steps[index + 1], steps[index + 2]
        if three is None or any(f is None for f in frames) or to_before is None or to_here is None:
            continue
        at = [_places(each) for each in three]
        values = [sampled(f, pixels) for f, pixels in zip(frames, at, strict=True) if f is not None]
        with np.errstate(invalid='ignore', divide='ignore'):
            logs = [np.log(each) for each in values]
            logs[0] += np.log(_ratio(moved_by[index + 1], at[1], rays, to_before))
            logs[2] -= np.log(_ratio(moved_by[index + 2], at[2], rays, to_here))
        second = (logs[0] - 2 * logs[1] + logs[2]).ravel()
        second = second[np.isfinite(second)]
        plain.append(np.abs(second))
        if second.size:
            aligned.append(np.abs(second - np.median(second)))
    return Flicker(np.concatenate(plain), np.concatenate(aligned))


def _ratio(inverse: np.ndarray, at: np.ndarray, rays: Rays, step: np.ndarray) -> np.ndarray:
    """Z there by Z here of pixels `at` (2, h, w) here."""
    x, y, w = (sampled(each, at) for each in (rays.x, rays.y, inverse))
    return step[2, 0] * x + step[2, 1] * y + step[2, 2] + step[2, 3] * w
