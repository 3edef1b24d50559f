"""The recording of a run: the node that listens, and what it keeps, which is bounded in size."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, Vector3Stamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.images import ImageError, decode_compressed, decode_image, stamp_ns
from midas_depth_ros.nodes.ros.quality_of_service import best_effort, make_subscription

CAMERA = 'camera'  # the depth node's default camera namespace

Item = TypeVar('Item')


class Thinned(Generic[Item]):
    """Keeps at most `limit` evenly spaced items of a stream: when full, every other one goes."""

    def __init__(self, limit: int) -> None:
        self.items: list[Item] = []
        self._limit = limit
        self._stride = 1
        self._seen = 0

    def offer(self, make: Callable[[], Item]) -> None:
        """Count one more item; `make` is called only if it is kept."""
        if self._seen % self._stride == 0 and len(self.items) == self._limit:
            self.items = self.items[::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self.items.append(make())
        self._seen += 1


MOMENTS = 12  # full-size pairs kept
ANIMATION_FRAMES = 120  # small pairs kept
ANIMATION_WIDTH = 320  # pixels, of one picture of a small pair

NUMBERS = re.compile(r'(?<![\w./])\d+(?:\.\d+)*')  # but not digits within a name

Picture = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A camera picture and its heatmap, (H, W, 3) uint8 RGB each."""

    time_s: float  # its stamp, since that of the first output
    camera: Picture
    heatmap: Picture
    stamp_s: float = math.nan

    def small(self) -> Pair:
        """Return the pair at most ANIMATION_WIDTH wide."""
        return dataclasses.replace(self, camera=_shrunk(self.camera), heatmap=_shrunk(self.heatmap))


@dataclasses.dataclass(frozen=True)
class ClosenessSample:
    """Closeness in three sectors, seconds after the first output's stamp; NaN = unknown."""

    time_s: float
    left: float
    centre: float
    right: float

    @property
    def values(self) -> tuple[float, float, float]:
        """Left, centre, right."""
        return self.left, self.centre, self.right


class Recording:
    """The pairs, numbers and last messages of one run."""

    def __init__(self) -> None:
        self.moments: Thinned[Pair] = Thinned(MOMENTS)
        self.animation: Thinned[Pair] = Thinned(ANIMATION_FRAMES)
        self.closeness: list[ClosenessSample] = []
        self.latencies_ms: list[float] = []  # stamp to heatmap received
        self.drive: DriveRecording | None = None  # of a driving robot
        self.counts: collections.Counter[str] = collections.Counter()  # messages per topic
        self.last_messages: dict[str, Any] = {}  # of every output topic
        self.statuses: dict[str, dict[str, str]] = {}  # last diagnostics: values by key, per part
        self.status_texts: dict[str, str] = {}  # last diagnostics: message per part
        self._notices: dict[str, tuple[str, int]] = {}  # by text without numbers: text, count

    @property
    def notices(self) -> list[str]:
        """The warnings of diagnostics after the first output, each once with its count.

        Texts that differ only in numbers ("no images for 3 s", "for 4 s") are one: the last.
        """
        return [
            text if times == 1 else f'{text} (reported {times} times)'
            for text, times in self._notices.values()
        ]

    @property
    def outputs(self) -> int:
        """The number of heatmaps received."""
        return self.counts['heatmap/image']

    @property
    def pictures(self) -> int:
        """The number of camera images received."""
        return self.counts['image_raw'] + self.counts['image_raw/compressed']

    def add_pair(self, pair: Pair) -> None:
        """Add a heatmap with its camera picture."""
        self.counts['pairs'] += 1
        self.moments.offer(lambda: pair)
        self.animation.offer(pair.small)

    def add_notice(self, text: str) -> None:
        """Add a warning."""
        if text:
            kind = NUMBERS.sub('0', text)
            self._notices[kind] = (text, self._notices.get(kind, ('', 0))[1] + 1)


