"""What happens to each camera's frames, counted and reported on /diagnostics and in the log.

Callbacks and the worker write to a `CameraStatistics` for each camera; `Reporting` publishes one
status for the model and one for each camera at a steady rate.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock

from midas_depth_ros.images.compressed import NO_END_MARKER
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.depth.output import scale_values
from midas_depth_ros.nodes.ros.messages import status_message
from midas_depth_ros.nodes.ros.quality_of_service import mixed_words
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.node import DepthNode
    from midas_depth_ros.nodes.depth.worker import Camera

WINDOW = 200  # frames over which medians are taken
RECENT = 15  # frames from which follows what rate is possible now
JUDGED = 3  # frames at least, before a model is called too slow
RATE_WINDOW_S = 5.0


class Times:
    """A sliding window of durations in milliseconds."""

    def __init__(self, window: int = WINDOW) -> None:
        self._values: collections.deque[float] = collections.deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Forget all durations."""
        self._values.clear()

    def add(self, seconds: float) -> None:
        """Add one duration in seconds."""
        self._values.append(seconds * 1e3)

    def summary(self) -> tuple[float, float] | None:
        """Median and 95th percentile in ms; None without a measurement."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        return statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1) + 0.5)]


@dataclasses.dataclass
class Counts:
    """Where frames ended; every received frame is in exactly one of the others, or waits."""

    received: int = 0
    unwanted: int = 0  # no output had a subscriber
    throttled: int = 0  # faster than max_rate
    dropped: int = 0  # replaced by a newer one before its turn
    rejected: int = 0  # malformed
    failed: int = 0  # inference or an output raised
    processed: int = 0


class CameraStatistics:
    """Counts and times of one camera; written under a lock, single fields are read without it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.counts = Counts()
        self.stamp_jumps = 0
        self.unended = 0  # JPEGs without an end marker
        self.latency, self.stamp_age, self.inference = Times(), Times(), Times()
        self.work = Times(RECENT)  # the worker's time for a frame, at the network's size of now
        self.network_size: tuple[int, int] | None = None  # width, height
        self.first_work_s = 0.0  # of the first frame at that size
        self.slowness_logged: object = None  # what was last logged of it
        self.last_fault = ''
        self.blind = self.partly_blind = ''  # why the last picture says nothing, or a part of it
        self.bit_depth = ''
        self._fault_at: float | None = None
        self._arrivals: collections.deque[float] = collections.deque(maxlen=1000)
        self._outputs: collections.deque[float] = collections.deque(maxlen=1000)
        self._watched_since = self._clock()
        self._busy_since: float | None = None

    def watch(self) -> None:
        """Images are expected from now on: silence is counted from here."""
        with self._lock:
            self._watched_since = self._clock()

    def received(self, images: int = 1) -> None:
        """Count images that arrived since the last call."""
        with self._lock:
            self.counts.received += images
            self._arrivals.extend([self._clock()] * images)

    def count(self, ending: str, frames: int = 1) -> None:
        """Count frames in one of the fields of `Counts`."""
        with self._lock:
            setattr(self.counts, ending, getattr(self.counts, ending) + frames)

    def fault(self, ending: str, text: str) -> None:
        """Count a frame that was rejected or failed, and keep the reason."""
        self.count(ending)
        with self._lock:
            self.last_fault, self._fault_at = text, self._clock()

    def busy(self, at_work: bool) -> None:
        """The worker begins a frame of this camera, or has finished it."""
        with self._lock:
            self._busy_since = self._clock() if at_work else None

    def busy_for(self) -> float:
        """Seconds the worker has spent on the current frame; 0 without one."""
        with self._lock:
            return 0.0 if self._busy_since is None else self._clock() - self._busy_since

    def judged(self, blind: str, partly_blind: str) -> None:
        """Keep why the last picture, or a part of it, says nothing about depth; '' if it does."""
        with self._lock:
            self.blind, self.partly_blind = blind, partly_blind

    def processed(self, latency_s: float, stamp_age_s: float, inference_s: float) -> None:
        """Count a frame whose outputs were published."""
        with self._lock:
            self.counts.processed += 1
            self.latency.add(latency_s)
            self.stamp_age.add(stamp_age_s)
            self.inference.add(inference_s)
            self._outputs.append(self._clock())

    def worked(self, seconds: float, network_size: tuple[int, int]) -> bool:
        """Keep how long the worker took for a frame; whether it is the first of its network size.

        The first one counts apart: a network may have to be prepared for it.
        """
        with self._lock:
            if network_size == self.network_size:
                self.work.add(seconds)
                return False
            self.network_size, self.first_work_s = network_size, seconds
            self.work.clear()
            return True

    def work_ms(self) -> float | None:
        """Median of the worker's time for a frame; None before there are a few."""
        with self._lock:
            summary = self.work.summary() if len(self.work) >= JUDGED else None
            return summary[0] if summary else None

    def silent_for(self) -> float:
        """Seconds since the last image, or since images are expected."""
        with self._lock:
            last = self._arrivals[-1] if self._arrivals else self._watched_since
            return self._clock() - max(last, self._watched_since)

    def recent_fault(self, within_s: float = RATE_WINDOW_S) -> str:
        """The last fault, if it is not older than this; else ''."""
        with self._lock:
            if self._fault_at is None or self._clock() - self._fault_at > within_s:
                return ''
            return self.last_fault

    def rates(self) -> tuple[float, float]:
        """Images in and frames out per second over the last seconds."""
        with self._lock:
            return self._rate(self._arrivals), self._rate(self._outputs)

    def _rate(self, moments: collections.deque[float]) -> float:
        now = self._clock()
        recent = sum(1 for moment in moments if now - moment <= RATE_WINDOW_S)
        return recent / min(RATE_WINDOW_S, max(now - self._watched_since, 1.0))


