"""How a camera is mounted: its height above the floor, pitch and roll.

Two measurements with ruler and level, or an IMU, give the floor's inverse depth in every pixel. The
body frame has its origin on the floor below the camera, x forward, y left and z up (REP 103).
"""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np

from midas_depth_ros.geometry.fitting import (
    GeometryError,
    Grid,
    NoFloor,
    checked,
    once_per_grid,
    reduced,
)
from midas_depth_ros.geometry.relative_floor import Cells, fit_floor
from midas_depth_ros.geometry.scale import Refusal, ScaleShift

MAX_TILT_RAD = math.radians(80.0)
MAX_YAW_RAD = math.radians(2.0)
UNTILTING = 20  # steps, after which nothing is left of tilts that robots survive


class MountError(GeometryError, ValueError):
    """A camera height, pitch or roll that is not valid."""


@dataclasses.dataclass(frozen=True)
class CameraMount:
    """Height of the lens above the floor in metres; pitch positive = looks down; roll positive =
    rolled to the right; radians, turned by pitch and then by roll, as a REP 103 body frame is.

    Raises `MountError` for a value that is not valid.
    """

    height_m: float
    pitch_rad: float
    roll_rad: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.height_m) and self.height_m > 0):
            raise MountError(
                f'camera height is {self.height_m} m: it must be a positive number; measure from '
                'the floor to the middle of the lens'
            )
        for name in ('pitch_rad', 'roll_rad'):
            value = getattr(self, name)
            if not abs(value) < MAX_TILT_RAD:
                raise MountError(
                    f'camera {name} is {value}: it must be between -{MAX_TILT_RAD:.2f} and '
                    f'{MAX_TILT_RAD:.2f}, in radians{_upright(name, value)}'
                )

    @classmethod
    def from_axes(cls, body_axes: np.ndarray, height_m: float) -> CameraMount:
        """Return the mount of a camera with these `body_axes()`, for example from TF.

        body_axes: (3, 3), optical frame into a body frame with z up. Raises `MountError` if the
        camera does not look along x of that frame: its scan would point elsewhere.
        """
        right, down, ahead = np.asarray(body_axes, np.float64).T
        yaw = math.atan2(ahead[1], ahead[0])
        if abs(yaw) > MAX_YAW_RAD:
            raise MountError(
                f'the camera looks {math.degrees(yaw):.0f} degrees to the side in the body frame: '
                'name a frame below the lens that looks the same way'
            )
        pitch = math.asin(max(-1.0, min(1.0, -ahead[2])))
        return cls(height_m, pitch, math.atan2(-right[2], -down[2]))

    def tilted(self, roll_rad: float, pitch_rad: float, camera_yaw_rad: float = 0.0) -> CameraMount:
        """Return the mount on a body that is rolled (right side down) and pitched (nose down).

        camera_yaw_rad: how far to the left of the body's x axis the camera looks: for a camera that
        looks to the side, pitch of the body is roll. The height stays. Raises `MountError` as
        always.
        """
        cr, sr = math.cos(roll_rad), math.sin(roll_rad)
        cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
        down = np.array([sp, -sr * cp, -cr * cp])  # in the body, of R = Rz Ry(pitch) Rx(roll)
        cy, sy = math.cos(camera_yaw_rad), math.sin(camera_yaw_rad)
        seen = np.array([cy * down[0] + sy * down[1], cy * down[1] - sy * down[0], down[2]])
        across, below, ahead = seen @ self.body_axes()
        return CameraMount(
            self.height_m, math.asin(max(-1.0, min(1.0, ahead))), math.atan2(across, below)
        )

    def untilted(
        self, roll_rad: float, pitch_rad: float, camera_yaw_rad: float = 0.0
    ) -> CameraMount:
        """Return the mount on the body of which `tilted` by the same is this one.

        Raises `MountError` as always.
        """
        found = self
        for _ in range(UNTILTING):
            made = found.tilted(roll_rad, pitch_rad, camera_yaw_rad)
            found = CameraMount(
                self.height_m,
                found.pitch_rad + self.pitch_rad - made.pitch_rad,
                found.roll_rad + math.remainder(self.roll_rad - made.roll_rad, math.tau),
            )
        return found

    def body_axes(self) -> np.ndarray:
        """Return (3, 3) float64: from the optical frame to the body frame."""
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        right = (-sp * sr, -cr, -cp * sr)
        down = (-sp * cr, sr, -cp * cr)
        ahead = (cp, 0.0, -sp)
        return np.array([right, down, ahead]).T

    def ground_normal(self) -> np.ndarray:
        """Return (3,) float64: unit vector straight down, in the optical frame.

        A floor pixel with ray r = (x', y', 1) has 1/Z = (normal . r) / height_m.
        """
        return -self.body_axes()[2]

    def descent(self, grid: Grid) -> np.ndarray:
        """Return how far each pixel's ray (x', y', 1) descends per metre of Z; 0 at the horizon.

        grid: `CameraModel.normalised_grid`; the result has its shape and type.
        """
        return _descent(grid, self)

    def ground_inverse_depth(self, grid: Grid) -> np.ndarray:
        """Return 1/Z of the floor in every pixel, 1/m; 0 and less from the horizon up."""
        return _ground_inverse_depth(grid, self)


