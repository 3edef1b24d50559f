"""The nodes that the benchmark starts beside depth_node, each a process of its own.

    python -m midas_depth_ros.lab.speed.bench_nodes camera WIDTH HEIGHT RATE CAMERA [CAMERA ...]
    python -m midas_depth_ros.lab.speed.bench_nodes baseline WEIGHTS CAMERA THREADS SIZE
    python -m midas_depth_ros.lab.speed.bench_nodes no_network --ros-args -p cameras:=[c0]

Imports that only one of them needs are made in it: what a node costs is measured.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.depth.estimator import DepthEstimator
from midas_depth_ros.depth.models import PREFERRED, spec
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message, time_message
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.depth import DepthNodeSettings


class BenchCamera(Node):
    """Publishes one picture at a steady rate, on <camera>/image_raw of each camera in turn."""

    def __init__(self, size: tuple[int, int], rate_hz: float, cameras: list[str]) -> None:
        from midas_depth_ros.lab.speed.run import picture

        super().__init__('bench_camera')
        self._message = image_message(picture(*size), Header(frame_id='camera_optical_frame'))
        self._publishers = itertools.cycle(
            [self.create_publisher(Image, f'{name}/image_raw', qos.NEWEST) for name in cameras]
        )
        self.create_timer(1 / rate_hz, self._publish)

    def _publish(self) -> None:
        self._message.header.stamp = time_message(time.time_ns())
        next(self._publishers).publish(self._message)


def run_camera(arguments: Sequence[str]) -> int:
    """Run until stopped."""
    width, height, rate, *cameras = arguments
    size = int(width), int(height)
    return run_node(lambda: BenchCamera(size, float(rate), cameras), [])


class BaselineNode(Node):
    """The usual recipe as the usual node: it subscribes, infers and publishes in one callback.

    It publishes depth and heatmap as depth_node does. Its subscription has the boundary of our
    nodes, so that a malformed message does not end a measurement.
    """

    def __init__(
        self,
        weights: Path,
        camera: str,
        num_threads: int,
        size: NetworkSize = OFFICIAL,
        **node_options: Any,
    ) -> None:
        from midas_depth_ros.lab.speed.candidates import UsualRecipe

        super().__init__('baseline_node', **node_options)
        self._recipe = UsualRecipe(weights, num_threads, size)
        self._depth = self.create_publisher(Image, f'{camera}/relative_inverse_depth/image', 5)
        self._heatmap = self.create_publisher(Image, f'{camera}/heatmap/image', 5)
        topic = f'{camera}/image_raw'
        self._images = qos.make_subscription(
            self, Image, topic, self._on_image, QoSProfile(depth=1)
        )

    def _on_image(self, message: Image) -> None:
        shape = message.height, message.width, 3
        rgb = np.frombuffer(message.data, np.uint8).reshape(shape)
        depth, heatmap = self._recipe.depth_and_heatmap(rgb)
        self._depth.publish(image_message(depth, message.header))
        self._heatmap.publish(image_message(heatmap, message.header, 'bgr8'))


def run_baseline_node(arguments: Sequence[str]) -> int:
    """Run until stopped."""
    weights, camera, threads, short_side = arguments
    size = NetworkSize(int(short_side))
    return run_node(lambda: BaselineNode(Path(weights), camera, int(threads), size), [])


# --- depth_node around a network that costs nothing, to measure everything else.
#
# It answers with a floor and a box on it, so that closeness and heatmap have their usual work.

BOX = (slice(0.3, 0.7), slice(0.2, 0.4))  # rows and columns, as shares of the picture


class NullBackend:
    """Preprocesses pictures for MiDaS_small, and gives the same answer to all of them."""

    name = 'none'
    precision = 'f32'
    choice = ''

    def __init__(self) -> None:
        self.preprocess = spec(PREFERRED).picture.preprocess
        self._answers: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same (h, w) float32 for every (1, 3, h, w) float32."""
        size = network_input.shape[2:]
        if size not in self._answers:
            self._answers[size] = floor_with_box(*size)
        return self._answers[size].copy()

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def floor_with_box(height: int, width: int) -> NDArray[np.float32]:
    """Return (h, w) float32: a floor that comes nearer towards the bottom, with a box on it."""
    rows = np.linspace(-0.5, 1.0, height, dtype=np.float32)[:, None]
    depth = np.maximum(rows, 0.0).repeat(width, axis=1)
    down, across = (
        slice(round(part.start * side), round(part.stop * side))
        for part, side in zip(BOX, (height, width), strict=True)
    )
    depth[down, across] = 0.7
    depth += 0.05
    return depth


def make_estimator(settings: DepthNodeSettings) -> DepthEstimator:
    """Return the estimator that costs nothing."""
    return DepthEstimator('no network', NullBackend())


def run_null_network_node(arguments: Sequence[str]) -> int:
    """Run until stopped."""
    from midas_depth_ros.nodes.depth.node import DepthNode
    from midas_depth_ros.nodes.depth.worker import keep_freed_memory

    keep_freed_memory()
    return run_node(lambda: DepthNode(make_estimator))


NODES = {'camera': run_camera, 'baseline': run_baseline_node, 'no_network': run_null_network_node}

if __name__ == '__main__':
    sys.exit(NODES[sys.argv[1]](sys.argv[2:]))
