"""The encodings of sensor_msgs/Image that are decoded here, as one table.

A name goes in; how its bytes lie in memory and which OpenCV conversion makes RGB of them comes
out. Sources: sensor_msgs/image_encodings.hpp for the names, cv_bridge for what they mean.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import cv2


class Layout(enum.Enum):
    """How the samples of a picture lie in memory."""

    PACKED = enum.auto()  # channels of a pixel side by side
    MOSAIC = enum.auto()  # one sample per pixel, behind a Bayer colour filter
    YUV_422 = enum.auto()  # two bytes per pixel, two pixels share their chroma
    YUV_420 = enum.auto()  # a luma plane, then rows of chroma pairs for 2x2 pixels
    YUV_444 = enum.auto()  # a luma plane, then rows of chroma pairs for each pixel


# Rows of `step` bytes for a given height: planes follow each other in `data`, and `height` is
# that of the luma plane. The chroma rows of 4:4:4 are two steps long.
ROWS = {
    Layout.YUV_420: lambda height: height + (height + 1) // 2,
    Layout.YUV_444: lambda height: 3 * height,
}


# Encodings of depth images (REP 118) and other measurements: nothing to look at with a network.
MEASUREMENTS = ('16UC1', '16SC1', '32FC1', '32SC1', '64FC1')
NO_CONVERSION = -1  # the samples are RGB, or no code of OpenCV makes them so


@dataclasses.dataclass(frozen=True)
class Encoding:
    """One row of the table, with the OpenCV code that makes RGB."""

    layout: Layout
    channels: int
    sample_bytes: int
    conversion: int
    may_be_depth: bool = False

    def row_bytes(self, width: int) -> int:
        """The least number of bytes in a row of `width` pixels."""
        if self.layout is Layout.YUV_420:
            width += width % 2  # a chroma row is as long as this, and has the same step
        return width * self.channels * self.sample_bytes

    def rows(self, height: int) -> int:
        """How many rows of `step` bytes the picture takes, those of its chroma included."""
        return ROWS.get(self.layout, lambda rows: rows)(height)

    @property
    def is_planar(self) -> bool:
        """Whether chroma lies in a plane of its own."""
        return self.layout in ROWS


# OpenCV names a mosaic by the second row's second and third samples, ROS by the first row's
# first two: ROS's rggb is OpenCV's BG. YUV is taken as BT.601 in video range (16..235), as
# cv_bridge takes it. 16UC1 is grey here, though it mostly holds millimetres (REP 118); nUC3 and
# nUC4 are BGR and BGRA.
_TABLE: tuple[tuple[Any, ...], ...] = (
    # names (first the present one), layout, channels, bytes per sample, conversion, may be depth
    ('rgb8', Layout.PACKED, 3, 1, NO_CONVERSION),
    ('bgr8 8UC3', Layout.PACKED, 3, 1, cv2.COLOR_BGR2RGB),
    ('rgba8', Layout.PACKED, 4, 1, cv2.COLOR_RGBA2RGB),
    ('bgra8 8UC4', Layout.PACKED, 4, 1, cv2.COLOR_BGRA2RGB),
    ('mono8 8UC1', Layout.PACKED, 1, 1, cv2.COLOR_GRAY2RGB),
    ('rgb16', Layout.PACKED, 3, 2, NO_CONVERSION),
    ('bgr16 16UC3', Layout.PACKED, 3, 2, cv2.COLOR_BGR2RGB),
    ('rgba16', Layout.PACKED, 4, 2, cv2.COLOR_RGBA2RGB),
    ('bgra16 16UC4', Layout.PACKED, 4, 2, cv2.COLOR_BGRA2RGB),
    ('mono16', Layout.PACKED, 1, 2, cv2.COLOR_GRAY2RGB),
    ('16UC1', Layout.PACKED, 1, 2, cv2.COLOR_GRAY2RGB, True),
    ('uyvy yuv422', Layout.YUV_422, 2, 1, cv2.COLOR_YUV2RGB_UYVY),
    ('yuyv yuv422_yuy2', Layout.YUV_422, 2, 1, cv2.COLOR_YUV2RGB_YUY2),
    ('nv12', Layout.YUV_420, 1, 1, cv2.COLOR_YUV2RGB_NV12),
    ('nv21', Layout.YUV_420, 1, 1, cv2.COLOR_YUV2RGB_NV21),
    ('nv24', Layout.YUV_444, 1, 1, NO_CONVERSION),
    ('bayer_rggb8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerBG2RGB),
    ('bayer_bggr8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerRG2RGB),
    ('bayer_gbrg8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerGR2RGB),
    ('bayer_grbg8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerGB2RGB),
    ('bayer_rggb16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerBG2RGB),
    ('bayer_bggr16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerRG2RGB),
    ('bayer_gbrg16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerGR2RGB),
    ('bayer_grbg16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerGB2RGB),
)

ENCODINGS: dict[str, Encoding] = {
    name: Encoding(*row) for names, *row in _TABLE for name in names.split()
}
