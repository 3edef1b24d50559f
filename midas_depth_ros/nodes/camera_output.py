"""One camera's way out: publishes depth as it is, heatmap and closeness of a frame, lazily.

An output is computed only while somebody subscribes to it. Every message copies the input's
stamp and optical frame; of a camera whose pictures are turned (`rotate`) depth is turned back, so
that it lies on its pictures, and the heatmap, which people look at, is upright. What is in metres
goes out through `metric_output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    LEAST_SEEN_OF_PICTURE,
    Closeness,
    MetricFrame,
    Refusal,
    closeness,
)
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.frame_view import FrameView
from midas_depth_ros.nodes.messages import (
    bgr_message,
    image_message,
    jpeg_message,
    vector_message,
)
from midas_depth_ros.nodes.mounting import Mounting
from midas_depth_ros.views import Heatmap, HeatmapOptions, metric_heatmap

if TYPE_CHECKING:
    from rclpy.node import Node

OUTPUTS = {
    'relative_inverse_depth/image': Image,
    'heatmap/image': Image,
    'heatmap/image/compressed': CompressedImage,
    'closeness': Vector3Stamped,
}


class CameraOutput:
    """The publishers of one camera and what they remember between frames."""

    def __init__(
        self, node: Node, camera: str, estimator: DepthEstimator, mounting: Mounting
    ) -> None:
        self._node = node
        self._mounting = mounting
        self._estimator = estimator
        self._heatmap = Heatmap()
        self.closeness: Closeness | None = None
        profile = qos.REPLAY_OUTPUT if node.settings.process_every_frame else qos.OUTPUT
        self._publishers = {
            name: qos.make_publisher(node, kind, f'{camera}/{name}', profile)
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

    @property
    def heatmap_wanted(self) -> bool:
        """Whether somebody looks at the heatmap, raw or compressed."""
        return self.wanted('heatmap/image') or self.wanted('heatmap/image/compressed')

    def publish(self, view: FrameView, metric: MetricFrame | None) -> None:
        """Publish what is wanted of one frame; `metric` is for the heatmap in metres."""
        if view.frame.restarted:
            self._heatmap.reset()
        if self.wanted('closeness'):
            near = self.closeness = self._closeness(view)
            vector = vector_message(near.left, near.centre, near.right, view.header)
            self._send('closeness', vector)
        if self.wanted('relative_inverse_depth/image'):
            depth = view.as_sent(view.enlarged(self._estimator, view.answer))
            self._send('relative_inverse_depth/image', image_message(depth, view.header))
        if self.heatmap_wanted:
            self._publish_heatmap(view, metric)

    def _closeness(self, view: FrameView) -> Closeness:
        """Of a frame, by the pitch that the camera had at its stamp."""
        if view.blind:
            return Closeness.unknown(f'the picture is {view.blind}')
        pitch = self._mounting.pitch_at(view.frame.stamp_ns, view.header.frame_id)
        if isinstance(pitch, Refusal):
            return Closeness.unknown(pitch.reason)
        return closeness(
            view.inverse_depth,
            grid=view.grid,
            camera_pitch_rad=pitch,
            least_seen=LEAST_SEEN_OF_PICTURE,
        )

    def _publish_heatmap(self, view: FrameView, metric: MetricFrame | None) -> None:
        options = HeatmapOptions(**vars(view.settings.heatmap))
        depth = view.inverse_depth
        if options.mode == 'metric':
            known = metric.scale.inverse_depth(depth) if metric else None
            picture = metric_heatmap(known, view.rgb, options, view.size)
        else:
            picture = self._heatmap.render(depth, view.rgb, view.stamp_s, options, view.size)
        if self.wanted('heatmap/image'):
            self._send('heatmap/image', bgr_message(picture, view.upright_header))
        if self.wanted('heatmap/image/compressed'):
            message = jpeg_message(picture, view.upright_header, view.settings.jpeg_quality)
            self._send('heatmap/image/compressed', message)

    def _send(self, name: str, message: object) -> None:
        self._publishers[name].publish(message)
