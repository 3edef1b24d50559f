"""ROS for tests: a context and domain of its own, spun in a thread, closed without a trace.

The fixture `ros` gives a `Ros`; `test/nodes/conftest.py` and `test/e2e/conftest.py` import it.
Nodes are made with `ros.make_node`, messages gathered with `ros.collect`, and conditions awaited
with `ros.spin_until`. A callback that raises fails the test, also where the node survives that.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# Read by the middleware when a context is made: nothing of a test leaves the machine.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
if os.environ.get('ROS_DISTRO') == 'humble':
    os.environ['ROS_LOCALHOST_ONLY'] = '1'

import pytest
import rclpy
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from midas_depth_ros.lab.processes import free_domain
from midas_depth_ros.nodes.ros.boundary import faults_of

with warnings.catch_warnings():
    # The message library's parser imports what Python 3.11 deprecates, at the first message.
    warnings.simplefilter('ignore', DeprecationWarning)
    with contextlib.suppress(ImportError):
        import rosidl_generator_py  # noqa: F401

KEEP_ALL = QoSProfile(
    history=HistoryPolicy.KEEP_ALL, depth=0, reliability=ReliabilityPolicy.RELIABLE
)
TIMEOUT_S = 20.0


def wait_until(
    predicate: Callable[[], Any], timeout: float = TIMEOUT_S, what: str = 'a condition'
) -> Any:
    """The first true value of `predicate`; AssertionError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f'waited {timeout:g} s in vain for {what}')
        time.sleep(0.005)


class Ros:
    """A context with its own domain, an executor in its own thread, and the nodes of one test."""

    def __init__(
        self, domain_id: int, make_executor: Callable[..., Executor] = SingleThreadedExecutor
    ) -> None:
        self.domain_id = domain_id
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        self.executor = make_executor(context=self.context)
        self.error: BaseException | None = None
        self._nodes: list[Node] = []
        self.survives = False  # callbacks of nodes may raise, within their boundary
        self._stopping = False
        self._thread = threading.Thread(target=self._spin, name='ros_test_executor')
        self.node = self.make_node('test_peer')
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a process that shall talk to this one."""
        return {**os.environ, 'ROS_DOMAIN_ID': str(self.domain_id)}

    def make_node(
        self,
        make: str | Callable[..., Node] = Node,
        *args: Any,
        parameters: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Node:
        """A spinning node: of this name, or `make(*args, context=, parameter_overrides=, ...)`.

        `cli_args=['--ros-args', '-r', ...]` remaps. Destroyed at the end of the test.
        """
        overrides = [Parameter(name, value=value) for name, value in (parameters or {}).items()]
        if isinstance(make, str):
            make, args = Node, (make, *args)
        node = make(*args, context=self.context, parameter_overrides=overrides, **kwargs)
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def destroy(self, node: Node) -> None:
        """End one node before the test ends."""
        self._check_boundary(node)
        self.executor.remove_node(node)
        self._nodes.remove(node)
        node.destroy_node()

    def collect(
        self, message_type: type, topic: str, qos: QoSProfile = KEEP_ALL, **kwargs: Any
    ) -> list[Any]:
        """A list that fills with the messages of a topic (a subscription of `ros.node`)."""
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos, **kwargs)
        return messages

    def publisher(self, message_type: type, topic: str, qos: QoSProfile = KEEP_ALL) -> Any:
        """A publisher of `ros.node` that somebody already subscribes to."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        self.spin_until(
            lambda: publisher.get_subscription_count() > 0, what=f'a subscriber of {topic}'
        )
        return publisher

    def call(self, service_type: type, name: str, request: Any, timeout: float = TIMEOUT_S) -> Any:
        """The answer of a service."""
        client = self._client(service_type, name, timeout)
        future = client.call_async(request)
        self.spin_until(future.done, timeout, what=f'the answer of {name}')
        self.node.destroy_client(client)
        return future.result()

    def _client(self, service_type: type, name: str, timeout: float) -> Any:
        """A client whose service is there.

        A client made while another of its name goes may stay unmatched for good: then one is made
        anew.
        """
        deadline = time.monotonic() + timeout
        while True:
            client = self.node.create_client(service_type, name)
            left = deadline - time.monotonic()
            try:
                self.spin_until(
                    client.service_is_ready, min(left, timeout / 4), what=f'service {name}'
                )
            except AssertionError:
                self.node.destroy_client(client)
                if left < timeout / 4:
                    raise
            else:
                return client

    def spin_until(
        self,
        predicate: Callable[[], Any],
        timeout: float = TIMEOUT_S,
        what: str = 'a condition',
    ) -> Any:
        """Let the nodes work until `predicate()` is true, and return it."""

        def met() -> Any:
            self._raise_error()
            return predicate()

        return wait_until(met, timeout, what)

    def spin_for(self, seconds: float) -> None:
        """Let the nodes work for a while: only to show that something does *not* happen."""
        time.sleep(seconds)
        self.spin_until(lambda: True)

    def close(self) -> None:
        """Stop the thread, then destroy the nodes, then the context; raise a callback's error."""
        self._stopping = True
        self.executor.wake()
        self._thread.join()
        self.executor.shutdown()
        nodes = list(self._nodes)
        try:
            for node in reversed(self._nodes):
                node.destroy_node()
        finally:
            self._nodes.clear()
            rclpy.shutdown(context=self.context)
        self._raise_error()
        for node in nodes:
            self._check_boundary(node)

    def _check_boundary(self, node: Node) -> None:
        """A node lives on when a callback of ours raises, but a test must not."""
        raised = {name: faults.last for name, faults in faults_of(node).items() if faults.raised}
        assert self.survives or not raised, f'{node.get_name()}: {raised}'

    def _raise_error(self) -> None:
        error, self.error = self.error, None
        if error:
            raise error

    def _spin(self) -> None:
        # Not executor.spin(): shutting that down from outside destroys what it is waiting on.
        try:
            while not self._stopping and self.context.ok():
                with contextlib.suppress(InvalidHandle):  # destroyed by a test while it was listed
                    self.executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the test
            self.error = error


@pytest.fixture
def ros() -> Iterator[Ros]:
    """ROS for one test."""
    with free_domain() as domain_id:
        instance = Ros(domain_id)
        try:
            yield instance
        finally:
            instance.close()
