"""Closeness of the nearest obstacle, left, centre and right, without any calibration.

Takes relative inverse depth and returns three numbers: 0 = far, 1 = as near as the nearest floor in
view, above 1 nearer still. They are (d_obstacle - t) / (d_floor_edge - t), independent of scale and
shift of d. If no floor can be fitted they are NaN, with the reason.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import (
    PER_MEDIAN,
    Grid,
    NoFloor,
    checked,
    median,
    once_per_grid,
    quantiles_of,
    reduced_with_grid,
    robust_deviation,
    without_specks,
)
from midas_depth_ros.geometry.relative_floor import Cells, RelativeFloor, check_floor, fit_floor

WORK_PIXELS = 128 * 96  # larger pictures are reduced to about this size
CELLS = 64 * 48  # and to this size for the floor
FAR_PERCENTILE, NEAR_PERCENTILE = 2.0, 98.0
FLATTEST = 1e-5  # of the largest value: a smaller spread is rounding
MIN_VALID = 0.5  # of the picture
LEAST_SEEN = 0.25  # of a sector; with less it is unknown
LEAST_SEEN_OF_PICTURE = 0.75  # of a sector of a judged picture: what is hidden may be near
OBSTACLE = 0.08  # closeness by which an obstacle stands out from the floor behind it,
NOISE_DEVIATIONS = 3.5  # and deviations of the floor's noise
SPECK = 0.001  # of the picture: smaller obstacles are ignored
BEYOND, MAX_BEYOND = 0.15, 0.2  # closeness below 0, and how much of the picture may be there
MIN_REACH = 0.1  # of the spread: from the horizon to the nearest floor


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Closeness of the nearest obstacle per third of the picture; unitless; NaN = unknown.

    reason: why it is unknown, else ''. floor_share: of the lower half of the picture that lies on
    the fitted floor. roll_rad: of the camera, from the floor. horizon: where t comes from, 'camera'
    (pitch and calibration) or 'picture'. Without a fit these are NaN and ''.
    """

    left: float
    centre: float
    right: float
    reason: str = ''
    floor_share: float = math.nan
    roll_rad: float = math.nan
    horizon: str = ''

    @classmethod
    def unknown(cls, reason: str) -> Closeness:
        """Return NaN for all three, with the reason."""
        return cls(math.nan, math.nan, math.nan, reason=reason)

    @property
    def known(self) -> bool:
        """Whether a floor was found."""
        return not self.reason


@dataclasses.dataclass(frozen=True)
class _Picture:
    """d at work size (its spread scaled to 0..1), validity and image coordinates, (h, w) each.

    shown: pixels that the lens reaches. foot: image coordinates of the middle of the bottom row.
    """

    d: np.ndarray
    valid: np.ndarray
    shown: np.ndarray
    x: np.ndarray
    y: np.ndarray
    foot: tuple[float, float]


def closeness(
    inverse_depth: np.ndarray,
    *,
    grid: Grid | None = None,
    camera_pitch_rad: float = math.nan,
    least_seen: float = LEAST_SEEN,
) -> Closeness:
    """Return the closeness of the nearest obstacle, left, centre and right.

    inverse_depth: (h, w) float32 or float64 relative inverse depth, 16x16 or more; larger = nearer;
    values that are not finite are ignored. grid: `CameraModel.normalised_grid(w, h)`; without it no
    distortion is assumed. camera_pitch_rad: how far the camera looks down; with a grid it gives the
    horizon. Without it t is taken from the picture: the smaller of its farthest part (low
    percentile) and the floor at mid-picture, which is right for a level camera and too far for one
    that looks down. least_seen: a sector with a smaller share of values, of what the lens shows of
    it, is NaN.

    Raises `InvalidInverseDepth` for arrays of the wrong shape or type. See ARCHITECTURE.md.
    """
    d = checked(inverse_depth, grid)
    try:
        picture, cells = _prepared(d, grid)
        pitch = camera_pitch_rad if grid is not None else math.nan
        horizon_y = math.inf if math.isnan(pitch) else -math.tan(pitch)
        floor = fit_floor(cells)
        check_floor(cells, floor, horizon_y)
        t, edge = _horizon_and_edge(picture, floor, pitch)
    except NoFloor as none:
        return Closeness.unknown(str(none))
    nearest = _nearest_per_sector(picture, floor, t, edge, least_seen)
    horizon = 'picture' if math.isnan(pitch) else 'camera'
    return Closeness(*nearest, '', floor.share, floor.roll_rad, horizon)


