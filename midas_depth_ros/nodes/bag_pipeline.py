"""The depth node's work on recorded messages, one after the other, without DDS.

A serialised message of a bag goes in, the messages that the node would publish come out. The work
is done by the node's own classes (`CameraInput`, `Worker`, `CameraOutput`, `MetricOutput`), which
get an `OfflineNode` in place of theirs; every frame is processed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from rclpy.node import Node

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.nodes import boundary, camera_output, metric_output
from midas_depth_ros.nodes.camera_input import CameraInput
from midas_depth_ros.nodes.camera_output import CameraOutput
from midas_depth_ros.nodes.frame_view import GridCache
from midas_depth_ros.nodes.metric_output import MetricOutput
from midas_depth_ros.nodes.mount_calibration import MountCalibration
from midas_depth_ros.nodes.mounting import Mounting
from midas_depth_ros.nodes.offline_node import OfflineNode, OfflinePublisher
from midas_depth_ros.nodes.scheduling import Frame, FrameExchange
from midas_depth_ros.nodes.settings import DepthNodeSettings
from midas_depth_ros.nodes.statistics import CameraStatistics
from midas_depth_ros.nodes.tf_mount import TfMount
from midas_depth_ros.nodes.worker import Camera, Worker

OUTPUTS = (*camera_output.OUTPUTS, *metric_output.OUTPUTS)


class Hand:
    """Takes the frames that a CameraInput hands over, where a FrameExchange would be."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def put(self, frame: Frame) -> None:
        """Hold a frame until it is processed."""
        self.frames.append(frame)


@dataclasses.dataclass
class Tally:
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
        self._node = OfflineNode(settings, self._take, self._pass_on, wanted, overrides or {})
        node = cast(Node, self._node)
        self._hand = Hand()
        tf = TfMount(node) if settings.mount_from_tf else None
        self._cameras: dict[str, Camera] = {}
        self.tallies = [Tally(camera) for camera in cameras]
        # Topic of the bag -> the topic that the node subscribes to: a remapping.
        self._node_topics: dict[str, str] = {}
        for camera in cameras:
            made = self._camera(camera, settings, estimator, tf)
            self._cameras[camera.name] = made
            made.input.open(cast(FrameExchange, self._hand))
            self._node_topics[camera.image] = made.input.topic
            if camera.info:
                self._node_topics[camera.info] = f'/{camera.name}/camera_info'
        exchange = cast(FrameExchange, self._hand)
        self._worker = Worker(node, estimator, exchange, self._cameras, lambda: settings)

    def _camera(
        self,
        camera: BagCamera,
        settings: DepthNodeSettings,
        estimator: DepthEstimator,
        tf: TfMount | None,
    ) -> Camera:
        """What the node has of each camera; its transport is that of the bag's topic."""
        node, name, statistics = cast(Node, self._node), camera.name, CameraStatistics()
        mounting = Mounting(node, name, lambda: settings, tf)
        own = dataclasses.replace(settings, transport=camera.transport)
        return Camera(
            name=name,
            input=CameraInput(node, name, lambda: own, statistics, lambda: True),
            output=CameraOutput(node, name, estimator, mounting),
            metric=MetricOutput(node, name, estimator, mounting),
            statistics=statistics,
            calibration=MountCalibration(),
            grids=GridCache(),
            mounting=mounting,
        )

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
        while self._hand.frames:
            self._worker.attempt(self._hand.frames.pop(0))
        if tally is not None:
            self._count(tally, recorded, self._failed(tally) - before)
        return self._made

    def _count(self, tally: Tally, recorded: Recorded, failed: int) -> None:
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

    def _tally_of(self, topic: str) -> Tally | None:
        return next((each for each in self.tallies if each.camera.image == topic), None)

    def _failed(self, tally: Tally) -> int:
        counts = self._cameras[tally.camera.name].statistics.counts
        return counts.rejected + counts.failed

    def _faults(self, topic: str) -> boundary.Faults:
        """What was wrong so far with the messages of a topic of the node."""
        kept = boundary.faults_of(cast(Node, self._node)).get(topic)
        return boundary.Faults() if kept is None else dataclasses.replace(kept)

    def _take(self, topic: str, message: Any) -> None:
        self._made.append((topic, message))

    def _pass_on(self, text: str) -> None:
        """What the node warns of, once, but for single messages: those are said, each."""
        single = ': frame ' in text or boundary.REFUSED in text
        if not single and text not in self._warned:
            self._warned.add(text)
            self._warn(text)
