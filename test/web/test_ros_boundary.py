"""The ROS thread survives any input; if it does not, the process ends with a reason."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest
from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from robot_messages import NO_NAMES, NODE, bad_bytes, diagnostics, proximity
from ros_helpers import wait_until
from sensor_msgs.msg import Range
from std_srvs.srv import SetBool, Trigger

from midas_depth_ros.nodes.ros.quality_of_service import NEWEST
from midas_depth_ros.options.text import check_camera_name
from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_camera import is_topic_name, subscribe
from midas_depth_ros.web.ros_node import (
    MOST_STALLED_CHECKS,
    MOST_WORK,
    GuardedExecutor,
    RosThread,
)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def thread(ros, feed, faults):
    thread = RosThread(feed, 'depth_node', [], ros.domain_id, faults)
    yield thread
    assert thread.close()


@pytest.fixture
def spinning(ros, faults):
    """A node in a GuardedExecutor, in a thread that must still spin at the end."""
    from rclpy.node import Node

    node = Node('victim', context=ros.context)
    executor = GuardedExecutor(faults, context=ros.context)
    executor.add_node(node)
    stopping = threading.Event()

    def spin() -> None:
        while not stopping.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)
    thread.start()
    yield node
    assert thread.is_alive()
    stopping.set()
    thread.join()
    executor.shutdown()
    node.destroy_node()


def test_bytes_that_rmw_cannot_take_lock_nothing(ros, spinning, faults):
    """Even in a subscription without a boundary of its own."""
    heard = []
    spinning.create_subscription(Range, 'range', heard.append, 10)
    publisher = ros.publisher(Range, 'range')
    for data in bad_bytes(proximity()):
        publisher.publish(data)
        ros.spin_for(0.005)
    heard.clear()
    publisher.publish(proximity(1.5))
    wait_until(lambda: any(message.range == 1.5 for message in heard), what='a good message')


def test_what_is_raised_while_something_is_taken_is_counted(ros, faults):
    executor = GuardedExecutor(faults, context=ros.context)

    def take(entity):
        raise RuntimeError(f'{entity} cannot be taken')

    assert executor._guarded('a message', take, 'this') is None
    assert executor._guarded('a message', lambda entity: entity, 'data') == 'data'
    assert faults.summary()['last'] == 'a message: RuntimeError'
    executor.shutdown()


def test_callbacks_of_every_kind_may_raise(ros, spinning, faults):
    ticks = []

    def fail(*arguments):
        raise RuntimeError('it fails')

    def tick():
        ticks.append(1)
        raise RuntimeError('it fails')

    spinning.create_subscription(Range, 'range', fail, 10)
    spinning.create_timer(0.05, tick)
    spinning.create_service(Trigger, 'fails', fail)
    spinning.create_service(Trigger, 'works', lambda request, response: response)
    guard = spinning.create_guard_condition(fail)
    publisher = ros.publisher(Range, 'range')
    client = ros.node.create_client(Trigger, 'fails')
    ros.spin_until(client.service_is_ready)
    for _ in range(5):
        publisher.publish(proximity())
        client.call_async(Trigger.Request())
        guard.trigger()
        ros.spin_for(0.05)
    kinds = {'a message', 'a timer', 'a call of a service', 'work for the ROS thread'}
    wait_until(lambda: kinds <= set(faults.summary()['kinds']), what='faults of every kind')
    ros.call(Trigger, 'works', Trigger.Request())
    count = len(ticks)
    wait_until(lambda: len(ticks) > count + 2, what='a timer that goes on')


def test_what_is_listened_to_may_be_anything(ros, spinning, faults):
    heard = []

    def callback(message):
        heard.append(message.range)
        if message.range == 2.0:
            raise RuntimeError('it fails')

    subscribe(spinning, Range, 'range', callback, NEWEST, faults, period_s=0.0)
    publisher = ros.publisher(Range, 'range')
    for metres in (1.0, 2.0, 3.0):
        wait_until(lambda m=metres: publisher.publish(proximity(m)) or m in heard, what=f'{metres}')
        ros.spin_for(0.02)
    assert 'Range on range' in faults.summary()['kinds']


def test_messages_that_are_too_large_or_too_many_are_not_read(ros, spinning, faults):
    heard = []
    publisher = ros.node.create_publisher(Range, 'range', 10)
    subscribe(spinning, Range, 'range', heard.append, NEWEST, faults, period_s=3600.0)
    for _ in range(50):
        publisher.publish(proximity())
        ros.spin_for(0.01)
    assert len(heard) == 1
    subscribe(spinning, Range, 'large', heard.append, NEWEST, faults)
    large = ros.publisher(Range, 'large')
    wait_until(
        lambda: large.publish(bytes(3 * 2**20)) or 'Range on large' in faults.summary()['kinds']
    )
    assert len(heard) == 1


def test_messages_that_take_long_to_read_leave_time_for_others(ros, spinning, faults):
    slow, quick = [], []

    def dawdle(message):
        slow.append(message)
        time.sleep(0.2)

    subscribe(spinning, Range, 'slow', dawdle, NEWEST, faults)
    subscribe(spinning, Range, 'quick', quick.append, NEWEST, faults)
    publishers = [ros.publisher(Range, topic) for topic in ('slow', 'quick')]
    for _ in range(150):
        for publisher in publishers:
            publisher.publish(proximity())
        ros.spin_for(0.02)
    assert 1 <= len(slow) < 10
    assert len(quick) > 3 * len(slow)


@pytest.mark.parametrize('name', NO_NAMES)
def test_names_that_ros_does_not_take_are_told_apart(ros, name):
    """By the rules of ROS itself."""
    from rclpy.validate_full_topic_name import validate_full_topic_name

    full = f'/{name}/scan'
    try:
        good = bool(validate_full_topic_name(full))
    except Exception:  # noqa: BLE001 - whatever it raises
        good = False
    if is_topic_name(full):
        assert good
    if not check_camera_name(name):
        assert good


@pytest.mark.parametrize('name', ['camera', 'front', 'a/b', 'C1_x'])
def test_names_of_cameras_are_taken(name):
    assert not check_camera_name(name)
    assert is_topic_name(f'/robot/{name}/image_raw')


def test_a_name_of_a_node_that_is_none_is_refused_at_the_start(ros, feed):
    for name in ('a b', '', '/', '9', 'x' * 300):
        with pytest.raises(ValueError, match='not a valid node name'):
            RosThread(feed, name, [], ros.domain_id)


def test_a_simulated_clock_is_not_listened_to(ros, feed):
    """Nothing here uses it, and it would be one more input."""
    arguments = ['--ros-args', '-p', 'use_sim_time:=true']
    thread = RosThread(feed, 'depth_node', arguments, ros.domain_id)
    try:
        assert not thread._node.get_parameter('use_sim_time').value
        ros.spin_for(0.5)
        assert '/clock' not in dict(ros.node.get_topic_names_and_types())
    finally:
        thread.close()


def test_work_that_fails_or_whose_asker_is_gone_ends_nothing(ros, thread, faults, feed):
    node = thread._node
    for _ in range(5):
        node.call_soon(lambda: 1 / 0)
    gone: list[Future[str]] = [Future(), Future()]
    assert all(future.cancel() for future in gone)
    node.call_soon(lambda: node.parameters.set('max_rate', 1.0, gone[0]))
    node.call_soon(lambda: node.parameters.enable(True, gone[1]))
    answer: Future[str] = Future()
    node.call_soon(lambda: node.parameters.set('max_rate', '\ud800', answer))
    with pytest.raises((UnicodeEncodeError, ConnectionError)):
        answer.result(20)
    assert faults.summary()['kinds']['work for the ROS thread'] == 5
    assert thread.failure() == ''


def test_what_ros_is_asked_is_bounded(ros, thread, feed):
    hold = threading.Event()
    thread._node.call_soon(lambda: hold.wait(30))
    ros.spin_for(0.3)
    for _ in range(MOST_WORK):
        thread._node.call_soon(lambda: None)
    with pytest.raises(Refused) as refused:
        thread._node.call_soon(lambda: None)
    assert refused.value.status_code == 503
    hold.set()
    wait_until(lambda: not thread._node._work, what='the work that is done')


class HostileNode:
    """The services of depth_node, with answers that no depth node would give."""

    def __init__(self, ros, value=None) -> None:
        self.node = ros.make_node('depth_node', start_parameter_services=False)
        self.answers = True
        self.value = value
        make = self.node.create_service
        make(DescribeParameters, f'{NODE}/describe_parameters', self.describe)
        make(GetParameters, f'{NODE}/get_parameters', self.get)
        make(SetParameters, f'{NODE}/set_parameters', lambda request, response: response)
        make(SetBool, f'{NODE}/enable', lambda request, response: response)
        self.publisher = ros.node.create_publisher(type(diagnostics()), '/diagnostics', 10)

    def describe(self, request, response):
        response.descriptors = [
            ParameterDescriptor(
                name=name,
                type=255,
                description='\x1b[31m' * 5000,
                additional_constraints='one_of: [' + ', '.join(['"abc"', '[7]'] * 2000) + '] ; ]',
            )
            for name in [*request.names, 'not asked for', '__proto__']
        ]
        return response

    def get(self, request, response):
        response.values = [
            ParameterValue(type=3, double_value=float('nan')),
            ParameterValue(type=255),
            ParameterValue(type=2, integer_value=2**63 - 1),
        ] * 40
        response.values = response.values[: len(request.names)]
        return response


def test_answers_that_no_depth_node_gives_end_nothing(ros, thread, feed, faults):
    hostile = HostileNode(ros)

    def read() -> bool:
        hostile.publisher.publish(diagnostics())
        ros.spin_for(0.2)
        return feed.facts().get('parameters') is not None

    wait_until(read, 30, 'parameters')
    assert {fact['value'] for fact in feed.facts()['parameters']} == {None}
    with pytest.raises(Refused, match='gave no answer'):
        asyncio.run(thread.set_parameter('max_rate', 1.0))
    with pytest.raises(Refused) as refused:
        asyncio.run(thread.set_enabled(True))
    assert refused.value.status_code == 409
    assert thread.failure() == ''


def test_calls_that_are_never_answered_are_forgotten(ros, thread, feed, monkeypatch):
    from midas_depth_ros.web import ros_node, ros_parameters

    monkeypatch.setattr(ros_parameters, 'ANSWER_S', 0.5)
    monkeypatch.setattr(ros_node, 'ANSWER_S', 0.5)
    hostile = HostileNode(ros)
    clients = thread._node.parameters
    ros.spin_until(lambda: clients._set.service_is_ready())
    ros.executor.remove_node(hostile.node)
    ros.spin_for(0.3)  # the executor no longer waits for it either: nothing answers any more
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            asyncio.run(thread.set_parameter('max_rate', 1.0))
        assert refused.value.status_code == 504
    wait_until(lambda: not clients._calls and not clients._set._pending_requests, what='none left')


def test_an_answer_to_one_who_is_gone_ends_nothing(ros, feed, faults):
    """Like a dashboard that was stopped while it waited."""
    hostile = HostileNode(ros)
    thread = RosThread(feed, 'depth_node', [], ros.domain_id, faults)
    ros.spin_until(lambda: thread._node.parameters._set.service_is_ready())
    ros.spin_for(0.3)  # until the node has discovered it
    ros.executor.remove_node(hostile.node)
    ros.spin_for(0.3)  # the executor no longer waits for it either
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(thread.set_parameter('max_rate', 1.0), 0.5))
    assert thread.close()
    ros.executor.add_node(hostile.node)
    ros.spin_for(0.5)
    assert ros.call(SetBool, f'{NODE}/enable', SetBool.Request(data=True)) is not None


def test_a_flood_of_events_is_no_flood_of_questions(ros, thread, feed):
    asked = []
    hostile = HostileNode(ros)
    describe = hostile.describe
    hostile.describe = None
    hostile.node.destroy_service(next(iter(hostile.node.services)))
    hostile.node.create_service(
        DescribeParameters,
        f'{NODE}/describe_parameters',
        lambda request, response: asked.append(1) or describe(request, response),
    )
    events = ros.publisher(ParameterEvent, '/parameter_events')
    until = time.monotonic() + 2
    while time.monotonic() < until:
        events.publish(ParameterEvent(node=NODE))
        hostile.publisher.publish(diagnostics())
        time.sleep(0.002)
    assert 1 <= len(asked) < 30


def test_a_thread_that_ends_is_trouble(ros, feed, faults, monkeypatch):
    thread = RosThread(feed, 'depth_node', [], ros.domain_id, faults)
    assert thread.failure() == ''
    monkeypatch.setattr('midas_depth_ros.web.ros_node.WAIT_S', 0.001)

    def fail(timeout_sec):
        raise RuntimeError('rcl is broken')

    monkeypatch.setattr(thread._executor, 'spin_once', fail)
    wait_until(thread.failure, 30, 'failure')
    assert 'rcl is broken' in thread.failure()
    assert not thread.summary()['working']
    thread.close()


def test_a_thread_that_hangs_is_trouble_and_one_that_stood_still_with_the_process_is_none(
    ros, thread
):
    hold = threading.Event()
    assert [thread.failure() for _ in range(3)] == ['', '', '']
    thread._node.call_soon(lambda: hold.wait(30))
    ros.spin_for(0.5)
    said = [thread.failure() for _ in range(MOST_STALLED_CHECKS + 3)]
    hold.set()
    assert said[: MOST_STALLED_CHECKS // 2] == [''] * (MOST_STALLED_CHECKS // 2)
    assert 'hangs' in said[-1]
    wait_until(lambda: thread.failure() == '', what='it goes round again')


PROGRAM = """
import sys, threading, time
from midas_depth_ros.web import ros_node
from midas_depth_ros.web.ros_node import DashboardNode
ros_node.MOST_STALLED_CHECKS = 3
ros_node.CLOSING_S = 1.0
tick = DashboardNode._tick
started = time.monotonic()
def sabotaged(self):
    if time.monotonic() - started > 3:
        SABOTAGE
    tick(self)
DashboardNode._tick = sabotaged
from midas_depth_ros.cli.dashboard import main
main(['--port', '0', '--model', 'embedded'])
"""


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('sabotage', 'words'),
    [
        ('raise SystemExit(0)', 'has ended'),
        ('self.context.shutdown()', 'has ended'),
        ('time.sleep(3600)', 'hangs'),
    ],
)
def test_without_its_ros_thread_the_process_ends_with_a_reason(ros, sabotage, words):
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM.replace('SABOTAGE', sabotage)],
        capture_output=True,
        text=True,
        timeout=100,
        env=ros.environment,
    )
    assert result.returncode == 1, result.stderr
    assert f'Error: the ROS thread {words}' in result.stderr
    assert 'Traceback' not in result.stderr
