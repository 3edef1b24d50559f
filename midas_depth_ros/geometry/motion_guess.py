"""A first guess of how a camera moved between two pictures that may be far apart.

In: two grey pictures, the 1/Z of the newer one, and the rays of its pixels. Out: the motion that
makes small copies of them most alike: some turns and ways forward are tried, and the best of them
aligned in all six directions by their grey levels (dense alignment with known depth, Steinbruecker
et al., 2011; inverse compositional, Baker and Matthews, 2004).
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import BIWEIGHT, tukey_votes
from midas_depth_ros.geometry.rays import BEHIND, OUTSIDE, Rays, sampled

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Chosen on redkitchen_a with most of its pictures left out, and on rendered drives of furnished
# worlds 2 to 5.
WIDTH, FINER_WIDTH = 32, 64  # pixels of the small pictures that are compared
COARSE = 3.0  # pixels: what is coarser is light and shade
TURNS_RAD = np.radians(np.arange(-24, 25, 4))
WAYS = (0.0, 0.3, 0.6)  # forward, in units of the median Z
APART_RAD, APART_WAY = math.radians(6), 0.3  # of motions that are tried one beside the other
CANDIDATES, FINALISTS = 4, 2
ROUNDS, FINER_ROUNDS = 4, 4
MOST_PIXELS, FINER_PIXELS = 384, 768  # by which the pictures are aligned
LEAST_OFF = 1.0  # grey levels
DAMPING = 1e-3
MIN_COMPARED = 0.25  # share of these pixels that must be in both pictures
# Pictures that are less alike do not show the same: of 300 pairs of different places 99 % were
# less alike than 0.33 in the finer pictures, and 90 % less than 0.25.
LEAST_ALIKE, SURELY_ALIKE = 0.25, 0.45
ALIKE = 0.75  # pictures that are so much alike need no search
BETTER = 0.05  # by how much more than no motion a motion that was searched must be alike
FAR_SHARE = 0.06  # of its width, by which a picture moves that is far from the one before
MIN_COVER = 0.5  # share of the picture that both must show


@dataclasses.dataclass(frozen=True)
class _Level:
    """Small pictures (h, w) without light and shade, and the 1/Z of the newer one."""

    rays: Rays
    here: Array
    there: Array
    inverse: Array

    def brought(self, steps: np.ndarray, among: np.ndarray | slice) -> Array:
        """The grey levels `there` of some pixels of `here`, after each motion (k, 4, 4): (k, n).

        among: which of the pixels. NaN where they are not in the picture.
        """
        rays = self.rays
        turn, way = steps[:, :3, :3].astype(np.float32), steps[:, :3, 3:].astype(np.float32)
        points = turn @ rays.rays[:, among]
        points += way * self.inverse.reshape(-1)[among]
        ahead = points[:, 2]
        ahead[~(ahead > BEHIND)] = np.nan
        points[:, :2] *= np.reciprocal(ahead, out=ahead)[:, None]
        pixels = rays.pixels_of(points[:, 0], points[:, 1])
        return sampled(self.there, pixels)

    def moved_share(self, step: np.ndarray) -> float:
        """How far a motion (4, 4) moves the picture, as a share of its width."""
        pixels, _ = self.rays.places(self.inverse, step)
        off = np.hypot(*(pixels - self.rays.pixels))
        off = off[off < abs(OUTSIDE) / 2]
        return float(np.median(off)) / self.here.shape[1] if off.size else 0.0

    def alike(self, steps: np.ndarray, every: int = 1) -> np.ndarray:
        """How alike the pictures are after each of these motions (k, 4, 4), at most 1."""
        among = slice(None, None, every)
        return _likeness(self.here.reshape(-1)[among], self.brought(steps, among))


class MotionGuess:
    """Finds the motion that makes two pictures most alike.

    last: the motion before, which may go on. alike: how much alike they are after it, at most 1.
    far_apart: whether that motion is none of a video: searched for, and large.
    """

    def __init__(self) -> None:
        self.last: np.ndarray | None = None
        self.alike, self.far_apart = 0.0, False
        self._rays: dict[int, tuple[Rays, tuple[int, ...], Rays]] = {}

    def of(self, here: Picture, there: Picture, inverse: Array, rays: Rays) -> np.ndarray | None:
        """Return (4, 4) from here into there, or None where no motion is as good.

        The arguments are those of `PictureMotion.between`.
        """
        level = self._level = self._small(here, there, inverse, rays, WIDTH)
        tried = [np.eye(4)] if self.last is None else [np.eye(4), self.last]
        alike = level.alike(np.stack(tried))
        self.alike, self.far_apart = float(alike.max()), False
        if self.alike > ALIKE:
            return None if alike.argmax() == 0 else self.last
        steps = _aligned(level, _search(level, self.last), ROUNDS, MOST_PIXELS)
        alike = level.alike(steps)
        best = steps[np.argsort(-alike)[:FINALISTS]]
        finer = self._small(here, there, inverse, rays, FINER_WIDTH)
        best = _aligned(finer, best, FINER_ROUNDS, FINER_PIXELS)
        alike = finer.alike(np.concatenate((best, np.eye(4)[None])))
        self.alike = float(alike.max())
        step = np.asarray(best[alike[:-1].argmax()])
        self.far_apart = bool(
            alike[:-1].max() > alike[-1] + BETTER and finer.moved_share(step) > FAR_SHARE
        )
        if self.far_apart:
            return step
        self.alike = float(alike[-1])
        return None

    def likeness(self, step: np.ndarray) -> float:
        """How alike the pictures of the last guess are after a motion (4, 4), at most 1."""
        return float(self._level.alike(step[None])[0])

    def _small(
        self, here: Picture, there: Picture, inverse: Array, rays: Rays, width: int
    ) -> _Level:
        size = width, max(2, round(width * here.shape[0] / here.shape[1]))

        def small(image: np.ndarray) -> np.ndarray:
            return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))

        of, shape, kept = self._rays.get(width, (None, (), rays))
        if of is not rays or shape != rays.x.shape:
            x, y = small(rays.x), small(rays.y)
            kept = Rays().of((x, y), x.shape)
            self._rays[width] = rays, rays.x.shape, kept
        far = small(np.maximum(inverse, 0))
        return _Level(kept, _without_shade(small(here)), _without_shade(small(there)), far)


def _search(level: _Level, last: np.ndarray | None) -> np.ndarray:
    """The best motions (k, 4, 4) of some turns about the y axis and ways forward, and the last."""
    near = level.inverse[level.inverse > 0]
    unit = float(np.median(near)) if near.size else math.inf  # no depth: no way, only turns
    turns, ways = np.repeat(TURNS_RAD, len(WAYS)), np.tile(WAYS, len(TURNS_RAD))
    steps = np.tile(np.eye(4), (len(turns), 1, 1))
    steps[:, 0, 0] = steps[:, 2, 2] = np.cos(turns)
    steps[:, 0, 2] = np.sin(turns)
    steps[:, 2, 0] = -np.sin(turns)
    steps[:, 2, 3] = ways / unit
    alike = level.alike(steps, every=2)
    made = [] if last is None else [last]
    while len(made) < CANDIDATES:
        best = int(alike.argmax())
        made.append(steps[best])
        beside = (abs(turns - turns[best]) < APART_RAD) & (abs(ways - ways[best]) < APART_WAY)
        alike[beside] = -np.inf
    return np.stack(made)


def _aligned(level: _Level, steps: np.ndarray, rounds: int, most: int) -> np.ndarray:
    """Motions (k, 4, 4), each improved so that the pictures agree, by `most` of their pixels.

    The pixels with the strongest edges. Gauss-Newton with robust weights, all motions at a time.
    """
    across, down = (
        cv2.Sobel(level.here, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))
    )
    strength = (abs(across) + abs(down)).reshape(-1)
    strength[~np.isfinite(level.rays.x.reshape(-1))] = 0
    most = min(most, strength.size // 2)
    among = np.argpartition(strength, strength.size - most)[strength.size - most :]
    x, y = level.rays.rays[0, among], level.rays.rays[1, among]
    w, own = level.inverse.reshape(-1)[among], level.here.reshape(-1)[among]
    by_x, by_y = (
        edges.reshape(-1)[among] * np.float32(per)
        for edges, per in zip((across, down), level.rays.per, strict=True)
    )
    both = by_x * x + by_y * y
    # How the grey levels here change with a way and a turn of the camera.
    slopes = np.stack(
        (by_x * w, by_y * w, -both * w, -by_y - both * y, by_x + both * x, by_y * x - by_x * y)
    )
    for _ in range(rounds):
        off = level.brought(steps, among)
        off -= own
        known = np.isfinite(off)
        np.copyto(off, np.float32(0), where=~known)
        count = known.sum(axis=1)
        deviation = np.abs(off).sum(axis=1) * np.float32(1.2533) / np.maximum(count, 1)
        reach = BIWEIGHT * np.maximum(deviation, LEAST_OFF)
        votes = tukey_votes(off, reach[:, None]) * known
        weighted = slopes * votes[:, None]
        normal = (weighted @ slopes.T).astype(np.float64)
        towards = (weighted @ off[:, :, None]).astype(np.float64)
        diagonal = np.einsum('kii->ki', normal)
        diagonal += DAMPING * diagonal + 1e-9 * diagonal.sum(axis=1, keepdims=True) + 1e-12
        moves = np.linalg.solve(normal, towards)[..., 0]
        for index in np.nonzero(count > MIN_COMPARED * most)[0]:
            steps[index] = steps[index] @ _motion_of(-moves[index])
    return steps


def _motion_of(move: np.ndarray) -> np.ndarray:
    """(4, 4) of a way and a turn (6,)."""
    made = np.eye(4)
    made[:3, :3] = cv2.Rodrigues(move[3:])[0]
    made[:3, 3] = move[:3]
    return made


def _likeness(here: Array, brought: Array) -> np.ndarray:
    """Correlation of a picture (n,) with others (k, n), (k,); NaN is not compared."""
    both = np.isfinite(brought)
    np.copyto(brought, np.float32(0), where=~both)
    shown = both.astype(np.float32)
    count = np.maximum(shown.sum(axis=1), 1)
    mean_a, mean_b = shown @ here / count, brought.sum(axis=1) / count
    covariance = brought @ here / count - mean_a * mean_b
    power_a = shown @ (here * here) / count - mean_a**2
    power_b = np.einsum('ij,ij->i', brought, brought) / count - mean_b**2
    cover = np.minimum(1, count / here.size / MIN_COVER)
    return np.asarray(covariance / np.sqrt(power_a * power_b + 1) * cover)


def _without_shade(grey: np.ndarray) -> Array:
    fine = grey.astype(np.float32)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), COARSE))
