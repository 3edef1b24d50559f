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

from midas_depth_ros.geometry.fitting import MIN_SIDE, Grid, InvalidInverseDepth
from midas_depth_ros.geometry.flow import BEHIND, OUTSIDE, PictureMotion, Rays, sampled
from midas_depth_ros.geometry.scale import Refusal
from midas_depth_ros.options.metric import FusionOptions

# Chosen on rendered drives of furnished worlds 2 to 5 through the embedded model, and on
# redkitchen_a.
# The past counts by this factor less with every frame: the gain falls to 0.12 by odometry. The way
# that pictures tell is off by up to a fifth, so what comes nearer would lag with a longer memory.
FADING = {'odometry': 0.88, 'flow': 0.8}
GAP_S = 2.5  # after a longer pause everything starts anew
MAX_STEP_M, MAX_TURN_RAD = 1.5, 1.0  # a camera that moves farther between two frames has jumped
NOISE, LEAST_NOISE_PER_M = 0.08, 0.001  # of one frame: a share of 1/Z, and 1/m
TAIL, PER_TAIL = 0.8, 1.2816  # the noise is that of a normal distribution with this quantile
# Of one frame against the next, in deviations of the noise:
LEAST_NOISE, MOST_NOISE, FIRST_NOISE = 0.2, 2.0, 0.5
NOISE_RISE = 1.5  # how much it may rise from one frame to the next
NOISE_SHARE = 0.5  # of the newest frame in the noise that is expected
MAX_CHANGE = 0.3  # what differs from its past by more than this share of 1/Z always starts anew
TREND_SHARE = 0.5  # of the newest frame in how a pixel differs from its past, over frames
NEARER_GATE = 0.67  # of the gate, for what comes nearer: that is what a robot must see at once
TREND_GATE = 0.5  # and how large it may be, as a share of fusion.gate
UNLIKE = 20  # grey levels: by more, what is seen in two pictures is not the same
SAMPLED = 4  # step between the pixels by which a whole frame is compared with its past
MIN_SAMPLES = 100

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


