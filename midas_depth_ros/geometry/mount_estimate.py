"""How the camera is mounted, from what it sees of a flat floor.

The floor alone tells the direction of the horizon only if it is known which d is infinitely far:
from a metric scale (then the height follows, too), or from something far in the picture.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np

from midas_depth_ros.geometry.errors import NoFloor
from midas_depth_ros.geometry.pictures import Grid, checked, reduced
from midas_depth_ros.geometry.relative_floor import Cells, fit_floor
from midas_depth_ros.geometry.scale import Refusal, ScaleShift

CELLS = 64 * 48
FAR_PERCENTILE, NEAR_PERCENTILE = 1.0, 98.0


@dataclasses.dataclass(frozen=True)
class MountEstimate:
    """Pitch (positive = looks down) and roll in radians; height in metres, NaN without a scale."""

    pitch_rad: float
    roll_rad: float
    height_m: float


def estimate_mount(
    d: np.ndarray, grid: Grid, scale: ScaleShift | None = None
) -> MountEstimate | Refusal:
    """The mount from one frame, (h, w) relative inverse depth with its normalised grid.

    With a `scale` (from a reference sensor) pitch, roll and height follow exactly. Without one the
    farthest part of the picture is taken for infinitely far: right under an open sky; elsewhere
    the pitch comes out too small by about height / farthest distance (1.7 degrees for a camera
    0.3 m high with 10 m in view).
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    d = checked(d, grid)
    valid = np.isfinite(d) & np.isfinite(grid[0])
    if not valid.any():
        return Refusal('the picture has no values')
    (coarse, x, y), known = reduced((d, grid[0], grid[1]), valid, CELLS)
    far, near = np.percentile(coarse[known], (FAR_PERCENTILE, NEAR_PERCENTILE))
    if not near > far:
        return Refusal('relative inverse depth is the same everywhere')
    scaled = (coarse.astype(np.float64) - far) / (near - far)
    try:
        floor = fit_floor(Cells(scaled, x.astype(np.float64), y.astype(np.float64)))
    except NoFloor as none:
        return Refusal(str(none))
    infinity = 0.0 if scale is None else (-scale.shift / scale.scale - far) / (near - far)
    # 1/Z = (n . ray) / height, so the plane of d less its value at infinity points along n.
    normal = np.array([floor.across, floor.down, floor.offset - infinity])
    length = float(np.linalg.norm(normal))
    across, down, ahead = normal / length
    pitch = math.atan2(ahead, math.hypot(across, down))
    roll = math.atan2(across, down)
    per_metre = length * (near - far) * (scale.scale if scale else math.nan)
    return MountEstimate(pitch, roll, float(1 / per_metre))


def middle_of(estimates: list[MountEstimate]) -> tuple[MountEstimate, MountEstimate]:
    """The medians of several frames' estimates, and how far the middle half strays from them."""

    def both(values: list[float]) -> tuple[float, float]:
        centre = statistics.median(values)
        return centre, statistics.median(abs(value - centre) for value in values)

    names = [field.name for field in dataclasses.fields(MountEstimate)]
    pairs = [both([getattr(estimate, name) for estimate in estimates]) for name in names]
    return MountEstimate(*(p[0] for p in pairs)), MountEstimate(*(p[1] for p in pairs))
