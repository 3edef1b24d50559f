"""The dashboard's ROS node and its thread: a depth node's diagnostics and topics into a feed.

The node learns cameras and topics from /diagnostics. It subscribes to the depth node's outputs only
while a browser looks, since the depth node infers only for subscribers; best effort, depth 1, so
that it delays nobody.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import inspect
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_parameter_events
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage

from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.quality_of_service import type_name
from midas_depth_ros.options.declarations import TURNS
from midas_depth_ros.options.text import check_camera_name
from midas_depth_ros.web.app import Robot
from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_camera import (
    CameraWatch,
    LifetimeEstimator,
    Source,
    is_topic_name,
    status_facts,
    statuses_of,
    subscribe,
)
from midas_depth_ros.web.ros_parameters import ANSWER_S, ParameterClients

COMPRESSED = type_name(CompressedImage)
TICK_S = 0.5
LINGER_S = 3.0  # subscriptions outlive the last browser, for pages that are reloaded
# A node counts as present for this long after its diagnostics or, where they are rare, after an
# answer. Its diagnostics are valid no longer than either.
DIAGNOSTICS_S, MOST_DIAGNOSTICS_S = 3.5, 30.0
ALIVE_S, ASK_AFTER_S = 3.5, 1.2
DIAGNOSTICS = qos.best_effort(10)
MOST_CAMERAS = 16
MOST_WATCHES = 500  # cameras with their topics: rclpy keeps a little of every topic ever used
MOST_WORK = 200


class DashboardNode(Node):
    """Watches one depth node. Raises ValueError if `depth_node` is not a valid name.

    depth_node: its full name, or relative to this node's namespace.
    """

    def __init__(
        self, feed: Feed, depth_node: str, faults: Faults | None = None, **node_options: Any
    ) -> None:
        # Nothing here uses ROS time, and there are no parameters to set.
        node_options.setdefault('parameter_overrides', [Parameter('use_sim_time', value=False)])
        node_options.setdefault('start_parameter_services', False)
        super().__init__('dashboard', **node_options)
        self._feed = feed
        self._faults = faults or Faults()
        self._full_name = depth_node
        if not depth_node.startswith('/'):
            self._full_name = f'{self.get_namespace().rstrip("/")}/{depth_node}'
        if not is_topic_name(self._full_name):
            self.destroy_node()
            raise ValueError(f'{depth_node!r} is not a valid node name: give that of depth_node')
        self._cameras: dict[str, CameraWatch] = {}
        self._sources: dict[str, Source] = {}
        self._ever: set[tuple[str, Source]] = set()  # all cameras ever watched, with their topics
        self._failed: set[tuple[str, Source]] = set()  # those that cannot be subscribed to
        self._lifetime = LifetimeEstimator(DIAGNOSTICS_S, MOST_DIAGNOSTICS_S)
        self._diagnosed: tuple[Any, Any] = (None, None)  # facts of the model and of the cameras
        self._diagnosed_until_s = self._present_until_s = -math.inf
        self._alive_s = self._reported_s = self._asked_s = self._viewed_s = -math.inf
        self._work: collections.deque[Callable[[], None]] = collections.deque()
        self.parameters = ParameterClients(self, self._full_name, feed, self._faults)
        self._guard = self.create_guard_condition(self._do_work)
        mark = f'{self._full_name.rpartition("/")[2]}: model'.encode()
        subscribe(
            self,
            DiagnosticArray,
            '/diagnostics',
            self._on_diagnostics,
            DIAGNOSTICS,
            self._faults,
            is_wanted=lambda data: mark in data,
        )
        name = self._full_name.encode()
        subscribe(
            self,
            ParameterEvent,
            '/parameter_events',
            lambda data: self.parameters.changed(),
            qos_profile_parameter_events,
            self._faults,
            serialised=True,  # if it names the node, all parameters are read again
            is_wanted=lambda data: name in data,
            period_s=0.0,
        )
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        feed.on_viewers_changed(self._on_viewers_changed)
        feed.set_fact('ros', {'depth_node': self._full_name})
        feed.set_fact('present', False)
        feed.set_fact('cameras', {})

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run a function in the ROS thread; from any thread. Raises Refused (503) if busy."""
        if len(self._work) >= MOST_WORK:
            raise Refused(503, 'too many calls to ROS are pending: try again', 2)
        self._work.append(function)
        with contextlib.suppress(InvalidHandle):  # the node is destroyed
            self._guard.trigger()

    def destroy_node(self) -> None:
        """Unsubscribe first."""
        self._feed.on_viewers_changed(lambda viewers: None)
        if hasattr(self, '_cameras'):
            self._watch({})
        super().destroy_node()

    def _on_viewers_changed(self, viewers: int) -> None:
        with self._faults.guard('the viewers'):  # the next tick follows as well
            self.call_soon(self._follow)

    def _do_work(self) -> None:
        while self._work:
            function = self._work.popleft()
            with self._faults.guard('work for the ROS thread'):
                function()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = statuses_of(message, self._full_name)
        if 'model' not in statuses:
            return
        now_s = time.monotonic()
        self._diagnosed_until_s = now_s + self._lifetime.update(now_s)
        model = status_facts(statuses.pop('model'))
        cameras = {
            name.removeprefix('camera '): status_facts(status)
            for name, status in statuses.items()
            if name.startswith('camera ')
        }
        valid = [name for name in cameras if not check_camera_name(name)][:MOST_CAMERAS]
        for name in cameras.keys() - set(valid):
            self._faults.count('diagnostics', f'{name!r} is not a valid camera, or one too many')
        self._diagnosed = model, {name: cameras[name] for name in valid}
        self._alive_s = now_s
        self._report_diagnosed(now_s)
        self._sources = {name: self._source_of(cameras[name]) for name in valid}

    def _report_diagnosed(self, now_s: float) -> None:
        """Set the facts from diagnostics, after a sign of life now."""
        lifetime_s = min(ALIVE_S, self._diagnosed_until_s - now_s)
        if lifetime_s <= 0:
            return
        self._reported_s, self._present_until_s = now_s, now_s + lifetime_s
        model, cameras = self._diagnosed
        self._feed.set_fact('present', True, lifetime_s, otherwise=False)
        self._feed.set_fact('model', model, lifetime_s)
        self._feed.set_fact('cameras', cameras, lifetime_s)

    def _check_alive(self) -> None:
        """Ask a node whose last diagnostics are some time ago whether it still answers."""
        now_s = time.monotonic()
        if now_s >= self._present_until_s:
            return
        if self._alive_s > self._reported_s:
            self._report_diagnosed(now_s)
        if now_s - max(self._alive_s, self._asked_s) > ASK_AFTER_S:
            self._asked_s = now_s
            self.parameters.ping(self._on_alive)

    def _on_alive(self) -> None:
        self._alive_s = time.monotonic()

    def _source_of(self, facts: dict[str, Any]) -> Source:
        """Where a camera's pictures come from, by its diagnostics."""
        values = facts['values']
        topic = str(values.get('topic', ''))
        if topic and not is_topic_name(topic):
            self._faults.count('diagnostics', f'{topic!r} is not a valid topic')
            return Source()
        kind = values.get('topic type', '')
        is_compressed = kind == COMPRESSED if kind else topic.endswith('/compressed')
        turn = values.get('rotate [degrees]', '')
        return Source(topic, is_compressed, int(turn) if turn in map(str, TURNS) else 0)

    def _tick(self) -> None:
        with self._faults.guard('checking the depth node'):
            self._check_alive()
        self.parameters.follow(self._present(), self._diagnosed[1] or ())
        self._follow()

    def _follow(self) -> None:
        """Subscribe and unsubscribe as the depth node and browsers come and go."""
        if not self._present():
            self._sources = {}
        now_s = time.monotonic()
        if self._feed.viewers:
            self._viewed_s = now_s
            if self._sources:
                self._watch(self._sources)
        elif now_s - self._viewed_s > LINGER_S:
            self._watch({})

    def _present(self) -> bool:
        return time.monotonic() < self._present_until_s

    def _watch(self, sources: dict[str, Source]) -> None:
        """Subscribe to the outputs of these cameras only."""
        for name, watch in list(self._cameras.items()):
            if sources.get(name) != watch.source:
                watch.close()
                del self._cameras[name]
        for name, source in sources.items():
            if name not in self._cameras and (name, source) not in self._failed:
                self._watch_camera(name, source)

    def _watch_camera(self, name: str, source: Source) -> None:
        if (name, source) not in self._ever and len(self._ever) >= MOST_WATCHES:
            self._faults.count('a camera', 'too many different cameras: restart the dashboard')
            return
        self._ever.add((name, source))
        prefix = f'{self._full_name.rpartition("/")[0]}/{name}'
        try:
            watch = CameraWatch(self, self._feed, self._faults, name, prefix, source)
        except ValueError as error:
            self._failed.add((name, source))
            self._faults.count('a camera', error)
        else:
            self._cameras[name] = watch


