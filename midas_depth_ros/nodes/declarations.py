"""Parameters as data: declared once in a frozen dataclass. Plain Python, no ROS.

A settings class is a frozen dataclass whose fields are made with `parameter(...)` (or
`group(...)` for a dotted sub-namespace, `groups(...)` for one such for every name in another
parameter). From it follow the ROS declarations with descriptors
(`parameters.ParameterServer`), the validation, the YAML file, the reference table and the options
of the command line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

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
        if self.kind == 'double' and math.isinf(value):
            return f'{self.name}: {value} is not accepted: give a finite number'
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


def groups(settings_class: type, names: str) -> Any:
    """Declare `<field>.<name>.*`, fields of `settings_class`, for each name in parameter `names`.

    The field holds a settings object by name, of those names for which something was given.
    """
    metadata = {'groups': settings_class, 'names': names}
    return dataclasses.field(default_factory=dict, metadata=metadata)


def specs(settings_class: type, prefix: str = '') -> Iterator[Spec]:
    """Every parameter of a settings class, in order, with its dotted name; without its `groups`."""
    for field in dataclasses.fields(settings_class):
        if 'group' in field.metadata:
            yield from specs(field.metadata['group'], f'{prefix}{field.name}.')
        elif 'groups' not in field.metadata:
            yield Spec(name=prefix + field.name, default=field.default, **field.metadata)


def group_specs(settings_class: type, names: Mapping[str, Iterable[str]]) -> Iterator[Spec]:
    """The parameters of the `groups` of a settings class.

    names: those for which there are groups, by the parameter that has them.
    """
    for field in dataclasses.fields(settings_class):
        if 'groups' in field.metadata:
            for name in names.get(field.metadata['names'], ()):
                yield from specs(field.metadata['groups'], f'{field.name}.{name}.')


def specs_for(settings_class: type, values: Mapping[str, Any]) -> dict[str, Spec]:
    """Every parameter by name, with the `groups` of the names that `values` has or the defaults."""
    declared = {spec.name: spec for spec in specs(settings_class)}
    names = {
        name: values.get(name, spec.default)
        for name, spec in declared.items()
        if spec.kind == 'string array'
    }
    listed = {name: each for name, each in names.items() if isinstance(each, (list, tuple))}
    return declared | {spec.name: spec for spec in group_specs(settings_class, listed)}


def strangers(settings_class: type, given: Iterable[str], values: Mapping[str, Any]) -> str:
    """What is wrong with parameters `given` under `groups` that no name asks for; '' if nothing."""
    known = specs_for(settings_class, values)
    for field in dataclasses.fields(settings_class):
        if 'groups' in field.metadata:
            for name in given:
                if name.startswith(f'{field.name}.') and name not in known:
                    fields = ', '.join(each.name for each in specs(field.metadata['groups']))
                    return (
                        f'{name}: there is none. {field.name}.<name> wants a name of '
                        f'{field.metadata["names"]}, and then one of {fields}'
                    )
    return ''


def build(settings_class: type[Settings], values: dict[str, Any], prefix: str = '') -> Settings:
    """Make a settings object from dotted names and values; lists become tuples."""
    arguments = {}
    for field in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        if 'group' in field.metadata:
            nested = field.metadata['group']
            arguments[field.name] = build(nested, values, f'{prefix}{field.name}.')
        elif 'groups' in field.metadata:
            arguments[field.name] = _built_groups(field, values, f'{prefix}{field.name}.')
        elif prefix + field.name in values:
            value = values[prefix + field.name]
            if isinstance(field.default, tuple):
                value = tuple(value)
            elif isinstance(field.default, float):
                value = float(value)
            arguments[field.name] = value
    return settings_class(**arguments)


def _built_groups(field: Any, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    given = {name.removeprefix(prefix).rpartition('.')[0] for name in values
             if name.startswith(prefix)}  # fmt: skip
    nested = field.metadata['groups']
    return {name: build(nested, values, f'{prefix}{name}.') for name in sorted(given)}


def value_of(settings: Any, dotted_name: str) -> Any:
    """The value of a dotted parameter name in a (nested) settings object."""
    for part in dotted_name.split('.'):
        settings = settings[part] if isinstance(settings, dict) else getattr(settings, part)
    return settings


def conflict_of(settings: Any) -> str:
    """What is wrong between the values of one settings object, by its own `conflict()`."""
    return settings.conflict() if hasattr(settings, 'conflict') else ''
