"""The topics of one camera while a browser looks: its picture, its heatmap, what is near.

Raw pictures stay serialised until a browser wants one: a camera of 30 Hz costs the dashboard
little more than the frames that are shown.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import types
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PointStamped, Vector3Stamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.geometry import turned
from midas_depth_ros.images import (
    BitDepth,
    decode_compressed,
    decode_image,
    encode_jpeg,
    is_plain_cdr,
    read_compressed,
    read_image,
)
from midas_depth_ros.images.compressed import Format
from midas_depth_ros.images.containers import TIFF, container_of
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.web.faults import Faults
from midas_depth_ros.web.feed import Feed, Picture
from midas_depth_ros.web.limits import Limits
from midas_depth_ros.web.pictures import check_cost, decode_smaller
from midas_depth_ros.web.ros_boundary import listen
from midas_depth_ros.web.ros_facts import (
    Rhythm,
    closeness_facts,
    point_facts,
    range_facts,
    scan_facts,
)

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
SHOWN_SIDE = 960  # px; larger pictures are reduced for the browser
QUALITY = 80
# Compressed pictures up to here go to the browser as they came.
SHOWN_BYTES, SHOWN_PIXELS = 2**20, 4_194_304
# What is heard counts for so long, or longer where it comes slowly.
EXPIRY_S, MOST_EXPIRY_S = 2.0, 10.0
READINGS: tuple[tuple[str, type, Callable[[Any], Any]], ...] = (
    ('closeness', Vector3Stamped, closeness_facts),
    ('proximity', Range, range_facts),
    ('scan', LaserScan, scan_facts),
    ('nearest_point', PointStamped, point_facts),
)
SHOWN = Limits(kept_side=SHOWN_SIDE)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a camera's pictures come from, '' = nowhere, and how they are turned for the eye."""

    topic: str = ''
    is_compressed: bool = False
    rotate: int = 0


class CameraWatch:
    """The subscriptions of one camera, whose pictures come from `source`.

    Raises ValueError, after undoing what it had begun, where one of them cannot be had.
    """

    def __init__(
        self, node: Node, feed: Feed, faults: Faults, name: str, prefix: str, source: Source
    ) -> None:
        self.source = source
        self._node, self._feed, self._faults, self._name = node, feed, faults, name
        self._subscriptions: list[Any] = []
        self._rhythms: dict[str, Rhythm] = {}
        try:
            self._subscribe(prefix)
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe and forget."""
        for subscription in self._subscriptions:
            qos.unsubscribe(self._node, subscription)
        self._subscriptions = []
        for reading, _, _ in READINGS:
            self._feed.forget(f'{reading}/{self._name}')
        for stream in ('picture', 'heatmap'):
            self._feed.drop(f'{self._name}/{stream}')

    def _subscribe(self, prefix: str) -> None:
        heatmap = Source(f'{prefix}/heatmap/image/compressed', is_compressed=True)
        self._add_stream('heatmap', heatmap)  # it is upright already
        if self.source.topic:
            self._add_stream('picture', self.source)
        for reading, kind, facts_of in READINGS:
            self._feed.tell(f'{reading}/{self._name}', None)
            self._add_reading(reading, kind, f'{prefix}/{reading}', facts_of)

    def _add(self, kind: type, topic: str, callback: Callable[[Any], None], **how: Any) -> None:
        made = listen(self._node, kind, topic, callback, NEWEST, self._faults, **how)
        self._subscriptions.append(made)

    def _add_stream(self, stream: str, source: Source) -> None:
        kind = CompressedImage if source.is_compressed else Image
        to_jpeg: Callable[[Any], bytes] = functools.partial(
            compressed_to_jpeg, rotate=source.rotate
        )
        if kind is Image:  # guessed from all that came, brightness does not flicker
            to_jpeg = functools.partial(raw_to_jpeg, bit_depth=BitDepth(), rotate=source.rotate)

        def on_picture(message: Any) -> None:
            lifetime_s = self._lifetime_s(stream)
            picture = Picture(lambda: to_jpeg(message), lifetime_s, self._faults, self._feed.clock)
            self._feed.put(f'{self._name}/{stream}', picture)

        self._add(kind, source.topic, on_picture, serialised=True)

    def _add_reading(
        self, reading: str, kind: type, topic: str, facts_of: Callable[[Any], Any]
    ) -> None:
        def on_message(message: Any) -> None:
            facts = facts_of(message)
            self._feed.tell(f'{reading}/{self._name}', facts, self._lifetime_s(reading))

        self._add(kind, topic, on_message)

    def _lifetime_s(self, what: str) -> float:
        """How long what is heard now may be believed, by the rhythm in which it comes."""
        rhythm = self._rhythms.setdefault(what, Rhythm(EXPIRY_S, MOST_EXPIRY_S))
        return rhythm.lifetime_s(time.monotonic())


def raw_to_jpeg(came: Any, bit_depth: BitDepth | None = None, rotate: int = 0) -> bytes:
    """The JPEG of a sensor_msgs/Image, serialised or not, turned clockwise by `rotate` degrees.

    Raises ImageError and rmw's own.
    """
    message = came
    if isinstance(came, bytes):
        message = read_image(came) if is_plain_cdr(came) else deserialize_message(came, Image)
    return shown_jpeg(turned(decode_image(message, SHOWN.pixels, bit_depth=bit_depth), rotate))


def compressed_to_jpeg(came: Any, rotate: int = 0) -> bytes:
    """The picture of a CompressedImage as it came, or another JPEG of one that is large or turned.

    Raises ImageError, Refused and rmw's own.
    """
    message = came
    if isinstance(came, bytes):
        plain = is_plain_cdr(came)
        message = read_compressed(came) if plain else deserialize_message(came, CompressedImage)
    data = bytes(message.data)
    container = container_of(data)
    width, height = container.size(data)
    check_cost(container, data, width, height, SHOWN)
    is_mosaic = isinstance(message.format, str) and Format.of(message.format).mosaic is not None
    if is_mosaic or container is TIFF:  # which no browser shows in its colours
        return shown_jpeg(turned(decode_compressed(message, SHOWN.pixels), rotate))
    if not rotate and len(data) <= SHOWN_BYTES and 0 < width * height <= SHOWN_PIXELS:
        return data
    smaller = decode_smaller(types.SimpleNamespace(format='', data=data), SHOWN)
    return shown_jpeg(turned(smaller, rotate))


def shown_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG for a browser."""
    factor = SHOWN_SIDE / max(rgb.shape[:2])
    if factor < 1:
        size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.ascontiguousarray(rgb), QUALITY).tobytes()
