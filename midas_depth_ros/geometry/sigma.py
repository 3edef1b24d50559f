"""How far each metre can be believed: a standard deviation of 1/Z for every pixel.

In: relative inverse depth, its scale and shift with their covariance, where the floor is, and the
error that the network itself expects, if it says that. Out: the standard deviation of 1/Z, of which
that of Z follows. It is a sum of independent variances:

    the fit      of scale and shift, by `ScaleShift.covariance`
    the floor    how much what counts as floor deviates from it
    standing     what stands out of the floor, by its distance from it: a network is most certain of
                 the floor, and flattens what stands on it
    the foot     what stands on the floor is as far away as its foot: how far the network is off
                 that, in the pixel and in the whole picture
    an edge      a pixel near it could belong to either side
    behind       nothing is seen through the floor: what seems to be behind it is off by that much
    the network  what it expects to be off by, in 1/Z; other networks do not say it, so this adds to
                 the others and replaces none of them

How much each weighs was chosen on rendered places, through the embedded model
(`benchmarks/sigma.py` says which, and measures on others).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from midas_depth_ros.geometry.fitting import (
    Grid,
    InvalidInverseDepth,
    resized,
    resized_grid,
)
from midas_depth_ros.geometry.ground_plane import floor_of
from midas_depth_ros.geometry.mount import CameraMount, rays_ahead
from midas_depth_ros.geometry.scale import ScaleShift

# The variance of 1/Z is the sum of these times `doubts`.
WEIGHTS = {
    'fit': 1.0,
    'floor': 0.05,
    'standing': 0.0026,
    'uneven': 0.057,
    'footless': 0.3,
    'foot': 0.092,
    'edge': 4.8,
    'behind': 1.0,
    'network': 0.071,
}
FINEST = 2  # pixels: sigma is computed at half of the size, and less below twice `LEAST_SIDE`
LEAST_SIDE = 32
EDGE_PX, AROUND = 1.5, 9  # of the smaller picture: what is finer is edge, and how far it reaches
NO_FOOT = 0.5  # share of 1/Z by which the foot counts as missed where it is not in view
NO_FLOOR = 0.25  # the same for the whole picture where the floor is not known
LEAST_FLOOR = 50  # pixels of the smaller picture, to know how uneven it is
FARTHEST = 1 / 20  # 1/m: what is farther away does not tell how well a picture is understood


@dataclasses.dataclass(frozen=True)
class FloorRays:
    """What a mount says of every pixel, (h, w) float32: 1/Z of the floor there, and metres ahead
    along the floor per metre of Z.
    """

    ground: np.ndarray
    ahead: np.ndarray

    @classmethod
    def of(cls, grid: Grid, mount: CameraMount) -> FloorRays:
        """Return those of a camera: `CameraModel.normalised_grid` and its mount."""
        return cls(mount.ground_inverse_depth(grid), rays_ahead(grid, mount))


def inverse_depth_sigma(
    d: np.ndarray,
    scale: ScaleShift,
    *,
    inverse: np.ndarray | None = None,
    grid: Grid | None = None,
    mount: CameraMount | None = None,
    error: np.ndarray | None = None,
) -> np.ndarray:
    """Return the standard deviation of 1/Z in 1/m, (h, w) float32, of relative inverse depth.

    d: (h, w) float32, NaN unknown, as is the result there. inverse: `scale.inverse_depth(d)`, if it
    is at hand. grid, mount: `CameraModel.normalised_grid(w, h)` and where the camera is, to know
    what is floor; without them all is as uncertain as what stands on it. error: (h, w) float32, the
    error that the network expects of d, in its units (`DepthEstimator.infer_with_error`). Raises
    `InvalidInverseDepth` where it has another shape than d.
    """
    return sigma_and_of_surfaces(d, scale, inverse=inverse, grid=grid, mount=mount, error=error)[0]


def sigma_and_of_surfaces(
    d: np.ndarray,
    scale: ScaleShift,
    *,
    inverse: np.ndarray | None = None,
    grid: Grid | None = None,
    mount: CameraMount | None = None,
    error: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `inverse_depth_sigma`, and the same without the doubt of edges.

    Near an edge a pixel could belong to either side. That makes its depth uncertain, but not where
    the two sides are: an obstacle is not nearer, nor its floor less free, for having a border.
    """
    inverse = scale.inverse_depth(d) if inverse is None else inverse
    known = np.isfinite(inverse)
    whole = bool(known.all())
    d, inverse = d.astype(np.float32, copy=False), inverse.astype(np.float32, copy=False)
    if not whole:
        d, inverse = _filled(d, known), _filled(inverse, known)
    height, width = d.shape
    step = FINEST if min(height, width) >= FINEST * LEAST_SIDE else 1
    size = width // step, height // step
    small = [resized(each, size) for each in (d, inverse)]
    rays = None
    if mount is not None and grid is not None:
        rays = FloorRays.of(resized_grid(grid, size), mount)
    if error is not None:
        if error.shape != d.shape:
            raise InvalidInverseDepth(f'd is {d.shape}, and its expected error {error.shape}')
        error = resized(error, size)
    found = doubts(small[0], small[1], scale, rays, error)
    of_surfaces = sum(WEIGHTS[name] * found[name] for name in found if name != 'edge')
    variances = of_surfaces + WEIGHTS['edge'] * found['edge'], of_surfaces
    both = [
        cv2.resize(np.sqrt(each), (width, height), interpolation=cv2.INTER_LINEAR)
        for each in variances
    ]
    if not whole:
        both = [np.where(known, each, np.float32(np.nan)) for each in both]
    return both[0], both[1]