def closeness_of_picture(
    inverse_depth: np.ndarray,
    blind: str,
    grid: Grid | None = None,
    camera_pitch_rad: float = math.nan,
) -> Closeness:
    """Return the closeness of a judged picture; arguments and errors as of `closeness`.

    inverse_depth: NaN where the picture is blind. blind: why all of it is, else ''.
    """
    if blind:
        return Closeness.unknown(f'the picture is {blind}')
    return closeness(
        inverse_depth,
        grid=grid,
        camera_pitch_rad=camera_pitch_rad,
        least_seen=LEAST_SEEN_OF_PICTURE,
    )


@functools.lru_cache(maxsize=8)
def _pixel_grid(height: int, width: int) -> Grid:
    """Coordinates of an uncalibrated picture: centred, y from -1 to 1, square pixels."""
    x = (np.arange(width, dtype=np.float32) - 0.5 * (width - 1)) * (2 / height)
    y = (np.arange(height, dtype=np.float32) - 0.5 * (height - 1)) * (2 / height)
    across, down = np.meshgrid(x, y)
    across.setflags(write=False)
    down.setflags(write=False)
    return across, down


@once_per_grid
def _shown(grid: Grid) -> np.ndarray:
    """Where the lens reaches, (h, w) bool."""
    return np.isfinite(grid[0])


