"""The floor in relative inverse depth, of unknown scale and shift.

On a flat floor 1/Z is affine in undistorted image coordinates, and so is d = (1/Z - t)/s: the floor
is a plane d = across*x + down*y + offset. `fit_floor` finds it in the lower half of the picture.
All limits are relative to the picture's own spread, so that neither scale (> 0) nor shift of d
matters.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TypeVar

import numpy as np

from midas_depth_ros.geometry.fitting import (
    BIWEIGHT,
    Grid,
    NoFloor,
    deviation_within,
    once_per_grid,
    solved,
    tukey_votes,
)

# --- Whether a plane in the lower half of a picture is credible as the floor.
#
# A wall, the front of a box, a ceiling, noise: each has parts that fit a plane. A robot stops on
# "unknown" and drives into what is wrongly called far, so a doubtful plane is refused.

MIN_SHARE = 0.25  # of the lower half of the picture that must lie on the floor
MIN_SHARE_BOTTOM = 0.2  # of its bottom quarter: a floor begins at the camera's feet
MAX_DEVIATION = 0.5  # of the tolerance; values scattered evenly, not on a plane, have 0.58
MAX_BEHIND = 0.12  # of what lies on the floor: nothing is farther away than the floor
TOP = 0.15  # the top rows of the picture, as a share of all
MAX_SHARE_TOP = 0.6  # of the top rows that may still be floor
MIN_PAST_HORIZON = 0.5  # of the top rows that must be past the horizon, else there is no check
OVERHANG, MAX_OVERHANG = 0.1, 0.5  # nearer than the bottom by this share of the rise; columns


def check_floor(cells: Cells, floor: RelativeFloor, horizon_y: float = math.inf) -> None:
    """Raise `NoFloor` unless `floor`, fitted to `cells`, is credible.

    horizon_y: image coordinate of the horizon at x = 0, if known: a floor may extend up to there.
    """
    _check_slope(floor)
    above = cells.d - floor.at(cells.x, cells.y)
    _check_support(above[(len(above) + 1) // 2 :], floor)
    _check_end(cells, above, floor, horizon_y)
    _check_overhang(cells, above, floor)


def _check_slope(floor: RelativeFloor) -> None:
    if floor.rise < MIN_RISE:
        raise NoFloor('the lower half of the picture hardly gets nearer towards its bottom')
    if abs(floor.roll_rad) > MAX_ROLL_RAD:
        raise NoFloor(
            f'the plane in the lower half of the picture is tilted '
            f'{math.degrees(floor.roll_rad):.0f} degrees sideways: a wall'
        )


def _check_support(above: np.ndarray, floor: RelativeFloor) -> None:
    """Check that enough lies on the plane, down to the bottom, and little behind it.

    above: of the lower half, how much nearer than the floor it is.
    """
    if floor.share < MIN_SHARE:
        raise NoFloor(
            f'only {floor.share:.0%} of the lower half of the picture lies on one floor, '
            f'{MIN_SHARE:.0%} are needed'
        )
    if floor.deviation > MAX_DEVIATION * floor.tolerance:
        raise NoFloor('the lower half of the picture is too uneven for a floor')
    share = _share(np.abs(above[len(above) // 2 :]) < floor.tolerance)
    if share < MIN_SHARE_BOTTOM:
        raise NoFloor(f'only {share:.0%} of the bottom of the picture is floor')
    behind = _share(above < -floor.tolerance)
    if behind > MAX_BEHIND * floor.share:
        raise NoFloor(f'{behind:.0%} of the lower half of the picture lies behind its floor')


def _check_end(cells: Cells, above: np.ndarray, floor: RelativeFloor, horizon_y: float) -> None:
    """Refuse a plane that extends to the top of the picture, past the horizon: it may be a wall."""
    top = slice(0, max(1, round(TOP * len(cells.d))))
    past_horizon = cells.y[top] < horizon_y  # False where unknown
    if _share(past_horizon) < MIN_PAST_HORIZON:
        return
    if _share(np.abs(above[top][past_horizon]) < floor.tolerance) > MAX_SHARE_TOP:
        raise NoFloor('one plane fills the picture: floor and wall cannot be told apart')


def _check_overhang(cells: Cells, above: np.ndarray, floor: RelativeFloor) -> None:
    """Refuse a floor with objects above it that are nearer than its bottom edge.

    An object that stands on the floor hides the floor's edge. If most columns show floor at the
    bottom and something nearer above it, the "floor" is the lower part of a ball, or a wall under a
    ceiling.
    """
    feet = slice(-max(1, round(0.5 * TOP * len(cells.d))), None)
    on_floor = (np.abs(above[feet]) < floor.tolerance).any(axis=0)
    edge = np.max(floor.at(cells.x[feet], cells.y[feet]), axis=0)
    nearer = (cells.d > edge + OVERHANG * floor.rise).any(axis=0)
    share = _share(on_floor & nearer)
    if share > MAX_OVERHANG:
        raise NoFloor(f'something nearer hangs over {share:.0%} of the floor: it is not a floor')


def _share(mask: np.ndarray) -> float:
    return np.count_nonzero(mask) / mask.size


TRIPLETS = 128  # hypotheses, and as many mirror images of them
SCORED = slice(None, None, 4)  # the rows of cells that score hypotheses
LEAST_AREA = 1e-9  # of three cells, in image coordinates: less is three in a row
PRODUCTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of x, y and 1
TOLERANCE = 0.05  # of the picture's spread: what is farther off the plane is not floor,
RISE_TOLERANCE = 0.07  # nor what is farther off than this share of the plane's own rise
REFITS, SETTLED = 6, 1e-4  # or until the plane changes by less, in units of the spread
FINEST = 0.004  # of the spread: least deviation assumed
MIN_VALID = 0.5  # of the lower half that must have a value
MIN_VOTES = 0.05  # of the lower half: with fewer the refit ends
MIN_RISE = 0.15  # of the spread: how much nearer the floor gets from mid-picture to its bottom
MAX_ROLL_RAD = math.radians(25.0)


Coordinate = TypeVar('Coordinate', float, np.ndarray)


@dataclasses.dataclass(frozen=True)
class RelativeFloor:
    """d = across*x + down*y + offset, for image coordinates x to the right and y down.

    tolerance: how far off the plane still is floor, in units of d. share: of the lower half of the
    picture that lies on it. deviation: of these from the plane, in units of d. rise: how much
    nearer the floor gets from mid-picture to its bottom.
    """

    across: float
    down: float
    offset: float
    tolerance: float
    share: float
    deviation: float
    rise: float

    def at(self, x: Coordinate, y: Coordinate) -> Coordinate:
        """Return d of the floor at image coordinates, in the precision of `x` and `y`."""
        return self.across * x + self.down * y + self.offset

    @property
    def roll_rad(self) -> float:
        """How far the camera is rolled to the right."""
        return math.atan2(self.across, self.down)


@dataclasses.dataclass(frozen=True)
class Cells:
    """A coarse picture: d, x, y, each (rows, columns); all three NaN where unknown.

    `d` is scaled so that its spread, far to near, is about 0 to 1.
    """

    d: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def lower(self) -> Cells:
        """The lower half."""
        return Cells(_lower_half(self.d), _lower_half(self.x), _lower_half(self.y))

    @functools.cached_property
    def reach(self) -> float:
        """The extent of y from top to bottom."""
        return float(np.nanmax(self.y) - np.nanmin(self.y))


def _lower_half(rows: np.ndarray) -> np.ndarray:
    return rows[(len(rows) + 1) // 2 :]


def fit_floor(cells: Cells) -> RelativeFloor:
    """Return the plane in the lower half that is most like a floor; `check_floor` judges it.

    Deterministic, and the same for the mirrored picture. Raises `NoFloor` if nothing there could be
    a floor.
    """
    lower = cells.lower
    known = np.isfinite(lower.d)
    share = _share(known)
    if share < MIN_VALID:
        raise NoFloor('less than half of the lower half of the picture has a value')
    start = _best_hypothesis(cells, lower, known)
    if share == 1:
        points = _all_points((cells.x, cells.y))
    else:
        points = _with_products(lower.x[known], lower.y[known])
    return _refined(lower, points, lower.d[known], start)


@functools.lru_cache(maxsize=32)
def _triplets(rows: int, columns: int) -> np.ndarray:
    """(2*TRIPLETS, 3) cell indices, always the same, closed under mirroring left and right."""
    rng = np.random.default_rng(0)
    row, column = rng.integers(rows, size=(TRIPLETS, 3)), rng.integers(columns, size=(TRIPLETS, 3))
    return np.concatenate([row * columns + column, row * columns + (columns - 1 - column)])


@once_per_grid
def _solutions(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Which three cells of the lower half of a grid give a hypothesis, (n, 3), and the matrices
    (n, 3, 3) that make (across, down, offset) of their d.
    """
    x, y = (_lower_half(axis).astype(np.float64) for axis in grid)
    chosen = _triplets(*x.shape)
    x, y = x.ravel()[chosen], y.ravel()[chosen]
    first, second = (np.stack([x[:, i] - x[:, 0], y[:, i] - y[:, 0]]) for i in (1, 2))
    # Not NaN, and not three in a row.
    possible = np.abs(first[0] * second[1] - first[1] * second[0]) > LEAST_AREA
    points = np.stack([x, y, np.ones_like(x)], axis=2)[possible]
    return chosen[possible], np.linalg.inv(points)


