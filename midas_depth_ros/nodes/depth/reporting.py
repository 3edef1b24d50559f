"""/diagnostics of depth_node at a steady rate, and a line of log when a camera is silent or wrong.

What is known of the model and the cameras comes in by functions; `diagnostics` words it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock

from midas_depth_ros.images.compressed import NO_END_MARKER
from midas_depth_ros.nodes.depth.metric_output import scale_words
from midas_depth_ros.nodes.depth.mounting import mount_of
from midas_depth_ros.nodes.depth.statistics import CameraStatistics, ProcessorUse
from midas_depth_ros.nodes.depth.worker import Camera
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.stamps import mixed_words
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.node import DepthNode

# --- What the node tells about itself on /diagnostics: one status for the model, one per camera.
#
# Pure wording: numbers come in, DiagnosticStatus messages go out, so that it can be tested
# without spinning anything.

STUCK_S = 10.0  # so long no frame takes, even where a model is slow


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What is known of the estimator and of the node's state."""

    node: str
    state: str  # lifecycle label
    enabled: bool
    model: str
    backend: str
    precision: str
    notice: str
    threads: int
    cpu_affinity: str
    niceness: int
    cpu_percent: float = 0.0  # of one core, all threads of the process
    refused: str = ''  # messages and requests that could not be read, by topic and service
    refused_lately: str = ''


@dataclasses.dataclass(frozen=True)
class CameraReport:
    """What is known of one camera besides its statistics."""

    node: str
    camera: str
    topic: str
    running: bool  # subscribed: active and enabled
    wanted: bool  # somebody subscribes to an output
    publishers: int
    incompatible: tuple[str, ...]
    calibration: str
    closeness: str
    scale: dict[str, str]
    image_timeout_s: float
    stamps: str = ''  # what is wrong with them
    topic_type: str = ''
    rotate: int = 0  # degrees by which the pictures are turned
    unheard_info: tuple[str, ...] = ()  # why publishers of camera_info are not heard
    elsewhere: str = ''  # where its pictures are, if not on the topic
    no_metres: str = ''  # why there are none although they are asked for
    publisher_nodes: tuple[str, ...] = ()


def model_status(report: ModelReport) -> DiagnosticStatus:
    """The status of the model: WARN while a fallback serves."""
    level, text = DiagnosticStatus.OK, f'{report.model} on {report.backend}'
    if not report.model:
        text = f'no model loaded ({report.state})'
    elif report.notice:
        level, text = DiagnosticStatus.WARN, report.notice
    if report.refused_lately:
        level, text = DiagnosticStatus.WARN, f'{text}; messages refused: {report.refused_lately}'
    values = {
        'lifecycle state': report.state,
        'enabled': report.enabled,
        'model': report.model,
        'backend': report.backend,
        'precision': report.precision,
        'notice': report.notice,
        'inference threads': report.threads or 'all cores',
        'processors': report.cpu_affinity or 'all',
        'niceness': report.niceness,
        'CPU [% of a core]': f'{report.cpu_percent:.0f}',
        'messages refused': report.refused,
    }
    return _status(f'{report.node}: model', level, text, values)


