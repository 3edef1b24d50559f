"""Parameters as data: declared once in a frozen dataclass. Plain Python, no ROS.

A settings class is a frozen dataclass whose fields are made with `parameter(...)` (or
`group(...)` for a dotted sub-namespace, `groups(...)` for one such for every name in another
parameter). From it follow the ROS declarations with descriptors
(`parameters.ParameterServer`), the validation, the YAML file, the reference table and the options
of the command line.
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
MOST_LISTED = 200  # characters of names that are listed in a fault
LONGEST_NAME = 200  # that is compared with others, and told
NUMBER_TEXT = re.compile(r'[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\.?nan|\.?inf)', re.IGNORECASE)
LONGEST_NUMBER = 400  # characters, as many as any double may need


def is_of(kind: str, value: Any) -> bool:
    """Whether a value is of a kind of parameter, and of an array each element.

    A bool is no number, though Python has it so.
    """
    if kind == 'string array':
        return isinstance(value, (list, tuple)) and all(is_of('string', each) for each in value)
    return isinstance(value, TYPES[kind]) and (kind == 'bool' or not isinstance(value, bool))


def is_text(value: Any) -> bool:
    """Whether a value is one text, and no array of several."""
    return isinstance(value, (str, bytes, bytearray))


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
    beyond: str = ''

    @property
    def kind(self) -> str:
        """The ROS type in words: bool, int, double, string or string array."""
        if isinstance(self.default, tuple):
            return 'string array'
        return {bool: 'bool', int: 'int', float: 'double', str: 'string'}[type(self.default)]

    @property
    def may_be_unknown(self) -> bool:
        """Whether NaN is a value of it, and means "unknown"."""
        return self.default != self.default

    def meant(self, value: Any) -> Any:
        """The value that is meant by one of another type; as it is where nothing is sure.

        Tools guess types by how a text looks, `ros2 param` and launch files among them: 5 is sent
        for 5.0, 1e-09 and nan as text, and a camera device named 0 as a number.
        """
        if self.kind == 'double' and isinstance(value, str):
            if not value and self.may_be_unknown:
                return float('nan')
            if len(value) <= LONGEST_NUMBER and NUMBER_TEXT.fullmatch(value):
                text = value.lower()
                return float(text.replace('.', '') if text.endswith(('nan', 'inf')) else text)
        if self.kind == 'double' and is_of('int', value) and abs(value) <= sys.float_info.max:
            return float(value)
        if self.kind == 'string' and is_of('int', value):
            return str(value)
        if self.kind == 'string array' and isinstance(value, Iterable) and not is_text(value):
            return [str(each) if is_of('int', each) else each for each in value]
        return value

    def fault(self, value: Any) -> str:
        """Why `value` cannot be accepted; empty if it can. Has no side effect."""
        if not is_of(self.kind, value):
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
        limit += f' ({self.beyond})' if self.beyond else ''
        return f'{limit}; nan means unknown' if self.may_be_unknown else limit


def allowed(spec: Spec) -> str:
    """Which values are accepted, in words with the unit; '' where the type says everything."""
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
    """Why a value is not of a kind; of an array the element is named that is none of it."""
    if kind == 'string array' and isinstance(value, (list, tuple)):
        wrong = next(each for each in value if not is_of('string', each))
        return f'{shown(wrong)} is not a string: all that the array has must be'
    quoted = '; what shall be text and looks otherwise has to be in quotes'
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
    beyond: str = '',
) -> Any:
    """Declare one parameter as a dataclass field.

    `live` parameters take effect at the next frame; the others are read when the node is
    configured and refuse to change later. `check` returns what is wrong with a value, or ''.
    NaN is refused unless it is the default, where it means "unknown". `beyond`: what to use for
    what is beyond the bounds, for the refusal.
    """
    metadata = {
        'text': text,
        'unit': unit,
        'minimum': minimum,
        'maximum': maximum,
        'choices': tuple(choices),
        'live': live,
        'check': check,
        'beyond': beyond,
    }
    return dataclasses.field(default=default, metadata=metadata)


def declared_as(settings_class: type, name: str, **differing: Any) -> Any:
    """Declare the parameter `name` of another class once more, with what differs (text, live)."""
    (field,) = (each for each in dataclasses.fields(settings_class) if each.name == name)
    return parameter(**{'default': field.default, **field.metadata, **differing})


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


def spec_of(settings_class: type, name: str) -> Spec:
    """What is declared of one parameter, by its dotted name."""
    return next(spec for spec in specs(settings_class) if spec.name == name)


def bounds_of(settings_class: type, name: str) -> tuple[float, float]:
    """The least and the greatest value of a parameter that has both."""
    spec = spec_of(settings_class, name)
    if spec.minimum is None or spec.maximum is None:
        raise LookupError(f'{name} has no bounds')
    return spec.minimum, spec.maximum


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


def is_grouped(settings_class: type, name: str) -> bool:
    """Whether a parameter is below one of the `groups`, by a right name or not."""
    fields = dataclasses.fields(settings_class)
    return any('groups' in each.metadata and name.startswith(f'{each.name}.') for each in fields)


def specs_of(settings_class: type, given: Iterable[str]) -> dict[str, Spec]:
    """Every parameter by name, with the `groups` of whatever names occur in `given`.

    For who reads values before it is known which names there are; `strangers` tells afterwards.
    """
    given = list(given)
    names = {
        field.metadata['names']: _names_under(f'{field.name}.', given)
        for field in dataclasses.fields(settings_class)
        if 'groups' in field.metadata
    }
    every = [*specs(settings_class), *group_specs(settings_class, names)]
    return {spec.name: spec for spec in every}


def strangers(settings_class: type, given: Iterable[str], values: Mapping[str, Any]) -> str:
    """What is wrong with parameters `given` under `groups` that no name asks for; '' if nothing."""
    known = specs_for(settings_class, values)
    given = list(given)
    for field in dataclasses.fields(settings_class):
        if 'groups' in field.metadata:
            for name in given:
                if name.startswith(f'{field.name}.') and name not in known:
                    return f'{printable(name)}: there is none. {_group_remedy(field, values)}'
    return ''


def _group_remedy(field: Any, values: Mapping[str, Any]) -> str:
    fields = ', '.join(each.name for each in specs(field.metadata['groups']))
    names = ', '.join(values.get(field.metadata['names'], ()))
    listed = f' ({printable(names, MOST_LISTED)})' if names else ''
    return (
        f'{field.name}.<name> wants a name of {field.metadata["names"]}{listed}, and then one of '
        f'{fields}'
    )


def near_names(name: str, known: Iterable[str]) -> str:
    """' did you mean ...?' with the names that look most like one that there is not; or ''."""
    known, name = list(known), name[:LONGEST_NAME]
    last = [each for each in known if each.endswith(f'.{name}')]
    near = list(dict.fromkeys([*last, *difflib.get_close_matches(name, known, n=2)]))[:2]
    return f'did you mean {" or ".join(near)}?' if near else ''


def _names_under(prefix: str, given: Iterable[str]) -> list[str]:
    """The names of groups in dotted names: `rear` of `mounts.rear.camera_yaw`."""
    inner = (name.removeprefix(prefix) for name in given if name.startswith(prefix))
    return sorted({name.rpartition('.')[0] for name in inner} - {''})


class OptionFault(PrintableError):
    """A value outside of what is declared, or values that contradict each other."""


@functools.cache
def _own_specs(settings_class: type) -> tuple[Spec, ...]:
    return tuple(spec for spec in specs(settings_class) if '.' not in spec.name)


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of settings classes: an object of them has no value that its declaration refuses.

    Raises OptionFault.
    """

    def __post_init__(self) -> None:
        for spec in _own_specs(type(self)):  # type: ignore[arg-type]
            if fault := spec.fault(getattr(self, spec.name)):
                raise OptionFault(fault)
        if conflict := self.conflict():
            raise OptionFault(conflict)

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
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
    """The value of a dotted parameter name in a (nested) settings object."""
    for part in dotted_name.split('.'):
        settings = settings[part] if isinstance(settings, dict) else getattr(settings, part)
    return settings


