"""The depth node's parameters and its switch, by its services: described, read, set.

All of it runs in the ROS thread and waits for nothing: answers come as callbacks, and what is not
answered in time is forgotten. What was read is read again now and then, and expires otherwise.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from std_srvs.srv import SetBool

from midas_depth_ros.nodes.ros.parameters import CHOICES
from midas_depth_ros.options.declarations import specs_for_names
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.web.errors import Faults
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.robot_routes import BY_NAME, OTHERS, names_of_mounts

FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value',
    ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value',
    ParameterType.PARAMETER_STRING: 'string_value',
    ParameterType.PARAMETER_STRING_ARRAY: 'string_array_value',
}
KINDS = {
    ParameterType.PARAMETER_BOOL: 'bool',
    ParameterType.PARAMETER_INTEGER: 'int',
    ParameterType.PARAMETER_DOUBLE: 'double',
    ParameterType.PARAMETER_STRING: 'string',
    ParameterType.PARAMETER_STRING_ARRAY: 'string array',
}
MOST_CHOICES = 100
ANSWER_S = 10.0  # until a call counts as unanswered
FACTS = ('parameters', 'other_parameters', 'mount_parameters')
MOST_OF_MOUNTS = 120  # a fact is a message to every browser
MOST_CALLS = 64  # unanswered at once
READ_AGAIN_S, LIFETIME_S = 8.0, 30.0
SHORTEST_REFRESH_S = 0.2
# Those that are only shown are read more seldom: there are many of them.
SHORTEST_REFRESH_OF_OTHERS_S = 2.0
UNIT = re.compile(r'^(.*?)(?: \[([^\[\]]+)\])?$', re.DOTALL)  # of a descriptor's text, at its end


class ParameterClients:
    """Clients of one depth node's services; tells the feed its parameters.

    `parameters` are those of CONTROLS, `other_parameters` the rest, and `mount_parameters` those
    that each camera has of its own.
    """

    def __init__(self, node: Node, depth_node: str, feed: Feed, faults: Faults) -> None:
        self._feed = feed
        self._faults = faults
        self._depth_node = depth_node

        def client(kind: type, name: str) -> Any:
            return node.create_client(kind, f'{depth_node}/{name}')

        self._describe = client(DescribeParameters, 'describe_parameters')
        self._get = client(GetParameters, 'get_parameters')
        self._set = client(SetParameters, 'set_parameters')
        self._enable = client(SetBool, 'enable')
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._calls: list[tuple[float, Any, Any]] = []  # until when, the client, its future
        self._was_ready = self._is_stale = False
        self._asked_s = self._known_s = self._others_asked_s = -math.inf
        self._others_stale = True
        self._attempt = 0
        self._attempts: dict[str, int] = {}  # the latest of each fact

    def follow(self, present: bool, cameras: Iterable[str] = ()) -> None:
        """Read the parameters of a node that has come; forget those of one that has gone.

        cameras: the names of those that it has.

        Called now and then. Right after discovery the node cannot answer yet and would wait in
        vain: it is asked at the second call, and again until there is an answer.
        """
        self._forget_unanswered()
        if not present:
            self._known_s = self._others_asked_s = -math.inf
            for fact in FACTS:
                self._feed.tell(fact, None)
        ready = present and self._describe.service_is_ready() and self._get.service_is_ready()
        old = time.monotonic() - self._known_s > READ_AGAIN_S
        if ready and self._was_ready and (old or self._is_stale):
            self.refresh()
        wait_s = SHORTEST_REFRESH_OF_OTHERS_S if self._others_stale else READ_AGAIN_S
        if ready and self._was_ready and time.monotonic() - self._others_asked_s > wait_s:
            self._others_stale, self._others_asked_s = False, time.monotonic()
            self._read('other_parameters', list(OTHERS))
            self._read('mount_parameters', names_of_mounts(cameras)[:MOST_OF_MOUNTS])
        self._was_ready = ready

    def changed(self) -> None:
        """Read them again, now or soon: somebody changes them, perhaps many of them."""
        self._is_stale = self._others_stale = True
        if time.monotonic() - self._asked_s > SHORTEST_REFRESH_S:
            self.refresh()

    def refresh(self) -> None:
        """Read them (again)."""
        if not (self._describe.service_is_ready() and self._get.service_is_ready()):
            return
        self._is_stale, self._asked_s = False, time.monotonic()
        self._read('parameters', list(BY_NAME))

    def _read(self, fact: str, names: list[str]) -> None:
        """Have these described and read, and told as a fact; an older reading of it is left."""
        if not names:
            self._feed.tell(fact, [], LIFETIME_S)
            return
        self._attempt += 1
        self._attempts[fact] = attempt = self._attempt

        def described(answer: Any) -> None:
            if attempt != self._attempts[fact]:
                return
            descriptors = {each.name: each for each in answer.descriptors if each.name in names}
            if fact != 'parameters' and len(descriptors) < len(names):
                return  # a node of another version: a file of some of them would pass for all
            request = GetParameters.Request(names=list(descriptors))
            self._call(self._get, request, lambda got: read(got, descriptors))

        def read(answer: Any, descriptors: dict[str, ParameterDescriptor]) -> None:
            if attempt != self._attempts[fact] or len(answer.values) != len(descriptors):
                return
            self._descriptors |= descriptors
            facts = [
                parameter_facts(descriptor, value)
                for descriptor, value in zip(descriptors.values(), answer.values, strict=True)
                if value.type in FIELDS
            ]
            self._feed.tell(fact, facts, LIFETIME_S)
            if fact == 'parameters':
                self._known_s = time.monotonic()

        self._call(self._describe, DescribeParameters.Request(names=names), described)

    def ask(self, answered: Callable[[], None]) -> None:
        """Have something called when the node answers the least that can be asked of it."""
        if self._get.service_is_ready():
            request = GetParameters.Request(names=['use_sim_time'])
            self._call(self._get, request, lambda _: answered())

    def set(self, name: str, value: Any, answer: Future[str]) -> None:
        """Set one; the answer is '' or the node's reason, or a ConnectionError."""

        def reason_of(response: Any) -> str:
            if not response.results:
                return 'the node gave no answer'
            result = response.results[0]
            return '' if result.successful else result.reason or 'the node gave no reason'

        typed = typed_value(value, self._kind_of(name))
        request = SetParameters.Request(parameters=[Parameter(name=name, value=typed)])
        self._ask(self._set, request, reason_of, answer)

    def enable(self, enabled: bool, answer: Future[str]) -> None:
        """Pause or resume; the answer is as that of `set`."""

        def reason_of(response: Any) -> str:
            return '' if response.success else response.message or 'no reason given'

        self._ask(self._enable, SetBool.Request(data=enabled), reason_of, answer)

    def _ask(
        self,
        client: Any,
        request: Any,
        reason_of: Callable[[Any], str],
        answer: Future[str],
    ) -> None:
        """Call a service for somebody who waits, whatever becomes of it."""
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits any more

        def done(response: Any) -> None:
            try:
                answer.set_result(reason_of(response))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                answer.set_exception(error)

        try:
            if not client.service_is_ready():
                raise ConnectionError(f'there is no depth node {self._depth_node}: start it')
            self._call(client, request, done)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    def _call(self, client: Any, request: Any, done: Callable[[Any], None]) -> None:
        """Call a service; `done` gets its answer, if there is one in time."""
        if len(self._calls) >= MOST_CALLS:
            raise ConnectionError(f'the depth node {self._depth_node} does not answer')
        called = client.call_async(request)
        self._calls.append((time.monotonic() + ANSWER_S, client, called))

        def answered(future: Any) -> None:
            self._calls = [call for call in self._calls if call[2] is not future]
            with self._faults.around('an answer of the depth node'):
                done(future.result())

        called.add_done_callback(answered)

    def _forget_unanswered(self) -> None:
        """What is not answered would be kept for ever."""
        now_s = time.monotonic()
        for until_s, client, future in self._calls:
            if until_s < now_s:
                client.remove_pending_request(future)
        self._calls = [call for call in self._calls if call[0] >= now_s]

    def _kind_of(self, name: str) -> str:
        descriptor = self._descriptors.get(name)
        return kind_of(descriptor) if descriptor else ''


