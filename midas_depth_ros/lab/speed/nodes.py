"""Nodes as processes, timed: the usual one and ours side by side over DDS, and how much of a core
they take.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.images import read_image, stamp_ns
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import (
    Child,
    Children,
    cpu_seconds,
    module_command,
    node_command,
    resident_mib,
)
from midas_depth_ros.lab.speed import contestants
from midas_depth_ros.lab.speed.run import (
    NO_NETWORK,
    NODE,
    SETTLE_S,
    WARM_UP_ROUNDS,
    Row,
    Times,
    picture,
    row,
)
from midas_depth_ros.nodes.depth.camera_output import OUTPUTS
from midas_depth_ros.nodes.depth.metric_output import OUTPUTS as METRIC_OUTPUTS
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message, time_message

# --- Nodes as processes of their own, fed with pictures and watched over DDS.
#
# In: contestants to run as nodes. Out: how long it takes from a picture's stamp to its heatmap,
# what CPU time each frame costs the node, its memory and its start. The nodes are fed in turn, a
# picture at a time, so that what disturbs one disturbs all.

START_TIMEOUT_S = 120.0
FRAME_TIMEOUT_S = 10.0
RESEND_S = 0.02  # until a node has started it gets pictures this often
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

    def __init__(
        self, children: Children, size: tuple[int, int], executor: SingleThreadedExecutor
    ) -> None:
        self.children = children
        self._executor = executor
        self._node = Node('bench', context=executor.context)
        executor.add_node(self._node)
        # Never spun: what it subscribes to is asked for, but costs us nothing.
        self._onlooker = Node('bench_onlooker', context=executor.context)
        self._message = image_message(picture(*size), Header(frame_id='camera_optical_frame'))
        self._publishers: dict[str, Any] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # stamp and receipt, ns
        self.heatmaps = 0

    def close(self) -> None:
        """Want nothing any more."""
        self._onlooker.destroy_node()

    def watch(self, camera: str, also: Sequence[str] = (DEPTH,)) -> None:
        """Subscribe to a camera's heatmap, and to other outputs so that they are made."""

        def on_heatmap(serialised: Any) -> None:
            # A message where rclpy cannot leave it serialised.
            heatmap = read_image(serialised) if isinstance(serialised, bytes) else serialised
            self._seen[camera] = stamp_ns(heatmap.header), time.time_ns()
            self.heatmaps += 1

        node = self._node
        topic = f'{camera}/{HEATMAP}'
        qos.make_subscription(node, Image, topic, on_heatmap, qos.NEWEST, serialised=True)
        for name in also:
            qos.make_subscription(
                self._onlooker, KINDS[name], f'{camera}/{name}', print, qos.NEWEST
            )
        self._publishers[camera] = node.create_publisher(Image, f'{camera}/image_raw', 1)

    def start(self, camera: str, name: str, command: Sequence[str]) -> tuple[Child, float]:
        """Start a node, and the seconds until its first heatmap. Raises BenchError."""
        began = time.monotonic()
        child = self.children.start(name, command)
        while camera not in self._seen:
            if child.exit_code is not None:
                raise BenchError(f'{child.status()}: {child.last_message()}')
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
        now_ns = time.time_ns()
        self._message.header.stamp = time_message(now_ns)
        self._publishers[camera].publish(self._message)
        return now_ns

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
    processes.set_up_ros()
    with (
        Children(logs, processes.child_environment()) as children,
        processes.ros_context() as executor,
    ):
        feeder = Feeder(children, size, executor)
        try:
            yield feeder
        finally:
            feeder.close()


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


# --- How much of a core a running node takes, with cameras at a steady rate or without any.

READY_TIMEOUT_S = 60.0
SETTLING_S = 2.0
QUIET_SIZE = (640, 480)


@dataclasses.dataclass(frozen=True)
class Load:
    """One situation: what the camera process sends, and what is wanted of it.

    `rate_hz` is of all cameras together. Nothing is sent where it is 0. `parameters` are those of
    the node. Not `watched`: nobody subscribes.
    """

    name: str
    size: tuple[int, int] = QUIET_SIZE
    rate_hz: float = 0.0
    cameras: tuple[str, ...] = ('c0',)
    watched: bool = True
    outputs: tuple[str, ...] = (DEPTH, CLOSENESS)  # and the heatmap
    parameters: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Share:
    """Per cent of one core over some seconds, and the heatmaps that came of it."""

    cpu_percent: float
    frames_per_s: float


def shares(
    loads: Sequence[Load],
    module: str,
    parameters: dict[str, Any],
    logs: Path,
    seconds: float,
    report: Callable[[str], None],
) -> dict[str, Share]:
    """Each situation in turn, with a node of its own. Raises BenchError."""
    found = {}
    for number, load in enumerate(loads):
        report(f'node: {load.name}')
        folder = logs / f'load_{number}'
        folder.mkdir(parents=True, exist_ok=True)
        with feeding(folder, QUIET_SIZE) as feeder:
            found[load.name] = _share(load, module, parameters, feeder, seconds)
    return found


