"""The node that watches a run: it listens to the camera and to every output of the depth node.

Messages come in, a `Recording` is filled. A heatmap is matched with the camera picture of exactly
its stamp; camera messages are kept, undecoded, only until their heatmap came.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, Vector3Stamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.images import ImageError, decode_compressed, decode_image, stamp_ns
from midas_depth_ros.lab.demo.recording import (
    CAMERA,
    Beams,
    Closeness,
    DriveRecording,
    Pair,
    Picture,
    Place,
    Recording,
)
from midas_depth_ros.nodes.ros.quality_of_service import best_effort, make_subscription

# --- A ROS message as readable YAML text, in the manner of `ros2 topic echo`.
#
# rosidl_runtime_py writes it where it is installed (every ROS 2 from apt); elsewhere the fields
# are walked here. Long arrays and strings are cut short, and the cut is shown.

try:
    from rosidl_runtime_py.convert import message_to_yaml
except ImportError:
    message_to_yaml = None

LONGEST = 48  # elements of an array, or characters of a string times four


def message_text(message: Any) -> str:
    """The message as YAML that ends in a newline; arrays keep their first `LONGEST` elements."""
    if message_to_yaml is not None:
        return str(message_to_yaml(message, truncate_length=LONGEST))
    return yaml.dump(
        plain(message), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )


def plain(value: Any) -> Any:
    """Messages as dictionaries in field order, arrays as lists cut to `LONGEST` elements."""
    if hasattr(value, 'get_fields_and_field_types'):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, str):
        return value if len(value) <= 4 * LONGEST else value[: 4 * LONGEST] + '...'
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes) and len(value) == 1:
        return value[0]  # the IDL type octet, as in DiagnosticStatus.level
    if hasattr(value, 'tolist'):  # NumPy or array.array: cut before it becomes objects
        elements = value[:LONGEST].tolist()
    else:
        elements = [plain(element) for element in value[:LONGEST]]
    cut = len(value) - len(elements)
    return _Elements([*elements, f'... ({cut} more)'] if cut else elements)


class _Elements(list):
    """A list that is written on one line where its elements are numbers."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent_elements(dumper: yaml.SafeDumper, elements: _Elements) -> Any:
    flow = not any(isinstance(element, dict) for element in elements)
    return dumper.represent_sequence('tag:yaml.org,2002:seq', elements, flow_style=flow)


_Dumper.add_representer(_Elements, _represent_elements)


DIAGNOSTICS = '/diagnostics'
WAITING_BYTES = 256 * 2**20  # camera messages that wait for their heatmap
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
        self._listen(camera_type, camera_topic, self._on_camera, best_effort(5))
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


# --- Listens to what only a driving robot has, and fills a `DriveRecording`.

# Parts of diagnostics that are told by the drive's own figures.
TALLY, STATE = 'synthetic_camera: drive', 'avoidance_node: avoidance'


class DriveListener:
    """Its callbacks take messages."""

    def __init__(self) -> None:
        self.recording = DriveRecording()

    def topics(self) -> list[tuple[Any, str, Callable[[Any], None] | None]]:
        """Type, name and callback; names without a leading slash are of the camera."""
        return [
            (Odometry, '/odom', self.on_odometry),
            (LaserScan, 'scan', self.on_scan),
            (LaserScan, '/ground_truth/scan', self.on_truth),
            (Range, 'proximity', None),
            (Twist, '/cmd_vel_in', None),
            (Twist, '/cmd_vel', None),
        ]

    def on_status(self, status: DiagnosticStatus) -> bool:
        """Take a part of diagnostics; whether it was of the drive."""
        values = {pair.key: pair.value for pair in status.values}
        if status.name == STATE:
            self.recording.add_state(time.time(), values['state'])
        elif status.name == TALLY:
            self.recording.tally = values
        return status.name in (STATE, TALLY)

    def on_odometry(self, message: Odometry) -> None:
        """Where the robot is."""
        pose = message.pose.pose
        yaw = 2 * math.atan2(pose.orientation.z, pose.orientation.w)
        place = Place(seconds(message), pose.position.x, pose.position.y, yaw)
        self.recording.places.offer(lambda: place)

    def on_scan(self, message: LaserScan) -> None:
        """What the node sees."""
        self.recording.add_scan(beams(message))

    def on_truth(self, message: LaserScan) -> None:
        """What is there."""
        self.recording.add_truth(beams(message))


def beams(message: LaserScan) -> Beams:
    """A scan as arrays."""
    ranges = np.array(message.ranges, np.float32)
    bearings = message.angle_min + message.angle_increment * np.arange(len(ranges))
    return Beams(seconds(message), bearings, ranges)


def seconds(message: Any) -> float:
    """A message's stamp."""
    return stamp_ns(message.header) / 1e9
