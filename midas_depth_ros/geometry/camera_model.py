"""Intrinsics and lens of a camera, from CameraInfo or a field of view.

A `CameraModel` describes the image as it is published (region of interest and binning already
applied) and gives the direction of every pixel, also of a scaled copy, as undistorted normalised
coordinates. A calibration that is not valid is rejected, never corrected.
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
ROUND_TRIP_PIXELS = 0.05  # how closely an undistorted pixel must map back to itself
SAME_VIEW = 0.01  # share of a focal length, and of the picture for its principal point


class CameraModelError(GeometryError, ValueError):
    """A calibration that is not valid, or in an unsupported form."""


class Uncalibrated(CameraModelError):
    """A camera_info whose K[0] is 0: by definition, an uncalibrated camera."""


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """A pinhole camera with a lens, in the optical frame (REP 103: x right, y down, z forward).

    `width`, `height`, `fx`, `fy`, `cx`, `cy` are in pixels, pixel centres at whole numbers.
    `distortion_model` and `distortion` are as in sensor_msgs/CameraInfo; '' is a lens without
    distortion. Raises `CameraModelError` for a value that is not valid.
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
                    f'{name} is {getattr(self, name)}: it must be the size of the image in '
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
            if not math.isfinite(getattr(self, name)):
                raise CameraModelError(
                    f'principal point {name} is {getattr(self, name)}: it must be a number of '
                    'pixels; calibrate the camera again'
                )
        _check_distortion(self.distortion_model, self.distortion)

    @classmethod
    def from_camera_info(cls, message: Any, *, rectified: bool = False) -> CameraModel:
        """Return the model of the images published with this sensor_msgs/CameraInfo (duck-typed).

        `rectified`: image_proc has rectified the images, so `p` describes them and they have no
        distortion; otherwise `k` and `d` do. `width`, `height`, `k`, `p` and `roi` of the message
        are in full-resolution pixels; the result describes the image after region of interest and
        binning. Raises `Uncalibrated` for `k[0] == 0` (`p[0] == 0`), `CameraModelError` for other
        values that are not valid. Source: REP 104 and CameraInfo.msg.
        """
        if rectified:
            fx, fy, cx, cy = _intrinsics('p', 4, RECTIFIED, message.p, NO_RECTIFIED_CALIBRATION)
            model, coefficients = NO_LENS
        else:
            fx, fy, cx, cy = _intrinsics('k', 3, RAW, message.k, NO_CALIBRATION)
            model, coefficients = str(message.distortion_model), tuple(map(float, message.d))
            known = model in NO_DISTORTION or model in COEFFICIENT_COUNTS
            if known and model != 'equidistant' and not any(coefficients):
                model, coefficients = NO_LENS  # all coefficients 0 or absent: no distortion
        width, height = int(message.width), int(message.height)
        full = cls(width, height, fx, fy, cx, cy, model, coefficients)
        return full._region(message.roi)._binned(message.binning_x, message.binning_y)

    @classmethod
    def from_field_of_view(cls, width: int, height: int, horizontal_fov_rad: float) -> CameraModel:
        """Return a centred camera with square pixels and no distortion; angle from edge to edge."""
        if not 0 < horizontal_fov_rad < math.pi:
            raise CameraModelError(
                f'horizontal field of view is {horizontal_fov_rad} rad: it must be between 0 and '
                'pi; give it in radians'
            )
        focal = 0.5 * width / math.tan(0.5 * horizontal_fov_rad)
        return cls(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))

    def scaled(self, width: int, height: int) -> CameraModel:
        """Return the same camera for the view resized to `width` x `height` pixels."""
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

    def sees_as(self, other: CameraModel) -> bool:
        """Return whether both see the same, whatever the sizes of their pictures: to `SAME_VIEW`,
        since a camera that focuses may correct its calibration from picture to picture.
        """
        lens = self.distortion_model, self.distortion
        if lens != (other.distortion_model, other.distortion):
            return False
        theirs = other.scaled(self.width, self.height)
        return (
            abs(theirs.fx - self.fx) <= SAME_VIEW * self.fx
            and abs(theirs.fy - self.fy) <= SAME_VIEW * self.fy
            and abs(theirs.cx - self.cx) <= SAME_VIEW * self.width
            and abs(theirs.cy - self.cy) <= SAME_VIEW * self.height
        )

    def turned(self, degrees: int) -> CameraModel:
        """Return the same camera for the view turned clockwise by 0, 90, 180 or 270 degrees."""
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
        """Return undistorted (x', y') = (X/Z, Y/Z) of every pixel, each (height, width) float32.

        For the image resized to `width` x `height`, by default its own size. NaN where the lens
        model has no inverse. Takes up to a second: keep the result.
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
        """Crop to a sensor_msgs/RegionOfInterest; all 0 = everything."""
        if not (roi.width or roi.height or roi.x_offset or roi.y_offset):
            return self
        width, height = roi.width or self.width, roi.height or self.height
        if roi.x_offset + width > self.width or roi.y_offset + height > self.height:
            raise CameraModelError(
                f'roi {width}x{height} at ({roi.x_offset}, {roi.y_offset}) is not within the '
                f'image of {self.width}x{self.height}; correct the driver'
            )
        return dataclasses.replace(
            self, width=width, height=height, cx=self.cx - roi.x_offset, cy=self.cy - roi.y_offset
        )

    def _binned(self, x_factor: int, y_factor: int) -> CameraModel:
        """Combine this many pixels into one; 0 means 1, as in CameraInfo."""
        x_factor, y_factor = x_factor or 1, y_factor or 1
        if x_factor > self.width or y_factor > self.height:
            raise CameraModelError(
                f'binning {x_factor}x{y_factor} leaves nothing of an image of '
                f'{self.width}x{self.height}; correct the driver'
            )
        width, height = self.width // x_factor, self.height // y_factor
        covered = dataclasses.replace(self, width=width * x_factor, height=height * y_factor)
        return covered.scaled(width, height)


RAW, RECTIFIED = '[fx, 0, cx, 0, fy, cy, 0, 0, 1]', '[fx, 0, cx, Tx, 0, fy, cy, Ty, 0, 0, 1, 0]'
NO_CALIBRATION = (
    'the camera is not calibrated; run camera_calibration, or give the driver its calibration file'
)
NO_RECTIFIED_CALIBRATION = (
    'there is no calibration of rectified images; run camera_calibration, or use the raw images '
    '(rectified: false)'
)


def _intrinsics(
    name: str, columns: int, form: str, matrix: Sequence[float], uncalibrated: str
) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy of a matrix of three rows, which must have this form."""
    m = [float(value) for value in matrix]
    if len(m) != 3 * columns:
        raise CameraModelError(
            f'{name} has {len(m)} numbers: it must be a 3x{columns} matrix, row by row'
        )
    if m[0] == 0:
        raise Uncalibrated(f'{name}[0] is 0: {uncalibrated}')
    y, z = columns, 2 * columns  # the second and third row
    if m[1] or m[y] or m[z] or m[z + 1] or m[z + 2] != 1:
        raise CameraModelError(f'{name} is {m}: it must be {form}; correct the calibration')
    return m[0], m[y + 1], m[2], m[y + 2]


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
            f'distortion_model is {model!r}: it must be one of {known}, or empty for an image '
            'without distortion; subscribe to the rectified image instead'
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
            f'd has a tilted sensor, {list(coefficients)[TILT]}: this is unsupported; subscribe '
            'to the rectified image instead'
        )


