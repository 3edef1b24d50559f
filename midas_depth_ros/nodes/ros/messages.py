"""Arrays into ROS messages. Every message gets a header of its own, copied from the input."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PointStamped, Vector3, Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    LaserScan,
    PointCloud2,
    PointField,
    Range,
)
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import NANOSECONDS, encode_jpeg, message_data
from midas_depth_ros.images.compressed_depth import compressed_depth
from midas_depth_ros.images.message_bytes import (
    SerialisedImage,
    bgr_of,
    millimetres_of,
    packed_points,
    write_image,
)
from midas_depth_ros.options.metric import DepthImageOptions

UINT8, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)
ENCODINGS = {(FLOAT32, 2): '32FC1', (UINT8, 3): 'rgb8', (UINT8, 2): 'mono8'}


def copied_header(header: Header, frame_id: str = '') -> Header:
    """A copy of a header that shares nothing with it; in another frame if `frame_id` is given."""
    copy = Header(frame_id=frame_id or header.frame_id)
    copy.stamp.sec, copy.stamp.nanosec = header.stamp.sec, header.stamp.nanosec
    return copy


def image_message(array: NDArray, header: Header, encoding: str = '') -> Image:
    """An Image from (H, W) float32, (H, W) uint8 or (H, W, 3) uint8; rgb8 unless named."""
    fields = _image_fields(array, header, encoding)
    message = Image(header=copied_header(header), height=fields.height, width=fields.width)
    message.encoding, message.step = fields.encoding, fields.step
    message.data = message_data(array)
    return message


def serialised_image(array: NDArray, header: Header, encoding: str = '') -> bytes:
    """The Image of `image_message`, serialised, for an rclpy publisher.

    rclpy publishes it as it is, which spares it to convert the pixels and to serialise them.
    """
    return write_image(_image_fields(array, header, encoding))


def _image_fields(array: NDArray, header: Any, encoding: str) -> SerialisedImage:
    array = np.ascontiguousarray(array)
    return SerialisedImage(
        header=header,
        height=array.shape[0],
        width=array.shape[1],
        encoding=encoding or ENCODINGS[array.dtype, array.ndim],
        is_bigendian=0,
        step=array.itemsize * math.prod(array.shape[1:]),  # the stride of one row may be any
        data=array.data,
    )


def serialised_bgr(rgb: NDArray[np.uint8], header: Header) -> bytes:
    """A bgr8 Image from (H, W, 3) uint8 RGB, serialised."""
    return serialised_image(bgr_of(rgb), header, 'bgr8')


def jpeg_message(
    rgb: NDArray[np.uint8], header: Header, quality: int, original: str = 'bgr8'
) -> CompressedImage:
    """A CompressedImage from (H, W, 3) uint8 RGB, with the format text of image_transport.

    original: encoding of the Image that is published beside it, which subscribers get back.
    """
    message = CompressedImage(header=copied_header(header))
    message.format = f'{original}; jpeg compressed bgr8'
    message.data = encode_jpeg(rgb, quality)
    return message


def vector_message(x: float, y: float, z: float, header: Header) -> Vector3Stamped:
    """A Vector3Stamped."""
    return Vector3Stamped(
        header=copied_header(header), vector=Vector3(x=float(x), y=float(y), z=float(z))
    )


def status_message(
    name: str, level: bytes, text: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """A status for /diagnostics with its values as text."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=text, values=pairs)


