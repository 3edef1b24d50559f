"""The depth node's parameters and its switch, by its services: described, read, set.

All of it runs in the ROS thread and waits for nothing: answers come as callbacks, and what is not
answered in time is forgotten. What was read is read again now and then, and expires otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from std_srvs.srv import SetBool

from midas_depth_ros.web.controls import BY_NAME, CONTROLS, Control
from midas_depth_ros.web.faults import Faults
from midas_depth_ros.web.feed import Feed

FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value',
    ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value',
    ParameterType.PARAMETER_STRING: 'string_value',
}
KINDS = {
    ParameterType.PARAMETER_BOOL: 'bool',
    ParameterType.PARAMETER_INTEGER: 'int',
    ParameterType.PARAMETER_DOUBLE: 'double',
    ParameterType.PARAMETER_STRING: 'string',
}
CHOICES = 'one of: '  # as depth_node's descriptors begin their additional constraints
MOST_CHOICES = 100
ANSWER_S = 10.0  # until a call counts as unanswered
MOST_CALLS = 64  # unanswered at once
READ_AGAIN_S, LIFETIME_S = 8.0, 30.0
SHORTEST_REFRESH_S = 0.2


class ParameterClients:
    """Clients of one depth node's services; tells the feed the parameters of CONTROLS."""

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
        self._asked_s = self._known_s = -math.inf
        self._attempt = 0

    def follow(self, present: bool) -> None:
        """Read the parameters of a node that has come; forget those of one that has gone.

        Called now and then. Right after discovery the node cannot answer yet and would wait in
        vain: it is asked at the second call, and again until there is an answer.
        """
        self._forget_unanswered()
        if not present:
            self._known_s = -math.inf
            self._feed.tell('parameters', None)
        ready = present and self._describe.service_is_ready() and self._get.service_is_ready()
        old = time.monotonic() - self._known_s > READ_AGAIN_S
        if ready and self._was_ready and (old or self._is_stale):
            self.refresh()
        self._was_ready = ready

    def changed(self) -> None:
        """Read them again, now or soon: somebody changes them, perhaps many of them."""
        self._is_stale = True
        if time.monotonic() - self._asked_s > SHORTEST_REFRESH_S:
            self.refresh()

    def refresh(self) -> None:
        """Read them (again)."""
        if not (self._describe.service_is_ready() and self._get.service_is_ready()):
            return
        self._attempt += 1
        attempt = self._attempt
        self._is_stale, self._asked_s = False, time.monotonic()
        request = DescribeParameters.Request(names=[control.name for control in CONTROLS])
        self._call(self._describe, request, lambda answer: self._described(answer, attempt))

    def set(self, name: str, value: Any, answer: Future[str]) -> None:
        """Set one; the answer is '' or the node's reason, or a ConnectionError."""

        def reason_of(response: Any) -> str:
            if not response.results:
                return 'the node answered nothing'
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

    def _described(self, answer: Any, attempt: int) -> None:
        if attempt != self._attempt:
            return
        self._descriptors = {d.name: d for d in answer.descriptors if d.name in BY_NAME}
        names = list(self._descriptors)
        request = GetParameters.Request(names=names)
        self._call(self._get, request, lambda got: self._got(got, names, attempt))

    def _got(self, answer: Any, names: list[str], attempt: int) -> None:
        if attempt != self._attempt or len(answer.values) != len(names):
            return
        facts = [
            parameter_facts(BY_NAME[name], self._descriptors[name], value)
            for name, value in zip(names, answer.values, strict=True)
            if value.type in FIELDS
        ]
        self._feed.tell('parameters', facts, LIFETIME_S)
        self._known_s = time.monotonic()

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


def parameter_facts(
    control: Control, descriptor: ParameterDescriptor, value: ParameterValue
) -> dict[str, Any]:
    """What the page needs to draw a control."""
    plain = getattr(value, FIELDS[value.type])
    if isinstance(plain, float) and not math.isfinite(plain):
        plain = None
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    low = ranges[0].from_value if ranges else None
    high = ranges[0].to_value if ranges else None
    constraints = descriptor.additional_constraints.partition(';')[0]
    named = constraints.startswith(CHOICES)
    return {
        'name': control.name,
        'label': control.label,
        'group': control.group,
        'kind': kind_of(descriptor) or KINDS[value.type],
        'value': plain,
        'step': control.step,
        'low': control.low if control.low is not None else low,
        'high': control.high if control.high is not None else high,
        'choices': constraints.removeprefix(CHOICES).split(', ')[:MOST_CHOICES] if named else [],
        'text': descriptor.description,
    }