# --- Lens distortion by the models of sensor_msgs/CameraInfo, forward and inverse.
#
# Points are normalised coordinates (x', y') = (X/Z, Y/Z), two arrays of one shape. `distort` goes
# from the ideal pinhole to the lens, `undistort` back; where there is no inverse it returns NaN.

# Model name -> the lengths that its coefficient list may have (CameraInfo.msg, OpenCV).
COEFFICIENT_COUNTS: dict[str, tuple[int, ...]] = {
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}
TILT = slice(12, 14)  # coefficients of a tilted sensor: unsupported, must be 0
REFINEMENTS = 4
PROBE = 1e-5  # step of the numeric derivative, normalised coordinates


def distort(
    x: np.ndarray, y: np.ndarray, model: str, coefficients: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Convert ideal normalised coordinates to those at which the lens images the point.

    Brown-Conrady with rational and thin prism terms for `plumb_bob` and `rational_polynomial`,
    Kannala-Brandt for `equidistant`. `model` and `coefficients` must have been checked.
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
    """Convert normalised coordinates as the lens imaged them to ideal ones, float64.

    NaN where the lens model has no inverse: outside the circle of a fisheye, or beyond the radius
    at which a polynomial turns back. `tolerance` (normalised coordinates): how closely a result
    must map back to where it came from.
    """
    points = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    inverse = cv2.fisheye.undistortPoints if model == 'equidistant' else cv2.undistortPoints
    start = inverse(points, np.eye(3), np.array(coefficients, dtype=np.float64))
    u, v = np.moveaxis(start.reshape(*x.shape, 2), -1, 0)
    with np.errstate(all='ignore'):
        # Newton's method continues from OpenCV's answer, which stops after five steps of its own.
        for step in range(REFINEMENTS + 1):
            x_here, y_here = distort(u, v, model, coefficients)
            x_du, y_du = distort(u + PROBE, v, model, coefficients)
            x_dv, y_dv = distort(u, v + PROBE, model, coefficients)
            a, b = (x_du - x_here) / PROBE, (x_dv - x_here) / PROBE
            c, d = (y_du - y_here) / PROBE, (y_dv - y_here) / PROBE
            determinant = a * d - b * c
            x_error, y_error = x - x_here, y - y_here
            if step < REFINEMENTS:
                u = u + (d * x_error - b * y_error) / determinant
                v = v + (a * y_error - c * x_error) / determinant
        # Where a polynomial has turned back, it maps other points to the same place: mirrored in
        # radius (negative determinant), or across the centre.
        good = (np.hypot(x_error, y_error) < tolerance) & (determinant > 0)
        good &= u * x + v * y >= 0
        return np.where(good, u, np.nan), np.where(good, v, np.nan)


# --- Pictures turned clockwise by 0, 90, 180 or 270 degrees, and what must be turned with them.
#
# For cameras that are mounted upside down or on their side: the optical frame (REP 103) of a
# turned picture is that of the camera, turned about the optical axis.

COSINE_AND_SINE = {0: (1.0, 0.0), 90: (0.0, 1.0), 180: (-1.0, 0.0), 270: (0.0, -1.0)}
LOCKED = 1 - 1e-12
# Indices of (x, y) coefficients that depend on direction: decentring (p2, p1), thin prism.
DIRECTED = {
    'plumb_bob': ((3, 2),),
    'rational_polynomial': ((3, 2), (8, 10), (9, 11)),
}


def turned(picture: NDArray, degrees: int) -> NDArray:
    """Return (H, W) or (H, W, n) turned clockwise, contiguous; the same array for 0 degrees."""
    if not degrees:
        return picture
    return np.ascontiguousarray(np.rot90(picture, -degrees // 90))


def turned_points(points: NDArray[np.float32], degrees: int) -> NDArray[np.float32]:
    """Convert (h, w, 3) points from the optical frame of a picture to that of the turned one."""
    if not degrees:
        return points
    return turned(points, degrees) @ turn_matrix(degrees).T.astype(points.dtype)


def turned_axes(axes: np.ndarray, degrees: int) -> np.ndarray:
    """Return (3, 3) axes of the turned picture's optical frame, given those of the picture's."""
    return np.asarray(axes, np.float64) @ turn_matrix(degrees).T


def roll_pitch_yaw(axes: np.ndarray) -> tuple[float, float, float]:
    """Return the angles (rad) of the (3, 3) rotation Rz(yaw) Ry(pitch) Rx(roll), as used by TF."""
    pitch = math.asin(max(-1.0, min(1.0, -axes[2, 0])))
    if abs(axes[2, 0]) > LOCKED:  # gimbal lock: roll and yaw turn about the same axis
        return 0.0, pitch, math.atan2(-axes[0, 1], axes[1, 1])
    return math.atan2(axes[2, 1], axes[2, 2]), pitch, math.atan2(axes[1, 0], axes[0, 0])


def turn_matrix(degrees: int) -> np.ndarray:
    """Return (3, 3) float64: from an optical frame to that of the turned picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def turned_lens(model: str, coefficients: tuple[float, ...], degrees: int) -> tuple[float, ...]:
    """Return the distortion coefficients of the same lens for the turned picture."""
    result = list(coefficients)
    for across, down in DIRECTED.get(model, ()):
        if max(across, down) < len(result):
            at = coefficients[across], coefficients[down]
            result[across], result[down] = turned_offset(*at, degrees)
    return tuple(result)


def turned_offset(x: float, y: float, degrees: int) -> tuple[float, float]:
    """Return where a point is in the turned picture, relative to the middle of the picture."""
    cos, sin = COSINE_AND_SINE[degrees]
    return cos * x - sin * y, sin * x + cos * y
