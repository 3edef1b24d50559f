"""The topics of one camera while a browser looks: its picture, its heatmap, what is near.

Raw pictures stay serialised until a browser wants one: a camera of 30 Hz costs the dashboard
little more than the frames that are shown.
"""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PointStamped, Vector3Stamped
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.images import ImageError, decode_image, encode_jpeg
from midas_depth_ros.images.containers import container_of
from midas_depth_ros.web.feed import Feed, Picture
from midas_depth_ros.web.ros_facts import finite, point_facts, range_facts, scan_facts

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
SHOWN_SIDE = 960  # px; larger raw pictures are reduced for the browser
QUALITY = 80
# A reading counts for so long, or for so many of its own periods where it comes slowly.
EXPIRY_S, EXPIRY_PERIODS = 2.0, 3.0
READINGS = ('closeness', 'proximity', 'scan', 'nearest_point')
MAX_PIXELS = 33_554_432


class CameraWatch:
    """The subscriptions of one camera; `topic` is where its pictures come from."""

    def __init__(self, node: Node, feed: Feed, name: str, prefix: str, topic: str) -> None:
        self.topic = topic
        self._node, self._feed, self._name = node, feed, name
        self._subscriptions: list[Any] = []
        self._heard: dict[str, tuple[float, float]] = {}  # reading -> when, and the time before it
        self._add(CompressedImage, f'{prefix}/heatmap/image/compressed', self._on_heatmap)
        if topic.endswith('/compressed'):
            self._add(CompressedImage, topic, self._on_compressed)
        elif topic:
            self._add(Image, topic, self._on_raw, raw=True)
        self._add(Vector3Stamped, f'{prefix}/closeness', self._on_closeness)
        self._add(Range, f'{prefix}/proximity', self._on_proximity)
        self._add(LaserScan, f'{prefix}/scan', self._on_scan)
        self._add(PointStamped, f'{prefix}/nearest_point', self._on_nearest_point)

    def close(self) -> None:
        """Unsubscribe and forget."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self.forget()
        for stream in ('picture', 'heatmap'):
            self._feed.drop(f'{self._name}/{stream}')

    def forget(self) -> None:
        """What was near is no longer known."""
        self._heard = {}
        for reading in READINGS:
            self._feed.tell(f'{reading}/{self._name}', None)

    def expire(self) -> None:
        """Forget readings that did not come again: silence means unknown, not unchanged."""
        now = time.monotonic()
        for reading, (heard_s, period_s) in list(self._heard.items()):
            if now - heard_s > max(EXPIRY_S, EXPIRY_PERIODS * period_s):
                del self._heard[reading]
                self._feed.tell(f'{reading}/{self._name}', None)

    def _add(self, kind: type, topic: str, callback: Any, raw: bool = False) -> None:
        made = self._node.create_subscription(kind, topic, callback, NEWEST, raw=raw)
        self._subscriptions.append(made)

    def _on_heatmap(self, message: CompressedImage) -> None:
        data = bytes(message.data)
        self._feed.put(f'{self._name}/heatmap', Picture(lambda: data))

    def _on_compressed(self, message: CompressedImage) -> None:
        data = bytes(message.data)
        self._feed.put(f'{self._name}/picture', Picture(lambda: picture_or_nothing(data)))

    def _on_raw(self, serialised: bytes) -> None:
        self._feed.put(f'{self._name}/picture', Picture(lambda: raw_to_jpeg(serialised)))

    def _on_closeness(self, message: Vector3Stamped) -> None:
        near = message.vector
        self._tell('closeness', [finite(value) for value in (near.x, near.y, near.z)])

    def _on_proximity(self, message: Range) -> None:
        self._tell('proximity', range_facts(message))

    def _on_scan(self, message: LaserScan) -> None:
        self._tell('scan', scan_facts(message))

    def _on_nearest_point(self, message: PointStamped) -> None:
        self._tell('nearest_point', point_facts(message))

    def _tell(self, reading: str, value: Any) -> None:
        now = time.monotonic()
        self._heard[reading] = (now, now - self._heard[reading][0] if reading in self._heard else 0)
        self._feed.tell(f'{reading}/{self._name}', value)


def raw_to_jpeg(serialised: bytes) -> bytes:
    """The JPEG of a serialised sensor_msgs/Image; empty where it cannot be shown."""
    try:
        rgb = decode_image(deserialize_message(serialised, Image), MAX_PIXELS)
    except ImageError:
        return b''  # the depth node says what is wrong with it, in its diagnostics
    factor = SHOWN_SIDE / max(rgb.shape[:2])
    if factor < 1:
        size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.ascontiguousarray(rgb), QUALITY).tobytes()


def picture_or_nothing(data: bytes) -> bytes:
    """A JPEG, PNG or WebP as it is; empty where the bytes are something else."""
    try:
        container_of(data)
    except ImageError:
        return b''
    return data
