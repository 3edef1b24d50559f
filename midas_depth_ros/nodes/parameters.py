"""Parameters as data: declared once in a frozen dataclass, served by a ROS node.

A settings class is a frozen dataclass whose fields are made with `parameter(...)` (or
`group(...)` for a dotted sub-namespace). From it follow the ROS declarations with descriptors,
the validation, the YAML file and the reference table. The node reads `server.current`, one
frozen object that is swapped whole when a live parameter changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

Settings = TypeVar('Settings')

TYPES: dict[str, tuple[type, ...]] = {
    'bool': (bool,),
    'int': (int,),
    'double': (float, int),  # people write 5 for 5.0
    'string': (str,),
    'string array': (list, tuple),
}


def is_of(kind: str, value: Any) -> bool:
    """Whether a value is of a kind of parameter. A bool is no number, though Python has it so."""
    return isinstance(value, TYPES[kind]) and (kind == 'bool' or not isinstance(value, bool))


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of one parameter besides its value."""

    name: str
    default: Any
    text: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    live: bool
    check: Callable[[Any], str] | None

    @property
    def kind(self) -> str:
        """The ROS type in words: bool, int, double, string or string array."""
        if isinstance(self.default, tuple):
            return 'string array'
        return {bool: 'bool', int: 'int', float: 'double', str: 'string'}[type(self.default)]

    def fault(self, value: Any) -> str:
        """Why `value` cannot be accepted; empty if it can. Has no side effect."""
        if not is_of(self.kind, value):
            return f'{self.name}: {value!r} is not a {self.kind}'
        if value != value and self.default == self.default:
            return f'{self.name}: NaN is not accepted'
        if self.choices and value not in self.choices:
            return f'{self.name}: {value!r} is not one of {", ".join(self.choices)}'
        if self.minimum is not None and value < self.minimum:
            return f'{self.name}: {value} is below the minimum {self.minimum:g} {self.unit}'.strip()
        if self.maximum is not None and value > self.maximum:
            return f'{self.name}: {value} is above the maximum {self.maximum:g} {self.unit}'.strip()
        complaint = self.check(value) if self.check else ''
        return f'{self.name}: {complaint}' if complaint else ''


def parameter(
    default: Any,
    text: str,
    *,
    unit: str = '',
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    check: Callable[[Any], str] | None = None,
) -> Any:
    """Declare one parameter as a dataclass field.

    `live` parameters take effect at the next frame; the others are read when the node is
    configured and refuse to change later. `check` returns what is wrong with a value, or ''.
    NaN is refused unless it is the default, where it means "unknown".
    """
    metadata = {
        'text': text,
        'unit': unit,
        'minimum': minimum,
        'maximum': maximum,
        'choices': tuple(choices),
        'live': live,
        'check': check,
    }
    return dataclasses.field(default=default, metadata=metadata)


def group(settings_class: type) -> Any:
    """Declare a dotted sub-namespace whose parameters are the fields of `settings_class`."""
    return dataclasses.field(default=settings_class(), metadata={'group': settings_class})


def specs(settings_class: type, prefix: str = '') -> Iterator[Spec]:
    """Every parameter of a settings class, in order, with its dotted name."""
    for field in dataclasses.fields(settings_class):
        if 'group' in field.metadata:
            yield from specs(field.metadata['group'], f'{prefix}{field.name}.')
        else:
            yield Spec(name=prefix + field.name, default=field.default, **field.metadata)


def build(settings_class: type[Settings], values: dict[str, Any], prefix: str = '') -> Settings:
    """Make a settings object from dotted names and values; lists become tuples."""
    arguments = {}
    for field in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        if 'group' in field.metadata:
            nested = field.metadata['group']
            arguments[field.name] = build(nested, values, f'{prefix}{field.name}.')
        elif prefix + field.name in values:
            value = values[prefix + field.name]
            if isinstance(field.default, tuple):
                value = tuple(value)
            elif isinstance(field.default, float):
                value = float(value)
            arguments[field.name] = value
    return settings_class(**arguments)


