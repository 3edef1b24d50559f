"""The depth node's work on recorded messages, one after the other, without DDS.

A serialised message of a bag goes in, the messages that the node would publish come out. The work
is done by the node's own classes (`CameraInput`, `Worker`, `RelativeOutput`, `MetricOutput`), which
get an `OfflineNode` in place of theirs; every frame is processed.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.nodes.depth import output
from midas_depth_ros.nodes.depth.camera_input import CameraInput, Frame, FrameExchange
from midas_depth_ros.nodes.depth.metric_sources import TfMount
from midas_depth_ros.nodes.depth.worker import Camera, Worker
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.messages import time_message
from midas_depth_ros.options.depth import DepthNodeSettings

# --- What stands in for an rclpy node where a bag is processed without DDS.
#
# The node's own classes are given this and do what they always do: what they publish goes to a
# sink, what they subscribe to is handed to them, and the clock is that of the recording. Only the
# part of rclpy's Node that they use is here.

Sink = Callable[[str, Any], None]


LARGEST_DEPTH = 2**31 - 1


def depth_of(value: Any) -> int:
    """The depth of a history. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= LARGEST_DEPTH:
        raise ValueError(f'{value!r} is not a valid history depth')
    return value


# As QoSOverridingOptions.with_default_policies() has them, and what makes one of a parameter.
POLICIES: dict[str, Callable[[Any], Any]] = {
    'history': HistoryPolicy.get_from_short_key,
    'depth': depth_of,
    'reliability': ReliabilityPolicy.get_from_short_key,
}


class OfflinePublisher:
    """Gives what is published to the sink. profile: the quality that the node would offer."""

    def __init__(
        self, topic: str, kind: type, profile: QoSProfile, sink: Sink, wanted: bool
    ) -> None:
        self.topic_name = topic
        self.kind = kind
        self.profile = profile
        self._sink = sink
        self._wanted = wanted

    def get_subscription_count(self) -> int:
        """1 if the output is wanted."""
        return int(self._wanted)

    def publish(self, message: Any) -> None:
        """Hand a message to the sink."""
        self._sink(self.topic_name, message)


class OfflineSubscription:
    """Takes serialised messages and gives them to its callback, as rclpy would."""

    def __init__(
        self, topic: str, kind: type, callback: Callable[..., Any], profile: Any, raw: bool
    ) -> None:
        self.topic_name = topic
        self.msg_type = kind
        self.qos_profile = profile
        self._callback = callback
        self._raw = raw
        # As rclpy does: who takes two arguments gets what the middleware knows of the message.
        self._with_info = len(inspect.signature(callback).parameters) == 2

    def deliver(self, data: bytes) -> None:
        """Call back. What is wrong with the bytes, `boundary` keeps."""
        message = data if self._raw else deserialize_message(data, self.msg_type)
        if self._with_info:
            self._callback(message, {})
        else:
            self._callback(message)


class OfflineTimer:
    """A timer that never fires: what it would do belongs to real time."""

    timer_period_ns = 0

    def cancel(self) -> None:
        """As rclpy's."""

    def reset(self) -> None:
        """As rclpy's."""


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

    def seconds(self) -> float:
        """As a number, to tell how long ago something was."""
        return self.nanoseconds / NANOSECONDS


class OfflineLogger:
    """Passes on what a person must know."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.warning = self.error = self.fatal = say
        self.info = self.debug = lambda text: None


class OfflineNode:
    """Stands where the node's own classes want a node.

    wanted: names of outputs without the camera, such as 'heatmap/image'; empty = all of them.
    overrides: parameters of `qos_overrides`.
    """

    def __init__(
        self,
        settings: DepthNodeSettings,
        sink: Sink,
        say: Callable[[str], None],
        wanted: Collection[str] = (),
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.publishers: dict[str, OfflinePublisher] = {}
        self.subscriptions: dict[str, list[OfflineSubscription]] = {}
        self.clock = OfflineClock()
        self._sink = sink
        self._wanted = wanted
        self._overrides = overrides
        self._logger = OfflineLogger(say)

    def create_publisher(
        self, kind: type, topic: str, profile: QoSProfile, **options: Any
    ) -> OfflinePublisher:
        """As rclpy's, for a topic that somebody subscribes to if it is wanted.

        Raises RuntimeError for a value of `qos_overrides` that is invalid.
        """
        wanted = not self._wanted or any(topic.endswith('/' + name) for name in self._wanted)
        name = absolute(topic)
        offered = overridden(profile, name, self._overrides)
        publisher = OfflinePublisher(name, kind, offered, self._sink, wanted)
        if wanted:
            self.publishers[publisher.topic_name] = publisher
        return publisher

    def destroy_publisher(self, publisher: OfflinePublisher) -> None:
        """As rclpy's."""
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
        """As rclpy's."""
        subscription = OfflineSubscription(absolute(topic), kind, callback, profile, raw)
        self.subscriptions.setdefault(subscription.topic_name, []).append(subscription)
        return subscription

    def destroy_subscription(self, subscription: OfflineSubscription) -> None:
        """As rclpy's."""
        self.subscriptions[subscription.topic_name].remove(subscription)

    def count_publishers(self, topic: str) -> int:
        """As rclpy's: a bag is one source."""
        return 1

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        """As rclpy's: of the publishers of a recording nothing is known."""
        return []

    def create_timer(self, period_s: float, callback: Any, **options: Any) -> OfflineTimer:
        """As rclpy's."""
        return OfflineTimer()

    def destroy_timer(self, timer: OfflineTimer) -> None:
        """As rclpy's."""

    def get_logger(self) -> OfflineLogger:
        """As rclpy's."""
        return self._logger

    def get_clock(self) -> OfflineClock:
        """As rclpy's."""
        return self.clock


