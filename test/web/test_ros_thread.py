"""The dashboard with a real depth node over DDS: facts, frames, parameters, restarts."""

from __future__ import annotations

import asyncio
import io
import threading

import numpy as np
import pytest
from driving import header, picture
from fakes import BrightnessEstimator
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range
from starlette.testclient import TestClient

from midas_depth_ros.geometry import turned
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import image_message, jpeg_message
from midas_depth_ros.options.declarations import specs_for_values
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import read_parameters
from midas_depth_ros.web import ros_node
from midas_depth_ros.web.app import PARAMETER_FACTS, Dashboard
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_node import RosThread

# rmw's warning about an answer to a client not discovered yet; the request is repeated.
pytestmark = pytest.mark.filterwarnings('ignore:failed to send response')


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def dashboard(ros, feed):
    thread = RosThread(feed, 'depth_node', [], ros.domain_id)
    yield thread
    thread.close()


@pytest.fixture
def start(ros):
    def make(cli_args=None, **parameters):
        parameters = {'diagnostics_rate': 10.0, 'max_rate': 0.0, **parameters}
        return ros.make_node(
            DepthNode,
            lambda settings: BrightnessEstimator(),
            parameters=parameters,
            cli_args=cli_args,
        )

    return make


@pytest.fixture
def viewer(feed):
    """A connected browser, for the length of the test."""
    gone = threading.Event()

    async def look() -> None:
        with feed.viewing(9):
            while not gone.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=asyncio.run, args=[look()])
    thread.start()
    yield
    gone.set()
    thread.join()


def fact(ros, feed, name: str, good=lambda value: value, timeout: float = 30.0):
    """Return a fact once it is as expected."""
    ros.spin_until(lambda: good(feed.facts().get(name)), timeout, what=f'{name}: {feed.facts()}')
    return feed.facts()[name]


def value_of(feed, name: str):
    parameters = feed.facts().get('parameters') or []
    return next((each['value'] for each in parameters if each['name'] == name), None)


def send_until(ros, publisher, make, met) -> None:
    for number in range(600):
        publisher.publish(make(number))
        ros.spin_for(0.03)
        if met():
            return
    raise AssertionError('nothing came of 600 messages')


def shown(feed, stream: str) -> np.ndarray | None:
    frame = feed.pictures().get(stream)
    data = frame.jpeg() if frame else b''
    return np.asarray(PillowImage.open(io.BytesIO(data)).convert('RGB')) if data else None


def test_a_refusal_comes_with_the_reason_of_the_node(ros, feed, dashboard, start):
    start()
    fact(ros, feed, 'parameters')
    for name, value, words in (
        ('heatmap.colormap', 'pink', ['pink', 'inferno']),
        ('max_rate', -1, ['max_rate']),
        ('camera_height', 'high', ['camera_height', 'high']),
        ('heatmap.percentile_low', True, ['heatmap.percentile_low']),
    ):
        with pytest.raises(Refused) as refused:
            asyncio.run(dashboard.set_parameter(name, value))
        assert refused.value.status_code == 409
        for word in words:
            assert word in refused.value.text
    assert value_of(feed, 'heatmap.colormap') == 'inferno'


