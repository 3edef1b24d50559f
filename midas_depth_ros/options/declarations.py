"""Parameters as data: declared once in a frozen dataclass. Plain Python, no ROS.

The fields of a settings class are made with `parameter(...)`, `group(...)` (a dotted sub-namespace)
or `groups(...)` (one sub-namespace for each name in another parameter). ROS declarations,
validation, YAML files, the reference table and command line options are derived from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from midas_depth_ros.options.text import PrintableError, printable, shown

Settings = TypeVar('Settings')

TYPES: dict[str, tuple[type, ...]] = {
    'bool': (bool,),
    'int': (int,),
    'double': (float, int),  # people write 5 for 5.0
    'string': (str,),
    'string array': (list, tuple),
}
NAN = float('nan')  # as a default: unknown
MOST_LISTED = 200  # characters of names that are listed in an error
LONGEST_NAME = 200  # characters of a name that are compared and shown
NUMBER_TEXT = re.compile(r'[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\.?nan|\.?inf)', re.IGNORECASE)
LONGEST_NUMBER = 400  # characters, as many as any double may need


def is_of_type(kind: str, value: Any) -> bool:
    """Whether a value, or each element of an array, is of a kind of parameter.

    A bool is not a number here, unlike in Python.
    """
    if kind == 'string array':
        return isinstance(value, (list, tuple)) and all(
            is_of_type('string', each) for each in value
        )
    return isinstance(value, TYPES[kind]) and (kind == 'bool' or not isinstance(value, bool))


@dataclasses.dataclass(frozen=True)
class Spec:
    """The declaration of one parameter; see `parameter` for the fields."""

    name: str
    default: Any
    text: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    live: bool
    check: Callable[[Any], str] | None
    out_of_range_hint: str = ''
    at_start: bool = False

    @property
    def kind(self) -> str:
        """The ROS type in words: bool, int, double, string or string array."""
        if isinstance(self.default, tuple):
            return 'string array'
        return {bool: 'bool', int: 'int', float: 'double', str: 'string'}[type(self.default)]

    def read(self, fixed: str) -> str:
        """When it is read; fixed: when those of its node are that are not live."""
        if self.live:
            return 'live'
        return 'at start' if self.at_start else fixed

    @property
    def may_be_unknown(self) -> bool:
        """Whether NaN is allowed and means "unknown"."""
        return self.default != self.default

    def coerced(self, value: Any) -> Any:
        """Convert a value of another type where its meaning is unambiguous.

        Tools such as `ros2 param` and launch files guess types by how a text looks: they send 5 for
        5.0, 1e-09 and nan as text, and a camera device named 0 as a number.
        """
        if self.kind == 'double' and isinstance(value, str):
            if not value and self.may_be_unknown:
                return float('nan')
            if len(value) <= LONGEST_NUMBER and NUMBER_TEXT.fullmatch(value):
                text = value.lower()
                return float(text.replace('.', '') if text.endswith(('nan', 'inf')) else text)
        if self.kind == 'double' and is_of_type('int', value) and abs(value) <= sys.float_info.max:
            return float(value)
        if self.kind == 'string' and is_of_type('int', value):
            return str(value)
        is_text = isinstance(value, (str, bytes, bytearray))
        if self.kind == 'string array' and isinstance(value, Iterable) and not is_text:
            return [str(each) if is_of_type('int', each) else each for each in value]
        return value

    def fault(self, value: Any) -> str:
        """Return why `value` is not accepted, '' if it is. Has no side effect."""
        if not is_of_type(self.kind, value):
            return f'{self.name}: {_misfit(self.kind, value)}'
        if value != value and not self.may_be_unknown:
            return f'{self.name}: NaN is not accepted'
        if self.kind == 'double' and abs(value) > sys.float_info.max:
            return f'{self.name}: {shown(value)} is not accepted: give a finite number'
        if self.choices and value not in self.choices:
            return f'{self.name}: {shown(value)} is not one of {", ".join(self.choices)}'
        if self.minimum is not None and value < self.minimum:
            return f'{self.name}: {shown(value)} is below the minimum {self._limit(self.minimum)}'
        if self.maximum is not None and value > self.maximum:
            return f'{self.name}: {shown(value)} is above the maximum {self._limit(self.maximum)}'
        complaint = self.check(value) if self.check else ''
        return f'{self.name}: {complaint}' if complaint else ''

    def _limit(self, value: float) -> str:
        limit = f'{value:g} {self.unit}'.strip()
        limit += f' ({self.out_of_range_hint})' if self.out_of_range_hint else ''
        return f'{limit}; nan means unknown' if self.may_be_unknown else limit


def allowed(spec: Spec) -> str:
    """Return the accepted values as text with the unit; '' where the type says everything."""
    unit = f' {spec.unit}' if spec.unit else ''
    low, high = (
        None if bound is None else f'{bound:.12g}' for bound in (spec.minimum, spec.maximum)
    )
    if spec.choices:
        return ', '.join(spec.choices)
    if low is not None and high is not None:
        return f'{low} to {high}{unit}'
    if low is not None or high is not None:
        return f'at least {low}{unit}' if high is None else f'at most {high}{unit}'
    return unit.strip()


def _misfit(kind: str, value: Any) -> str:
    """Return why a value is not of a kind; for an array, which element is not."""
    if kind == 'string array' and isinstance(value, (list, tuple)):
        wrong = next(each for each in value if not is_of_type('string', each))
        return f'{shown(wrong)} is not a string: all elements of the array must be strings'
    quoted = '; put text that looks like another type in quotes'
    article = 'an' if kind == 'int' else 'a'
    remedy = quoted if kind == 'string' and value is not None else ''
    return f'{shown(value)} is not {article} {kind}{remedy}'


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
    out_of_range_hint: str = '',
    at_start: bool = False,
) -> Any:
    """Declare one parameter as a dataclass field.

    live: takes effect at the next frame; others are read when the node is configured and cannot be
    changed later. at_start: of a lifecycle node, read once when it starts. check: returns what is
    wrong with a value, or ''. out_of_range_hint: added to the error for a value outside the bounds.
    NaN is only accepted where it is the default; it means "unknown".
    """
    metadata = {
        'text': text,
        'unit': unit,
        'minimum': minimum,
        'maximum': maximum,
        'choices': choices,
        'live': live,
        'check': check,
        'out_of_range_hint': out_of_range_hint,
        'at_start': at_start,
    }
    return dataclasses.field(default=default, metadata=metadata)


live_parameter = functools.partial(parameter, live=True)


def declared_as(settings_class: type, name: str, **differing: Any) -> Any:
    """Reuse the declaration of `name` in another class, with what differs (text, live)."""
    (field,) = (each for each in dataclasses.fields(settings_class) if each.name == name)
    return parameter(**{'default': field.default, **field.metadata, **differing})


def group(settings_class: type) -> Any:
    """Declare a dotted sub-namespace whose parameters are the fields of `settings_class`."""
    return dataclasses.field(default=settings_class(), metadata={'group': settings_class})


def groups(settings_class: type, names: str) -> Any:
    """Declare `<field>.<name>.*`, fields of `settings_class`, for each name in parameter `names`.

    The field holds a settings object for each name for which a parameter was given.
    """
    metadata = {'groups': settings_class, 'names': names}
    return dataclasses.field(default_factory=dict, metadata=metadata)


def specs(settings_class: type, prefix: str = '') -> Iterator[Spec]:
    """Yield every parameter of a settings class, with its dotted name; without its `groups`."""
    for field in dataclasses.fields(settings_class):
        if 'group' in field.metadata:
            yield from specs(field.metadata['group'], f'{prefix}{field.name}.')
        elif 'groups' not in field.metadata:
            yield Spec(name=prefix + field.name, default=field.default, **field.metadata)


def spec_of(settings_class: type, name: str) -> Spec:
    """Return the declaration of one parameter, by its dotted name."""
    return next(spec for spec in specs(settings_class) if spec.name == name)


def bounds_of(settings_class: type, name: str) -> tuple[float, float]:
    """Return the minimum and the maximum of a parameter that has both."""
    spec = spec_of(settings_class, name)
    if spec.minimum is None or spec.maximum is None:
        raise LookupError(f'{name} has no bounds')
    return spec.minimum, spec.maximum


def group_specs(settings_class: type, names: Mapping[str, Iterable[str]]) -> Iterator[Spec]:
    """Yield the parameters of the `groups` of a settings class.

    names: the names of groups, by the parameter that lists them.
    """
    for field in dataclasses.fields(settings_class):
        if 'groups' in field.metadata:
            for name in names.get(field.metadata['names'], ()):
                yield from specs(field.metadata['groups'], f'{field.name}.{name}.')


def specs_for_values(settings_class: type, values: Mapping[str, Any]) -> dict[str, Spec]:
    """Return every parameter by name, with `groups` for the names in `values` or the defaults."""
    declared = {spec.name: spec for spec in specs(settings_class)}
    names = {
        name: values.get(name, spec.default)
        for name, spec in declared.items()
        if spec.kind == 'string array'
    }
    listed = {name: each for name, each in names.items() if isinstance(each, (list, tuple))}
    return declared | {spec.name: spec for spec in group_specs(settings_class, listed)}


def is_grouped(settings_class: type, name: str) -> bool:
    """Whether a parameter lies below one of the `groups`, even with an unknown name."""
    fields = dataclasses.fields(settings_class)
    return any('groups' in each.metadata and name.startswith(f'{each.name}.') for each in fields)


def specs_for_names(settings_class: type, given: Iterable[str]) -> dict[str, Spec]:
    """Return every parameter by name, with `groups` for any names that occur in `given`.

    For reading values before the names are known; `unknown_in_groups` checks them afterwards.
    """
    given = list(given)
    names = {
        field.metadata['names']: _names_under(f'{field.name}.', given)
        for field in dataclasses.fields(settings_class)
        if 'groups' in field.metadata
    }
    every = [*specs(settings_class), *group_specs(settings_class, names)]
    return {spec.name: spec for spec in every}


def unknown_in_groups(settings_class: type, given: Iterable[str], values: Mapping[str, Any]) -> str:
    """Return what is wrong with parameters `given` in `groups` of unknown names; '' = nothing."""
    known = specs_for_values(settings_class, values)
    given = list(given)
    for field in dataclasses.fields(settings_class):
        if 'groups' in field.metadata:
            for name in given:
                if name.startswith(f'{field.name}.') and name not in known:
                    return f'{printable(name)} is unknown: {_group_remedy(field, values)}'
    return ''


def _group_remedy(field: Any, values: Mapping[str, Any]) -> str:
    fields = ', '.join(each.name for each in specs(field.metadata['groups']))
    names = ', '.join(values.get(field.metadata['names'], ()))
    listed = f' ({printable(names, MOST_LISTED)})' if names else ''
    return (
        f'use {field.name}.<name>.<parameter> with a name in {field.metadata["names"]}{listed} and '
        f'one of {fields}'
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return 'did you mean ...?' with the known names most similar to an unknown one; or ''."""
    known, name = list(known), name[:LONGEST_NAME]
    last = [each for each in known if each.endswith(f'.{name}')]
    near = list(dict.fromkeys([*last, *difflib.get_close_matches(name, known, n=2)]))[:2]
    return f'did you mean {" or ".join(near)}?' if near else ''


