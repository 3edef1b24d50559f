"""The topics that a camera driver has, as publishers: image, compressed image, CameraInfo.

Recorded messages go out as they were recorded, but for the header; other pictures are converted
only for topics that somebody subscribes to.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from midas_depth_ros.images import message_data
from midas_depth_ros.images.sources import Frame
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.messages import copied_header, image_message, jpeg_message

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.qos import QoSProfile

# How long the last messages may take to go out: acknowledged ones, and those that nobody confirms.
ACKNOWLEDGE_S = 2.0
LINGER_S = 0.2


class CameraTopics:
    """The publishers of one camera. `transport` is raw, compressed or both.

    Raises ValueError when a `qos_overrides` parameter is wrong.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        transport: str,
        with_camera_info: bool,
        profile: QoSProfile = qos.OUTPUT,
    ) -> None:
        def publisher(kind: type, name: str, wanted: bool) -> Publisher | None:
            return qos.make_publisher(node, kind, f'{camera}/{name}', profile) if wanted else None

        self._raw = publisher(Image, 'image_raw', transport != 'compressed')
        self._compressed = publisher(CompressedImage, 'image_raw/compressed', transport != 'raw')
        self._info = publisher(CameraInfo, 'camera_info', with_camera_info)

    @property
    def names(self) -> str:
        """The full names of the topics, for people."""
        publishers = (self._raw, self._compressed, self._info)
        return ', '.join(str(each.topic_name) for each in publishers if each is not None)

    @property
    def subscribers(self) -> int:
        """How many subscribe to an image topic."""
        return sum(map(subscriptions, (self._raw, self._compressed)))

    @property
    def wanted(self) -> bool:
        """Whether somebody subscribes to any of the topics."""
        return bool(self.subscribers or subscriptions(self._info))

    def publish_info(self, info: CameraInfo, header: Header) -> None:
        """Publish a CameraInfo under `header`: before its picture, so that the first counts."""
        if self._info is not None:
            info.header = copied_header(header)
            self._info.publish(info)

    def publish_frame(self, frame: Frame, header: Header, jpeg_quality: int) -> None:
        """Publish a frame under `header` where it is wanted. Raises ImageError."""
        if self._raw is not None and subscriptions(self._raw):
            self._raw.publish(raw_message(frame, header))
        if self._compressed is not None and subscriptions(self._compressed):
            self._compressed.publish(compressed_message(frame, header, jpeg_quality))

    def flush(self) -> None:
        """Wait, within bounds, until the last messages have gone out."""
        time.sleep(LINGER_S)  # for best effort subscribers, who confirm nothing
        for publisher in (self._raw, self._compressed, self._info):
            if publisher is not None:
                with contextlib.suppress(RuntimeError):  # a middleware that cannot tell
                    publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))


def subscriptions(publisher: Publisher | None) -> int:
    """How many subscribe to a publisher, if there is one."""
    return 0 if publisher is None else int(publisher.get_subscription_count())


def raw_message(frame: Frame, header: Header) -> Image:
    """The Image of a frame: as recorded, or rgb8."""
    if not frame.is_raw_message:
        return image_message(frame.rgb(), header)
    recorded: Any = frame.message
    message = Image(header=copied_header(header))
    message.height, message.width = int(recorded.height), int(recorded.width)
    message.encoding = str(recorded.encoding)
    message.is_bigendian = int(recorded.is_bigendian)
    message.step = int(recorded.step)
    message.data = message_data(recorded.data)
    return message


def compressed_message(frame: Frame, header: Header, jpeg_quality: int) -> CompressedImage:
    """The CompressedImage of a frame: as recorded, or JPEG."""
    if not frame.is_compressed_message:
        return jpeg_message(frame.rgb(), header, jpeg_quality)
    message = CompressedImage(header=copied_header(header))
    message.format = str(frame.message.format)
    message.data = message_data(frame.message.data)
    return message
