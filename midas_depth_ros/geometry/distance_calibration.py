"""Metres compared with a tape measure at three to six distances, and what to correct by them.

In: what the node says of the middle of the picture, at known distances. Out: a factor, an offset
where there is one, the residual of every distance, and the parameters that would have been right.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.fitting import Grid, checked
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.scale import Refusal

FEWEST, MOST = 3, 12  # distances
MIN_SPREAD = 1.5  # the farthest by the nearest
SAME = 0.03  # distances that differ by less, as a share, are one
PATCH = 1 / 12  # side of the middle, as a share of the shorter side of the picture
MAX_DEPTH_IN_PATCH = 0.15  # from the 16th to the 84th percentile, as a share
MAX_DRIFT = 0.05  # from the first frames to the last, as a share
MAX_RESIDUAL = 0.1  # root mean square, as a share of the distance
ACCURACY = 0.01  # of a tape and a hand that holds it, as a share: never surer than that
# How many deviations an offset must be from 0 to be believed, by the measurements to spare.
STUDENT = {2: 4.3, 3: 3.2, 4: 2.8}
STUDENT_MORE = 2.5
RIGHT = 0.02  # a factor this near to 1 is not worth correcting


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One distance: z_m by the tape, along the optical axis; `value`: what the node made of it.

    value: 1/Z in 1/m, or relative inverse depth. source: of these metres (`ScaleShift.source`).
    """

    z_m: float
    value: float
    source: str = ''


@dataclasses.dataclass(frozen=True)
class DistanceFit:
    """1/Z = factor * value + offset (1/m) at all measured distances.

    factor_sigma: standard deviation of `factor`. off: (n,) of each corrected distance from the
    tape, as a share; before: the same without correction, NaN for relative inverse depth.
    """

    factor: float
    offset: float
    factor_sigma: float
    off: tuple[float, ...]
    before: tuple[float, ...]

    @property
    def right(self) -> bool:
        """Whether there is nothing to correct."""
        near = abs(self.factor - 1) < max(RIGHT, 2 * self.factor_sigma)
        return near and self.offset == 0


def middle_value(values: np.ndarray) -> float | Refusal:
    """Return the median of the middle of the picture, or why it is not one thing at one distance.

    values: (h, w) float32, 1/Z or relative inverse depth, NaN unknown.
    """
    patch = _middle(checked(values, None))
    known = patch[np.isfinite(patch)].astype(np.float64)
    if 2 * known.size < patch.size:
        return Refusal('the depth in the middle of the picture is unknown')
    low, middle, high = np.percentile(known, (16, 50, 84))
    if not middle > 0:
        return Refusal('the middle of the picture is infinitely far')
    if high - low > MAX_DEPTH_IN_PATCH * middle:
        return Refusal(
            'what is in the middle of the picture is not at one distance: point the camera at '
            'something flat that faces it and is larger'
        )
    return float(middle)


def middle_inverse_depth(depth_z: np.ndarray) -> float | Refusal:
    """Return 1/Z (1/m) in the middle of (h, w) float32 metric depth, or why there is none."""
    with np.errstate(divide='ignore'):
        return middle_value(1 / depth_z)


def middle_ray(grid: Grid) -> float:
    """Return how long the ray (x', y', 1) through the middle of the picture is."""
    x, y = (float(np.nanmean(_middle(axis))) for axis in grid)
    return math.sqrt(1 + x * x + y * y)


