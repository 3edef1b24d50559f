"""Quality of service of our topics, and what does not match it on the other side."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

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
) -> Subscription:
    """A subscription whose quality users may override; raises as `make_publisher` does.

    `serialised`: the callback gets bytes, as they came; messages where rclpy cannot do that.
    """
    options = {
        'qos_overriding_options': QoSOverridingOptions.with_default_policies(),
        'callback_group': callback_group,
    }
    profile = copy.copy(profile)
    try:
        if serialised:
            with contextlib.suppress(TypeError):  # rclpy does not know the option
                return node.create_subscription(kind, topic, callback, profile, raw=True, **options)
        return node.create_subscription(kind, topic, callback, profile, **options)
    except RuntimeError as error:
        raise ValueError(f'qos_overrides of {topic}: {error}') from error


def publishers_of(node: Node, subscription: Subscription) -> tuple[int, list[str]]:
    """How many publishers a subscription has, and why those that do not match don't."""
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    reasons = []
    for endpoint in endpoints:
        verdict, reason = qos_check_compatible(endpoint.qos_profile, subscription.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{endpoint.node_name}: {reason.strip()}')
    return len(endpoints), reasons
