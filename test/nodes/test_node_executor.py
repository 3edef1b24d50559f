"""NodeExecutor: fewer turns than rclpy's executor, and nothing is missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Empty

from midas_depth_ros.lab.processes import free_domain
from midas_depth_ros.nodes.ros.spinning import NodeExecutor

try:
    from rclpy.event_handler import EventHandler, PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
    from rclpy.qos_event import QoSEventHandler as EventHandler

TIMEOUT_S = 30.0
TURNS = 40


class Counting(NodeExecutor):
    """Counts how often it looks what to wait for, and how often at events."""

    def __init__(self, *, context: Context) -> None:
        super().__init__(context=context)
        self.asked: list[object] = []
        self.events = 0

    def can_execute(self, entity: object) -> bool:
        can = super().can_execute(entity)
        self.asked.append(entity)
        self.events += can and isinstance(entity, EventHandler)
        return can


@pytest.fixture
def executor() -> Iterator[Counting]:
    with free_domain() as domain_id:
        context = Context()
        rclpy.init(args=[], context=context, domain_id=domain_id)
        made = Counting(context=context)
        made.add_node(Node('example', context=context))
        yield made
        nodes = made.get_nodes()
        made.shutdown()
        for node in nodes:
            node.destroy_node()
        rclpy.shutdown(context=context)


def spin_until(executor: Counting, done) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline, 'waited in vain'
        executor.spin_once(timeout_sec=TIMEOUT_S)


def test_a_callback_takes_one_turn_and_events_hardly_any(executor):
    (node,) = executor.get_nodes()
    calls = []
    timer = node.create_timer(0.001, lambda: calls.append(None))
    spin_until(executor, lambda: calls)
    calls.clear()
    executor.asked.clear()
    executor.events = 0
    began = time.monotonic()
    spin_until(executor, lambda: len(calls) >= TURNS)
    seconds = time.monotonic() - began
    assert executor.asked.count(timer) <= TURNS + 1
    handlers = sum(isinstance(each, EventHandler) for each in node.waitables)
    assert handlers > 0
    assert executor.events <= handlers * (1 + seconds)


def test_an_event_of_the_middleware_is_not_missed(executor):
    (node,) = executor.get_nodes()
    refused = []
    callbacks = PublisherEventCallbacks(incompatible_qos=refused.append)
    node.create_publisher(Empty, 'topic', QoSProfile(depth=1), event_callbacks=callbacks)
    node.create_timer(0.01, lambda: None)  # never idle
    executor.spin_once(timeout_sec=TIMEOUT_S)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    other = Node('other', context=node.context)
    other.create_subscription(Empty, 'topic', lambda message: None, latched)
    spin_until(executor, lambda: refused)
    other.destroy_node()
    assert refused[0].total_count == 1


def test_what_a_callback_creates_is_waited_for(executor):
    (node,) = executor.get_nodes()
    calls = []

    def first():
        node.destroy_timer(timer)
        node.create_timer(0.001, lambda: calls.append(None))

    timer = node.create_timer(0.001, first)
    began = time.monotonic()
    spin_until(executor, lambda: len(calls) > 1)
    assert time.monotonic() - began < TIMEOUT_S / 2, 'it waited for its time-out'


def test_another_thread_wakes_it(executor):
    (node,) = executor.get_nodes()
    calls = []
    other = threading.Timer(0.2, lambda: node.create_timer(0.001, lambda: calls.append(None)))
    other.start()
    began = time.monotonic()
    spin_until(executor, lambda: calls)
    other.join()
    assert time.monotonic() - began < TIMEOUT_S / 2, 'it waited for its time-out'
