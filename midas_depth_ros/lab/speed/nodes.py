"""The parts of the benchmark that run nodes as processes: latency side by side, and CPU load."""

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

from midas_depth_ros.depth.models import WEIGHTS_SUFFIXES, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
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
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE
from midas_depth_ros.lab.speed.run import (
    NO_NETWORK,
    NODE,
    SETTLE_S,
    WARM_UP_ROUNDS,
    Row,
    Times,
    picture,
    row,
    size_text,
)
from midas_depth_ros.nodes.depth.output import METRIC_OUTPUTS, RELATIVE_OUTPUTS
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message, time_message

# --- Feeding nodes with pictures over DDS, and waiting for their heatmaps.
#
# The nodes are fed in turn, one picture at a time, so that a disturbance affects all of them.

START_TIMEOUT_S = 120.0
FRAME_TIMEOUT_S = 10.0
SIZE = (640, 480)  # of the pictures
RESEND_S = 0.02  # between pictures while a node starts
DEPTH, HEATMAP, CLOSENESS = 'relative_inverse_depth/image', 'heatmap/image', 'closeness'
MESSAGE_TYPES = {**RELATIVE_OUTPUTS, **METRIC_OUTPUTS}
ALL_OUTPUTS = tuple(name for name in MESSAGE_TYPES if name != HEATMAP)  # always watched


class BenchError(Exception):
    """A node could not be measured, for the reason given."""


@dataclasses.dataclass(frozen=True)
class NodeTimes:
    """Of one node: (n,) float64 ms from stamp to heatmap, CPU time per frame, memory, start-up."""

    latency_ms: np.ndarray
    cpu_ms: float
    rss_mib: float
    start_s: float


