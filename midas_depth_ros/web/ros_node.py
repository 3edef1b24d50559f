"""The dashboard's ROS node: diagnostics, pictures, scan and closeness of a depth node into a feed.

It learns the cameras and their topics from /diagnostics. To the node's outputs it subscribes only
while a browser looks, since the depth node infers only for subscribers; best effort and one
message deep, so that it holds nobody back. What only the ROS thread may do is queued for it.
"""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_parameter_events
from sensor_msgs.msg import CompressedImage

from midas_depth_ros.geometry import TURNS
from midas_depth_ros.nodes.quality_of_service import type_name
from midas_depth_ros.nodes.settings import check_camera_names
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.faults import Faults
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_boundary import LONGEST_NAME, is_topic_name, listen
from midas_depth_ros.web.ros_camera import CameraWatch, Source
from midas_depth_ros.web.ros_facts import Rhythm, status_facts, statuses_of
from midas_depth_ros.web.ros_parameters import ParameterClients

COMPRESSED = type_name(CompressedImage)
TICK_S = 0.5
LINGER_S = 3.0  # subscriptions outlive the last browser: a page that is loaded anew finds them
# For so long a node counts as there after it was heard: by its diagnostics, or, where they come
# seldom, by an answer. What they said is believed no longer than either.
DIAGNOSTICS_S, MOST_DIAGNOSTICS_S = 3.5, 30.0
ALIVE_S, ASK_AFTER_S = 3.5, 1.2
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
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
            raise Refused(503, 'the dashboard has too much to ask of ROS: try again', 2)
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
            self._faults.count('a camera', 'there were too many: start the dashboard anew')
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