# --- The thread: ROS beside the web server's event loop; neither waits for the other.
#
# Requests run in the ROS thread, and their answers are futures. If the thread ends or hangs, the
# process has to end (`RosThread.failure`), since the dashboard hears nothing any more: launch or
# systemd can restart it, while a restart from within would hide the fault.

WAIT_S = 0.1  # until a stop is noticed
CLOSING_S = 5.0
MOST_EXECUTOR_FAILURES = 50  # in a row, of the executor itself
MOST_STALLED_CHECKS = 30  # calls of `failure` without an iteration of the thread in between


# What rclpy takes, by the executor's method for it.
TAKEN = {
    '_take_subscription': 'a message',
    '_take_client': 'an answer of a service',
    '_take_service': 'a call of a service',
    '_take_timer': 'a timer',
    '_take_guard_condition': 'work for the ROS thread',
    '_take_waitable': 'an event',
}


class GuardedExecutor(SingleThreadedExecutor):
    """Counts exceptions from taking or processing anything, and continues."""

    def __init__(self, faults: Faults, **options: Any) -> None:
        super().__init__(**options)
        self._faults = faults
        for method, what in TAKEN.items():
            if hasattr(self, method):  # Humble has fewer
                guarded = functools.partial(self._guarded, what, getattr(self, method))
                setattr(self, method, guarded)

    def _guarded(self, what: str, take: Callable[[Any], Any], entity: Any) -> Any:
        work = None
        with self._faults.guard(what):
            work = take(entity)
        if not inspect.iscoroutinefunction(work):  # None, or data, as on Humble
            return work

        async def guarded() -> None:
            with self._faults.guard(what):
                await work()

        return guarded


