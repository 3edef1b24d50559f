"""The parameters of a ROS node, from their declarations, and what `--help` of a node prints.

A settings class (`options.declarations`) becomes ROS parameters with descriptors. The node reads
`server.current`, one frozen object that is replaced whole when a live parameter changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic

import click
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from midas_depth_ros.nodes.ros.boundary import guard_services
from midas_depth_ros.options.declarations import (
    MOST_LISTED,
    OptionFault,
    Settings,
    Spec,
    allowed,
    build,
    did_you_mean,
    group_specs,
    is_of_type,
    specs,
    specs_for_values,
    unknown_in_groups,
    value_of,
)
from midas_depth_ros.options.files import OF_EVERY_NODE, UnreadableFile, parse_yaml
from midas_depth_ros.options.text import printable

TYPES = {
    'bool': Parameter.Type.BOOL,
    'int': Parameter.Type.INTEGER,
    'double': Parameter.Type.DOUBLE,
    'string': Parameter.Type.STRING,
    'string array': Parameter.Type.STRING_ARRAY,
}
QOS_OVERRIDES = 'qos_overrides'
# ROS creates these itself: a file that is meant for every node may name them.
TOPICS_OF_ROS = ('/clock', '/parameter_events', '/rosout', '/tf', '/tf_static')
ONE_OF = 'one_of: '  # opens a descriptor's constraints where they list the allowed values
MOST_UNKNOWN = 10  # unknown parameters in one log line


class ParameterServer(Generic[Settings]):
    """Declares a settings class on a node and keeps `current` in step with it.

    Live parameters change at any time. The others are read-only, or, for a lifecycle node, change
    while `why_fixed()` is '': else it is the remedy, such as "clean up the node first". Setting a
    fixed parameter to its present value succeeds, so that the output of `ros2 param dump` loads.

    A value of another type is converted where its meaning is clear (`Spec.meant`), since tools
    guess types. rclpy would refuse both, so the methods of the node that set parameters are
    wrapped. Raises ValueError with all reasons if initial values (from a file or the command line)
    are invalid. Unknown names are only warned about.
    """

    def __init__(
        self,
        node: Node,
        settings_class: type[Settings],
        why_fixed: Callable[[], str] | None = None,
    ) -> None:
        self._node = node
        self._class = settings_class
        self._specs: dict[str, Spec] = {}
        self._why_fixed = why_fixed
        self._current: Settings
        self._unused_qos: list[str] = []
        self._overrides: dict[str, Parameter] = getattr(node, '_parameter_overrides', {})
        self._declare(specs(settings_class))
        self.declare_groups()
        node.add_on_set_parameters_callback(self._validate)
        self._set_in_ros = node.set_parameters_atomically
        node.set_parameters_atomically = self._set
        node.set_parameters = lambda parameters: [self._set([each]) for each in parameters]
        self._warn_of_unknown(
            name
            for name in self._overrides
            if not node.has_parameter(name) and name.partition('.')[0] not in OF_EVERY_NODE
        )
        guard_services(node)

    @property
    def current(self) -> Settings:
        """The settings as they are now: a frozen object, replaced whole on every change."""
        return self._current

    def declare_groups(self) -> None:
        """Declare the `groups` of the present names (of cameras); call it when those change.

        Raises ValueError as the constructor does, also for a value of an unknown name.
        """
        values = {name: value_of(self._current, name) for name in self._specs}
        # Those that are declared were of a name that there was.
        new = [name for name in self._overrides if name not in self._specs]
        unknown = unknown_in_groups(self._class, new, values)
        if unknown:
            raise ValueError(unknown)
        every = specs_for_values(self._class, values)
        self._declare(spec for name, spec in every.items() if name not in self._specs)

    def _declare(self, new: Iterable[Spec]) -> None:
        """Declare parameters with their given values. Raises ValueError with every fault."""
        added = {spec.name: spec for spec in new}
        if not added:
            return
        values = {
            name: list(spec.default) if isinstance(spec.default, tuple) else spec.default
            for name, spec in added.items()
        }
        values |= {
            name: added[name].coerced(each.value)
            for name, each in self._overrides.items()
            if name in added
        }
        faults = [text for name, value in values.items() if (text := added[name].fault(value))]
        if faults:
            raise ValueError('; '.join(faults))
        before = {name: value_of(self._current, name) for name in self._specs}
        settings = build(self._class, {**before, **values})
        for name, spec in added.items():
            # The value has been given already, converted to the right type.
            descriptor = descriptor_of(
                spec, 'at start' if self._why_fixed is None else 'at configure'
            )
            self._node.declare_parameter(name, values[name], descriptor, ignore_override=True)
        self._specs |= added
        self._current = settings

    def warn_of_unused_qos(self) -> None:
        """Warn of `qos_overrides` of an unknown topic or policy; call it once all topics exist."""
        prefix = f'{QOS_OVERRIDES}.'
        unused = [
            name
            for name in self._overrides
            if name.startswith(prefix)
            and not self._node.has_parameter(name)
            and name.removeprefix(prefix).rsplit('.', 2)[0] not in TOPICS_OF_ROS
        ]
        if unused != self._unused_qos:
            self._warn_of_unknown(unused)
        self._unused_qos = unused

    def _warn_of_unknown(self, names: Iterable[str]) -> None:
        """Warn of names that a file or the command line gave and the node does not have."""
        unknown = list(names)
        texts = [self._unknown(name) for name in unknown[:MOST_UNKNOWN]]
        if len(unknown) > len(texts):
            texts.append(f'and {len(unknown) - len(texts)} more')
        if texts:
            self._node.get_logger().warning(f'ignored: {"; ".join(texts)}')

    def _unknown(self, name: str) -> str:
        known: Iterable[str] = self._specs
        if name.startswith(QOS_OVERRIDES):
            declared = self._node.get_parameters_by_prefix(QOS_OVERRIDES)
            known = [f'{QOS_OVERRIDES}.{each}' for each in declared]
        near = did_you_mean(name, known)
        text = f'there is no parameter {printable(name, MOST_LISTED)}'
        return f'{text}: {near}' if near else text

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Set all of these parameters or none, as `Node.set_parameters_atomically` does."""
        passed, changes = [], {}
        for each in parameters:
            name, spec = each.name, self._specs.get(each.name)
            if not self._node.has_parameter(name):
                return SetParametersResult(successful=False, reason=self._unknown(name))
            before = self._node.get_parameter(name).value
            meant = spec.coerced(each.value) if spec else each.value
            is_same = _is_same(before, meant) or _is_same(before, each.value)
            if is_same and self._is_fixed(name):
                continue
            if spec is None:
                passed.append(each)
            else:
                changes[name] = before if is_same else meant
        refusals = filter(None, map(self._refusal, changes, changes.values()))
        if refusal := next(refusals, ''):
            return SetParametersResult(successful=False, reason=refusal)
        passed += [
            Parameter(name, TYPES[self._specs[name].kind], value) for name, value in changes.items()
        ]
        if not passed:
            return SetParametersResult(successful=True)
        result = self._set_in_ros(passed)
        if result.successful:
            self._current = self._with(changes)
        return result

    def _is_fixed(self, name: str) -> bool:
        """Whether the node refuses to change a parameter now."""
        if self._node.describe_parameter(name).read_only:
            return True
        spec = self._specs.get(name)
        if spec is None or spec.live or self._why_fixed is None:
            return False
        return bool(self._why_fixed())

    def _refusal(self, name: str, value: Any) -> str:
        """Why a parameter cannot be set now, or not to this value; '' if it can."""
        if value is None:
            return f'{name} cannot be deleted'
        if self._node.describe_parameter(name).read_only:
            return f'{name} is read-only: it is read when the node starts'
        if self._is_fixed(name):
            remedy = self._why_fixed() if self._why_fixed is not None else ''
            return f'{name} is read when the node is configured: {remedy}'
        spec = self._specs[name]
        fits = is_of_type(spec.kind, value) and TYPES[spec.kind].check(value)
        return '' if fits else spec.fault(value)

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        """Called by rclpy after its own checks, with values of the right type."""
        changes = {each.name: each.value for each in parameters if each.name in self._specs}
        faults = (self._specs[name].fault(value) for name, value in changes.items())
        refusal = next(filter(None, faults), '')
        try:
            self._with({} if refusal else changes)
        except OptionFault as error:  # values that do not go together
            refusal = str(error)
        return SetParametersResult(successful=not refusal, reason=refusal)

    def _with(self, changes: dict[str, Any]) -> Settings:
        values = {name: value_of(self._current, name) for name in self._specs}
        return build(self._class, {**values, **changes})


