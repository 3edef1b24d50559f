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

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    MIN_SIDE,
    Grid,
    InvalidInverseDepth,
    robust_deviation,
    tukey_votes,
)
from midas_depth_ros.options.metric import FusionOptions

# Chosen on rendered drives of furnished worlds 2 to 5 through the embedded model, and on
# redkitchen_a.
FADING = 0.9  # the past counts by this factor less with every frame: the gain falls to 0.1
GAP_S = 2.5  # after a longer pause everything starts anew
MAX_STEP_M, MAX_TURN_RAD = 1.5, 1.0  # a camera that moves farther between two frames has jumped
LEAST_SHARE = 0.08  # of 1/Z: no depth is surer than this against the frame before
TAIL, PER_TAIL = 0.8, 1.2816  # the noise is that of a normal distribution with this quantile
LEAST_NOISE, MOST_NOISE, FIRST_NOISE = (
    0.2,
    2.0,
    0.5,
)  # of one frame against the next, in its own deviations
NOISE_RISE = 1.5  # how much it may rise from one frame to the next
NOISE_SHARE = 0.5  # of the newest frame in the noise that is expected
MAX_CHANGE = 0.2  # what differs from its past by more than this share of 1/Z always starts anew
TREND_SHARE = 0.5  # of the newest frame in how a pixel differs from its past, over frames
NEARER_GATE = 0.67  # of the gate, for what comes nearer: that is what a robot must see at once
TREND_GATE = 0.5  # and how large it may be, as a share of fusion.gate
SAMPLED = 4  # step between the pixels by which a whole frame is compared with its past
MIN_SAMPLES = 100
BEHIND = 0.05  # what is not so far ahead of the other camera, as a share of Z here, is not seen

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class _Past:
    """A fused frame.

    layers: (h, w, 4) float32: 1/Z; its deviation; the variance of the filter; the trend: by how
    many deviations the frames differed from their past, smoothed.
    """

    stamp_s: float
    layers: Array
    grey: Picture
    pose: np.ndarray | None


