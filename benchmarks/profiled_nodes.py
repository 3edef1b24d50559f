"""Nodes for `benchmarks.node profile`: one that notes where its time goes, and the least there is.

    python -m benchmarks.profiled_nodes null c0 OUT.json   # depth_node but for the network
    python -m benchmarks.profiled_nodes threaded c0 OUT.json # the same, OpenCV with all threads
    python -m benchmarks.profiled_nodes passing c0           # takes a picture, sends ready messages
    python -m benchmarks.profiled_nodes receiving c0         # subscribes, and takes nothing

Each ends on SIGINT or SIGTERM; the first two then write CPU milliseconds per frame and step.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from geometry_msgs.msg import Vector3Stamped
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.depth import estimator
from midas_depth_ros.images import read_image
from midas_depth_ros.lab.speed.nodes import CLOSENESS, DEPTH, HEATMAP
from midas_depth_ros.lab.speed.null_network_node import make_estimator
from midas_depth_ros.nodes.depth import node, output, worker
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.views import Heatmap

SIZE = (480, 640)
WHOLE = 'the whole frame'
# (owner, attribute, step) of all that the inference thread does with a frame. Nothing of it is
# part of another step but of the whole.
STEPS: tuple[tuple[Any, str, str], ...] = (
    (worker.Worker, '_infer_and_publish', WHOLE),
    (worker, 'decode_image', 'find the pixels in the message'),
    (estimator.DepthEstimator, 'infer', 'resize, normalise, check what the network gives'),
    (output, 'closeness_of_picture', 'closeness'),
    (estimator.DepthEstimator, 'enlarge', 'enlarge depth'),
    (Heatmap, 'render', 'heatmap'),
    (output, 'image_message', 'depth as a message'),
    (output, 'bgr_message', 'heatmap as a message'),
    (output.RelativeOutput, 'send', 'publish depth, heatmap and closeness'),
)


class Clock:
    """CPU seconds of the calling thread, by step."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.frames = 0

    def watch(self, owner: Any, attribute: str, step: str) -> None:
        """Replace a function by one that is timed."""
        function: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[step] += time.thread_time() - began
                self.frames += step == WHOLE

        setattr(owner, attribute, timed)

    def per_frame_ms(self) -> dict[str, float]:
        """By step, in the order of the frame; what is in none comes last."""
        frames = max(self.frames, 1)
        found = {step: 1e3 * self.seconds[step] / frames for _, _, step in STEPS}
        whole = found.pop(WHOLE)
        return {**found, 'everything between': whole - sum(found.values())}


class PassingNode(Node):
    """Takes every picture serialised, and publishes three messages that were ready before."""

    def __init__(self, camera: str) -> None:
        super().__init__('passing_node')
        depth, heatmap = np.zeros(SIZE, np.float32), np.zeros((*SIZE, 3), np.uint8)
        self._messages = {
            DEPTH: image_message(depth, Header()),
            CLOSENESS: Vector3Stamped(),
            HEATMAP: image_message(heatmap, Header(), 'bgr8'),
        }
        self._outputs = {
            name: qos.make_publisher(self, type(message), f'{camera}/{name}')
            for name, message in self._messages.items()
        }
        qos.make_subscription(
            self, Image, f'{camera}/image_raw', self._pass, qos.NEWEST, serialised=True
        )

    def _pass(self, serialised: Any) -> None:
        if isinstance(serialised, bytes):
            header = read_image(serialised).header
        else:
            header = deserialize_message(serialised, Image).header
        for name, message in self._messages.items():
            message.header.stamp = header.stamp
            self._outputs[name].publish(message)


class ReceivingNode(Node):
    """Subscribes as depth_node does; what comes is left to the middleware."""

    def __init__(self, camera: str) -> None:
        super().__init__('receiving_node')
        topic = f'{camera}/image_raw'
        self._kept = qos.make_subscription(self, Image, topic, print, qos.NEWEST, serialised=True)
        # Its executor is told of none of its messages.
        self._kept.callback_group.can_execute = lambda entity: False


def main() -> int:
    """Run the node that the command line names until stopped."""
    which, camera, *more = sys.argv[1:]
    keep_freed_memory()
    if which == 'passing':
        return run_node(lambda: PassingNode(camera), [])
    if which == 'receiving':
        return run_node(lambda: ReceivingNode(camera), [])
    if which == 'threaded':
        mock.patch.object(node, 'bound_opencv_threads').start()
    clock = Clock()
    for step in STEPS:
        clock.watch(*step)
    overrides = [Parameter('cameras', value=[camera]), Parameter('max_rate', value=0.0)]
    code = run_node(lambda: node.DepthNode(make_estimator, parameter_overrides=overrides), [])
    Path(more[0]).write_text(json.dumps(clock.per_frame_ms()))
    return code


if __name__ == '__main__':
    sys.exit(main())
