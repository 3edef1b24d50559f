"""A bag through `midas_depth bag` and through depth_node over DDS: message by message."""

from __future__ import annotations

import numpy as np
import pytest
from bags import START_NS, camera_info_message, compressed_message, raw_message, write_bag
from click.testing import CliRunner
from fakes import SceneEstimator
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.nodes.bag.writer import canonical, offered, ros_types
from midas_depth_ros.nodes.depth import node as depth_node
from midas_depth_ros.nodes.depth import output
from midas_depth_ros.nodes.depth.node import DepthNode

from .test_metric_topics import MOUNT, box, scene_depth

KINDS = {**output.RELATIVE_OUTPUTS, **output.METRIC_OUTPUTS}
PARAMETERS = {**MOUNT, 'heatmap.mapping': 'log', 'depth.encoding': '16UC1', 'output_size': 'input'}
STEP_NS = 100_000_000


def pictures() -> list[np.ndarray]:
    """(240, 320, 3) uint8 RGB each, none like the other."""
    rng = np.random.default_rng(4)
    rows = np.linspace(40, 200, 240)[:, None, None]
    return [
        np.clip(rows + rng.normal(0, 20, (240, 320, 3)), 0, 255).astype(np.uint8) for _ in range(7)
    ]


def recorded(transport: str) -> list[tuple[int, str, object]]:
    """(time of receipt, topic, message): a camera whose stamps go back once, one picture broken."""
    messages = []
    stamps = [START_NS + index * STEP_NS for index in (0, 1, 2, 3, 1, 2, 3)]
    for index, (rgb, stamp) in enumerate(zip(pictures(), stamps, strict=True)):
        time = START_NS + index * STEP_NS + 5_000_000
        info = camera_info_message(rgb, stamp, focal=234.0)
        messages.append((time, '/camera/camera_info', info))
        if transport == 'raw':
            image, topic = raw_message(rgb, stamp), '/camera/image_raw'
        else:
            image, topic = compressed_message(rgb, stamp), '/camera/image_raw/compressed'
        if index == 2:
            image.data = image.data[: len(image.data) // 2]
        messages.append((time + 1_000_000, topic, image))
    return messages


def read(path) -> tuple[dict[str, list[bytes]], dict[str, list[int]], dict[str, object]]:
    """Data and times by topic, and the connections by topic."""
    data: dict[str, list[bytes]] = {}
    times: dict[str, list[int]] = {}
    with Reader(path) as reader:
        connections = {each.topic: each for each in reader.connections}
        for connection, time_ns, raw in reader.messages():
            data.setdefault(connection.topic, []).append(bytes(raw))
            times.setdefault(connection.topic, []).append(time_ns)
    return data, times, connections


@pytest.fixture(params=['scene', 'embedded'])
def make_estimator(request, monkeypatch):
    """A factory that gives each, the node and the command, an estimator of its own."""
    if request.param == 'embedded':
        return lambda settings: load_estimator('embedded')
    exact = scene_depth(box())
    monkeypatch.setattr(depth_node, 'estimator_from', lambda settings: SceneEstimator(exact))
    return lambda settings: SceneEstimator(exact)


@pytest.mark.sampled
@pytest.mark.parametrize(('transport', 'storage'), [('raw', 'mcap'), ('compressed', 'sqlite3')])
def test_the_bag_holds_what_the_node_publishes(ros, make_estimator, tmp_path, transport, storage):
    bag = write_bag(tmp_path / 'in', recorded(transport), storage)
    words = [f'{name}:={value}' for name, value in PARAMETERS.items()]
    arguments = [word for text in (*words, 'model:=embedded') for word in ('-p', text)]
    result = CliRunner().invoke(main, ['bag', str(bag), str(tmp_path / 'out'), *arguments])
    assert result.exit_code == 1, 'one picture is broken'
    assert 'at 1700000000206000000 ns' in result.output
    written, times, connections = read(tmp_path / 'out')

    live, quality = over_dds(ros, make_estimator, bag, transport, written)
    assert {topic: each.ext.offered_qos_profiles for topic, each in connections.items()} == {
        topic: [quality[topic]] for topic in connections
    }
    store, _ = ros_types()
    assert set(connections) == {f'/camera/{name}' for name in KINDS}
    for topic, messages in live.items():
        assert [canonical(store, message) for message in messages] == written.get(topic, []), topic
        for info in ros.node.get_publishers_info_by_topic(topic):
            assert connections[topic].msgtype == info.topic_type
            if hasattr(info, 'topic_type_hash'):
                assert connections[topic].digest == str(info.topic_type_hash)
    pictures_ns = [time for time, topic, _ in recorded(transport) if 'image' in topic]
    assert times['/camera/heatmap/image'] == pictures_ns[:2] + pictures_ns[3:]
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in live['/camera/heatmap/image']]
    assert stamps[2:] == [(1_700_000_000, i * STEP_NS) for i in (3, 1, 2, 3)]
    if isinstance(make_estimator(None), SceneEstimator):
        assert all(written.get(f'/camera/{name}') for name in KINDS), 'nothing left untried'


def over_dds(ros, make_estimator, bag, transport, written):
    """What a depth_node publishes of the bag, and the quality that it offers, by topic."""
    parameters = {**PARAMETERS, 'process_every_frame': True, 'transport': transport}
    node = ros.make_node(DepthNode, make_estimator, parameters=parameters)
    live = {f'/camera/{name}': ros.collect(kind, f'/camera/{name}') for name, kind in KINDS.items()}
    kind, ending = (Image, '') if transport == 'raw' else (CompressedImage, '/compressed')
    infos = ros.publisher(CameraInfo, 'camera/camera_info')
    images = ros.publisher(kind, f'camera/image_raw{ending}')
    camera = node.cameras['camera']
    ros.spin_until(
        lambda: (
            all(map(camera.output.wanted, output.RELATIVE_OUTPUTS))
            and all(map(camera.metric.wanted, output.METRIC_OUTPUTS))
        ),
        what='every output subscribed to',
    )
    data, _, _ = read(bag)

    def calibrated():
        infos.publish(data['/camera/camera_info'][0])
        ros.spin_for(0.02)
        return camera.calibration.text.startswith('camera_info 320x240')

    ros.spin_until(calibrated, what='camera_info')
    for raw in data[f'/camera/image_raw{ending}']:
        images.publish(raw)
    ros.spin_until(
        lambda: all(len(live[topic]) >= len(messages) for topic, messages in written.items()),
        what='as many messages as the bag has',
    )
    ros.spin_for(0.2)
    return live, {each.topic_name: offered(each.qos_profile) for each in node.publishers}
