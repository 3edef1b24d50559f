"""Command line options made from the declared parameters of the nodes, so that none is retyped.

Name, default, bounds, choices, unit and text come from the declarations; a test holds the options
to them. Nothing here needs ROS.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from midas_depth_ros.commands.help_sections import SectionOption
from midas_depth_ros.options.declarations import Spec, build, specs, specs_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapParameters
from midas_depth_ros.views import HeatmapOptions

Command = TypeVar('Command', bound=Callable[..., Any])

# Of the depth node's parameters: what pictures need of the model, what makes metres, and when a
# picture says nothing.
MODEL = (
    *('model', 'backend', 'precision', 'num_threads', 'allow_download', 'max_pixels'),
    'bit_depth',
)
MOUNT = ('camera_height', 'camera_pitch', 'camera_roll', 'horizontal_fov')
ROTATE = 'rotate'
PICTURE_CHECK = 'picture_check'
BLINDNESS = (PICTURE_CHECK, 'frozen_after')
UNITS = {'rad': 'rad, or 10deg'}  # as the help tells them
FIXED_SCALE = ('scale.fixed_scale', 'scale.fixed_shift')


ANGLE = re.compile(
    r'\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(deg|degrees?|°|rad)\s*', re.I | re.A
)


def radians_of(text: str) -> float | None:
    """The angle that `10deg`, `10°` or `0.2rad` means; None where it is no such text."""
    found = ANGLE.fullmatch(text)
    if found is None:
        return None
    number = float(found.group(1))
    return number if found.group(2).lower() == 'rad' else math.radians(number)


def in_radians(assignment: str) -> str:
    """`camera_pitch:=10deg` as nodes take it, in radians; other assignments as they are."""
    name, separator, value = assignment.partition(':=')
    angle = radians_of(value) if name.rpartition('.')[2] in angle_names() else None
    return assignment if angle is None else f'{name}{separator}{angle!r}'


@functools.cache
def angle_names() -> frozenset[str]:
    """The last parts of the names of parameters that are angles."""
    given = ['mounts.any.camera_pitch']  # one camera is as the others
    found = specs_of(DepthNodeSettings, given).values()
    return frozenset(spec.name.rpartition('.')[2] for spec in found if spec.unit == 'rad')


class AngleRange(click.FloatRange):
    """An angle in radians, or with a unit: 0.2, 0.2rad, 10deg, 10°."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Radians, or wrong usage."""
        angle = radians_of(value) if isinstance(value, str) else None
        try:
            return float(super().convert(value if angle is None else angle, param, ctx))
        except click.BadParameter as error:
            text = f'{error.message} It is in radians; degrees are written as 10deg.'
            raise click.BadParameter(text, ctx, param) from error


NAMES = re.compile(
    rf'(?<![\w/.-])({"|".join(name for name in (*MODEL, *MOUNT, *BLINDNESS) if "_" in name)})'
    r'(?![\w/.-])(?::(?= ))?'
)


class NumberRange(click.FloatRange):
    """A number within bounds; NaN, which is neither below nor above any, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or wrong usage."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f'{value!r} is not a number', param, ctx)
        return float(number)


def as_options(text: str) -> str:
    """A text that names parameters of nodes, with the options that they are here.

    Parts of paths stay: neither a slash nor a dot may be beside a name.
    """
    text = text.replace('the parameter topic', '--topic')
    return NAMES.sub(lambda found: '--' + found.group(1).replace('_', '-'), text)


def heatmap_parameters(command: Command) -> Command:
    """Adds an option for each of the node's `heatmap.*` parameters."""
    return _add(specs(HeatmapParameters), command, 'Heatmap')


def node_parameters(section: str, *names: str, unset: bool = False) -> Callable[[Command], Command]:
    """Adds an option for each of these parameters of `depth_node` that there is.

    `section` is their heading in the help. A dotted name gives its last part to the option.
    `unset`: not given is None, whatever the node's default is.
    """
    chosen = [spec for spec in specs(DepthNodeSettings) if spec.name in names]
    return lambda command: _add(chosen, command, section, unset)


def heatmap_options(values: dict[str, Any]) -> HeatmapOptions:
    """The heatmap's options from a command's values. Raises click.UsageError on a conflict."""
    ours = {spec.name: values[spec.name] for spec in specs(HeatmapParameters)}
    conflict = build(HeatmapParameters, ours).conflict()
    if conflict:
        raise click.UsageError(conflict.replace('heatmap.', '--').replace('_', '-'))
    return HeatmapOptions(**ours)


def _add(chosen: Iterable[Spec], command: Command, section: str, unset: bool = False) -> Command:
    for spec in reversed(list(chosen)):
        command = option_of(spec, section, unset)(command)
    return command


def option_of(spec: Spec, section: str, unset: bool = False) -> Callable[[Command], Command]:
    """The click option of one parameter. NaN, which means unknown, becomes None and back."""
    name = spec.name.rpartition('.')[2]
    flag = '--' + name.replace('_', '-')
    unknown = unset or spec.default != spec.default
    # Unknown is said by leaving the option out.
    text = spec.text.replace('; NaN = unknown', '') + (
        f' [{UNITS.get(spec.unit, spec.unit)}]' if spec.unit else ''
    )

    def checked(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None if unset else spec.default
        if isinstance(value, float) and math.isnan(value):
            raise click.BadParameter('nan is no value: leave the option out')
        fault = spec.fault(value)
        if fault:
            raise click.BadParameter(fault.partition(': ')[2])
        return value

    if spec.kind == 'bool':
        flag = f'{flag}/--no-{flag[2:]}'
    return click.option(
        flag,
        name,
        type=_type_of(spec),
        default=None if unknown else spec.default,
        show_default=not unknown and spec.default != '',
        callback=checked,
        help=text,
        cls=SectionOption,
        section=section,
    )


def _type_of(spec: Spec) -> Any:
    if spec.choices:
        return click.Choice(spec.choices)
    if spec.unit == 'rad':
        return AngleRange(spec.minimum, spec.maximum)
    if spec.kind == 'double' and spec.minimum is None and spec.maximum is None:
        return float
    if spec.kind == 'double':
        return click.FloatRange(spec.minimum, spec.maximum)
    if spec.kind == 'int':
        low, high = spec.minimum, spec.maximum
        return click.IntRange(
            None if low is None else int(low), None if high is None else int(high)
        )
    return {'bool': bool, 'string': str}[spec.kind]
