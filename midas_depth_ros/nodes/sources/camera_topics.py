"""The topics of a camera driver as publishers: image, compressed image, camera_info.

Recorded messages are published as recorded, but for the header; other pictures are converted only
for topics with a subscriber.
"""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.geometry.camera_model import COEFFICIENT_COUNTS
from midas_depth_ros.images import message_data
from midas_depth_ros.images.message_bytes import SerialisedImage, write_image
from midas_depth_ros.images.sources import Frame, expanded_path
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import (
    IDENTITY,
    camera_info_message,
    copied_header,
    jpeg_message,
    projection_of,
    serialised_image,
)
from midas_depth_ros.options.files import UnreadableFile, parse_yaml, read_text
from midas_depth_ros.options.text import PrintableError, shown

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile

# Field of CameraInfo -> key in the file and how many numbers it has (None: by the lens model).
MATRICES: dict[str, tuple[str, int | None]] = {
    'k': ('camera_matrix', 9),
    'd': ('distortion_coefficients', None),
    'r': ('rectification_matrix', 9),
    'p': ('projection_matrix', 12),
}
# Resizing keeps the aspect except for rounding to whole pixels.
ASPECT_TOLERANCE_PX = 1.0
LARGEST_SIDE = 2**32 - 1  # of a CameraInfo
LARGEST_NUMBER = 1e300


class CalibrationError(PrintableError):
    """A calibration that is invalid, or does not fit the pictures."""


class Calibration:
    """Chooses the CameraInfo of a picture: of the file, else recorded, else assumed, else none."""

    def __init__(self, path: str, horizontal_fov_rad: float, is_recorded: bool) -> None:
        """path: '' for none. horizontal_fov_rad: NaN for none. Raises CalibrationError."""
        self._of_file = read_calibration(path) if path else None
        self._horizontal_fov_rad = horizontal_fov_rad
        self._is_recorded = is_recorded

    @property
    def has_any(self) -> bool:
        """Whether there will be CameraInfo at all."""
        assumed = not math.isnan(self._horizontal_fov_rad)
        return bool(self._of_file or self._is_recorded or assumed)

    def info_for(self, frame: Frame) -> CameraInfo | None:
        """A CameraInfo without header. Raises CalibrationError, and ImageError on a broken one."""
        if self._of_file is not None:
            return resized(self._of_file, *frame.size)
        if frame.camera_info is not None:
            info = info_of_recording(frame.camera_info)
            # A driver knows the camera_info of its images: untouched ones keep it.
            return info if frame.message is not None else resized(info, *frame.size)
        if not math.isnan(self._horizontal_fov_rad):
            return camera_info_message(
                CameraModel.from_field_of_view(*frame.size, self._horizontal_fov_rad)
            )
        return None


def read_calibration(path: str | Path) -> CameraInfo:
    """A CameraInfo, without header, from a YAML file as camera_calibration writes it.

    Missing rectification and projection become the identity and [K|0]. Raises CalibrationError.
    """
    path = expanded_path(str(path).removeprefix('file://'))
    try:
        content = parse_yaml(read_text(path))
    except UnreadableFile as error:
        raise CalibrationError(
            f'calibration {path}: {error}: give a YAML file of camera_calibration'
        ) from error
    try:
        return _info_of_file(content)
    except CalibrationError as error:
        raise CalibrationError(
            f'calibration {path}: {error}: write it again with camera_calibration'
        ) from error


def _info_of_file(content: Any) -> CameraInfo:
    if not isinstance(content, dict):
        raise CalibrationError('it has no keys')
    info = CameraInfo()
    for field in ('width', 'height'):
        value = content.get(f'image_{field}')
        if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
            raise CalibrationError(f'image_{field} is {_shown(value)}, not a number of pixels')
        setattr(info, field, value)
    model = content.get('distortion_model', 'plumb_bob')
    counts = COEFFICIENT_COUNTS.get(model) if isinstance(model, str) else None
    if counts is None:
        raise CalibrationError(
            f'distortion_model is {_shown(model)}, not one of {", ".join(COEFFICIENT_COUNTS)}'
        )
    info.distortion_model = model
    for field, (key, count) in MATRICES.items():
        if field in 'rp' and key not in content:
            values = IDENTITY if field == 'r' else projection_of(info.k)
        else:
            values = _numbers(content, key, counts if count is None else (count,))
        setattr(info, field, values)
    return info


def _numbers(content: dict[str, Any], key: str, counts: tuple[int, ...]) -> list[float]:
    matrix = content.get(key)
    data = matrix.get('data') if isinstance(matrix, dict) else None
    if not isinstance(data, list) or len(data) not in counts:
        wanted = ' or '.join(map(str, counts))
        raise CalibrationError(
            f'{key} has no list "data" of {wanted} numbers, but {_shown(data or matrix)}'
        )
    for value in data:
        if type(value) not in (int, float) or not abs(value) <= LARGEST_NUMBER:
            raise CalibrationError(f'{key} has {_shown(value)}, which is not a finite number')
    return [float(value) for value in data]


def _shown(value: Any) -> str:
    """A value for an error text; only the type of lists and mappings, which may be immense."""
    return f'a {type(value).__name__}' if isinstance(value, (list, dict)) else shown(value)