class ParameterServer(Generic[Settings]):
    """Declares a settings class on a node and keeps `current` in step with it.

    Live parameters change at any time. The others change only while `may_change_fixed()` says so
    (a lifecycle node allows it while unconfigured); without it they are read-only.
    Raises ValueError from the constructor when an initial value (from a file or the command
    line) is wrong: fail fast, with every reason in one text.
    """

    def __init__(
        self,
        node: Node,
        settings_class: type[Settings],
        may_change_fixed: Callable[[], bool] | None = None,
    ) -> None:
        self._node = node
        self._class = settings_class
        self._specs = {spec.name: spec for spec in specs(settings_class)}
        self._may_change_fixed = may_change_fixed
        for spec in self._specs.values():
            self._declare(spec)
        values = {name: node.get_parameter(name).value for name in self._specs}
        faults = [text for text in map(self._fault_of, values.items()) if text]
        if not faults:
            self._current = build(settings_class, values)
            faults = [text for text in [conflict_of(self._current)] if text]
        if faults:
            raise ValueError('; '.join(faults))
        node.add_on_set_parameters_callback(self._validate)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(self._apply)

    @property
    def current(self) -> Settings:
        """The settings as they stand: a frozen object, replaced whole on every change."""
        return self._current

    def _declare(self, spec: Spec) -> None:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        read_only = not spec.live and self._may_change_fixed is None
        try:
            self._node.declare_parameter(spec.name, default, descriptor_of(spec, read_only))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ValueError(f'{spec.name}: {error} (wanted: a {spec.kind})') from error

    def _fault_of(self, item: tuple[str, Any]) -> str:
        return self._specs[item[0]].fault(item[1])

    def _refusal(self, changes: dict[str, Any]) -> str:
        """Why these changes cannot be made together; empty if they can."""
        for name, value in changes.items():
            spec = self._specs[name]
            if not spec.live and self._may_change_fixed and not self._may_change_fixed():
                return f'{name} is read when the node is configured: clean up the node first'
            fault = spec.fault(value)
            if fault:
                return fault
        return conflict_of(self._with(changes))

    def _with(self, changes: dict[str, Any]) -> Settings:
        values = {name: value_of(self._current, name) for name in self._specs}
        return build(self._class, {**values, **changes})

    def _ours(self, parameters: list[Parameter]) -> dict[str, Any]:
        return {p.name: p.value for p in parameters if p.name in self._specs}

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = self._ours(parameters)
        refusal = self._refusal(changes)
        if not refusal and not hasattr(self._node, 'add_post_set_parameters_callback'):
            self._apply(parameters)  # Humble knows no later moment
        return SetParametersResult(successful=not refusal, reason=refusal)

    def _apply(self, parameters: list[Parameter]) -> None:
        self._current = self._with(self._ours(parameters))


def value_of(settings: Any, dotted_name: str) -> Any:
    """The value of a dotted parameter name in a (nested) settings object."""
    for part in dotted_name.split('.'):
        settings = getattr(settings, part)
    return settings


def conflict_of(settings: Any) -> str:
    """What is wrong between the values of one settings object, by its own `conflict()`."""
    return settings.conflict() if hasattr(settings, 'conflict') else ''


def descriptor_of(spec: Spec, read_only: bool) -> ParameterDescriptor:
    """The ROS descriptor: text with unit and choices, range for sliders, typing."""
    text = spec.text + (f' [{spec.unit}]' if spec.unit else '')
    descriptor = ParameterDescriptor(description=text, read_only=read_only)
    if spec.choices:
        descriptor.additional_constraints = 'one of: ' + ', '.join(spec.choices)
    if spec.kind == 'double':
        # People write 5 for 5.0: take it, where a static type would refuse it.
        descriptor.dynamic_typing = True
    if spec.minimum is None or spec.maximum is None or spec.default != spec.default:
        return descriptor  # a range needs both ends, and refuses the NaN that means "unknown"
    if spec.kind == 'double':
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(spec.minimum), to_value=float(spec.maximum))
        ]
    elif spec.kind == 'int':
        descriptor.integer_range = [
            IntegerRange(from_value=int(spec.minimum), to_value=int(spec.maximum))
        ]
    return descriptor