class DepthFusion:
    """The fused depth of one camera, frame by frame.

    A Kalman filter of fading memory for every pixel: a frame alone counts fully, and its share
    falls to 1 - `FADING`. A pixel starts anew that differs from its past by more than `fusion.gate`
    deviations, or by half as much for several frames, as what comes nearer slowly does. The
    deviation follows the noise between frames, which is less than `sigma`, since most errors of a
    network stay the same from frame to frame.

    share_fused, share_anew: of the pixels with depth, in the last frame. motion: where its motion
    came from, 'odometry' or 'flow', or why there is none.
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
        predicted: list[Array] | None = None
        layers: tuple[Array, ...]
        if past is None:
            self._noise = FIRST_NOISE
        else:
            predicted, reason = self._predicted(past, inverse, grey, grid, pose)
        own = np.float32(NOISE) * np.abs(inverse)
        own += np.float32(LEAST_NOISE_PER_M)
        if predicted is None:
            self._count(None, inverse, reason)
            layers = inverse.copy(), sigma.copy(), own * own, np.zeros_like(own)
        else:
            layers, kept = self._step(inverse, sigma, own, predicted, reason)
            self._count(kept, inverse, reason)
        self._past = _Past(stamp_s, layers, grey, pose)
        return layers[0].copy(), layers[1].copy()

    def _count(self, kept: np.ndarray | None, inverse: Array | None, motion: str) -> None:
        known = 0 if inverse is None else int(np.count_nonzero(inverse > 0))
        fused = 0 if kept is None else int(np.count_nonzero(kept))
        self.share_fused = fused / known if known else 0.0
        self.share_anew = 1 - self.share_fused if known else 0.0
        self.motion = motion

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

    def _predicted(
        self,
        past: _Past,
        inverse: Array,
        grey: Picture,
        grid: Grid | None,
        pose: np.ndarray | None,
    ) -> tuple[list[Array] | None, str]:
        """The layers of the past at the pixels of this frame, NaN where there is none; the motion
        they came by.
        """
        rays = self._rays.of(grid, inverse.shape)
        aside = unsure = None
        if pose is not None and past.pose is not None and grid is not None:
            step = _step_between(pose, past.pose)
            motion = 'odometry'
        else:
            found = self._by_pictures.between(grey, past.grey, inverse, rays)
            if isinstance(found, Refusal):
                return None, f'unknown: {found.reason}'
            (step, aside, unsure), motion = found, 'flow'
        places, seen = rays.places(inverse, step)
        if aside is not None and unsure is not None:
            aside |= unsure & _unlike(
                grey, cv2.remap(past.grey, places[0], places[1], cv2.INTER_LINEAR)
            )
            np.copyto(places[0], np.float32(OUTSIDE), where=aside)
        ways = (cv2.INTER_LINEAR, *(cv2.INTER_NEAREST,) * 3)
        layers = [sampled(*pair) for pair in zip(past.layers, (places,) * 4, ways, strict=True)]
        return _brought_here(layers, seen, step), motion

    def _step(
        self, inverse: Array, sigma: Array, own: Array, predicted: list[Array], motion: str
    ) -> tuple[tuple[Array, ...], np.ndarray]:
        """One step of the filter: the layers of this frame, and which pixels were fused."""
        expected, deviation, variance, trend = predicted
        variance *= np.float32(1 / FADING[motion])
        own *= own
        total = variance + own
        off = inverse - expected
        in_noise = np.abs(off)
        in_noise /= np.sqrt(total)
        # (comparisons with NaN are False: what has no past or no depth is not kept)
        comparable = (inverse > 0) & (in_noise >= 0)
        noise = self._learned(in_noise[::SAMPLED, ::SAMPLED][comparable[::SAMPLED, ::SAMPLED]])
        trend *= np.float32(1 - TREND_SHARE)
        trend += np.copysign(in_noise, off) * np.float32(TREND_SHARE / noise)
        reach = np.float32(self.options.gate)
        farther, nearer = -reach * np.float32(noise), reach * np.float32(noise * NEARER_GATE)
        in_noise = np.copysign(in_noise, off, out=in_noise)
        kept = comparable & (in_noise > farther) & (in_noise < nearer)
        kept &= np.abs(off) < np.float32(MAX_CHANGE) * expected
        kept &= np.abs(trend) < np.float32(TREND_GATE) * reach
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
        own *= gain
        trend[~kept] = 0
        return (inverse - rest, np.sqrt(mean, out=mean), own, trend), kept

    def _learned(self, in_noise: Array) -> float:
        """The noise between frames, in deviations, given their differences (n,)."""
        if in_noise.size < MIN_SAMPLES:
            return self._noise
        place = int(TAIL * in_noise.size)
        noise = float(np.partition(in_noise, place)[place]) / PER_TAIL
        # More than twice the usual noise is a change of what is seen, not noise.
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


def _unlike(grey: Picture, other: np.ndarray) -> np.ndarray:
    """Where two pictures (h, w) differ, as they do where something else is seen."""
    return np.asarray(cv2.blur(cv2.absdiff(grey, other), (3, 3)) > UNLIKE)


def _brought_here(layers: list[Array], seen: Array, step: np.ndarray) -> list[Array]:
    """Layers of points as the past camera measured them, changed to those of this one.

    seen: (2, h, w) their normalised coordinates there. step: from this optical frame into that.
    """
    back = step[:3, :3].T.astype(np.float32)
    # Z here of a point at (x, y, 1) / w there is along / w - ahead.
    along = back[2, 0] * seen[0]
    along += back[2, 1] * seen[1]
    along += back[2, 2]
    ahead = np.float32(back[2] @ step[:3, 3].astype(np.float32))
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