class ProcessorUse:
    """How busy this process is, all its threads together, from one question to the next."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._busy = clock, busy
        self._last = clock(), busy()

    def percent(self) -> float:
        """Processor time since the last question; 100 is one core."""
        now, busy = self._clock(), self._busy()
        elapsed_s, busy_s = now - self._last[0], busy - self._last[1]
        self._last = now, busy
        return 100 * busy_s / elapsed_s if elapsed_s > 0 else 0.0


# --- Status messages: one for the model, one for each camera. Only wording, testable by itself.

STUCK_S = 10.0  # even slow models are faster


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """The estimator and the state of the node."""

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
    refused_recently: str = ''
    licence: str = ''  # of the weights, and what it forbids


@dataclasses.dataclass(frozen=True)
class CameraReport:
    """The state of one camera, besides its statistics."""

    node: str
    camera: str
    topic: str
    running: bool  # subscribed: active and enabled
    wanted: bool  # an output has a subscriber
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
    other_transport: str = ''  # on which topic its images are instead
    no_metres: str = ''  # why there are none although parameters ask for them
    publisher_nodes: tuple[str, ...] = ()
    pace: Pace | None = None  # None before it is known
    tilted: str = ''  # why the pitch of the camera is wrong, by the way it drives


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast frames can be processed, and how fast they shall be.

    `work_ms`: the worker's time for one frame of each of `cameras` cameras that it serves in turn.
    `max_rate_hz`: 0 = no limit is asked for. `network_size`: (width, height) for this camera.
    """

    work_ms: float
    cameras: int
    max_rate_hz: float
    network_size: tuple[int, int]

    @property
    def possible_hz(self) -> float:
        """Frames per second of each camera."""
        return 1e3 / max(self.work_ms, 1e-3)

    @property
    def fault(self) -> str:
        """Why max_rate cannot be reached, and what to do; '' where it can."""
        if not self.max_rate_hz or self.possible_hz >= self.max_rate_hz:
            return ''
        width, height = self.network_size
        who = 'a frame takes' if self.cameras == 1 else f'the frames of {self.cameras} cameras take'
        return (
            f'{who} {self.work_ms:.0f} ms with a network input of {width}x{height}, but max_rate '
            f'{self.max_rate_hz:g} leaves {1e3 / self.max_rate_hz:.0f} ms: {self.possible_hz:.1f} '
            'Hz are possible. Lower max_rate or network_size, or choose a faster model'
        )


