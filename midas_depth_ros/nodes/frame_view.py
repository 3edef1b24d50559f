"""What is known of one frame once the network has spoken; what all outputs are made from."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import CameraModel, turned
from midas_depth_ros.nodes.messages import copied_header
from midas_depth_ros.nodes.scheduling import Frame
from midas_depth_ros.nodes.settings import DepthNodeSettings

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
