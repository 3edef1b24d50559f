"""Obstacles and drops from metric depth.

Height above the floor follows from depth and mount. An obstacle is what is between `min_height` and
`max_height` above the floor, or where the floor is missing by more than `max_drop`: a hole, a step
down. A drop is located at its near edge, where its ray meets the floor.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from midas_depth_ros.geometry.contact import range_factors
from midas_depth_ros.geometry.fitting import Grid, checked, robust_deviation, without_specks
from midas_depth_ros.geometry.floor_drop import beyond_drop
from midas_depth_ros.geometry.mount import CameraMount, body_rays, rays_ahead
from midas_depth_ros.options.metric import ObstacleOptions, ScanOptions, SigmaOptions

NOISE_DEVIATIONS = 3.0  # an obstacle stands out from the floor by this many of its deviations
MAX_DEVIATION = 0.08  # the deviation counts as at most this share of 1/Z
DROP_SHARE = 0.25  # farther behind the floor, as a share of its 1/Z, is a drop and not noise
# With less than this share of what is below the horizon behind the floor, or before it, there is no
# noise.
MIN_BEHIND = 0.05
SAMPLED = 2  # step between sampled rows and columns
SAME_FRONT = 0.025  # the nearest pixels, up to this share farther, are one front: their mean counts
MAX_DROP_RANGE_M = 2.0  # a floor farther away is seen at too grazing an angle to find drops
# An uncertain obstacle may be this many deviations (of 1/Z, at most so large in 1/m) before where
# it was measured.
AT_THE_NEAREST, MOST_DOUBT = np.float32(2.0), np.float32(50.0)
SOMEWHERE = np.float32(0.6)  # share of 1/Z: with less certainty it is only known to be there
REACH = 0.04  # of the width: how far an obstacle may move in the picture per frame
GAP_S = 1.0  # after a longer pause, obstacles count at once
FAR_INVERSE_DEPTH = np.float32(1e-6)  # stands for "beyond range" in the median, 1/m


@dataclasses.dataclass(frozen=True)
class Obstacles:
    """What each pixel is and where, (h, w); in the body frame of `CameraMount`.

    mask: bool, obstacles including drops; drop: bool. dropped: bool, looks like an obstacle but
    does not count, as a speck or new: unknown. floor: bool, floor that is seen: below the horizon,
    certain, and not an obstacle candidate. height_m: float32 above the floor, NaN unknown, -inf
    beyond range below the horizon. points: (h, w, 3) float32, x, y, z in metres, NaN unknown; of a
    drop, its edge on the floor. nearest: (x, y, z) of the nearest front in the robot's corridor, or
    None; nearest_range_m: how far ahead (x) it is, inf without one.
    """

    mask: np.ndarray
    drop: np.ndarray
    dropped: np.ndarray
    floor: np.ndarray
    height_m: np.ndarray
    points: np.ndarray
    nearest: tuple[float, float, float] | None

    @property
    def nearest_range_m(self) -> float:
        """Metres ahead to the nearest obstacle in the corridor; inf: none in view."""
        return self.nearest[0] if self.nearest else math.inf


def find_obstacles(
    depth_z: np.ndarray,
    grid: Grid,
    mount: CameraMount,
    options: ObstacleOptions | None = None,
    *,
    max_range_m: float = ScanOptions.range_max,
    residual: float = 0.0,
    floor_drop: tuple[float, float] = (0.0, 0.0),
    smooth: bool = True,
    sigma: np.ndarray | None = None,
    max_share: float = SigmaOptions.max_share,
) -> Obstacles:
    """Return the obstacles in metric depth.

    depth_z: (h, w) float32 metres along the optical axis; NaN unknown; inf farther than can be
    measured, as `ScaleShift.depth(d, min_depth_m=0, beyond=math.inf)` gives it (with NaN instead,
    very near objects and a cliff with nothing visible below it are missed). grid:
    `CameraModel.normalised_grid(w, h)`. max_range_m: obstacles farther away along the floor are
    ignored. residual: `ScaleShift.floor_residual`, 1/m: what stands out from the floor by less, or
    by less than three deviations of the floor in view, is floor. floor_drop: as of `ScaleShift`:
    beyond that edge less is enough for a drop. smooth: apply a 3x3 median first,
    which keeps thin objects longer than `min_pixels`. sigma: (h, w) float32, the standard deviation
    of 1/Z, 1/m, but for that of edges: what is less certain than `max_share` of its 1/Z is not seen
    as floor, and an obstacle counts where it is at the nearest, two deviations before where it was
    measured: it may be there. What is less certain than `SOMEWHERE` is `dropped` there: unknown,
    since a distance that is a guess helps nobody. Raises `InvalidInverseDepth` for arrays of the
    wrong shape or type.
    """
    options = options or ObstacleOptions()
    known = checked(depth_z, grid) > 0
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = np.where(known, 1 / depth_z, 0).astype(np.float32)
    descent = mount.descent(grid)
    ground = mount.ground_inverse_depth(grid)
    if smooth:
        inverse = _smoothed(inverse, ground, known, mount, options)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = 1 / inverse
        height = np.float32(mount.height_m) - depth * descent
        ground_depth = 1 / ground
    beyond = known & (inverse <= FAR_INVERSE_DEPTH)
    height[beyond] = np.where(descent[beyond] > 0, -np.inf, np.inf)
    height[~known] = np.nan
    off = inverse - ground
    before, behind = _unevenness(off, ground, known)
    size, least = np.maximum(ground, 0), np.float32(residual)
    above = (height >= options.min_height) & (off > before * size + least)
    lower = off < -(behind * size + least)
    if floor_drop[0] > 0:
        lower |= beyond_drop(off, ground, floor_drop)
    below = (height < -options.max_drop) & (descent > 0) & lower
    floor = known & (descent > 0) & ~above & ~below
    somewhere = np.zeros_like(known)  # it is there, but nobody knows where
    if sigma is not None:
        unsure = known & ~(sigma <= np.float32(max_share) * inverse)  # also where sigma is NaN
        floor &= ~without_specks(unsure & floor, options.min_pixels)
        there = unsure & above & ~beyond
        doubt = np.fmin(sigma[there], MOST_DOUBT)
        somewhere[there] = doubt > SOMEWHERE * inverse[there]
        depth[there] = 1 / (inverse[there] + AT_THE_NEAREST * doubt)
    planes = _points(np.where(below, ground_depth, depth), grid, mount)
    away = np.sqrt(planes[0] ** 2 + planes[1] ** 2)  # np.hypot takes ten times as long
    raised = above & (height <= options.max_height) & (away <= max_range_m) & ~beyond
    drop = below & (away <= MAX_DROP_RANGE_M)
    candidates = raised | drop
    raised &= ~somewhere
    raised, drop = (without_specks(mask, options.min_pixels) for mask in (raised, drop))
    mask = raised | drop
    _stand(planes, inverse, ground, grid, mount, raised, floor)
    points = np.moveaxis(planes, 0, -1)
    nearest = nearest_in_corridor(mask, points, options)
    return Obstacles(mask, drop, candidates & ~mask, floor, height, points, nearest)


def _stand(
    planes: np.ndarray,
    inverse: np.ndarray,
    ground: np.ndarray,
    grid: Grid,
    mount: CameraMount,
    raised: np.ndarray,
    floor: np.ndarray,
) -> None:
    """Move what stands on the floor to its foot, in place; as high as it is."""
    ahead = rays_ahead(grid, mount)
    pixels, factors = range_factors(inverse, ground, ahead, raised, floor)
    for plane in planes[:2]:
        plane.reshape(-1)[pixels] *= factors


def _smoothed(
    inverse: np.ndarray,
    ground: np.ndarray,
    known: np.ndarray,
    mount: CameraMount,
    options: ObstacleOptions,
) -> np.ndarray:
    """1/Z after a 3x3 median, except for what it would remove: poles and slats of a pixel."""
    smooth = cv2.medianBlur(inverse, 3)
    if not known.all():  # of what is beside the unknown, as along the rim of a fisheye's circle
        beside = cv2.dilate((~known).view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        smooth = np.where(beside, inverse, smooth)
    least = np.float32(options.min_height / mount.height_m)  # height is height_m * off / inverse
    off = inverse - ground
    above = known & (off > _unevenness(off, ground, known)[0] * np.maximum(ground, 0))
    above &= (off >= least * inverse) & (smooth - ground < least * smooth)
    return np.where(without_specks(above, options.min_pixels), inverse, smooth)


def _unevenness(
    off: np.ndarray, ground: np.ndarray, known: np.ndarray
) -> tuple[np.float32, np.float32]:
    """NOISE_DEVIATIONS deviations of the floor itself, as a share of its 1/Z: what counts as noise
    before the floor, and behind it.

    Judged by what is behind the floor, by less than a drop would be: obstacles are all before it.
    But a lower floor is all behind it, and by a small share where the camera is high: noise would
    be before the floor as much, so behind it no more counts than there is.
    """
    every = np.s_[::SAMPLED, ::SAMPLED]
    below = known[every] & (ground[every] > 0)
    share = off[every][below] / ground[every][below]
    least = MIN_BEHIND * share.size
    behind = share[(share < 0) & (share > -DROP_SHARE)]
    if not behind.size or behind.size < least:
        return np.float32(0), np.float32(0)
    deviation = min(robust_deviation(-behind), MAX_DEVIATION)
    before = share[(share > 0) & (share < DROP_SHARE)]
    few = not before.size or before.size < least
    mirrored = 0.0 if few else min(robust_deviation(before), deviation)
    return np.float32(NOISE_DEVIATIONS * deviation), np.float32(NOISE_DEVIATIONS * mirrored)


def _points(depth: np.ndarray, grid: Grid, mount: CameraMount) -> np.ndarray:
    """Return (3, h, w) x, y, z: most steps need one plane."""
    finite = np.where(np.isfinite(depth), depth, np.float32(np.nan))
    points: np.ndarray = body_rays(grid, mount) * finite
    points[2] += np.float32(mount.height_m)
    return points


def nearest_in_corridor(
    mask: np.ndarray, points: np.ndarray, options: ObstacleOptions
) -> tuple[float, float, float] | None:
    """Return (x, y, z) of the nearest front of `min_pixels` in the corridor, or None."""
    inside = mask & (np.abs(points[..., 1]) <= 0.5 * options.robot_width) & (points[..., 0] > 0)
    pixels = np.flatnonzero(inside)
    ahead = points[..., 0].reshape(-1)[pixels]
    if ahead.size < options.min_pixels:
        return None
    rank = options.min_pixels - 1
    first = np.partition(ahead, rank)[rank]
    pixels = pixels[ahead <= first * (1 + SAME_FRONT)]
    front = np.stack([points[..., axis].reshape(-1)[pixels] for axis in range(3)], axis=1)
    x, y, z = front.astype(np.float64).mean(axis=0)
    return float(x), float(y), float(z)


class ObstacleMemory:
    """Lets an obstacle count only after several frames in a row have shown it.

    A pixel counts if it or one near it was an obstacle in each of the last `persistence` frames;
    the rest is `dropped`: unknown, not free. Near is how far the picture may have moved: `REACH` of
    its width, and sideways as far as the camera has turned since. The first frames, and those after
    a gap or a stamp that goes back, count as they are: a robot that has just begun to see must not
    wait for a warning.
    """

    def __init__(self, options: ObstacleOptions) -> None:
        self.options = options
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self._masks: list[np.ndarray] = []
        self._stamp_s = -math.inf

    def update(self, stamp_s: float, seen: Obstacles, *, pixel_rad: float = math.inf) -> Obstacles:
        """Return `seen` with what earlier frames did not show moved from `mask` to `dropped`.

        pixel_rad: angle between two neighbouring pixels of a row; inf = no turning.
        """
        elapsed_s = stamp_s - self._stamp_s
        if not 0 <= elapsed_s <= GAP_S or (
            self._masks and self._masks[-1].shape != seen.mask.shape
        ):
            self._masks, elapsed_s = [], 0.0
        self._stamp_s = stamp_s
        width = seen.mask.shape[1]
        up = max(1, round(REACH * width))
        turned = round(elapsed_s * self.options.max_turn_rate / pixel_rad)
        aside = min(up + turned, width)
        # Each mask grows, frame by frame, by what may have moved since.
        nearby = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * aside + 1, 2 * up + 1))
        self._masks = [cv2.dilate(mask.view(np.uint8), nearby).view(bool) for mask in self._masks]
        lasting = seen.mask.copy()
        for earlier in self._masks:
            lasting &= earlier
        keep = self.options.persistence - 1
        self._masks = [*self._masks, seen.mask][-keep:] if keep else []
        return dataclasses.replace(
            seen,
            mask=lasting,
            drop=seen.drop & lasting,
            dropped=seen.dropped | (seen.mask & ~lasting),
            nearest=nearest_in_corridor(lasting, seen.points, self.options),
        )
