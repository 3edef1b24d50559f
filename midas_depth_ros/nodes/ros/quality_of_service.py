"""How our nodes publish and subscribe, and which publishers and subscribers do not match.

Every subscription of the package is made here: messages are read within a boundary, so that none
ends a node. Messages such as camera_info are also received if they were published once (latched).
"""

from __future__ import annotations

import collections
import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
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
from rclpy.timer import Timer

from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised


def best_effort(depth: int) -> QoSProfile:
    """Receives from any publisher, and keeps up to `depth` unread messages."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
    )


NEWEST = best_effort(1)  # for images, commands and scans
EVERY_IMAGE = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
# The newest message, also one from before the subscription. No old command or image may look new.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
# Every message counts, as for an Imu, which is looked up by stamp.
HISTORY = best_effort(100)
OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
# Enough for a reliable subscriber that stalls during a recording; KEEP_ALL could fill the memory.
REPLAY_OUTPUT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE
)


def output_profile(every_frame: bool) -> QoSProfile:
    """How depth_node publishes: for a recording, where every frame counts, or a live camera."""
    return REPLAY_OUTPUT if every_frame else OUTPUT


OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
SENT_AT, NUMBER = 'source_timestamp', 'publication_sequence_number'  # keys of rmw's message info
UNNUMBERED = 2**64 - 1  # from a middleware without sequence numbers
KEPT_MARKS = 256
BEST_AVAILABLE = getattr(DurabilityPolicy, 'BEST_AVAILABLE', None)  # not in Humble
FOLLOW_PERIOD_S = 0.5  # how often publishers are checked for latched ones
OVERTAKEN_NS = 5_000_000_000  # how late an overtaken message may arrive


def make_publisher(node: Node, kind: type, topic: str, profile: QoSProfile = OUTPUT) -> Publisher:
    """A publisher that `qos_overrides` parameters may change; ValueError if one is invalid."""
    profile = copy.copy(profile)  # rclpy writes the overrides into what it is given
    try:
        return node.create_publisher(
            kind,
            topic,
            profile,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
        )
    except RuntimeError as error:  # raised by rclpy for an invalid value of qos_overrides
        raise ValueError(f'qos_overrides of {topic}: {error}') from error


class PublisherTable:
    """The publishers of one camera, by the names of their outputs: `<camera>/<name>`."""

    def __init__(
        self, node: Node, camera: str, kinds: Mapping[str, type], profile: QoSProfile = OUTPUT
    ) -> None:
        """kinds: name -> message class.

        Raises ValueError as `make_publisher` does; no publisher is left then.
        """
        self._of_node = node
        self._publishers: dict[str, Publisher] = {}
        with contextlib.ExitStack() as made:
            made.callback(self._close_publishers)
            for name, kind in kinds.items():
                self._publishers[name] = make_publisher(node, kind, f'{camera}/{name}', profile)
            made.pop_all()

    def close(self) -> None:
        """Destroy the publishers."""
        self._close_publishers()

    def _close_publishers(self) -> None:
        for publisher in self._publishers.values():
            self._of_node.destroy_publisher(publisher)
        self._publishers = {}

    def wanted(self, name: str = '') -> bool:
        """Whether this output has a subscriber; without a name, whether any has."""
        publishers = [self._publishers[name]] if name else list(self._publishers.values())
        return any(publisher.get_subscription_count() for publisher in publishers)

    def send(self, name: str, message: object) -> None:
        """Publish a message of one output, or the bytes of a serialised one."""
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
    """A subscription whose quality of service users may override; raises as `make_publisher` does.

    The callback takes a message, or a message and rmw's message info. Unreadable messages and
    exceptions of the callback are counted and kept for diagnostics (`boundary.faults_of`), and
    passed to `on_fault`, or logged at WARN, throttled.

    serialised: the callback gets the bytes; or messages where rclpy cannot do that.

    With durability SYSTEM_DEFAULT both volatile and transient local publishers are received, which
    no single subscription does. So there is a second one while there are transient local publishers
    (with volatile ones alone it would only cause warnings in their logs), and the callback gets
    each message once. A durability in `qos_overrides` decides: `volatile` receives only new
    messages, `transient_local` no volatile publishers, `best_available` does both.
    """
    profile = copy.copy(profile)
    name = topic  # until the full name is known
    wants_info = _wants_info(callback)
    duplicates: DuplicateFilter | None = None

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
            if duplicates is None or duplicates.is_new(reader, taken, info):
                deliver(taken, *((info,) if wants_info else ()))

        # rclpy counts arguments; Humble's knows only one.
        tells = wants_info or hasattr(Subscription, 'CallbackType')
        return (lambda taken, info: take(taken, info)) if tells else (lambda taken: take(taken))

    def subscribe(reader: int, profile: QoSProfile, **options: Any) -> Subscription:
        options |= {'callback_group': callback_group}
        receive = receiver(reader)
        try:
            return node.create_subscription(kind, topic, receive, profile, raw=True, **options)
        except TypeError:  # an rclpy without the option `raw`
            return node.create_subscription(kind, topic, receive, profile, **options)

    try:
        made = subscribe(0, profile, qos_overriding_options=QoSOverridingOptions(OVERRIDABLE))
    except RuntimeError as error:
        raise ValueError(f'qos_overrides of {topic}: {error}') from error
    if profile.durability == BEST_AVAILABLE:
        # The middleware only considers present publishers: later ones may never be received.
        profile.durability = DurabilityPolicy.SYSTEM_DEFAULT
        if profile.reliability == ReliabilityPolicy.BEST_AVAILABLE:
            profile.reliability = ReliabilityPolicy.BEST_EFFORT
        node.destroy_subscription(made)
        made = subscribe(0, profile)
    name = made.topic_name
    kinds = (DurabilityPolicy.SYSTEM_DEFAULT, DurabilityPolicy.TRANSIENT_LOCAL)
    if profile.durability in kinds and not _is_latching(profile):
        duplicates = DuplicateFilter()
        _ask_for_earlier(node, made, lambda earlier: subscribe(1, earlier))
    return made


def _ask_for_earlier(
    node: Node,
    made: Subscription,
    subscribe: Callable[[QoSProfile], Subscription],
) -> None:
    """Keep a second subscription, for earlier messages, while there are latched publishers."""
    earlier = copy.copy(made.qos_profile)
    always = earlier.durability == DurabilityPolicy.TRANSIENT_LOCAL  # as `qos_overrides` says
    # A best effort subscription gets no earlier messages.
    earlier.reliability = ReliabilityPolicy.RELIABLE
    earlier.durability = DurabilityPolicy.TRANSIENT_LOCAL
    made.of_earlier = None

    def follow() -> None:
        try:
            kept = always or _is_latched(node, made)
        except InvalidHandle:  # the node is being destroyed
            return
        if kept and made.of_earlier is None:
            made.of_earlier = subscribe(earlier)
        elif not kept and made.of_earlier is not None:
            node.destroy_subscription(made.of_earlier)
            made.of_earlier = None

    follow()
    made.following = follow
    if not hasattr(node, 'followers'):
        node.followers = Followers(node)
    node.followers.add(follow)


class Followers:
    """What a node does every `FOLLOW_PERIOD_S`, by one timer: each turn of an executor costs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._all: list[Callable[[], None]] = []
        self._timer: Timer | None = None

    def add(self, follow: Callable[[], None]) -> None:
        """Begin to do it."""
        self._all.append(follow)
        if self._timer is None:
            # Steady: publishers come and go while a simulated clock stands still, too.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)

    def remove(self, follow: Callable[[], None]) -> None:
        """Do it no longer."""
        self._all.remove(follow)
        if not self._all and self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def _follow(self) -> None:
        for follow in tuple(self._all):
            follow()