def _is_same(before: Any, value: Any) -> bool:
    """Whether a value is the one before, or what a tool that guesses types makes of its text."""
    if isinstance(before, str) and not isinstance(value, (str, type(None))):
        try:
            before = parse_yaml(before)
        except UnreadableFile:
            return False
    if isinstance(value, tuple):
        value = list(value)
    both_unknown = before != before and value != value
    return type(before) is type(value) and bool(before == value or both_unknown)


def descriptor_of(spec: Spec, reading: str) -> ParameterDescriptor:
    """The ROS descriptor: text with unit, what is allowed, range for sliders.

    Its `additional_constraints` are clauses between '; ': `one_of: ["raw", "compressed"]`, the
    allowed values as a JSON list (read back by `choices_of`), or the bounds; `nan means unknown`;
    and when a new value is read: `live`, `at configure` or `at start`.
    reading: when the parameter is read where it is not live, `at start` or `at configure`.
    """
    text = spec.text + (f' [{spec.unit}]' if spec.unit else '')
    limits = allowed(spec) if allowed(spec) != spec.unit else ''
    constraints = [
        f'{ONE_OF}{json.dumps(spec.choices)}' if spec.choices else limits,
        'nan means unknown' if spec.may_be_unknown else '',
        spec.read(reading),
    ]
    descriptor = ParameterDescriptor(
        description=text,
        read_only=spec.read(reading) == 'at start',
        additional_constraints='; '.join(filter(None, constraints)),
    )
    if spec.minimum is None or spec.maximum is None or spec.may_be_unknown:
        return descriptor  # a range needs both ends, and refuses the NaN that means "unknown"
    first, last = spec.minimum, spec.maximum
    if spec.kind == 'double':
        limits = FloatingPointRange(from_value=float(first), to_value=float(last))
        descriptor.floating_point_range = [limits]
    elif spec.kind == 'int':
        limits = IntegerRange(from_value=int(first), to_value=int(last))
        descriptor.integer_range = [limits]
    return descriptor