class RosThread(Robot):
    """Spins the dashboard's node.

    Raises RuntimeError for ROS arguments that rcl refuses, ValueError for an invalid name.
    """

    def __init__(
        self,
        feed: Feed,
        depth_node: str,
        args: Sequence[str],
        domain_id: int | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self._context = Context()
        rclpy.init(
            args=['dashboard', *args],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,  # the server handles signals
        )
        self._stopping = threading.Event()
        try:
            self._node = DashboardNode(feed, depth_node, self._faults, context=self._context)
        except Exception:
            rclpy.try_shutdown(context=self._context)
            raise
        self._executor = GuardedExecutor(self._faults, context=self._context)
        self._executor.add_node(self._node)
        self._iterations = self._iterations_seen = self._stalled = 0
        self._ending = ''
        # A daemon: if it hangs, it must not keep the process alive.
        self._thread = threading.Thread(target=self._spin, name='ros', daemon=True)
        self._thread.start()

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set a live parameter. Raises Refused (409) with the node's reason."""
        await self._request(lambda answer: self._node.parameters.set(name, value, answer))

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume. Raises Refused (409) with the node's reason."""
        await self._request(lambda answer: self._node.parameters.enable(enabled, answer))

    def failure(self) -> str:
        """Return why ROS is not heard any more, '' while it is; called once a second.

        It counts calls without an iteration in between rather than seconds: a process that was
        stopped for an hour and continues has not failed.
        """
        if self._ending:
            return self._ending
        self._stalled = self._stalled + 1 if self._iterations == self._iterations_seen else 0
        self._iterations_seen = self._iterations
        if self._stalled >= MOST_STALLED_CHECKS:
            return f'the ROS thread hangs: no iteration for about {MOST_STALLED_CHECKS} s'
        return ''

    def summary(self) -> dict[str, Any]:
        """Return its state as GET /api/status reports it."""
        return {
            'ros': True,
            'working': self._stalled < 3 and not self._ending,
            'ended': self._ending,
        }

    def close(self) -> bool:
        """Stop spinning, join the thread and destroy the node; returns False if it hangs."""
        self._stopping.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            return False
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        return True

    async def _request(self, ask: Callable[[Future[str]], None]) -> None:
        """Run `ask` in the ROS thread and wait for its answer: '' is success, else a refusal."""
        answer: Future[str] = Future()
        self._node.call_soon(lambda: ask(answer))
        try:
            reason = await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_S)
        except asyncio.TimeoutError:
            raise Refused(504, f'the depth node did not answer within {ANSWER_S:g} s') from None
        except ConnectionError as error:
            raise Refused(503, str(error)) from error
        if reason:
            raise Refused(409, reason)

    def _spin(self) -> None:
        try:
            self._spin_until_stopped()
            if not self._stopping.is_set():
                self._ending = 'the ROS thread has ended: ROS was shut down'
        except BaseException as error:  # noqa: BLE001 - reported by `failure`
            self._faults.count('the ROS thread', error)
            self._ending = f'the ROS thread has ended: {type(error).__name__}: {error}'

    def _spin_until_stopped(self) -> None:
        failures = 0
        # Not executor.spin(): shutting that down from outside destroys what it waits on.
        while not self._stopping.is_set() and self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=WAIT_S)
            except ExternalShutdownException:
                return
            except Exception as error:
                self._faults.count('the ROS executor', error)
                failures += 1
                if failures >= MOST_EXECUTOR_FAILURES:
                    raise
                self._stopping.wait(WAIT_S)
            else:
                failures = 0
            self._iterations += 1
