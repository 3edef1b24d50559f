"""Points followed from picture to picture, with where each was seen in a few earlier ones.

Points are points, and where there are none, edges: of these only the motion across the edge is
known, so each point has a covariance. A point is tracked by pyramidal Lucas-Kanade, forward and
backward, always from the last *step*: a picture that is kept until the next is far enough from it,
so that nothing drifts while the camera stands. Every step keeps the places of all points that are
still followed.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import cv2
import numpy as np

from midas_depth_ros.geometry.camera_model import CameraModel, distort
from midas_depth_ros.geometry.fitting import Grid, median

PIXELS = 320 * 240  # of the reduced picture, about
CELL_PX = 16  # one point is taken of each cell of this size
POINTS = 240  # followed at most
STEPS = 9  # kept at most
WINDOW_PX, LEVELS, MARGIN_PX = 11, 3, 6
BLOCK_PX = 5  # around a point, whose texture counts
THERE_AND_BACK_PX = 0.4  # largest difference of a point from where it came, tracked backward
# Texture, by the eigenvalues that cv2.cornerEigenValsAndVecs gives: a grey level per pixel is 6e-5.
# At which a direction is half as certain as the best; the least of a point; of an edge by a corner.
HALF_CERTAIN, FAINTEST, EDGE_SHARE = 1e-4, 1e-4, 0.03
LEAST_CERTAIN = 1e-3
STEP_FLOW = 0.045  # of the width: a median motion since the last step that makes a new one
STEP_LOST = 0.7  # share of the points still followed below which there is a new step
MOST_ASIDE = 5.0  # normalised coordinate beyond which nothing is followed: 79 degrees
CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)

Label = TypeVar('Label')


def reduced_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the picture that points are followed in."""
    factor = min(1.0, math.sqrt(PIXELS / (width * height)))
    return max(1, round(width * factor)), max(1, round(height * factor))


class PointTracks(Generic[Label]):
    """The points of one camera.

    here: (n, 2) float32, where they are in the last picture, in its reduced pixels. seen:
    (steps, n, 2) float32, where they were in each step, NaN where not yet. `labels`: what was given
    with each step, the oldest first. `notes`: (n,) a number kept with each corner, NaN at first.
    `numbers`: (n,) int, ascending: which point it is, for as long as it is followed.
    certainty: (n, 3) xx, xy and yy of the inverse covariance of its place, 1 = a good corner.
    """

    def __init__(self, blind: np.ndarray | None = None) -> None:
        """blind: (h, w) bool of the reduced picture, where no point is to be; None = nowhere."""
        self._blind = blind
        self._found = 0
        self.reset()

    def reset(self) -> None:
        """Forget all points."""
        self.numbers = np.zeros(0, np.int64)
        self.here = np.zeros((0, 2), np.float32)
        self.notes = np.zeros(0)
        self.certainty = np.zeros((0, 3))
        self.seen = np.zeros((0, 0, 2), np.float32)
        self.labels: list[Label] = []
        self.size = (0, 0)
        self._grey = self._step_grey = np.zeros((0, 0), np.uint8)
        self._at_step = 0

    def update(self, grey: np.ndarray, guess: np.ndarray | None = None) -> None:
        """Follow the points into a picture (h, w) uint8 of the reduced size.

        guess: (n, 2) where they are expected; where they were before by default.
        """
        size = grey.shape[1], grey.shape[0]
        if size != self.size:
            self.reset()
            self.size = size
            self._texture = _Texture(*size, self._blind)
        self._grey = grey
        if not len(self.here):
            return
        start = self.seen[-1]
        guess = self.here if guess is None else guess
        there, found = _flow(self._step_grey, grey, start, guess)
        back, found_back = _flow(grey, self._step_grey, there, start)
        good = found & found_back
        good &= _squared(self.certainty, back - start) < THERE_AND_BACK_PX**2
        good &= (there > MARGIN_PX).all(axis=1)
        good &= (there < np.array(size, np.float32) - 1 - MARGIN_PX).all(axis=1)
        if self._blind is not None:
            column, row = np.rint(np.where(good[:, None], there, 0)).astype(int).T
            good &= ~self._blind[row, column]
        self.here = there
        self.keep(good)

    @property
    def flow_px(self) -> float:
        """Median motion since the last step, in reduced pixels; 0 without points."""
        if not len(self.here):
            return 0.0
        return median(np.hypot(*(self.here - self.seen[-1]).T))

    @property
    def step_due(self) -> bool:
        """Whether the last picture is to be a step."""
        if not self.labels or len(self.here) < STEP_LOST * self._at_step:
            return True
        return self.flow_px > STEP_FLOW * self.size[0]

    def step(self, label: Label) -> None:
        """Make the last picture a step, and look for new points in it."""
        texture = self._texture
        texture.look(self._grey)
        fresh = texture.points(self.here, POINTS - len(self.here))
        seen = np.concatenate([self.seen, self.here[None]]) if self.labels else self.here[None]
        unseen = np.full((len(seen), len(fresh), 2), np.nan, np.float32)
        unseen[-1] = fresh
        self.seen = np.concatenate([seen, unseen], axis=1)[-STEPS:]
        self.labels = [*self.labels, label][-STEPS:]
        self.here = np.concatenate([self.here, fresh])
        self.notes = np.concatenate([self.notes, np.full(len(fresh), math.nan)])
        fresh_numbers = np.arange(self._found, self._found + len(fresh))
        self.numbers = np.concatenate([self.numbers, fresh_numbers])
        self._found += len(fresh)
        self.certainty = texture.certainty(self.here)
        self._step_grey = self._grey
        self._at_step = len(self.here)

    def keep(self, good: np.ndarray) -> None:
        """Keep only the points in the (n,) mask."""
        self.here, self.seen = self.here[good], self.seen[:, good]
        self.numbers = self.numbers[good]
        self.notes, self.certainty = self.notes[good], self.certainty[good]

    def forget_before(self, index: int) -> None:
        """Forget the steps before this one."""
        self.seen, self.labels = self.seen[index:], self.labels[index:]


