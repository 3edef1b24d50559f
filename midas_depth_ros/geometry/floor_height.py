"""Heights above the floor that one frame shows, in its own metres: for a cloud's field `height`.

1/Z of a frame comes in; where its floor lies is fitted anew in every frame, so that a robot that
nods, or whose height and pitch are a little off, still has its floor at 0. Where no floor is
fitted, heights are NaN: unknown, neither floor nor obstacle.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import Grid
from midas_depth_ros.geometry.ground_plane import fit_ground_plane
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.options.metric import ScaleOptions

# A plane that is tilted by more against the floor of the mount, or whose distance from the lens is
# not the height to within this factor, is no floor: a wall, the top of a box, a steep ramp. Robots
# drive ramps of up to 6 degrees and nod by as much; nothing was measured to choose these.
MOST_TILT_RAD, HEIGHT_FACTOR = math.radians(15.0), 1.5


@dataclasses.dataclass(frozen=True)
class FloorPlane:
    """A floor in the metres of a frame. plane: (3,) float64, 1/m: 1/Z = plane . (x', y', 1).

    fit: by what it differs from the floor of the mount.
    """

    plane: NDArray[np.float64]
    fit: ScaleShift

    @classmethod
    def of(cls, fit: ScaleShift, mount: CameraMount) -> FloorPlane:
        """Return where the floor of a fit lies in a camera that is mounted so."""
        expected = mount.ground_normal() / mount.height_m
        return cls((expected - np.array([0.0, 0.0, fit.shift])) / fit.scale, fit)

    @property
    def lens_height_m(self) -> float:
        """How far the lens is from the plane."""
        return 1 / float(np.linalg.norm(self.plane))

    def heights(self, depth_z: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
        """Return (h, w) float32 metres above the plane, along its normal; NaN where depth is."""
        across, down, ahead = (np.float32(each) for each in self.plane)
        x, y = grid
        inverse = x * across + (y * down + ahead)
        height = np.float32(self.lens_height_m) * (1 - depth_z * inverse)
        return np.asarray(np.where(np.isfinite(depth_z), height, np.nan), np.float32)


def fit_in_metres(fit: ScaleShift | Refusal, scale: ScaleShift) -> ScaleShift | Refusal | None:
    """Return what `fit_ground_plane` would find in 1/Z by `scale`, of what it found in d.

    None where 1/Z is not a line of d.
    """
    if isinstance(fit, Refusal):
        return fit
    if scale.curve or scale.far_end > -math.inf:
        return None
    factor = fit.scale / scale.scale
    return dataclasses.replace(fit, scale=factor, shift=fit.shift - factor * scale.shift)


def floor_in_metres(
    inverse: NDArray[np.float32],
    grid: Grid,
    mount: CameraMount,
    fit: ScaleShift | Refusal | None = None,
) -> FloorPlane | Refusal:
    """Return the floor in (h, w) float32 1/Z, 1/m, or why none is fitted.

    grid: `CameraModel.normalised_grid`. mount: where the floor should be. The floor is what
    `fit_ground_plane` finds; by as much as that changes scale and shift, the floor in these metres
    lies elsewhere than the mount says: a pitch that is wrong by p is a shift, a height a scale.
    fit: what it finds, where that is known.
    """
    fit = fit or fit_ground_plane(inverse, grid, mount)
    if isinstance(fit, Refusal):
        return fit
    found = FloorPlane.of(fit, mount)
    normal = found.plane * found.lens_height_m
    tilt = math.acos(max(-1.0, min(1.0, float(normal @ mount.ground_normal()))))
    if tilt > MOST_TILT_RAD:
        return Refusal(
            f'the plane in view is tilted by {math.degrees(tilt):.0f} degrees against the floor of '
            'the mount: a wall or a ramp, or a wrong camera_pitch'
        )
    factor = found.lens_height_m / mount.height_m
    if not 1 / HEIGHT_FACTOR <= factor <= HEIGHT_FACTOR:
        return Refusal(
            f'the plane in view is {found.lens_height_m:.2f} m below a lens that is '
            f'{mount.height_m:.2f} m above the floor: the top of something, or a wrong '
            'camera_height'
        )
    return found


class FloorHeight:
    """Heights above the floor of one camera, frame by frame.

    A frame without a floor of its own is measured by the last one for `expiry_s`, as its scale is:
    a box that begins to fill the picture must not lose its height before the metres end. It lies
    where the mount of that frame sees it. `reason`: why heights are unknown, '' if they are not.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the last floor, as after a change of camera or of time."""
        self._floor: FloorPlane | None = None
        self._seen_s = -math.inf
        self.reason = 'no frame yet'

    def update(
        self,
        stamp_s: float,
        inverse: NDArray[np.float32],
        depth_z: NDArray[np.float32],
        grid: Grid,
        mount: CameraMount | None,
        expiry_s: float = ScaleOptions.expiry,
        fit: ScaleShift | Refusal | None = None,
    ) -> NDArray[np.float32]:
        """Return the heights of a frame: (h, w) float32 metres, NaN where unknown.

        inverse, depth_z: 1/Z and metres of the frame. Without a mount nobody knows where floor
        could be. fit: as of `floor_in_metres`.
        """
        found: FloorPlane | Refusal = Refusal('the mount is unknown')
        if mount is not None:
            found = floor_in_metres(inverse, grid, mount, fit)
        if isinstance(found, FloorPlane):
            self._floor, self._seen_s, self.reason = found, stamp_s, ''
        elif mount is None or not 0 <= stamp_s - self._seen_s <= expiry_s:
            self._floor, self.reason = None, found.reason
        elif self._floor is not None:
            self._floor = FloorPlane.of(self._floor.fit, mount)
        if self._floor is None:
            return np.full(depth_z.shape, np.nan, np.float32)
        return self._floor.heights(depth_z, grid)
