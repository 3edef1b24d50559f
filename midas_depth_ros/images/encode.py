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
MILLIMETRES, LARGEST_16UC1 = 1000.0, 65535


def message_data(values: NDArray[Any]) -> array.array[int]:
    """The bytes of an array of any shape and dtype, row by row, ready for `message.data`.

    ROS takes array.array('B') as it is; it checks every element of bytes or of a NumPy array,
    which is a thousand times slower.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def bgr_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB with the order of its colours turned round."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR), np.uint8)


def picture_reduced(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as (h, w, 3) for (h, w) = `shape`, by means over what is reduced."""
    size = shape[1], shape[0]
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def millimetres_of(depth_z: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(H, W) float32 metres as whole millimetres; 0 for NaN, infinity and what is too far."""
    millimetres = np.rint(np.nan_to_num(depth_z, nan=0.0, posinf=0.0) * MILLIMETRES)
    millimetres[millimetres > LARGEST_16UC1] = 0
    return millimetres.astype(np.uint16)


def packed_points(points: NDArray[np.float32], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w, 3) float32 metres and (h, w, 3) uint8 RGB as (h, w, 4) float32: x, y, z, rgb.

    The last is 0x00RRGGBB in the bits of a float32, as PCL and rviz2 read it.
    """
    packed = np.zeros((*points.shape[:2], 4), np.float32)
    packed[..., :3] = points
    bgr = np.zeros(packed.shape, np.uint8)
    bgr[..., :3] = rgb[..., ::-1]
    packed[..., 3] = bgr.view(np.float32)[..., 0]
    return packed


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
    bgr = bgr_of(rgb)
    try:
        done, encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    except cv2.error as error:
        raise InvalidPicture(f'OpenCV cannot write a JPEG of shape {rgb.shape}: {error}') from error
    if not done:
        raise InvalidPicture(f'OpenCV could not write a JPEG of shape {rgb.shape}')
    return message_data(encoded)