def doubts(
    d: np.ndarray,
    inverse: np.ndarray,
    scale: ScaleShift,
    rays: FloorRays | None,
    error: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the variances of 1/Z before they are weighted, each (h, w) float32 in 1/m^2.

    d, inverse: (h, w) float32 relative inverse depth and 1/Z, without NaN. error: of d, expected.
    """
    by_scale, both, by_shift = (np.float32(each) for each in scale.covariance)
    fit = np.maximum((by_scale * d + 2 * both) * d + by_shift, 0)
    ground = np.zeros_like(inverse) if rays is None else np.maximum(np.nan_to_num(rays.ground), 0)
    off = inverse - ground
    standing = np.maximum(off, 0)
    size = np.maximum(inverse, 0)
    residual, missed, overall = np.float32(scale.residual), np.zeros_like(inverse), NO_FLOOR
    if rays is not None:
        floor = floor_of(inverse, rays.ground)
        missed, overall = _missed_foot(inverse, size, rays, floor)
        if np.count_nonzero(floor) > LEAST_FLOOR:
            # Anchors of other sources scatter for reasons of their own.
            residual = np.minimum(residual, off[floor].std())
    return {
        'fit': fit,
        'floor': np.full_like(fit, residual**2),
        'standing': standing * size,
        'uneven': standing * residual,
        'footless': standing * size * np.float32(overall**2),
        'foot': missed**2,
        'edge': _edges(inverse),
        'behind': np.minimum(off, 0) ** 2,
        **({} if error is None else {'network': (_steepest(scale) * error) ** 2}),
    }


def _steepest(scale: ScaleShift) -> np.float32:
    """By how much 1/Z changes with d at most, also where it follows a curve."""
    if not scale.curve:
        return np.float32(scale.scale)
    at, on_curve = np.array(scale.curve).T
    return np.float32(max(scale.scale, (np.diff(on_curve) / np.diff(at)).max()))


def depth_sigma(depth_z: np.ndarray, inverse_sigma: np.ndarray) -> np.ndarray:
    """Return the standard deviation of Z in metres, (h, w) float32, of that of 1/Z; NaN where Z is
    NaN.
    """
    return np.asarray(depth_z * depth_z * inverse_sigma, np.float32)


def enlarged_sigma(inverse_sigma: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the standard deviation of 1/Z at another size, (H, W) = `shape`.

    Known everywhere, so that depth is never without it: large at the border of what is unknown.
    """
    if inverse_sigma.shape == shape:
        return inverse_sigma
    known = np.isfinite(inverse_sigma)
    if not known.any():
        return np.full(shape, np.inf, np.float32)
    if not known.all():
        inverse_sigma = np.where(known, inverse_sigma, inverse_sigma[known].max())
    return cv2.resize(inverse_sigma, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _missed_foot(
    inverse: np.ndarray, size: np.ndarray, rays: FloorRays, floor: np.ndarray
) -> tuple[np.ndarray, float]:
    """By how much 1/Z is off that of a wall upon the nearest floor below, 1/m, and its mean share.

    0 on the floor.
    """
    height, width = inverse.shape
    rows = np.where(floor, np.arange(height, dtype=np.int16)[:, None], np.int16(height))
    below = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    in_view = below < height
    foot = np.minimum(below, height - 1), np.arange(width)[None, :]
    # What is as far ahead as its foot, along the floor, has that share of the foot's 1/Z.
    with np.errstate(invalid='ignore', divide='ignore'):
        wall = rays.ahead * (rays.ground / rays.ahead)[foot]
    missed = np.where(in_view, np.abs(inverse - wall), np.float32(NO_FOOT) * size)
    missed = np.where(floor | ~np.isfinite(missed), np.float32(0), missed)
    judged = ~floor & (size > FARTHEST)
    if not judged.any():
        return missed, 0.0
    return missed, float(np.minimum(missed[judged] / size[judged], np.float32(NO_FOOT)).mean())


def _edges(inverse: np.ndarray) -> np.ndarray:
    """The local variance of what is finer than `EDGE_PX`."""
    fine = inverse - cv2.GaussianBlur(inverse, (0, 0), EDGE_PX)
    return np.maximum(cv2.blur(fine * fine, (AROUND, AROUND)), 0)


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The values with what is not known taken from around it, so that its border is no edge."""
    side = 2 * (min(values.shape) // 8) + 1
    weight = cv2.blur(known.astype(np.float32), (side, side))
    mean = float(values[known].mean()) if known.any() else 0.0
    held = np.where(known, values, np.float32(0)).astype(np.float32)
    around = cv2.blur(held, (side, side)) + np.float32(1e-3 * mean)
    return np.where(known, values, around / (weight + np.float32(1e-3))).astype(np.float32)
