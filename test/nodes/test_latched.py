"""What is published once and kept for those who come later (latched) is heard as what goes on is.

Publishers are in a context of their own, as drivers are: in ours they would be matched at once.
"""

from __future__ import annotations

import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driving import diagnostics, header, read, state
from fakes import SceneEstimator
from lifecycle_msgs.msg import State
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_helpers import Ros
from sensor_msgs.msg import CameraInfo, Image, LaserScan, Range

from midas_depth_ros.nodes.depth import calibration
from midas_depth_ros.nodes.depth.metric_sources import ReferenceInput
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message
from midas_depth_ros.options.depth import DepthNodeSettings

from .test_metric_topics import MOUNT, PICTURE, RGB, box, scene_depth

KEPT = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)
VOLATILE = QoSProfile(depth=10)
TOPIC = 'camera/camera_info'


@pytest.fixture
def driver(ros):
    """A process of its own, as far as the middleware can tell."""
    made = Ros(ros.domain_id)
    yield made
    made.close()


def info(width: int = 320) -> CameraInfo:
    return camera_info_message(PICTURE.scaled(width, width * 3 // 4), header(width))


def test_each_message_is_heard_once_whoever_publishes_and_whenever(ros, driver):
    heard: list[int] = []
    kept = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    kept.publish(info(100))
    subscription = qos.make_subscription(
        ros.node, CameraInfo, TOPIC, lambda message: heard.append(message.width), qos.LATCHED
    )
    ros.spin_until(lambda: heard == [100], what='what was there before')
    for width in (104, 108, 112):  # from now on both of our subscriptions hear it
        kept.publish(info(width))
        ros.spin_until(lambda width=width: heard[-1] == width, what='what comes now')
    volatile = driver.node.create_publisher(CameraInfo, TOPIC, VOLATILE)
    for _ in range(400):  # until it has been found
        volatile.publish(info(116))
        ros.spin_for(0.05)
        if heard[-1] == 116:
            break
    heard[4:] = [116]
    for count in (6, 7):  # the same bytes are another message all the same
        volatile.publish(info(116))
        ros.spin_until(lambda count=count: len(heard) == count, what='the same again')
    later = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    later.publish(info(120))  # before anybody can have been found
    ros.spin_until(lambda: heard[-1] == 120, what='a latched publisher that came later')
    ros.spin_for(0.3)
    assert heard == [100, 104, 108, 112, 116, 116, 116, 120]
    assert driver.node.count_subscribers(TOPIC) == 2
    for publisher in (kept, later):
        driver.executor.create_task(driver.node.destroy_publisher, publisher)
    driver.spin_until(
        lambda: driver.node.count_subscribers(TOPIC) == 1, what='one subscription for volatile ones'
    )
    volatile.publish(info(124))
    ros.spin_until(lambda: heard[-1] == 124, what='what goes on')
    again = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    again.publish(info(128))
    ros.spin_until(lambda: heard[-1] == 128, what='a latched publisher that came back')
    qos.unsubscribe(ros.node, subscription)
    driver.spin_until(
        lambda: not driver.node.count_subscribers(TOPIC), what='no subscription that is left'
    )


def test_an_ordinary_driver_is_not_warned_of_a_subscription_that_it_cannot_serve(ros, driver):
    handler = pytest.importorskip('rclpy.event_handler', reason='Humble has another')
    made = qos.make_subscription(ros.node, CameraInfo, TOPIC, lambda message: None, qos.LATCHED)
    events = driver.make_node('driver')
    refused: list[object] = []
    events.create_publisher(
        CameraInfo,
        TOPIC,
        VOLATILE,
        event_callbacks=handler.PublisherEventCallbacks(incompatible_qos=refused.append),
    )
    ros.spin_until(lambda: qos.publishers_of(ros.node, made)[0] == 1, what='the driver')
    ros.spin_for(2 * qos.FOLLOW_PERIOD_S)
    assert not refused
    assert driver.node.count_subscribers(TOPIC) == 1


@pytest.mark.parametrize(('durability', 'heard'), [('volatile', []), ('transient_local', [100])])
def test_a_durability_that_is_given_has_effect(ros, driver, durability, heard):
    name = f'qos_overrides./{TOPIC}.subscription.durability'
    node = ros.make_node('listener', parameters={name: durability})
    kept = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    kept.publish(info(100))
    got: list[int] = []
    made = qos.make_subscription(
        node, CameraInfo, TOPIC, lambda message: got.append(message.width), qos.LATCHED
    )
    ros.spin_until(kept.get_subscription_count, what='the subscription')
    ros.spin_until(lambda: got == heard, what='what was there before')
    driver.node.create_publisher(CameraInfo, TOPIC, VOLATILE)
    ros.spin_until(lambda: qos.publishers_of(node, made)[0] == 2, what='both in the graph')
    ros.spin_for(0.2)
    assert got == heard
    refused = ' '.join(qos.publishers_of(node, made)[1]).lower()
    assert ('transient local' in refused) == (durability == 'transient_local')


@pytest.mark.skipif(qos.BEST_AVAILABLE is None, reason='Humble has no best_available')
def test_the_best_that_is_available_is_heard_also_where_nobody_was_there_before(ros, driver):
    names = [
        f'qos_overrides./{TOPIC}.subscription.{each}' for each in ('durability', 'reliability')
    ]
    node = ros.make_node('listener', parameters=dict.fromkeys(names, 'best_available'))
    got: list[int] = []
    qos.make_subscription(
        node, CameraInfo, TOPIC, lambda message: got.append(message.width), qos.LATCHED
    )
    driver.node.create_publisher(CameraInfo, TOPIC, KEPT).publish(info(100))
    ros.spin_until(lambda: got == [100], what='what was published once')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    volatile = driver.node.create_publisher(CameraInfo, TOPIC, best_effort)
    for _ in range(400):
        volatile.publish(info(104))
        ros.spin_for(0.05)
        if got[-1] == 104:
            break
    assert got[-1] == 104


def test_the_overridden_durability_of_an_output_has_effect(ros, driver):
    topic = '/camera/heatmap/image'
    name = f'qos_overrides.{topic}.publisher.durability'
    node = ros.make_node('speaker', parameters={name: 'transient_local'})
    qos.make_publisher(node, Image, topic).publish(Image(width=7))
    got: list[int] = []
    driver.node.create_subscription(Image, topic, lambda message: got.append(message.width), KEPT)
    driver.spin_until(lambda: got == [7], what='what was published before')


def test_a_node_follows_its_publishers_by_one_timer(ros):
    node = ros.make_node('follower')
    made = [
        qos.make_subscription(node, CameraInfo, f'topic_{number}', print, qos.LATCHED)
        for number in range(3)
    ]
    assert len(list(node.timers)) == 1
    qos.unsubscribe(node, made[0])
    assert len(list(node.timers)) == 1
    for subscription in made[1:]:
        qos.unsubscribe(node, subscription)
    assert not list(node.timers)
    qos.make_subscription(node, CameraInfo, 'topic', print, qos.LATCHED)
    assert len(list(node.timers)) == 1


def test_of_two_subscriptions_each_message_is_new_once():
    def sent(at_s: float, number: int) -> dict[str, int]:
        return {'source_timestamp': round(at_s * 1e9), 'publication_sequence_number': number}

    twice = qos.DuplicateFilter()
    assert twice.is_new(1, b'a', sent(50, 1))
    assert twice.is_new(0, b'a', sent(100, 2)), 'of the same bytes, but sent later'
    assert not twice.is_new(1, b'a', sent(100, 2))
    assert twice.is_new(1, b'c', sent(102, 4))
    assert not twice.is_new(0, b'b', sent(101, 3)), 'it was overtaken: it is older than what is'
    assert not twice.is_new(0, b'c', sent(102, 4))
    assert twice.is_new(0, b'd', sent(103, 5))
    assert twice.is_new(1, b'e', sent(40, 1)), 'of another sender, whose clock is another'


@pytest.mark.parametrize('back_s', [0.5, 2.0, 4.9])
def test_a_sender_whose_clock_is_set_back_is_heard_on(back_s):
    twice = qos.DuplicateFilter()
    new = []
    for number in range(1, 60):
        at_s = 100 + number / 10 - (back_s if number > 30 else 0.0)
        info = {'source_timestamp': round(at_s * 1e9), 'publication_sequence_number': number}
        taken = [twice.is_new(reader, b'', info) for reader in (number % 2, 1 - number % 2)]
        new += [number] * sum(taken)
    assert new == list(range(1, 60))


def test_where_nothing_is_known_of_messages_their_bytes_tell_them_apart():
    twice = qos.DuplicateFilter()
    heard = [(0, b'a'), (1, b'a'), (0, b'a'), (0, b'a'), (1, b'a'), (1, b'b'), (0, b'b'), (1, b'a')]
    new = [taken for reader, taken in heard if twice.is_new(reader, taken, None)]
    assert new == [b'a', b'a', b'a', b'b']
    for number in range(10_000):
        twice.is_new(0, number, None)
    assert len(twice._received) <= qos.KEPT_MARKS


def test_a_reference_that_is_latched_is_looked_at_by_its_stamp(ros, driver):
    kept = driver.node.create_publisher(Range, 'camera/reference/range', KEPT)
    kept.publish(Range(header=header(7), range=1.0, max_range=4.0))
    made = ReferenceInput(ros.node, 'camera', 'range')
    ros.spin_until(lambda: made.heard, what='the reference')
    assert made._kept[-1].stamp_ns == 7 * 10**9
    made.close()


@pytest.fixture
def run(ros, driver):
    """A depth_node that sees a scene, and pictures that a driver sends it."""

    def make(**parameters):
        estimator = SceneEstimator(scene_depth(box()))
        parameters = {'diagnostics_rate': 10.0, 'max_rate': 0.0, 'image_timeout': 0.4, **parameters}
        ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images = driver.node.create_publisher(Image, 'camera/image_raw', 10)

        def until(met, rgb=RGB, timeout_s=20.0):
            deadline = time.monotonic() + timeout_s
            while not met():
                assert time.monotonic() < deadline, 'in vain'
                images.publish(image_message(rgb, header(time.time())))
                ros.spin_for(0.05)

        return until

    return make


def test_metres_by_a_camera_info_that_was_published_once_and_what_is_said_without_it(
    ros, driver, run, capfd
):
    until = run(**MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    log: list[str] = []
    statuses: list[DiagnosticStatus] = []

    def warned(words: str) -> bool:
        statuses[:] = [diagnostics(ros, 'camera camera', lambda status: True)]
        return statuses[0].level == DiagnosticStatus.WARN and words in statuses[0].message

    until(lambda: warned('no camera_info yet, so no metres'))
    assert 'publishers: 0 on /camera/camera_info' in statuses[0].message
    until(lambda: warned('no camera_info yet'))

    def words() -> list[str]:
        log.append(capfd.readouterr().err)
        return [line for line in ''.join(log).splitlines() if 'no camera_info yet' in line]

    until(words)
    assert len(words()) == 1, 'it is said once in the log'
    assert not depth

    def ok() -> bool:
        statuses[:] = [diagnostics(ros, 'camera camera', lambda status: True)]
        return statuses[0].level == DiagnosticStatus.OK

    kept = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    kept.publish(camera_info_message(PICTURE, header(1)))
    until(lambda: depth and scans)
    until(ok)
    # Pictures of another shape: their complaint does not outlive them.
    until(lambda: warned('the pictures are 320x180: ignored'), rgb=RGB[:180])
    assert 'ignored' in read(statuses[0])['calibration']
    until(ok)
    assert read(statuses[0])['calibration'] == 'camera_info 320x240'
    # Without the camera_info that is wrong now nothing is in metres, and that is said.
    broken = camera_info_message(PICTURE, header(1))
    broken.k[0] = float('nan')
    kept.publish(broken)
    until(lambda: warned('no metres: focal length fx is nan'))


class Listener:
    """What a CameraCalibration needs of a node, and what it says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warning = self.info = self.said.append

    def get_logger(self):
        return self


def test_a_camera_info_that_cannot_be_right_is_said_once_until_it_is_right(monkeypatch):
    monkeypatch.setattr(calibration, 'FAULT_LOG_PERIOD_S', 0.0)
    node = Listener()
    # An assumed field of view serves meanwhile, and is what diagnostics tell of.
    node.settings = DepthNodeSettings(horizontal_fov=1.0)
    made = calibration.CameraCalibration(node, 'front')
    for number in range(20):  # each another one: an autofocus that went wrong
        bad = camera_info_message(PICTURE, header(number))
        bad.k[0], bad.k[2] = float('nan'), 100.0 + number
        made._on_camera_info(bad)
        assert made.model_for(320, 240) is not None
    assert len(node.said) == 1
    assert 'focal length fx is nan' in node.said[0]
    assert 'assumed field of view' in made.text
    assert 'focal length fx is nan' in made.text
    for number in range(20):
        bad = camera_info_message(PICTURE, header(number))
        bad.d = [float(number + 1), float('nan'), 0.0, 0.0, 0.0]
        made._on_camera_info(bad)
    assert len(node.said) == 2, 'another fault is another sentence'
    made._on_camera_info(camera_info_message(PICTURE, header(1)))
    assert made.text == 'camera_info 320x240'


def test_a_complaint_about_the_size_of_pictures_ends_also_while_nobody_looks(ros, driver, run):
    until = run()
    info = driver.node.create_publisher(CameraInfo, TOPIC, KEPT)
    info.publish(camera_info_message(PICTURE, header(1)))

    def calibration_text() -> str:
        return read(diagnostics(ros, 'camera camera', lambda status: True))['calibration']

    heatmaps = ros.node.create_subscription(Image, 'camera/heatmap/image', lambda message: None, 1)
    until(lambda: 'ignored' in calibration_text(), rgb=RGB[:180])
    ros.executor.create_task(ros.node.destroy_subscription, heatmaps)
    until(lambda: calibration_text() == 'camera_info 320x240')
