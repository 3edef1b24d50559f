"""A recording through the node's own classes, frame by frame beside the truth.

`Comparison` reads the recording once for one model and one source of scale. A message of the truth
may be recorded after its picture, so what was said waits for it; each is decoded once and dropped.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraModelError,
    CameraMount,
    MetricFrame,
    Refusal,
    TransformTree,
    turned,
)
from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.sources.bag import (
    BagCamera,
    in_order,
    info_topic_of,
    until_damaged,
)
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.lab.evaluate.frames import FrameRecord, compare_floor, compare_pixels
from midas_depth_ros.lab.evaluate.survey import Survey
from midas_depth_ros.lab.evaluate.tape import tape_frame
from midas_depth_ros.lab.evaluate.truth import (
    TYPES,
    PictureView,
    Place,
    Rays,
    TruthFrame,
    rays_of,
    truth_frame,
)
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.lab.stopping import signals_held
from midas_depth_ros.nodes.bag.pipeline import OUTPUTS, BagPipeline
from midas_depth_ros.nodes.depth.calibration import MountCalibration
from midas_depth_ros.nodes.depth.output import FrameView, scale_values
from midas_depth_ros.options.depth import DepthNodeSettings

WANTED = tuple(name for name in OUTPUTS if name in ('scan', 'seen_free', 'proximity'))
EstimatorFactory = Callable[[DepthNodeSettings], DepthEstimator]


@dataclasses.dataclass(frozen=True)
class Truth:
    """Where the truth comes from: a topic of this type with its place, or '' for tape measures.

    own_camera: of a depth image, by its own camera_info; None = by the camera of the pictures.
    """

    topic: str = ''
    kind: str = ''
    place: Place = dataclasses.field(default_factory=Place)
    own_camera: CameraModel | None = None


class FrameObserver(MountCalibration):
    """Keeps what the node made of its last frame."""

    view: FrameView | None = None
    metric: MetricFrame | None = None

    def add(self, view: FrameView, metric: MetricFrame | None) -> None:
        """Keep a frame as it was published."""
        self.view, self.metric = view, metric
        super().add(view, metric)


class ObservedPipeline(BagPipeline):
    """A pipeline of one camera that shows what the node made of each frame."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        (self.camera,) = self._cameras.values()
        self.observer = self.camera.mount_calibration = FrameObserver()

    def values(self) -> dict[str, str]:
        """Return the state of the scale, as in diagnostics."""
        return scale_values(self.camera.metric)


@dataclasses.dataclass
class Pending:
    """A frame of ours that waits for its truth."""

    record: FrameRecord
    published: list[tuple[str, Any]]
    view: FrameView | None
    metric: MetricFrame | None
    mount: CameraMount | None
    on_body: CameraMount | None
    begins_m: float


