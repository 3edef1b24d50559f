"""One camera's way out: publishes depth, heatmap and closeness of a frame, lazily.

An output is computed only while somebody subscribes to it. Every message copies the input's
stamp and optical frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import CameraModel, Closeness, closeness
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.messages import image_message, jpeg_message, vector_message
from midas_depth_ros.nodes.scheduling import NANOSECONDS, Frame
from midas_depth_ros.nodes.settings import DepthNodeSettings
from midas_depth_ros.views import Heatmap, HeatmapOptions

if TYPE_CHECKING:
    from rclpy.node import Node

Grid = tuple[np.ndarray, np.ndarray]

OUTPUTS = {
    'relative_inverse_depth/image': Image,
    'heatmap/image': Image,
    'heatmap/image/compressed': CompressedImage,
    'closeness': Vector3Stamped,
}


class CameraOutput:
    """The publishers of one camera and what they remember between frames."""

    def __init__(self, node: Node, camera: str, estimator: DepthEstimator) -> None:
        self._node = node
        self._estimator = estimator
        self._heatmap = Heatmap()
        self._grid: Grid | None = None
        self._grid_key: tuple | None = None
        self.closeness: Closeness | None = None
        self._publishers = {
            name: qos.make_publisher(node, kind, f'{camera}/{name}')
            for name, kind in OUTPUTS.items()
        }

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def wanted(self, name: str = '') -> bool:
        """Whether somebody subscribes to this output; without a name, to any of them."""
        publishers = [self._publishers[name]] if name else list(self._publishers.values())
        return any(publisher.get_subscription_count() for publisher in publishers)

    def publish(
        self,
        frame: Frame,
        rgb: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        camera_model: CameraModel | None,
        settings: DepthNodeSettings,
    ) -> None:
        """Publish what is wanted of one frame.

        `rgb` is the (H, W, 3) picture, `inverse_depth` its (h, w) relative inverse depth at
        network size.
        """
        if frame.restarted:
            self._heatmap.reset()
        full_size = settings.output_size == 'input'
        size = rgb.shape[:2] if full_size else inverse_depth.shape
        header = frame.message.header
        if self.wanted('closeness'):
            self.closeness = closeness(
                inverse_depth,
                grid=self._normalised_grid(camera_model, inverse_depth.shape),
                camera_pitch_rad=settings.camera_pitch,
            )
            near = self.closeness
            self._send('closeness', vector_message(near.left, near.centre, near.right, header))
        if self.wanted('relative_inverse_depth/image'):
            depth = self._estimator.enlarge(inverse_depth, size)
            self._send('relative_inverse_depth/image', image_message(depth, header))
        if self.wanted('heatmap/image') or self.wanted('heatmap/image/compressed'):
            self._publish_heatmap(frame, rgb, inverse_depth, size, settings)

    def _publish_heatmap(
        self,
        frame: Frame,
        rgb: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        size: tuple[int, int],
        settings: DepthNodeSettings,
    ) -> None:
        options = HeatmapOptions(**vars(settings.heatmap))
        stamp_s = frame.stamp_ns / NANOSECONDS
        picture = self._heatmap.render(inverse_depth, rgb, stamp_s, options, size)
        header = frame.message.header
        if self.wanted('heatmap/image'):
            self._send('heatmap/image', image_message(picture[..., ::-1], header, 'bgr8'))
        if self.wanted('heatmap/image/compressed'):
            message = jpeg_message(picture, header, settings.jpeg_quality)
            self._send('heatmap/image/compressed', message)

    def _send(self, name: str, message: object) -> None:
        self._publishers[name].publish(message)

    def _normalised_grid(
        self, camera_model: CameraModel | None, shape: tuple[int, ...]
    ) -> Grid | None:
        """The pixel rays at network size, computed once per camera model and size."""
        if camera_model is None:
            return None
        key = (camera_model, shape)
        if self._grid_key != key:
            self._grid_key = key
            self._grid = camera_model.normalised_grid(shape[1], shape[0])
        return self._grid