def unsubscribe(node: Node, subscription: Subscription | None) -> None:
    """Undo `make_subscription`."""
    if subscription is None:
        return
    if hasattr(subscription, 'following'):
        node.followers.remove(subscription.following)
        if subscription.of_earlier is not None:
            node.destroy_subscription(subscription.of_earlier)
    node.destroy_subscription(subscription)


class Subscriber:
    """An object with one subscription, made by a subclass; None while there is none."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscription: Subscription | None = None

    def close(self) -> None:
        """Unsubscribe."""
        unsubscribe(self._node, self._subscription)
        self._subscription = None

    @property
    def subscribed(self) -> str:
        """The full name and type of the topic, as text; '' without a subscription."""
        return topic_words(self._subscription)


def _is_latching(profile: QoSProfile) -> bool:
    """Whether a subscription gets earlier messages, if both ends have this profile."""
    return (
        profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and profile.reliability == ReliabilityPolicy.RELIABLE
    )


def _is_latched(node: Node, subscription: Subscription) -> bool:
    """Whether any of its publishers sends earlier messages to new subscribers."""
    expected = type_name(subscription.msg_type)
    return any(
        end.topic_type == expected and _is_latching(end.qos_profile)
        for end in node.get_publishers_info_by_topic(subscription.topic_name)
    )


class DuplicateFilter:
    """Drops the duplicates of two subscriptions to one topic, in one callback group."""

    def __init__(self) -> None:
        # How often each of the two received a message, by its mark.
        self._received: collections.OrderedDict[Any, list[int]] = collections.OrderedDict()
        self._newest = [(0, 0), (0, 0)]  # when it was sent, and its number

    def is_new(self, reader: int, taken: Any, info: Any) -> bool:
        """Whether a message that subscription 0 or 1 received has not come by the other one.

        taken: the message or its bytes. info: rmw's message info; None where rclpy has none.
        A message that was overtaken by one of the other subscription is not new either: it was sent
        before that, and numbered before it where there are numbers, since a clock may be set back.
        """
        other = 1 - reader
        known = info if hasattr(info, 'get') else {}
        sent_ns, number = known.get(SENT_AT), known.get(NUMBER)
        mark: Any = taken if isinstance(taken, bytes) else repr(taken)
        if sent_ns and number is not None:
            mark = sent_ns, number
        received = self._received.pop(mark, [0, 0])
        received[reader] += 1
        self._received[mark] = received
        if len(self._received) > KEPT_MARKS:
            self._received.popitem(last=False)
        if received[reader] <= received[other]:
            return False
        sent_ns, number = sent_ns or 0, number or 0
        newest_ns, newest_number = self._newest[other]
        if sent_ns > self._newest[reader][0] or number > self._newest[reader][1]:
            self._newest[reader] = sent_ns, number
        late = 0 < newest_ns - sent_ns < OVERTAKEN_NS
        return not (sent_ns and late and number <= newest_number)


def number_of(info: Any) -> int | None:
    """The sequence number in rmw's message info; None where the middleware or rclpy has none."""
    number = info.get(NUMBER) if hasattr(info, 'get') else None
    return None if number == UNNUMBERED else number