# --- Options that several nodes have: each is declared here, and taken over with `declared_as`.

TURNS = (0, 90, 180, 270)  # degrees, clockwise, by which pictures may be turned
FEWEST_BITS, MOST_BITS = 8, 16  # that a camera may use of a sample of 16


def check_turn(degrees: int) -> str:
    """Pictures are turned by quarters."""
    if degrees in TURNS:
        return ''
    return f'{degrees} is not one of {", ".join(map(str, TURNS))}: degrees, clockwise'


def check_bit_depth(bits: int) -> str:
    """Why a number is no bit depth; '' if it is one, or 0."""
    if bits == 0 or FEWEST_BITS <= bits <= MOST_BITS:
        return ''
    return f'{bits} is neither 0 nor {FEWEST_BITS} to {MOST_BITS}'


@dataclasses.dataclass(frozen=True)
class SharedOptions(Options):
    """What is asked of more than one node."""

    max_pixels: int = parameter(
        33_554_432,
        'Larger pictures are rejected before they are decoded.',
        unit='px',
        minimum=1024,
        maximum=1_000_000_000,
        live=True,
    )
    bit_depth: int = parameter(
        0,
        'How many bits the camera uses of 16-bit samples (mono16, rgb16, bayer_*16, 16-bit PNG and '
        'the like): 8 to 16, or 16 if it uses the high ones; 0 = guessed from the pictures.',
        minimum=0,
        maximum=MOST_BITS,
        live=True,
        check=check_bit_depth,
    )
    diagnostics_rate: float = parameter(
        1.0, 'How often /diagnostics is published.', unit='Hz', minimum=0.1, maximum=100.0
    )