class Comparison:
    """One pass over a recording, with one estimator and one set of parameters."""

    def __init__(
        self,
        bag: BagMessages,
        camera: BagCamera,
        found: Survey,
        truth: Truth,
        settings: DepthNodeSettings,
        report: Callable[[str], None],
        transforms: TransformTree | None = None,
    ) -> None:
        """transforms: what is known of TF before the recording begins."""
        self._bag, self._camera, self._found, self._truth = bag, camera, found, truth
        self._settings, self._report = settings, report
        self._transforms = transforms
        self._waiting: dict[int, list[Pending]] = {}
        self._rays: dict[int, Rays | str] = {}
        self._uses = collections.Counter(found.partner.values())
        self._chosen = frozenset(found.chosen)
        self.faults: list[str] = []
        self.model = ''

    def run(self, estimator: DepthEstimator) -> Iterator[FrameRecord]:
        """Yield the frames beside their truth; each is complete once all have been read."""
        self.model = estimator.model
        try:
            pipeline = ObservedPipeline(
                *(estimator, self._settings, [self._camera], WANTED),
                *(self._fail, self._report),
                transforms=self._transforms,
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        topics = {*pipeline.topics, self._truth.topic} - {''}
        number = truth_number = -1
        for recorded in until_damaged(in_order(self._bag, [self._camera], topics), self._fail):
            if recorded.topic == self._truth.topic:
                truth_number += 1
                self._see_truth(truth_number, recorded)
            if not pipeline.is_image(recorded):
                with signals_held():
                    pipeline.process(recorded)
                continue
            number += 1
            if number in self._chosen:
                yield self._see_picture(pipeline, number, recorded)
        for frames in self._waiting.values():
            for pending in frames:
                pending.record.no_truth = 'the message of the truth could not be read'

    def _see_picture(
        self, pipeline: ObservedPipeline, number: int, recorded: Recorded
    ) -> FrameRecord:
        """Process a picture, and compare it at once or when its truth has been read."""
        observer, counts = pipeline.observer, pipeline.camera_counts[0]
        observer.view = observer.metric = None
        processed = counts.processed
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with signals_held():
            published = pipeline.process(recorded)
        record = FrameRecord(
            number,
            (self._found.stamps_ns[number] - self._found.stamps_ns[0]) / NANOSECONDS,
            time.perf_counter() - wall_s,
            time.process_time() - cpu_s,
        )
        record.failed = counts.processed == processed
        output = pipeline.camera.metric
        if record.failed:
            record.refused = 'the picture could not be processed'
        else:
            record.refused, record.no_obstacles = output.refused, output.no_obstacles
            record.values = pipeline.values()
        view, mount, on_body = observer.view, None, None
        if view is not None:
            stamp, frame_id = view.frame.stamp_ns, view.header.frame_id
            mount = _known(pipeline.camera.mounting.at(stamp, frame_id))
            on_body = _known(pipeline.camera.mounting.on_body(stamp, frame_id))
        if mount is None and observer.metric is not None:
            mount = observer.metric.mount  # as the floor in view shows it
        begins_m = output.view_begins_m
        self._await(Pending(record, published, view, observer.metric, mount, on_body, begins_m))
        return record

    def _await(self, pending: Pending) -> None:
        number = pending.record.number
        if self._found.tapes:
            self._compare(pending, None)
            return
        partner = self._found.partner.get(number)
        if partner is None:
            pending.record.no_truth = 'no message of the truth is near its stamp'
        elif partner in self._rays:
            self._compare(pending, self._take(partner))
        else:
            self._waiting.setdefault(partner, []).append(pending)

    def _see_truth(self, number: int, recorded: Recorded) -> None:
        """Decode a message of the truth if a picture needs it."""
        if not self._uses[number]:
            return
        try:
            message = deserialize_message(recorded.data, TYPES[self._truth.kind])
            self._rays[number] = rays_of(message, self._camera_of(message))
        except Exception as error:  # noqa: BLE001 - whatever rclpy raises for damaged bytes
            text = f'{recorded.topic} at {recorded.time_ns} ns: {error}'
            self._fail(text)
            self._rays[number] = str(error)
        for pending in self._waiting.pop(number, []):
            self._compare(pending, self._take(number))

    def _take(self, number: int) -> Rays | str:
        """A decoded message, which is dropped with its last use."""
        rays = self._rays[number]
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._rays[number]
        return rays

    def _camera_of(self, message: Any) -> CameraModel | None:
        """The camera of a depth image."""
        if not self._truth.kind.endswith('/Image'):
            return None
        own, fov = self._truth.own_camera, self._settings.horizontal_fov
        if own is None and not math.isnan(fov):
            return CameraModel.from_field_of_view(message.width, message.height, fov)
        if own is None:
            raise ValueError(
                f'{self._truth.topic} and {self._camera.image} have no camera_info: record it'
            )
        same = (own.width, own.height) == (message.width, message.height)
        return own if same else own.scaled(message.width, message.height)

    def _compare(self, pending: Pending, rays: Rays | str | None) -> None:
        """Fill in the record. rays: of the truth, or why there are none; None with tapes."""
        record, view, settings = pending.record, pending.view, self._settings
        if isinstance(rays, str):
            record.no_truth = rays
            return
        if view is None:
            record.no_truth = 'the picture could not be processed'
            return
        if view.camera is None:
            record.no_truth = 'the camera is not calibrated: no camera_info fits its pictures'
            return
        height, width = view.inverse_depth.shape
        camera = view.camera.scaled(width, height)
        seen = PictureView(camera, pending.mount, settings, view.rotate, pending.on_body)
        try:
            found = self._truth_of(record, rays, seen, view)
        except (ValueError, ArithmeticError) as error:
            record.no_truth = str(error)
            return
        if found is None:
            record.no_truth = 'nothing was measured in this picture'
            return
        record.away_s = self._found.away_s.get(record.number, 0.0)
        metric = pending.metric
        depth_z = None if metric is None else metric.depth_z
        compare_pixels(record, found, depth_z, getattr(metric, 'sigma', None))
        if found.floor is not None:
            width_m = settings.obstacles.robot_width
            compare_floor(record, found.floor, pending.published, width_m, pending.begins_m)

    def _truth_of(
        self, record: FrameRecord, rays: Rays | None, seen: PictureView, view: FrameView
    ) -> TruthFrame | None:
        if rays is not None:
            return truth_frame(rays, self._truth.place, seen)
        tapes = self._found.tapes.get(record.number)
        if not tapes:
            return None
        height, width = turned(view.rgb, -view.rotate % 360).shape[:2]
        for tape in tapes:
            if tape.aims_beside((width, height)):
                self._fail(
                    f'frame {record.number}: measurement {tape.number} aims at u {tape.u:g}, '
                    f'v {tape.v:g}, outside of the picture of {width}x{height}: it is not compared'
                )
            if missed := tape.misses_view(seen):
                self._fail(
                    f'frame {record.number}: measurement {tape.number} {missed}: it is not compared'
                )
        return tape_frame(tapes, seen, (width, height))

    def _fail(self, text: str) -> None:
        self.faults.append(text)
        self._report(text)


def _known(mount: CameraMount | Refusal) -> CameraMount | None:
    return None if isinstance(mount, Refusal) else mount


def own_camera(
    bag: BagMessages, topic: str, camera: BagCamera, rectified: bool
) -> CameraModel | None:
    """Return the camera of a depth image: by its own camera_info, else by that of the pictures.

    None where there is none that is valid.
    """
    for info in (info_topic_of(topic, bag.topics), camera.info):
        first = bag.first(info) if info else None
        if first is None:
            continue
        with contextlib.suppress(CameraModelError):
            message = deserialize_message(first.data, CameraInfo)
            return CameraModel.from_camera_info(message, rectified=rectified)
    return None