def size_text(size: tuple[int, int] | None) -> str:
    """(width, height) as 640x480."""
    return f'{size[0]}x{size[1]}' if size else ''


def model_status(report: ModelReport) -> DiagnosticStatus:
    """The status of the model: WARN while a fallback model is used or messages are refused."""
    level, text = DiagnosticStatus.OK, f'{report.model} on {report.backend}'
    if not report.model:
        text = f'no model loaded ({report.state})'
    elif report.notice:
        level, text = DiagnosticStatus.WARN, report.notice
    if report.refused_recently:
        level, text = DiagnosticStatus.WARN, f'{text}; messages refused: {report.refused_recently}'
    values = {
        'lifecycle state': report.state,
        'enabled': report.enabled,
        'model': report.model,
        'backend': report.backend,
        'precision': report.precision,
        'notice': report.notice,
        'licence': report.licence,
        'inference threads': report.threads or 'all cores',
        'processors': report.cpu_affinity or 'all',
        'niceness': report.niceness,
        'CPU [% of a core]': f'{report.cpu_percent:.0f}',
        'messages refused': report.refused,
    }
    return status_message(f'{report.node}: model', level, text, values)


def camera_status(report: CameraReport, statistics: CameraStatistics) -> DiagnosticStatus:
    """The status of one camera: ERROR while it is blind or silent, WARN while frames fail."""
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
        'possible rate [Hz]': f'{report.pace.possible_hz:.2f}' if report.pace else '',
        'network size': size_text(statistics.network_size),
        'frames received': counts.received,
        'frames processed': counts.processed,
        'frames dropped': counts.dropped,
        'frames throttled': counts.throttled,
        'frames unwanted': counts.unwanted,
        'frames rejected': counts.rejected,
        'frames failed': counts.failed,
        f'frames {NO_END_MARKER}': statistics.unended,
        'stamps': report.stamps or 'valid',
        'stamp jumps': statistics.stamp_jumps,
        'last fault': statistics.last_fault,
        'picture': picture if report.wanted else 'not checked',
        'closeness': report.closeness,
        **report.scale,
    }
    for name, times in (
        ('latency', statistics.latency),
        ('stamp age', statistics.stamp_age),
        ('inference', statistics.inference),
        ('whole frame', statistics.work),
    ):
        summary = times.summary()
        values[f'{name} median [ms]'] = f'{summary[0]:.1f}' if summary else ''
        values[f'{name} p95 [ms]'] = f'{summary[1]:.1f}' if summary else ''
    first_ms = 1e3 * statistics.first_work_s
    values['first frame at this network size [ms]'] = f'{first_ms:.1f}' if first_ms else ''
    return status_message(f'{report.node}: camera {report.camera}', level, text, values)


def silence(report: CameraReport, seconds: float) -> str:
    """The sentence about a camera without images."""
    text = (
        f'no images on {report.topic} for {seconds:.0f} s '
        f'(publishers: {report.publishers}, incompatible: {len(report.incompatible)})'
    )
    return '; '.join(filter(None, [text, *report.incompatible, report.other_transport]))


def stamp_fault(report: CameraReport) -> str:
    """The sentence about invalid stamps or several publishers; '' if there is none."""
    several = len(report.publisher_nodes) > 1
    mixed = mixed_words(report.topic, report.publisher_nodes) if several else ''
    return '; '.join(filter(None, [mixed, report.stamps]))


