"""Nodes as processes of their own, fed with pictures and watched over DDS.

In: contestants to run as nodes. Out: how long it takes from a picture's stamp to its heatmap, what
CPU time each frame costs the node, its memory and its start. The nodes are fed in turn, a picture
at a time, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.bench.pictures import picture
from midas_depth_ros.bench.processes import cpu_seconds, resident_mib
from midas_depth_ros.bench.rounds import SETTLE_S, WARM_UP_ROUNDS
from midas_depth_ros.demo import environment
from midas_depth_ros.demo.processes import Child, Children
from midas_depth_ros.images import read_image
from midas_depth_ros.nodes.depth.camera_output import OUTPUTS
from midas_depth_ros.nodes.depth.metric_output import OUTPUTS as METRIC_OUTPUTS
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message

START_TIMEOUT_S = 120.0
FRAME_TIMEOUT_S = 10.0
RESEND_S = 0.02  # until a node has started it gets pictures this often
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
DEPTH, HEATMAP, CLOSENESS = 'relative_inverse_depth/image', 'heatmap/image', 'closeness'
KINDS = {**OUTPUTS, **METRIC_OUTPUTS}
ALL_OUTPUTS = tuple(name for name in KINDS if name != HEATMAP)  # which is always watched


class BenchError(Exception):
    """A node could not be measured; says why."""


@dataclasses.dataclass(frozen=True)
class NodeTimes:
    """Of one node. (n,) float64 milliseconds from stamp to heatmap; the others per frame, whole."""

    latency_ms: np.ndarray
    cpu_ms: float
    rss_mib: float
    start_s: float


class Feeder:
    """Publishes pictures and waits for heatmaps, in a ROS context of its own."""

    def __init__(self, children: Children, size: tuple[int, int]) -> None:
        self.children = children
        self._context = Context()
        rclpy.init(
            args=['--ros-args', '--disable-external-lib-logs'],
            context=self._context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = Node('bench', context=self._context)
        # Never spun: what it subscribes to is asked for, but costs us nothing.
        self._onlooker = Node('bench_onlooker', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._message = image_message(picture(*size), Header(frame_id='camera_optical_frame'))
        self._publishers: dict[str, Any] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # stamp and receipt, ns
        self.heatmaps = 0

    def close(self) -> None:
        """Leave ROS."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._onlooker.destroy_node()
        rclpy.shutdown(context=self._context)

    def watch(self, camera: str, also: Sequence[str] = (DEPTH,)) -> None:
        """Subscribe to a camera's heatmap, and to other outputs so that they are made."""

        def on_heatmap(serialised: Any) -> None:
            # A message where rclpy cannot leave it serialised.
            heatmap = read_image(serialised) if isinstance(serialised, bytes) else serialised
            stamp = heatmap.header.stamp
            self._seen[camera] = stamp.sec * 10**9 + stamp.nanosec, time.time_ns()
            self.heatmaps += 1

        node = self._node
        topic = f'{camera}/{HEATMAP}'
        qos.make_subscription(node, Image, topic, on_heatmap, NEWEST, serialised=True)
        for name in also:
            qos.make_subscription(self._onlooker, KINDS[name], f'{camera}/{name}', print, NEWEST)
        self._publishers[camera] = node.create_publisher(Image, f'{camera}/image_raw', 1)

    def start(self, camera: str, name: str, command: Sequence[str]) -> tuple[Child, float]:
        """Start a node, and the seconds until its first heatmap. Raises BenchError."""
        began = time.monotonic()
        child = self.children.start(name, command)
        while camera not in self._seen:
            if child.exit_code is not None:
                raise BenchError(f'{child.ending()}: {child.last_words()}')
            if time.monotonic() - began > START_TIMEOUT_S:
                raise BenchError(f'{name} gave no heatmap within {START_TIMEOUT_S:g} s')
            self._send(camera)
            self.spin(RESEND_S)
        return child, time.monotonic() - began

    def latency_ms(self, camera: str) -> float:
        """Send one picture and wait for its heatmap. Raises BenchError."""
        stamp = self._send(camera)
        deadline = time.monotonic() + FRAME_TIMEOUT_S
        while self._seen.get(camera, (0, 0))[0] != stamp:
            if time.monotonic() > deadline:
                raise BenchError(f'a picture of {camera} was lost: no heatmap came of it')
            self._executor.spin_once(timeout_sec=FRAME_TIMEOUT_S / 10)
        return (self._seen[camera][1] - stamp) / 1e6

    def _send(self, camera: str) -> int:
        stamp_ns = time.time_ns()
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(stamp_ns, 10**9)
        self._publishers[camera].publish(self._message)
        return stamp_ns

    def heard(self, camera: str) -> bool:
        """Whether a heatmap of this camera has come."""
        return camera in self._seen

    def is_published(self, topic: str) -> bool:
        """Whether somebody publishes on a topic."""
        return bool(self._node.count_publishers(topic))

    def spin(self, seconds: float) -> None:
        """Take what comes for some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)


@contextlib.contextmanager
def feeding(logs: Path, size: tuple[int, int]) -> Iterator[Feeder]:
    """A feeder in a ROS domain of this machine alone; its nodes end with the block."""
    environment.set_up()
    with Children(logs, environment.for_children()) as children:
        feeder = Feeder(children, size)
        try:
            yield feeder
        finally:
            feeder.close()


def node_command(module: str, parameters: dict[str, Any]) -> list[str]:
    """How to start a module's node with parameters."""
    command = [sys.executable, '-m', f'midas_depth_ros.{module}', '--ros-args']
    command.append('--disable-external-lib-logs')
    for name, value in parameters.items():
        command += ['-p', f'{name}:={json.dumps(value)}']  # JSON is YAML
    return command


def measured(
    feeder: Feeder, nodes: dict[str, tuple[Child, float]], seconds: float
) -> dict[str, NodeTimes]:
    """Feed started nodes, by camera, in turn for about this long. Raises BenchError."""
    latency: dict[str, list[float]] = {camera: [] for camera in nodes}
    for _ in range(WARM_UP_ROUNDS):
        for camera in nodes:
            feeder.latency_ms(camera)
    before = {camera: cpu_seconds(child.process.pid) for camera, (child, _) in nodes.items()}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for camera in nodes:
            time.sleep(SETTLE_S)
            latency[camera].append(feeder.latency_ms(camera))
    return {
        camera: NodeTimes(
            np.array(latency[camera]),
            1e3 * (cpu_seconds(child.process.pid) - before[camera]) / len(latency[camera]),
            resident_mib(child.process.pid),
            start_s,
        )
        for camera, (child, start_s) in nodes.items()
    }
