"""How a camera moved between two pictures, by their optical flow and the depth of one of them.

In: two grey pictures, the 1/Z of the newer one, and the rays of its pixels. Out: the motion as a
matrix, and where the flow does not bear it out; or the reason why there is none.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import BIWEIGHT, robust_deviation, tukey_votes
from midas_depth_ros.geometry.motion_guess import LEAST_ALIKE, SURELY_ALIKE, MotionGuess
from midas_depth_ros.geometry.rays import EVERY, OUTSIDE, Rays, sampled
from midas_depth_ros.geometry.scale import Refusal

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

SAMPLED = 4  # step between those that tell how far the picture has moved
MIN_SAMPLES, MOST_SAMPLES = 200, 400
MIN_SHARE = 0.12  # of those with texture, whose flow must be known both ways
TEXTURE = 4.0  # grey levels per pixel, at least, where the flow is to tell something
AGREE_PX = 1.0  # how closely the flow forward must lead back to where the flow backward began
APART_PX = 3.0  # what the flow takes farther away than the motion of all moves by itself
MOTION_ROUNDS = 3
CELL_PX = 8  # of the picture at half of the size, with a corner in each
LEAST_CORNER, MIN_CORNERS = 2e-4, 20
LEAST_RESIDUAL_PX = 0.1
# Of the flow from the motion, robust: so much, or this share of how far the picture has moved, as
# depth is off by shares.
MAX_RESIDUAL_PX, MAX_RESIDUAL_SHARE = 1.5, 0.1


@dataclasses.dataclass(frozen=True)
class FoundMotion:
    """The motion between two pictures, of which one is `here`.

    step: (4, 4) from the optical frame of `here` into the other. aside, unsure: (h, w) bool, where
    the flow says otherwise, and where it may have failed although there is texture. far_apart:
    whether the motion is none of a video: searched for, and large.
    """

    step: np.ndarray
    aside: np.ndarray
    unsure: np.ndarray
    far_apart: bool


class PictureMotion:
    """Finds the motion of one camera between its pictures.

    A guess among some turns and ways brings the other picture near to this one; dense inverse
    search flow (Kroeger et al., 2016; OpenCV's), checked both ways unless the guess was good, does
    the rest.
    """

    def __init__(self) -> None:
        make = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]
        self._search = make(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._search.setFinestScale(1)  # of pictures of half of the size
        self._guess = MotionGuess()

    def between(
        self, here: Picture, there: Picture, inverse: Array, rays: Rays
    ) -> FoundMotion | Refusal:
        """Return the motion from the optical frame of `here` into that of `there`, or why not.

        inverse: (h, w) float32, the 1/Z of `here`. The way is in the scale of the depth, so that a
        wall comes nearer as its picture grows, whatever that scale is.
        """
        guess = self._guess.of(here, there, inverse, rays)
        if self._guess.far_apart and self._guess.alike < LEAST_ALIKE:
            return Refusal('the pictures are not alike by any motion')
        small, half = _half(here), inverse[EVERY]
        textured = _textured(small)
        known: np.ndarray | None = None
        guess_px = 0.0
        if guess is not None:
            # The other picture as it would be seen from here, if the guess were right.
            pixels, _ = rays.places(np.maximum(inverse, 0), guess)
            guess_px = _size(pixels[:, ::SAMPLED, ::SAMPLED] - rays.pixels[:, ::SAMPLED, ::SAMPLED])
            brought = cv2.remap(there, pixels[0], pixels[1], cv2.INTER_LINEAR)
            known = _within(pixels)
            there = np.where(known, brought, here)
            textured &= known[EVERY]
        found: np.ndarray | Refusal = Refusal('not tried')
        sure = self._guess.alike > SURELY_ALIKE
        for checked in (False, True) if sure else (True,):
            flow = self._flow(small, _half(there), known, rays.coarse, checked)
            moved_px = guess_px + _size(flow[:, ::2, ::2])
            found = _motion(half, flow, textured, rays, moved_px)
            if not isinstance(found, Refusal):
                break
            if sure and self._guess.far_apart:
                found = np.eye(4)
                break
        if isinstance(found, Refusal):
            return found
        moved = 2 * (rays.coarse.places(half, found)[0] - rays.coarse.pixels)
        off = moved - flow
        aside = cv2.magnitude(off[0], off[1]) > max(APART_PX, 2 * MAX_RESIDUAL_SHARE * moved_px)
        step = self._refined(here, there, small, inverse, rays, moved, known, found)
        step = step if guess is None else guess @ step
        if self._guess.likeness(step) < LEAST_ALIKE:
            return Refusal('the pictures are not alike by any motion')
        self._guess.last = step
        unsure = textured & np.isnan(flow[0]) if checked else textured
        far_apart = self._guess.far_apart
        if far_apart:  # between pictures so far apart flow alone is no proof
            unsure, aside = unsure | aside, np.zeros_like(aside)
        aside, unsure = _full(aside, here.shape), _full(unsure, here.shape)
        return FoundMotion(step, aside, unsure, far_apart)

    def _flow(
        self, here: Picture, there: Picture, known: np.ndarray | None, rays: Rays, checked: bool
    ) -> Array:
        """How many pixels of the whole size those of half of it are away, (2, h, w); NaN unknown.

        here, there, rays: of half of the size. checked: both ways.
        """
        flow = np.stack(cv2.split(self._search.calc(here, there, None)))
        if checked:
            back = self._search.calc(there, here, None)
            if known is not None:
                back[~known[EVERY]] = np.nan
            away = flow + np.moveaxis(sampled(back, rays.pixels + flow), -1, 0)
            flow[:, ~(cv2.magnitude(away[0], away[1]) < 0.5 * AGREE_PX)] = np.nan
        elif known is not None:
            flow[:, ~known[EVERY]] = np.nan
        flow *= 2
        return flow

    def _refined(
        self,
        here: Picture,
        there: Picture,
        small: Picture,
        inverse: Array,
        rays: Rays,
        moved: Array,
        known: np.ndarray | None,
        found: np.ndarray,
    ) -> np.ndarray:
        """The motion by corners, which are followed more exactly than the rest; else as found.

        moved: (2, h, w) how far every other pixel moves by the motion that was found.
        """
        rows, columns = _corners(
            small, (inverse > 0 if known is None else (inverse > 0) & known)[EVERY]
        )
        corners = np.stack((columns, rows), axis=1).reshape(-1, 1, 2).astype(np.float32)
        start = corners + moved[:, rows // 2, columns // 2].T.reshape(-1, 1, 2)
        if len(corners) < MIN_CORNERS:
            return found
        end, told, _ = cv2.calcOpticalFlowPyrLK(
            here, there, corners, start.copy(), winSize=(9, 9), maxLevel=1,
            criteria=(3, 10, 0.02), flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )  # fmt: skip
        good = (told[:, 0] > 0) & (np.abs(end - start).max(axis=(1, 2)) < APART_PX)
        if np.count_nonzero(good) < MIN_CORNERS:
            return found
        at = np.ascontiguousarray(end[good, 0].T.reshape(2, 1, -1))
        x_there, y_there = (
            cv2.remap(axis, at[0], at[1], cv2.INTER_LINEAR)[0].astype(np.float64)
            for axis in (rays.x, rays.y)
        )
        x, y, w = (
            a[rows[good], columns[good]].astype(np.float64) for a in (rays.x, rays.y, inverse)
        )
        made = _motion_by(x, y, x_there, y_there, w, rays.pixel, APART_PX)
        return found if isinstance(made, Refusal) else made


def _half(picture: Picture) -> Picture:
    """A picture (h, w) at the size of every other pixel."""
    height, width = picture.shape
    size = (width + 1) // 2, (height + 1) // 2
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _corners(small: Picture, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the strongest corner in each cell of a picture.

    small, among: at half of the size; corners need not be told to the pixel.
    """
    strength = cv2.cornerMinEigenVal(small, 3)
    np.copyto(strength, np.float32(0), where=~among)
    size = small.shape[1], small.shape[0]
    down, across = size[1] // CELL_PX, size[0] // CELL_PX
    cells = strength[: down * CELL_PX, : across * CELL_PX].reshape(down, CELL_PX, across, CELL_PX)
    cells = cells.swapaxes(1, 2).reshape(down * across, -1)
    best = cells.argmax(axis=1)
    cell = np.nonzero(cells[np.arange(len(best)), best] > LEAST_CORNER)[0]
    within = best[cell]
    rows = cell // across * CELL_PX + within // CELL_PX
    return 2 * rows, 2 * (cell % across * CELL_PX + within % CELL_PX)


def _size(moved: Array) -> float:
    """How far a picture has moved, in pixels, given (2, h, w) of its pixels; 0 if unknown."""
    size = np.hypot(moved[0], moved[1])
    size = size[size < abs(OUTSIDE) / 2]
    return float(np.median(size)) if size.size else 0.0


def _within(pixels: Array) -> np.ndarray:
    """Which pixels (2, h, w) are in a picture of (h, w)."""
    height, width = pixels.shape[1:]
    return np.asarray(
        (pixels[0] >= 0) & (pixels[1] >= 0) & (pixels[0] <= width - 1) & (pixels[1] <= height - 1)
    )


def _full(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of every other pixel, for all (h, w) of them."""
    size = shape[1], shape[0]
    full = cv2.resize(coarse.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(full).view(bool)


def _textured(grey: Picture) -> np.ndarray:
    """Where a picture (h, w) of half of the size has edges."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *way, scale=1 / 16) for way in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down) > TEXTURE)


def _motion(
    inverse: Array, flow: Array, textured: np.ndarray, rays: Rays, moved_px: float
) -> np.ndarray | Refusal:
    """The motion (4, 4) by flow (2, h, w) and depth of every other pixel, where there is texture.

    moved_px: how far the picture has moved, guess and flow together.
    """
    x, y, own = rays.x[EVERY], rays.y[EVERY], rays.pixels[:, EVERY[0], EVERY[1]]
    could = (inverse > 0) & np.isfinite(x) & textured
    good = np.nonzero(could & np.isfinite(flow[0]))
    if len(good[0]) < max(MIN_SAMPLES, MIN_SHARE * np.count_nonzero(could)):
        return Refusal('too little in the picture can be followed')
    few = slice(None, None, math.ceil(len(good[0]) / MOST_SAMPLES))
    chosen = good[0][few], good[1][few]
    at = [(own[axis][chosen] + flow[axis][chosen]).reshape(1, -1) for axis in (0, 1)]
    there = [cv2.remap(axis, at[0], at[1], cv2.INTER_LINEAR)[0] for axis in (rays.x, rays.y)]
    x, y, x_there, y_there, w = (
        a.astype(np.float64) for a in (x[chosen], y[chosen], *there, inverse[chosen])
    )
    worst_px = max(MAX_RESIDUAL_PX, MAX_RESIDUAL_SHARE * moved_px)
    return _motion_by(x, y, x_there, y_there, w, rays.pixel, worst_px)


def _motion_by(
    x: np.ndarray,
    y: np.ndarray,
    x_there: np.ndarray,
    y_there: np.ndarray,
    w: np.ndarray,
    px: float,
    worst_px: float,
) -> np.ndarray | Refusal:
    """The motion of points (n,), given their normalised coordinates here and there, and 1/Z.

    px: of a pixel in these coordinates. worst_px: the largest credible residual. Linear in a small
    turn and the way, with robust weights: x_there * (Z there / Z here) is x, turned, plus the way
    times 1/Z.
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
        normal[np.diag_indices(6)] += 1e-9 * np.trace(normal) + 1e-12
        solution = np.linalg.solve(normal, weighted @ moved)
        off = np.hypot(*(moved - solution @ rows).reshape(2, -1))
        deviation = max(robust_deviation(off), LEAST_RESIDUAL_PX * px)
        votes = tukey_votes(off, BIWEIGHT * deviation)
    if deviation > worst_px * px:
        return Refusal('the flow between the pictures fits no motion')
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(solution[:3])[0]
    step[:3, 3] = solution[3:]
    return step
