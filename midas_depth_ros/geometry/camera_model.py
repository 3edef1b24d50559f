"""What a camera does to directions: intrinsics and lens, from CameraInfo or a field of view.

A `CameraModel` describes the picture as it is published (region of interest and binning already
applied) and gives the direction of every pixel of it, or of a scaled copy, as undistorted
normalised coordinates. A calibration that cannot be right is refused, never mended.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from midas_depth_ros.geometry.errors import CameraModelError, Uncalibrated
from midas_depth_ros.geometry.lens import COEFFICIENT_COUNTS, TILT, undistort
from midas_depth_ros.geometry.turning import turned_lens, turned_offset

NO_DISTORTION = ('', 'none')
NO_LENS: tuple[str, tuple[float, ...]] = ('', ())
ROUND_TRIP_PIXELS = 0.05  # an undistorted pixel must lead back to itself this closely


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """A pinhole camera with a lens, in the optical frame (REP 103: x right, y down, z forward).

    `width`, `height`, `fx`, `fy`, `cx`, `cy` are in pixels, pixel centres at whole numbers.
    `distortion_model` and `distortion` are as in sensor_msgs/CameraInfo; '' is a lens that
    does not distort. Raises `CameraModelError` on a value that cannot be right.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ''
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ('width', 'height'):
            if getattr(self, name) < 1:
                raise CameraModelError(
                    f'{name} is {getattr(self, name)}: it must be the size of the picture in '
                    'pixels; calibrate the camera or correct its calibration file'
                )
        for name in ('fx', 'fy'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise CameraModelError(
                    f'focal length {name} is {value}: it must be a positive number of pixels; '
                    'calibrate the camera again'
                )
        for name in ('cx', 'cy'):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise CameraModelError(
                    f'principal point {name} is {value}: it must be a number of pixels; '
                    'calibrate the camera again'
                )
        _check_distortion(self.distortion_model, self.distortion)

    @classmethod
    def from_camera_info(cls, message: Any, *, rectified: bool = False) -> CameraModel:
        """The model of the pictures published with this sensor_msgs/CameraInfo (duck-typed).

        `rectified` = the pictures are those that image_proc has rectified: `p` describes them,
        and there is no lens left in them; else `k` and `d` do. `width`, `height`, `k`, `p` and
        `roi` of the message are in full-resolution pixels; the result describes the picture
        after region of interest and binning. Raises `Uncalibrated` for `k[0] == 0` (`p[0] == 0`),
        `CameraModelError` for anything that cannot be right. Source: REP 104 and CameraInfo.msg.
        """
        if rectified:
            fx, fy, cx, cy = _rectified_intrinsics([float(value) for value in message.p])
            model, coefficients = NO_LENS
        else:
            fx, fy, cx, cy = _raw_intrinsics([float(value) for value in message.k])
            model, coefficients = _without_idle_lens(
                str(message.distortion_model), tuple(float(value) for value in message.d)
            )
        width, height = int(message.width), int(message.height)
        full = cls(width, height, fx, fy, cx, cy, model, coefficients)
        return full._region(message.roi)._binned(message.binning_x, message.binning_y)

    @classmethod
    def from_field_of_view(cls, width: int, height: int, horizontal_fov_rad: float) -> CameraModel:
        """A camera without distortion, of square pixels, centred, from edge to edge `..._rad`."""
        if not 0 < horizontal_fov_rad < math.pi:
            raise CameraModelError(
                f'horizontal field of view is {horizontal_fov_rad} rad: it must be between 0 and '
                'pi; give it in radians'
            )
        focal = 0.5 * width / math.tan(0.5 * horizontal_fov_rad)
        return cls(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))

    def scaled(self, width: int, height: int) -> CameraModel:
        """The same camera for the same view resized to `width` x `height` pixels."""
        x_scale, y_scale = width / self.width, height / self.height
        return dataclasses.replace(
            self,
            width=width,
            height=height,
            fx=self.fx * x_scale,
            fy=self.fy * y_scale,
            cx=(self.cx + 0.5) * x_scale - 0.5,
            cy=(self.cy + 0.5) * y_scale - 0.5,
        )

    def turned(self, degrees: int) -> CameraModel:
        """The same camera for the same view turned clockwise by 0, 90, 180 or 270 degrees."""
        if not degrees:
            return self
        aside = degrees in (90, 270)
        width, height = (self.height, self.width) if aside else (self.width, self.height)
        x, y = turned_offset(
            self.cx - 0.5 * (self.width - 1), self.cy - 0.5 * (self.height - 1), degrees
        )
        return dataclasses.replace(
            self,
            width=width,
            height=height,
            fx=self.fy if aside else self.fx,
            fy=self.fx if aside else self.fy,
            cx=x + 0.5 * (width - 1),
            cy=y + 0.5 * (height - 1),
            distortion=turned_lens(self.distortion_model, self.distortion, degrees),
        )

    def normalised_grid(
        self, width: int | None = None, height: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Undistorted (x', y') = (X/Z, Y/Z) of every pixel, each (height, width) float32.

        For the picture resized to `width` x `height`; without them, for the picture itself.
        NaN where the lens model has no inverse. Takes up to a second: keep the result.
        """
        camera = self.scaled(width or self.width, height or self.height)
        columns = (np.arange(camera.width) - camera.cx) / camera.fx
        rows = (np.arange(camera.height) - camera.cy) / camera.fy
        x, y = (np.ascontiguousarray(axis) for axis in np.meshgrid(columns, rows))
        if camera.distortion_model not in NO_DISTORTION:
            tolerance = ROUND_TRIP_PIXELS / max(camera.fx, camera.fy)
            x, y = undistort(x, y, camera.distortion_model, camera.distortion, tolerance)
        return x.astype(np.float32), y.astype(np.float32)

    def _region(self, roi: Any) -> CameraModel:
        """The part of the picture that a sensor_msgs/RegionOfInterest names; all 0 = all of it."""
        if not (roi.width or roi.height or roi.x_offset or roi.y_offset):
            return self
        width, height = roi.width or self.width, roi.height or self.height
        if roi.x_offset + width > self.width or roi.y_offset + height > self.height:
            raise CameraModelError(
                f'roi {width}x{height} at ({roi.x_offset}, {roi.y_offset}) is not within the '
                f'picture of {self.width}x{self.height}; correct the driver'
            )
        return dataclasses.replace(
            self, width=width, height=height, cx=self.cx - roi.x_offset, cy=self.cy - roi.y_offset
        )

    def _binned(self, x_factor: int, y_factor: int) -> CameraModel:
        """The picture with so many pixels combined into one; 0 means 1, as CameraInfo has it."""
        x_factor, y_factor = x_factor or 1, y_factor or 1
        if x_factor > self.width or y_factor > self.height:
            raise CameraModelError(
                f'binning {x_factor}x{y_factor} leaves nothing of a picture of '
                f'{self.width}x{self.height}; correct the driver'
            )
        width, height = self.width // x_factor, self.height // y_factor
        covered = dataclasses.replace(self, width=width * x_factor, height=height * y_factor)
        return covered.scaled(width, height)


Intrinsics = tuple[float, float, float, float]  # fx, fy, cx, cy


def _raw_intrinsics(k: list[float]) -> Intrinsics:
    if len(k) != 9:
        raise CameraModelError(f'k has {len(k)} numbers: it must be a 3x3 matrix, row by row')
    if k[0] == 0:
        raise Uncalibrated(
            'k[0] is 0: the camera is not calibrated; run camera_calibration, or give the '
            'driver its calibration file'
        )
    if k[1] or k[3] or k[6] or k[7] or k[8] != 1:
        raise CameraModelError(
            f'k is {k}: it must be [fx, 0, cx, 0, fy, cy, 0, 0, 1]; correct the calibration'
        )
    return k[0], k[4], k[2], k[5]


def _rectified_intrinsics(p: list[float]) -> Intrinsics:
    if len(p) != 12:
        raise CameraModelError(f'p has {len(p)} numbers: it must be a 3x4 matrix, row by row')
    if p[0] == 0:
        raise Uncalibrated(
            'p[0] is 0: there is no calibration of rectified pictures; run camera_calibration, or '
            'take the pictures for what the camera sends'
        )
    if p[1] or p[4] or p[8] or p[9] or p[10] != 1:
        raise CameraModelError(
            f'p is {p}: it must be [fx, 0, cx, Tx, 0, fy, cy, Ty, 0, 0, 1, 0]; correct the '
            'calibration'
        )
    return p[0], p[5], p[2], p[6]


def _without_idle_lens(
    model: str, coefficients: tuple[float, ...]
) -> tuple[str, tuple[float, ...]]:
    """A lens whose coefficients are absent or all zero is no lens; some drivers name none."""
    known = model in NO_DISTORTION or model in COEFFICIENT_COUNTS
    idle = not any(coefficients) and model != 'equidistant'
    return NO_LENS if known and idle else (model, coefficients)


def _check_distortion(model: str, coefficients: Sequence[float]) -> None:
    known = ', '.join(COEFFICIENT_COUNTS)
    if model in NO_DISTORTION:
        if any(coefficients):
            raise CameraModelError(
                f'distortion_model is {model!r}, but d is {list(coefficients)}: name the model '
                f'that they belong to ({known})'
            )
        return
    if model not in COEFFICIENT_COUNTS:
        raise CameraModelError(
            f'distortion_model is {model!r}: it must be one of {known}, or empty for a picture '
            'without distortion; subscribe to the rectified picture instead'
        )
    counts = COEFFICIENT_COUNTS[model]
    if len(coefficients) not in counts:
        allowed = ' or '.join(str(count) for count in counts)
        raise CameraModelError(
            f'd has {len(coefficients)} numbers: {model} has {allowed}; correct the calibration'
        )
    if not all(math.isfinite(value) for value in coefficients):
        raise CameraModelError(f'd is {list(coefficients)}: not all finite; calibrate again')
    if any(tuple(coefficients)[TILT]):
        raise CameraModelError(
            f'd has a tilted sensor, {list(coefficients)[TILT]}: this is not modelled; subscribe '
            'to the rectified picture instead'
        )