def _best_hypothesis(cells: Cells, lower: Cells, known: np.ndarray) -> np.ndarray:
    """The plane through three cells that explains the others best: (across, down, offset)."""
    chosen, solutions = _solutions((cells.x, cells.y))
    planes = np.matmul(solutions, lower.d.ravel()[chosen][..., None])[..., 0]
    across, down = planes[:, 0], planes[:, 1]
    with np.errstate(invalid='ignore'):  # NaN where a cell has no d
        # It rises, so `down` is above 0.
        possible = (down * lower.reach >= MIN_RISE) & (
            np.abs(across) < math.tan(MAX_ROLL_RAD) * down
        )
    planes = planes[possible]
    if not planes.size:
        raise NoFloor('nothing in the lower half of the picture gets nearer towards its bottom')
    return planes[np.argmin(_costs(planes, lower, known))]


def _costs(planes: np.ndarray, lower: Cells, known: np.ndarray) -> np.ndarray:
    """How badly each of the (n, 3) planes explains the cells.

    A cell before the plane costs at most 1, one behind it 2: obstacles stand before the floor, and
    hardly anything is behind it.
    """
    some = known[SCORED]
    d, x, y = (array[SCORED][some] for array in (lower.d, lower.x, lower.y))
    points = np.stack([x, y, np.ones_like(x), d]).astype(np.float32)
    scaled = np.full((len(planes), 4), 1 / TOLERANCE, np.float32)
    scaled[:, :3] = planes * (-1 / TOLERANCE)
    above = scaled @ points
    np.clip(above, -2, 1, out=above)
    return np.abs(above, out=above).sum(axis=1)


