"""<c>/depth/image/compressedDepth over real DDS, read by another decoder than ours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from depth_reader import read_depth
from diagnostic_msgs.msg import DiagnosticStatus
from driving import diagnostics, header, picture, read, set_parameter, stamp, state
from fakes import BrightnessEstimator
from lifecycle_msgs.msg import State
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_helpers import Ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan

from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import messages
from midas_depth_ros.options.metric import DepthImageOptions

from .test_metric_topics import MOUNT, box, run, scene_depth  # noqa: F401 - a fixture

COMPRESSED = 'camera/depth/image/compressedDepth'
SMALL = {'output_size': 'network', **MOUNT}


@pytest.fixture
def encoded(monkeypatch):
    """The formats that were encoded so far, whether published or not."""
    made = []

    def encode(depth_z, options, real=messages.compressed_depth):
        text, data = real(depth_z, options)
        made.append(text)
        return text, data

    monkeypatch.setattr(messages, 'compressed_depth', encode)
    return made


def metres(image: Image) -> np.ndarray:
    dtype = np.float32 if image.encoding == '32FC1' else np.uint16
    return np.frombuffer(image.data, dtype).reshape(image.height, image.width)


@pytest.mark.parametrize(
    ('encoding', 'container'), list(itertools.product(['32FC1', '16UC1'], ['png', 'rvl']))
)
def test_what_comes_back_is_the_depth_image(ros, run, encoding, container):  # noqa: F811
    options = {'depth.encoding': encoding, 'depth.compressed_format': container, 'depth.max': 5.0}
    _, send = run(scene_depth(box()), **SMALL, **options)
    images, packed = (
        ros.collect(Image, 'camera/depth/image'),
        ros.collect(CompressedImage, COMPRESSED),
    )
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    send(packed, 2)
    message = packed[-1]
    raw = ros.spin_until(lambda: next((i for i in images if stamp(i) == stamp(message)), None))
    ros.spin_until(lambda: any(info.header == message.header for info in infos))
    assert message.format == f'{encoding}; compressedDepth {container}'
    assert message.header == raw.header
    got, wanted = read_depth(message), metres(raw)
    assert got.shape == wanted.shape == (192, 256)
    if encoding == '16UC1':
        np.testing.assert_array_equal(got, wanted)
        assert 0.1 < (got == 0).mean() < 0.9, 'beyond depth.max all is unknown'
    else:
        known = np.isfinite(wanted)
        np.testing.assert_array_equal(np.isfinite(got), known)
        assert 0.1 < known.mean() < 0.9
        # By docs/cameras.md: Z^2 / (2 q (q + 1)), here of q = 50 m.
        error_m = np.abs(got - wanted)[known]
        assert (error_m <= 1.02 * wanted[known] ** 2 / 5100).all()
        assert error_m.max() > 0


def test_without_a_subscriber_nothing_is_encoded_and_a_late_one_gets_the_next_frame(
    ros,
    run,  # noqa: F811
    encoded,
):
    _, send = run(scene_depth(box()), **SMALL)
    images, scans = ros.collect(Image, 'camera/depth/image'), ros.collect(LaserScan, 'camera/scan')
    send(images, 4)
    assert not encoded
    late = ros.collect(CompressedImage, COMPRESSED)
    send(late, 2)
    assert set(encoded) == {'32FC1; compressedDepth png'}
    assert stamp(late[0]) > stamp(images[3])
    assert np.isfinite(read_depth(late[0])).any()
    assert scans, 'and all else goes on'


def test_the_compressed_image_alone_is_reason_enough_to_infer(ros, run, encoded):  # noqa: F811
    estimator, send = run(scene_depth(box()), **SMALL)
    send()
    before = estimator.calls
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # over Wi-Fi
    packed = ros.collect(CompressedImage, COMPRESSED, best_effort)
    send(packed, 2)
    assert estimator.calls > before == 0
    assert len(encoded) >= len(packed) >= 2


def test_parameters_take_effect_while_it_is_published(ros, run):  # noqa: F811
    _, send = run(scene_depth(box()), **SMALL)
    packed = ros.collect(CompressedImage, COMPRESSED)
    send(packed, 1)
    fine = packed[-1]
    wanted = read_depth(fine)

    def after(name, value) -> CompressedImage:
        accepted, reason = set_parameter(ros, name, value)
        assert accepted, reason
        send(packed, 3)
        return packed[-1]

    coarse = after('depth.compressed_quantization', 10.0)
    assert len(coarse.data) < len(fine.data)
    known = np.isfinite(wanted)
    error = np.abs(read_depth(coarse) - wanted)[known]
    assert error.max() > 0
    assert (error <= 1.1 * wanted[known] ** 2 / 220).all()
    assert len(after('depth.compressed_png_level', 9).data) < len(coarse.data)
    rvl = after('depth.compressed_format', 'rvl')
    assert rvl.format == '32FC1; compressedDepth rvl'
    np.testing.assert_array_equal(read_depth(rvl), read_depth(coarse))
    assert after('depth.encoding', '16UC1').format == '16UC1; compressedDepth rvl'
    for name, value, allowed in (
        ('depth.compressed_format', 'zstd', 'png, rvl'),
        ('depth.compressed_png_level', 10, '9'),
        ('depth.compressed_quantization', 0.0, '1'),
    ):
        accepted, reason = set_parameter(ros, name, value)
        assert not accepted
        assert name in reason
        assert allowed in reason


def test_without_a_scale_it_is_silent(ros, run, encoded):  # noqa: F811
    _, send = run(scene_depth(box()), output_size='network')
    packed = ros.collect(CompressedImage, COMPRESSED)
    relative = ros.collect(Image, 'camera/relative_inverse_depth/image')
    send(relative, 3)
    assert not packed
    assert not encoded


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_as_input_it_is_refused_by_name_and_the_node_lives_on(ros, log_lines, transport):
    """Whether its messages can be received (transport compressed) or not."""
    own = 'camera/image_raw' if transport == 'raw' else 'camera/image_raw/compressed'
    depth = '/kinect/depth/image/compressedDepth'
    driver = Ros(ros.domain_id)  # one process cannot have two types on one topic
    try:
        publisher = driver.node.create_publisher(CompressedImage, depth, 5)
        ros.make_node(
            DepthNode,
            lambda settings: BrightnessEstimator(),
            parameters={'diagnostics_rate': 10.0, 'image_timeout': 0.3, 'transport': transport},
            cli_args=['--ros-args', '-r', f'{own}:={depth}'],
        )
        out = ros.collect(Image, 'camera/relative_inverse_depth/image')
        words = f'{depth} is a depth image: subscribe to the topic of the camera picture'
        ros.spin_until(lambda: any(words in line for line in log_lines()), what='the log')
        options = DepthImageOptions(compressed_format='rvl')
        depth_z = np.full((48, 64), 2.0, np.float32)
        for number in range(10):
            publisher.publish(messages.compressed_depth_message(depth_z, header(number), options))
            # Whatever it says that it is.
            publisher.publish(messages.jpeg_message(picture(), header(number + 0.5), 90))
            ros.spin_for(0.04)
        status = diagnostics(ros, 'camera camera', lambda s: s.level != DiagnosticStatus.OK)
        assert 'is a depth image' in status.message
        assert f'(remap {own} to it)' in read(status)['incompatible publishers']
        assert not out
        assert state(ros) == State.PRIMARY_STATE_ACTIVE
    finally:
        driver.close()
