"""How a model file of another maker is to be used, field by field, each with its source.

In: what parameters, a YAML file, metadata, a table or a guess say, in the words of `FIELDS`. Out: a
`FileDescription`, and from it a `Network`. Every text that is refused names the value and what to
write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from midas_depth_ros.depth.errors import printable, shown
from midas_depth_ros.depth.models.spec import (
    Enlargement,
    Network,
    Output,
    PictureInput,
    Sizing,
)
from midas_depth_ros.depth.models.usage import ENLARGEMENTS, MEANINGS, RESIZES, SIZE_RULES
from midas_depth_ros.depth.onnx_reader import Value

MOST_NUMBERS = 8  # of a list
MISTYPED = 0.8  # names this similar to that of a field are meant to be it
PREFIX = 'model_file'  # of the parameters
NONE = 'none'  # a mean or std that is inside the network, or is not wanted
LARGEST_SIDE = 8192  # pixels of a network's input
LARGEST_MULTIPLE = 512
LARGEST_NUMBER = 1e6
UNIT_MEANS = 2.0  # means and deviations up to this are those of colours 0 to 1
# Of a network that gives metres, where nothing says what it can tell apart.
DEPTH_RANGE_M = (0.1, 100.0)
MOST_ASPECT = 4.0  # of a free network size; a longer picture is squeezed

Parsed = Any


# --- The fields, and what each accepts.


def _numbers(value: Any) -> list[float]:
    """Numbers of a list, or of a text such as '0.485, 0.456, 0.406'. ValueError."""
    parts: Iterable[Any] = [value]
    if isinstance(value, str):
        parts = [part for part in re.split(r'[\s,;x×]+', value.strip(' ()[]')) if part]
    elif isinstance(value, Sequence):
        parts = value
    numbers = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (int, float, str)):
            raise ValueError
        numbers.append(float(part))
    if not all(abs(number) <= LARGEST_NUMBER for number in numbers):  # NaN, too
        raise ValueError
    return numbers


def _size(value: Any) -> tuple[int, int]:
    high, wide = _numbers(value)
    for side in (high, wide):
        if side != int(side) or not 1 <= side <= LARGEST_SIDE:
            raise ValueError
    return int(high), int(wide)


def _multiple(value: Any) -> int:
    (number,) = _numbers(value)
    if number != int(number) or not 1 <= number <= LARGEST_MULTIPLE:
        raise ValueError
    return int(number)


def _range(value: Any) -> int:
    (number,) = _numbers(value)
    if number not in (1, 255):
        raise ValueError
    return int(number)


def _colours(value: Any) -> tuple[float, ...] | str:
    if value is None or (isinstance(value, str) and value.strip().lower() == NONE):
        return NONE
    numbers = _numbers(value)
    if len(numbers) not in (1, 3):
        raise ValueError
    return tuple(numbers * 3)[:3]


def _deviations(value: Any) -> tuple[float, ...] | str:
    found = _colours(value)
    if found != NONE and not all(each > 0 for each in found):  # type: ignore[operator]
        raise ValueError
    return found


def _above_0(value: Any) -> float:
    (number,) = _numbers(value)
    if not number > 0:
        raise ValueError
    return number


def _aspect(value: Any) -> float:
    (number,) = _numbers(value)
    if not number >= 1:
        raise ValueError
    return number


def _near_and_far(value: Any) -> tuple[float, float]:
    near, far = _numbers(value)
    if not 0 < near < far:
        raise ValueError
    return near, far


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    if not (name := str(value)) or not name.isprintable():
        raise ValueError
    return name


def _one_of(words: Iterable[str]) -> Callable[[Any], str]:
    known = tuple(words)

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.strip().lower() not in known:
            raise ValueError
        return value.strip().lower()

    return parse


@dataclasses.dataclass(frozen=True)
class Field:
    """A field: how its value is read, and what it accepts, in words."""

    parse: Callable[[Any], Parsed]
    accepts: str


FIELDS: Mapping[str, Field] = {
    'input_size': Field(
        _size, f'height and width in pixels, 1 to {LARGEST_SIDE}, such as 384, 672'
    ),
    'multiple_of': Field(_multiple, f'a whole number from 1 to {LARGEST_MULTIPLE}'),
    'size_rule': Field(_one_of(SIZE_RULES), f'one of {", ".join(SIZE_RULES)}'),
    'colour': Field(_one_of(('rgb', 'bgr')), 'rgb or bgr'),
    'range': Field(_range, '1 or 255'),
    'mean': Field(_colours, 'three numbers, for red, green and blue, or one for all, or none'),
    'std': Field(
        _deviations, 'three numbers above 0, for red, green and blue, or one for all, or none'
    ),
    'resize': Field(_one_of(RESIZES), f'one of {", ".join(RESIZES)}'),
    'output': Field(_name, 'the name of an output, in printable characters'),
    'output_meaning': Field(_one_of(MEANINGS), f'one of {", ".join(MEANINGS)}'),
    'focal_reference': Field(_above_0, 'a focal length above 0, in pixels of the network input'),
    'depth_range_m': Field(_near_and_far, 'the nearest and the farthest depth in metres'),
    'enlarge': Field(_one_of(ENLARGEMENTS), f'one of {", ".join(ENLARGEMENTS)}'),
    'most_aspect': Field(_aspect, 'a number from 1'),
}


class BadField(ValueError):
    """A value that a field does not accept, or fields that contradict each other."""


def _plain(value: Any) -> Any:
    """A number, a text, or a short list of them: YAML can nest lists without end."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    if len(parts) > MOST_NUMBERS or any(isinstance(part, (list, tuple, dict)) for part in parts):
        raise ValueError
    return value


