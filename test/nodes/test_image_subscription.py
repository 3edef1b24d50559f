"""Pictures taken serialised: the same fields as rclpy gives, and what passes by is counted."""

from __future__ import annotations

import pytest
from driving import header, image, picture
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.images import ImageError
from midas_depth_ros.nodes.depth.camera_input import ImageSubscription
from midas_depth_ros.nodes.ros.messages import jpeg_message

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def heard(ros):
    """A subscription, its messages and its faults, each with the number that passed by."""

    class Heard:
        def __init__(self):
            self.messages, self.faults = [], []
            self.pause_s = 0.0
            self.images = ImageSubscription(
                ros.node, Image, 'pictures', self.on_message, self.on_fault, RELIABLE
            )

        def on_message(self, message, missed):
            self.messages.append((message, missed))
            if self.pause_s:
                self.images.pause(self.pause_s)

        def on_fault(self, error, missed):
            self.faults.append((error, missed))

    return Heard()


def test_bytes_that_are_no_message_are_a_fault(heard):
    whole = bytes(serialize_message(image(7)))
    heard.images._take(whole[:-1], 2)
    heard.images._take(b'\0\1', 0)
    assert [missed for _, missed in heard.faults] == [2, 0]
    assert all(isinstance(error, ImageError) for error, _ in heard.faults)
    assert not heard.messages


def test_fields_are_those_that_were_published(ros, heard):
    ros.publisher(Image, 'pictures').publish(image(7.25, brightness=90))
    ros.spin_until(lambda: heard.messages)
    message, missed = heard.messages[0]
    sent = image(7.25, brightness=90)
    assert not isinstance(message, Image), 'it was deserialised'
    assert (message.height, message.width, message.step) == (48, 64, 192)
    assert (message.encoding, message.is_bigendian) == ('rgb8', 0)
    assert bytes(message.data) == sent.data.tobytes()
    assert message.header.frame_id == 'camera_optical_frame'
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (7, 250_000_000)
    assert missed == 0


@pytest.mark.parametrize(
    ('kind', 'make'),
    [(Image, lambda: image(3)), (CompressedImage, lambda: jpeg_message(picture(), header(3), 80))],
)
def test_rclpys_own_serialisation_is_read(ros, kind, make):
    got = []
    images = ImageSubscription(
        ros.node, kind, 'p', lambda m, _: got.append(m), got.append, RELIABLE
    )
    images._take(bytes(serialize_message(make())), 0)
    assert bytes(got[0].data) == make().data.tobytes()
    assert got[0].header.stamp.sec == 3


def test_another_representation_is_deserialised_by_rclpy(ros, heard, monkeypatch):
    monkeypatch.setattr('midas_depth_ros.nodes.depth.camera_input.is_plain_cdr', lambda _: False)
    heard.images._take(bytes(serialize_message(image(3))), 0)
    assert isinstance(heard.messages[0][0], Image)


def test_what_passes_by_during_a_pause_is_counted_and_the_newest_one_comes(ros, heard):
    publisher = ros.publisher(Image, 'pictures')
    heard.pause_s = 1.5
    publisher.publish(image(0))
    ros.spin_until(lambda: heard.messages)
    for number in range(1, 60):  # more than the 50 that the middleware keeps
        publisher.publish(image(number))
    ros.spin_until(lambda: len(heard.messages) > 1)
    message, missed = heard.messages[1]
    assert message.header.stamp.sec == 10
    assert missed == 9


def test_nothing_passes_by_without_a_pause(ros, heard):
    publisher = ros.publisher(Image, 'pictures')
    for number in range(20):
        publisher.publish(image(number))
    ros.spin_until(lambda: len(heard.messages) == 20)
    assert [missed for _, missed in heard.messages] == [0] * 20


def test_where_rclpy_cannot_hand_over_bytes_messages_come(ros, monkeypatch):
    create = ros.node.create_subscription

    def without_raw(kind, topic, callback, profile, *, callback_group, qos_overriding_options):
        return create(kind, topic, callback, profile, callback_group=callback_group)

    monkeypatch.setattr(ros.node, 'create_subscription', without_raw)
    got = []
    ImageSubscription(ros.node, Image, 'pictures', lambda m, _: got.append(m), got.append, RELIABLE)
    ros.publisher(Image, 'pictures').publish(image(1))
    ros.spin_until(lambda: got)
    assert isinstance(got[0], Image)