@pytest.mark.parametrize('only_changed', [False, True])
def test_the_file_of_the_parameters_makes_the_same_node_again(
    ros, feed, dashboard, start, tmp_path, only_changed
):
    given = {
        'cameras': ['front', 'rear'],
        'camera_height': 0.25,
        'mounts.rear.camera_yaw': 3.0,
        'body_frame': "robot's/base",
        'max_rate': 7.0,
        'scale.fixed_shift': -1e-05,
        'heatmap.legend': False,
        'max_pixels': 123456,
    }
    node = start(**given)
    fact(ros, feed, 'other_parameters')
    fact(ros, feed, 'mount_parameters')
    fact(ros, feed, 'parameters')
    served = TestClient(Dashboard(BrightnessEstimator, feed).asgi, 'http://127.0.0.1:8080')
    answer = served.get(f'/api/parameters.yaml?only_changed={only_changed}')
    assert answer.headers['content-type'].startswith('application/yaml')
    file = tmp_path / 'depth_node.yaml'
    file.write_text(answer.text)
    assert ('expiry' in answer.text) is not only_changed
    settings = node.settings
    names = {each['name'] for fact in PARAMETER_FACTS for each in feed.facts()[fact]}
    assert names == set(specs_for_values(DepthNodeSettings, given))
    ros.destroy(node)
    again = ros.make_node(
        DepthNode,
        lambda settings: BrightnessEstimator(),
        cli_args=['--ros-args', '--params-file', str(file)],
        parameters={} if only_changed else {'diagnostics_rate': 10.0},
    )
    # NaN differs from itself: compared as text.
    assert repr(again.settings) == repr(settings)
    read = read_parameters('depth_node', DepthNodeSettings, [file], [])
    assert read['scale.fixed_shift'] == -1e-05
    assert read['mounts.rear.camera_yaw'] == 3.0


@pytest.mark.parametrize('count', [ros_node.MOST_CAMERAS, ros_node.MOST_CAMERAS + 1])
def test_the_file_has_the_mounts_of_all_cameras_or_is_refused(ros, feed, dashboard, start, count):
    given = {'cameras': [f'a_camera_with_a_name_of_some_length/camera_{i}' for i in range(count)]}
    start(**given)
    for name in PARAMETER_FACTS:
        fact(ros, feed, name)
    answer = TestClient(Dashboard(BrightnessEstimator, feed).asgi, 'http://127.0.0.1:8080').get(
        '/api/parameters.yaml'
    )
    if count > ros_node.MOST_CAMERAS:
        assert answer.status_code == 404
        assert 'mounts.a_camera_with_a_name' in answer.json()['error']
        assert 'ros2 param dump /depth_node' in answer.json()['error']
        return
    assert answer.text.count('imu_topic:') == 1 + count
    names = {each['name'] for name in PARAMETER_FACTS for each in feed.facts()[name]}
    assert names == set(specs_for_values(DepthNodeSettings, given))


def test_without_a_node_there_is_no_file_of_its_parameters(feed):
    client = TestClient(Dashboard(BrightnessEstimator, feed).asgi, 'http://127.0.0.1:8080')
    assert client.get('/api/parameters.yaml').status_code == 404
    feed.set_fact('present', True)
    assert client.get('/api/parameters.yaml').status_code == 404


def test_parameters_are_set_and_told_to_every_browser(ros, feed, dashboard, start):
    node = start()
    parameters = {each['name']: each for each in fact(ros, feed, 'parameters')}
    assert parameters['heatmap.colormap']['choices'][0] == 'inferno'
    assert parameters['heatmap.overlay_alpha']['low'] == 0.0
    assert parameters['heatmap.overlay_alpha']['high'] == 1.0
    assert parameters['camera_height']['value'] is None
    for name, value in (('heatmap.colormap', 'turbo'), ('camera_height', 1), ('max_rate', 2)):
        asyncio.run(dashboard.set_parameter(name, value))
        ros.spin_until(lambda n=name, v=value: value_of(feed, n) == v, what=name)
    assert (node.settings.heatmap.colormap, node.settings.camera_height) == ('turbo', 1.0)
    asyncio.run(dashboard.set_parameter('camera_height', None))
    ros.spin_until(lambda: node.settings.camera_height != node.settings.camera_height)
    # Changes by others are seen too.
    from driving import set_parameter

    assert set_parameter(ros, 'heatmap.colormap', 'jet')[0]
    ros.spin_until(lambda: value_of(feed, 'heatmap.colormap') == 'jet', what='jet')


