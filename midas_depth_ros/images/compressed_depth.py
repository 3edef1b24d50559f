"""Depth into the bytes of image_transport's compressedDepth, PNG or RVL. No ROS.

(H, W) float32 metres go in; out come the `format` text and the `data` of a
sensor_msgs/CompressedImage that the subscriber of image_transport's
compressed_depth_image_transport reads back. What is unknown is 0 in it, and NaN (32FC1) or 0
(16UC1) where it is read: never a distance.
"""

from __future__ import annotations

import array
import dataclasses
import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.errors import InvalidPicture
from midas_depth_ros.images.message_bytes import message_data, millimetres_of
from midas_depth_ros.images.rvl import encode_rvl
from midas_depth_ros.options.metric import DepthImageOptions

# In front of both: the kind of quantisation (there is one, 0) and its two numbers.
HEADER = struct.Struct('<iff')
INVERSE_DEPTH = 0
LARGEST_CODE = 65535
# No code is for less: with depth.min 0 there would be none left for the rest.
NEAREST_M = 0.01
RVL_SIZE = struct.Struct('<II')  # width and height, in front of RVL
# The plugin takes for damaged what has fewer bytes than this share of its pixels.
FEWEST_RVL_BYTES_PER_PIXEL = 0.2


@dataclasses.dataclass(frozen=True)
class InverseQuantisation:
    """How 32FC1 becomes 16 bits: code = a / Z + b, rounded; 0 = unknown. a in metres.

    Codes lie at equal distances of 1/Z, as far apart as a network's answer can tell depths apart:
    read back, Z is off by at most Z^2 / 2a.
    """

    a: float
    b: float
    nearest_m: float
    farthest_m: float

    @classmethod
    def of(cls, options: DepthImageOptions) -> InverseQuantisation:
        """For depth.min to depth.max; coarser than asked for where 16 bits do not suffice."""
        near, far = max(options.min, NEAREST_M), options.max
        near = min(near, 0.5 * far)
        most = (LARGEST_CODE - 1) / (1 / near - 1 / far)
        asked = options.compressed_quantization * (options.compressed_quantization + 1)
        a = float(np.float32(min(asked, most)))  # as the header has it
        return cls(a, float(np.float32(1 - a / far)), near, far)

    def codes(self, depth_z: NDArray[np.float32]) -> NDArray[np.uint16]:
        """(H, W) float32 metres as codes; 0 for NaN, infinity and what is not above 0.

        Farther than `farthest_m` is unknown, too. Nearer than `nearest_m` is `nearest_m`.
        """
        is_known = (depth_z > 0) & (depth_z <= self.farthest_m)
        with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
            codes = np.float32(self.a) / depth_z.astype(np.float32, copy=False)
        codes += np.float32(self.b)
        np.rint(codes, out=codes)
        np.clip(codes, 1, LARGEST_CODE, out=codes)
        codes[~is_known] = 0
        return codes.astype(np.uint16)


def compressed_depth(
    depth_z: NDArray[np.float32], options: DepthImageOptions
) -> tuple[str, array.array[int]]:
    """Encode (H, W) float32 metres, NaN unknown: `format` and `data` of a CompressedImage.

    Raises InvalidPicture if there are no pixels, or more than a PNG can have.
    """
    if options.encoding == '32FC1':
        quantisation = InverseQuantisation.of(options)
        values, a, b = quantisation.codes(depth_z), quantisation.a, quantisation.b
    else:
        values, a, b = millimetres_of(depth_z), 0.0, 0.0
    head = HEADER.pack(INVERSE_DEPTH, a, b)
    if options.compressed_format == 'rvl':
        body = _rvl(values)
    else:
        body = _png(values, options.compressed_png_level)
    text = f'{options.encoding}; compressedDepth {options.compressed_format}'
    return text, message_data(np.frombuffer(head + body, np.uint8))


def _rvl(values: NDArray[np.uint16]) -> bytes:
    height, width = values.shape
    if not values.size:
        raise InvalidPicture(f'the depth image is {width}x{height}: it has no pixels')
    packed = RVL_SIZE.pack(width, height) + encode_rvl(values)
    # Readers stop behind the last pixel: what is added tells them nothing.
    return packed.ljust(int(np.ceil(FEWEST_RVL_BYTES_PER_PIXEL * values.size)), b'\0')


def _png(values: NDArray[np.uint16], level: int) -> bytes:
    height, width = values.shape
    try:
        done, encoded = cv2.imencode('.png', values, [cv2.IMWRITE_PNG_COMPRESSION, level])
    except cv2.error as error:
        raise InvalidPicture(f'OpenCV cannot write a PNG of {width}x{height}: {error}') from error
    if not done:
        raise InvalidPicture(f'OpenCV could not write a PNG of {width}x{height}')
    return encoded.tobytes()
