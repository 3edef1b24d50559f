"""What a recorded sensor says the truth is, brought into the picture and onto the floor.

A LaserScan, Range, PointCloud2 or depth image goes in, with the place of its sensor; out come
pixels with their Z, how far each bearing is free, and how far the corridor ahead is. A range is not
Z, and a sensor beside the camera sees along other rays: everything passes through points in metres.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, LaserScan, PointCloud2, Range

from midas_depth_ros.geometry import CameraModel, CameraMount, cloud_points, turned_axes
from midas_depth_ros.nodes.ros.messages import cloud_array
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.text import shown

MOST_PIXELS = 1000  # compared of one frame: neighbours say the same
MOST_POINTS = 30_000  # of one message of the truth
RANK = 3  # the nearest thing of a cloud or depth image is its third nearest point: noise is not
TYPES: dict[str, type] = {
    'sensor_msgs/msg/LaserScan': LaserScan,
    'sensor_msgs/msg/Range': Range,
    'sensor_msgs/msg/PointCloud2': PointCloud2,
    'sensor_msgs/msg/Image': Image,
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the sensor of the truth is: in `body_frame` (x ahead, y left, z up; metres, radians).

    optical: it measures in the optical frame of the camera itself, as a registered depth image.
    """

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    optical: bool = False

    def body_from_sensor(self) -> np.ndarray:
        """Return (4, 4) float64: from the sensor's frame into the body frame."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, self.x_m],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, self.y_m],
                [-sp, cp * sr, cp * cr, self.z_m],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )

    def text(self, frame_id: str) -> str:
        """Return where the sensor is, in words."""
        if self.optical:
            return f'frame {frame_id!r}, in the optical frame of the camera'
        rolled = f', roll {math.degrees(self.roll_rad):g}' if self.roll_rad else ''
        return (
            f'frame {frame_id!r}, at x {self.x_m:g}, y {self.y_m:g}, z {self.z_m:g} m, yaw '
            f'{math.degrees(self.yaw_rad):g}, pitch {math.degrees(self.pitch_rad):g}'
            f'{rolled} degrees of body_frame'
        )


@dataclasses.dataclass(frozen=True)
class PictureView:
    """What of our side the truth is brought into.

    camera: of the turned picture, at the size of the network's answer (width, height). mount: None
    where it is not known: then only pixels are compared. rotate: clockwise, in degrees. on_body:
    the mount without the tilt that an Imu measures, since the sensor tilts as well; None = `mount`.
    """

    camera: CameraModel
    mount: CameraMount | None
    settings: DepthNodeSettings
    rotate: int = 0
    on_body: CameraMount | None = None

    def floor_from_optical(self) -> np.ndarray | None:
        """Return (4, 4) float64, of the turned picture, into the level body; None: no mount."""
        return None if self.mount is None else _body_from_optical(self.mount)

    def optical_from_body(self) -> np.ndarray | None:
        """Return (4, 4) float64, from the body that carries camera and sensor; None likewise."""
        mount = self.on_body or self.mount
        return None if mount is None else np.linalg.inv(_body_from_optical(mount))


def _body_from_optical(mount: CameraMount) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = mount.body_axes()
    transform[2, 3] = mount.height_m
    return transform


@dataclasses.dataclass(frozen=True)
class Rays:
    """What a message says along its rays, in the frame of its sensor.

    points: (n, 3) float64 metres, where a ray ended. clear: (m, 3), up to where a ray met nothing.
    step_rad: between neighbouring rays; 0 = they are dense.
    """

    points: NDArray[np.float64]
    clear: NDArray[np.float64]
    step_rad: float = 0.0
    robust: bool = False  # of many noisy points the nearest one does not count


@dataclasses.dataclass(frozen=True)
class FloorTruth:
    """What stands in the way, in the body frame.

    obstacles: (n, 2) float64 x, y of what is high enough to be in the way and low enough not to be
    passed under. looked: (m, 2), up to where the truth itself has looked and met nothing.
    """

    obstacles: NDArray[np.float64]
    looked: NDArray[np.float64]
    step_rad: float
    robust: bool

    def along(
        self, angle_min: float, increment: float, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return for each beam the nearest obstacle (inf: none seen), and up to where was looked.

        Each (count,) float32 metres; looked is NaN where the truth says nothing of a beam.
        """
        half = max(increment, self.step_rad) / 2
        angles = angle_min + increment * np.arange(count)
        nearest = _by_beam(self.obstacles, angles, half, self.robust)
        looked = -_by_beam(self.looked, angles, half, False, farthest=True)
        looked = np.where(np.isfinite(nearest), nearest, looked)
        looked[~np.isfinite(looked)] = np.nan
        return nearest.astype(np.float32), looked.astype(np.float32)

    def corridor(self, width_m: float) -> tuple[float, float]:
        """Return how far ahead the nearest obstacle in a corridor is, and up to where was looked.

        inf: none seen; looked is NaN where the truth says nothing of the corridor.
        """
        ahead = _in_corridor(self.obstacles, width_m)
        rank = RANK if self.robust else 1
        nearest = float(np.sort(ahead)[rank - 1]) if len(ahead) >= rank else math.inf
        seen = _in_corridor(self.looked, width_m)
        if math.isfinite(nearest):
            return nearest, nearest
        return nearest, float(seen.max()) if len(seen) else math.nan