def _shrunk(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= ANIMATION_WIDTH:
        return picture
    size = (ANIMATION_WIDTH, max(1, round(height * ANIMATION_WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


# --- The recording of a drive: path, scans, states of the avoidance, errors of the scans.

PLACES, SCANS = 4000, 2000  # kept at most
SCANS_WAITING = 50  # scans that wait for the other of the same stamp
COMPARED_M = (0.2, 4.0)  # true distances at which scans are compared with the simulation
MOST_ERRORS = 200_000


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the robot was; seconds, metres, radians."""

    stamp_s: float
    x: float
    y: float
    yaw: float


@dataclasses.dataclass(frozen=True)
class Beams:
    """A scan: bearings (N,) in radians, left positive, and ranges (N,) in metres, NaN or inf.

    free: how far each beam was seen free, (N,) metres, NaN = not; None where that is not known.
    """

    stamp_s: float
    bearings: np.ndarray
    ranges: np.ndarray
    free: np.ndarray | None = None


class DriveRecording:
    """The drive of one run."""

    def __init__(self) -> None:
        self.places: Thinned[Place] = Thinned(PLACES)
        self.scans: Thinned[Beams] = Thinned(SCANS)
        self.scan_count = 0
        self.robot_status: dict[str, str] = {}  # the robot's own counts, from diagnostics
        self.began_s = self.ended_s = 0.0  # wall clock
        self.states: list[tuple[float, str]] = []  # wall clock at its start, state
        self.errors: list[float] = []  # (measured - true) / true of each beam
        self.seen = self.to_be_seen = 0  # beams with an obstacle within COMPARED_M
        self._scans_by_stamp: collections.OrderedDict[float, Beams] = collections.OrderedDict()
        self._truths: collections.OrderedDict[float, Beams] = collections.OrderedDict()
        self._seen_free: collections.OrderedDict[float, Beams] = collections.OrderedDict()

    def add_scan(self, scan: Beams) -> None:
        """Add a scan of the node."""
        self.scan_count += 1
        seen = self._seen_free.pop(scan.stamp_s, None)
        if seen is not None and len(seen.ranges) == len(scan.ranges):
            scan = dataclasses.replace(scan, free=seen.ranges)
        self.scans.offer(lambda: scan)
        truth = self._truths.pop(scan.stamp_s, None)
        if truth is not None:
            self._compare(scan, truth)
        else:
            _remember(self._scans_by_stamp, scan)

    def add_seen_free(self, seen: Beams) -> None:
        """Add how far the beams of a scan were seen free: it comes before the scan."""
        _remember(self._seen_free, seen)

    def add_truth(self, truth: Beams) -> None:
        """Add a scan of the simulation: ground truth."""
        scan = self._scans_by_stamp.pop(truth.stamp_s, None)
        if scan is not None:
            self._compare(scan, truth)
        else:
            _remember(self._truths, truth)

    def add_state(self, time_s: float, state: str) -> None:
        """Add the state of the avoidance at a time."""
        if not self.states or self.states[-1][1] != state:
            self.states.append((time_s, state))

    def state_at(self, time_s: float) -> str:
        """Return the state at a time; '' before the first."""
        known = [state for since, state in self.states if since <= time_s]
        return known[-1] if known else ''

    def _compare(self, scan: Beams, truth: Beams) -> None:
        nearest = np.abs(
            np.angle(np.exp(1j * (scan.bearings[:, None] - truth.bearings[None])))
        ).argmin(axis=1)
        true = truth.ranges[nearest]
        there = (true > COMPARED_M[0]) & (true < COMPARED_M[1])
        there &= ~np.isnan(scan.ranges)  # unknown is not an error
        measured = np.isfinite(scan.ranges)
        self.to_be_seen += int(there.sum())
        self.seen += int((there & measured).sum())
        if len(self.errors) < MOST_ERRORS:
            both = there & measured
            self.errors += ((scan.ranges[both] - true[both]) / true[both]).tolist()

    def place_at(self, stamp_s: float) -> Place | None:
        """Return the place nearest in time."""
        return min(self.places.items, key=lambda p: abs(p.stamp_s - stamp_s), default=None)

    def path_until(self, stamp_s: float) -> np.ndarray:
        """Return the path up to a stamp, (N, 2) metres."""
        way = [(p.x, p.y) for p in self.places.items if p.stamp_s <= stamp_s]
        return np.array(way, np.float64).reshape(-1, 2)

    def scan_at(self, stamp_s: float, within_s: float) -> Beams | None:
        """Return the scan nearest in time, if it is within `within_s`."""
        nearest = min(self.scans.items, key=lambda s: abs(s.stamp_s - stamp_s), default=None)
        if nearest is None or abs(nearest.stamp_s - stamp_s) > within_s:
            return None
        return nearest

    def distance_until(self, stamp_s: float) -> float:
        """Return the metres driven up to a stamp."""
        way = self.path_until(stamp_s)
        return float(np.hypot(*np.diff(way, axis=0).T).sum()) if len(way) > 1 else 0.0


def _remember(waiting: collections.OrderedDict[float, Beams], beams: Beams) -> None:
    waiting[beams.stamp_s] = beams
    while len(waiting) > SCANS_WAITING:
        waiting.popitem(last=False)


# --- A ROS message as YAML text, like `ros2 topic echo`.
#
# By rosidl_runtime_py where it is installed (every ROS 2 from apt), else by the code here. Long
# arrays and strings are truncated visibly.

try:
    from rosidl_runtime_py.convert import message_to_yaml
except ImportError:
    message_to_yaml = None

LONGEST = 48  # elements of an array, or characters of a string times four


def message_text(message: Any) -> str:
    """Return the message as YAML with a final newline; arrays are cut to `LONGEST` elements."""
    if message_to_yaml is not None:
        return str(message_to_yaml(message, truncate_length=LONGEST))
    return yaml.dump(
        plain(message), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )


def plain(value: Any) -> Any:
    """Return messages as dictionaries in field order, arrays as lists cut to `LONGEST` elements."""
    if hasattr(value, 'get_fields_and_field_types'):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, str):
        return value if len(value) <= 4 * LONGEST else value[: 4 * LONGEST] + '...'
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes) and len(value) == 1:
        return value[0]  # the IDL type octet, as in DiagnosticStatus.level
    if hasattr(value, 'tolist'):  # NumPy or array.array: truncated before it becomes objects
        elements = value[:LONGEST].tolist()
    else:
        elements = [plain(element) for element in value[:LONGEST]]
    cut = len(value) - len(elements)
    return _Elements([*elements, f'... ({cut} more)'] if cut else elements)


class _Elements(list):
    """A list that is written on one line if its elements are numbers."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent_elements(dumper: yaml.SafeDumper, elements: _Elements) -> Any:
    flow = not any(isinstance(element, dict) for element in elements)
    return dumper.represent_sequence('tag:yaml.org,2002:seq', elements, flow_style=flow)


_Dumper.add_representer(_Elements, _represent_elements)


# --- The node that listens to the camera and to all outputs of the depth node.

DIAGNOSTICS = '/diagnostics'
WAITING_BYTES = 256 * 2**20  # of camera messages that wait for their heatmap
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Recorder(Node):
    """Fills `recording` until `recording_on` is set to False.

    A heatmap is matched with the camera image of the same stamp; camera messages are kept, not
    decoded, until their heatmap comes. Diagnostics are recorded even after the end, so that the
    last counters are newer than the last frame.
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
        """Return the camera message of this stamp, and forget older ones."""
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
        self.recording.closeness.append(ClosenessSample(time_s, vector.x, vector.y, vector.z))

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
    """Return whether a message is from depth_node: only those are counted and kept."""
    return any(status.name.startswith('depth_node') for status in message.status)


def _decoded(message: Any) -> Picture:
    decode = decode_compressed if isinstance(message, CompressedImage) else decode_image
    # Copied, since a decoded picture may be a view that keeps the message alive.
    return np.array(decode(message))


# Diagnostics of the driving robot, which are kept as numbers rather than as warnings.
ROBOT_STATUS, AVOIDANCE_STATUS = 'synthetic_camera: drive', 'avoidance_node: avoidance'


class DriveListener:
    """Fills a `DriveRecording` from the topics that only a driving robot has."""

    def __init__(self) -> None:
        self.recording = DriveRecording()

    def topics(self) -> list[tuple[Any, str, Callable[[Any], None] | None]]:
        """Return type, name and callback; names without a leading slash are the camera's."""
        return [
            (Odometry, '/odom', self.on_odometry),
            (LaserScan, 'seen_free', self.on_seen_free),
            (LaserScan, 'scan', self.on_scan),
            (LaserScan, '/ground_truth/scan', self.on_truth),
            (Range, 'proximity', None),
            (Twist, '/cmd_vel_in', None),
            (Twist, '/cmd_vel', None),
        ]

    def on_status(self, status: DiagnosticStatus) -> bool:
        """Record the status if it is about the drive; returns whether it is."""
        values = {pair.key: pair.value for pair in status.values}
        if status.name == AVOIDANCE_STATUS:
            self.recording.add_state(time.time(), values['state'])
        elif status.name == ROBOT_STATUS:
            self.recording.robot_status = values
        return status.name in (AVOIDANCE_STATUS, ROBOT_STATUS)

    def on_odometry(self, message: Odometry) -> None:
        """Record where the robot is."""
        pose = message.pose.pose
        yaw = 2 * math.atan2(pose.orientation.z, pose.orientation.w)
        place = Place(seconds(message), pose.position.x, pose.position.y, yaw)
        self.recording.places.offer(lambda: place)

    def on_scan(self, message: LaserScan) -> None:
        """Record a scan of the node."""
        self.recording.add_scan(beams(message))

    def on_seen_free(self, message: LaserScan) -> None:
        """Record how far the node saw the floor free."""
        self.recording.add_seen_free(beams(message))

    def on_truth(self, message: LaserScan) -> None:
        """Record a scan of the simulation."""
        self.recording.add_truth(beams(message))


def beams(message: LaserScan) -> Beams:
    """Return a scan as arrays."""
    ranges = np.array(message.ranges, np.float32)
    bearings = message.angle_min + message.angle_increment * np.arange(len(ranges))
    return Beams(seconds(message), bearings, ranges)


def seconds(message: Any) -> float:
    """Return a message's stamp in seconds."""
    return stamp_ns(message.header) / 1e9
