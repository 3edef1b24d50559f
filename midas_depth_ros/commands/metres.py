"""Metres for pictures and videos: from two measurements of the camera, or a fixed scale, or none.

The same fits as the node's, on one picture: nothing here needs ROS.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import click
import numpy as np

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MountError,
    Refusal,
    ScaleShift,
    fit_ground_plane,
)

Grid = tuple[np.ndarray, np.ndarray]
# Of a camera of which nothing is known, for the shape of a cloud without unit: about a webcam's.
ASSUMED_FOV_RAD = 1.05
NOT_ASKED = Refusal(
    'nothing gives a scale: give --camera-height, --camera-pitch and --horizontal-fov, or '
    '--fixed-scale'
)


@dataclasses.dataclass(frozen=True)
class Metres:
    """Where metres come from. Without mount and fixed scale there are none.

    horizontal_fov_rad: NaN where it was not given; of the picture as the camera took it. rotate: by
    how many degrees it was turned clockwise.
    """

    mount: CameraMount | None = None
    fixed: ScaleShift | None = None
    horizontal_fov_rad: float = math.nan
    rotate: int = 0

    @property
    def asked(self) -> bool:
        """Whether metres are wanted at all."""
        return self.mount is not None or self.fixed is not None

    @property
    def pitch_rad(self) -> float:
        """How far the camera looks down; NaN where that is not known."""
        return math.nan if self.mount is None else self.mount.pitch_rad

    def grid(self, shape: tuple[int, ...]) -> Grid | None:
        """`CameraModel.normalised_grid` for (h, w) = `shape`; None without a field of view."""
        return None if math.isnan(self.horizontal_fov_rad) else self.any_grid(shape)

    def any_grid(self, shape: tuple[int, ...]) -> Grid:
        """Likewise, of an assumed field of view where none was given."""
        known = not math.isnan(self.horizontal_fov_rad)
        fov = self.horizontal_fov_rad if known else ASSUMED_FOV_RAD
        height, width = shape[:2] if self.rotate in (0, 180) else shape[1::-1]
        camera = CameraModel.from_field_of_view(width, height, fov)
        return camera.turned(self.rotate).normalised_grid()

    def fit(self, inverse_depth: np.ndarray) -> ScaleShift | Refusal:
        """Scale and shift of (h, w) float32 relative inverse depth, or why there are none."""
        if self.fixed is not None:
            return self.fixed
        grid = self.grid(inverse_depth.shape)
        if self.mount is None or grid is None:
            return NOT_ASKED
        return fit_ground_plane(inverse_depth, grid, self.mount)


def metres_of(values: dict[str, Any]) -> Metres:
    """From the options of a command. Raises click.UsageError where they do not go together."""
    height, pitch, roll, fov = (
        values[name] for name in ('camera_height', 'camera_pitch', 'camera_roll', 'horizontal_fov')
    )
    scale, shift, rotate = (values[name] for name in ('fixed_scale', 'fixed_shift', 'rotate'))
    if scale is None and shift is not None:
        raise click.UsageError('--fixed-shift alone gives no metres: give --fixed-scale, too')
    if scale is not None and not math.isnan(height):
        raise click.UsageError('--fixed-scale and --camera-height both give metres: give one')
    if scale is not None:
        return Metres(None, ScaleShift(scale, shift or 0.0, 'fixed'), fov, rotate)
    if math.isnan(height):
        return Metres(horizontal_fov_rad=fov, rotate=rotate)
    if math.isnan(pitch) or math.isnan(fov):
        raise click.UsageError(
            '--camera-height gives metres only with --camera-pitch and --horizontal-fov'
        )
    try:
        return Metres(CameraMount(height, pitch, roll), None, fov, rotate)
    except MountError as error:
        raise click.UsageError(str(error)) from error