def _names_under(prefix: str, given: Iterable[str]) -> list[str]:
    """Return the names of groups in dotted names: `rear` for `mounts.rear.camera_yaw`."""
    inner = (name.removeprefix(prefix) for name in given if name.startswith(prefix))
    return sorted({name.rpartition('.')[0] for name in inner} - {''})


class OptionFault(PrintableError):
    """A value that its declaration does not accept, or values that contradict each other."""


@functools.cache
def _own_specs(settings_class: type) -> tuple[Spec, ...]:
    return tuple(spec for spec in specs(settings_class) if '.' not in spec.name)


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of settings classes, whose objects only have accepted values. Raises OptionFault."""

    def __post_init__(self) -> None:
        for spec in _own_specs(type(self)):  # type: ignore[arg-type]
            if fault := spec.fault(getattr(self, spec.name)):
                raise OptionFault(fault)
        if conflict := self.conflict():
            raise OptionFault(conflict)

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        return ''


def build(settings_class: type[Settings], values: dict[str, Any], prefix: str = '') -> Settings:
    """Make a settings object from dotted names and values; lists become tuples.

    Raises OptionFault.
    """
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
    nested = field.metadata['groups']
    return {
        name: build(nested, values, f'{prefix}{name}.') for name in _names_under(prefix, values)
    }


def value_of(settings: Any, dotted_name: str) -> Any:
    """Return the value of a dotted parameter name in a (nested) settings object."""
    for part in dotted_name.split('.'):
        settings = settings[part] if isinstance(settings, dict) else getattr(settings, part)
    return settings


# --- Options that several nodes have, reused with `declared_as`.

TURNS = (0, 90, 180, 270)  # degrees clockwise, by which pictures may be turned
FEWEST_BITS, MOST_BITS = 8, 16  # of a 16-bit sample that a camera may use


def check_turn(degrees: int) -> str:
    """Return why an angle is not a quarter turn, '' if it is."""
    if degrees in TURNS:
        return ''
    return f'{degrees} is not one of {", ".join(map(str, TURNS))}: degrees, clockwise'


def check_bit_depth(bits: int) -> str:
    """Return why a number is not a bit depth or 0, '' if it is."""
    if bits == 0 or FEWEST_BITS <= bits <= MOST_BITS:
        return ''
    return f'{bits} is neither 0 nor {FEWEST_BITS} to {MOST_BITS}'


@dataclasses.dataclass(frozen=True)
class SharedOptions(Options):
    """Parameters of more than one node."""

    max_pixels: int = live_parameter(
        33_554_432,
        'Larger pictures are rejected before they are decoded.',
        unit='px',
        minimum=1024,
        maximum=1_000_000_000,
    )
    bit_depth: int = live_parameter(
        0,
        'How many bits of a 16-bit sample (mono16, rgb16, bayer_*16, 16-bit PNG and the like) the '
        'camera uses: 8 to 16, and 16 if it uses the high ones; 0 = guessed from the pictures.',
        minimum=0,
        maximum=MOST_BITS,
        check=check_bit_depth,
    )
    diagnostics_rate: float = parameter(
        1.0, 'How often /diagnostics is published.', unit='Hz', minimum=0.1, maximum=100.0
    )