class DepthFusion:
    """The fused depth of one camera, frame by frame.

    A Kalman filter of fading memory for every pixel, in units of `sigma`: a frame alone counts
    fully, and its share falls to `1 - FADING`. A pixel starts anew that differs from its past by
    more than `fusion.gate` deviations, or by half as much for several frames, as what comes nearer
    slowly does. The deviation follows the noise between frames, which is less than `sigma`, since
    most errors of a network stay the same from frame to frame.

    share_fused, share_anew: of the pixels with depth, in the last frame. motion: where its motion
    came from, 'odometry' or 'flow', or why there is none.
    """

    def __init__(self, options: FusionOptions | None = None) -> None:
        self.options = options or FusionOptions()
        self._rays = _Rays()
        self._flow: _Flow | None = None
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
        predicted = None
        if past is None:
            self._noise = FIRST_NOISE
        else:
            predicted, reason = self._predicted(past, inverse, grey, grid, pose)
        own = np.maximum(sigma, np.float32(LEAST_SHARE) * np.abs(inverse))
        if predicted is None:
            self._count(None, inverse, reason)
            layers = np.dstack((inverse, sigma, own * own, np.zeros_like(own)))
        else:
            layers, kept = self._step(inverse, sigma, own, predicted)
            self._count(kept, inverse, reason)
        self._past = _Past(stamp_s, layers, grey, pose)
        return np.ascontiguousarray(layers[..., 0]), np.ascontiguousarray(layers[..., 1])

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
        if past.layers.shape[:2] != shape:
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
    ) -> tuple[Array | None, str]:
        """The layers of the past at the pixels of this frame, NaN where there is none; the motion
        they came by.
        """
        rays = self._rays.of(grid, inverse.shape)
        flow = None
        if pose is not None and past.pose is not None and grid is not None:
            step = _step_between(pose, past.pose)
            motion = 'odometry'
        else:
            self._flow = self._flow or _Flow()
            flow = self._flow.between(grey, past.grey)
            found = rays.motion(inverse, flow, grey)
            if found is None:
                return None, 'unknown: the flow between the pictures fits no motion'
            step, motion = found, 'flow'
        places, seen = rays.places(inverse, step)
        if flow is not None:
            # What moves otherwise than the rest, and what the flow is not sure of, starts anew.
            aside = cv2.magnitude(
                places[0] - rays.pixels[0] - flow[0], places[1] - rays.pixels[1] - flow[1]
            )
            np.copyto(places[0], np.float32(OUTSIDE), where=aside > APART_PX)
        sampled = cv2.remap(
            past.layers, places[0], places[1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(math.nan,) * 4,
        )  # fmt: skip
        return _brought_here(sampled, seen, step), motion

    def _step(
        self, inverse: Array, sigma: Array, own: Array, predicted: Array
    ) -> tuple[Array, np.ndarray]:
        """One step of the filter: the layers of this frame, and which pixels were fused."""
        expected, deviation, variance, trend = predicted
        variance *= np.float32(1 / FADING)
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
        layers = np.empty((*inverse.shape, 4), np.float32)
        layers[..., 0] = inverse - rest * off
        # Errors of successive frames are alike, so averaging does not make depth surer; where
        # frames disagree it becomes less sure: the deviation of a mixture of both.
        mean = sigma + rest * (deviation - sigma)
        layers[..., 1] = np.sqrt(mean * mean + rest * (1 - rest) * off * off)
        layers[..., 2] = (1 - rest) * own
        layers[..., 3] = np.where(kept, trend, np.float32(0))
        return layers, kept

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


def _brought_here(sampled: Array, seen: Array, step: np.ndarray) -> Array:
    """Layers (h, w, 4) of points as the past camera measured them, (4, h, w) as this one does.

    seen: (2, h, w) their normalised coordinates there. step: from this optical frame into that.
    """
    layers = np.stack(cv2.split(sampled))
    back = step[:3, :3].T.astype(np.float32)
    # Z here of a point at (x, y, 1) / w there is along / w - ahead.
    along = back[2, 0] * seen[0]
    along += back[2, 1] * seen[1]
    along += back[2, 2]
    ahead = np.float32(back[2] @ step[:3, 3].astype(np.float32))
    below = along - ahead * layers[0]
    below[below < BEHIND] = np.nan
    ratio = np.reciprocal(below)
    layers[0] *= ratio
    along *= ratio
    along *= ratio  # the derivative of 1/Z here by that there
    layers[1] *= along
    layers[2] *= along
    layers[2] *= along
    return layers


# --- Where the pixels of this frame were in the frame before.

ASSUMED_FOV_RAD = math.radians(60)  # of a camera that is not calibrated; only for the flow
STRAIGHT_PX = 0.02  # a lens that bends rays by less has no distortion
REFINEMENTS = 3
OUTSIDE = -1e4  # a pixel that is in no picture


class _Rays:
    """The rays of a camera's pixels, and the way back from a ray to a pixel."""

    def __init__(self) -> None:
        self._given: tuple[Grid | None, tuple[int, ...]] | None = None

    def of(self, grid: Grid | None, shape: tuple[int, ...]) -> _Rays:
        """Return the rays of this grid, computed once."""
        if self._given is not None and self._given[0] is grid and self._given[1] == shape:
            return self
        self._given = grid, shape
        height, width = self.shape = (shape[0], shape[1])
        if grid is None:
            grid = CameraModel.from_field_of_view(width, height, ASSUMED_FOV_RAD).normalised_grid()
        x, y = self.x, self.y = grid[0].astype(np.float32), grid[1].astype(np.float32)
        self._rays = np.stack((x, y, np.ones_like(x))).reshape(3, -1)
        self.pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        self._per = 1 / _slope(x[height // 2]), 1 / _slope(y[:, width // 2])
        self._middle = _zero(x[height // 2], self._per[0]), _zero(y[:, width // 2], self._per[1])
        bend = np.maximum(
            abs(self.pixels[0] - x * self._per[0] - self._middle[0]),
            abs(self.pixels[1] - y * self._per[1] - self._middle[1]),
        )
        self.pixel = 1 / self._per[0]
        self._straight = bool((bend < STRAIGHT_PX).all())
        self._turned = None if self._straight else _inverse_slopes(x, y)
        return self

    def places(self, inverse: Array, step: np.ndarray) -> tuple[Array, Array]:
        """Where this frame's pixels were: (2, h, w) pixels, and their normalised coordinates."""
        there = step[:3, :3].astype(np.float32) @ self._rays
        flat = inverse.reshape(-1)
        for axis in range(3):
            there[axis] += np.float32(step[axis, 3]) * flat
        ahead = there[2]
        ahead[~(ahead > BEHIND)] = np.nan
        np.reciprocal(ahead, out=ahead)
        seen = (there[:2] * ahead).reshape(2, *self.shape)
        return self._pixels_of(seen), seen

    def _pixels_of(self, seen: Array) -> Array:
        """The pixels (2, h, w) of normalised coordinates; outside where there are none."""
        if self._turned is None:
            pixels = seen * np.array(self._per, np.float32)[:, None, None]
            pixels += np.array(self._middle, np.float32)[:, None, None]
        else:
            # Newton's method, from where the pixels are in this frame, with the slopes there.
            by_x, by_y, down_by_x, down_by_y = self._turned
            pixels, x, y = self.pixels, self.x, self.y
            for step in range(REFINEMENTS):
                if step:
                    x, y = _sampled(self.x, pixels), _sampled(self.y, pixels)
                x_off, y_off = seen[0] - x, seen[1] - y
                moved = by_x * x_off + by_y * y_off, down_by_x * x_off + down_by_y * y_off
                pixels = pixels + np.stack(moved)
        np.copyto(pixels, np.float32(OUTSIDE), where=np.isnan(pixels))
        return pixels

    def motion(self, inverse: Array, flow: Array, grey: Picture) -> np.ndarray | None:
        """The motion (4, 4) from this optical frame into the past one, by flow and depth.

        flow: (2, h, w) float32 pixels, NaN unknown. Only what has texture counts. The way is in the
        scale of the depth, so that a wall comes nearer as its picture grows, whatever its scale.
        None where nothing fits.
        """
        s = slice(SAMPLED // 2, None, SAMPLED)
        w, x, y = inverse[s, s], self.x[s, s], self.y[s, s]
        across, down = (self.pixels[axis][s, s] + flow[axis][s, s] for axis in (0, 1))
        good = (w > 0) & np.isfinite(across) & np.isfinite(x) & _textured(grey)[s, s]
        if np.count_nonzero(good) < MIN_SAMPLES:
            return None
        across, down = across[good], down[good]
        at = across.reshape(1, -1), down.reshape(1, -1)
        there = [cv2.remap(axis, *at, cv2.INTER_LINEAR)[0] for axis in (self.x, self.y)]
        values = (a.astype(np.float64) for a in (x[good], y[good], *there, w[good]))
        x, y, x_there, y_there, w = values
        return _motion_by(x, y, x_there, y_there, w, self.pixel)


MOTION_ROUNDS = 4
MAX_RESIDUAL_PX = 1.5  # of the flow from the motion, robust: more is not one motion
LEAST_RESIDUAL_PX = 0.1


def _motion_by(
    x: np.ndarray, y: np.ndarray, x_there: np.ndarray, y_there: np.ndarray, w: np.ndarray, px: float
) -> np.ndarray | None:
    """`_Rays.motion` of points (n,), given their normalised coordinates here and there, and 1/Z.

    px: of a pixel in these coordinates. Linear in a small turn and the way, with robust weights:
    x_there * (Z there / Z here) is x, turned, plus the way times 1/Z.
    """
    zero, one = np.zeros_like(x), np.ones_like(x)
    across = np.stack((-x_there * y, one + x_there * x, -y, w, zero, -x_there * w))
    down = np.stack((-one - y_there * y, y_there * x, x, zero, w, -y_there * w))
    rows = np.concatenate((across, down), axis=1)
    moved = np.concatenate((x_there - x, y_there - y))
    votes = one
    for _ in range(MOTION_ROUNDS):
        weighted = rows * np.concatenate((votes, votes))
        normal = weighted @ rows.T
        normal[np.diag_indices(6)] += 1e-9 * np.trace(normal)
        solution = np.linalg.solve(normal, weighted @ moved)
        off = np.hypot(*(moved - solution @ rows).reshape(2, -1))
        deviation = max(robust_deviation(off), LEAST_RESIDUAL_PX * px)
        votes = tukey_votes(off, BIWEIGHT * deviation)
    if deviation > MAX_RESIDUAL_PX * px:
        return None
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(solution[:3])[0]
    step[:3, 3] = solution[3:]
    return step


TEXTURE = 4.0  # grey levels per pixel, at least, where the flow is to tell something


def _textured(grey: Picture) -> np.ndarray:
    """Where the (h, w) picture has edges."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    return cv2.magnitude(across, down) > TEXTURE


AGREE_PX = 1.0  # how closely the flow forward must lead back to where the flow backward began
APART_PX = 3.0  # what the flow takes farther away than the motion of all moves by itself


class _Flow:
    """Dense inverse search flow (Kroeger et al., 2016; OpenCV's), checked both ways."""

    def __init__(self) -> None:
        make = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]
        self._search = make(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def between(self, here: Picture, there: Picture) -> Array:
        """How many pixels each pixel of `here` is away in `there`, (2, h, w); NaN unknown."""
        forth = self._search.calc(here, there, None)
        back = self._search.calc(there, here, None)
        height, width = here.shape
        flow = np.stack(cv2.split(forth))
        across = np.arange(width, dtype=np.float32) + flow[0]
        down = np.arange(height, dtype=np.float32)[:, None] + flow[1]
        returned = cv2.remap(
            back, across, down, cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(math.nan,) * 4,
        )  # fmt: skip
        away = flow + np.stack(cv2.split(returned))
        flow[:, ~(cv2.magnitude(away[0], away[1]) < AGREE_PX)] = np.nan
        return flow


def _sampled(values: Array, pixels: Array) -> Array:
    """Values (h, w) or (h, w, n) at pixels (2, h, w); NaN outside of the picture."""
    at = np.nan_to_num(pixels, nan=OUTSIDE)
    return np.asarray(
        cv2.remap(
            values, at[0], at[1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(math.nan,) * 4,
        ),
        np.float32,
    )  # fmt: skip


def _slope(values: np.ndarray) -> float:
    """Normalised coordinate per pixel, along a line (n,) through the middle."""
    middle = len(values) // 2
    return 0.5 * float(values[middle + 1] - values[middle - 1])


def _zero(values: np.ndarray, per: float) -> float:
    """The pixel at coordinate 0 of a line (n,) with so many pixels per coordinate."""
    middle = len(values) // 2
    return middle - float(values[middle]) * per


def _inverse_slopes(x: Array, y: Array) -> tuple[np.ndarray, ...]:
    """Pixels across by x and by y, pixels down by x and by y; each (h, w), of a bent lens."""
    x_down, x_across = np.gradient(x)
    y_down, y_across = np.gradient(y)
    size = x_across * y_down - x_down * y_across
    return tuple(np.asarray(a / size) for a in (y_down, -x_down, -y_across, x_across))
