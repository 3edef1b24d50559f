"""The usual recipe as the usual node: everything in the subscription's callback.

    python -m midas_depth_ros.lab.speed.baseline_node WEIGHTS CAMERA THREADS

It publishes <camera>/relative_inverse_depth/image and <camera>/heatmap/image, as depth_node does.
But for the boundary around its subscription: no message that is malformed ends a measurement.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from midas_depth_ros.lab.speed.contestants import UsualRecipe
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message
from midas_depth_ros.nodes.ros.spinning import run_node


class BaselineNode(Node):
    """Subscribes, infers and publishes in one callback."""

    def __init__(self, weights: Path, camera: str, num_threads: int, **node_options: Any) -> None:
        super().__init__('baseline_node', **node_options)
        self._recipe = UsualRecipe(weights, num_threads)
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


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped."""
    weights, camera, threads = (sys.argv[1:] if arguments is None else arguments)[:3]
    return run_node(lambda: BaselineNode(Path(weights), camera, int(threads)), [])


if __name__ == '__main__':
    sys.exit(main())
