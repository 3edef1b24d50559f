"""Bags of real pictures replayed against depth_node: both storages, both transports."""

from __future__ import annotations

import select
import signal
import sys

import cv2
import numpy as np
import pytest
from bags import START_NS, write_image_bag
from driving import DEPTH, HEATMAP, stamp, values
from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import Image

from midas_depth_ros.depth import load_estimator

from .test_processes import process, wait_active

RATE_HZ = 10.0
SIZE = (320, 240)


@pytest.fixture(scope='module')
def pictures(shared_data):
    """Real pictures of one size: (240, 320, 3) uint8 RGB."""
    paths = sorted((shared_data / 'plain').glob('*.jpg'))
    assert len(paths) >= 10
    read = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    return [cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA) for rgb in read]


def command(node: str, **parameters) -> list[str]:
    words = [f'{name}:={value}' for name, value in parameters.items()]
    arguments = [word for text in words for word in ('-p', text)]
    return [sys.executable, '-m', f'midas_depth_ros.nodes.{node}', '--ros-args', *arguments]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('storage', 'transport', 'tolerance'),
    [('sqlite3', 'raw', 1e-6), ('mcap', 'raw', 1e-6), ('mcap', 'compressed', None)],
)
def test_every_frame_of_a_bag_comes_out_with_its_stamp(
    ros, pictures, tmp_path, storage, transport, tolerance
):
    bag = write_image_bag(
        tmp_path / 'bag',
        pictures,
        storage=storage,
        compressed=transport == 'compressed',
        rate_hz=RATE_HZ,
        with_camera_info=True,
    )
    options = {'model': 'embedded', 'process_every_frame': 'true', 'transport': transport}
    with process(command('depth.node', **options), ros) as node:
        wait_active(ros)
        depth = ros.collect(Image, DEPTH)
        heat = ros.collect(Image, HEATMAP)
        near = ros.collect(Vector3Stamped, 'camera/closeness')
        source = command(
            'sources.image_stream',
            source=bag,
            stamps='original',
            transport=transport,
            wait_for_subscribers=1,
            start_delay=1.0,
        )
        with process(source, ros) as stream:
            said, _ = stream.communicate(timeout=60)
        assert stream.returncode == 0, said
        expected = [START_NS / 1e9 + index / RATE_HZ for index in range(len(pictures))]
        for messages in (depth, heat, near):
            ros.spin_until(lambda m=messages: len(m) >= len(pictures), what='every frame')
            assert [stamp(message) for message in messages] == pytest.approx(expected, abs=1e-6)
            assert {m.header.frame_id for m in messages} == {'recorded_optical_frame'}
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    if tolerance is not None:
        estimator = load_estimator('embedded')
        for message, rgb in zip(depth, pictures, strict=True):
            np.testing.assert_allclose(values(message), estimator.estimate(rgb), atol=tolerance)
    assert all(values(message).shape == (SIZE[1], SIZE[0], 3) for message in heat)


LISTENER = """
import sys
import rclpy
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import Image

def take(message):
    stamps.append(message.header.stamp)
    print('first', flush=True) if len(stamps) == 1 else None

stamps = []
rclpy.init()
node = rclpy.create_node('listener')
node.create_subscription(Image, sys.argv[1], take, QoSProfile(history=HistoryPolicy.KEEP_ALL))
while len(stamps) < int(sys.argv[2]):
    rclpy.spin_once(node)
print(*(f'{stamp.sec}.{stamp.nanosec:09d}' for stamp in stamps))
"""


@pytest.mark.thorough
@pytest.mark.parametrize('stalled', ['depth_node', 'who listens to it'])
def test_who_stalls_during_a_replay_loses_nothing(ros, pictures, tmp_path, stalled):
    bag = write_image_bag(tmp_path / 'bag', 3 * pictures, rate_hz=RATE_HZ)
    count = 3 * len(pictures)
    node_command = command('depth.node', model='embedded', process_every_frame='true')
    listener_command = [sys.executable, '-c', LISTENER, DEPTH, count]
    start = {'wait_for_subscribers': 1, 'start_delay': 1.0}
    play = command('sources.image_stream', source=bag, stamps='original', **start)
    with process(node_command, ros) as node, process(listener_command, ros) as listener:
        wait_active(ros)
        topic = f'/{DEPTH}'
        ros.spin_until(lambda: ros.node.count_subscribers(topic) == 1, what='the listener')
        with process(play, ros) as stream:
            assert select.select([listener.stdout], [], [], 60)[0], 'nothing arrives'
            assert listener.stdout.readline() == 'first\n'
            slow = node if stalled == 'depth_node' else listener
            slow.send_signal(signal.SIGSTOP)
            ros.spin_for(2.0)
            slow.send_signal(signal.SIGCONT)
            said, _ = stream.communicate(timeout=60)
        assert stream.returncode == 0, said
        assert listener.wait(timeout=20) == 0
        stamps = listener.stdout.read()
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    expected = [START_NS / 1e9 + index / RATE_HZ for index in range(count)]
    assert list(map(float, stamps.split())) == pytest.approx(expected, abs=1e-6)


def test_a_looping_bag_in_simulated_time_goes_on(ros, pictures, tmp_path):
    bag = write_image_bag(tmp_path / 'bag', pictures[:5], rate_hz=RATE_HZ)
    options = {'model': 'embedded', 'use_sim_time': 'true', 'max_rate': 100.0}
    with process(command('depth.node', **options), ros) as node:
        wait_active(ros)
        depth = ros.collect(Image, DEPTH)
        source = command(
            'sources.image_stream', source=bag, stamps='original', loop='true', publish_clock='true'
        )
        with process(source, ros) as stream:
            ros.spin_until(lambda: len(depth) >= 12, timeout=40, what='two loops')
            stream.send_signal(signal.SIGINT)
            said, _ = stream.communicate(timeout=20)
        assert stream.returncode == 0, said
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert np.diff([stamp(message) for message in depth]).min() < 0, 'it did not loop'
    assert 'stamps went back' in text
