"""Images published as bytes: the same as rclpy makes of messages, byte by byte and over DDS."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from driving import header, picture
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from midas_depth_ros.images.message_bytes import bgr_of, write_image
from midas_depth_ros.images.sources import Frame
from midas_depth_ros.nodes.bag.writer import canonical, ros_types
from midas_depth_ros.nodes.ros.messages import (
    image_message,
    serialised_bgr,
    serialised_depth,
    serialised_image,
)
from midas_depth_ros.nodes.sources.camera_topics import raw_message

FRAMES = ('', *('camera_on'[:length] for length in range(1, 10)), 'Kamera_über_Tür', '相机')
SIZES = ((1, 1), (2, 3), (5, 7), (48, 64))
KINDS = {'32FC1': (np.float32, ()), 'rgb8': (np.uint8, (3,)), 'mono8': (np.uint8, ())}
KINDS |= {'bgr8': KINDS['rgb8'], '16UC1': (np.uint16, ())}
RANDOM = np.random.default_rng(5)


def pixels(encoding: str, size: tuple[int, int]) -> np.ndarray:
    kind, channels = KINDS[encoding]
    return RANDOM.integers(0, 256, (*size, *channels)).astype(kind)


@pytest.mark.parametrize('encoding', KINDS)
def test_bytes_are_those_of_rclpy(encoding):
    """But for the gaps between fields: the middleware leaves them as they are, `canonical` zero."""
    store, _ = ros_types()
    for frame_id, size in itertools.product(FRAMES, SIZES):
        array = pixels(encoding, size)
        made = serialised_image(array, header(7.25, frame_id), encoding)
        message = image_message(array, header(7.25, frame_id), encoding)
        assert len(made) == len(serialize_message(message))
        assert made == canonical(store, message)
        assert deserialize_message(made, Image) == message


def test_fields_that_our_own_images_never_have():
    """As a camera of another make may record them: padded rows, big-endian, any stamp."""
    store, _ = ros_types()
    message = image_message(pixels('16UC1', (3, 4)), header(7), '16UC1')
    message.header.stamp.sec, message.header.stamp.nanosec = -1, 4_000_000_000
    message.encoding, message.is_bigendian, message.step = 'bayer_rggb16', 1, 12
    message.data.frombytes(bytes(12))
    assert write_image(message) == canonical(store, message)


def test_an_array_that_is_not_contiguous():
    rgb = picture()
    for view in (rgb[::2], rgb[:, ::-3], rgb.transpose(1, 0, 2), rgb[::2][:1], rgb[:, :1]):
        made = deserialize_message(serialised_image(view, header(1)), Image)
        assert (made.height, made.width, made.step) == (*view.shape[:2], 3 * view.shape[1])
        assert made.data.tobytes() == view.tobytes()
        assert made == image_message(view, header(1))


def test_depth_and_bgr():
    depth_z = np.array([[1.5, np.nan], [70.0, 0.0004]], np.float32)
    metres = deserialize_message(serialised_depth(depth_z, header(1), '32FC1'), Image)
    assert metres == image_message(depth_z, header(1))
    millimetres = deserialize_message(serialised_depth(depth_z, header(1), '16UC1'), Image)
    assert np.frombuffer(millimetres.data, np.uint16).tolist() == [1500, 0, 0, 0]
    assert (millimetres.encoding, millimetres.step) == ('16UC1', 4)
    bgr = deserialize_message(serialised_bgr(picture(), header(1)), Image)
    assert bgr == image_message(picture()[:, :, ::-1], header(1), 'bgr8')
    assert bgr.data.tobytes() == bgr_of(picture()).tobytes()


def test_a_recorded_frame_gets_another_header():
    recorded = image_message(picture(), header(3), 'bgr8')
    frame = Frame('recorded', message=recorded)
    made = deserialize_message(raw_message(frame, header(9, 'other')), Image)
    assert made == image_message(picture(), header(9, 'other'), 'bgr8')


def test_a_subscriber_receives_them(ros):
    received = ros.collect(Image, 'pictures')
    publisher = ros.publisher(Image, 'pictures')
    sent = []
    for number, (encoding, frame_id) in enumerate(itertools.product(KINDS, FRAMES)):
        array = pixels(encoding, (48, 64))
        sent.append(image_message(array, header(number, frame_id), encoding))
        publisher.publish(serialised_image(array, header(number, frame_id), encoding))
    ros.spin_until(lambda: len(received) == len(sent))
    assert received == sent
