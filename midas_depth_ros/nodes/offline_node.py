"""What stands in for an rclpy node where a bag is processed without DDS.

The node's own classes are given this and do what they always do: what they publish goes to a sink,
what they subscribe to is handed to them, and the clock is that of the recording. Only the part of
rclpy's Node that they use is here.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from midas_depth_ros.nodes.scheduling import NANOSECONDS
from midas_depth_ros.nodes.settings import DepthNodeSettings

Sink = Callable[[str, Any], None]


LARGEST_DEPTH = 2**31 - 1


def depth_of(value: Any) -> int:
    """The depth of a history. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= LARGEST_DEPTH:
        raise ValueError(f'{value!r} is no depth of a history')
    return value


# As QoSOverridingOptions.with_default_policies() has them, and what makes one of a parameter.
POLICIES: dict[str, Callable[[Any], Any]] = {
    'history': HistoryPolicy.get_from_short_key,
    'depth': depth_of,
    'reliability': ReliabilityPolicy.get_from_short_key,
}


class OfflinePublisher:
    """Gives what is published to the sink. profile: the quality that the node would offer."""

    def __init__(
        self, topic: str, kind: type, profile: QoSProfile, sink: Sink, wanted: bool
    ) -> None:
        self.topic_name = topic
        self.kind = kind
        self.profile = profile
        self._sink = sink
        self._wanted = wanted

    def get_subscription_count(self) -> int:
        """1 if the output is wanted."""
        return int(self._wanted)

    def publish(self, message: Any) -> None:
        """Hand a message to the sink."""
        self._sink(self.topic_name, message)


class OfflineSubscription:
    """Takes serialised messages and gives them to its callback, as rclpy would."""

    def __init__(
        self, topic: str, kind: type, callback: Callable[..., Any], profile: Any, raw: bool
    ) -> None:
        self.topic_name = topic
        self.msg_type = kind
        self.qos_profile = profile
        self._callback = callback
        self._raw = raw
        # As rclpy does: who takes two arguments gets what the middleware knows of the message.
        self._with_info = len(inspect.signature(callback).parameters) == 2

    def deliver(self, data: bytes) -> None:
        """Call back. What is wrong with the bytes, `boundary` keeps."""
        message = data if self._raw else deserialize_message(data, self.msg_type)
        if self._with_info:
            self._callback(message, {})
        else:
            self._callback(message)


class OfflineTimer:
    """A timer that never fires: what it would do belongs to real time."""

    timer_period_ns = 0

    def cancel(self) -> None:
        """As rclpy's."""

    def reset(self) -> None:
        """As rclpy's."""


class OfflineClock:
    """The time of the recording."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    def now(self) -> OfflineClock:
        """Itself, which has `nanoseconds` and `to_msg()` as rclpy's Time has."""
        return self

    def to_msg(self) -> Time:
        """As a message."""
        return Time(sec=self.nanoseconds // NANOSECONDS, nanosec=self.nanoseconds % NANOSECONDS)

    def seconds(self) -> float:
        """As a number, to tell how long ago something was."""
        return self.nanoseconds / NANOSECONDS


class OfflineLogger:
    """Passes on what a person must know."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.warning = self.error = self.fatal = say
        self.info = self.debug = lambda text: None


class OfflineNode:
    """Stands where the node's own classes want a node.

    wanted: names of outputs without the camera, such as 'heatmap/image'; empty = all of them.
    overrides: parameters of `qos_overrides`.
    """

    def __init__(
        self,
        settings: DepthNodeSettings,
        sink: Sink,
        say: Callable[[str], None],
        wanted: Collection[str] = (),
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.publishers: dict[str, OfflinePublisher] = {}
        self.subscriptions: dict[str, list[OfflineSubscription]] = {}
        self.clock = OfflineClock()
        self._sink = sink
        self._wanted = wanted
        self._overrides = overrides
        self._logger = OfflineLogger(say)

    def create_publisher(
        self, kind: type, topic: str, profile: QoSProfile, **options: Any
    ) -> OfflinePublisher:
        """As rclpy's, for a topic that somebody subscribes to if it is wanted.

        Raises RuntimeError for a value of `qos_overrides` that is none.
        """
        wanted = not self._wanted or any(topic.endswith('/' + name) for name in self._wanted)
        name = absolute(topic)
        offered = overridden(profile, name, self._overrides)
        publisher = OfflinePublisher(name, kind, offered, self._sink, wanted)
        if wanted:
            self.publishers[publisher.topic_name] = publisher
        return publisher

    def destroy_publisher(self, publisher: OfflinePublisher) -> None:
        """As rclpy's."""
        self.publishers.pop(publisher.topic_name, None)

    def create_subscription(
        self,
        kind: type,
        topic: str,
        callback: Callable[..., Any],
        profile: Any,
        *,
        raw: bool = False,
        **options: Any,
    ) -> OfflineSubscription:
        """As rclpy's."""
        subscription = OfflineSubscription(absolute(topic), kind, callback, profile, raw)
        self.subscriptions.setdefault(subscription.topic_name, []).append(subscription)
        return subscription

    def destroy_subscription(self, subscription: OfflineSubscription) -> None:
        """As rclpy's."""
        self.subscriptions[subscription.topic_name].remove(subscription)

    def count_publishers(self, topic: str) -> int:
        """As rclpy's: a bag is one source."""
        return 1

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        """As rclpy's: of the publishers of a recording nothing is known."""
        return []

    def create_timer(self, period_s: float, callback: Any, **options: Any) -> OfflineTimer:
        """As rclpy's."""
        return OfflineTimer()

    def destroy_timer(self, timer: OfflineTimer) -> None:
        """As rclpy's."""

    def get_logger(self) -> OfflineLogger:
        """As rclpy's."""
        return self._logger

    def get_clock(self) -> OfflineClock:
        """As rclpy's."""
        return self.clock


def absolute(topic: str) -> str:
    """The full name of a topic for a node without a namespace."""
    return '/' + topic.lstrip('/')


def overridden(profile: QoSProfile, topic: str, overrides: Mapping[str, Any]) -> QoSProfile:
    """The quality that a publisher of this topic offers, with the policies that users may override.

    overrides: `qos_overrides.<topic>.publisher.<policy>` -> value. Raises RuntimeError, as rclpy
    does for a wrong one.
    """
    profile = copy.copy(profile)
    prefix = f'qos_overrides.{topic}.publisher.'
    given = {
        policy: overrides[prefix + policy] for policy in POLICIES if prefix + policy in overrides
    }
    try:
        for policy, value in given.items():
            setattr(profile, policy, POLICIES[policy](value))
    except (AttributeError, LookupError, TypeError, ValueError, AssertionError) as error:
        raise RuntimeError(f'{given} is refused: {error!r}') from error
    return profile
