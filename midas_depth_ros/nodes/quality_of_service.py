"""How our nodes publish and subscribe: quality of service, and what does not match it elsewhere.

Every subscription of the package is made here: what comes is taken as bytes and read within a
boundary, so that no message ends a node.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from midas_depth_ros.nodes import boundary
from midas_depth_ros.nodes.serialised import Unreadable, deserialised
from midas_depth_ros.nodes.stamps import mixed_words

# Best effort takes what any publisher sends; one message deep, since only the newest counts.
NEWEST_IMAGE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
EVERY_IMAGE = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
CAMERA_INFO = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
# Every message counts, as of an Imu that is asked for what it said some time ago.
HISTORY = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.BEST_EFFORT
)
OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
# Of what is recorded nothing may get lost: a reliable subscriber may stall for many messages. Not
# KEEP_ALL: that would be thousands of pictures in memory before it ends.
REPLAY_OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE
)


def make_publisher(node: Node, kind: type, topic: str, profile: QoSProfile = OUTPUT) -> Publisher:
    """A publisher whose quality users may override by `qos_overrides` parameters.

    Raises ValueError when such a parameter is wrong.
    """
    profile = copy.copy(profile)  # rclpy writes the overrides into what it is given
    try:
        return node.create_publisher(
            kind,
            topic,
            profile,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
    except RuntimeError as error:  # rclpy's way of refusing a value of qos_overrides
        raise ValueError(f'qos_overrides of {topic}: {error}') from error


def make_subscription(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[..., None],
    profile: QoSProfile,
    serialised: bool = False,
    callback_group: CallbackGroup | None = None,
    on_fault: Callable[[str], None] | None = None,
) -> Subscription:
    """A subscription whose quality users may override; raises as `make_publisher` does.

    The callback takes a message, or a message and what the middleware knows of it. It never gets
    bytes that are no message of this class, and what it raises ends nothing: both are counted and
    kept for diagnostics (`boundary.faults_of`), and told to `on_fault`, or said at WARN now and
    then.

    `serialised`: the callback gets bytes, as they came; messages where rclpy cannot do that.
    """
    options = {
        'qos_overriding_options': QoSOverridingOptions.with_default_policies(),
        'callback_group': callback_group,
    }
    profile = copy.copy(profile)
    name = topic  # until it is known with its namespace

    def deliver(taken: Any, *info: Any) -> None:
        try:
            as_it_came = serialised or not isinstance(taken, bytes)
            message = taken if as_it_came else deserialised(taken, kind)
        except Unreadable as error:
            boundary.refuse(node, name, str(error), on_fault)
            return
        boundary.attempt(node, name, lambda: callback(message, *info), on_fault)

    receive: Callable[..., None] = lambda taken: deliver(taken)  # noqa: E731 - rclpy counts arguments
    if _wants_info(callback):
        receive = lambda taken, info: deliver(taken, info)  # noqa: E731
    try:
        try:
            made = node.create_subscription(kind, topic, receive, profile, raw=True, **options)
        except TypeError:  # rclpy does not know the option
            made = node.create_subscription(kind, topic, receive, profile, **options)
    except RuntimeError as error:
        raise ValueError(f'qos_overrides of {topic}: {error}') from error
    name = made.topic_name
    return made


def _wants_info(callback: Callable[..., None]) -> bool:
    """Whether a callback needs a second argument: rclpy's own question."""
    try:
        inspect.signature(callback).bind(object())
    except TypeError:
        return True
    return False


def publisher_nodes(node: Node, subscription: Subscription) -> list[str]:
    """The full names of the nodes that publish on its topic, one for each publisher."""
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    return [f'{end.node_namespace.rstrip("/")}/{end.node_name}' for end in endpoints]


def several_publishers(node: Node, subscription: Subscription, what: str) -> str:
    """Why what comes may be of several sensors, which are then named; '' if it is of one."""
    if node.count_publishers(subscription.topic_name) < 2:
        return ''
    return mixed_words(subscription.topic_name, publisher_nodes(node, subscription), what)


def publishers_of(node: Node, subscription: Subscription) -> tuple[int, list[str]]:
    """How many publishers a subscription has, and why those that do not match don't."""
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    reasons = []
    for endpoint in endpoints:
        verdict, reason = qos_check_compatible(endpoint.qos_profile, subscription.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{endpoint.node_name}: {reason.strip()}')
    return len(endpoints), reasons
