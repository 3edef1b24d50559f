"""Options that commands share: a model, parameters of a node, sections of a help text."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    Closeness,
    MountError,
    Refusal,
    ScaleShift,
    closeness_of_picture,
    fit_ground_plane,
)
from midas_depth_ros.images import Verdict
from midas_depth_ros.options.declarations import (
    OptionFault,
    Spec,
    bounds_of,
    build,
    spec_of,
    specs,
    specs_of,
)
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions

# --- `--help` under headings: options of one kind, and commands of one purpose, stand together.

LONGEST = 160  # characters of a command's line, which may wrap


class SectionOption(click.Option):
    """An option with a heading; without one it stands under `Options`."""

    def __init__(self, *arguments: Any, section: str = 'Options', **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help shows its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in their order, each heading where it comes up first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, 'section', 'Options')
                sections.setdefault(title, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def write_commands(
    group: click.Group,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    sections: Mapping[str, tuple[str, ...]],
    others: str,
) -> None:
    """The commands of a group under headings; those without one under `others`."""
    placed = [name for names in sections.values() for name in names]
    rest = tuple(name for name in group.list_commands(ctx) if name not in placed)
    for title, names in {**sections, others: rest}.items():
        known = [(name, group.get_command(ctx, name)) for name in names]
        rows = [(name, command.get_short_help_str(LONGEST)) for name, command in known if command]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


# --- The estimator that a command's options ask for.

LOGGER = logging.getLogger(__name__)


def estimator_of(values: dict[str, Any]) -> DepthEstimator:
    """Load the model named by the options. Raises DepthError, and ValueError for a bad number.

    What it is, and why it is not what one would wish for, goes to the log.
    """
    accepted = inspect.signature(load_estimator).parameters
    chosen = {name: values[name] for name in MODEL if name in values and name in accepted}
    estimator = load_estimator(**chosen)
    if estimator.notice:
        LOGGER.warning('%s', estimator.notice)
    return estimator


# --- Command line options made from the declared parameters of the nodes, so that none is
# retyped.
#
# Name, default, bounds, choices, unit and text come from the declarations; a test holds the
# options to them. Nothing here needs ROS.

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
    return _add(specs(HeatmapOptions), command, 'Heatmap')


def node_parameters(section: str, *names: str, unset: bool = False) -> Callable[[Command], Command]:
    """Adds an option for each of these parameters of `depth_node` that there is.

    `section` is their heading in the help. A dotted name gives its last part to the option.
    `unset`: not given is None, whatever the node's default is.
    """
    chosen = [spec for spec in specs(DepthNodeSettings) if spec.name in names]
    return lambda command: _add(chosen, command, section, unset)


def heatmap_options(values: dict[str, Any]) -> HeatmapOptions:
    """The heatmap's options from a command's values. Raises click.UsageError on a conflict."""
    ours = {spec.name: values[spec.name] for spec in specs(HeatmapOptions)}
    try:
        return build(HeatmapOptions, ours)
    except OptionFault as error:
        text = str(error).replace('heatmap.', '--').replace('_', '-')
        raise click.UsageError(text) from error


def like(name: str, settings_class: type = DepthNodeSettings) -> dict[str, Any]:
    """Type and default of an option that stands for a parameter and has a text of its own."""
    spec = spec_of(settings_class, name)
    return {'type': _type_of(spec), 'default': spec.default}


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
            raise click.BadParameter('nan is not a value: leave the option out')
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


# --- Metres and colours for pictures and videos: what a command's options ask for.
#
# The same fits as the node's, on one picture: nothing here needs ROS.

Grid = tuple[np.ndarray, np.ndarray]
# Of a camera of which nothing is known, for the shape of a cloud without unit: about a webcam's.
ASSUMED_FOV_RAD = 1.05
NOT_ASKED = Refusal(
    'nothing gives a scale: give --camera-height, --camera-pitch and --horizontal-fov, or '
    '--fixed-scale'
)


@dataclasses.dataclass(frozen=True)
class Metres:
    """Where metres come from. Without mount and fixed scale there are none.

    horizontal_fov_rad: NaN where it was not given; of the picture as the camera took it. rotate: by
    how many degrees it was turned clockwise.
    """

    mount: CameraMount | None = None
    fixed: ScaleShift | None = None
    horizontal_fov_rad: float = math.nan
    rotate: int = 0

    @property
    def asked(self) -> bool:
        """Whether metres are wanted at all."""
        return self.mount is not None or self.fixed is not None

    @property
    def pitch_rad(self) -> float:
        """How far the camera looks down; NaN where that is not known."""
        return math.nan if self.mount is None else self.mount.pitch_rad

    def grid(self, shape: tuple[int, ...]) -> Grid | None:
        """`CameraModel.normalised_grid` for (h, w) = `shape`; None without a field of view."""
        return None if math.isnan(self.horizontal_fov_rad) else self.any_grid(shape)

    def any_grid(self, shape: tuple[int, ...]) -> Grid:
        """Likewise, of an assumed field of view where none was given."""
        known = not math.isnan(self.horizontal_fov_rad)
        fov = self.horizontal_fov_rad if known else ASSUMED_FOV_RAD
        height, width = shape[:2] if self.rotate in (0, 180) else shape[1::-1]
        camera = CameraModel.from_field_of_view(width, height, fov)
        return camera.turned(self.rotate).normalised_grid()

    def fit(self, inverse_depth: np.ndarray) -> ScaleShift | Refusal:
        """Scale and shift of (h, w) float32 relative inverse depth, or why there are none."""
        if self.fixed is not None:
            return self.fixed
        grid = self.grid(inverse_depth.shape)
        if self.mount is None or grid is None:
            return NOT_ASKED
        return fit_ground_plane(inverse_depth, grid, self.mount)


def metres_of(values: dict[str, Any]) -> Metres:
    """From the options of a command. Raises click.UsageError where they do not go together."""
    height, pitch, roll, fov = (
        values[name] for name in ('camera_height', 'camera_pitch', 'camera_roll', 'horizontal_fov')
    )
    scale, shift, rotate = (values[name] for name in ('fixed_scale', 'fixed_shift', 'rotate'))
    if scale is None and shift is not None:
        raise click.UsageError('--fixed-shift alone gives no metres: give --fixed-scale, too')
    if scale is not None and not math.isnan(height):
        raise click.UsageError('--fixed-scale and --camera-height both give metres: give one')
    if scale is not None:
        return Metres(None, ScaleShift(scale, shift or 0.0, 'fixed'), fov, rotate)
    if math.isnan(height):
        return Metres(horizontal_fov_rad=fov, rotate=rotate)
    if math.isnan(pitch) or math.isnan(fov):
        raise click.UsageError(
            '--camera-height gives metres only with --camera-pitch and --horizontal-fov'
        )
    try:
        return Metres(CameraMount(height, pitch, roll), None, fov, rotate)
    except MountError as error:
        raise click.UsageError(str(error)) from error


FAR_PERCENTILE, NEAR_PERCENTILE = 2.0, 98.0
NEAREST_END, FARTHEST_END = (
    bounds_of(HeatmapOptions, name) for name in ('metric_near', 'metric_far')
)  # metres
LEAST_RATIO = 1.5  # of the far end of colours in metres to the near one
WORDS = {'relative': 'relative, near is warm', 'metric': 'metres'}


@dataclasses.dataclass(frozen=True)
class Look:
    """How the outputs shall look, where metres come from, and whether pictures are judged."""

    heatmap: HeatmapOptions
    metres: Metres
    picture_check: bool = True
    # Ends of the colours in metres that nobody gave: they are fitted to what is there.
    fits_near: bool = False
    fits_far: bool = False

    def fitted(self, inverse_depth_m: NDArray[np.float32]) -> HeatmapOptions:
        """The heatmap's options, with what is open fitted to (h, w) float32 1/Z in 1/m."""
        known = np.empty(0, np.float32)
        if self.fits_near or self.fits_far:
            known = inverse_depth_m[np.isfinite(inverse_depth_m)]
        if not known.size:
            return self.heatmap
        low, high = np.maximum(np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE)), 1e-6)
        near, far = self.heatmap.metric_near, self.heatmap.metric_far
        if self.fits_near:
            most = NEAREST_END[1] if self.fits_far else far / LEAST_RATIO
            near = _rounded(min(max(1 / high, NEAREST_END[0]), most))
        if self.fits_far:
            far = _rounded(min(max(1 / low, LEAST_RATIO * near, FARTHEST_END[0]), FARTHEST_END[1]))
        return dataclasses.replace(self.heatmap, metric_near=near, metric_far=far)

    def fit(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> ScaleShift | Refusal:
        """Scale and shift of one picture's (h, w) float32, or why there are none."""
        if self.metres.asked and verdict.reason:
            return Refusal(f'the picture is {verdict.reason}')
        return self.metres.fit(inverse_depth)

    def closeness(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> Closeness:
        """Left, centre and right of (h, w) float32 that has NaN where the picture says nothing."""
        grid = self.metres.grid(inverse_depth.shape)
        return closeness_of_picture(inverse_depth, verdict.reason, grid, self.metres.pitch_rad)


def look_of(ctx: click.Context, values: dict[str, Any]) -> Look:
    """How outputs shall look, by a command's values. Raises UsageError."""
    default = click.core.ParameterSource.DEFAULT
    return Look(
        heatmap_options(values),
        metres_of(values),
        values['picture_check'],
        fits_near=ctx.get_parameter_source('metric_near') is default,
        fits_far=ctx.get_parameter_source('metric_far') is default,
    )


def blind_words(verdict: Verdict) -> str:
    """Why all of a picture, or a part of it, is not believed, as the node says it; else ''."""
    return f'blind: the picture is {verdict.reason}' if verdict.reason else verdict.partly


def captions_of(title: str, model: str, mode: str, verdict: Verdict) -> tuple[str, str]:
    """What stands below a picture and below its heatmap."""
    return title, blind_words(verdict) or f'{model}: {WORDS[mode]}'


def _rounded(metres: float) -> float:
    """Two digits, as a person reads them in a legend."""
    return float(f'{metres:.2g}')