def absolute(topic: str) -> str:
    """The full name of a topic for a node without a namespace."""
    return '/' + topic.lstrip('/')


def overridden(profile: QoSProfile, topic: str, overrides: Mapping[str, Any]) -> QoSProfile:
    """The quality that a publisher of this topic offers, with the policies that users may override.

    overrides: `qos_overrides.<topic>.publisher.<policy>` -> value. Raises RuntimeError, as rclpy
    does for a wrong one.
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
    """What the node has for each camera, for one that was recorded: all frames are wanted."""

    def __init__(
        self, node: Node, camera: BagCamera, estimator: DepthEstimator, tf: TfMount | None
    ) -> None:
        super().__init__(node, camera.name, estimator, tf, camera.transport)
        self.input = RecordedInput(node, self, camera.transport)

    def wanted(self) -> bool:
        """Yes."""
        return True


class PendingFrames:
    """Takes the frames that a CameraInput hands over, where a FrameExchange would be."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def put(self, frame: Frame) -> None:
        """Hold a frame until it is processed."""
        self.frames.append(frame)


@dataclasses.dataclass
class CameraCounts:
    """What became of one camera's pictures. reason: why the last frame without metres has none."""

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
    ) -> None:
        """`wanted`: of OUTPUTS; empty = all. `fail` is told of each message that fails, and why.

        `overrides`: parameters of `qos_overrides`. Raises ValueError where one of them is wrong, or
        a parameter needs what is not installed.
        """
        names = tuple(camera.name for camera in cameras)
        settings = dataclasses.replace(settings, cameras=names, process_every_frame=True)
        self._made: list[tuple[str, Any]] = []
        self._fail = fail
        self._warn = warn
        self._warned: set[str] = set()
        self._measures = settings.heatmap.mode == 'metric'
        self._node = OfflineNode(settings, self._take, self._warn_once, wanted, overrides or {})
        node = cast(Node, self._node)
        boundary.leave_unsaid(node)
        self._pending = PendingFrames()
        tf = TfMount(node) if settings.mount_from_tf else None
        self._cameras: dict[str, Camera] = {}
        self.tallies = [CameraCounts(camera) for camera in cameras]
        # Topic of the bag -> the topic that the node subscribes to: a remapping.
        self._node_topics: dict[str, str] = {}
        for camera in cameras:
            made = RecordedCamera(node, camera, estimator, tf)
            self._cameras[camera.name] = made
            made.input.open(cast(FrameExchange, self._pending))
            self._node_topics[camera.image] = made.input.topic
            if camera.info:
                self._node_topics[camera.info] = f'/{camera.name}/camera_info'
        exchange = cast(FrameExchange, self._pending)
        self._worker = Worker(node, estimator, exchange, self._cameras)

    @property
    def topics(self) -> list[str]:
        """The topics of the bag that it wants to know."""
        mapped = set(self._node_topics.values())
        others = [topic for topic in self._node.subscriptions if topic not in mapped]
        return [*self._node_topics, *others]

    @property
    def outputs(self) -> dict[str, OfflinePublisher]:
        """The topics that it publishes, and what stands for their publishers."""
        return dict(self._node.publishers)

    def is_picture(self, recorded: Recorded) -> bool:
        """Whether this is a frame of one of the cameras."""
        return self._tally_of(recorded.topic) is not None

    def process(self, recorded: Recorded) -> list[tuple[str, Any]]:
        """What the node publishes when this message arrives: topic and message, in order."""
        self._node.clock.nanoseconds = recorded.time_ns
        self._made = []
        tally = self._tally_of(recorded.topic)
        before = 0 if tally is None else self._failed(tally)
        topic = self._node_topics.get(recorded.topic, recorded.topic)
        refused = self._faults(topic).count
        for subscription in self._node.subscriptions.get(topic, ()):
            subscription.deliver(recorded.data)
        faults = self._faults(topic)
        if faults.count > refused:
            self._fail(f'{recorded.topic} at {recorded.time_ns} ns: {faults.last}')
        while self._pending.frames:
            self._worker.process(self._pending.frames.pop(0))
        if tally is not None:
            self._count(tally, recorded, self._failed(tally) - before)
        return self._made

    def _count(self, tally: CameraCounts, recorded: Recorded, failed: int) -> None:
        camera = self._cameras[tally.camera.name]
        tally.frames += 1
        tally.processed = camera.statistics.counts.processed
        if failed:
            fault = camera.statistics.last_fault
            self._fail(f'{recorded.topic} at {recorded.time_ns} ns: {fault}')
        elif not camera.metric.refused:
            tally.in_metres += 1
        elif self._measures or camera.metric.wanted():
            tally.reason = camera.metric.refused

    def _tally_of(self, topic: str) -> CameraCounts | None:
        return next((each for each in self.tallies if each.camera.image == topic), None)

    def _failed(self, tally: CameraCounts) -> int:
        counts = self._cameras[tally.camera.name].statistics.counts
        return counts.rejected + counts.failed

    def _faults(self, topic: str) -> boundary.Faults:
        """What was wrong so far with the messages of a topic of the node."""
        kept = boundary.faults_of(cast(Node, self._node)).get(topic)
        return boundary.Faults() if kept is None else dataclasses.replace(kept)

    def _take(self, topic: str, message: Any) -> None:
        self._made.append((topic, message))

    def _warn_once(self, text: str) -> None:
        """What the node warns of; single messages that fail go to `fail`, each."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)
