"""The depth node's work on recorded messages, one after the other, without DDS.

The node's own classes (`Camera`, `Worker`) do the work with an `OfflineNode` in place of an rclpy
node; every frame is processed.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import TransformTree
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.nodes.depth import output
from midas_depth_ros.nodes.depth.camera_input import CameraInput, Frame, FrameExchange
from midas_depth_ros.nodes.depth.frame_scale import check_source
from midas_depth_ros.nodes.depth.odometry_input import OdometryInput
from midas_depth_ros.nodes.depth.worker import Camera, Worker
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.messages import time_message
from midas_depth_ros.nodes.ros.transforms import TfMount
from midas_depth_ros.options.depth import DepthNodeSettings

# --- What replaces an rclpy node, as far as the node's classes use it: published messages go to a
# function, subscriptions are served by `deliver`, and the clock is that of the recording.

LARGEST_DEPTH = 2**31 - 1


def depth_of(value: Any) -> int:
    """The depth of a history. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= LARGEST_DEPTH:
        raise ValueError(f'{value!r} is not a valid history depth')
    return value


# The policies of QoSOverridingOptions.with_default_policies(), and how to convert a parameter.
POLICIES: dict[str, Callable[[Any], Any]] = {
    'history': HistoryPolicy.get_from_short_key,
    'depth': depth_of,
    'reliability': ReliabilityPolicy.get_from_short_key,
}


@dataclasses.dataclass(frozen=True)
class OfflinePublisher:
    """Hands messages to a function. profile: the quality of service that the node would offer."""

    topic_name: str
    kind: type
    profile: QoSProfile
    publish_to: Callable[[str, Any], None]
    wanted: bool

    def get_subscription_count(self) -> int:
        """1 if the output is wanted."""
        return int(self.wanted)

    def publish(self, message: Any) -> None:
        """Hand over a message, also one that is given serialised."""
        if isinstance(message, bytes):
            message = deserialize_message(message, self.kind)
        self.publish_to(self.topic_name, message)


class OfflineSubscription:
    """Takes serialised messages and passes them to its callback, as rclpy would."""

    def __init__(
        self, topic: str, kind: type, callback: Callable[..., Any], profile: Any, raw: bool
    ) -> None:
        self.topic_name = topic
        self.msg_type = kind
        self.qos_profile = profile
        self._callback = callback
        self._raw = raw
        # As rclpy does: a callback with two arguments gets the message info, too.
        self._with_info = len(inspect.signature(callback).parameters) == 2

    def deliver(self, data: bytes) -> None:
        """Call back. Faults in the bytes are kept by `boundary`."""
        message = data if self._raw else deserialize_message(data, self.msg_type)
        self._callback(message, *([{}] if self._with_info else []))


class OfflineClock:
    """The time of the recording."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    def now(self) -> OfflineClock:
        """Itself, which has `nanoseconds` and `to_msg()` as rclpy's Time has."""
        return self

    def to_msg(self) -> Time:
        """As a message."""
        return time_message(self.nanoseconds)