@once_per_grid
def _foot(grid: Grid) -> tuple[float, float]:
    """Image coordinates of the middle of the bottom row."""
    x, y = grid
    middle = slice((x.shape[1] - 1) // 2, x.shape[1] // 2 + 1)
    return float(x[-1, middle].mean()), float(y[-1, middle].mean())


def _prepared(d: np.ndarray, grid: Grid | None) -> tuple[_Picture, Cells]:
    """Reduce to work size and to cells, with d scaled to a spread of 0..1."""
    whole = x, y = grid if grid is not None else _pixel_grid(*d.shape)
    shown = _shown(whole)
    valid = np.isfinite(d) & shown
    known_share = np.count_nonzero(valid) / valid.size
    if known_share < MIN_VALID:
        raise NoFloor(f'only {known_share:.0%} of the picture has a value')
    if d.size > 1.5 * WORK_PIXELS:
        (d, x, y), valid = reduced_with_grid(d, whole, valid, WORK_PIXELS)
        shown = _shown((x, y)) if known_share == 1 else _some_of(shown, d.shape)
    (coarse, cell_x, cell_y), known = reduced_with_grid(d, (x, y), valid, CELLS)
    seen = coarse[known]
    far, near = quantiles_of(seen, 0.01 * FAR_PERCENTILE, 0.01 * NEAR_PERCENTILE)
    if not near - far > FLATTEST * float(np.abs(seen).max()):
        raise NoFloor('relative inverse depth is the same everywhere')
    coarse = (coarse.astype(np.float64) - far) / (near - far)
    scaled = (d - d.dtype.type(far)) * d.dtype.type(1 / (near - far))
    scaled = scaled.astype(np.float32, copy=False)
    return _Picture(scaled, valid, shown, x, y, _foot(whole)), Cells(coarse, cell_x, cell_y)


def _some_of(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As many rows and columns of (h, w) bool as `shape` has, evenly spaced."""
    rows, columns = (np.linspace(0, mask.shape[i] - 1, shape[i]).astype(int) for i in (0, 1))
    return mask[np.ix_(rows, columns)]


def _horizon_and_edge(picture: _Picture, floor: RelativeFloor, pitch: float) -> tuple[float, float]:
    """Return t, d at the horizon, and the floor's d at the middle of the bottom row."""
    if not math.isfinite(picture.foot[0]):
        raise NoFloor('the lens model does not reach the bottom of the picture')
    edge = float(floor.at(*picture.foot))
    if math.isnan(pitch):
        t = min(0.0, floor.offset)  # 0 is the low percentile
    else:
        t = floor.offset - math.tan(pitch) * math.hypot(floor.across, floor.down)
        beyond = (picture.d < t - BEYOND * (edge - t)) & picture.valid
        if edge - t > 0 and beyond.mean() > MAX_BEYOND:
            raise NoFloor(
                f'{beyond.mean():.0%} of the picture lies beyond the horizon that camera_pitch '
                f'{pitch:.3f} rad gives: the pitch is wrong, or this is not a floor'
            )
    if edge - t < MIN_REACH:
        raise NoFloor('no floor is in view: it would end at the horizon')
    return t, edge


def _nearest_per_sector(
    picture: _Picture, floor: RelativeFloor, t: float, edge: float, least_seen: float
) -> tuple[float, float, float]:
    """Return the nearest obstacle larger than a speck, left, centre and right."""
    ground = cv2.addWeighted(picture.x, floor.across, picture.y, floor.down, floor.offset)
    ground = cv2.max(ground, t)
    d, valid = picture.d, picture.valid
    if not (all_valid := bool(valid.all())):
        ground = np.where(valid, ground, np.float32(t))
        d = np.where(valid, d, ground)
    above = d - ground
    obstacle = above > _stands_out(above, ground > t, OBSTACLE * (edge - t))
    if not all_valid:
        obstacle &= valid
    smallest = max(4, round(SPECK * obstacle.size))
    obstacle = without_specks(obstacle, smallest)
    near = np.full(d.shape, -np.inf, np.float32)
    cv2.copyTo(d, obstacle.view(np.uint8), near)
    tops = near.max(axis=0)
    width = d.shape[1]
    third = round(width / 3)
    values = [
        _sector(near[:, part], tops[part], smallest, t, edge)
        if all_valid
        or np.count_nonzero(valid[:, part])
        >= max(1, least_seen * np.count_nonzero(picture.shown[:, part]))
        else math.nan
        for part in (slice(0, third), slice(third, width - third), slice(width - third, width))
    ]
    return values[0], values[1], values[2]


def _stands_out(above: np.ndarray, below_horizon: np.ndarray, least: float) -> float:
    """How far something must be above the floor to be an obstacle: by the deviation of the floor's
    pixels, judged by those behind it, since obstacles are all before it; `least` or more.
    """
    lower = slice(len(above) // 2, None)
    above, floor = above[lower], below_horizon[lower]
    behind = np.count_nonzero((above < 0) & floor)
    most = NOISE_DEVIATIONS * PER_MEDIAN
    if 2 * np.count_nonzero((above < -least / most) & floor) < behind:
        return least  # the median is less
    return max(least, most * median(-above[(above < 0) & floor])) if behind else least


def _sector(near: np.ndarray, tops: np.ndarray, rank: int, t: float, edge: float) -> float:
    """Closeness of the `rank`-th nearest obstacle pixel; 0 with fewer.

    near: d of obstacles, else -inf. tops: of each column, the nearest.
    """
    # At least `rank` pixels are as near as the `rank`-th of the columns' nearest: look no farther.
    least = float(np.partition(tops, -rank)[-rank]) if rank <= tops.size else -math.inf
    nearest = near[near >= least] if math.isfinite(least) else near[near > least]
    if nearest.size < rank:
        return 0.0
    return (float(np.partition(nearest, -rank)[-rank]) - t) / (edge - t)


# --- Steady relative inverse depth of a video: one scale for all frames, and less noise.
#
# A network's scale and shift change with every frame, so its values cannot be averaged directly.
# Each frame is normalised by its own spread, then aligned to the last steady frame by a robust
# affine fit, and then averaged over time, except for pixels that change.

FAR_REFERENCE_PERCENTILE, NEAR_REFERENCE_PERCENTILE = 5.0, 95.0  # become 0 and 1
SAMPLES = 16_384
REFITS = 4
OUTLIER = 2.5  # robust deviations
FINEST = 0.01  # of the spread: smaller differences are agreement
LEAST_AGREEMENT = 0.5  # of the picture, else it is another scene
LEAST_CORRELATION = 0.7
MAX_STRETCH = 3.0  # between two frames of one scene
MOVED = (0.05, 0.15)  # of the spread: changes from which a pixel is averaged less, and not at all
RETURN_S = 1.0  # time constant of the return to each frame's own scale, so that nothing drifts
GAP_S = 2.0  # after a longer pause nothing is averaged


class SteadyDepth:
    """The steady relative inverse depth of one camera.

    The result has about 0 at the far and 1 at the near end of what is in view, independent of the
    scale and shift of any frame. Not to be shared between threads.
    """

    def __init__(self, time_constant_s: float = 0.2) -> None:
        """`time_constant_s`: of the averaging; 0 aligns only."""
        self.time_constant_s = time_constant_s
        self._last: NDArray[np.float32] | None = None
        self._stamp_s = -math.inf

    def reset(self) -> None:
        """Forget earlier frames."""
        self._last = None

    def update(self, stamp_s: float, d: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return (h, w) float32 steady depth for one frame of (h, w) float32 relative inverse
        depth.

        Values that are not finite stay so. Another size, a stamp that goes back, a pause or another
        scene starts anew. Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
        """
        own = normalised(checked(d, None))
        elapsed_s, last = stamp_s - self._stamp_s, self._last
        self._stamp_s = stamp_s
        steady = own
        if last is not None and last.shape == own.shape and 0 <= elapsed_s <= GAP_S:
            line = affine_between(own, last)
            if line is not None:
                steady = self._blended(last, own, line, elapsed_s)
        self._last = steady
        return steady

    def _blended(
        self,
        last: NDArray[np.float32],
        own: NDArray[np.float32],
        line: tuple[float, float],
        elapsed_s: float,
    ) -> NDArray[np.float32]:
        keep = math.exp(-elapsed_s / RETURN_S)
        aligned = own * np.float32(line[0] ** keep) + np.float32(line[1] * keep)
        if self.time_constant_s <= 0:
            return aligned
        weight = -math.expm1(-elapsed_s / self.time_constant_s)
        low, high = MOVED
        moved = np.clip((np.abs(aligned - last) - low) / (high - low), 0, 1)
        share = (weight + (1 - weight) * moved).astype(np.float32)
        blended = last + share * (aligned - last)
        return np.where(np.isfinite(blended), blended, aligned)


def normalised(d: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (h, w) with the far percentile at 0 and the near one at 1; a flat picture is 0."""
    known = _sampled(d)
    known = known[np.isfinite(known)]
    if not known.size:
        return np.full(d.shape, np.nan, np.float32)
    far, near = np.percentile(
        known.astype(np.float64), (FAR_REFERENCE_PERCENTILE, NEAR_REFERENCE_PERCENTILE)
    )
    spread = near - far
    if not spread > 1e-6 * max(abs(near), abs(far)):
        return np.where(np.isfinite(d), np.float32(0), np.float32(np.nan))
    return ((d - far) / spread).astype(np.float32)


def affine_between(
    source: NDArray[np.float32], target: NDArray[np.float32]
) -> tuple[float, float] | None:
    """Return (a, b) with a * source + b = target where both show the same; None for other scenes.

    Both are normalised. As both have noise, the slope is the ratio of their spreads: that of least
    squares would be too small in every frame.
    """
    x, y = _sampled(source).astype(np.float64), _sampled(target).astype(np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if not x.size:
        return None
    a, b = 1.0, float(np.median(y - x))
    for _ in range(REFITS):
        off = np.abs(a * x + b - y)
        agreed = off <= max(OUTLIER * robust_deviation(off), FINEST)
        x_in, y_in = x[agreed], y[agreed]
        (xx, xy), (_, yy) = np.cov(x_in, y_in, bias=True)
        if min(xx, yy) < FINEST**2 or xy < LEAST_CORRELATION * math.sqrt(xx * yy):
            return None
        a = math.sqrt(yy / xx)
        b = float(y_in.mean() - a * x_in.mean())
    near_enough = np.mean(np.abs(a * x + b - y) <= MOVED[1]) >= LEAST_AGREEMENT
    if not (near_enough and 1 / MAX_STRETCH <= a <= MAX_STRETCH):
        return None
    return a, b


def _sampled(values: NDArray) -> NDArray:
    step = max(1, math.ceil(math.sqrt(values.size / SAMPLES)))
    return values[::step, ::step].reshape(-1)
