"""The rays of a camera's pixels, and where what they see is in another picture after a motion.

In: the normalised coordinates of the pixels, their 1/Z, and a motion as a matrix. Out: pixels and
normalised coordinates in the other picture.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.fitting import Grid

Array = NDArray[np.float32]

ASSUMED_FOV_RAD = math.radians(60)  # of a camera that is not calibrated
STRAIGHT_PX = 0.02  # a lens that bends rays by less has no distortion
REFINEMENTS = 3
OUTSIDE = -1e4  # a pixel that is in no picture
EVERY = slice(None, None, 2), slice(None, None, 2)  # the pixels of half of the size
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

    def pixels_of(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The pixels of normalised coordinates of any shape, at most nearly so for a bent lens.

        Far outside where these are NaN.
        """
        across = x * np.float32(self.per[0])
        across += np.float32(self.middle[0])
        down = y * np.float32(self.per[1])
        down += np.float32(self.middle[1])
        for _ in range(0 if self._turned is None else REFINEMENTS):
            off_x, off_y = x - sampled(self.x, (across, down)), y - sampled(self.y, (across, down))
            across = across + off_x * np.float32(self.per[0])
            down = down + off_y * np.float32(self.per[1])
        np.copyto(across, np.float32(OUTSIDE), where=np.isnan(across))
        return across, down

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
