"""The depth node's parameters and its `~/enable` service: described, read and set over DDS.

Everything here runs in the ROS thread and waits for nothing: answers come as callbacks, and
unanswered calls are dropped. Parameters are read again periodically, and expire otherwise.
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

from midas_depth_ros.nodes.ros.parameters import choices_of
from midas_depth_ros.options.declarations import group_specs, specs_for_names
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.web.app import CONTROLS_BY_NAME, OTHER_PARAMETERS, PARAMETER_FACTS
from midas_depth_ros.web.errors import Faults
from midas_depth_ros.web.feed import Feed

# ROS type -> the kind as the page shows it, and the field of a ParameterValue
KINDS = {
    ParameterType.PARAMETER_BOOL: ('bool', 'bool_value'),
    ParameterType.PARAMETER_INTEGER: ('int', 'integer_value'),
    ParameterType.PARAMETER_DOUBLE: ('double', 'double_value'),
    ParameterType.PARAMETER_STRING: ('string', 'string_value'),
    ParameterType.PARAMETER_STRING_ARRAY: ('string array', 'string_array_value'),
}
MOST_CHOICES = 100
ANSWER_S = 10.0  # until an unanswered call is dropped
MOST_CALLS = 64  # unanswered at once
READ_AGAIN_S, LIFETIME_S = 8.0, 30.0
SHORTEST_REFRESH_S = 0.2
# Parameters that are only shown are read less often: there are many.
SHORTEST_REFRESH_OF_OTHERS_S = 2.0
UNIT = re.compile(r'^(.*?)(?: \[([^\[\]]+)\])?$', re.DOTALL)  # of a description, at its end


class ParameterClients:
    """Clients of one depth node's services; sets the facts PARAMETER_FACTS of the feed.

    `parameters` are those of CONTROLS, `mount_parameters` those of each camera's own mount, and
    `other_parameters` the rest.
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
        self._calls: list[tuple[float, Any, Any]] = []  # deadline, client, future
        self._was_ready = self._is_stale = False
        self._asked_s = self._known_s = self._others_asked_s = -math.inf
        self._others_stale = True
        self._attempt = 0
        self._attempts: dict[str, int] = {}  # the latest of each fact

    def follow(self, present: bool, cameras: Iterable[str] = ()) -> None:
        """Read the parameters when due; clear them if the node is not present.

        cameras: those that are shown; the parameters of their mounts are read, of each all or none.
        Called periodically. Right after discovery the node cannot answer yet, so it is asked from
        the second call on.
        """
        self._drop_unanswered()
        if not present:
            self._known_s = self._others_asked_s = -math.inf
            for fact in PARAMETER_FACTS:
                self._feed.set_fact(fact, None)
        ready = present and self._describe.service_is_ready() and self._get.service_is_ready()
        old = time.monotonic() - self._known_s > READ_AGAIN_S
        if ready and self._was_ready and (old or self._is_stale):
            self.refresh()
        wait_s = SHORTEST_REFRESH_OF_OTHERS_S if self._others_stale else READ_AGAIN_S
        if ready and self._was_ready and time.monotonic() - self._others_asked_s > wait_s:
            self._others_stale, self._others_asked_s = False, time.monotonic()
            self._read('other_parameters', list(OTHER_PARAMETERS))
            mounts = group_specs(DepthNodeSettings, {'cameras': list(cameras)})
            self._read('mount_parameters', [spec.name for spec in mounts])
        self._was_ready = ready

    def changed(self) -> None:
        """Read the parameters again, now or soon: somebody may be changing many of them."""
        self._is_stale = self._others_stale = True
        if time.monotonic() - self._asked_s > SHORTEST_REFRESH_S:
            self.refresh()

    def refresh(self) -> None:
        """Read the parameters that can be set here."""
        if not (self._describe.service_is_ready() and self._get.service_is_ready()):
            return
        self._is_stale, self._asked_s = False, time.monotonic()
        self._read('parameters', list(CONTROLS_BY_NAME))

    def _read(self, fact: str, names: list[str]) -> None:
        """Describe and read parameters, and set them as a fact; drops an older, running attempt."""
        if not names:
            self._feed.set_fact(fact, [], LIFETIME_S)
            return
        self._attempt += 1
        self._attempts[fact] = attempt = self._attempt

        def described(answer: Any) -> None:
            if attempt != self._attempts[fact]:
                return
            descriptors = {each.name: each for each in answer.descriptors if each.name in names}
            if fact != 'parameters' and len(descriptors) < len(names):
                return  # a node of another version: a parameter file of these would be incomplete
            request = GetParameters.Request(names=list(descriptors))
            self._call(self._get, request, lambda got: read(got, descriptors))

        def read(answer: Any, descriptors: dict[str, ParameterDescriptor]) -> None:
            if attempt != self._attempts[fact] or len(answer.values) != len(descriptors):
                return
            self._descriptors |= descriptors
            facts = [
                parameter_facts(descriptor, value)
                for descriptor, value in zip(descriptors.values(), answer.values, strict=True)
                if value.type in KINDS
            ]
            self._feed.set_fact(fact, facts, LIFETIME_S)
            if fact == 'parameters':
                self._known_s = time.monotonic()

        self._call(self._describe, DescribeParameters.Request(names=names), described)

    def ping(self, answered: Callable[[], None]) -> None:
        """Call `answered` when the node answers a minimal request."""
        if self._get.service_is_ready():
            request = GetParameters.Request(names=['use_sim_time'])
            self._call(self._get, request, lambda _: answered())

    def set(self, name: str, value: Any, answer: Future[str]) -> None:
        """Set a parameter; the answer is '' or the node's reason, or a ConnectionError."""

        def reason_of(response: Any) -> str:
            if not response.results:
                return 'the node gave no answer'
            result = response.results[0]
            return '' if result.successful else result.reason or 'the node gave no reason'

        descriptor = self._descriptors.get(name)
        typed = typed_value(value, kind_of(descriptor) if descriptor else '')
        request = SetParameters.Request(parameters=[Parameter(name=name, value=typed)])
        self._ask(self._set, request, reason_of, answer)

    def enable(self, enabled: bool, answer: Future[str]) -> None:
        """Pause or resume; the answer is as for `set`."""

        def reason_of(response: Any) -> str:
            return '' if response.success else response.message or 'the node gave no reason'

        self._ask(self._enable, SetBool.Request(data=enabled), reason_of, answer)

    def _ask(
        self,
        client: Any,
        request: Any,
        reason_of: Callable[[Any], str],
        answer: Future[str],
    ) -> None:
        """Call a service and set `answer`, whatever happens."""
        if not answer.set_running_or_notify_cancel():
            return  # the caller is gone

        def done(response: Any) -> None:
            try:
                answer.set_result(reason_of(response))
            except Exception as error:  # noqa: BLE001 - re-raised by the caller
                answer.set_exception(error)

        try:
            if not client.service_is_ready():
                raise ConnectionError(f'no depth node {self._depth_node} is running: start it')
            self._call(client, request, done)
        except Exception as error:  # noqa: BLE001 - re-raised by the caller
            answer.set_exception(error)

    def _call(self, client: Any, request: Any, done: Callable[[Any], None]) -> None:
        """Call a service; `done` gets its answer, if it comes in time."""
        if len(self._calls) >= MOST_CALLS:
            raise ConnectionError(f'the depth node {self._depth_node} does not answer')
        called = client.call_async(request)
        self._calls.append((time.monotonic() + ANSWER_S, client, called))

        def answered(future: Any) -> None:
            self._calls = [call for call in self._calls if call[2] is not future]
            with self._faults.guard('an answer of the depth node'):
                done(future.result())

        called.add_done_callback(answered)

    def _drop_unanswered(self) -> None:
        """Drop calls past their deadline, which rclpy would keep forever."""
        now_s = time.monotonic()
        for until_s, client, future in self._calls:
            if until_s < now_s:
                client.remove_pending_request(future)
        self._calls = [call for call in self._calls if call[0] >= now_s]


