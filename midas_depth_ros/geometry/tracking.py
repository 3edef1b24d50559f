"""Corners followed from picture to picture, with where each was seen in a few earlier ones.

A corner is tracked by pyramidal Lucas-Kanade, forward and backward, always from the last *step*: a
picture that is kept until the next is far enough from it, so that nothing drifts while the camera
stands. Every step keeps the places of all corners that are still followed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

WIDTH_PX = 320  # of the reduced picture
CELL_PX = 16  # one corner is taken of each cell of this size
CORNERS = 180  # followed at most
STEPS = 9  # kept at most
WINDOW_PX, LEVELS, MARGIN_PX = 13, 3, 6
THERE_AND_BACK_PX = 0.4  # largest difference of a corner from where it came, tracked backward
WEAKEST, FAINTEST = 0.01, 2e-5  # eigenvalue of a corner: share of the strong ones' , and at least
STEP_FLOW = 0.045  # of the width: a median motion since the last step that makes a new one
STEP_LOST = 0.7  # share of the corners still followed below which there is a new step
CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.02)


def reduced_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the picture that corners are followed in."""
    factor = min(1.0, WIDTH_PX / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


class CornerTracks:
    """The corners of one camera.

    here: (n, 2) float32, where they are in the last picture, in its reduced pixels. seen:
    (steps, n, 2) float32, where they were in each step, NaN where not yet. `labels`: what was given
    with each step, the oldest first. `notes`: (n,) a number kept with each corner, NaN at first.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all corners."""
        self.here = np.zeros((0, 2), np.float32)
        self.notes = np.zeros(0)
        self.seen = np.zeros((0, 0, 2), np.float32)
        self.labels: list[object] = []
        self.size = (0, 0)
        self._grey = self._step_grey = np.zeros((0, 0), np.uint8)
        self._at_step = 0

    def update(self, grey: np.ndarray, guess: np.ndarray | None = None) -> None:
        """Follow the corners into a picture (h, w) uint8 of the reduced size.

        guess: (n, 2) where they are expected; where they were before by default.
        """
        size = grey.shape[1], grey.shape[0]
        if size != self.size:
            self.reset()
            self.size = size
        self._grey = grey
        if not len(self.here):
            return
        start = self.seen[-1]
        guess = self.here if guess is None else guess
        there, found = _flow(self._step_grey, grey, start, guess)
        back, found_back = _flow(grey, self._step_grey, there, start)
        good = found & found_back
        good &= np.abs(back - start).max(axis=1) < THERE_AND_BACK_PX
        good &= (there > MARGIN_PX).all(axis=1)
        good &= (there < np.array(size, np.float32) - 1 - MARGIN_PX).all(axis=1)
        self.here = there
        self.keep(good)

    @property
    def flow_px(self) -> float:
        """Median motion since the last step, in reduced pixels; 0 without corners."""
        if not len(self.here):
            return 0.0
        return float(np.median(np.hypot(*(self.here - self.seen[-1]).T)))

    @property
    def step_due(self) -> bool:
        """Whether the last picture is to be a step."""
        if not self.labels or len(self.here) < STEP_LOST * self._at_step:
            return True
        return self.flow_px > STEP_FLOW * self.size[0]

    def step(self, label: object) -> None:
        """Make the last picture a step, and look for new corners in it."""
        fresh = _corners(self._grey, self.here, CORNERS - len(self.here))
        seen = np.concatenate([self.seen, self.here[None]]) if self.labels else self.here[None]
        unseen = np.full((len(seen), len(fresh), 2), np.nan, np.float32)
        unseen[-1] = fresh
        self.seen = np.concatenate([seen, unseen], axis=1)[-STEPS:]
        self.labels = [*self.labels, label][-STEPS:]
        self.here = np.concatenate([self.here, fresh])
        self.notes = np.concatenate([self.notes, np.full(len(fresh), math.nan)])
        self._step_grey = self._grey
        self._at_step = len(self.here)

    def keep(self, good: np.ndarray) -> None:
        """Keep only the corners in the (n,) mask."""
        self.here, self.seen = self.here[good], self.seen[:, good]
        self.notes = self.notes[good]

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


def _corners(grey: np.ndarray, known: np.ndarray, wanted: int) -> np.ndarray:
    """Return the strongest corners (n, 2), one of each cell without a known one."""
    height, width = grey.shape
    rows, columns = (height - 2 * MARGIN_PX) // CELL_PX, (width - 2 * MARGIN_PX) // CELL_PX
    if wanted <= 0 or rows < 1 or columns < 1:
        return np.zeros((0, 2), np.float32)
    strength = cv2.cornerMinEigenVal(grey, 5)
    top, left = (height - rows * CELL_PX) // 2, (width - columns * CELL_PX) // 2
    inner = strength[top : top + rows * CELL_PX, left : left + columns * CELL_PX]
    cells = inner.reshape(rows, CELL_PX, columns, CELL_PX).swapaxes(1, 2)
    cells = cells.reshape(rows * columns, CELL_PX * CELL_PX)
    best = cells.argmax(axis=1)
    value = cells[np.arange(len(cells)), best]
    if len(known):
        column = ((known[:, 0] - left) // CELL_PX).astype(int)
        row = ((known[:, 1] - top) // CELL_PX).astype(int)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        value[row[inside] * columns + column[inside]] = 0
    strong = float(np.partition(value, -max(1, len(value) // 10))[-max(1, len(value) // 10)])
    number = np.flatnonzero(value > max(WEAKEST * strong, FAINTEST))
    number = number[np.argsort(-value[number], kind='stable')][:wanted]
    x = left + (number % columns) * CELL_PX + best[number] % CELL_PX
    y = top + (number // columns) * CELL_PX + best[number] // CELL_PX
    return np.stack([x, y], axis=1).astype(np.float32)


def at_points(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a (h, w) float image at (n, 2) points in its pixels, bilinear; NaN outside."""
    height, width = image.shape
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    with np.errstate(invalid='ignore'):
        inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    x = np.clip(np.where(inside, x, 0), 0, width - 1)
    y = np.clip(np.where(inside, y, 0), 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = x - left, y - top
    value = (
        image[top, left] * (1 - a) * (1 - b) + image[top, left + 1] * a * (1 - b)
        + image[top + 1, left] * (1 - a) * b + image[top + 1, left + 1] * a * b
    )  # fmt: skip
    return np.where(inside, value, math.nan)
