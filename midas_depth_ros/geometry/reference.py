"""Scale and shift from metric points: a lidar's scan, a range finder, any sparse depth.

Takes pixels with their Z and returns the weighted least squares fit of 1/Z on d, after RANSAC has
removed outliers. A range is not Z: `scan_points`, `range_points` and `cloud_points` first transform
what a sensor in another frame has measured into the picture.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from midas_depth_ros.geometry.camera_model import CameraModel, distort, undistort
from midas_depth_ros.geometry.fitting import GeometryError, checked, tukey_votes, weighted_line
from midas_depth_ros.geometry.scale import Refusal, ScaleShift

MIN_Z_M = 0.02
FAR_PERCENTILE = 2.0
LENS_TOLERANCE_PIXELS = 0.5
PAIRS = 300
REFITS = 5
# Limits of a fit. An inlier's 1/Z is off by less than a share of it, or less than this in 1/m.
TOLERANCE, LEAST_TOLERANCE = 0.1, 0.02
MIN_POINTS, MIN_SHARE = 8, 0.5  # inliers, and their share of the weight
MIN_SPREAD = 0.3  # largest by smallest 1/Z among the inliers, less 1
MAX_RESIDUAL = 0.6  # deviation of the inliers, in tolerances
# How uncertain it is: errors are the same within a region of the picture (this share of its longer
# side), where the network is off by a share of 1/Z in any case; the farthest thing in view is so
# far from infinitely far, in 1/m (as 10 m is).
REGIONS, REGION_OFF, FARTHEST_OFF = 8, 0.05, 0.1
VOTES_WITHIN = 1.5  # tolerances: a point farther off has no weight


class InvalidReference(GeometryError, ValueError):
    """Reference points whose arrays do not match, or a transform that is not valid."""


@dataclasses.dataclass(frozen=True)
class ReferencePoints:
    """Pixels with known depth: u, v in pixels (centres at whole numbers), z metres, weight > 0.

    Each (n,) float64. Raises `InvalidReference` for arrays of different lengths.
    """

    u: np.ndarray
    v: np.ndarray
    z: np.ndarray
    weight: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in ('u', 'v', 'z', 'weight')}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InvalidReference(
                f'u, v, z and weight have shapes {shapes}: they must be four arrays of one length'
            )

    def __len__(self) -> int:
        return len(self.z)

    @classmethod
    def of(
        cls, u: ArrayLike, v: ArrayLike, z: ArrayLike,
        weight: ArrayLike | None = None,
    ) -> ReferencePoints:  # fmt: skip
        """Return the points from anything array-like; all weights are 1 by default."""
        depth = np.asarray(z, dtype=np.float64)
        weights = np.ones_like(depth) if weight is None else np.asarray(weight, dtype=np.float64)
        return cls(np.asarray(u, np.float64), np.asarray(v, np.float64), depth, weights)


def fit_reference(
    d: np.ndarray, points: ReferencePoints, *, fixed_shift: float = math.nan
) -> ScaleShift | Refusal:
    """Return scale and shift of relative inverse depth from points of known depth, or a `Refusal`.

    d: (h, w) float32 or float64; `points` are in its pixels. Points outside it, where d is not
    finite, or with a z or weight that is not valid are ignored. fixed_shift: a known shift (1/m):
    then the scale alone is fitted, and one point is enough. Deterministic. Raises
    `InvalidInverseDepth` for an array of the wrong shape or type.
    """
    value, inverse, weight, region = _sampled(checked(d, None), points)
    fixed = math.isfinite(fixed_shift)
    needed = 1 if fixed else MIN_POINTS
    if len(value) < needed:
        return Refusal(f'only {len(value)} reference points are in view, {needed} are needed')
    tolerance = np.maximum(TOLERANCE * inverse, LEAST_TOLERANCE)
    start = _best_hypothesis(value, inverse, weight / weight.sum(), tolerance, fixed_shift)
    if start is None:
        return Refusal('no two reference points agree that nearer is larger')
    scale, shift = _refined(value, inverse, weight, tolerance, start, fixed_shift)
    if not (math.isfinite(scale) and scale > 0):
        return Refusal(f'the scale that fits the reference is {scale:.3g}: it must be positive')
    error = scale * value + shift - inverse
    near = np.abs(error) < tolerance
    share = float(weight[near].sum() / weight.sum())
    refusal = _gate(inverse[near], error[near] / tolerance[near], share, needed, fixed)
    if refusal:
        return refusal
    trust = weight[near] / tolerance[near] ** 2
    covariance = _covariance(value[near], inverse[near], error[near], trust, region[near], fixed)
    if covariance is None:
        return Refusal('relative inverse depth is the same at all reference points')
    residual = float(np.sqrt(np.mean(error[near] ** 2)))
    return ScaleShift(
        scale, shift, 'reference', share, residual, int(near.sum()), covariance=covariance
    )


def fit_range(d: np.ndarray, points: ReferencePoints) -> ScaleShift | Refusal:
    """Return scale and shift from a single reading, as of a range finder, or a `Refusal`.

    One reading cannot give both, so the farthest part of the picture (low percentile of d) counts
    as infinitely far. The error is small with something far in view, but not before a wall: prefer
    a scan or the ground plane. Arguments and errors as of `fit_reference`.
    """
    known = checked(d, None)[np.isfinite(d)]
    if not known.size:
        return Refusal('the depth has no valid values')
    farthest = float(np.percentile(known, FAR_PERCENTILE))
    fit = fit_reference(d - farthest, points, fixed_shift=0.0)
    if isinstance(fit, Refusal):
        return fit
    # The farthest thing is somewhere: the line turns about the reading, which knows nothing of it.
    reading = 1 / (fit.scale * float(np.median(points.z)))
    turn = np.array([-1 / reading, 1 + farthest / reading]) * FARTHEST_OFF
    by_scale = fit.covariance[0]
    together = np.outer(turn, turn) + by_scale * np.outer([1, -farthest], [1, -farthest])
    covariance = float(together[0, 0]), float(together[0, 1]), float(together[1, 1])
    return dataclasses.replace(fit, shift=-fit.scale * farthest, covariance=covariance)


def _gate(
    inverse: np.ndarray, off: np.ndarray, share: float, needed: int, fixed: bool
) -> Refusal | None:
    if share < MIN_SHARE or len(inverse) < needed:
        return Refusal(
            f'only {len(inverse)} reference points ({share:.0%}) agree with one scale, '
            f'{needed} ({MIN_SHARE:.0%}) are needed'
        )
    spread = float(inverse.max() / inverse.min() - 1)
    if not fixed and spread < MIN_SPREAD:
        return Refusal(
            f'the reference points are all {1 / inverse.max():.2f} to {1 / inverse.min():.2f} m '
            'away: too similar for scale and shift'
        )
    if float(np.sqrt(np.mean(off**2))) > MAX_RESIDUAL:
        return Refusal('the reference points scatter too widely around their fit')
    return None


def _covariance(
    value: np.ndarray, inverse: np.ndarray, error: np.ndarray, weight: np.ndarray,
    region: np.ndarray, fixed: bool,
) -> tuple[float, float, float] | None:  # fmt: skip
    """Return the `ScaleShift.covariance` of a fit of 1/Z on d, by the inliers' deviations; None
    where d is the same everywhere.

    Errors are the same within a region and independent between regions (the sandwich with clusters:
    White 1980, Liang and Zeger 1986); `REGION_OFF` is added, since few points fit any line.
    """
    total = float(weight.sum())
    middle = 0.0 if fixed else float(weight @ value / total)
    unit = math.sqrt(float(weight @ (value - middle) ** 2) / total)
    if not unit > 0:
        return None
    # In units of its own spread, since those of a network's d are any.
    across = (value - middle) / unit
    design = across[np.newaxis] if fixed else np.stack([across, np.ones_like(across)])
    pulls = [
        np.stack([np.bincount(region, weight * off * row) for row in design])
        for off in (error, REGION_OFF * inverse)
    ]
    bread = np.linalg.inv((design * weight) @ design.T)
    centred = bread @ (pulls[0] @ pulls[0].T + pulls[1] @ pulls[1].T) @ bread
    if fixed:
        return float(centred[0, 0]) / unit**2, 0.0, 0.0
    moved = np.array([[1 / unit, 0.0], [-middle / unit, 1.0]])
    matrix = moved @ centred @ moved.T
    return float(matrix[0, 0]), float(matrix[0, 1]), float(matrix[1, 1])


def _sampled(
    d: np.ndarray, points: ReferencePoints
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """d, 1/Z, weight and number of the region of the usable points; float64, int."""
    height, width = d.shape
    with np.errstate(invalid='ignore'):
        column, row = np.rint(points.u), np.rint(points.v)
        usable = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        usable &= (points.z > MIN_Z_M) & np.isfinite(points.z)
        usable &= (points.weight > 0) & np.isfinite(points.weight)
    column, row = column[usable].astype(int), row[usable].astype(int)
    value = d[row, column].astype(np.float64)
    finite = np.isfinite(value)
    side = max(1, max(height, width) // REGIONS)
    region = (row // side * (width // side + 1) + column // side)[finite]
    return value[finite], 1 / points.z[usable][finite], points.weight[usable][finite], region


def _best_hypothesis(
    value: np.ndarray, inverse: np.ndarray, share: np.ndarray, tolerance: np.ndarray,
    fixed_shift: float,
) -> tuple[float, float] | None:  # fmt: skip
    """The line through two points (or one and the fixed shift) with most weight near it."""
    with np.errstate(divide='ignore', invalid='ignore'):
        if math.isfinite(fixed_shift):
            scale = (inverse - fixed_shift) / value
            shift = np.full_like(scale, fixed_shift)
        else:
            first, second = np.random.default_rng(0).integers(len(value), size=(2, PAIRS))
            scale = (inverse[first] - inverse[second]) / (value[first] - value[second])
            shift = inverse[first] - scale * value[first]
    possible = np.isfinite(scale) & (scale > 0)
    if not possible.any():
        return None
    scale, shift = scale[possible], shift[possible]
    off = np.abs(scale[:, None] * value + shift[:, None] - inverse) / tolerance
    best = int(np.argmin(np.minimum(off, 1) @ share))
    return float(scale[best]), float(shift[best])


def _refined(
    value: np.ndarray, inverse: np.ndarray, weight: np.ndarray, tolerance: np.ndarray,
    start: tuple[float, float], fixed_shift: float,
) -> tuple[float, float]:  # fmt: skip
    scale, shift = start
    for _ in range(REFITS):
        off = (scale * value + shift - inverse) / tolerance
        vote = weight * tukey_votes(off, VOTES_WITHIN) / tolerance**2
        if not vote.sum() > 0:
            break
        if math.isfinite(fixed_shift):
            scale = float((vote @ (value * (inverse - shift))) / (vote @ (value * value)))
            continue
        line = weighted_line(value, inverse, vote)
        if line is None:
            break
        scale, shift = line[0], line[2] - line[0] * line[1]
    return scale, shift


def cloud_points(
    points: np.ndarray, optical_from_sensor: np.ndarray, camera: CameraModel
) -> ReferencePoints:
    """Project (n, 3) metric points of a sensor's frame into the pixels of `camera`.

    optical_from_sensor: (4, 4) rigid transform into the camera's optical frame. Points behind the
    camera, outside the image or not finite are ignored, and those at the sensor itself: many
    drivers give (0, 0, 0) where nothing was measured. A point hidden from the camera by something
    nearer is an outlier for RANSAC to find. Raises `InvalidReference`.
    """
    transform = np.asarray(optical_from_sensor, np.float64)
    if transform.shape != (4, 4) or not np.allclose(
        transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-3
    ):
        raise InvalidReference('the transform into the optical frame must be 4x4 and rigid')
    cloud = np.asarray(points, np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3:
        raise InvalidReference(f'points have shape {cloud.shape}: it must be (n, 3)')
    measured = np.isfinite(cloud).all(axis=1) & cloud.any(axis=1)
    cloud = cloud[measured] @ transform[:3, :3].T + transform[:3, 3]
    cloud = cloud[cloud[:, 2] > MIN_Z_M]
    x, y, z = cloud[:, 0] / cloud[:, 2], cloud[:, 1] / cloud[:, 2], cloud[:, 2]
    if camera.distortion_model not in ('', 'none') and len(z):
        ideal = x, y
        x, y = distort(x, y, camera.distortion_model, camera.distortion)
        tolerance = LENS_TOLERANCE_PIXELS / max(camera.fx, camera.fy)
        back = undistort(x, y, camera.distortion_model, camera.distortion, tolerance)
        with np.errstate(invalid='ignore'):
            seen = np.hypot(back[0] - ideal[0], back[1] - ideal[1]) < 10 * tolerance
        x, y, z = x[seen], y[seen], z[seen]
    u, v = camera.fx * x + camera.cx, camera.fy * y + camera.cy
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    return ReferencePoints.of(u[inside], v[inside], z[inside])


def scan_points(
    ranges: ArrayLike, angle_min: float, angle_increment: float,
    optical_from_scan: np.ndarray, camera: CameraModel, *,
    range_min: float = 0.0, range_max: float = math.inf,
) -> ReferencePoints:  # fmt: skip
    """Project the beams of a sensor_msgs/LaserScan; ranges outside the limits are ignored.

    So are those at the limits: drivers that know no infinity give `range_max` for nothing, and some
    `range_min` for what is nearer.
    """
    distance = np.asarray(ranges, np.float64)
    angle = angle_min + angle_increment * np.arange(len(distance))
    good = np.isfinite(distance) & (distance > range_min) & (distance < range_max)
    good &= distance > 0
    distance, angle = distance[good], angle[good]
    flat = np.stack(
        [distance * np.cos(angle), distance * np.sin(angle), np.zeros_like(angle)], axis=1
    )
    return cloud_points(flat, optical_from_scan, camera)


def range_points(
    range_m: float, optical_from_sensor: np.ndarray, camera: CameraModel, *,
    range_min: float = 0.0, range_max: float = math.inf,
) -> ReferencePoints:  # fmt: skip
    """Project a sensor_msgs/Range along its axis: one point, or none.

    Many sensors that see nothing say `range_max`, as our own proximity does, and `range_min` of
    what is nearer: these are no distances.
    """
    good = math.isfinite(range_m) and range_min < range_m < range_max and range_m > 0
    point = np.array([[range_m, 0.0, 0.0]] if good else np.zeros((0, 3)))
    return cloud_points(point, optical_from_sensor, camera)
