"""/diagnostics of depth_node at a steady rate, and a line of log when a camera is silent or wrong.

What is known of the model and the cameras comes in by functions; `diagnostics` words it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock

from midas_depth_ros.nodes import boundary
from midas_depth_ros.nodes.diagnostics import (
    CameraReport,
    ModelReport,
    camera_status,
    model_status,
    silence,
    time_trouble,
)
from midas_depth_ros.nodes.metric_output import scale_words
from midas_depth_ros.nodes.mounting import mount_of
from midas_depth_ros.nodes.settings import DepthNodeSettings
from midas_depth_ros.nodes.statistics import CameraStatistics, ProcessorUse
from midas_depth_ros.nodes.worker import Camera

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth_node import DepthNode

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
