"""The dashboard's ROS node: diagnostics, pictures, scan and closeness of a depth node into a feed.

It learns the cameras and their topics from /diagnostics. To the node's outputs it subscribes only
while a browser looks, since the depth node infers only for subscribers; best effort and one
message deep, so that it holds nobody back. What only the ROS thread may do is queued for it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
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
from midas_depth_ros.options.shared import TURNS
from midas_depth_ros.options.text import check_camera_names
from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_camera import (
    LONGEST_NAME,
    CameraWatch,
    Rhythm,
    Source,
    is_topic_name,
    listen,
    status_facts,
    statuses_of,
)
from midas_depth_ros.web.ros_parameters import ParameterClients

COMPRESSED = type_name(CompressedImage)
TICK_S = 0.5
LINGER_S = 3.0  # subscriptions outlive the last browser: a page that is loaded anew finds them
# For so long a node counts as there after it was heard: by its diagnostics, or, where they come
# seldom, by an answer. What they said is believed no longer than either.
DIAGNOSTICS_S, MOST_DIAGNOSTICS_S = 3.5, 30.0
ALIVE_S, ASK_AFTER_S = 3.5, 1.2
DIAGNOSTICS = qos.best_effort(10)
MOST_CAMERAS = 16
MOST_WATCHES = 500  # different ones: rclpy keeps a little of every topic that there was
MOST_WORK = 200


class DashboardNode(Node):
    """Watches one depth node, given by its name relative to this node's namespace.

    Raises ValueError where that cannot be a name.
    """

    def __init__(
        self, feed: Feed, depth_node: str, faults: Faults | None = None, **node_options: Any
    ) -> None:
        # Nothing here follows a clock of ROS, and what nobody may set needs no services.
        node_options.setdefault('parameter_overrides', [Parameter('use_sim_time', value=False)])
        node_options.setdefault('start_parameter_services', False)
        super().__init__('dashboard', **node_options)
        self._feed = feed
        self._faults = faults or Faults()
        self._full_name = self._resolved(depth_node)
        if not is_topic_name(self._full_name):
            self.destroy_node()
            raise ValueError(
                f'{depth_node!r} cannot be the name of a node: give that of depth_node'
            )
        self._cameras: dict[str, CameraWatch] = {}
        self._sources: dict[str, Source] = {}
        self._ever: set[tuple[str, Source]] = set()  # cameras that were watched, with their topics
        self._refused: set[tuple[str, Source]] = set()  # those that cannot be
        self._rhythm = Rhythm(DIAGNOSTICS_S, MOST_DIAGNOSTICS_S)
        self._diagnosed: tuple[Any, Any] = (None, None)  # the model's facts and the cameras'
        self._diagnosed_until_s = self._present_until_s = -math.inf
        self._alive_s = self._told_alive_s = self._asked_s = -math.inf
        self._unwatched_since_s: float | None = None
        self._work: collections.deque[Callable[[], None]] = collections.deque()
        self._parameter_clients = ParameterClients(self, self._full_name, feed, self._faults)
        self._guard = self.create_guard_condition(self._do_work)
        mark = f'{self._full_name.rpartition("/")[2]}: model'.encode()
        listen(
            self,
            DiagnosticArray,
            '/diagnostics',
            self._on_diagnostics,
            DIAGNOSTICS,
            self._faults,
            wanted=lambda data: mark in data,
        )
        name = self._full_name.encode()
        listen(
            self,
            ParameterEvent,
            '/parameter_events',
            lambda data: self._parameter_clients.changed(),
            qos_profile_parameter_events,
            self._faults,
            serialised=True,  # that it names the node says enough: they are read anew
            wanted=lambda data: name in data,
            period_s=0.0,
        )
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        feed.on_audience(self._on_audience)
        feed.tell('ros', {'depth_node': self._full_name})
        feed.tell('present', False)
        feed.tell('cameras', {})

    def soon(self, function: Callable[[], None]) -> None:
        """Have something done in the ROS thread, from any. Raises Refused where it has too much."""
        if len(self._work) >= MOST_WORK:
            raise Refused(503, 'too many calls to ROS are pending: try again', 2)
        self._work.append(function)
        with contextlib.suppress(InvalidHandle):  # the node is gone: nobody is there to do it
            self._guard.trigger()

    def set_parameter(self, name: str, value: Any) -> Future[str]:
        """Set a parameter of the depth node: '' or why it was refused; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameter_clients.set(name, value, answer))
        return answer

    def set_enabled(self, enabled: bool) -> Future[str]:
        """Pause or resume the depth node: '' or why not; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameter_clients.enable(enabled, answer))
        return answer

    def destroy_node(self) -> None:
        """Unsubscribe first."""
        self._feed.on_audience(lambda viewers: None)
        if hasattr(self, '_cameras'):
            self._watch({})
        super().destroy_node()

    def _resolved(self, name: str) -> str:
        if name.startswith('/'):
            return name
        return f'{self.get_namespace().rstrip("/")}/{name}'

    def _on_audience(self, viewers: int) -> None:
        with self._faults.around('the audience'):  # the next tick sees it too
            self.soon(self._follow)

    def _do_work(self) -> None:
        while self._work:
            function = self._work.popleft()
            with self._faults.around('work for the ROS thread'):
                function()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = statuses_of(message, self._full_name)
        if 'model' not in statuses:
            return
        now_s = time.monotonic()
        self._diagnosed_until_s = now_s + self._rhythm.lifetime_s(now_s)
        model = status_facts(statuses.pop('model'))
        cameras = {
            name.removeprefix('camera '): status_facts(status)
            for name, status in statuses.items()
            if name.startswith('camera ')
        }
        sound = [name for name in cameras if is_camera_name(name)][:MOST_CAMERAS]
        for name in cameras.keys() - set(sound):
            self._faults.count('diagnostics', f'{name!r} cannot be a camera, or is one too many')
        self._diagnosed = model, {name: cameras[name] for name in sound}
        self._alive_s = now_s
        self._tell_diagnosed(now_s)
        self._sources = {name: self._source_of(cameras[name]) for name in sound}

    def _tell_diagnosed(self, now_s: float) -> None:
        """Tell what diagnostics said, by a sign of life of now."""
        lifetime_s = min(ALIVE_S, self._diagnosed_until_s - now_s)
        if lifetime_s <= 0:
            return
        self._told_alive_s, self._present_until_s = now_s, now_s + lifetime_s
        model, cameras = self._diagnosed
        self._feed.tell('present', True, lifetime_s, otherwise=False)
        self._feed.tell('model', model, lifetime_s)
        self._feed.tell('cameras', cameras, lifetime_s)

    def _look_for_life(self) -> None:
        """A node whose diagnostics are some time ago is asked whether it still answers."""
        now_s = time.monotonic()
        if self._alive_s > self._told_alive_s and now_s < self._present_until_s:
            self._tell_diagnosed(now_s)
        if (
            now_s < self._present_until_s
            and now_s - max(self._alive_s, self._asked_s) > ASK_AFTER_S
        ):
            self._asked_s = now_s
            self._parameter_clients.ask(self._on_life)

    def _on_life(self) -> None:
        self._alive_s = time.monotonic()

    def _source_of(self, facts: dict[str, Any]) -> Source:
        """Where the pictures of a camera come from, as far as that can be subscribed to."""
        values = facts['values']
        topic = str(values.get('topic', ''))
        if topic and not is_topic_name(topic):
            self._faults.count('diagnostics', f'{topic!r} cannot be a topic')
            return Source()
        kind = values.get('topic type', '')
        is_compressed = kind == COMPRESSED if kind else topic.endswith('/compressed')
        turn = values.get('rotate [degrees]', '')
        return Source(topic, is_compressed, int(turn) if turn in map(str, TURNS) else 0)

    def _tick(self) -> None:
        with self._faults.around('whether the depth node answers'):
            self._look_for_life()
        self._parameter_clients.follow(self._present(), self._diagnosed[1] or ())
        self._follow()

    def _follow(self) -> None:
        """Bring what is subscribed to in line with who is there and who looks."""
        if not self._present():
            self._sources = {}
        now_s = time.monotonic()
        if self._feed.viewers:
            self._unwatched_since_s = None
        elif self._unwatched_since_s is None:
            self._unwatched_since_s = now_s
        since_s = self._unwatched_since_s
        if since_s is not None and now_s - since_s > LINGER_S:
            self._watch({})
        elif since_s is None and self._sources:
            self._watch(self._sources)

    def _present(self) -> bool:
        """Whether the node was heard of lately, by its own rhythm."""
        return time.monotonic() < self._present_until_s

    def _watch(self, sources: dict[str, Source]) -> None:
        """Subscribe to the outputs of these cameras, and to no others."""
        for name, watch in list(self._cameras.items()):
            if sources.get(name) != watch.source:
                watch.close()
                del self._cameras[name]
        for name, source in sources.items():
            if name not in self._cameras and (name, source) not in self._refused:
                self._watch_camera(name, source)

    def _watch_camera(self, name: str, source: Source) -> None:
        if (name, source) not in self._ever and len(self._ever) >= MOST_WATCHES:
            self._faults.count('a camera', 'there were too many: restart the dashboard')
            return
        self._ever.add((name, source))
        prefix = f'{self._full_name.rpartition("/")[0]}/{name}'
        try:
            watch = CameraWatch(self, self._feed, self._faults, name, prefix, source)
        except ValueError as error:
            self._refused.add((name, source))
            self._faults.count('a camera', error)
        else:
            self._cameras[name] = watch


def is_camera_name(name: str) -> bool:
    """Whether depth_node can have a camera of this name."""
    return len(name) <= LONGEST_NAME and not check_camera_names([name])


# --- ROS in a thread of its own beside the web server: started, asked from coroutines, and
# joined.
#
# The server's event loop never waits for ROS, and ROS never for a browser. What is asked of the
# node runs in its thread; the answer comes back as a future. A thread that ends, or that hangs, is
# `trouble`, with which the process has to end: without it the dashboard learns nothing any more.
# Who started it (launch, systemd) can start it again; one that mends itself would hide what is
# wrong.

WAIT_S = 0.1  # how long a stop may go unnoticed
ANSWER_S = 10.0  # how long the depth node may take
CLOSING_S = 5.0
MOST_IN_A_ROW = 50  # failures of the executor itself, which would then fail for ever
MOST_STILL = 30  # times that `trouble` is asked while the thread has not gone round


class GuardedExecutor(SingleThreadedExecutor):
    """Counts what is raised while something is taken or worked on, and goes on."""

    def __init__(self, faults: Faults, **options: Any) -> None:
        super().__init__(**options)
        self._faults = faults

    def _take_subscription(self, sub: Any) -> Any:
        return self._guarded('a message', super()._take_subscription, sub)

    def _take_client(self, client: Any) -> Any:
        return self._guarded('an answer of a service', super()._take_client, client)

    def _take_service(self, srv: Any) -> Any:
        return self._guarded('a call of a service', super()._take_service, srv)

    def _take_timer(self, tmr: Any) -> Any:
        return self._guarded('a timer', super()._take_timer, tmr)

    def _take_guard_condition(self, gc: Any) -> Any:
        return self._guarded('work for the ROS thread', super()._take_guard_condition, gc)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._guarded('an event', super()._take_waitable, waitable)

    def _guarded(self, what: str, take: Callable[[Any], Any], entity: Any) -> Any:
        work = None
        with self._faults.around(what):
            work = take(entity)
        if not inspect.iscoroutinefunction(work):  # nothing, or data, as on Humble
            return work

        async def guarded() -> None:
            with self._faults.around(what):
                await work()

        return guarded


class RosThread:
    """The dashboard's node, spinning.

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
            signal_handler_options=SignalHandlerOptions.NO,  # signals are the server's
        )
        self._stopping = threading.Event()
        try:
            self._node = DashboardNode(feed, depth_node, self._faults, context=self._context)
        except Exception:
            rclpy.try_shutdown(context=self._context)
            raise
        self._executor = GuardedExecutor(self._faults, context=self._context)
        self._executor.add_node(self._node)
        self._rounds = self._rounds_seen = self._still = 0
        self._death = ''
        # A daemon: where it hangs, it must not keep the process.
        self._thread = threading.Thread(target=self._spin, name='ros', daemon=True)
        self._thread.start()

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set a live parameter; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_parameter(name, value))

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_enabled(enabled))

    def trouble(self) -> str:
        """Why nothing is heard from ROS any more, '' while the thread works; asked once a second.

        It is counted how often it was asked without a round in between, not how long that took: a
        process that was stopped for an hour and goes on is all right.
        """
        if self._death:
            return self._death
        self._still = self._still + 1 if self._rounds == self._rounds_seen else 0
        self._rounds_seen = self._rounds
        if self._still >= MOST_STILL:
            return f'the ROS thread hangs: it has not gone round for about {MOST_STILL} s'
        return ''

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of it."""
        return {'ros': True, 'working': self._still < 3 and not self._death, 'ended': self._death}

    def close(self) -> bool:
        """Stop spinning, join the thread, take the node down; False where it hangs."""
        self._stopping.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            return False
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        return True

    async def _answer(self, future: Future[str]) -> None:
        """Wait for what the node says: '' is good, anything else a reason."""
        try:
            reason = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
        except asyncio.TimeoutError:
            raise Refused(504, f'the depth node has not answered for {ANSWER_S:g} s') from None
        except ConnectionError as error:
            raise Refused(503, str(error)) from error
        if reason:
            raise Refused(409, reason)

    def _spin(self) -> None:
        try:
            self._go_round()
            if not self._stopping.is_set():
                self._death = 'the ROS thread has ended: ROS was shut down'
        except BaseException as error:  # noqa: BLE001 - told by `trouble`, which ends the process
            self._faults.count('the ROS thread', error)
            self._death = f'the ROS thread has ended: {type(error).__name__}: {error}'

    def _go_round(self) -> None:
        failures = 0
        # Not executor.spin(): shutting that down from outside destroys what it is waiting on.
        while not self._stopping.is_set() and self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=WAIT_S)
            except ExternalShutdownException:
                return
            except Exception as error:
                self._faults.count('the ROS executor', error)
                failures += 1
                if failures >= MOST_IN_A_ROW:
                    raise
                self._stopping.wait(WAIT_S)
            else:
                failures = 0
            self._rounds += 1
