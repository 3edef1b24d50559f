"""How our nodes publish and subscribe: quality of service, and what does not match it elsewhere.

Every subscription of the package is made here: what comes is taken as bytes and read within a
boundary, so that no message ends a node. What describes rather than tells of a moment, such as
camera_info, is also heard where it was published once, before the node was there (latched).
"""

from __future__ import annotations

import collections
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised


def best_effort(depth: int) -> QoSProfile:
    """Takes what any publisher sends, up to `depth` messages that were not read yet."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
    )


NEWEST = best_effort(1)  # of pictures, commands and scans only the newest counts
EVERY_IMAGE = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
# The newest message, also one from before the subscription (`make_subscription` says how). Only for
# what does not become wrong by becoming old, or is asked for by its stamp: no old command and no
# old picture may look new.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
# Every message counts, as of an Imu that is asked for what it said some time ago.
HISTORY = best_effort(100)
OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
# Of what is recorded nothing may get lost: a reliable subscriber may stall for many messages. Not
# KEEP_ALL: that would be thousands of pictures in memory before it ends.
REPLAY_OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE
)


def output_profile(every_frame: bool) -> QoSProfile:
    """How depth_node publishes: of a recording, where every frame counts, or of a live camera."""
    return REPLAY_OUTPUT if every_frame else OUTPUT


OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
SENT_AT, NUMBER = 'source_timestamp', 'publication_sequence_number'  # what rmw knows of a message
KEPT_MARKS = 256
BEST_AVAILABLE = getattr(DurabilityPolicy, 'BEST_AVAILABLE', None)  # not in Humble
FOLLOW_PERIOD_S = 0.5  # until a latched publisher is noticed
OVERTAKEN_NS = 5_000_000_000  # by so much a message may come late that was sent again


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
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
        )
    except RuntimeError as error:  # rclpy's way of refusing a value of qos_overrides
        raise ValueError(f'qos_overrides of {topic}: {error}') from error


class PublisherTable:
    """The publishers of one camera, by the names of their outputs: `<camera>/<name>`."""

    def __init__(
        self, node: Node, camera: str, kinds: Mapping[str, type], profile: QoSProfile = OUTPUT
    ) -> None:
        """kinds: name -> message class. Raises ValueError as `make_publisher` does."""
        self._of_node = node
        self._publishers = {
            name: make_publisher(node, kind, f'{camera}/{name}', profile)
            for name, kind in kinds.items()
        }

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._of_node.destroy_publisher(publisher)
        self._publishers = {}

    def wanted(self, name: str = '') -> bool:
        """Whether somebody subscribes to this output; without a name, to any of them."""
        publishers = [self._publishers[name]] if name else list(self._publishers.values())
        return any(publisher.get_subscription_count() for publisher in publishers)

    def send(self, name: str, message: object) -> None:
        """Publish a message of one output."""
        self._publishers[name].publish(message)


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

    Of a profile whose durability is system default both are heard, volatile and transient local
    publishers: no one subscription hears the first and gets what the second sent before. So
    there is a second one while there are transient local publishers (for volatile ones alone it
    would only be a warning in their logs), and the callback gets each message once. A durability
    in `qos_overrides` decides: `volatile` hears what is sent from now on, `transient_local` no
    volatile publishers, and `best_available` is both. `unsubscribe` ends all of it.
    """
    profile = copy.copy(profile)
    name = topic  # until it is known with its namespace
    wants_info = _wants_info(callback)
    twice: DuplicateFilter | None = None

    def deliver(taken: Any, *info: Any) -> None:
        try:
            as_it_came = serialised or not isinstance(taken, bytes)
            message = taken if as_it_came else deserialised(taken, kind)
        except Unreadable as error:
            boundary.refuse(node, name, str(error), on_fault)
            return
        boundary.attempt(node, name, lambda: callback(message, *info), on_fault)

    def receiver(reader: int) -> Callable[..., None]:
        def take(taken: Any, info: Any = None) -> None:
            if twice is None or twice.is_new(reader, taken, info):
                deliver(taken, *((info,) if wants_info else ()))

        # rclpy counts arguments, and on Humble knows but one.
        tells = wants_info or hasattr(Subscription, 'CallbackType')
        return (lambda taken, info: take(taken, info)) if tells else (lambda taken: take(taken))

    def subscribe(reader: int, profile: QoSProfile, **options: Any) -> Subscription:
        options |= {'callback_group': callback_group}
        receive = receiver(reader)
        try:
            return node.create_subscription(kind, topic, receive, profile, raw=True, **options)
        except TypeError:  # rclpy does not know the option
            return node.create_subscription(kind, topic, receive, profile, **options)

    try:
        made = subscribe(0, profile, qos_overriding_options=QoSOverridingOptions(OVERRIDABLE))
    except RuntimeError as error:
        raise ValueError(f'qos_overrides of {topic}: {error}') from error
    if profile.durability == BEST_AVAILABLE:
        # The middleware looks at who is there now: who comes later may never be heard.
        profile.durability = DurabilityPolicy.SYSTEM_DEFAULT
        if profile.reliability == ReliabilityPolicy.BEST_AVAILABLE:
            profile.reliability = ReliabilityPolicy.BEST_EFFORT
        node.destroy_subscription(made)
        made = subscribe(0, profile)
    name = made.topic_name
    kinds = (DurabilityPolicy.SYSTEM_DEFAULT, DurabilityPolicy.TRANSIENT_LOCAL)
    if profile.durability in kinds and not _is_kept(profile):
        twice = DuplicateFilter()
        _ask_for_earlier(node, made, callback_group, lambda earlier: subscribe(1, earlier))
    return made