def test_the_node_infers_only_while_somebody_looks(ros, feed, dashboard, start):
    node = start()
    publisher = ros.publisher(Image, 'camera/image_raw')
    fact(ros, feed, 'cameras')
    for second in range(20):
        publisher.publish(image_message(picture(), header(second)))
        ros.spin_for(0.02)
    assert node._estimator.calls == 0
    assert feed.pictures() == {}


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_pictures_and_heatmaps_come_while_somebody_looks(
    ros, feed, dashboard, start, viewer, transport
):
    start(transport=transport)
    fact(ros, feed, 'cameras')
    colourful = np.zeros((48, 64, 3), np.uint8)
    colourful[:, :32] = (250, 10, 10)

    def make(second: int):
        if transport == 'raw':
            return image_message(colourful, header(second))
        return jpeg_message(colourful, header(second), 95)

    kind, name = (
        (Image, 'image_raw') if transport == 'raw' else (CompressedImage, 'image_raw/compressed')
    )
    publisher = ros.publisher(kind, f'camera/{name}')
    closeness = []

    def all_is_there() -> bool:  # kept at once, since it expires
        closeness.append(feed.facts().get('closeness/camera'))
        return bool(closeness[-1]) and {'camera/picture', 'camera/heatmap'} <= {*feed.pictures()}

    send_until(ros, publisher, make, all_is_there)
    seen = shown(feed, 'camera/picture')
    assert seen.shape == (48, 64, 3)
    assert (np.abs(seen[:, 8:24].astype(int) - (250, 10, 10)) < 30).all()
    assert shown(feed, 'camera/heatmap').shape == (48, 64, 3)
    assert len(closeness[-1]) == 3


@pytest.mark.parametrize(('transport', 'rotate'), [('raw', 180), ('compressed', 90)])
def test_what_a_camera_on_its_head_sends_is_shown_upright(
    ros, feed, dashboard, start, viewer, transport, rotate
):
    """On topics whose names do not reveal their types."""
    kind, name = (
        (Image, 'image_raw') if transport == 'raw' else (CompressedImage, 'image_raw/compressed')
    )
    topic = '/eye/compressed' if transport == 'raw' else '/eye/small'
    remap = ['--ros-args', '-r', f'camera/{name}:={topic}']
    start(transport=transport, rotate=rotate, cli_args=remap)
    colourful = np.zeros((48, 64, 3), np.uint8)
    colourful[:, :32] = (250, 10, 10)
    sent = turned(colourful, -rotate % 360)

    def make(second: int):
        if transport == 'raw':
            return image_message(sent, header(second))
        return jpeg_message(sent, header(second), 95)

    publisher = ros.publisher(kind, topic)
    wanted = {'camera/picture', 'camera/heatmap'}
    send_until(ros, publisher, make, lambda: wanted <= {*feed.pictures()})
    seen = shown(feed, 'camera/picture')
    assert seen.shape == (48, 64, 3)
    assert (np.abs(seen[:, 8:24].astype(int) - (250, 10, 10)) < 30).all()
    assert shown(feed, 'camera/heatmap').shape == (48, 64, 3)


def test_readings_that_fall_silent_are_unknown(ros, feed, dashboard, start, viewer):
    start()
    fact(ros, feed, 'cameras')
    readings = {
        'scan': ros.node.create_publisher(LaserScan, 'camera/scan', 1),
        'proximity': ros.node.create_publisher(Range, 'camera/proximity', 1),
    }
    scan = LaserScan(angle_increment=0.1, range_max=6.0, ranges=[1.0])
    proximity = Range(range=0.5, max_range=6.0)

    def heard() -> bool:
        readings['scan'].publish(scan)
        readings['proximity'].publish(proximity)
        ros.spin_for(0.05)
        return all(feed.facts().get(f'{name}/camera') for name in readings)

    ros.spin_until(heard, what='scan and proximity')
    assert feed.facts()['proximity/camera']['metres'] == 0.5

    def only_scan() -> bool:
        readings['scan'].publish(scan)
        ros.spin_for(0.05)
        facts = feed.facts()
        return facts['proximity/camera'] is None and facts['scan/camera'] is not None

    ros.spin_until(only_scan, what='a proximity that is forgotten beside a scan that is not')
    fact(ros, feed, 'scan/camera', lambda value: value is None)