class OfflineNode:
    """Replaces the rclpy node that the node's own classes expect, with methods of the same names.

    wanted: outputs such as 'heatmap/image'; empty = all. overrides: of `qos_overrides`.
    """

    def __init__(
        self,
        settings: DepthNodeSettings,
        publish_to: Callable[[str, Any], None],
        warn: Callable[[str], None],
        wanted: Collection[str] = (),
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.publishers: dict[str, OfflinePublisher] = {}
        self.subscriptions: dict[str, list[OfflineSubscription]] = {}
        self.clock = OfflineClock()
        self._publish_to = publish_to
        self._wanted = wanted
        self._overrides = overrides
        self._logger = SimpleNamespace(
            debug=_ignore, info=_ignore, warning=warn, error=warn, fatal=warn
        )

    def create_publisher(
        self, kind: type, topic: str, profile: QoSProfile, **options: Any
    ) -> OfflinePublisher:
        """As rclpy's. Raises RuntimeError for an invalid value of `qos_overrides`."""
        wanted = not self._wanted or any(topic.endswith('/' + name) for name in self._wanted)
        name = absolute(topic)
        offered = overridden(profile, name, self._overrides)
        publisher = OfflinePublisher(name, kind, offered, self._publish_to, wanted)
        if wanted:
            self.publishers[publisher.topic_name] = publisher
        return publisher

    def destroy_publisher(self, publisher: OfflinePublisher) -> None:
        self.publishers.pop(publisher.topic_name, None)

    def create_subscription(
        self,
        kind: type,
        topic: str,
        callback: Callable[..., Any],
        profile: Any,
        *,
        raw: bool = False,
        **options: Any,
    ) -> OfflineSubscription:
        subscription = OfflineSubscription(absolute(topic), kind, callback, profile, raw)
        self.subscriptions.setdefault(subscription.topic_name, []).append(subscription)
        return subscription

    def destroy_subscription(self, subscription: OfflineSubscription) -> None:
        self.subscriptions[subscription.topic_name].remove(subscription)

    def resolve_topic_name(self, topic: str) -> str:
        """The full name; nothing is remapped."""
        return absolute(topic)

    def count_publishers(self, topic: str) -> int:
        """As rclpy's: a bag is one source."""
        return 1

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        """As rclpy's: the publishers of a recording are unknown."""
        return []

    def create_timer(self, period_s: float, callback: Any, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(cancel=_ignore, reset=_ignore)  # never fires

    def destroy_timer(self, timer: SimpleNamespace) -> None:
        pass

    def get_logger(self) -> SimpleNamespace:
        return self._logger

    def get_clock(self) -> OfflineClock:
        return self.clock


def _ignore(*arguments: object) -> None:
    """A method that does nothing."""


def absolute(topic: str) -> str:
    """The full name of a topic for a node without a namespace."""
    return '/' + topic.lstrip('/')


def overridden(profile: QoSProfile, topic: str, overrides: Mapping[str, Any]) -> QoSProfile:
    """The quality of service of a publisher, with the policies that users override.

    overrides: `qos_overrides.<topic>.publisher.<policy>` -> value. Raises RuntimeError as rclpy.
    """
    profile = copy.copy(profile)
    prefix = f'qos_overrides.{topic}.publisher.'
    given = {
        policy: overrides[prefix + policy] for policy in POLICIES if prefix + policy in overrides
    }
    try:
        for policy, value in given.items():
            setattr(profile, policy, POLICIES[policy](value))
    except (AttributeError, LookupError, TypeError, ValueError, AssertionError) as error:
        raise RuntimeError(f'{given} is refused: {error!r}') from error
    return profile


OUTPUTS = (*output.RELATIVE_OUTPUTS, *output.METRIC_OUTPUTS)


class RecordedInput(CameraInput):
    """A camera input that only counts faults: BagPipeline reports each of them."""

    def report_fault(self, count: str, text: str) -> None:
        """Count a frame as `rejected` or `failed`."""
        self._camera.statistics.fault(count, text)


class RecordedCamera(Camera):
    """A camera of a recording: all its frames are wanted."""

    def __init__(
        self,
        node: Node,
        camera: BagCamera,
        estimator: DepthEstimator,
        tf: TfMount | None,
        odometry: OdometryInput,
    ) -> None:
        super().__init__(node, camera.name, estimator, tf, camera.transport, odometry)
        self.input = RecordedInput(node, self, camera.transport)

    def wanted(self) -> bool:
        """Yes."""
        return True


class PendingFrames:
    """Replaces the FrameExchange between the callbacks and the worker."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def put(self, frame: Frame) -> None:
        """Keep a frame until it is processed."""
        self.frames.append(frame)


@dataclasses.dataclass
class CameraCounts:
    """How many frames of a camera were processed. reason: why the last one has no metres."""

    camera: BagCamera
    frames: int = 0
    processed: int = 0
    in_metres: int = 0
    reason: str = ''


class BagPipeline:
    """Processes the messages of the cameras of one bag."""

    def __init__(
        self,
        estimator: DepthEstimator,
        settings: DepthNodeSettings,
        cameras: Sequence[BagCamera],
        wanted: Collection[str],
        fail: Callable[[str], None],
        warn: Callable[[str], None],
        overrides: Mapping[str, Any] | None = None,
        transforms: TransformTree | None = None,
    ) -> None:
        """wanted: of OUTPUTS; empty = all. fail: called with the reason for each bad message.

        overrides: of `qos_overrides`. transforms: known before. Raises ValueError for an invalid or
        impossible parameter.
        """
        check_source(settings, estimator)
        names = tuple(camera.name for camera in cameras)
        settings = dataclasses.replace(settings, cameras=names, process_every_frame=True)
        self._published: list[tuple[str, Any]] = []
        self._fail = fail
        self._warn = warn
        self._warned: set[str] = set()
        self._measures = settings.heatmap.mode == 'metric'
        self._node = OfflineNode(settings, self._collect, self._warn_once, wanted, overrides or {})
        node = cast(Node, self._node)
        boundary.disable_log(node)
        self._pending = PendingFrames()
        # Transforms are read from the recording itself, so that no tf2 need be installed.
        by_tf = settings.mount_from_tf or settings.odometry.fixed_frame
        recorded_tf = TfMount.of_recording(node, transforms) if by_tf else None
        tf = recorded_tf if settings.mount_from_tf else None
        odometry = OdometryInput(node, recorded_tf)
        self._cameras: dict[str, Camera] = {}
        self.camera_counts = [CameraCounts(camera) for camera in cameras]
        self._counts_by_topic = {each.camera.image: each for each in self.camera_counts}
        # Topic of the bag -> the topic that the node subscribes to, as by remapping.
        self._node_topics: dict[str, str] = {}
        for camera in cameras:
            made = RecordedCamera(node, camera, estimator, tf, odometry)
            self._cameras[camera.name] = made
            made.input.open(cast(FrameExchange, self._pending))
            self._node_topics[camera.image] = made.input.topic
            if camera.info:
                self._node_topics[camera.info] = f'/{camera.name}/camera_info'
        exchange = cast(FrameExchange, self._pending)
        self._worker = Worker(node, estimator, exchange, self._cameras)

    @property
    def topics(self) -> list[str]:
        """The topics of the bag that the node subscribes to."""
        mapped = set(self._node_topics.values())
        others = [topic for topic in self._node.subscriptions if topic not in mapped]
        return [*self._node_topics, *others]

    @property
    def outputs(self) -> dict[str, OfflinePublisher]:
        """The publishers by topic."""
        return dict(self._node.publishers)

    def is_image(self, recorded: Recorded) -> bool:
        """Whether this is a frame of one of the cameras."""
        return recorded.topic in self._counts_by_topic

    def process(self, recorded: Recorded) -> list[tuple[str, Any]]:
        """What the node publishes when this message arrives: topic and message, in order."""
        self._node.clock.nanoseconds = recorded.time_ns
        self._published = []
        counts = self._counts_by_topic.get(recorded.topic)
        failed_before = 0 if counts is None else self._failed(counts)
        topic = self._node_topics.get(recorded.topic, recorded.topic)
        refused_before = self._faults(topic).count
        for subscription in self._node.subscriptions.get(topic, ()):
            subscription.deliver(recorded.data)
        faults = self._faults(topic)
        if faults.count > refused_before:
            self._fail(f'{recorded.topic} at {recorded.time_ns} ns: {faults.last}')
        while self._pending.frames:
            self._worker.process(self._pending.frames.pop(0))
        if counts is not None:
            self._count(counts, recorded, self._failed(counts) > failed_before)
        return self._published

    def _count(self, counts: CameraCounts, recorded: Recorded, failed: bool) -> None:
        camera = self._cameras[counts.camera.name]
        counts.frames += 1
        counts.processed = camera.statistics.counts.processed
        if misfit := camera.calibration.misfit:  # a node says it in its diagnostics
            self._warn_once(f'{counts.camera.name}: {misfit}')
        if failed:
            fault = camera.statistics.last_fault
            self._fail(f'{recorded.topic} at {recorded.time_ns} ns: {fault}')
        elif not camera.metric.refused:
            counts.in_metres += 1
        elif self._measures or camera.metric.wanted():
            counts.reason = camera.metric.refused

    def _failed(self, counts: CameraCounts) -> int:
        statistics = self._cameras[counts.camera.name].statistics.counts
        return statistics.rejected + statistics.failed

    def _faults(self, topic: str) -> boundary.Faults:
        """The faults so far in the messages of a topic of the node."""
        kept = boundary.faults_of(cast(Node, self._node)).get(topic)
        return boundary.Faults() if kept is None else dataclasses.replace(kept)

    def _collect(self, topic: str, message: Any) -> None:
        self._published.append((topic, message))

    def _warn_once(self, text: str) -> None:
        """Pass on a warning of the node; messages that fail are reported by `fail` instead."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)