class Feeder:
    """Publishes pictures and waits for heatmaps."""

    def __init__(
        self, children: Children, size: tuple[int, int], executor: SingleThreadedExecutor
    ) -> None:
        self.children = children
        self._executor = executor
        self._node = Node('bench', context=executor.context)
        executor.add_node(self._node)
        # Never spun: its subscriptions make the node compute outputs, but cost nothing here.
        self._onlooker = Node('bench_onlooker', context=executor.context)
        self._message = image_message(picture(*size), Header(frame_id='camera_optical_frame'))
        self._publishers: dict[str, Any] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # stamp and receipt, ns
        self.heatmaps = 0

    def close(self) -> None:
        """End the subscriptions."""
        self._onlooker.destroy_node()

    def watch(self, camera: str, also: Sequence[str] = (DEPTH,)) -> None:
        """Subscribe to a camera's heatmap, and to other outputs so that they are made."""

        def on_heatmap(serialised: Any) -> None:
            # A message if this rclpy cannot leave it serialised.
            heatmap = read_image(serialised) if isinstance(serialised, bytes) else serialised
            self._seen[camera] = stamp_ns(heatmap.header), time.time_ns()
            self.heatmaps += 1

        node = self._node
        topic = f'{camera}/{HEATMAP}'
        qos.make_subscription(node, Image, topic, on_heatmap, qos.NEWEST, serialised=True)
        for name in also:
            qos.make_subscription(
                self._onlooker, MESSAGE_TYPES[name], f'{camera}/{name}', print, qos.NEWEST
            )
        self._publishers[camera] = node.create_publisher(Image, f'{camera}/image_raw', 1)

    def start(self, camera: str, name: str, command: Sequence[str]) -> tuple[Child, float]:
        """Start a node; returns it and the seconds to its first heatmap. Raises BenchError."""
        began = time.monotonic()
        child = self.children.start(name, command)
        while camera not in self._seen:
            if child.exit_code is not None:
                raise BenchError(f'{child.status()}: {child.last_message()}')
            if time.monotonic() - began > START_TIMEOUT_S:
                raise BenchError(f'{name} published no heatmap within {START_TIMEOUT_S:g} s')
            self._send(camera)
            self.spin(RESEND_S)
        return child, time.monotonic() - began

    def latency_ms(self, camera: str, patience_s: float = FRAME_TIMEOUT_S) -> float:
        """Send one picture and wait for its heatmap; returns milliseconds. Raises BenchError after
        `patience_s`.
        """
        stamp = self._send(camera)
        deadline = time.monotonic() + patience_s
        while self._seen.get(camera, (0, 0))[0] != stamp:
            if time.monotonic() > deadline:
                raise BenchError(f'no heatmap for an image of {camera}: it was lost')
            self._executor.spin_once(timeout_sec=patience_s / 10)
        return (self._seen[camera][1] - stamp) / 1e6

    def warm_up(self, camera: str, frames: int, patience_s: float = FRAME_TIMEOUT_S) -> None:
        """Send pictures that are not measured: one may be lost among those `start` has sent."""
        for _ in range(frames):
            with contextlib.suppress(BenchError):
                self.latency_ms(camera, patience_s)

    def _send(self, camera: str) -> int:
        now_ns = time.time_ns()
        self._message.header.stamp = time_message(now_ns)
        self._publishers[camera].publish(self._message)
        return now_ns

    def has_heatmap(self, camera: str) -> bool:
        """Return whether a heatmap of this camera was received."""
        return camera in self._seen

    def is_published(self, topic: str) -> bool:
        """Return whether a topic has a publisher."""
        return bool(self._node.count_publishers(topic))

    def spin(self, seconds: float) -> None:
        """Receive messages for some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)


@contextlib.contextmanager
def feeding(logs: Path, size: tuple[int, int]) -> Iterator[Feeder]:
    """Yield a feeder in a ROS domain of this machine only; its nodes end with the block."""
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
    """Feed started nodes, by camera, in turn for about `seconds`. Raises BenchError."""
    latency: dict[str, list[float]] = {camera: [] for camera in nodes}
    for camera in nodes:
        feeder.warm_up(camera, WARM_UP_ROUNDS)
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


# --- The CPU load of a running node, with cameras at a steady rate or without any.

READY_TIMEOUT_S = 60.0
SETTLING_S = 2.0


@dataclasses.dataclass(frozen=True)
class Load:
    """One situation: what the camera process sends, and what is subscribed to.

    `rate_hz` is that of all cameras together, 0 = nothing is sent. `parameters` are those of the
    node. `watched`: outputs have a subscriber.
    """

    name: str
    size: tuple[int, int] = SIZE
    rate_hz: float = 0.0
    cameras: tuple[str, ...] = ('c0',)
    watched: bool = True
    outputs: tuple[str, ...] = (DEPTH, CLOSENESS)  # and the heatmap
    parameters: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Share:
    """The CPU load in percent of one core, and the rate of heatmaps."""

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
    """Measure each situation with a new node. Raises BenchError."""
    found = {}
    for number, load in enumerate(loads):
        report(f'node: {load.name}')
        folder = logs / f'load_{number}'
        folder.mkdir(parents=True, exist_ok=True)
        with feeding(folder, SIZE) as feeder:
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
    """Return whether the node has started and does its work."""
    if load.watched and load.rate_hz:
        return all(map(feeder.has_heatmap, load.cameras))
    inactive = dict(load.parameters).get('autostart', True) is False
    return feeder.is_published('/diagnostics' if inactive else f'{load.cameras[0]}/{HEATMAP}')


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


# --- The baseline node and ours, side by side.

MIB_IN_MB = 1.048576
SAME_PICTURE = {'frozen_after': 0.0}  # for a node that gets the same picture again and again
Report = Callable[[str], None]
Variant = tuple[str, str]  # backend and precision


def node_parameters(
    weights: Path, num_threads: int, variant: Variant, size: NetworkSize = OFFICIAL
) -> dict[str, Any]:
    """Return parameters of depth_node for these weights at an unlimited rate.

    Its network sees pictures of SIZE as that of a candidate does, where its own choice is another.
    """
    side = size.short_side
    if not side and weights.suffix.lower() in WEIGHTS_SUFFIXES:
        model = spec_of(weights)
        side = min(model.picture.network_size(*SIZE)) if model.node_short_side else 0
    return {
        'network_size': side,
        'network_aspect': size.most_aspect,
        'model': str(weights),
        'backend': variant[0],
        'precision': variant[1],
        'num_threads': num_threads,
        'max_rate': 0.0,
        **SAME_PICTURE,
    }


def node_rows(
    variants: Sequence[Variant],
    weights: Path,
    num_threads: int,
    seconds: float,
    logs: Path,
    report: Report,
    usual_ms: float | None = None,
    size: NetworkSize = OFFICIAL,
) -> tuple[list[Row], list[str]]:
    """Return a row per node that ran, and why others did not.

    usual_ms: the median to compare with if the baseline node is not among them.
    """
    absent = []
    with feeding(logs, SIZE) as feeder:
        started, cameras = {}, {}
        for number, variant in enumerate(variants):
            camera = f'c{number}'
            report(f'starting a node: {" ".join(variant)}')
            feeder.watch(camera, (DEPTH, CLOSENESS) if variant[0] == NO_NETWORK else (DEPTH,))
            try:
                command = command_of(variant, weights, num_threads, camera, size)
                started[camera] = feeder.start(camera, f'node_{number}', command)
                cameras[variant] = camera
            except BenchError as error:
                absent.append(f'node {" ".join(variant)}: {error}')
        report(f'{len(started)} nodes in turn')
        times = measured(feeder, started, seconds) if started else {}
    usual = (USUAL_RECIPE, 'f32')
    if usual in cameras:
        usual_ms = Times(times[cameras[usual]].latency_ms, 0.0).median_ms
    return [_row(variant, times[camera], usual_ms) for variant, camera in cameras.items()], absent


def command_of(
    variant: Variant, weights: Path, num_threads: int, camera: str, size: NetworkSize = OFFICIAL
) -> list[str]:
    """Return the command that runs the node of a variant for one camera."""
    if variant[0] == USUAL_RECIPE:
        words = 'baseline', str(weights), camera, str(num_threads), str(size.short_side)
        return module_command('lab.speed.bench_nodes', *words)
    if variant[0] == NO_NETWORK:
        parameters = {'cameras': [camera], **SAME_PICTURE, 'max_rate': 0.0}
        return node_command('lab.speed.bench_nodes no_network', parameters)
    parameters = {**node_parameters(weights, num_threads, variant, size), 'cameras': [camera]}
    return node_command('nodes.depth.node', parameters)


def _row(variant: Variant, times: NodeTimes, usual_ms: float | None) -> Row:
    wall = Times(times.latency_ms, times.cpu_ms)
    compared_ms = None if variant[0] == NO_NETWORK else usual_ms
    made = row(NODE, *variant, size_text(SIZE), wall, compared_ms)
    return dataclasses.replace(made, rss_mb=times.rss_mib * MIB_IN_MB, start_s=times.start_s)