def _flow(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        first, second, np.ascontiguousarray(start), np.ascontiguousarray(guess).copy(),
        winSize=(WINDOW_PX, WINDOW_PX), maxLevel=LEVELS, criteria=CRITERIA,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW, minEigThreshold=1e-4,
    )  # fmt: skip
    return there.reshape(-1, 2), (status.ravel() > 0) & np.isfinite(there).all(axis=-1).ravel()


class _Texture:
    """What there is to follow in a picture: the structure tensor of each pixel (Harris 1988)."""

    def __init__(self, width: int, height: int, blind: np.ndarray | None = None) -> None:
        self._blind = blind
        # Memory that is touched for the first time costs as much as what is done in it.
        self._work = np.empty((3, height, width), np.float32)
        self._tensor = np.empty((3, height, width), np.float32)
        self._strength = self._work[0]

    def look(self, grey: np.ndarray) -> None:
        """Take a picture, (h, w) uint8."""
        # As cv2.cornerEigenValsAndVecs, in a quarter of its time: vectors are needed of few.
        per_level = 1 / (4 * BLOCK_PX * 255)
        across, down, product = self._work
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, across, scale=per_level)
        cv2.Sobel(grey, cv2.CV_32F, 0, 1, down, scale=per_level)
        pairs = (across, across), (across, down), (down, down)
        for (one, two), summed in zip(pairs, self._tensor, strict=True):
            cv2.multiply(one, two, product)
            cv2.boxFilter(product, -1, (BLOCK_PX, BLOCK_PX), summed, normalize=False)
        xx, xy, yy = self._tensor
        middle, apart = down, product
        cv2.addWeighted(xx, 0.5, yy, 0.5, 0, middle)
        cv2.subtract(xx, middle, apart)
        cv2.magnitude(apart, xy, apart)
        # The smaller eigenvalue, and a share of the larger.
        cv2.addWeighted(middle, 1 + EDGE_SHARE, apart, EDGE_SHARE - 1, 0, self._strength)
        if self._blind is not None:
            self._strength[self._blind] = 0

    def certainty(self, points: np.ndarray) -> np.ndarray:
        """Return (n, 3) of (n, 2) points, as `PointTracks.certainty`.

        That is M (M + h)^-1 of the tensor M, where its eigenvalues l become l / (l + h).
        """
        x, y = np.rint(points).astype(int).T
        xx, xy, yy = (each[y, x].astype(np.float64) for each in self._tensor)
        of_both = np.maximum(xx * yy - xy * xy, 0)
        total = of_both + HALF_CERTAIN * (xx + yy + HALF_CERTAIN)
        return np.stack(
            [
                (of_both + HALF_CERTAIN * xx) / total + LEAST_CERTAIN,
                HALF_CERTAIN * xy / total,
                (of_both + HALF_CERTAIN * yy) / total + LEAST_CERTAIN,
            ],
            axis=1,
        )

    def points(self, known: np.ndarray, wanted: int) -> np.ndarray:
        """Return the strongest points (n, 2), one of each cell without a known one."""
        height, width = self._strength.shape
        rows, columns = (height - 2 * MARGIN_PX) // CELL_PX, (width - 2 * MARGIN_PX) // CELL_PX
        if wanted <= 0 or rows < 1 or columns < 1:
            return np.zeros((0, 2), np.float32)
        top, left = (height - rows * CELL_PX) // 2, (width - columns * CELL_PX) // 2
        inner = self._strength[top : top + rows * CELL_PX, left : left + columns * CELL_PX]
        cells = inner.reshape(rows, CELL_PX, columns, CELL_PX).swapaxes(1, 2)
        cells = cells.reshape(rows * columns, CELL_PX * CELL_PX)
        best = cells.argmax(axis=1)
        value = cells[np.arange(len(cells)), best]
        if len(known):
            column = ((known[:, 0] - left) // CELL_PX).astype(int)
            row = ((known[:, 1] - top) // CELL_PX).astype(int)
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            value[row[inside] * columns + column[inside]] = 0
        number = np.flatnonzero(value > EDGE_SHARE * FAINTEST)
        number = number[np.argsort(-value[number], kind='stable')][:wanted]
        x = left + (number % columns) * CELL_PX + best[number] % CELL_PX
        y = top + (number // columns) * CELL_PX + best[number] // CELL_PX
        return np.stack([x, y], axis=1).astype(np.float32)


def _squared(certainty: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Squared lengths of (n, 2) vectors, as far as the places are certain along them."""
    x, y = off[:, 0], off[:, 1]
    return certainty[:, 0] * x * x + 2 * certainty[:, 1] * x * y + certainty[:, 2] * y * y


def at_points(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a (h, w) float image at (n, 2) points in its pixels, bilinear; NaN outside."""
    height, width = image.shape
    x, y = np.asarray(points, np.float64).T
    inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    if not inside.all():
        x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    x, y = np.minimum(np.maximum(x, 0), width - 1), np.minimum(np.maximum(y, 0), height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = x - left, y - top
    flat, at = image.ravel(), top * width + left
    above = flat[at] * (1 - a) + flat[at + 1] * a
    at += width
    value = above * (1 - b) + (flat[at] * (1 - a) + flat[at + 1] * a) * b
    return value if inside.all() else np.where(inside, value, math.nan)


def _without_ray(grid: Grid) -> np.ndarray | None:
    """Where nothing can be followed in a picture with these rays, (h, w) bool; None = nowhere.

    That is around a fisheye's circle, whose rim does not move, and where a pixel is a long way.
    """
    x, y = grid
    seen = np.hypot(x, y) <= MOST_ASIDE  # NaN is not
    if seen.all():
        return None
    beside = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
    return cv2.dilate((~seen).view(np.uint8), beside).view(bool)


class ReducedCamera:
    """Rays of the reduced pictures of a camera.

    blind: (h, w) bool, where nothing can be followed for want of rays; None = nowhere.
    """

    def __init__(self, camera: CameraModel) -> None:
        self.size = reduced_size(camera.width, camera.height)
        self.camera = camera.scaled(*self.size)
        self._factor = 1.0
        self._even: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        bent = camera.distortion_model not in ('', 'none')
        self._grid = self.camera.normalised_grid() if bent else None
        self.blind = None if self._grid is None else _without_ray(self._grid)

    def correct(self, factor: float) -> None:
        """Take the focal length for this many times the calibrated one."""
        self._factor = factor
        self._even.clear()

    @property
    def focal_px(self) -> float:
        """The focal length in reduced pixels."""
        return self._factor * math.sqrt(self.camera.fx * self.camera.fy)

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """Return (n, 3) rays (x', y', 1) of (n, 2) pixels."""
        rays = np.ones((len(pixels), 3))
        if self._grid is None:
            rays[:, 0] = (pixels[:, 0] - self.camera.cx) / self.camera.fx
            rays[:, 1] = (pixels[:, 1] - self.camera.cy) / self.camera.fy
        else:
            rays[:, 0] = at_points(self._grid[0], pixels)
            rays[:, 1] = at_points(self._grid[1], pixels)
        rays[:, :2] /= self._factor
        return rays

    def grid(self, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return places all over the picture, in shares of it (n, 2), and their rays (n, 3)."""
        if (columns, rows) not in self._even:
            x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
            shares = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
            rays = self.at(shares * np.array(self.size) - 0.5)
            self._even[columns, rows] = shares, rays
        return self._even[columns, rows]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return where points (n, 3) of the optical frame are seen, in shares of the picture."""
        x, y = (self._factor * points[:, axis] / points[:, 2] for axis in (0, 1))
        if self._grid is not None:
            x, y = distort(x, y, self.camera.distortion_model, self.camera.distortion)
        u, v = self.camera.fx * x + self.camera.cx, self.camera.fy * y + self.camera.cy
        return (np.stack([u, v], axis=1) + 0.5) / np.array(self.size)

    def pixels(self, before: np.ndarray, after: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return about where rays `after` are, of the pixels `at` with rays `before`; (n, 2)."""
        with np.errstate(all='ignore'):
            moved = after[:, :2] / after[:, 2:] - before[:, :2]
        return at + self._factor * moved * np.array([self.camera.fx, self.camera.fy])