def _words(value: Any) -> str:
    try:
        return shown(_plain(value))
    except ValueError:
        return f'a {type(value).__name__}'


def parsed(values: Mapping[Any, Any], source: str, *, strict: bool = True) -> dict[str, Parsed]:
    """The fields of one source. Raises BadField, which names the source and the value.

    `strict`: unknown names are refused, with the most similar known one; else only mistyped ones,
    and others are ignored.
    """
    found = {}
    for name, value in values.items():
        if name not in FIELDS:
            cutoff = 0.6 if strict else MISTYPED
            near = difflib.get_close_matches(str(name)[:80], FIELDS, n=1, cutoff=cutoff)
            if not strict and not near:
                continue
            hint = f'did you mean {near[0]}?' if near else f'known are {", ".join(FIELDS)}'
            raise BadField(f'{source}: {shown(name)} is unknown: {hint}')
        try:
            found[name] = FIELDS[name].parse(_plain(value))
        except (ValueError, TypeError, OverflowError) as error:
            raise BadField(
                f'{source}: {name} is {_words(value)}: give {FIELDS[name].accepts}'
            ) from error
    if ('mean' in found) != ('std' in found):
        given, other = ('mean', 'std') if 'mean' in found else ('std', 'mean')
        raise BadField(f'{source}: {given} is given without {other}: give both')
    if 'mean' in found and 'range' in found:
        _check_units(found, source)
    return found


def _check_units(values: Mapping[str, Parsed], source: str) -> None:
    """Raise BadField where mean and std are numbers of the other range."""
    mean, std, range_ = values['mean'], values['std'], values['range']
    largest = max((abs(each) for part in (mean, std) if part != NONE for each in part), default=0)
    if range_ == 1 and largest > UNIT_MEANS:
        raise BadField(
            f'{source}: mean {as_text(mean)} and std {as_text(std)} are numbers for colours 0 to '
            '255: give range 255, or divide them by 255'
        )
    if range_ == 255 and mean != NONE and 0 < max(mean) <= UNIT_MEANS and max(std, default=0) != 1:
        raise BadField(
            f'{source}: mean {as_text(mean)} and std {as_text(std)} are numbers for colours 0 to '
            '1: give range 1, or multiply them by 255'
        )


def as_text(value: Parsed) -> str:
    """A value as people write it."""
    if isinstance(value, (tuple, list)):
        return ', '.join(f'{each:g}' for each in value)
    return f'{value:g}' if isinstance(value, float) else printable(value)


# --- From fields to a description, and to a network.

LAYOUTS = {  # channels and picture in the shape of an input
    'nchw': 'channels first',
    'nhwc': 'channels last',
    'multi-view': 'several pictures, of which one is given',
}