def kind_of(descriptor: ParameterDescriptor) -> str:
    """bool, int, double or string; '' where the descriptor does not say."""
    # A node that lets people write 5 for 5.0 may type its doubles dynamically.
    if descriptor.dynamic_typing or descriptor.floating_point_range:
        return 'double'
    return KINDS.get(descriptor.type, '')


def typed_value(value: Any, kind: str) -> ParameterValue:
    """A JSON value as a parameter of this kind; of its own kind where it does not fit."""
    if value is None:
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=math.nan)
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    if isinstance(value, str):
        return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    whole = float(value).is_integer() and (kind == 'int' or isinstance(value, int))
    if whole and kind != 'double':
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=int(value))
    return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float(value))


def parameter_facts(descriptor: ParameterDescriptor, value: ParameterValue) -> dict[str, Any]:
    """What the page tells of a parameter; a control, where it may be set, is drawn of it."""
    name, control = descriptor.name, BY_NAME.get(descriptor.name)
    spec = specs_for_names(DepthNodeSettings, [name]).get(name)
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    constraints = descriptor.additional_constraints.partition(';')[0]
    named = constraints.startswith(CHOICES)
    text, unit = UNIT.fullmatch(descriptor.description).groups()  # type: ignore[union-attr]
    facts = {
        'name': name,
        'kind': kind_of(descriptor) or KINDS[value.type],
        'value': plain_value(getattr(value, FIELDS[value.type])),
        'default': plain_value(spec.default) if spec is not None else None,
        'low': ranges[0].from_value if ranges else spec.minimum if spec is not None else None,
        'high': ranges[0].to_value if ranges else spec.maximum if spec is not None else None,
        'choices': constraints.removeprefix(CHOICES).split(', ')[:MOST_CHOICES] if named else [],
        'text': text,
        'unit': unit or '',
        'live': spec.live if spec is not None else False,
    }
    if control is not None:
        facts |= {
            'label': control.label,
            'group': control.group,
            'step': control.step,
            # Of a slider, which is narrower than what the node takes.
            'least': control.low if control.low is not None else facts['low'],
            'most': control.high if control.high is not None else facts['high'],
        }
    return facts


def plain_value(value: Any) -> Any:
    """As JSON has it: null for NaN, which means unknown."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str)) else list(value)