def _ask_for_earlier(
    node: Node,
    made: Subscription,
    callback_group: CallbackGroup | None,
    subscribe: Callable[[QoSProfile], Subscription],
) -> None:
    """Have a second subscription, for what was sent before, while there are latched publishers."""
    earlier = copy.copy(made.qos_profile)
    always = earlier.durability == DurabilityPolicy.TRANSIENT_LOCAL  # as `qos_overrides` says
    # A best effort subscription is not sent what was there before it.
    earlier.reliability = ReliabilityPolicy.RELIABLE
    earlier.durability = DurabilityPolicy.TRANSIENT_LOCAL
    made.of_earlier = None

    def follow() -> None:
        kept = always or _is_latched(node, made)
        if kept and made.of_earlier is None:
            made.of_earlier = subscribe(earlier)
        elif not kept and made.of_earlier is not None:
            node.destroy_subscription(made.of_earlier)
            made.of_earlier = None

    follow()
    # Steady: publishers come and go while a simulated clock stands still, too.
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    made.following = node.create_timer(
        FOLLOW_PERIOD_S, follow, callback_group=callback_group, clock=steady
    )


def unsubscribe(node: Node, subscription: Subscription) -> None:
    """Undo `make_subscription`."""
    if hasattr(subscription, 'following'):
        node.destroy_timer(subscription.following)
        if subscription.of_earlier is not None:
            node.destroy_subscription(subscription.of_earlier)
    node.destroy_subscription(subscription)


def _is_kept(profile: QoSProfile) -> bool:
    """Whether between two of this quality what was sent before is sent to who comes later."""
    return (
        profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and profile.reliability == ReliabilityPolicy.RELIABLE
    )


def _is_latched(node: Node, subscription: Subscription) -> bool:
    """Whether any of its publishers keeps what it sent, and sends it to those who come later."""
    awaited = type_name(subscription.msg_type)
    return any(
        end.topic_type == awaited and _is_kept(end.qos_profile)
        for end in node.get_publishers_info_by_topic(subscription.topic_name)
    )


class DuplicateFilter:
    """Which messages are new where two subscriptions hear the same topic, in one callback group."""

    def __init__(self) -> None:
        # How often each of the two heard a message, by what tells it from others.
        self._heard: collections.OrderedDict[Any, list[int]] = collections.OrderedDict()
        self._newest_ns = [0, 0]

    def is_new(self, reader: int, taken: Any, info: Any) -> bool:
        """Take a message that subscription 0 or 1 heard; whether the other one has not.

        taken: as the middleware gave it. info: what that knows of it; None where rclpy hides it.
        What was overtaken on its way by a message that the other one heard is not new either.
        """
        other = 1 - reader
        known = info if hasattr(info, 'get') else {}
        sent_ns, number = known.get(SENT_AT), known.get(NUMBER)
        mark: Any = taken if isinstance(taken, bytes) else repr(taken)
        if sent_ns and number is not None:
            mark = sent_ns, number
        heard = self._heard.pop(mark, [0, 0])
        heard[reader] += 1
        self._heard[mark] = heard
        if len(self._heard) > KEPT_MARKS:
            self._heard.popitem(last=False)
        if heard[reader] <= heard[other]:
            return False
        late_ns = self._newest_ns[other] - (sent_ns or 0)
        self._newest_ns[reader] = max(self._newest_ns[reader], sent_ns or 0)
        return not (sent_ns and 0 < late_ns < OVERTAKEN_NS)