def camera_status(report: CameraReport, statistics: CameraStatistics) -> DiagnosticStatus:
    """The status of one camera: ERROR while it is blind, WARN while frames are refused."""
    level, text = _verdict(report, statistics)
    rate_in, rate_out = statistics.rates()
    counts = statistics.counts
    picture = statistics.blind or statistics.partly_blind or 'good'
    values = {
        'topic': report.topic,
        'topic type': report.topic_type,
        'rotate [degrees]': report.rotate,
        'publishers': report.publishers,
        'incompatible publishers': '; '.join(report.incompatible),
        'calibration': report.calibration,
        'camera_info not heard': '; '.join(report.unheard_info),
        'bit depth': statistics.bit_depth,
        'input rate [Hz]': f'{rate_in:.2f}',
        'output rate [Hz]': f'{rate_out:.2f}',
        'frames received': counts.received,
        'frames processed': counts.processed,
        'frames dropped': counts.dropped,
        'frames throttled': counts.throttled,
        'frames unwanted': counts.unwanted,
        'frames rejected': counts.rejected,
        'frames failed': counts.failed,
        f'frames {NO_END_MARKER}': statistics.unended,
        'stamps': report.stamps or 'as they should be',
        'stamp jumps': statistics.stamp_jumps,
        'last fault': statistics.last_fault,
        'picture': picture if report.wanted else 'not looked at',
        'closeness': report.closeness,
        **report.scale,
    }
    for name, times in (
        ('latency', statistics.latency),
        ('stamp age', statistics.stamp_age),
        ('inference', statistics.inference),
    ):
        summary = times.summary()
        values[f'{name} median [ms]'] = f'{summary[0]:.1f}' if summary else ''
        values[f'{name} p95 [ms]'] = f'{summary[1]:.1f}' if summary else ''
    return _status(f'{report.node}: camera {report.camera}', level, text, values)


def silence(report: CameraReport, seconds: float) -> str:
    """The sentence about a camera that sends nothing."""
    text = (
        f'no images on {report.topic} for {seconds:.0f} s '
        f'(publishers: {report.publishers}, incompatible: {len(report.incompatible)})'
    )
    reasons = [*report.incompatible, *([report.elsewhere] if report.elsewhere else [])]
    return '; '.join([text, *reasons])


def time_trouble(report: CameraReport) -> str:
    """The sentence about stamps that cannot be right, or pictures of several senders, or ''."""
    if len(report.publisher_nodes) > 1:
        text = mixed_words(report.topic, report.publisher_nodes)
        return f'{text}; {report.stamps}' if report.stamps else text
    return report.stamps


def _verdict(report: CameraReport, statistics: CameraStatistics) -> tuple[bytes, str]:
    """Level and sentence of a camera, the gravest first."""
    if not report.running:
        return DiagnosticStatus.OK, 'not running: inactive or paused'
    busy_s = statistics.busy_for()
    if busy_s > STUCK_S:
        return DiagnosticStatus.ERROR, f'one frame has been worked on for {busy_s:.0f} s'
    silent_s = statistics.silent_for()
    if silent_s > report.image_timeout_s:
        return DiagnosticStatus.ERROR, silence(report, silent_s)
    # What was thought of a picture counts only while pictures are looked at.
    blind, partly_blind = '', ''
    if report.wanted:
        blind, partly_blind = statistics.blind, statistics.partly_blind
    fault = statistics.recent_fault()
    if fault:
        return DiagnosticStatus.WARN, f'frames refused or failed lately: {fault}'
    if blind:
        return DiagnosticStatus.ERROR, f'blind: the picture is {blind}'
    if partly_blind:
        return DiagnosticStatus.WARN, partly_blind
    if report.incompatible:
        return DiagnosticStatus.WARN, f'not heard: {"; ".join(report.incompatible)}'
    unheard = '; '.join(report.unheard_info)
    info = f'camera_info not heard: {unheard}' if unheard else ''
    trouble = [text for text in (time_trouble(report), report.no_metres, info) if text]
    if trouble:
        return DiagnosticStatus.WARN, '; '.join(trouble)
    if not report.wanted:
        return DiagnosticStatus.OK, 'idle: no output has a subscriber'
    return DiagnosticStatus.OK, f'{statistics.rates()[1]:.1f} frames per second'