def info_of_recording(recorded: Any) -> CameraInfo:
    """A CameraInfo, without header, with all fields of a recorded one (duck-typed)."""
    info = CameraInfo(width=int(recorded.width), height=int(recorded.height))
    info.distortion_model = str(recorded.distortion_model)
    for field in MATRICES:
        setattr(info, field, [float(value) for value in getattr(recorded, field)])
    info.binning_x, info.binning_y = int(recorded.binning_x), int(recorded.binning_y)
    for field in ('x_offset', 'y_offset', 'width', 'height'):
        setattr(info.roi, field, int(getattr(recorded.roi, field)))
    info.roi.do_rectify = bool(recorded.roi.do_rectify)
    return info


def resized(info: CameraInfo, width: int, height: int) -> CameraInfo:
    """The CameraInfo of the same pictures resized to `width` x `height`, as a new message.

    Pixel centres are at whole numbers. Raises CalibrationError for another aspect ratio.
    """
    copy = info_of_recording(info)
    copy.header = info.header
    full_width = (info.roi.width or info.width) // (info.binning_x or 1)
    full_height = (info.roi.height or info.height) // (info.binning_y or 1)
    if (full_width, full_height) == (width, height):
        return copy
    if not (full_width and full_height):
        raise CalibrationError(f'camera_info is of {full_width}x{full_height} pixels')
    x_scale, y_scale = width / full_width, height / full_height
    if abs(width - full_width * y_scale) > ASPECT_TOLERANCE_PX * max(1.0, y_scale):
        raise CalibrationError(
            f'the calibration is for {full_width}x{full_height} pixels, the pictures have '
            f'{width}x{height}, another aspect: calibrate at the size of the pictures'
        )
    copy.width, copy.height = round(info.width * x_scale), round(info.height * y_scale)
    copy.k = _scaled_rows(info.k, 3, x_scale, y_scale)
    copy.p = _scaled_rows(info.p, 4, x_scale, y_scale)
    roi = copy.roi
    roi.x_offset, roi.width = round(roi.x_offset * x_scale), round(roi.width * x_scale)
    roi.y_offset, roi.height = round(roi.y_offset * y_scale), round(roi.height * y_scale)
    return copy


def _scaled_rows(matrix: Any, columns: int, x_scale: float, y_scale: float) -> list[float]:
    """K or P of the resized picture: rows scaled, principal point moved by its half pixel."""
    values = [float(value) for value in matrix]
    for row, scale in ((0, x_scale), (1, y_scale)):
        for column in range(columns):
            values[row * columns + column] *= scale
        if any(values):
            values[row * columns + 2] += 0.5 * scale - 0.5
    return values


# How long the last messages may take: acknowledged ones, and those to best effort subscribers.
ACKNOWLEDGE_S, LINGER_S = 2.0, 0.2
RAW, COMPRESSED, INFO = 'image_raw', 'image_raw/compressed', 'camera_info'


class CameraTopics(qos.PublisherTable):
    """The publishers of one camera. `transport` is raw, compressed or both. Raises ValueError."""

    def __init__(
        self,
        node: Node,
        camera: str,
        transport: str,
        with_camera_info: bool,
        profile: QoSProfile = qos.OUTPUT,
    ) -> None:
        kinds: dict[str, type] = {}
        if transport != 'compressed':
            kinds[RAW] = Image
        if transport != 'raw':
            kinds[COMPRESSED] = CompressedImage
        if with_camera_info:
            kinds[INFO] = CameraInfo
        super().__init__(node, camera, kinds, profile)

    @property
    def names(self) -> str:
        """The full names of the topics, as text."""
        return ', '.join(str(each.topic_name) for each in self._publishers.values())

    @property
    def subscribers(self) -> int:
        """How many subscribe to an image topic."""
        return sum(map(self._subscribers_of, (RAW, COMPRESSED)))

    def _subscribers_of(self, name: str) -> int:
        publisher = self._publishers.get(name)
        return 0 if publisher is None else int(publisher.get_subscription_count())

    def publish_info(self, info: CameraInfo, header: Header) -> None:
        """Publish a CameraInfo under `header`; call it before its image is published."""
        if INFO in self._publishers:
            info.header = copied_header(header)
            self.send(INFO, info)

    def publish_frame(self, frame: Frame, header: Header, jpeg_quality: int) -> None:
        """Publish a frame under `header` where it has subscribers. Raises ImageError."""
        if self._subscribers_of(RAW):
            self.send(RAW, raw_message(frame, header))
        if self._subscribers_of(COMPRESSED):
            self.send(COMPRESSED, compressed_message(frame, header, jpeg_quality))

    def flush(self) -> None:
        """Wait, within bounds, until the last messages have been sent."""
        time.sleep(LINGER_S)  # for best effort subscribers, which do not acknowledge
        for publisher in self._publishers.values():
            with contextlib.suppress(RuntimeError):  # a middleware without acknowledgements
                publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))


def raw_message(frame: Frame, header: Header) -> bytes:
    """The Image of a frame, serialised: as recorded, or rgb8."""
    if not frame.is_raw_message:
        return serialised_image(frame.rgb(), header)
    recorded: Any = frame.message
    fields = {name: getattr(recorded, name) for name in SerialisedImage._fields}
    return write_image(SerialisedImage(**fields | {'header': header}))


def compressed_message(frame: Frame, header: Header, jpeg_quality: int) -> CompressedImage:
    """The CompressedImage of a frame: as recorded, or JPEG."""
    if not frame.is_compressed_message:
        return jpeg_message(frame.rgb(), header, jpeg_quality, 'rgb8')
    message = CompressedImage(header=copied_header(header))
    message.format = str(frame.message.format)
    message.data = message_data(frame.message.data)
    return message