def _verdict(report: CameraReport, statistics: CameraStatistics) -> tuple[bytes, str]:
    """Level and sentence of a camera; the most serious fault wins."""
    if not report.running:
        return DiagnosticStatus.OK, 'not running: inactive or paused'
    busy_s = statistics.busy_for()
    if busy_s > STUCK_S:
        return DiagnosticStatus.ERROR, f'still processing one frame after {busy_s:.0f} s'
    silent_s = statistics.silent_for()
    if silent_s > report.image_timeout_s:
        return DiagnosticStatus.ERROR, silence(report, silent_s)
    fault = statistics.recent_fault()
    if fault:
        return DiagnosticStatus.WARN, f'frames rejected or failed recently: {fault}'
    # The verdict on the last picture is outdated while no picture is processed.
    if report.wanted and statistics.blind:
        return DiagnosticStatus.ERROR, f'blind: the picture is {statistics.blind}'
    if report.wanted and statistics.partly_blind:
        return DiagnosticStatus.WARN, statistics.partly_blind
    if report.incompatible:
        return DiagnosticStatus.WARN, f'not heard: {"; ".join(report.incompatible)}'
    unheard = '; '.join(report.unheard_info)
    info = f'camera_info not heard: {unheard}' if unheard else ''
    slow = report.pace.fault if report.pace and report.wanted else ''
    warnings = '; '.join(
        filter(None, [stamp_fault(report), report.no_metres, report.tilted, info, slow])
    )
    if warnings:
        return DiagnosticStatus.WARN, warnings
    if not report.wanted:
        return DiagnosticStatus.OK, 'idle: no output has a subscriber'
    rate = f'{statistics.rates()[1]:.1f} frames per second'
    unverified = report.scale.get('metres check', '').startswith('unverified')
    return DiagnosticStatus.OK, rate + ('; metres of the model, unverified' if unverified else '')


LOG_PERIOD_S = 10.0
ASKING = (  # for metres, as scale.source
    'ground_plane', 'odometry', 'scan', 'range', 'points', 'marker', 'model',
)  # fmt: skip