def _status(name: str, level: bytes, text: str, values: dict[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=text, values=pairs)


LOG_PERIOD_S = 10.0
OF_SENSORS = ('ground_plane', 'scan', 'range', 'points')  # scale.source that needs a camera


class Reporting:
    """Publishes what the node has to tell; `model` and `cameras` are asked every time."""

    def __init__(
        self,
        node: DepthNode,
        model: Callable[[], ModelReport],
        cameras: Callable[[], Sequence[Camera]],
        clock: Clock,
    ) -> None:
        self._node = node
        self._model = model
        self._cameras = cameras
        self._processor = ProcessorUse()
        self._logged_s: dict[str, float] = {}
        self._metreless_s: dict[str, float] = {}  # since when, of those that are asked for metres
        self._said: dict[str, str] = {}  # why there are no metres, as it was said last
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # A steady clock: diagnostics must also tell of a simulated clock that stands still.
        period_s = 1.0 / node.settings.diagnostics_rate
        self._timer = node.create_timer(period_s, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        model = dataclasses.replace(
            self._model(),
            cpu_percent=self._processor.percent(),
            refused=boundary.refused_words(self._node),
            refused_lately=boundary.refused_words(self._node, recent=True),
        )
        message.status.append(model_status(model))
        for camera in self._cameras():
            report = self._camera_report(camera, model.enabled)
            self._log_trouble(report, camera.statistics)
            message.status.append(camera_status(report, camera.statistics))
        for status in message.status:  # nodes of one name in two namespaces are told apart by it
            status.hardware_id = self._node.get_fully_qualified_name()
        self._publisher.publish(message)

    def _camera_report(self, camera: Camera, running: bool) -> CameraReport:
        publishers, incompatible = camera.input.publishers()
        near = camera.output.closeness
        return CameraReport(
            node=self._node.get_name(),
            camera=camera.name,
            topic=camera.input.topic,
            running=running,
            wanted=camera.wanted(),
            publishers=publishers,
            incompatible=tuple(incompatible),
            calibration=camera.input.calibration,
            closeness=(near.reason or 'known') if near and camera.wanted() else 'not computed',
            scale=scale_words(camera.metric, camera.measures(self._node.settings)),
            image_timeout_s=self._node.settings.image_timeout,
            stamps=camera.input.stamps.text,
            publisher_nodes=tuple(camera.input.publisher_nodes()),
            topic_type=camera.input.topic_type,
            rotate=camera.mounting.rotate,
            unheard_info=tuple(camera.input.info_publishers()[1]),
            elsewhere=camera.input.elsewhere(),
            no_metres=self._no_metres(camera) if running else '',
        )

    def _no_metres(self, camera: Camera) -> str:
        """Why there have been no metres for a while although the parameters ask for them."""
        if not asks_for_metres(self._node.settings, camera.name):
            return ''
        uncalibrated = camera.input.uncalibrated()
        if uncalibrated != self._said.get(camera.name, ''):
            if uncalibrated and not self._said.get(camera.name):
                said = '; '.join([uncalibrated, *camera.input.info_publishers()[1]])
                self._node.get_logger().warning(f'{camera.name}: {said}')
            self._said[camera.name] = uncalibrated
        if uncalibrated:
            return uncalibrated
        missed = camera.measures(self._node.settings) and camera.metric.refused
        now_s = time.monotonic()
        since_s = self._metreless_s.setdefault(camera.name, now_s) if missed else now_s
        if not missed:
            self._metreless_s.pop(camera.name, None)
        lasting = now_s - since_s >= self._node.settings.image_timeout
        return f'no metres: {camera.metric.refused}' if lasting else ''

    def _log_trouble(self, report: CameraReport, statistics: CameraStatistics) -> None:
        """Say now and then that a camera is silent, or that its stamps cannot be right."""
        if not report.running:
            return
        silent_s = statistics.silent_for()
        silent = silent_s > report.image_timeout_s
        text = silence(report, silent_s) if silent else time_trouble(report)
        now = time.monotonic()
        last = self._logged_s.get(report.camera, -LOG_PERIOD_S)
        if text and now - last >= LOG_PERIOD_S:
            self._logged_s[report.camera] = now
            self._node.get_logger().warning(text if silent else f'{report.camera}: {text}')


def asks_for_metres(settings: DepthNodeSettings, camera: str) -> bool:
    """Whether the parameters ask for metres of a camera that must be calibrated for them."""
    if settings.scale.source != 'auto':
        return settings.scale.source in OF_SENSORS
    if settings.heatmap.mode == 'metric':
        return True
    return settings.mount_from_tf or not math.isnan(mount_of(settings, camera).camera_height)
