"""Arrays into the data of camera messages. RGB goes in, what `message.data` takes comes out."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.errors import InvalidPicture

# The longest side that libjpeg writes; a header could state 35 pixels more.
LONGEST_SIDE = 65_500


def message_data(values: NDArray[Any]) -> array.array[int]:
    """The bytes of an array of any shape and dtype, row by row, ready for `message.data`.

    ROS takes array.array('B') as it is; it checks every element of bytes or of a NumPy array,
    which is a thousand times slower.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 80) -> array.array[int]:
    """A JPEG of (H, W, 3) uint8 RGB, ready for the `data` of a CompressedImage.

    `quality` is 1 (smallest) to 100 (best). Raises InvalidPicture, and ValueError for a quality
    outside its bounds.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise InvalidPicture(
            f'the picture has shape {rgb.shape} and dtype {rgb.dtype}: '
            'give a non-empty (H, W, 3) uint8 RGB array'
        )
    if max(rgb.shape) > LONGEST_SIDE:
        raise InvalidPicture(
            f'the picture is {rgb.shape[1]}x{rgb.shape[0]}: a JPEG has at most {LONGEST_SIDE} '
            'pixels a side'
        )
    if not 1 <= quality <= 100:
        raise ValueError(f'JPEG quality {quality} is not in 1..100')
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    try:
        done, encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    except cv2.error as error:
        raise InvalidPicture(f'OpenCV cannot write a JPEG of shape {rgb.shape}: {error}') from error
    if not done:
        raise InvalidPicture(f'OpenCV could not write a JPEG of shape {rgb.shape}')
    return message_data(encoded)