def choices_of(descriptor: ParameterDescriptor) -> list[str]:
    """Return the allowed values that a descriptor lists; empty if it lists none."""
    constraints = descriptor.additional_constraints
    if not constraints.startswith(ONE_OF):
        return []
    try:
        listed, _ = json.JSONDecoder().raw_decode(constraints, len(ONE_OF))
    except (ValueError, RecursionError):
        return []
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []


# --- `--help` of a node: answered before ROS starts, so nothing is loaded, fetched or sent.

HELP_OPTIONS = ('--help', '-h')
WIDTH = 100
CALL = (
    'Usage: ros2 run midas_depth_ros {name}',
    '       [--ros-args -p NAME:=VALUE ... -r FROM:=TO ... --params-file FILE]',
)


def printed_help(
    name: str, settings_class: type, about: str | None, args: Sequence[str] | None = None
) -> bool:
    """Print the help of a node and return True if the command line `args` asks for it."""
    given = sys.argv[1:] if args is None else args
    if not any(option in given for option in HELP_OPTIONS):
        return False
    with contextlib.suppress(BrokenPipeError):  # the reader has closed the pipe
        click.echo(help_text(name, settings_class, about or ''))
        sys.stdout.flush()
    return True


def help_text(name: str, settings_class: type, about: str) -> str:
    """The help of a node, in lines of at most WIDTH characters where words allow it."""
    formatter = click.HelpFormatter(width=WIDTH, max_width=WIDTH)
    formatter.write('\n'.join(CALL).format(name=name) + '\n')
    formatter.write_paragraph()
    for paragraph in about.strip().split('\n\n'):
        formatter.write_text(' '.join(paragraph.split()))
        formatter.write_paragraph()
    rows = [(spec.name, _row(spec)) for spec in every_spec(settings_class)]
    with formatter.section('Parameters'):
        formatter.write_dl(rows, col_max=32)
    return formatter.getvalue().rstrip()


def every_spec(settings_class: type) -> list[Spec]:
    """Every parameter, with those of groups (one for each camera) under the name <name>."""
    names = {
        each.metadata['names']: ['<name>']
        for each in dataclasses.fields(settings_class)
        if 'groups' in each.metadata
    }
    return [*specs(settings_class), *group_specs(settings_class, names)]


def _row(spec: Spec) -> str:
    """Text, unit, default and bounds of a parameter, and when a new value takes effect."""
    facts = [spec.kind, f'default {_shown(spec.default)}']
    if spec.choices:
        facts.append(f'one of {", ".join(spec.choices)}')
    if spec.minimum is not None or spec.maximum is not None:
        facts.append(f'{_shown(spec.minimum)} to {_shown(spec.maximum)}')
    if spec.live:
        facts.append('at once')
    unit = f' [{spec.unit}]' if spec.unit else ''
    return f'{spec.text}{unit} ({"; ".join(facts)})'


def _shown(value: Any) -> str:
    if value is None:
        return '...'
    if isinstance(value, bool):
        return str(value).lower()  # as YAML and ros2 param have it
    if isinstance(value, float):
        return 'NaN' if math.isnan(value) else f'{value:g}'
    if isinstance(value, (tuple, list)):
        return f'[{", ".join(map(str, value))}]'
    return str(value) if value != '' else "''"
