"""The depth node's parameters and its switch, by its services: described, read, set.

All of it runs in the ROS thread and waits for nothing: answers come as callbacks.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from std_srvs.srv import SetBool

from midas_depth_ros.web.controls import BY_NAME, CONTROLS, Control
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


class ParameterClients:
    """Clients of one depth node's services; tells the feed the parameters of CONTROLS."""

    def __init__(self, node: Node, depth_node: str, feed: Feed) -> None:
        self._feed = feed
        self._depth_node = depth_node

        def client(kind: type, name: str) -> Any:
            return node.create_client(kind, f'{depth_node}/{name}')

        self._describe = client(DescribeParameters, 'describe_parameters')
        self._get = client(GetParameters, 'get_parameters')
        self._set = client(SetParameters, 'set_parameters')
        self._enable = client(SetBool, 'enable')
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._known = self._was_ready = False
        self._attempt = 0

    def follow(self, present: bool) -> None:
        """Read the parameters of a node that has come; forget those of one that has gone.

        Called now and then. Right after discovery the node cannot answer yet and would wait in
        vain: it is asked at the second call, and again until there is an answer.
        """
        ready = present and self._describe.service_is_ready() and self._get.service_is_ready()
        if ready and self._was_ready and not self._known:
            self.refresh()
        self._was_ready = ready
        self._known = self._known and present

    def refresh(self) -> None:
        """Read them (again)."""
        if not (self._describe.service_is_ready() and self._get.service_is_ready()):
            return
        self._attempt += 1
        attempt = self._attempt
        names = [control.name for control in CONTROLS]
        future = self._describe.call_async(DescribeParameters.Request(names=names))
        future.add_done_callback(lambda done: self._described(done, attempt))

    def _described(self, future: Any, attempt: int) -> None:
        answer = future.result()
        if attempt != self._attempt or answer is None:
            return
        self._descriptors = {d.name: d for d in answer.descriptors if d.name in BY_NAME}
        names = list(self._descriptors)
        values = self._get.call_async(GetParameters.Request(names=names))
        values.add_done_callback(lambda done: self._got(done, names, attempt))

    def _got(self, future: Any, names: list[str], attempt: int) -> None:
        answer = future.result()
        if attempt != self._attempt or answer is None or len(answer.values) != len(names):
            return
        self._known = True
        facts = [
            parameter_facts(BY_NAME[name], self._descriptors[name], value)
            for name, value in zip(names, answer.values, strict=True)
            if value.type in FIELDS
        ]
        self._feed.tell('parameters', facts)

    def set(self, name: str, value: Any, answer: Future[str]) -> None:
        """Set one; the answer is '' or the node's reason, or a ConnectionError."""
        if not self._set.service_is_ready():
            answer.set_exception(self._absent())
            return
        typed = typed_value(value, self._kind_of(name))
        request = SetParameters.Request(parameters=[Parameter(name=name, value=typed)])

        def done(future: Any) -> None:
            results = future.result().results
            good = bool(results) and results[0].successful
            reason = results[0].reason if results else ''
            if answer.set_running_or_notify_cancel():
                answer.set_result('' if good else reason or 'the node gave no reason')

        self._set.call_async(request).add_done_callback(done)

    def enable(self, enabled: bool, answer: Future[str]) -> None:
        """Pause or resume; the answer is as that of `set`."""
        if not self._enable.service_is_ready():
            answer.set_exception(self._absent())
            return

        def done(future: Any) -> None:
            response = future.result()
            if answer.set_running_or_notify_cancel():
                answer.set_result('' if response.success else response.message or 'no reason given')

        self._enable.call_async(SetBool.Request(data=enabled)).add_done_callback(done)

    def _kind_of(self, name: str) -> str:
        descriptor = self._descriptors.get(name)
        return kind_of(descriptor) if descriptor else ''

    def _absent(self) -> ConnectionError:
        return ConnectionError(f'there is no depth node {self._depth_node}: start it')


def kind_of(descriptor: ParameterDescriptor) -> str:
    """bool, int, double or string; '' where the descriptor does not say."""
    # People may write 5 for 5.0, so depth_node types its doubles dynamically.
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
    constraints = descriptor.additional_constraints
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
        'choices': constraints.removeprefix(CHOICES).split(', ') if named else [],
        'text': descriptor.description,
    }