def _middle(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    half = max(2, round(0.5 * PATCH * min(height, width)))
    row, column = height // 2, width // 2
    return values[row - half : row + half, column - half : column + half]


def steady_value(values: list[float]) -> float | Refusal:
    """Return the median of the middle over some frames (n > 0), or a `Refusal` where it drifts."""
    third = max(1, len(values) // 3)
    first, last = np.median(values[:third]), np.median(values[-third:])
    middle = float(np.median(values))
    if abs(last - first) > MAX_DRIFT * middle:
        return Refusal(
            f'it changed by {abs(last - first) / middle:.0%} meanwhile: keep robot and scene still'
        )
    return middle


def added(measurements: list[Measurement], new: Measurement) -> list[Measurement] | Refusal:
    """Return the measurements with a new one, which replaces one at the same distance."""
    kept = [each for each in measurements if abs(each.z_m / new.z_m - 1) >= SAME]
    if len(kept) >= MOST:
        return Refusal(f'there are {MOST} distances already: start anew')
    return [*kept, new]


def fit_distances(
    measurements: list[Measurement], *, relative: bool = False
) -> DistanceFit | Refusal:
    """Return what makes the node's values right at the measured distances, or a `Refusal`.

    Least squares of relative errors. An offset is fitted where the measurements demand one;
    `relative` (values are relative inverse depth) always has one.
    """
    if len(measurements) < FEWEST:
        return Refusal(f'{len(measurements)} of at least {FEWEST} distances')
    z = np.array([each.z_m for each in measurements])
    value = np.array([each.value for each in measurements])
    if z.max() < MIN_SPREAD * z.min():
        return Refusal(
            f'distances from {z.min():.2f} to {z.max():.2f} m are too similar: the farthest must '
            f'be {MIN_SPREAD:g} times the nearest'
        )
    solution, sigma = _solved(np.stack([value * z, z], axis=1))
    spare = len(z) - 2
    certain = STUDENT.get(spare, STUDENT_MORE) * sigma[1]
    if not relative and (spare < 2 or abs(solution[1]) < certain):
        only, sigma = _solved((value * z)[:, None])
        solution = np.array([only[0], 0.0])
    factor, offset = float(solution[0]), float(solution[1])
    inverse = factor * value + offset
    if not (factor > 0 and (inverse > 0).all()):
        return Refusal('what is nearer by the tape is farther by the node: measure again')
    off = 1 / (inverse * z) - 1
    spread = float(np.sqrt(np.mean(off**2)))
    if spread > MAX_RESIDUAL:
        return Refusal(
            f'after the best correction the distances are still {spread:.0%} off '
            f'({_shares(off)}): no single correction makes them right'
        )
    before = np.full(len(z), math.nan) if relative else 1 / (value * z) - 1
    return DistanceFit(factor, offset, float(sigma[0]), tuple(off.tolist()), tuple(before.tolist()))


def _solved(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of columns @ solution = 1, and the deviations of the solution."""
    solution = np.linalg.lstsq(columns, np.ones(len(columns)), rcond=None)[0]
    spare = max(1, len(columns) - columns.shape[1])
    variance = float(((columns @ solution - 1) ** 2).sum()) / spare
    inverse = np.linalg.pinv(columns.T @ columns)
    return solution, np.sqrt(np.diag(inverse) * max(variance, ACCURACY**2))


def _shares(off: np.ndarray) -> str:
    return ', '.join(f'{each:+.0%}' for each in off)


def corrected_mount(mount: CameraMount, fit: DistanceFit) -> CameraMount:
    """Return the mount by which metres of the floor would have been right. Raises `MountError`.

    On the floor 1/Z = (y' cos(pitch) + sin(pitch)) / height: a wrong height is a factor, a wrong
    pitch an offset. (For a camera without roll; exact.)
    """
    tilt = fit.offset / fit.factor * mount.height_m
    sine, cosine = math.sin(mount.pitch_rad), math.cos(mount.pitch_rad)
    pitch = mount.pitch_rad + math.atan2(tilt * cosine, 1 + tilt * sine)
    height = mount.height_m * math.cos(pitch) / (fit.factor * cosine)
    return CameraMount(height, pitch, mount.roll_rad)


def corrected_field_of_view(horizontal_fov_rad: float, fit: DistanceFit) -> float:
    """Return the field of view with which the metres would have been right, without an offset."""
    return 2 * math.atan(math.tan(0.5 * horizontal_fov_rad) * fit.factor)