def time_message(time_ns: int) -> Time:
    """A builtin_interfaces/Time from nanoseconds; `images.stamp_ns` is the way back."""
    return Time(sec=time_ns // NANOSECONDS, nanosec=time_ns % NANOSECONDS)


# --- Metric outputs (REP 117, 118).

IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
POINT_FIELDS = ('x', 'y', 'z', 'rgb', 'sigma', 'height')
FLOAT32_BYTES = 4


def serialised_depth(depth_z: NDArray[np.float32], header: Header, encoding: str) -> bytes:
    """(H, W) float32 metres, NaN invalid, as an Image of 32FC1, or of 16UC1 millimetres with 0
    invalid, serialised.
    """
    if encoding == '32FC1':
        return serialised_image(depth_z, header)
    return serialised_image(millimetres_of(depth_z), header, '16UC1')


def compressed_depth_message(
    depth_z: NDArray[np.float32], header: Header, options: DepthImageOptions
) -> CompressedImage:
    """(H, W) float32 metres, NaN invalid, as image_transport's compressedDepth."""
    message = CompressedImage(header=copied_header(header))
    message.format, message.data = compressed_depth(depth_z, options)
    return message


def camera_info_message(camera: CameraModel, header: Header | None = None) -> CameraInfo:
    """A CameraInfo of unrectified images; without a lens model it is plumb_bob with zeros."""
    message = CameraInfo(width=camera.width, height=camera.height)
    if header is not None:
        message.header = copied_header(header)
    message.distortion_model = camera.distortion_model or 'plumb_bob'
    message.d = [float(number) for number in camera.distortion] or [0.0] * 5
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = IDENTITY
    message.p = projection_of(message.k)
    return message


def projection_of(k: Sequence[float]) -> list[float]:
    """P = [K|0] of a monocular CameraInfo."""
    fx, skew, cx, _, fy, cy, *_ = (float(value) for value in k)
    return [fx, skew, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]


def scan_message(
    ranges: NDArray[np.float32],
    angle_min: float,
    angle_increment: float,
    limits: tuple[float, float],
    header: Header,
) -> LaserScan:
    """Ranges in metres, counter-clockwise from `angle_min`; +inf clear, NaN unknown (REP 117)."""
    message = LaserScan(header=header, angle_min=angle_min, angle_increment=angle_increment)
    message.angle_max = angle_min + angle_increment * (len(ranges) - 1)
    message.range_min, message.range_max = limits
    message.ranges = array.array('f', ranges.astype(np.float32).tobytes())
    return message


def range_message(
    distance: float, limits: tuple[float, float], field_of_view: float, header: Header
) -> Range:
    """A Range ahead in metres; `limits[1]` where the way is clear, since nav2 rejects inf."""
    message = Range(header=header, radiation_type=Range.INFRARED, field_of_view=field_of_view)
    message.min_range, message.max_range = limits
    message.range = float(min(max(distance, limits[0]), limits[1]))
    return message


def point_message(point: tuple[float, float, float], header: Header) -> PointStamped:
    """One point in metres."""
    x, y, z = (float(value) for value in point)
    return PointStamped(header=header, point=Point(x=x, y=y, z=z))


def cloud_message(
    points: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    sigma: NDArray[np.float32],
    header: Header,
    above_floor: NDArray[np.float32] | None = None,
) -> PointCloud2:
    """(h, w, 3) float32 metres, (h, w, 3) uint8 RGB, and (h, w) float32, the deviation of z and the
    height above the floor in metres, as an organised cloud; NaN invalid. None: no height is known.
    """
    message = _cloud(packed_points(points, rgb, sigma, above_floor), POINT_FIELDS, header)
    message.is_dense = False
    return message


def obstacles_message(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """(n, 3) float32 metres, all finite, as a cloud of one row, in the frame of the header."""
    message = _cloud(points.reshape(1, -1, 3), POINT_FIELDS[:3], header)
    message.is_dense = True
    return message


def _cloud(table: NDArray[np.float32], fields: Sequence[str], header: Header) -> PointCloud2:
    """(h, w, n) float32 as a cloud with these n fields."""
    height, width = table.shape[:2]
    message = PointCloud2(header=copied_header(header), height=height, width=width)
    message.fields = [
        PointField(name=name, offset=FLOAT32_BYTES * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(fields)
    ]
    message.point_step = FLOAT32_BYTES * len(fields)
    message.row_step = message.point_step * width
    message.is_bigendian = False
    message.data = message_data(table)
    return message


def cloud_array(message: PointCloud2, step: int = 1) -> NDArray[np.float64]:
    """(n, 3) x, y, z of every `step`-th point of a PointCloud2, in metres. Raises ValueError if it
    is invalid.
    """
    offsets = {
        field.name: field.offset for field in message.fields if field.datatype == PointField.FLOAT32
    }
    lacking = [name for name in 'xyz' if name not in offsets]
    if lacking:
        raise ValueError(f'the cloud has no float32 field {", ".join(lacking)}')
    count = message.width * message.height
    needed = message.row_step * message.height
    if len(message.data) < needed or message.row_step < message.width * message.point_step:
        raise ValueError(f'the cloud has {len(message.data)} bytes: {needed} are needed')
    if not count:
        return np.zeros((0, 3))
    # NumPy would read beyond the points.
    last = max(offsets[name] for name in 'xyz') + FLOAT32_BYTES
    if last > message.point_step:
        raise ValueError(f'x, y, z end at byte {last} of points of {message.point_step} bytes')
    kind = '>f4' if message.is_bigendian else '<f4'
    layout = np.dtype(
        {
            'names': list('xyz'),
            'formats': [kind] * 3,
            'offsets': [offsets[name] for name in 'xyz'],
            'itemsize': message.point_step,
        }
    )
    rows = np.frombuffer(message.data, np.uint8, needed).reshape(message.height, -1)
    rows = rows[:, : message.width * message.point_step]
    table = np.ascontiguousarray(rows).reshape(-1).view(layout)[:count:step]
    return np.stack([table[name].astype(np.float64) for name in 'xyz'], axis=1)


def corridor_angle(width_m: float, distance_m: float) -> float:
    """The angle under which a corridor of this width is seen at a distance, in radians."""
    return 2 * math.atan2(0.5 * width_m, distance_m)
