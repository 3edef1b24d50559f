"""The node that watches a run: it listens to the camera and to every output of the depth node.

Messages come in, a `Recording` is filled. A heatmap is matched with the camera picture of exactly
its stamp; camera messages are kept, undecoded, only until their heatmap came.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Vector3Stamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.demo.drive_listener import DriveListener
from midas_depth_ros.demo.plan import CAMERA
from midas_depth_ros.demo.recording import Closeness, Pair, Picture, Recording
from midas_depth_ros.images import ImageError, decode_compressed, decode_image
from midas_depth_ros.nodes.ros.messages import stamp_ns
from midas_depth_ros.nodes.ros.quality_of_service import make_subscription

DIAGNOSTICS = '/diagnostics'
WAITING_BYTES = 256 * 2**20  # camera messages that wait for their heatmap
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Recorder(Node):
    """Subscribes to everything and fills `recording`, until `recording_on` is set to False.

    Diagnostics are taken even then, so that the last counters are newer than the last frame.
    """

    def __init__(
        self, transport: str = 'raw', drive: DriveListener | None = None, **kwargs: Any
    ) -> None:
        super().__init__('midas_depth_demo_recorder', **kwargs)
        self.recording = Recording()
        self.drive = drive
        if drive is not None:
            self.recording.drive = drive.recording
        self.recording_on = True
        self._waiting: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._waiting_bytes = 0
        self._first_stamp_ns: int | None = None
        self._subscribe(transport)

    def _subscribe(self, transport: str) -> None:
        compressed = transport == 'compressed'
        camera_type = CompressedImage if compressed else Image
        camera_topic = 'image_raw/compressed' if compressed else 'image_raw'
        self._listen(camera_type, camera_topic, self._on_camera, BEST_EFFORT)
        outputs: list[tuple[Any, str, Callable[[Any], None] | None]] = [
            (Image, 'relative_inverse_depth/image', None),
            (Image, 'heatmap/image', self._on_heatmap),
            (CompressedImage, 'heatmap/image/compressed', None),
            (Vector3Stamped, 'closeness', self._on_closeness),
            (DiagnosticArray, DIAGNOSTICS, self._on_diagnostics),
        ]
        if self.drive is not None:
            outputs += self.drive.topics()
        for message_type, topic, callback in outputs:
            self.recording.last_messages[topic] = None
            self._listen(message_type, topic, callback, RELIABLE)

    def _listen(
        self,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None] | None,
        qos: QoSProfile,
    ) -> None:
        def on_message(message: Any) -> None:
            if not self.recording_on and topic != DIAGNOSTICS:
                return
            if topic == DIAGNOSTICS and not _is_of_depth_node(message):
                self._on_diagnostics(message)
                return
            self.recording.counts[topic] += 1
            if topic in self.recording.last_messages:
                self.recording.last_messages[topic] = message
            if callback:
                callback(message)

        name = topic if topic.startswith('/') else f'{CAMERA}/{topic}'
        make_subscription(self, message_type, name, on_message, qos)

    def _on_camera(self, message: Any) -> None:
        self._waiting[stamp_ns(message.header)] = message
        self._waiting_bytes += len(message.data)
        while self._waiting_bytes > WAITING_BYTES:
            self._forget_oldest()

    def _forget_oldest(self) -> Any:
        _, message = self._waiting.popitem(last=False)
        self._waiting_bytes -= len(message.data)
        return message

    def _camera_of(self, stamp: int) -> Any:
        """The camera message of this stamp; older ones can no longer be asked for."""
        if stamp not in self._waiting:
            return None
        while next(iter(self._waiting)) != stamp:
            self._forget_oldest()
        return self._forget_oldest()

    def _since_first(self, stamp: int) -> float:
        if self._first_stamp_ns is None:
            self._first_stamp_ns = stamp
        return (stamp - self._first_stamp_ns) / 1e9

    def _on_heatmap(self, message: Image) -> None:
        stamp = stamp_ns(message.header)
        self.recording.latencies_ms.append((time.time_ns() - stamp) / 1e6)
        time_s = self._since_first(stamp)
        camera = self._camera_of(stamp)
        if camera is None:
            return
        try:
            pair = Pair(time_s, _decoded(camera), _decoded(message), stamp / 1e9)
            self.recording.add_pair(pair)
        except ImageError as error:
            self.recording.add_notice(str(error))

    def _on_closeness(self, message: Vector3Stamped) -> None:
        time_s = self._since_first(stamp_ns(message.header))
        vector = message.vector
        self.recording.closeness.append(Closeness(time_s, vector.x, vector.y, vector.z))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            part = status.name.partition(': ')[2] or status.name
            self.recording.statuses[part] = {pair.key: pair.value for pair in status.values}
            self.recording.status_texts[part] = status.message
            if self.drive is not None and self.drive.on_status(status):
                continue
            if status.level != DiagnosticStatus.OK and self.recording.outputs:
                self.recording.add_notice(f'{part}: {status.message}')


def _is_of_depth_node(message: DiagnosticArray) -> bool:
    """Its own reports are counted and kept; others are read only."""
    return any(status.name.startswith('depth_node') for status in message.status)


def _decoded(message: Any) -> Picture:
    decode = decode_compressed if isinstance(message, CompressedImage) else decode_image
    # A decoded picture may be a view: copied, it does not keep the message alive.
    return np.array(decode(message))