def _share(
    load: Load, module: str, parameters: dict[str, Any], feeder: Feeder, seconds: float
) -> Share:
    wanted = {**parameters, 'cameras': list(load.cameras), **dict(load.parameters)}
    node = feeder.children.start('node', node_command(module, wanted))
    if load.watched:
        for camera in load.cameras:
            feeder.watch(camera, load.outputs)
    if load.rate_hz:
        words = (*load.size, load.rate_hz, *load.cameras)
        command = module_command('lab.speed.bench_nodes', 'camera', *map(str, words))
        feeder.children.start('camera', command)
    began = time.monotonic()
    while not _is_ready(load, feeder):
        feeder.spin(0.1)
        if node.exit_code is not None or time.monotonic() - began > READY_TIMEOUT_S:
            raise BenchError(f'{load.name}: {node.status()}: {node.last_message()}')
    feeder.spin(SETTLING_S)
    before, since, frames = cpu_seconds(node.process.pid), time.monotonic(), feeder.heatmaps
    feeder.spin(seconds)
    elapsed = time.monotonic() - since
    used = cpu_seconds(node.process.pid) - before
    return Share(100 * used / elapsed, (feeder.heatmaps - frames) / elapsed)


def _is_ready(load: Load, feeder: Feeder) -> bool:
    """Whether the node has started and does what it will be doing."""
    if load.watched and load.rate_hz:
        return all(map(feeder.heard, load.cameras))
    inactive = dict(load.parameters).get('autostart', True) is False
    return feeder.is_published('/diagnostics' if inactive else f'{load.cameras[0]}/{HEATMAP}')


# --- The situations in which the CPU share of a running node is measured.

FULL_HD = (1920, 1080)
AT_5_HZ = (('max_rate', 5.0),)
CAMERAS = ('c0', 'c1', 'c2', 'c3')
SHARED_RATE_HZ = 8.0

NO_IMAGES = 'no images'
INACTIVE = 'not activated, images at 30 Hz'
UNWATCHED = 'nobody subscribes, images at 30 Hz'
DROPPING, NOT_DROPPING = '1080p at 60 Hz, max_rate 5', '1080p at 5 Hz'
RATES = {rate: f'images at {rate} Hz' for rate in (5, 10, 20)}
BY_CAMERAS = {count: f'{count} cameras, {SHARED_RATE_HZ:g} Hz together' for count in (1, 2, 4)}

SITUATIONS = (
    Load(NO_IMAGES, watched=True),
    Load(INACTIVE, rate_hz=30.0, watched=False, parameters=(('autostart', False),)),
    Load(UNWATCHED, rate_hz=30.0, watched=False),
    Load(NOT_DROPPING, FULL_HD, rate_hz=5.0, parameters=AT_5_HZ),
    Load(DROPPING, FULL_HD, rate_hz=60.0, parameters=AT_5_HZ),
    *(Load(name, rate_hz=float(rate)) for rate, name in RATES.items()),
    *(
        Load(name, rate_hz=SHARED_RATE_HZ, cameras=CAMERAS[:count])
        for count, name in BY_CAMERAS.items()
    ),
)


# --- The part of the benchmark that runs nodes: the usual one and ours, side by side over DDS.

MIB_IN_MB = 1.048576
SIZE = (640, 480)
SAME_PICTURE = {'frozen_after': 0.0}  # what a node needs that gets one again and again
Report = Callable[[str], None]
Who = tuple[str, str]  # backend and precision


def node_parameters(weights: Path, num_threads: int, who: Who) -> dict[str, Any]:
    """Of depth_node, so that it runs these weights as fast as frames come."""
    return {
        'model': str(weights),
        'backend': who[0],
        'precision': who[1],
        'num_threads': num_threads,
        'max_rate': 0.0,
        **SAME_PICTURE,
    }


def node_rows(
    whos: Sequence[Who],
    weights: Path,
    num_threads: int,
    seconds: float,
    logs: Path,
    report: Report,
    usual_ms: float | None = None,
) -> tuple[list[Row], list[str]]:
    """A row per node that ran, and why others did not.

    `usual_ms`: what to compare with where the usual node is not among them.
    """
    absent = []
    with feeding(logs, SIZE) as feeder:
        started, cameras = {}, {}
        for number, who in enumerate(whos):
            camera = f'c{number}'
            report(f'starting a node: {" ".join(who)}')
            feeder.watch(camera, (DEPTH, CLOSENESS) if who[0] == NO_NETWORK else (DEPTH,))
            try:
                command = command_of(who, weights, num_threads, camera)
                started[camera] = feeder.start(camera, f'node_{number}', command)
                cameras[who] = camera
            except BenchError as error:
                absent.append(f'node {" ".join(who)}: {error}')
        report(f'{len(started)} nodes in turn')
        times = measured(feeder, started, seconds) if started else {}
    usual = (contestants.NAME, 'f32')
    if usual in cameras:
        usual_ms = Times(times[cameras[usual]].latency_ms, 0.0).median_ms
    return [_row(who, times[camera], usual_ms) for who, camera in cameras.items()], absent


def command_of(who: Who, weights: Path, num_threads: int, camera: str) -> list[str]:
    """How to start the node of a contestant for one camera."""
    if who[0] == contestants.NAME:
        words = 'baseline', str(weights), camera, str(num_threads)
        return module_command('lab.speed.bench_nodes', *words)
    if who[0] == NO_NETWORK:
        parameters = {'cameras': [camera], **SAME_PICTURE, 'max_rate': 0.0}
        return node_command('lab.speed.bench_nodes no_network', parameters)
    parameters = {**node_parameters(weights, num_threads, who), 'cameras': [camera]}
    return node_command('nodes.depth.node', parameters)


def _row(who: Who, times: NodeTimes, usual_ms: float | None) -> Row:
    wall = Times(times.latency_ms, times.cpu_ms)
    size = f'{SIZE[0]}x{SIZE[1]}'
    made = row(NODE, *who, size, wall, None if who[0] == NO_NETWORK else usual_ms)
    return dataclasses.replace(made, rss_mb=times.rss_mib * MIB_IN_MB, start_s=times.start_s)
