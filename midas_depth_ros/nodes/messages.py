"""Arrays into ROS messages. Every message gets a header of its own, copied from the input."""

from __future__ import annotations

import cv2
import numpy as np
from geometry_msgs.msg import Vector3, Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from midas_depth_ros.images.encode import encode_jpeg, message_data

ENCODINGS = {('float32', 2): '32FC1', ('uint8', 3): 'rgb8', ('uint8', 2): 'mono8'}


def copied_header(header: Header) -> Header:
    """A header with the same stamp and frame_id that shares nothing with the original."""
    copy = Header(frame_id=header.frame_id)
    copy.stamp.sec, copy.stamp.nanosec = header.stamp.sec, header.stamp.nanosec
    return copy


def image_message(array: NDArray, header: Header, encoding: str = '') -> Image:
    """An Image from (H, W) float32, (H, W) uint8 or (H, W, 3) uint8; rgb8 unless named."""
    array = np.ascontiguousarray(array)
    message = Image(header=copied_header(header))
    message.height, message.width = array.shape[:2]
    message.encoding = encoding or ENCODINGS[array.dtype.name, array.ndim]
    message.is_bigendian = 0
    message.step = array.strides[0]
    message.data = message_data(array)
    return message


def bgr_message(rgb: NDArray[np.uint8], header: Header) -> Image:
    """A bgr8 Image from (H, W, 3) uint8 RGB."""
    return image_message(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), header, 'bgr8')


def jpeg_message(rgb: NDArray[np.uint8], header: Header, quality: int) -> CompressedImage:
    """A CompressedImage from (H, W, 3) uint8 RGB, in image_transport's way of naming it."""
    message = CompressedImage(header=copied_header(header))
    message.format = 'bgr8; jpeg compressed bgr8'
    message.data = encode_jpeg(rgb, quality)
    return message


def vector_message(x: float, y: float, z: float, header: Header) -> Vector3Stamped:
    """A Vector3Stamped."""
    return Vector3Stamped(
        header=copied_header(header), vector=Vector3(x=float(x), y=float(y), z=float(z))
    )


def stamp_ns(header: Header) -> int:
    """The stamp of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
