"""Nothing that is published ends the dashboard or locks out a browser: one process for all tests.

Every topic that it subscribes to gets messages with absurd values and serialised bytes under every
encapsulation, cut, damaged and random; after each kind a good message must come through.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
import urllib.error
import urllib.request

import pytest
from browsing import programs
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped, Vector3Stamped
from live_client import LiveClient
from PIL import Image as PillowImage
from rcl_interfaces.msg import ParameterEvent
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robot_messages import (
    INF,
    NAN,
    NODE,
    absurd_diagnostics,
    absurd_jpegs,
    absurd_pictures,
    absurd_points,
    absurd_ranges,
    absurd_scans,
    absurd_vectors,
    bad_bytes,
    closeness,
    diagnostics,
    jpeg_picture,
    nearest_point,
    proximity,
    raw_picture,
    scan,
)
from ros_helpers import Ros, wait_until
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.lab.processes import free_domain

pytestmark = pytest.mark.thorough

PERIOD_S = 0.02  # the dashboard thins out what comes sooner
CAMERAS = {'camera': '/camera/image_raw', 'rear': '/rear/image_raw/compressed'}
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
# type, a good message by a number from 1 to 200, absurd ones
TOPICS = {
    '/diagnostics': (DiagnosticArray, lambda n: diagnostics(CAMERAS), absurd_diagnostics),
    '/parameter_events': (ParameterEvent, lambda n: ParameterEvent(node=NODE), lambda: ()),
    'camera/closeness': (Vector3Stamped, lambda n: closeness(0.25, 0.5, n / 4), absurd_vectors),
    'camera/proximity': (Range, lambda n: proximity(n / 64), absurd_ranges),
    'camera/scan': (LaserScan, lambda n: scan((n / 64, 2.0, INF, NAN)), absurd_scans),
    'camera/nearest_point': (PointStamped, lambda n: nearest_point(n / 4, 0.5), absurd_points),
    'camera/image_raw': (Image, raw_picture, absurd_pictures),
    'rear/image_raw/compressed': (CompressedImage, jpeg_picture, absurd_jpegs),
    'camera/heatmap/image/compressed': (CompressedImage, jpeg_picture, absurd_jpegs),
}
STREAMS = {
    'camera/image_raw': 'camera/picture',
    'rear/image_raw/compressed': 'rear/picture',
    'camera/heatmap/image/compressed': 'camera/heatmap',
}
NUMBERS = itertools.count(40, 7)


def expected(number: int) -> dict:
    """Return the facts that the valid messages of a number become."""
    ranges = [round(number / 64, 4), 2.0, -1, None]
    return {
        'closeness/camera': [0.25, 0.5, number / 4],
        'proximity/camera': {'metres': round(number / 64, 4), 'clear': False, 'most': 6.0},
        'scan/camera': {'first': -0.5, 'step': 0.25, 'most': 6.0, 'ranges': ranges},
        'nearest_point/camera': [number / 4, 0.5],
    }


@pytest.fixture(scope='module')
def ros():
    with free_domain() as domain:
        ros = Ros(domain)
        yield ros
        ros.close()


@pytest.fixture(scope='module')
def dashboard(ros, tmp_path_factory):
    """One process for the whole module; it must still be the same at the end."""
    with programs(tmp_path_factory.mktemp('logs'), ros.environment) as start:
        program = start('cli.dashboard', '--port', '0', '--model', 'embedded')
        program.address = program.said(r'http://\S+')[0]
        yield program
        assert program.process.poll() is None, program.output
        assert program.stop() == 0, program.output
        assert 'Traceback' not in program.output


@pytest.fixture(scope='module')
def publishers(ros):
    return {
        topic: ros.node.create_publisher(kind, topic, RELIABLE)
        for topic, (kind, _, _) in TOPICS.items()
    }


@pytest.fixture(scope='module')
def browser(dashboard):
    with LiveClient(dashboard.address) as client:
        yield client


@pytest.fixture(scope='module')
def robot(ros, publishers, browser):
    """Publishes diagnostics of a depth node while `telling` is set."""
    telling = threading.Event()
    telling.set()
    ending = threading.Event()

    def tell() -> None:
        while not ending.wait(0.2):
            if telling.is_set():
                publishers['/diagnostics'].publish(diagnostics(CAMERAS))

    thread = threading.Thread(target=tell)
    thread.start()
    wait_subscribed(ros, publishers)
    yield telling
    ending.set()
    thread.join()


def wait_subscribed(ros, publishers) -> None:
    for topic, publisher in publishers.items():
        ros.spin_until(
            lambda p=publisher: p.get_subscription_count() > 0, 30, f'a subscriber of {topic}'
        )


def state(dashboard) -> dict:
    with urllib.request.urlopen(f'{dashboard.address}api/state', timeout=20) as answer:
        return json.loads(answer.read())


def status(dashboard) -> dict:
    with urllib.request.urlopen(f'{dashboard.address}api/status', timeout=20) as answer:
        return json.loads(answer.read())


def post(dashboard, path: str, body: str) -> tuple[int, str]:
    request = urllib.request.Request(
        f'{dashboard.address}api/{path}', body.encode(), {'Content-Type': 'application/json'}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def goes_through(ros, publishers, browser) -> None:
    """Valid messages of every kind reach a browser, with new values."""
    number = 40 + next(NUMBERS) % 150
    before = dict(browser.frames)

    def arrived() -> bool:
        for topic, (_, good, _) in TOPICS.items():
            publishers[topic].publish(good(number))
        ros.spin_for(2 * PERIOD_S)
        new = [s for s in STREAMS.values() if browser.frames.get(s, 0) >= before.get(s, 0) + 2]
        facts = {name: browser.facts.get(name) for name in expected(number)}
        return facts == expected(number) and len(new) == len(STREAMS)

    try:
        wait_until(arrived, 60)
    except AssertionError:
        pytest.fail(f'good messages: {browser.facts} {before} {browser.frames} {browser.endings}')
    for stream in STREAMS.values():
        colours = PillowImage.open(io.BytesIO(browser.jpegs[stream])).convert('RGB').getcolors()
        assert abs(max(colours)[1][0] - number) < 10, stream
    assert 'not JSON' not in browser.facts


def test_good_messages_come_through(ros, publishers, robot, browser):
    goes_through(ros, publishers, browser)


@pytest.mark.parametrize('topic', TOPICS)
def test_absurd_messages_end_nothing(ros, dashboard, publishers, robot, browser, topic):
    """Each is in the state for a while: what locks out one browser locks out all."""
    for message in TOPICS[topic][2]():
        publishers[topic].publish(message)
        ros.spin_for(PERIOD_S)
    state(dashboard)
    goes_through(ros, publishers, browser)
    assert dashboard.process.poll() is None


@pytest.mark.parametrize('topic', TOPICS)
def test_absurd_messages_lock_nobody_out_who_comes_while_they_are_the_newest(
    ros, dashboard, publishers, robot, browser, topic
):
    messages = list(TOPICS[topic][2]())[:: 7 if topic == 'camera/scan' else 5]
    for message in messages:
        publishers[topic].publish(message)
        ros.spin_for(PERIOD_S)
        state(dashboard)
        with LiveClient(dashboard.address) as newcomer:
            wait_until(lambda n=newcomer: 'present' in n.facts, what='facts for a newcomer')
            assert newcomer.connections == 1
            assert 'not JSON' not in newcomer.facts
    goes_through(ros, publishers, browser)


def test_bytes_that_are_no_messages_end_nothing(ros, dashboard, publishers, robot, browser):
    generators = [bad_bytes(good(80)) for _, good, _ in TOPICS.values()]
    for round_of_all in itertools.zip_longest(*generators):
        for topic, data in zip(TOPICS, round_of_all, strict=True):
            if data is not None:
                publishers[topic].publish(data)
        ros.spin_for(PERIOD_S)
    goes_through(ros, publishers, browser)
    assert status(dashboard)['faults']['count'] > 100
    assert status(dashboard)['robot']['working']
    # However many there were, a few log lines report them.
    assert len([line for line in dashboard.output.splitlines() if 'WARNING' in line]) < 200


@pytest.mark.parametrize(
    'body',
    [
        '{"name": "heatmap.colormap", "value": "\\ud800"}',
        '{"name": "heatmap.colormap", "value": "a\\udfffb"}',
        '{"name": "heatmap.colormap", "value": "turbo\\u0000evil"}',
        '{"name": "heatmap.colormap", "value": "a\\u001b[31m\\n"}',
        '{"name": "max_rate", "value": NaN}',
        '{"name": "max_rate", "value": -Infinity}',
        '{"name": "max_rate", "value": 1e999}',
        '{"name": "max_rate", "value": ' + '9' * 5000 + '}',
        '{"name": "max_rate", "value": 9223372036854775808}',
        '{"name": "max_rate", "name": "\\ud800", "value": 1}',
        '{"name": "max_rate", "value": {"a": 1}}',
        '{"name": "\\ud800", "value": 1}',
        '[' * 10_000,
        '{"a":' * 3000,
        '"\\ud800"',
        '',
    ],
)
def test_a_change_that_no_message_can_carry_is_refused_and_ends_nothing(
    ros, dashboard, publishers, robot, browser, body
):
    code, text = post(dashboard, 'parameters', body)
    assert code in (400, 422), text
    assert json.loads(text)['error']
    # The ROS thread still works.
    code, text = post(dashboard, 'parameters', '{"name": "max_rate", "value": 1.0}')
    assert code == 503, text
    assert 'no depth node' in text


def test_nothing_is_known_any_more_when_nothing_is_heard(
    ros, dashboard, publishers, robot, browser
):
    goes_through(ros, publishers, browser)
    assert state(dashboard)['present'] is True
    robot.clear()
    try:
        wait_until(lambda: state(dashboard)['present'] is False, 40, 'silence')
        now = state(dashboard)
        for name in ('model', 'cameras', *expected(1)):
            assert now[name] is None, name
            assert now['heard'][name]['silent']
            assert now['heard'][name]['age_s'] > now['heard'][name]['lifetime_s']
        with LiveClient(dashboard.address) as newcomer:
            wait_until(lambda: 'present' in newcomer.facts, what='facts')
            assert newcomer.facts['present'] is False
            assert newcomer.facts['proximity/camera'] is None
            assert newcomer.frames == {}
    finally:
        robot.set()
    goes_through(ros, publishers, browser)