def _wants_info(callback: Callable[..., None]) -> bool:
    """Whether a callback needs a second argument, found as rclpy does."""
    try:
        inspect.signature(callback).bind(object())
    except TypeError:
        return True
    return False


def type_name(kind: type) -> str:
    """The name of a message class in the graph: sensor_msgs/msg/Image."""
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'


def topic_words(subscription: Subscription | None) -> str:
    """The full name and type of the topic of a subscription; '' without one."""
    if subscription is None:
        return ''
    return f'{subscription.topic_name} ({type_name(subscription.msg_type)})'


def publisher_nodes(node: Node, subscription: Subscription | None) -> list[str]:
    """The full names of the nodes with a publisher of its type, one for each publisher."""
    if subscription is None:
        return []
    expected = type_name(subscription.msg_type)
    return [
        f'{end.node_namespace.rstrip("/")}/{end.node_name}'
        for end in node.get_publishers_info_by_topic(subscription.topic_name)
        if end.topic_type == expected
    ]


def count_publishers(node: Node, subscription: Subscription) -> int:
    """How many publishers of its type there are; those alone that are received, if known."""
    matched = getattr(subscription, 'get_publisher_count', None)  # Humble asks the graph
    if matched is not None:
        return int(matched())
    count = int(node.count_publishers(subscription.topic_name))
    # A publisher of another type is not a second sensor: its messages are not received.
    return count if count < 2 else len(publisher_nodes(node, subscription))


def mixed_words(topic: str, publisher_nodes: Sequence[str], what: str = 'pictures') -> str:
    """The sentence about several publishers on one topic, with the names of their nodes."""
    return (
        f'{len(publisher_nodes)} publishers on {topic} ({", ".join(publisher_nodes)}): their '
        f'{what} are mixed, stop all but one'
    )


def several_publishers(node: Node, subscription: Subscription, what: str) -> str:
    """Why messages may be of several sensors, with their nodes; '' if they are of one."""
    if count_publishers(node, subscription) < 2:
        return ''
    return mixed_words(subscription.topic_name, publisher_nodes(node, subscription), what)


def publishers_of(
    node: Node, subscription: Subscription | None, remedies: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """How many publishers a subscription has, and why some are incompatible.

    remedies: what to do about publishers of another type, by type name.
    """
    if subscription is None:
        return 0, []
    endpoints = node.get_publishers_info_by_topic(subscription.topic_name)
    expected = type_name(subscription.msg_type)
    reasons = []
    for endpoint in endpoints:
        got = endpoint.topic_type
        if got != expected:
            remedy = (remedies or {}).get(got, 'remap to a topic of that type')
            reasons.append(f'{endpoint.node_name} publishes {got}, not {expected}: {remedy}')
            continue
        verdict, reason = qos_check_compatible(endpoint.qos_profile, subscription.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{endpoint.node_name}: {reason.strip()}')
    return len(endpoints), reasons


def subscribers_of(
    node: Node, publisher: Publisher, remedies: Mapping[str, str] | None = None
) -> list[str]:
    """Why some subscribers to a topic of ours are incompatible."""
    topic, sent = publisher.topic_name, type_name(publisher.msg_type)
    reasons = []
    for endpoint in node.get_subscriptions_info_by_topic(topic):
        name, expected = endpoint.node_name, endpoint.topic_type
        if expected != sent:
            remedy = (remedies or {}).get(expected, 'remap one of them')
            reasons.append(f'{name} expects {expected} on {topic}, not {sent}: {remedy}')
            continue
        # Deadlines and the like, which we leave open, differ in the graph.
        wanted = QoSProfile(
            depth=1,
            reliability=endpoint.qos_profile.reliability,
            durability=endpoint.qos_profile.durability,
        )
        verdict, reason = qos_check_compatible(publisher.qos_profile, wanted)
        if verdict == QoSCompatibility.ERROR:
            reasons.append(f'{name}: {reason.strip()}')
    return reasons
