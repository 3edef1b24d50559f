"""How a camera moved between two pictures, by their optical flow and the depth of one of them.

In: two grey pictures, the 1/Z of the newer one, and the rays of its pixels. Out: the motion as a
matrix, and where the flow does not bear it out; or the reason why there is none. `Rays` tells where
the pixels of one picture are in another after a motion.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.fitting import BIWEIGHT, Grid, robust_deviation, tukey_votes
from midas_depth_ros.geometry.scale import Refusal

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

ASSUMED_FOV_RAD = math.radians(60)  # of a camera that is not calibrated
STRAIGHT_PX = 0.02  # a lens that bends rays by less has no distortion
REFINEMENTS = 3
OUTSIDE = -1e4  # a pixel that is in no picture
EVERY = slice(None, None, 2), slice(None, None, 2)  # the pixels whose flow is checked
BEHIND = 0.05  # what is not so far ahead of the other camera, as a share of Z here, is not seen


class Rays:
    """The rays of a camera's pixels, and the way back from a ray to a pixel.

    x, y: (h, w) float32 normalised coordinates. pixels: (2, h, w) float32, of each ray. pixel: what
    a pixel is in normalised coordinates, in the middle.
    """

    def __init__(self) -> None:
        self._given: tuple[Grid | None, tuple[int, ...]] | None = None
        self._coarse: Rays | None = None

    def of(self, grid: Grid | None, shape: tuple[int, ...]) -> Rays:
        """Return the rays of `CameraModel.normalised_grid` at this size, computed once.

        None: a usual lens is assumed.
        """
        if self._given is not None and self._given[0] is grid and self._given[1] == shape:
            return self
        self._given, self._coarse = (grid, shape), None
        height, width = self.shape = (shape[0], shape[1])
        if grid is None:
            grid = CameraModel.from_field_of_view(width, height, ASSUMED_FOV_RAD).normalised_grid()
        x, y = self.x, self.y = grid[0].astype(np.float32), grid[1].astype(np.float32)
        self.rays = np.stack((x, y, np.ones_like(x))).reshape(3, -1)
        self.pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        self.per = 1 / _slope(x[height // 2]), 1 / _slope(y[:, width // 2])
        self.middle = _zero(x[height // 2], self.per[0]), _zero(y[:, width // 2], self.per[1])
        bend = np.maximum(
            abs(self.pixels[0] - x * self.per[0] - self.middle[0]),
            abs(self.pixels[1] - y * self.per[1] - self.middle[1]),
        )
        self.pixel = 1 / self.per[0]
        self._turned = None if (bend < STRAIGHT_PX).all() else _inverse_slopes(x, y)
        return self

    @property
    def coarse(self) -> Rays:
        """The rays of every other pixel, whose own pixels count by two."""
        if self._coarse is None:
            self._coarse = Rays().of((self.x[EVERY], self.y[EVERY]), self.x[EVERY].shape)
        return self._coarse

    def places(self, inverse: Array, step: np.ndarray) -> tuple[Array, Array]:
        """Where this picture's pixels are in another: (2, h, w) pixels, normalised coordinates.

        inverse: (h, w) float32 1/Z; 0 = infinitely far. step: (4, 4) from this optical frame into
        the other. Pixels are far outside, and coordinates NaN, where there are none.
        """
        there = step[:3, :3].astype(np.float32) @ self.rays
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
            pixels = seen * np.array(self.per, np.float32)[:, None, None]
            pixels += np.array(self.middle, np.float32)[:, None, None]
        else:
            # Newton's method, from where the pixels are in this frame, with the slopes there.
            by_x, by_y, down_by_x, down_by_y = self._turned
            pixels, x, y = self.pixels, self.x, self.y
            for step in range(REFINEMENTS):
                if step:
                    at = np.nan_to_num(pixels, nan=OUTSIDE)
                    x, y = sampled(self.x, at), sampled(self.y, at)
                x_off, y_off = seen[0] - x, seen[1] - y
                moved = by_x * x_off + by_y * y_off, down_by_x * x_off + down_by_y * y_off
                pixels = pixels + np.stack(moved)
        np.copyto(pixels, np.float32(OUTSIDE), where=np.isnan(pixels))
        return pixels


def sampled(
    values: np.ndarray, pixels: Array | tuple[Array, Array], way: int = cv2.INTER_LINEAR
) -> Array:
    """Values (h, w) or (h, w, n) at pixels (2, ...), float32; NaN outside of the picture.

    way: cv2.INTER_LINEAR, or INTER_NEAREST.
    """
    return np.asarray(
        cv2.remap(
            values, pixels[0], pixels[1], way,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(math.nan,) * 4,
        )
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


# --- The motion between two pictures.

SAMPLED = 4  # step between those that tell how far the picture has moved
MIN_SAMPLES, MOST_SAMPLES = 200, 400
MIN_SHARE = 0.12  # of those with texture, whose flow must be known both ways
TEXTURE = 4.0  # grey levels per pixel, at least, where the flow is to tell something
AGREE_PX = 1.0  # how closely the flow forward must lead back to where the flow backward began
APART_PX = 3.0  # what the flow takes farther away than the motion of all moves by itself
MOTION_ROUNDS = 3
CELL_PX, LEAST_CORNER, MIN_CORNERS = 16, 2e-4, 20
LEAST_RESIDUAL_PX = 0.1
# Of the flow from the motion, robust: so much, or this share of how far the picture has moved, as
# depth is off by shares.
MAX_RESIDUAL_PX, MAX_RESIDUAL_SHARE = 1.5, 0.1


class PictureMotion:
    """Finds the motion of one camera between its pictures.

    A guess among some turns and ways brings the other picture near to this one; dense inverse
    search flow (Kroeger et al., 2016; OpenCV's), checked both ways unless the guess was good, does
    the rest.
    """

    def __init__(self) -> None:
        make = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]
        self._search = make(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._guess = _Guess()

    def between(
        self, here: Picture, there: Picture, inverse: Array, rays: Rays
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | Refusal:
        """Return (4, 4) from the optical frame of `here` into that of `there`, and two of (h, w)
        bool: where the flow says otherwise, and where it may have failed although there is texture.

        inverse: (h, w) float32, the 1/Z of `here`. The way is in the scale of the depth, so that a
        wall comes nearer as its picture grows, whatever that scale is.
        """
        textured = _textured(here)
        guess = self._guess.of(here, there, inverse, rays)
        known: np.ndarray | None = None
        moved_px = 0.0
        if guess is not None:
            # The other picture as it would be seen from here, if the guess were right.
            pixels, _ = rays.places(np.maximum(inverse, 0), guess)
            moved_px = _size(pixels - rays.pixels)
            brought = cv2.remap(there, pixels[0], pixels[1], cv2.INTER_LINEAR)
            known = _within(pixels)
            there = np.where(known, brought, here)
            textured &= known
        textured = textured[EVERY]
        found: np.ndarray | Refusal = Refusal('not tried')
        guess_px, checked = moved_px, not self._guess.sure
        while isinstance(found, Refusal):
            flow = self._flow(here, there, known, rays, checked)
            moved_px = guess_px + _size(flow)
            found = _motion(inverse[EVERY], flow, textured, rays, moved_px)
            if isinstance(found, Refusal) and checked:
                return found
            checked |= isinstance(found, Refusal)
        moved = 2 * (rays.coarse.places(inverse[EVERY], found)[0] - rays.coarse.pixels)
        off = moved - flow
        aside = cv2.magnitude(off[0], off[1]) > max(APART_PX, 2 * MAX_RESIDUAL_SHARE * moved_px)
        step = self._refined(here, there, inverse, rays, moved, known, found)
        step = step if guess is None else guess @ step
        if self._guess.likeness(step) < LEAST_ALIKE:
            return Refusal('the pictures are not alike by any motion')
        self._guess.last = step
        unsure = textured & np.isnan(flow[0]) if checked else textured
        return step, _full(aside, here.shape), _full(unsure, here.shape)

    def _flow(
        self, here: Picture, there: Picture, known: np.ndarray | None, rays: Rays, checked: bool
    ) -> Array:
        """How many pixels every other one of `here` is away in `there`, (2, h, w); NaN unknown.

        checked: both ways.
        """
        flow = np.stack(cv2.split(self._search.calc(here, there, None)[EVERY]))
        if not checked:
            if known is not None:
                flow[:, ~known[EVERY]] = np.nan
            return flow
        back = self._search.calc(there, here, None)
        if known is not None:
            back[~known] = np.nan
        at = rays.pixels[:, EVERY[0], EVERY[1]] + flow
        away = flow + np.moveaxis(sampled(back, at), -1, 0)
        flow[:, ~(cv2.magnitude(away[0], away[1]) < AGREE_PX)] = np.nan
        return flow

    def _refined(
        self,
        here: Picture,
        there: Picture,
        inverse: Array,
        rays: Rays,
        moved: Array,
        known: np.ndarray | None,
        found: np.ndarray,
    ) -> np.ndarray:
        """The motion by corners, which are followed more exactly than the rest; else as found.

        moved: (2, h, w) how far every other pixel moves by the motion that was found.
        """
        rows, columns = _corners(here, inverse > 0 if known is None else (inverse > 0) & known)
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


def _corners(grey: Picture, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the strongest corner in each cell of a picture."""
    strength = cv2.cornerMinEigenVal(grey, 3)
    np.copyto(strength, np.float32(0), where=~among)
    down, across = grey.shape[0] // CELL_PX, grey.shape[1] // CELL_PX
    cells = strength[: down * CELL_PX, : across * CELL_PX].reshape(down, CELL_PX, across, CELL_PX)
    cells = cells.swapaxes(1, 2).reshape(down * across, -1)
    best = cells.argmax(axis=1)
    cell = np.nonzero(cells[np.arange(len(best)), best] > LEAST_CORNER)[0]
    within = best[cell]
    rows = cell // across * CELL_PX + within // CELL_PX
    return rows, cell % across * CELL_PX + within % CELL_PX


def _size(moved: Array) -> float:
    """How far a picture has moved, in pixels, given (2, h, w) of its pixels; 0 if unknown."""
    s = slice(None, None, SAMPLED)
    size = np.hypot(moved[0][s, s], moved[1][s, s])
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
    """Where the (h, w) picture has edges."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
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


# --- A first guess, for pictures that are far apart.

GUESS_WIDTH = 32  # pixels of the small pictures that are compared
COARSE = 3.0  # pixels: what is coarser is light and shade
TURNS_RAD = np.radians(np.arange(-24, 25, 4))
WAYS = (0.0, 0.5)  # forward, in units of the median Z
FINER_TURNS_RAD = np.radians((-2.0, 0.0, 2.0))
FINER_WAYS = (-0.2, 0.0, 0.2, 0.35, 0.5, 0.7, 0.9)
LEAST_ALIKE = 0.25  # pictures that are less alike do not show the same
ALIKE = 0.75  # pictures that are so much alike need no search
BETTER = 0.05  # by how much more than no motion a guess must be alike
MIN_COVER = 0.5  # share of the picture that both must show


class _Guess:
    """Looks which of some motions makes two small pictures most alike."""

    def __init__(self) -> None:
        self.last: np.ndarray | None = None  # the motion before, which may go on
        self.sure = False  # whether the guess is so good that the pictures are much alike
        self._of: Rays | None = None
        self._shape: tuple[int, ...] = ()

    def of(self, here: Picture, there: Picture, inverse: Array, rays: Rays) -> np.ndarray | None:
        """Return (4, 4) from here into there, or None where no motion is as good."""
        height = max(2, round(GUESS_WIDTH * here.shape[0] / here.shape[1]))
        size = GUESS_WIDTH, height
        if self._of is not rays or self._shape != rays.x.shape:
            self._of, self._shape = rays, rays.x.shape
            x, y = (
                cv2.resize(axis, size, interpolation=cv2.INTER_AREA) for axis in (rays.x, rays.y)
            )
            self._small = Rays().of((x, y), x.shape)
        far = cv2.resize(np.maximum(inverse, 0), size, interpolation=cv2.INTER_AREA).ravel()
        unit = float(np.median(far[far > 0])) if (far > 0).any() else 0.0
        if not unit > 0:
            unit = math.inf  # no way, only turns
        a, b = (
            _without_shade(cv2.resize(g, size, interpolation=cv2.INTER_AREA)) for g in (here, there)
        )
        self._pictures = a, b, far
        tried = np.zeros(2), np.zeros(2)
        if self.last is not None:
            tried[0][1], tried[1][1] = math.asin(self.last[0, 2]), self.last[2, 3]
        still, going_on = self._alike(a, b, far, *tried)
        self.sure = max(still, going_on) > ALIKE
        if self.sure:
            return None if still > going_on else _step_of(tried[0][1], tried[1][1])
        turns = np.repeat(TURNS_RAD, len(WAYS))
        alike = self._alike(a, b, far, turns, np.tile(WAYS, len(TURNS_RAD)) / unit)
        turns = turns[alike.argmax()] + np.repeat(FINER_TURNS_RAD, len(FINER_WAYS))
        ways = np.tile(FINER_WAYS, len(FINER_TURNS_RAD)) / unit
        alike = self._alike(a, b, far, turns, ways)
        best = alike.argmax()
        if alike[best] < still + BETTER:
            return None
        return _step_of(turns[best], ways[best])

    def likeness(self, step: np.ndarray) -> float:
        """How alike the pictures of the last guess are after a motion (4, 4), at most 1."""
        here, there, inverse = self._pictures
        places, _ = self._small.places(inverse.reshape(here.shape), step)
        return float(_likeness(here, sampled(there, places.reshape(2, 1, -1)))[0])

    def _alike(
        self, here: Array, there: Array, inverse: Array, turns_rad: np.ndarray, ways: np.ndarray
    ) -> np.ndarray:
        """How alike the pictures are after each of these motions (n,), at most 1.

        A turn about the y axis, and a way forward.
        """
        small = self._small
        cos, sin = (f(turns_rad).astype(np.float32)[:, None] for f in (np.cos, np.sin))
        x, y = small.rays[0], small.rays[1]
        ahead = cos - sin * x
        ahead += ways.astype(np.float32)[:, None] * inverse
        ahead[~(ahead > BEHIND)] = np.nan
        np.reciprocal(ahead, out=ahead)
        across = (cos * x + sin) * ahead
        across *= np.float32(small.per[0])
        across += np.float32(small.middle[0])
        down = y * ahead
        down *= np.float32(small.per[1])
        down += np.float32(small.middle[1])
        np.copyto(across, np.float32(OUTSIDE), where=np.isnan(across))
        return _likeness(here, sampled(there, (across, down)))


def _likeness(here: Array, brought: Array) -> np.ndarray:
    """Correlation of a picture (h, w) with others (n, h * w), (n,); NaN is not compared."""
    both = np.isfinite(brought)
    np.copyto(brought, np.float32(0), where=~both)
    shown = both.astype(np.float32)
    flat = here.ravel()
    count = np.maximum(shown.sum(axis=1), 1)
    mean_a, mean_b = shown @ flat / count, brought.sum(axis=1) / count
    covariance = brought @ flat / count - mean_a * mean_b
    power_a = shown @ (flat * flat) / count - mean_a**2
    power_b = np.einsum('ij,ij->i', brought, brought) / count - mean_b**2
    cover = np.minimum(1, count / flat.size / MIN_COVER)
    return np.asarray(covariance / np.sqrt(power_a * power_b + 1) * cover)


def _step_of(turn_rad: float, way: float) -> np.ndarray:
    """(4, 4) from here into there, of a camera that turned about its y axis and went forward."""
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(np.array([0.0, turn_rad, 0.0]))[0]
    step[2, 3] = way
    return step


def _without_shade(grey: Picture) -> Array:
    fine = grey.astype(np.float32)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), COARSE))