@dataclasses.dataclass(frozen=True)
class TruthFrame:
    """The truth about one picture: pixels (n,) float32 with Z in metres; the floor with a mount."""

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    z: NDArray[np.float32]
    floor: FloorTruth | None


def rays_of(message: Any, own_camera: CameraModel | None = None) -> Rays:
    """Return what a message says. own_camera: of a depth image. Raises ValueError."""
    if isinstance(message, LaserScan):
        return _scan_rays(message)
    if isinstance(message, Range):
        return _range_rays(message)
    if isinstance(message, PointCloud2):
        points = cloud_array(message)
        points = points[:: max(1, -(-len(points) // MOST_POINTS))]
        return Rays(points[np.isfinite(points).all(axis=1)], np.zeros((0, 3)), robust=True)
    if own_camera is None:
        raise ValueError('a depth image needs a camera_info')
    return _depth_rays(message, own_camera)


def truth_frame(rays: Rays, place: Place, view: PictureView) -> TruthFrame:
    """Return what rays of the truth mean for one picture."""
    floor_from_optical, optical_from_body = view.floor_from_optical(), view.optical_from_body()
    if place.optical:
        # Of the picture as the camera sends it; everything else is of the turned one.
        optical = np.eye(4)
        optical[:3, :3] = turned_axes(np.eye(3), view.rotate).T
    elif optical_from_body is None:
        raise ValueError(
            'the truth is placed in body_frame, but the mount of the camera is not known: set '
            'camera_height and camera_pitch'
        )
    else:
        optical = optical_from_body @ place.body_from_sensor()
    pixels = cloud_points(rays.points, optical, view.camera)
    step = max(1, -(-len(pixels) // MOST_PIXELS))
    u, v, z = (np.asarray(getattr(pixels, name)[::step], np.float32) for name in ('u', 'v', 'z'))
    if floor_from_optical is None:
        return TruthFrame(u, v, z, None)
    return TruthFrame(u, v, z, _floor(rays, floor_from_optical @ optical, view.settings))


def _floor(rays: Rays, body: np.ndarray, settings: DepthNodeSettings) -> FloorTruth:
    """What of the rays is in the way, and what they passed over."""
    points = rays.points @ body[:3, :3].T + body[:3, 3]
    clear = rays.clear @ body[:3, :3].T + body[:3, 3]
    heights = settings.obstacles
    low = points[:, 2] < heights.min_height
    high = points[:, 2] > heights.max_height
    standing = points[~low & ~high]
    looked = np.concatenate([points[low], clear])  # what is seen above says nothing of below
    return FloorTruth(standing[:, :2], looked[:, :2], rays.step_rad, rays.robust)


def _scan_rays(message: LaserScan) -> Rays:
    """Ranges outside the limits say nothing, but +inf: nothing up to range_max (REP 117)."""
    start, step = float(message.angle_min), float(message.angle_increment)
    if not (math.isfinite(start) and math.isfinite(step) and step != 0):
        raise ValueError(f'the scan begins at {start:g} rad in steps of {step:g} rad')
    ranges = np.asarray(message.ranges, np.float64)
    angle = start + step * np.arange(len(ranges))
    axes = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    with np.errstate(invalid='ignore'):
        good = (ranges >= max(message.range_min, 1e-3)) & (ranges <= message.range_max)
        clear = (ranges == np.inf) & math.isfinite(message.range_max)
    return Rays(
        axes[good] * ranges[good, None],
        axes[clear] * message.range_max,
        abs(step),
    )


def _range_rays(message: Range) -> Rays:
    distance, none = message.range, np.zeros((0, 3))
    if message.min_range <= distance < message.max_range:
        return Rays(np.array([[distance, 0.0, 0.0]]), none, message.field_of_view)
    if distance >= message.max_range and math.isfinite(message.max_range):
        return Rays(none, np.array([[message.max_range, 0.0, 0.0]]), message.field_of_view)
    return Rays(none, none)


def _depth_rays(message: Any, camera: CameraModel) -> Rays:
    """A depth image, by its own camera; at most MOST_POINTS, spread evenly."""
    depth = depth_of(message)
    step = max(1, math.ceil(math.sqrt(depth.size / MOST_POINTS)))
    rows, columns = depth.shape
    x, y = _grid(camera, columns, rows)
    z = depth[::step, ::step].astype(np.float64).ravel()
    x, y = x[::step, ::step].ravel(), y[::step, ::step].ravel()
    good = np.isfinite(z) & (z > 0) & np.isfinite(x)
    points = np.stack([x[good] * z[good], y[good] * z[good], z[good]], axis=1)
    return Rays(points, np.zeros((0, 3)), robust=True)


@functools.lru_cache(2)
def _grid(camera: CameraModel, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`CameraModel.normalised_grid`, which takes long, kept."""
    return camera.normalised_grid(columns, rows)


METRES_OF = {'32FC1': ('f4', 1.0), '16UC1': ('u2', 0.001), 'mono16': ('u2', 0.001)}  # REP 118


def depth_of(message: Any) -> NDArray[np.float32]:
    """Return (H, W) float32 metres of a depth image; NaN or 0 unknown. Raises ValueError."""
    if message.encoding not in METRES_OF:
        raise ValueError(
            f'its encoding {shown(message.encoding)} is no depth: record 16UC1 (millimetres) or '
            '32FC1 (metres)'
        )
    kind, unit_m = METRES_OF[message.encoding]
    pixel = np.dtype(('>' if message.is_bigendian else '<') + kind)
    needed = message.step * message.height
    if len(message.data) < needed or message.step < message.width * pixel.itemsize or not needed:
        raise ValueError(
            f'the depth image has {len(message.data)} bytes in rows of {message.step}: '
            f'{message.width}x{message.height} of {message.encoding} need '
            f'{message.width * message.height * pixel.itemsize}'
        )
    rows = np.frombuffer(message.data, np.uint8, needed).reshape(message.height, message.step)
    values = np.ascontiguousarray(rows[:, : message.width * pixel.itemsize]).view(pixel)
    return values.astype(np.float32) * np.float32(unit_m)


def _by_beam(
    points: NDArray[np.float64],
    angles: np.ndarray,
    half_rad: float,
    robust: bool,
    farthest: bool = False,
) -> NDArray[np.float64]:
    """The least (negated: greatest) distance of the points within half_rad of each beam; inf."""
    result = np.full(len(angles), np.inf)
    if not len(points):
        return result
    bearing = np.arctan2(points[:, 1], points[:, 0])
    distance = np.hypot(points[:, 0], points[:, 1])
    order = np.argsort(bearing)
    bearing, distance = bearing[order], distance[order] * (-1 if farthest else 1)
    first = np.searchsorted(bearing, angles - half_rad * 1.001, 'left')
    last = np.searchsorted(bearing, angles + half_rad * 1.001, 'right')
    for index in np.flatnonzero(last > first):
        inside = distance[first[index] : last[index]]
        rank = RANK - 1 if robust else 0
        if rank < len(inside):
            result[index] = np.partition(inside, rank)[rank]
    return result


def _in_corridor(points: NDArray[np.float64], width_m: float) -> NDArray[np.float64]:
    """How far ahead each point in the corridor is."""
    inside = (np.abs(points[:, 1]) <= width_m / 2) & (points[:, 0] > 0)
    return points[inside, 0]