def _wants_info(callback: Callable[..., None]) -> bool:
    """Whether a callback needs a second argument: rclpy's own question."""
    try:
        inspect.signature(callback).bind(object())
    except TypeError:
        return True
    return False


def type_name(kind: type) -> str:
    """The name of a message class in the graph: sensor_msgs/msg/Image."""
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'


def topic_words(subscription: Subscription) -> str:
    """Full name and type of the topic of a subscription."""
    return f'{subscription.topic_name} ({type_name(subscription.msg_type)})'


def publisher_nodes(node: Node, subscription: Subscription) -> list[str]:
    """The full names of the nodes that publish what it awaits, one for each publisher."""
    awaited = type_name(subscription.msg_type)
    return [
        f'{end.node_namespace.rstrip("/")}/{end.node_name}'
        for end in node.get_publishers_info_by_topic(subscription.topic_name)
        if end.topic_type == awaited
    ]


def count_publishers(node: Node, subscription: Subscription) -> int:
    """How many publish what it awaits."""
    count = int(node.count_publishers(subscription.topic_name))
    # One of another type is no second sensor: nothing of it comes.
    return count if count < 2 else len(publisher_nodes(node, subscription))


def mixed_words(topic: str, publisher_nodes: Sequence[str], what: str = 'pictures') -> str:
    """The sentence about several publishers on one topic, with the names of their nodes."""
    return (
        f'{len(publisher_nodes)} publishers on {topic} ({", ".join(publisher_nodes)}): their '
        f'{what} are mixed, leave one of them'
    )


def several_publishers(node: Node, subscription: Subscription, what: str) -> str:
    """Why what comes may be of several sensors, which are then named; '' if it is of one."""
    if count_publishers(node, subscription) < 2:
        return ''
    return mixed_words(subscription.topic_name, publisher_nodes(node, subscription), what)


def publishers_of(
    node: Node, subscription: Subscription, remedies: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """How many publishers a subscription has, and why those that do not match don't.

    remedies: what to do about publishers of another type, by its name in the graph.
    """
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    awaited = type_name(subscription.msg_type)
    reasons = []
    for endpoint in endpoints:
        got = endpoint.topic_type
        if got != awaited:
            remedy = (remedies or {}).get(got, 'remap to a topic of that type')
            reasons.append(f'{endpoint.node_name} publishes {got}, not {awaited}: {remedy}')
            continue
        verdict, reason = qos_check_compatible(endpoint.qos_profile, subscription.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{endpoint.node_name}: {reason.strip()}')
    return len(endpoints), reasons


def subscribers_of(
    node: Node, publisher: Publisher, remedies: Mapping[str, str] | None = None
) -> list[str]:
    """Why those that subscribe to what we publish, but get nothing of it, don't."""
    sent = type_name(publisher.msg_type)
    reasons = []
    for endpoint in node.get_subscriptions_info_by_topic(publisher.topic_name):
        got = endpoint.topic_type
        if got != sent:
            remedy = (remedies or {}).get(got, 'remap one of them')
            reasons.append(
                f'{endpoint.node_name} awaits {got} on {publisher.topic_name}, not {sent}: {remedy}'
            )
            continue
        # What the graph tells of deadlines and the like differs from what we have left open.
        wanted = QoSProfile(
            depth=1,
            reliability=endpoint.qos_profile.reliability,
            durability=endpoint.qos_profile.durability,
        )
        verdict, reason = qos_check_compatible(publisher.qos_profile, wanted)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{endpoint.node_name}: {reason.strip()}')
    return reasons