@dataclasses.dataclass(frozen=True)
class FileDescription:
    """How a file is to be used.

    `source`: its input; `layout`: one of `LAYOUTS`. `values`: the fields, of which `origins` has
    where each comes from. `conflicts`: what was overridden, in sentences; `assumed`: the fields
    that nobody stated and that matter.
    """

    title: str
    source: Value
    layout: str
    values: Mapping[str, Parsed]
    origins: Mapping[str, str]
    conflicts: tuple[str, ...] = ()
    outputs: tuple[Value, ...] = ()

    @property
    def output(self) -> str:
        """The name of the output that is depth."""
        return str(self.values['output'])

    @property
    def meaning(self) -> Output:
        """What the output means."""
        return MEANINGS[self.values['output_meaning']]

    @property
    def guessed_meaning(self) -> bool:
        """Whether nobody said what the output means."""
        return self.origins['output_meaning'].startswith(ASSUMED)

    @property
    def assumed(self) -> dict[str, str]:
        """The fields that were assumed and change the depth, with the reasons."""
        return {
            name: origin.removeprefix(ASSUMED).strip()
            for name, origin in self.origins.items()
            if origin.startswith(ASSUMED) and name in CONSEQUENTIAL
        }

    def network(self) -> Network:
        """What goes in and comes out. Raises BadField where the fields do not fit together."""
        values = self.values
        sizing, size = SIZE_RULES[values['size_rule']], values['input_size']
        if values['size_rule'] in ('short_side', 'nearest_scale'):
            size = (min(size), min(size))
        elif values['size_rule'] == 'long_side':
            size = (max(size), max(size))
        unit = values['range']
        mean, std = values['mean'], values['std']
        metric = self.meaning is Output.METRIC_DEPTH
        try:
            picture = PictureInput(
                size=size,
                sizing=sizing,
                multiple=values['multiple_of'] if sizing not in WHOLE else 1,
                interpolation=RESIZES[values['resize']],
                mean=(0.0, 0.0, 0.0) if mean == NONE else _by(mean, unit),
                std=(1 / unit,) * 3 if std == NONE else _by(std, unit),
                most_aspect=values.get('most_aspect', math.inf),
                bgr=values['colour'] == 'bgr',
            )
            return Network(
                title=self.title,
                picture=picture,
                output=self.meaning,
                depth_range_m=values['depth_range_m'] if metric else None,
                focal_reference_px=values.get('focal_reference'),
                enlargement=ENLARGEMENTS.get(values.get('enlarge', ''), Enlargement.LINEAR),
            )
        except ValueError as error:
            raise BadField(f'{self.title}: {error}') from error

    def to_json(self) -> dict[str, Any]:
        """For programs: every field with its value and its source."""
        return {
            'file': self.title,
            'input': {
                'name': self.source.name,
                'shape': list(self.source.shape),
                'type': self.source.type_name,
                'layout': self.layout,
            },
            'outputs': [
                {'name': each.name, 'shape': list(each.shape), 'type': each.type_name}
                for each in self.outputs
            ],
            'fields': {
                name: {'value': value, 'source': self.origins[name]}
                for name, value in self.values.items()
            },
            'conflicts': list(self.conflicts),
            'assumed': self.assumed,
        }


WHOLE = (Sizing.STRETCH, Sizing.LETTERBOX)  # a size that is given, whatever its multiples
ASSUMED = 'assumed:'
# What changes depth, if it is wrong, by more than an interpolation does.
CONSEQUENTIAL = ('output', 'output_meaning', 'colour', 'range', 'mean', 'std')


def _by(numbers: Sequence[float], unit: int) -> tuple[float, float, float]:
    red, green, blue = (number / unit for number in numbers)
    return red, green, blue


def merged(
    sources: Sequence[tuple[str, Mapping[str, Parsed]]],
) -> tuple[dict[str, Parsed], dict[str, str], list[str]]:
    """(values, their sources, conflicts) of several sources, the first of which wins.

    Mean and std are one thing, with the range in which they are written; they are converted where
    an earlier source says another range. Raises BadField where units do not fit.
    """
    values: dict[str, Parsed] = {}
    origins: dict[str, str] = {}
    conflicts = []
    for source, found in sources:
        found = _in_range_of(values, found)
        for name, value in found.items():
            if name not in values:
                values[name], origins[name] = value, source
            elif not source.startswith(ASSUMED) and not _same(values[name], value):
                conflicts.append(
                    f'{name} is {as_text(values[name])} ({origins[name]}), although {source} says '
                    f'{as_text(value)}'
                )
        if {'mean', 'std', 'range'} <= values.keys():
            _check_units(values, origins['mean'])
    return values, origins, conflicts


def _in_range_of(values: Mapping[str, Parsed], found: Mapping[str, Parsed]) -> Mapping[str, Parsed]:
    """The fields of a source, mean and std in the units that are chosen already."""
    chosen, own = values.get('range'), found.get('range')
    if chosen is None or own is None or chosen == own or found.get('mean', NONE) == NONE:
        return found
    factor = chosen / own
    scaled = {
        name: tuple(factor * each for each in found[name])
        for name in ('mean', 'std')
        if found[name] != NONE
    }
    return {**found, **scaled}


def _same(one: Parsed, other: Parsed) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-3)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(
            math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6) for a, b in zip(one, other, strict=False)
        )
    return bool(one == other)