def kind_of(descriptor: ParameterDescriptor) -> str:
    """Return bool, int, double, string or string array; '' if the descriptor does not say."""
    # A node that accepts 5 for 5.0 may declare its doubles with dynamic typing.
    if descriptor.dynamic_typing or descriptor.floating_point_range:
        return 'double'
    return KINDS.get(descriptor.type, ('', ''))[0]


def typed_value(value: Any, kind: str) -> ParameterValue:
    """Return a JSON value as a parameter of a kind, or of its own kind if it does not fit."""
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
    """Return what the page shows of a parameter, and of its control if it can be set."""
    name, control = descriptor.name, CONTROLS_BY_NAME.get(descriptor.name)
    kind, field = KINDS[value.type]
    spec = specs_for_names(DepthNodeSettings, [name]).get(name)
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    # The node's own list comes first: it may be of another version.
    choices = choices_of(descriptor) or list(spec.choices if spec is not None else ())
    text, unit = UNIT.fullmatch(descriptor.description).groups()  # type: ignore[union-attr]
    facts = {
        'name': name,
        'kind': kind_of(descriptor) or kind,
        'value': plain_value(getattr(value, field)),
        'default': plain_value(spec.default) if spec is not None else None,
        'low': ranges[0].from_value if ranges else spec.minimum if spec is not None else None,
        'high': ranges[0].to_value if ranges else spec.maximum if spec is not None else None,
        'choices': choices[:MOST_CHOICES],
        'text': text,
        'unit': unit or '',
        'live': spec.live if spec is not None else False,
    }
    if control is not None:
        facts |= {
            'label': control.label,
            'group': control.group,
            'step': control.step,
            # Of the slider: narrower than what the node accepts.
            'least': control.low if control.low is not None else facts['low'],
            'most': control.high if control.high is not None else facts['high'],
        }
    return facts


def plain_value(value: Any) -> Any:
    """Return a parameter's value for JSON: None for NaN, which means unknown."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str)) else list(value)
