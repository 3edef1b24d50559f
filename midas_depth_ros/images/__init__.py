"""Camera messages into RGB arrays and back into bytes, without ROS: messages are duck-typed."""

from midas_depth_ros.images.blindness import FreezeDetector, Verdict, judge_picture, verdict_for
from midas_depth_ros.images.compressed import check_compressed, decode_compressed
from midas_depth_ros.images.decode import BitDepth, check_image, decode_image
from midas_depth_ros.images.errors import ImageError
from midas_depth_ros.images.message_bytes import (
    NANOSECONDS,
    encode_jpeg,
    is_plain_cdr,
    message_data,
    read_compressed,
    read_image,
    stamp_ns,
)

__all__ = [
    'NANOSECONDS',
    'BitDepth',
    'FreezeDetector',
    'ImageError',
    'Verdict',
    'check_compressed',
    'check_image',
    'decode_compressed',
    'decode_image',
    'encode_jpeg',
    'is_plain_cdr',
    'judge_picture',
    'message_data',
    'read_compressed',
    'read_image',
    'stamp_ns',
    'verdict_for',
]