@once_per_grid
def _all_points(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """`_with_products` of the lower half of a grid."""
    return _with_products(*(_lower_half(axis).ravel() for axis in grid))


def _with_products(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (n,) image coordinates: x, y and 1, (3, n), and x x, x y, x, y y, y, 1, (6, n)."""
    points = np.stack([x, y, np.ones_like(x)]).astype(np.float64)
    return points, np.stack([points[i] * points[j] for i, j in PRODUCTS])


def _refined(
    lower: Cells, points: tuple[np.ndarray, np.ndarray], d: np.ndarray, start: np.ndarray
) -> RelativeFloor:
    """The plane after iteratively reweighted least squares.

    points, d: of the cells of `lower` that have a value, as `_with_products` gives them, and (n,).
    """
    places, products = points
    plane = start
    off = _off(plane, places, d)
    tolerance = _tolerance(plane, lower)
    deviation = tolerance / BIWEIGHT
    for _ in range(REFITS):
        vote = tukey_votes(off, BIWEIGHT * deviation)
        xx, xy, x, yy, y, total = (products @ vote).tolist()
        if total < MIN_VOTES * d.size:
            break
        vote *= d
        sums = np.array([[xx, xy, x], [xy, yy, y], [x, y, total]])
        before, plane = plane, solved(sums, places @ vote)
        off = _off(plane, places, d)
        tolerance = _tolerance(plane, lower)
        deviation = deviation_within(off, tolerance, FINEST, tolerance / BIWEIGHT)
        if max(map(abs, (plane - before).tolist())) < SETTLED:
            break
    on_floor = off[off < tolerance]
    share, rise = on_floor.size / d.size, float(plane[1]) * lower.reach
    deviation = math.sqrt(float(on_floor @ on_floor) / on_floor.size) if on_floor.size else math.inf
    across, down, offset = (float(value) for value in plane)
    return RelativeFloor(across, down, offset, tolerance, share, deviation, rise)


def _off(plane: np.ndarray, places: np.ndarray, d: np.ndarray) -> np.ndarray:
    """How far each of (n,) d at (3, n) x, y, 1 is off the plane."""
    off = plane @ places
    off -= d
    return np.abs(off, out=off)


def _tolerance(plane: np.ndarray, lower: Cells) -> float:
    return min(max(RISE_TOLERANCE * float(plane[1]) * lower.reach, FINEST), TOLERANCE)
