"""Depth fused over time: the last frame's, brought to this frame, and a Kalman step per pixel.

In: 1/Z with its standard deviation, the picture, and how the camera was placed; where that is not
known, dense optical flow tells how it moved. Out: 1/Z and deviation of the same frame, steadier.
Only what is seen now has a value: the past never fills what this frame does not know, and what
differs from its past (what moves, what was hidden) starts anew.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    MIN_SIDE,
    Grid,
    InvalidInverseDepth,
    robust_deviation,
    tukey_votes,
)
from midas_depth_ros.geometry.flow import PictureMotion
from midas_depth_ros.geometry.rays import BEHIND, OUTSIDE, Rays, sampled
from midas_depth_ros.geometry.scale import Refusal
from midas_depth_ros.options.metric import FusionOptions

# Chosen on rendered drives of furnished worlds 2 to 5 through the embedded model, and on
# redkitchen_a.
# The past counts by this factor less with every frame: the gain falls to 0.12 by odometry. The way
# that pictures tell is off by up to a fifth, so what comes nearer would lag with a longer memory.
FADING = {'odometry': 0.88, 'flow': 0.85}
# The variance of what starts anew, by that of a frame's noise: at the second sight of a point the
# new frame counts 0.37, so that a point that is seen three times is steady already.
FIRST_VARIANCE = 0.5
GAP_S = 2.5  # after a longer pause everything starts anew
MAX_STEP_M, MAX_TURN_RAD = 1.5, 1.0  # a camera that moves farther between two frames has jumped
NOISE, LEAST_NOISE_PER_M = 0.08, 0.001  # of one frame: a share of 1/Z, and 1/m
TAIL, PER_TAIL = 0.8, 1.2816  # the noise is that of a normal distribution with this quantile
# Of one frame against the next, in deviations of the noise:
LEAST_NOISE, MOST_NOISE, FIRST_NOISE = 0.2, 2.0, 0.5
NOISE_RISE = 1.5  # how much it may rise from one frame to the next
NOISE_SHARE = 0.5  # of the newest frame in the noise that is expected
MAX_CHANGE = 0.3  # what differs from its past by more than this share of 1/Z always starts anew
WITH_TREND = 1.15  # deviation of noise without its trend, by its own
TREND_SHARE = 0.5  # of the newest frame in how a pixel differs from its past, over frames
NEARER_GATE = 0.67  # of the gate, for what comes nearer: that is what a robot must see at once
TREND_GATE = 0.5  # and how large it may be, as a share of fusion.gate
UNLIKE = 20  # grey levels: by more, what is seen in two pictures is not the same
# Pixels around in which something alike may lie, where pictures are near to each other and far.
AROUND_PX = {False: 1, True: 7}
SAMPLED = 4  # step between the pixels by which a whole frame is compared with its past
MIN_SAMPLES = 100
# Between pictures that are far apart (rtabmap_corridor and furnished worlds 2 and 302 were looked
# at):
LINE_SAMPLED, LINE_ROUNDS = 6, 2  # for the line from the past's 1/Z to this frame's
LINE_NOISE_PER_M = 0.005
THROUGH_ZERO = 0.02  # weight of a line through zero, by that of the samples
MAX_SLOPE, MAX_SHIFT = 1.4, 0.3  # of a line; its shift as a share of the mean 1/Z
LEAST_SHARE = 0.5  # of its own 1/Z that a pixel keeps at least
LINE_SHARE = 0.3  # of it that the fused depth follows at once

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class _Past:
    """A fused frame.

    layers: four of (h, w) float32: 1/Z; its deviation; the variance of the filter; the trend: by
    how many deviations the frames differed from their past, smoothed.
    """

    stamp_s: float
    layers: tuple[Array, ...]
    grey: Picture
    pose: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Expected:
    """What the past says of this frame: its layers there, NaN where it says nothing.

    line: slope and shift, 1/m, from the 1/Z of the past to that of this frame, where the layers
    follow it by `LINE_SHARE`.
    """

    layers: list[Array]
    motion: str
    line: tuple[float, float] | None = None


class DepthFusion:
    """The fused depth of one camera, frame by frame.

    A Kalman filter of fading memory for every pixel: a frame alone counts fully, and its share
    falls to 1 - `FADING`. A pixel starts anew that differs from its past by more than `fusion.gate`
    deviations, or by half as much for several frames, as what comes nearer slowly does. The
    deviation follows the noise between frames, which is less than `sigma`, since most errors of a
    network stay the same from frame to frame.

    share_fused, share_anew: of the pixels with depth, in the last frame. motion: where its motion
    came from, 'odometry' or 'flow', or why there is none. far_apart: whether its picture was far
    from the one before, so that the motion had to be searched for.
    """

    def __init__(self, options: FusionOptions | None = None) -> None:
        self.options = options or FusionOptions()
        self._rays = Rays()
        self._by_pictures = PictureMotion()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self._past: _Past | None = None
        self._noise = FIRST_NOISE
        self._count(None, None, 'none: no frame before')

    def use(self, options: FusionOptions) -> None:
        """Take changed options; what was fused before is forgotten while fusion is off."""
        if not options.enabled:
            self.reset()
        self.options = options

    def values(self) -> dict[str, str]:
        """What there is to know of the last frame, for diagnostics; {} while fusion is off."""
        if not self.options.enabled:
            return {}
        return {
            'fusion motion': self.motion,
            'fusion share fused': f'{self.share_fused:.0%}',
            'fusion share started anew': f'{self.share_anew:.0%}',
        }

    def update(
        self,
        stamp_s: float,
        inverse: np.ndarray,
        sigma: np.ndarray,
        grey: np.ndarray,
        grid: Grid | None,
        pose: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return 1/Z and its standard deviation, both (h, w) float32, 1/m, of this frame, fused.

        inverse, sigma: of this frame alone; NaN unknown. grey: (h, w) uint8, the picture at their
        size. grid: `CameraModel.normalised_grid`; None: not calibrated, a usual lens is assumed for
        the flow. pose: (4, 4) float64, from the optical frame into a fixed one; None: the motion is
        not known. What is at 0 or less has no depth, and is left as it is. Raises
        `InvalidInverseDepth` for arrays of the wrong shape.
        """
        _check(inverse, sigma, grey, grid)
        if pose is not None and not np.isfinite(pose).all():
            pose = None
        past, reason = self._usable_past(stamp_s, inverse.shape, pose)
        if past is None:
            self._noise = FIRST_NOISE
        expected = reason if past is None else self._expected(past, inverse, grey, grid, pose)
        layers: tuple[Array, ...]
        if isinstance(expected, str):
            self._count(None, inverse, expected)
            first = _noise_of(inverse)
            first *= first
            first *= np.float32(FIRST_VARIANCE)
            layers = inverse.copy(), sigma.copy(), first, np.zeros_like(first)
        else:
            if expected.line is not None:
                inverse, sigma = _nearer_to_past(inverse, sigma, expected.line)
            layers, kept = self._step(inverse, sigma, expected)
            self._count(kept, inverse, expected.motion)
            self.far_apart = expected.line is not None
        self._past = _Past(stamp_s, layers, grey, pose)
        return layers[0].copy(), layers[1].copy()

    def repeat(
        self, stamp_s: float, grey: np.ndarray, pose: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what `update` returned for the frame before, for one that shows the same.

        None where there is none, or another size. The same depth again is no second measurement.
        """
        past = self._past
        if past is None or past.layers[0].shape != grey.shape:
            return None
        self._past = dataclasses.replace(past, stamp_s=stamp_s, grey=grey, pose=pose)
        return past.layers[0].copy(), past.layers[1].copy()

    def _count(self, kept: np.ndarray | None, inverse: Array | None, motion: str) -> None:
        known = 0 if inverse is None else int(np.count_nonzero(inverse > 0))
        fused = 0 if kept is None else int(np.count_nonzero(kept))
        self.share_fused = fused / known if known else 0.0
        self.share_anew = 1 - self.share_fused if known else 0.0
        self.motion = motion
        self.far_apart = False

    def _usable_past(
        self, stamp_s: float, shape: tuple[int, ...], pose: np.ndarray | None
    ) -> tuple[_Past | None, str]:
        """The frame before, or None and why it does not count."""
        past = self._past
        if past is None:
            return None, 'none: no frame before'
        if not 0 < stamp_s - past.stamp_s <= GAP_S:
            return None, 'none: the frame before is too old, or stamps went back'
        if past.layers[0].shape != shape:
            return None, 'none: the size has changed'
        if pose is not None and past.pose is not None:
            step = _step_between(pose, past.pose)
            turn = math.acos(float(np.clip(0.5 * (np.trace(step[:3, :3]) - 1), -1, 1)))
            if np.linalg.norm(step[:3, 3]) > MAX_STEP_M or turn > MAX_TURN_RAD:
                return None, 'none: the odometry has jumped'
        return past, ''

    def _expected(
        self,
        past: _Past,
        inverse: Array,
        grey: Picture,
        grid: Grid | None,
        pose: np.ndarray | None,
    ) -> _Expected | str:
        """What the past says of this frame, or why it says nothing."""
        rays, ways = (
            self._rays.of(grid, inverse.shape),
            (cv2.INTER_LINEAR, *(cv2.INTER_NEAREST,) * 3),
        )
        if pose is not None and past.pose is not None and grid is not None:
            step = _step_between(pose, past.pose)
            places, seen = rays.places(inverse, step)
            layers = [sampled(a, places, way) for a, way in zip(past.layers, ways, strict=True)]
            return _Expected(_brought_here(layers, seen, step), 'odometry')
        found = self._by_pictures.between(grey, past.grey, inverse, rays)
        if isinstance(found, Refusal):
            return f'unknown: {found.reason}'
        places, seen = rays.places(inverse, found.step)
        there = cv2.remap(past.grey, places[0], places[1], cv2.INTER_LINEAR)
        aside = found.aside | (found.unsure & _unlike(grey, there, AROUND_PX[found.far_apart]))
        np.copyto(places[0], np.float32(OUTSIDE), where=aside)
        layers = [sampled(a, places, way) for a, way in zip(past.layers, ways, strict=True)]
        if not found.far_apart:
            return _Expected(_brought_here(layers, seen, found.step), 'flow')
        scale, line = _line_between(inverse, layers[0], rays, found.step)
        layers[3][np.isfinite(layers[3])] = (
            0  # a trend is one of frames that are near to each other
        )
        layers = _brought_here(layers, seen, found.step, scale)
        layers[0] *= np.float32(1 + LINE_SHARE * (line[0] - 1))
        layers[0] += np.float32(LINE_SHARE * line[1])
        return _Expected(layers, 'flow', line)

    def _step(
        self, inverse: Array, sigma: Array, past: _Expected
    ) -> tuple[tuple[Array, ...], np.ndarray]:
        """One step of the filter: the layers of this frame, and which pixels were fused."""
        expected, deviation, variance, trend = past.layers
        variance *= np.float32(1 / FADING[past.motion])
        own = _noise_of(inverse)
        own *= own
        total = variance + own
        off = inverse - expected
        in_noise = off / np.sqrt(total)
        # (comparisons with NaN are False: what has no past or no depth is not kept)
        comparable = (inverse > 0) & np.isfinite(in_noise)
        noise = self._learned(in_noise, trend, comparable)
        trend *= np.float32(1 - TREND_SHARE)
        trend += in_noise * np.float32(TREND_SHARE)
        reach = np.float32(self.options.gate)
        farther, nearer = -reach * np.float32(noise), reach * np.float32(noise * NEARER_GATE)
        kept = comparable & (in_noise > farther) & (in_noise < nearer)
        kept &= np.abs(off) < np.float32(MAX_CHANGE) * expected
        kept &= np.abs(trend) < np.float32(TREND_GATE * noise) * reach
        rest = np.where(kept, own / total, np.float32(0))  # what the past counts
        off[~kept] = 0
        deviation[~kept] = 0
        # Errors of successive frames are alike, so averaging does not make depth surer; where
        # frames disagree it becomes less sure: the deviation of a mixture of both.
        mean = deviation
        mean -= sigma
        mean *= rest
        mean += sigma
        mean *= mean
        gain = 1 - rest
        rest *= off  # what is left of the difference
        off *= gain
        off *= rest
        mean += off
        own *= np.where(kept, gain, np.float32(FIRST_VARIANCE))
        trend[~kept] = 0
        return (inverse - rest, np.sqrt(mean, out=mean), own, trend), kept

    def _learned(self, in_noise: Array, trend: Array, comparable: np.ndarray) -> float:
        """The noise between frames, in deviations, given their differences (h, w) and the trend.

        What lasts over frames is no noise: it comes nearer otherwise than the motion says, and must
        not hide in it.
        """
        s = slice(None, None, SAMPLED)
        among = comparable[s, s]
        values = np.abs(in_noise[s, s][among] - trend[s, s][among]) * np.float32(1 / WITH_TREND)
        if values.size < MIN_SAMPLES:
            return self._noise
        place = int(TAIL * values.size)
        noise = float(np.partition(values, place)[place]) / PER_TAIL
        # More than the usual noise, by so much, is a change of what is seen, not noise.
        noise = max(min(noise, MOST_NOISE, NOISE_RISE * self._noise), LEAST_NOISE)
        self._noise += NOISE_SHARE * (noise - self._noise)
        return noise


def _check(inverse: np.ndarray, sigma: np.ndarray, grey: np.ndarray, grid: Grid | None) -> None:
    shape = inverse.shape
    if inverse.ndim != 2 or min(shape) < MIN_SIDE:
        raise InvalidInverseDepth(
            f'1/Z has shape {shape}: it must be (h, w), at least {MIN_SIDE}x{MIN_SIDE}'
        )
    named = {'sigma': sigma, 'grey': grey}
    if grid is not None:
        named |= {'x of the grid': grid[0], 'y of the grid': grid[1]}
    for name, array in named.items():
        if array.shape != shape:
            raise InvalidInverseDepth(
                f'{name} has shape {array.shape}, 1/Z {shape}: all must be of one size'
            )


def _step_between(pose: np.ndarray, past: np.ndarray) -> np.ndarray:
    """(4, 4) from the optical frame at `pose` into that at `past`."""
    return np.linalg.inv(past) @ pose


def _unlike(grey: Picture, other: np.ndarray, around_px: int) -> np.ndarray:
    """Where a picture (h, w) is like nothing around the same pixel of another."""
    around = np.ones((around_px, around_px), np.uint8)
    off = cv2.subtract(grey, cv2.dilate(other, around))
    off = cv2.max(off, cv2.subtract(cv2.erode(other, around), grey))
    return np.asarray(cv2.blur(off, (3, 3)) > UNLIKE)


def _noise_of(inverse: Array) -> Array:
    """The standard deviation of one frame alone, (h, w), 1/m, before it is learned."""
    noise = np.abs(inverse)
    noise *= np.float32(NOISE)
    noise += np.float32(LEAST_NOISE_PER_M)
    return noise


# --- The line between the depth of pictures that are far apart.


def _line_between(
    inverse: Array, past: Array, rays: Rays, step: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """How the 1/Z of two views of a network differ: as a scale, and as a line (slope, shift).

    inverse, past: (h, w), of this frame and of the same points in the past. Relative inverse depth
    has no scale and no shift of its own, so they are others in every view. How the camera's motion
    changes 1/Z does not depend on them: Z there by Z here follows from this frame alone.
    """
    s = slice(None, None, LINE_SAMPLED)
    w = inverse[s, s]
    along = np.float32(step[2, 0]) * rays.x[s, s]
    along += np.float32(step[2, 1]) * rays.y[s, s]
    along += np.float32(step[2, 2]) + np.float32(step[2, 3]) * w
    expected = along * past[s, s]
    good = (expected > 0) & (w > 0)
    e, w = expected[good].astype(np.float64), w[good].astype(np.float64)
    if e.size < MIN_SAMPLES:
        return 1.0, (1.0, 0.0)
    scale = _within(float(np.median(w / e)), 1 / MAX_SLOPE, MAX_SLOPE)
    slope, shift = scale, 0.0
    noise = NOISE * e + LINE_NOISE_PER_M
    for _ in range(LINE_ROUNDS):
        off = np.abs(w - slope * e - shift) / noise
        votes = tukey_votes(off, BIWEIGHT * max(robust_deviation(off), LEAST_NOISE)) / noise**2
        total = votes.sum()
        mean_e, mean_w = votes @ e / total, votes @ w / total
        # Both are as noisy, so the slope is that of their spreads; and few views differ by a shift
        # alone, so the line is held to one through zero.
        spread_e, spread_w = votes @ (e - mean_e) ** 2, votes @ (w - mean_w) ** 2
        held = THROUGH_ZERO * total * mean_e * mean_e
        slope = (math.sqrt(spread_e * spread_w) + held * mean_w / mean_e) / (spread_e + held)
        slope = _within(slope, 1 / MAX_SLOPE, MAX_SLOPE)
        shift = _within(mean_w - slope * mean_e, -MAX_SHIFT * mean_e, MAX_SHIFT * mean_e)
    return scale, (slope, shift)


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


def _nearer_to_past(inverse: Array, sigma: Array, line: tuple[float, float]) -> tuple[Array, Array]:
    """A frame with the scale and shift of its past, but for `LINE_SHARE` of the difference.

    Where this changes it, it is less sure. What is at 0 or less stays as it is.
    """
    slope, shift = line
    factor = (1 + LINE_SHARE * (slope - 1)) / slope
    moved = inverse * np.float32(factor)
    moved += np.float32(LINE_SHARE * shift - factor * shift)
    np.maximum(moved, np.float32(LEAST_SHARE) * inverse, out=moved)
    moved = np.where(inverse > 0, moved, inverse)
    off = moved - inverse
    off *= off
    off += sigma * sigma
    return moved, np.sqrt(off, out=off)


# --- The past, as this camera sees it.


def _brought_here(
    layers: list[Array], seen: Array, step: np.ndarray, scale: float = 1.0
) -> list[Array]:
    """Layers of points as the past camera measured them, changed to those of this one.

    seen: (2, h, w) their normalised coordinates there. step: from this optical frame into that.
    scale: by which the past's 1/Z is less than that in which the step is.
    """
    back = step[:3, :3].T.astype(np.float32)
    # Z here of a point at (x, y, 1) / w there is along / w - ahead.
    along = back[2, 0] * seen[0]
    along += back[2, 1] * seen[1]
    along += back[2, 2]
    ahead = np.float32(scale) * np.float32(back[2] @ step[:3, 3].astype(np.float32))
    below = along - ahead * layers[0]
    below[below < BEHIND] = np.nan
    ratio = np.reciprocal(below, out=below)
    layers[0] *= ratio
    along *= ratio
    along *= ratio  # the derivative of 1/Z here by that there
    layers[1] *= along
    layers[2] *= along
    layers[2] *= along
    return layers
