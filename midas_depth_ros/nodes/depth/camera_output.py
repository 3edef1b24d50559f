"""One camera's way out: publishes depth as it is, heatmap and closeness of a frame, lazily.

An output is computed only while somebody subscribes to it. Every message copies the input's
stamp and optical frame; of a camera whose pictures are turned (`rotate`) depth is turned back, so
that it lies on its pictures, and the heatmap, which people look at, is upright. What is in metres
goes out through `metric_output`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    CameraModel,
    Closeness,
    MetricFrame,
    Refusal,
    closeness_of_picture,
    turned,
)
from midas_depth_ros.nodes.depth.mounting import Mounting
from midas_depth_ros.nodes.depth.scheduling import Frame
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import (
    bgr_message,
    copied_header,
    image_message,
    jpeg_message,
    vector_message,
)
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.views import Heatmap

if TYPE_CHECKING:
    from rclpy.node import Node

# --- What is known of one frame once the network has spoken; what all outputs are made from.

UPRIGHT = '_upright'
Grid = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FrameView:
    """One frame.

    All of it is of the picture as it is looked at: turned clockwise by `rotate` degrees from how
    the camera sends it. rgb: (H, W, 3) uint8. answer: (h, w) float32, what the network says.
    inverse_depth: the same with NaN where the picture says nothing. blind: why all of it says
    nothing, else ''. camera: of the picture, None while nothing is known of it. grid: its
    `normalised_grid` at network size.
    """

    frame: Frame
    rgb: NDArray[np.uint8]
    answer: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]
    blind: str
    camera: CameraModel | None
    grid: Grid | None
    settings: DepthNodeSettings
    rotate: int = 0
    _enlarged: dict[int, NDArray[np.float32]] = dataclasses.field(default_factory=dict, repr=False)

    def enlarged(
        self, estimator: DepthEstimator, depth: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """`answer` or `inverse_depth` at `size`, made once for all that want it: do not change it.

        For a good picture they are the same.
        """
        if id(depth) not in self._enlarged:
            self._enlarged[id(depth)] = estimator.enlarge(depth, self.size)
        return self._enlarged[id(depth)]

    @property
    def header(self) -> Header:
        """The header of the input."""
        return self.frame.message.header

    @property
    def upright_header(self) -> Header:
        """The header for the turned picture, which has an optical frame of its own."""
        if not self.rotate or not self.header.frame_id:
            return self.header
        header = copied_header(self.header)
        header.frame_id += UPRIGHT
        return header

    def as_sent(self, picture: NDArray) -> NDArray:
        """(H, W) or (H, W, n) of the turned picture -> as the camera sends its pictures."""
        return turned(picture, -self.rotate % 360)

    @property
    def stamp_s(self) -> float:
        """The stamp of the input in seconds; of its receipt while stamps do not tell time."""
        return self.frame.time_s

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image outputs, turned."""
        full = self.settings.output_size == 'input'
        return self.rgb.shape[:2] if full else self.inverse_depth.shape


class GridCache:
    """The pixel rays of one camera at network size, computed once per calibration and size."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._grid: Grid | None = None

    def of(self, camera: CameraModel | None, shape: tuple[int, ...]) -> Grid | None:
        """`CameraModel.normalised_grid` for (h, w) = `shape`; None without a camera."""
        if camera is None:
            return None
        if self._key != (camera, shape):
            self._key = (camera, shape)
            self._grid = camera.normalised_grid(shape[1], shape[0])
        return self._grid


OUTPUTS = {
    'relative_inverse_depth/image': Image,
    'heatmap/image': Image,
    'heatmap/image/compressed': CompressedImage,
    'closeness': Vector3Stamped,
}


class CameraOutput(qos.PublisherTable):
    """The publishers of one camera and what they remember between frames."""

    def __init__(
        self, node: Node, camera: str, estimator: DepthEstimator, mounting: Mounting
    ) -> None:
        super().__init__(
            node, camera, OUTPUTS, qos.output_profile(node.settings.process_every_frame)
        )
        self._mounting = mounting
        self._estimator = estimator
        self._heatmap = Heatmap()
        self.closeness: Closeness | None = None

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
            self.send('closeness', vector)
        if self.wanted('relative_inverse_depth/image'):
            depth = view.as_sent(view.enlarged(self._estimator, view.answer))
            self.send('relative_inverse_depth/image', image_message(depth, view.header))
        if self.heatmap_wanted:
            self._publish_heatmap(view, metric)

    def _closeness(self, view: FrameView) -> Closeness:
        """Of a frame, by the pitch that the camera had at its stamp."""
        pitch: float | Refusal = math.nan  # of a blind picture it makes no difference
        if not view.blind:
            pitch = self._mounting.pitch_at(view.frame.stamp_ns, view.header.frame_id)
        if isinstance(pitch, Refusal):
            return Closeness.unknown(pitch.reason)
        return closeness_of_picture(view.inverse_depth, view.blind, view.grid, pitch)

    def _publish_heatmap(self, view: FrameView, metric: MetricFrame | None) -> None:
        scale = metric.scale if metric else None
        picture = self._heatmap.render(
            view.inverse_depth,
            view.rgb,
            view.stamp_s,
            view.settings.heatmap,
            view.size,
            scale,
        )
        if self.wanted('heatmap/image'):
            self.send('heatmap/image', bgr_message(picture, view.upright_header))
        if self.wanted('heatmap/image/compressed'):
            message = jpeg_message(picture, view.upright_header, view.settings.jpeg_quality)
            self.send('heatmap/image/compressed', message)
