"""Diagnostics of the depth node: gathered, published at a steady rate, and in part logged.

`Reporting` reads the cameras' `CameraStatistics` (`frame_statistics.py`) and publishes one status
for the model and one for each camera (`status.py`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock

from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.nodes.depth.frame_statistics import CameraStatistics, ProcessorUse
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.depth.output import scale_values
from midas_depth_ros.nodes.depth.status import (
    CameraReport,
    Pace,
    camera_status,
    model_status,
    silence,
    stamp_fault,
)
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.node import DepthNode
    from midas_depth_ros.nodes.depth.worker import Camera

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

    def set_rate(self, rate_hz: float) -> None:
        """Publish so often from now on."""
        period_ns = round(NANOSECONDS / rate_hz)
        if period_ns != self._timer.timer_period_ns:
            self._timer.timer_period_ns = period_ns
            self._timer.reset()

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
        idle = self._idle(camera, running)
        measures = camera.measures(self._node.settings)
        unmeasured = idle or ('' if measures else 'no metric output has a subscriber')
        return CameraReport(
            node=self._node.get_name(),
            camera=camera.name,
            topic=camera.input.topic,
            running=running,
            wanted=camera.wanted(),
            publishers=publishers,
            incompatible=tuple(incompatible),
            calibration=camera.calibration.text,
            closeness=(near.reason or 'known') if near and not idle else 'not computed',
            scale=scale_values(camera.metric, unmeasured)
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
            checked=self._node.settings.picture_check,
            inferred=camera.last_answer.reason if self._node.settings.reuse_unchanged else '',
            tilted='' if unmeasured else camera.metric.scale.tilted,
        )

    def _idle(self, camera: Camera, running: bool) -> str:
        """Why nothing is computed of a camera at present; ''."""
        if not running:
            return 'the node is not running'
        if not camera.wanted():
            return 'nobody subscribes'
        silent_s = camera.statistics.silent_for()
        silent = silent_s > self._node.settings.image_timeout
        return f'no images for {silent_s:.0f} s' if silent else ''

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