def test_a_malformed_picture_is_left_out(ros, feed, dashboard, start, viewer):
    start()
    fact(ros, feed, 'cameras')
    publisher = ros.publisher(Image, 'camera/image_raw')

    def make(second: int) -> Image:
        message = image_message(picture(), header(second))
        message.step = 7
        return message

    send_until(ros, publisher, make, lambda: 'camera/picture' in feed.pictures())
    assert feed.pictures()['camera/picture'].jpeg() == b''


def test_a_node_that_goes_and_comes_back_is_followed(ros, feed, dashboard, start, viewer):
    node = start()
    fact(ros, feed, 'present')
    fact(ros, feed, 'parameters')
    ros.destroy(node)
    fact(ros, feed, 'present', lambda value: value is False)
    fact(ros, feed, 'parameters', lambda value: value is None)
    with pytest.raises(Refused) as refused:
        asyncio.run(dashboard.set_enabled(False))
    assert refused.value.status_code in (503, 504)
    start(cameras=['front', 'rear'])
    fact(ros, feed, 'present')
    fact(ros, feed, 'parameters')
    assert set(fact(ros, feed, 'cameras')) == {'front', 'rear'}
    publisher = ros.publisher(Image, 'rear/image_raw')
    send_until(
        ros,
        publisher,
        lambda second: image_message(picture(), header(second)),
        lambda: 'rear/heatmap' in feed.pictures(),
    )


def test_a_node_whose_diagnostics_are_rare_counts_as_there_only_while_it_answers(
    ros, feed, monkeypatch, start
):
    """Diagnostics every ten seconds were valid for thirty: a dead node looked alive."""
    monkeypatch.setattr(ros_node, 'ALIVE_S', 1.1)
    monkeypatch.setattr(ros_node, 'ASK_AFTER_S', 0.3)
    monkeypatch.setattr(ros_node.LifetimeEstimator, 'update', lambda self, now_s: 1000.0)
    thread = RosThread(feed, 'depth_node', [], ros.domain_id)
    try:
        node = start(diagnostics_rate=0.5)
        fact(ros, feed, 'present')
        seen = []
        for _ in range(18):
            ros.spin_for(0.1)
            seen.append((feed.facts()['present'], feed.facts()['model'] is not None))
        assert set(seen) == {(True, True)}
        ros.destroy(node)
        fact(ros, feed, 'present', lambda value: value is False)
        ros.spin_for(1.0)
        assert feed.facts()['present'] is False
        assert feed.facts()['model'] is feed.facts()['cameras'] is None
    finally:
        thread.close()


def test_pause_and_resume(ros, feed, dashboard, start):
    start()

    def enabled(value: str):
        return lambda model: model and model['values']['enabled'] == value

    fact(ros, feed, 'model', enabled('True'))
    topic = feed.facts()['cameras']['camera']['values']['topic']
    asyncio.run(dashboard.set_enabled(False))
    fact(ros, feed, 'model', enabled('False'))
    # The camera's own picture continues.
    assert feed.facts()['cameras']['camera']['values']['topic'] == topic == '/camera/image_raw'
    asyncio.run(dashboard.set_enabled(True))
    fact(ros, feed, 'model', enabled('True'))


def test_an_inactive_node_says_why_it_cannot_be_resumed(ros, feed, dashboard, start):
    start(autostart=False)
    fact(ros, feed, 'parameters')
    with pytest.raises(Refused) as refused:
        asyncio.run(dashboard.set_enabled(True))
    assert refused.value.status_code == 409
    assert 'activate' in refused.value.text


def test_without_a_node_a_change_is_refused(ros, feed, dashboard):
    with pytest.raises(Refused) as refused:
        asyncio.run(dashboard.set_parameter('max_rate', 1.0))
    assert refused.value.status_code == 503
    assert '/depth_node' in refused.value.text


def test_a_namespace_holds_for_the_node_that_is_watched(ros, feed):
    thread = RosThread(feed, 'depth_node', ['--ros-args', '-r', '__ns:=/robot'], ros.domain_id)
    assert feed.facts()['ros'] == {'depth_node': '/robot/depth_node'}
    thread.close()
    with pytest.raises(RuntimeError):
        RosThread(feed, 'depth_node', ['--ros-args', '-p', 'rubbish'], ros.domain_id)