@once_per_grid
def _descent(grid: Grid, mount: CameraMount) -> np.ndarray:
    x, y = grid
    across, down, ahead = mount.ground_normal()
    return _unchanging(
        grid, x * x.dtype.type(across) + (y * y.dtype.type(down) + y.dtype.type(ahead))
    )


@once_per_grid
def _ground_inverse_depth(grid: Grid, mount: CameraMount) -> np.ndarray:
    descent = mount.descent(grid)
    return _unchanging(grid, descent * descent.dtype.type(1 / mount.height_m))


@once_per_grid
def body_rays(grid: Grid, mount: CameraMount) -> np.ndarray:
    """Return (3, h, w) float32: x, y, z of every pixel's ray in the body frame, per metre of Z."""
    axes = mount.body_axes().astype(np.float32)
    x, y = grid
    rays = [axes[i, 0] * x + axes[i, 1] * y + axes[i, 2] for i in range(3)]
    return _unchanging(grid, np.stack(rays, dtype=np.float32))


@once_per_grid
def rays_ahead(grid: Grid, mount: CameraMount) -> np.ndarray:
    """Return (h, w) float32: metres ahead along the floor, per metre of Z, of every pixel's ray."""
    across, down, forward = mount.body_axes()[0].astype(np.float32)
    return _unchanging(grid, across * grid[0] + (down * grid[1] + forward))


def _unchanging(grid: Grid, values: np.ndarray) -> np.ndarray:
    """Make values read-only where they may be remembered."""
    values.setflags(write=grid[0].flags.writeable)
    return values


def _upright(name: str, value: float) -> str:
    """The remedy for a camera with this roll."""
    if name != 'roll_rad' or not abs(value) <= math.tau:
        return ''
    degrees = 90 * round(math.degrees(value) / 90) % 360
    if not degrees:
        return ''
    return f'; if it is mounted so, increase parameter rotate by {degrees} degrees'


# --- The mount estimated from a flat floor in view.
#
# The floor gives the horizon only if it is known which d is infinitely far: from a metric scale
# (which gives the height, too), or from something far in the picture.

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
    """Return the mount from one frame, (h, w) relative inverse depth with its normalised grid.

    A `scale` (from a reference sensor) gives pitch, roll and height exactly. Without one the
    farthest part of the picture counts as infinitely far: right under an open sky; elsewhere the
    pitch is too small by about height / farthest distance (1.7 degrees for a camera 0.3 m high with
    10 m in view). Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    d = checked(d, grid)
    valid = np.isfinite(d) & np.isfinite(grid[0])
    if not valid.any():
        return Refusal('the depth has no valid values')
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


def median_estimate(estimates: list[MountEstimate]) -> tuple[MountEstimate, MountEstimate]:
    """Return the medians of several estimates, and their median absolute deviations."""

    def both(values: list[float]) -> tuple[float, float]:
        centre = statistics.median(values)
        return centre, statistics.median(abs(value - centre) for value in values)

    pairs = [
        both(list(values)) for values in zip(*map(dataclasses.astuple, estimates), strict=True)
    ]
    return MountEstimate(*(p[0] for p in pairs)), MountEstimate(*(p[1] for p in pairs))