class Reporting:
    """Publishes the diagnostics of a depth node, and logs silent cameras and invalid stamps."""

    def __init__(
        self,
        node: DepthNode,
        clock: Clock,
    ) -> None:
        self._node = node
        self._processor = ProcessorUse()
        self._logged_s: dict[str, float] = {}
        self._slowness_logged_s: dict[str, float] = {}
        # By camera: since when metres that are asked for are missing, and the last reason logged.
        self._without_metres_s: dict[str, float] = {}
        self._logged_uncalibrated: dict[str, str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # A steady clock: diagnostics must also report a simulated clock that stands still.
        period_s = 1.0 / node.settings.diagnostics_rate
        self._timer = node.create_timer(period_s, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        model = self._node.model_report(self._processor.percent())
        message.status.append(model_status(model))
        for camera in self._node.cameras.values():
            report = self._camera_report(camera, model.enabled)
            self._log_faults(report, camera.statistics)
            self._log_slowness(report, camera.statistics)
            message.status.append(camera_status(report, camera.statistics))
        for status in message.status:  # tells nodes of one name in two namespaces apart
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
            calibration=camera.calibration.text,
            closeness=(near.reason or 'known') if near and camera.wanted() else 'not computed',
            scale=scale_values(camera.metric, camera.measures(self._node.settings))
            | ({'odometry': camera.motion.words} if camera.motion.words else {}),
            image_timeout_s=self._node.settings.image_timeout,
            stamps=camera.input.stamps.text,
            publisher_nodes=tuple(camera.input.publisher_nodes()),
            topic_type=camera.input.topic_type,
            rotate=camera.mounting.rotate,
            unheard_info=tuple(camera.calibration.publishers()[1]),
            other_transport=camera.input.other_transport(),
            no_metres=self._no_metres(camera) if running else '',
            pace=self._pace(camera) if running else None,
            tilted=camera.metric.scale.tilted if camera.measures(self._node.settings) else '',
        )

    def _pace(self, camera: Camera) -> Pace | None:
        """Of a camera, beside the others that the worker serves; None before it is known."""
        settings, size = self._node.settings, camera.statistics.network_size
        if camera.statistics.work_ms() is None or size is None:
            return None
        served = [
            each.statistics
            for each in self._node.cameras.values()
            if each is camera or each.statistics.rates()[1] > 0
        ]
        work_ms = [statistics.work_ms() or 0.0 for statistics in served]
        max_rate_hz = 0.0 if settings.process_every_frame else settings.max_rate
        return Pace(sum(work_ms), len(served), max_rate_hz, size)

    def _no_metres(self, camera: Camera) -> str:
        """Why metres have been missing for a while although the parameters ask for them."""
        if not asks_for_metres(self._node.settings, camera.name):
            return ''
        refuted = camera.metric.scale.refuted
        if refuted and camera.measures(self._node.settings):
            self._log_throttled(f'{camera.name}: no metres', refuted)
            return f'no metres: {refuted}'
        needed = camera.metric.needs_calibration
        uncalibrated = camera.calibration.missing() if needed else ''
        before = self._logged_uncalibrated.get(camera.name, '')
        if uncalibrated and not before:
            reasons = '; '.join([uncalibrated, *camera.calibration.publishers()[1]])
            self._node.get_logger().warning(f'{camera.name}: {reasons}')
        self._logged_uncalibrated[camera.name] = uncalibrated
        if uncalibrated:
            return uncalibrated
        missing = camera.metric.missing
        if not (camera.measures(self._node.settings) and missing):
            self._without_metres_s.pop(camera.name, None)
            return ''
        now_s = time.monotonic()
        since_s = self._without_metres_s.setdefault(camera.name, now_s)
        lasting = now_s - since_s >= self._node.settings.image_timeout
        return missing if lasting else ''

    def _log_faults(self, report: CameraReport, statistics: CameraStatistics) -> None:
        """Log, throttled, that a camera is silent or its stamps are invalid."""
        if not report.running:
            return
        silent_s = statistics.silent_for()
        silent = silent_s > report.image_timeout_s
        text = silence(report, silent_s) if silent else stamp_fault(report)
        if text:
            self._log_throttled(report.camera, text, bare=silent)

    def _log_throttled(self, about: str, text: str, *, bare: bool = False) -> None:
        now = time.monotonic()
        if now - self._logged_s.get(about, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._logged_s[about] = now
            self._node.get_logger().warning(text if bare else f'{about}: {text}')

    def _log_slowness(self, report: CameraReport, statistics: CameraStatistics) -> None:
        """Log that the model is too slow for max_rate: once, and again when what follows changes.

        The cameras' statistics are new with every model.
        """
        pace = report.pace
        if pace is None or not pace.fault:
            return
        about = pace.network_size, pace.max_rate_hz, pace.cameras
        now = time.monotonic()
        logged_s = self._slowness_logged_s.get(report.camera, -LOG_PERIOD_S)
        if about != statistics.slowness_logged and now - logged_s >= LOG_PERIOD_S:
            statistics.slowness_logged = about
            self._slowness_logged_s[report.camera] = now
            self._node.get_logger().warning(f'{report.camera}: {pace.fault}')


def asks_for_metres(settings: DepthNodeSettings, camera: str) -> bool:
    """Whether the parameters ask for metres of a camera."""
    if settings.scale.source != 'auto':
        return settings.scale.source in ASKING
    if settings.heatmap.mode == 'metric':
        return True
    if settings.odometry.topic or settings.odometry.fixed_frame or settings.marker.size > 0:
        return True
    return settings.mount_from_tf or not math.isnan(mount_of(settings, camera).camera_height)
