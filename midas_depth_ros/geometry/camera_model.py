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

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import GeometryError

NO_DISTORTION = ('', 'none')
NO_LENS: tuple[str, tuple[float, ...]] = ('', ())
ROUND_TRIP_PIXELS = 0.05  # an undistorted pixel must lead back to itself this closely


class CameraModelError(GeometryError, ValueError):
    """A calibration that cannot be right, or in a form that is not understood."""


class Uncalibrated(CameraModelError):
    """A camera_info whose K[0] is 0: by its definition, an uncalibrated camera."""


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


# --- Lens distortion as sensor_msgs/CameraInfo names it: its models, and both ways through each.
#
# Points are normalised coordinates (x', y') = (X/Z, Y/Z), two arrays of one shape. `distort` goes
# from the ideal pinhole to the lens, `undistort` back; where there is no way back, it says NaN.

# Model name -> the lengths that its coefficient list may have (CameraInfo.msg, OpenCV).
COEFFICIENT_COUNTS: dict[str, tuple[int, ...]] = {
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}
TILT = slice(12, 14)  # coefficients of a tilted sensor: not modelled, must be 0
REFINEMENTS = 4
PROBE = 1e-5  # step of the numeric derivative, normalised coordinates


def distort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal normalised coordinates -> those at which the lens images the point.

    Brown-Conrady with its rational and thin prism terms for `plumb_bob` and
    `rational_polynomial`, Kannala-Brandt for `equidistant`. `model` and `coefficients` must
    have been checked.
    """
    squared = x * x + y * y
    if model == 'equidistant':
        radius = np.sqrt(squared)
        angle = np.arctan(radius)
        k1, k2, k3, k4 = coefficients
        a2 = angle * angle
        bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        scale = np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (tuple(coefficients) + (0.0,) * 12)[:12]
    radial = 1 + squared * (k1 + squared * (k2 + squared * k3))
    radial = radial / (1 + squared * (k4 + squared * (k5 + squared * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x) + squared * (s1 + s2 * squared),
        y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y + squared * (s3 + s4 * squared),
    )


def undistort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...], tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised coordinates as the lens imaged them -> ideal ones, float64.

    NaN where the lens model has no inverse: outside the circle of a fisheye, or beyond the
    radius at which a polynomial turns back. `tolerance` (normalised coordinates) is how
    closely a result must lead back to where it came from.
    """
    start = _opencv_undistort(x, y, model, coefficients)
    with np.errstate(all='ignore'):
        return _refined(x, y, *start, model, coefficients, tolerance)


def _opencv_undistort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    points = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    inverse = cv2.fisheye.undistortPoints if model == 'equidistant' else cv2.undistortPoints
    result = inverse(points, np.eye(3), np.array(coefficients, dtype=np.float64))
    result = result.reshape(*x.shape, 2)
    return result[..., 0], result[..., 1]


def _refined(
    x_wanted: np.ndarray,
    y_wanted: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    model: str,
    coefficients: tuple[float, ...],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method from OpenCV's answer, which stops after five steps of its own."""
    for step in range(REFINEMENTS + 1):
        x_here, y_here = distort(x, y, model, coefficients)
        x_dx, y_dx = distort(x + PROBE, y, model, coefficients)
        x_dy, y_dy = distort(x, y + PROBE, model, coefficients)
        a, b = (x_dx - x_here) / PROBE, (x_dy - x_here) / PROBE
        c, d = (y_dx - y_here) / PROBE, (y_dy - y_here) / PROBE
        determinant = a * d - b * c
        x_error, y_error = x_wanted - x_here, y_wanted - y_here
        if step < REFINEMENTS:
            x = x + (d * x_error - b * y_error) / determinant
            y = y + (a * y_error - c * x_error) / determinant
    # A polynomial that has turned back images other points there too: mirrored in radius
    # (negative determinant), or across the centre.
    good = (np.hypot(x_error, y_error) < tolerance) & (determinant > 0)
    good &= x * x_wanted + y * y_wanted >= 0
    return np.where(good, x, np.nan), np.where(good, y, np.nan)


# --- Pictures turned by quarters, clockwise, and what has to be turned along with them.
#
# For cameras that are mounted upside down or on their side: the optical frame (REP 103) of a
# turned picture is that of the camera, turned about the optical axis. Degrees are 0, 90, 180 or
# 270.

COSINE_AND_SINE = {0: (1.0, 0.0), 90: (0.0, 1.0), 180: (-1.0, 0.0), 270: (0.0, -1.0)}
LOCKED = 1 - 1e-12
# Where the lens models that have a direction keep x and y of it: decentring (p2, p1), thin prism.
DIRECTED = {
    'plumb_bob': ((3, 2),),
    'rational_polynomial': ((3, 2), (8, 10), (9, 11)),
}


def turned(picture: NDArray, degrees: int) -> NDArray:
    """(H, W) or (H, W, n) turned clockwise; contiguous, the same array where nothing is turned."""
    if not degrees:
        return picture
    return np.ascontiguousarray(np.rot90(picture, -degrees // 90))


def turned_points(points: NDArray[np.float32], degrees: int) -> NDArray[np.float32]:
    """(h, w, 3) x, y, z in the optical frame of a picture -> in that of the turned one."""
    if not degrees:
        return points
    return turned(points, degrees) @ turn(degrees).T.astype(points.dtype)


def turned_axes(axes: np.ndarray, degrees: int) -> np.ndarray:
    """(3, 3): optical frame of a picture into another -> that of the turned picture into it."""
    return np.asarray(axes, np.float64) @ turn(degrees).T


def roll_pitch_yaw(axes: np.ndarray) -> tuple[float, float, float]:
    """Angles in radians of the (3, 3) rotation Rz(yaw) Ry(pitch) Rx(roll), as TF's tools want."""
    pitch = math.asin(max(-1.0, min(1.0, -axes[2, 0])))
    if abs(axes[2, 0]) > LOCKED:  # roll and yaw turn about the same axis: one of them will do
        return 0.0, pitch, math.atan2(-axes[0, 1], axes[1, 1])
    return math.atan2(axes[2, 1], axes[2, 2]), pitch, math.atan2(axes[1, 0], axes[0, 0])


def turn(degrees: int) -> np.ndarray:
    """(3, 3) float64: takes a vector of an optical frame into that of the turned picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def turned_lens(model: str, coefficients: tuple[float, ...], degrees: int) -> tuple[float, ...]:
    """The coefficients, as of CameraInfo, of the same lens for the turned picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    result = list(coefficients)
    for across, down in DIRECTED.get(model, ()):
        if max(across, down) < len(result):
            x, y = coefficients[across], coefficients[down]
            result[across], result[down] = cos * x - sin * y, sin * x + cos * y
    return tuple(result)


def turned_offset(x: float, y: float, degrees: int) -> tuple[float, float]:
    """Where a point is in the turned picture, both seen from the picture's middle."""
    cos, sin = COSINE_AND_SINE[degrees]
    return cos * x - sin * y, sin * x + cos * y
