"""Declared parameters served by a ROS node.

What is declared in a settings class (`declarations`) becomes ROS parameters with descriptors. The
node reads `server.current`, one frozen object that is swapped whole when a live parameter changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from midas_depth_ros.nodes.boundary import guard_services
from midas_depth_ros.nodes.declarations import (
    Settings,
    Spec,
    build,
    conflict_of,
    specs,
    specs_for,
    strangers,
    value_of,
)


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
        self._read()
        self.declare_groups()
        node.add_on_set_parameters_callback(self._validate)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(self._apply)
        guard_services(node)

    @property
    def current(self) -> Settings:
        """The settings as they stand: a frozen object, replaced whole on every change."""
        return self._current

    def declare_groups(self) -> None:
        """Declare the `groups` of the names that there are now; to be called when those change.

        Raises ValueError as the constructor does, also for a value given for a name that is none.
        """
        values = {name: value_of(self._current, name) for name in self._specs}
        stranger = strangers(self._class, getattr(self._node, '_parameter_overrides', ()), values)
        if stranger:
            raise ValueError(stranger)
        new = [
            spec for name, spec in specs_for(self._class, values).items() if name not in self._specs
        ]
        for spec in new:  # each calls back, and is not known before all are declared
            self._declare(spec)
        if new:
            self._specs |= {spec.name: spec for spec in new}
            self._read()

    def _read(self) -> None:
        """Take all values from the node. Raises ValueError with every fault."""
        values = {name: self._node.get_parameter(name).value for name in self._specs}
        faults = [text for text in map(self._fault_of, values.items()) if text]
        if not faults:
            settings = build(self._class, values)
            faults = [text for text in [conflict_of(settings)] if text]
        if faults:
            raise ValueError('; '.join(faults))
        self._current = settings

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
