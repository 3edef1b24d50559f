"""The dashboard's ROS node: diagnostics, pictures, scan and closeness of a depth node into a feed.

It learns the cameras and their topics from /diagnostics. To the node's outputs it subscribes only
while a browser looks, since the depth node infers only for subscribers; best effort and one
message deep, so that it holds nobody back. What only the ROS thread may do is queued for it.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_parameter_events

from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_camera import CameraWatch
from midas_depth_ros.web.ros_facts import status_facts, statuses_of
from midas_depth_ros.web.ros_parameters import ParameterClients

TICK_S = 0.5
LINGER_S = 3.0  # subscriptions outlive the last browser: a page that is loaded anew finds them
LATEST_DIAGNOSTICS_S = 3.5  # and the node counts as gone
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class DashboardNode(Node):
    """Watches one depth node, given by its name relative to this node's namespace."""

    def __init__(self, feed: Feed, depth_node: str, **node_options: Any) -> None:
        super().__init__('dashboard', **node_options)
        self._feed = feed
        self._full_name = self._resolved(depth_node)
        self._cameras: dict[str, CameraWatch] = {}
        self._topics: dict[str, str] = {}
        self._heard_s: collections.deque[float] = collections.deque(maxlen=2)
        self._unwatched_since_s: float | None = None
        self._work: collections.deque[Callable[[], None]] = collections.deque()
        self._parameters = ParameterClients(self, self._full_name, feed)
        self._guard = self.create_guard_condition(self._do_work)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, DIAGNOSTICS)
        self.create_subscription(
            ParameterEvent,
            '/parameter_events',
            self._on_parameter_event,
            qos_profile_parameter_events,
        )
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        feed.on_audience(lambda viewers: self.soon(self._follow))
        feed.tell('ros', {'depth_node': self._full_name})
        feed.tell('present', False)
        feed.tell('cameras', {})

    def soon(self, function: Callable[[], None]) -> None:
        """Have something done in the ROS thread; may be called from any."""
        self._work.append(function)
        self._guard.trigger()

    def set_parameter(self, name: str, value: Any) -> Future[str]:
        """Set a parameter of the depth node: '' or why it was refused; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameters.set(name, value, answer))
        return answer

    def set_enabled(self, enabled: bool) -> Future[str]:
        """Pause or resume the depth node: '' or why not; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameters.enable(enabled, answer))
        return answer

    def destroy_node(self) -> None:
        """Unsubscribe first."""
        self._feed.on_audience(lambda viewers: None)
        self._watch({})
        super().destroy_node()

    def _resolved(self, name: str) -> str:
        if name.startswith('/'):
            return name
        return f'{self.get_namespace().rstrip("/")}/{name}'

    def _do_work(self) -> None:
        while self._work:
            self._work.popleft()()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = statuses_of(message, self._full_name)
        if 'model' not in statuses:
            return
        self._heard_s.append(time.monotonic())
        self._feed.tell('model', status_facts(statuses.pop('model')))
        cameras = {
            name.removeprefix('camera '): status_facts(status)
            for name, status in statuses.items()
            if name.startswith('camera ')
        }
        self._feed.tell('cameras', cameras)
        self._topics = {name: facts['values'].get('topic', '') for name, facts in cameras.items()}
        self._follow()

    def _on_parameter_event(self, event: ParameterEvent) -> None:
        if event.node == self._full_name:
            self._parameters.refresh()

    def _tick(self) -> None:
        self._parameters.follow(self._present())
        self._follow()
        for watch in self._cameras.values():
            watch.expire()

    def _follow(self) -> None:
        """Bring what is told and subscribed to in line with who is there and who looks."""
        present = self._present()
        self._feed.tell('present', present)
        if not present:
            self._topics = {}
            for name in ('model', 'parameters'):
                self._feed.tell(name, None)
            for watch in self._cameras.values():
                watch.forget()
        now = time.monotonic()
        if self._feed.viewers:
            self._unwatched_since_s = None
        elif self._unwatched_since_s is None:
            self._unwatched_since_s = now
        since = self._unwatched_since_s
        if since is not None and now - since > LINGER_S:
            self._watch({})
        elif since is None and self._topics:
            self._watch(self._topics)

    def _present(self) -> bool:
        """Whether the node was heard of lately, by its own rhythm."""
        if not self._heard_s:
            return False
        period_s = self._heard_s[-1] - self._heard_s[0]
        return time.monotonic() - self._heard_s[-1] < max(LATEST_DIAGNOSTICS_S, 3 * period_s)

    def _watch(self, topics: dict[str, str]) -> None:
        """Subscribe to the outputs of these cameras (name: image topic), and to no others."""
        for name, watch in list(self._cameras.items()):
            if topics.get(name) != watch.topic:
                watch.close()
                del self._cameras[name]
        for name, topic in topics.items():
            if name not in self._cameras:
                prefix = f'{self._full_name.rpartition("/")[0]}/{name}'
                self._cameras[name] = CameraWatch(self, self._feed, name, prefix, topic)
