"""Options that commands share: parameters of depth_node, metres, and the sections of help texts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import DepthEstimator, load_estimator, models
from midas_depth_ros.depth.errors import InvalidNetworkSize
from midas_depth_ros.depth.models import AUTO, licences_fault
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    Closeness,
    MountError,
    Refusal,
    ScaleShift,
    closeness_of_picture,
    fit_ground_plane,
    model_scale,
)
from midas_depth_ros.images import Verdict
from midas_depth_ros.options.declarations import (
    OptionFault,
    Spec,
    bounds_of,
    build,
    did_you_mean,
    spec_of,
    specs,
    specs_for_names,
)
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.options.model_file import ModelFileOptions

Command = TypeVar('Command', bound=Callable[..., Any])


class SectionOption(click.Option):
    """An option under a heading of the help text."""

    def __init__(self, *arguments: Any, section: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in order, each heading at its first option."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, 'section', 'Options')
                sections.setdefault(title, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


# --- Options made from the declared parameters of the nodes: name, default, bounds, choices, unit
# and text come from the declaration.

# Parameters of depth_node that are options of `image` and `video`.
NETWORK_SIZE = ('network_size', 'network_aspect')
MODEL = (
    *('model', 'backend', 'precision', *NETWORK_SIZE, 'num_threads', 'accept_licence'),
    *('allow_download', 'max_pixels', 'bit_depth'),
)
# Where a command does otherwise than the node, or has options where the node has parameters,
# services and camera_info.
TEXTS = {
    'network_size': "Shorter side of the network's input: smaller is faster and sees less; a "
    'multiple of 14 or 32, as the model wants it. 0 = the official size; depth_node takes a '
    'smaller one.',
    'network_aspect': "How many times as long as the shorter side the longer side of the network's "
    'input may be: longer pictures are squeezed. Models of fixed size or with a longest side '
    'ignore it.',
    'num_threads': 'Threads of inference, and the limit for OpenCV; 0 = one per processor.',
    'allow_download': 'Fetch missing weights (MiDaS_small: 85 MB, once).',
    'camera_pitch': 'Pitch of the camera, positive = looking down. With --horizontal-fov it also '
    'gives closeness the horizon.',
    'camera_roll': 'Roll of the camera, positive = to the right; for one mounted upside down or on '
    'its side the remaining roll after --rotate.',
    'rotate': 'Turn the pictures clockwise before they are processed: 0, 90, 180 (for a camera '
    'mounted upside down) or 270. --horizontal-fov describes the pictures as they are, '
    '--camera-pitch and --camera-roll the turned ones.',
    'horizontal_fov': 'Horizontal field of view of the camera.',
    'scale.fixed_scale': 'Scale of 1/Z = scale * depth + shift, in place of a fit to the floor; '
    'that of most networks changes with every picture.',
    'scale.fixed_shift': 'Shift of 1/Z = scale * depth + shift; 0 if only the scale is given.',
}
# What the help says in place of a default that is not used as it stands, see `Look`.
DEFAULTS = dict.fromkeys(('heatmap.metric_near', 'heatmap.metric_far'), 'as the picture has it')
HEATMAP = tuple(f'heatmap.{spec.name}' for spec in specs(HeatmapOptions))
MOUNT = ('camera_height', 'camera_pitch', 'camera_roll', 'horizontal_fov')
ROTATE = 'rotate'
PICTURE_CHECK = 'picture_check'
BLINDNESS = (PICTURE_CHECK, 'frozen_after')
FIXED_SCALE = ('scale.fixed_scale', 'scale.fixed_shift')
UNITS = {'rad': 'rad, or 10deg'}  # as printed in the help
LOGGER = logging.getLogger(__name__)


def accept_licence_option(command: Command) -> Command:
    """Add the option --accept-licence to a command that takes a model."""

    def checked(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
        if fault := licences_fault(value):
            raise click.BadParameter(fault)
        return value

    return click.option(
        '--accept-licence',
        **like('accept_licence'),
        metavar='NAMES',
        callback=checked,
        show_default=False,
        help='Restricted licences of weights that you accept, such as CC-BY-NC-4.0, separated by '
        'commas.',
    )(command)


def estimator_of(values: dict[str, Any]) -> DepthEstimator:
    """Load the model that the options name, and log its notice if it has one.

    Raises DepthError, and ValueError for a bad number.
    """
    accepted = inspect.signature(load_estimator).parameters
    chosen = {name: values[name] for name in MODEL if name in values and name in accepted}
    try:
        estimator = load_estimator(**chosen, model_file=values.get('model_file'))
    except InvalidNetworkSize as error:
        raise InvalidNetworkSize(as_options(str(error))) from error
    if estimator.notice:
        LOGGER.warning('%s', estimator.notice)
    return estimator


def model_file_option(command: Command) -> Command:
    """Add `--model-file NAME=VALUE`: the parameters `model_file.*` of `depth_node`."""
    names = ', '.join(spec.name for spec in specs(ModelFileOptions))
    return click.option(
        '--model-file',
        'model_file',
        metavar='NAME=VALUE',
        multiple=True,
        callback=_model_file,
        help='How a model file of another maker is to be used, as `midas_depth inspect` says; may '
        f'be repeated: {names}.',
        cls=SectionOption,
        section='Model',
    )(command)


def _model_file(
    ctx: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields that are given. Raises BadParameter."""
    declared = {spec.name: spec for spec in specs(ModelFileOptions)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition('=')
        if not sign or name not in declared:
            known = f'give {name}=VALUE' if name in declared else did_you_mean(name, declared)
            hint = known or f'the names are {", ".join(declared)}'
            raise click.BadParameter(f'{pair!r} is not NAME=VALUE with a known name: {hint}')
        number = text.isdecimal() and declared[name].kind == 'int'
        values[name] = declared[name].coerced(int(text) if number else text)
        if fault := declared[name].fault(values[name]):
            raise click.BadParameter(fault)
    try:
        return build(ModelFileOptions, values).given()
    except OptionFault as fault:
        raise click.BadParameter(str(fault)) from fault


ANGLE = re.compile(
    r'\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(deg|degrees?|°|rad)\s*', re.I | re.A
)


def radians_of(text: str) -> float | None:
    """Return the angle of `10deg`, `10°` or `0.2rad`; None for other texts."""
    found = ANGLE.fullmatch(text)
    if found is None:
        return None
    number = float(found.group(1))
    return number if found.group(2).lower() == 'rad' else math.radians(number)


def in_radians(assignment: str) -> str:
    """Return `camera_pitch:=10deg` in radians, as nodes take it; other assignments unchanged."""
    name, separator, value = assignment.partition(':=')
    angle = radians_of(value) if name.rpartition('.')[2] in angle_names() else None
    return assignment if angle is None else f'{name}{separator}{angle!r}'


@functools.cache
def angle_names() -> frozenset[str]:
    """Return the last parts of the names of parameters that are angles."""
    given = ['mounts.any.camera_pitch']  # stands for all cameras
    found = specs_for_names(DepthNodeSettings, given).values()
    return frozenset(spec.name.rpartition('.')[2] for spec in found if spec.unit == 'rad')


class AngleRange(click.FloatRange):
    """An angle in radians, or with a unit: 0.2, 0.2rad, 10deg, 10°."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return radians. Raises BadParameter."""
        angle = radians_of(value) if isinstance(value, str) else None
        try:
            return float(super().convert(value if angle is None else angle, param, ctx))
        except click.BadParameter as error:
            text = f'{error.message} It is in radians; degrees are written as 10deg.'
            raise click.BadParameter(text, ctx, param) from error


class NumberRange(click.FloatRange):
    """A number within bounds; NaN is refused."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. Raises BadParameter."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f'{value!r} is not a number', param, ctx)
        return float(number)


# A name of a parameter, unless it is part of a path: next to a slash or a dot.
NAMES = re.compile(
    rf'(?<![\w/.-])({"|".join(name for name in (*MODEL, *MOUNT, *BLINDNESS) if "_" in name)})'
    r'(?![\w/.-])(?::(?= ))?'
)


def as_options(text: str) -> str:
    """Return a text with the names of parameters replaced by those of the options."""
    text = text.replace('the parameter topic', '--topic')
    return NAMES.sub(lambda found: '--' + found.group(1).replace('_', '-'), text)


def node_parameters(section: str, *names: str, unset: bool = False) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each of these parameters of `depth_node`.

    section: their heading in the help. Of a dotted name the last part names the option. unset: the
    value is None if the option is not given, whatever the node's default is.
    """

    def add(command: Command) -> Command:
        for spec in reversed(list(specs(DepthNodeSettings))):
            if spec.name in names:
                command = option_of(spec, section, unset)(command)
        return command

    return add


def network_size_options(command: Command) -> Command:
    """Add --network-size and --network-aspect to a command whose help has no sections."""
    return node_parameters('Options', *NETWORK_SIZE)(command)


def like(name: str, settings_class: type = DepthNodeSettings) -> dict[str, Any]:
    """Return type and default of an option for a parameter, which has its own help text.

    NaN is refused.
    """
    spec = spec_of(settings_class, name)
    kind = _type_of(spec)
    if type(kind) is click.FloatRange:
        kind = NumberRange(kind.min, kind.max)
    return {'type': kind, 'default': spec.default}


def option_of(spec: Spec, section: str, unset: bool = False) -> Callable[[Command], Command]:
    """Return the click option of one parameter. A default of NaN means not given."""
    name = spec.name.rpartition('.')[2]
    flag = '--' + name.replace('_', '-')
    unknown = unset or spec.default != spec.default
    unit = f' [{UNITS.get(spec.unit, spec.unit)}]' if spec.unit else ''

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
        show_default=DEFAULTS.get(spec.name, not unknown and spec.default != ''),
        callback=checked,
        help=TEXTS.get(spec.name, spec.text).replace('; NaN = unknown', '') + unit,
        cls=SectionOption,
        section=section,
    )


def _type_of(spec: Spec) -> Any:
    if spec.choices:
        return click.Choice(spec.choices)
    low, high = spec.minimum, spec.maximum
    if spec.unit == 'rad':
        return AngleRange(low, high)
    if spec.kind == 'double':
        return float if low is None and high is None else click.FloatRange(low, high)
    if spec.kind == 'int':
        least, most = (None if bound is None else int(bound) for bound in (low, high))
        return click.IntRange(least, most)
    return {'bool': bool, 'string': str}[spec.kind]


# --- Metres for pictures and videos, by the same fits as the node's.

Grid = tuple[np.ndarray, np.ndarray]
ASSUMED_FOV_RAD = 1.05  # about a webcam's, for the shape of a cloud without unit
NOT_ASKED = Refusal(
    'nothing gives a scale: give --camera-height, --camera-pitch and --horizontal-fov, '
    '--fixed-scale, or a model that gives metres'
)
NO_FOCAL_LENGTH = Refusal(
    "the model's metres depend on the focal length of the camera: give --horizontal-fov"
)


@dataclasses.dataclass(frozen=True)
class Metres:
    """Where metres come from: mount or fixed scale; else the model, where it gives metres.

    horizontal_fov_rad: of the camera's picture before it is turned; NaN = not given. rotate:
    degrees by which it is turned clockwise. pitch_rad: down, for the horizon of closeness, which
    needs no height; NaN = not given. of_model: whether the model gives metres, with
    reference_px and far_end of it, as `ModelSpec` has them.
    """

    mount: CameraMount | None = None
    fixed: ScaleShift | None = None
    horizontal_fov_rad: float = math.nan
    rotate: int = 0
    pitch_rad: float = math.nan
    of_model: bool = False
    reference_px: float | None = None
    far_end: float = -math.inf

    @property
    def asked(self) -> bool:
        """Whether metres are wanted."""
        return self.measured or self.of_model

    @property
    def measured(self) -> bool:
        """Whether they come from the options, not from the model."""
        return self.mount is not None or self.fixed is not None

    def grid(self, shape: tuple[int, ...]) -> Grid | None:
        """Return the normalised grid for (h, w) = `shape`; None without a field of view."""
        return None if math.isnan(self.horizontal_fov_rad) else self.any_grid(shape)

    def any_grid(self, shape: tuple[int, ...]) -> Grid:
        """Return the same, with an assumed field of view if none is given."""
        return self._camera(shape).normalised_grid()

    def _camera(self, shape: tuple[int, ...]) -> CameraModel:
        fov = self.horizontal_fov_rad
        height, width = shape[:2] if self.rotate in (0, 180) else shape[1::-1]
        fov = ASSUMED_FOV_RAD if math.isnan(fov) else fov
        return CameraModel.from_field_of_view(width, height, fov).turned(self.rotate)

    def fit(self, inverse_depth: np.ndarray) -> ScaleShift | Refusal:
        """Return scale and shift of (h, w) float32 inverse depth, or why there are none."""
        fit = self._fitted(inverse_depth)
        if isinstance(fit, Refusal):
            return fit
        return dataclasses.replace(fit, far_end=self.far_end)

    def _fitted(self, inverse_depth: np.ndarray) -> ScaleShift | Refusal:
        shape = inverse_depth.shape
        grid = self.grid(shape)
        if self.fixed is not None:
            return self.fixed
        if self.mount is not None and grid is not None:
            return fit_ground_plane(inverse_depth, grid, self.mount)
        if not self.of_model:
            return NOT_ASKED
        if self.reference_px is not None and grid is None:
            return NO_FOCAL_LENGTH
        return model_scale(self._camera(shape), reference_px=self.reference_px)


def metres_of(values: dict[str, Any]) -> Metres:
    """Return the metres that a command's options ask for. Raises UsageError on a conflict."""
    height, pitch, roll, fov = (values[name] for name in MOUNT)
    scale, shift, rotate = (values[name] for name in ('fixed_scale', 'fixed_shift', 'rotate'))
    if scale is None and shift is not None:
        raise click.UsageError('--fixed-shift alone gives no metres: give --fixed-scale as well')
    if scale is not None and not math.isnan(height):
        raise click.UsageError('--fixed-scale and --camera-height both give metres: give one')
    if scale is not None:
        return Metres(None, ScaleShift(scale, shift or 0.0, 'fixed'), fov, rotate, pitch)
    if math.isnan(height):
        return Metres(horizontal_fov_rad=fov, rotate=rotate, pitch_rad=pitch)
    if math.isnan(pitch) or math.isnan(fov):
        raise click.UsageError(
            '--camera-height gives metres only with --camera-pitch and --horizontal-fov'
        )
    try:
        return Metres(CameraMount(height, pitch, roll), None, fov, rotate, pitch)
    except MountError as error:
        raise click.UsageError(str(error)) from error


# --- How outputs look.

FAR_PERCENTILE, NEAR_PERCENTILE = 2.0, 98.0
FARTHEST_M = 1000.0  # of metres in a file or a picture: what is farther is unknown
NEAR_BOUNDS_M, FAR_BOUNDS_M = (
    bounds_of(HeatmapOptions, name) for name in ('metric_near', 'metric_far')
)
LEAST_RATIO = 1.5  # of the far end of colours in metres to the near one
MODE_CAPTIONS = {'relative': 'relative, near is warm', 'metric': 'metres'}


@dataclasses.dataclass(frozen=True)
class Look:
    """How outputs look, where metres come from, and whether pictures are judged."""

    heatmap: HeatmapOptions
    metres: Metres
    picture_check: bool = DepthNodeSettings().picture_check
    # Ends of the colours in metres that were not given: they are fitted to the picture.
    fits_near: bool = False
    fits_far: bool = False

    def fitted(self, inverse_depth_m: NDArray[np.float32]) -> HeatmapOptions:
        """Return the heatmap's options with open ends fitted to (h, w) float32 1/Z in 1/m."""
        known = inverse_depth_m[np.isfinite(inverse_depth_m)]
        if not (self.fits_near or self.fits_far) or not known.size:
            return self.heatmap
        low, high = np.maximum(np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE)), 1e-6)
        near, far = self.heatmap.metric_near, self.heatmap.metric_far
        if self.fits_near:
            most = NEAR_BOUNDS_M[1] if self.fits_far else far / LEAST_RATIO
            near = _rounded(min(max(1 / high, NEAR_BOUNDS_M[0]), most))
        if self.fits_far:
            least = max(LEAST_RATIO * near, FAR_BOUNDS_M[0])
            far = _rounded(min(max(1 / low, least), FAR_BOUNDS_M[1]))
        return dataclasses.replace(self.heatmap, metric_near=near, metric_far=far)

    def fit(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> ScaleShift | Refusal:
        """Return scale and shift of one picture's (h, w) float32, or why there are none."""
        if self.metres.asked and verdict.reason:
            return Refusal(f'the picture is {verdict.reason}')
        return self.metres.fit(inverse_depth)

    def closeness(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> Closeness:
        """Return the closeness of (h, w) float32, which is NaN where the picture is blind."""
        grid = self.metres.grid(inverse_depth.shape)
        return closeness_of_picture(inverse_depth, verdict.reason, grid, self.metres.pitch_rad)


def look_of(ctx: click.Context, values: dict[str, Any]) -> Look:
    """Return the look that a command's options ask for. Raises UsageError."""
    default = click.core.ParameterSource.DEFAULT
    heatmap, metres = heatmap_options(values), metres_of(values)
    if heatmap.mode == 'metric' and not (metres.asked or may_give_metres(values['model'])):
        raise click.UsageError(WITHOUT_METRES)
    return Look(
        heatmap,
        metres,
        values['picture_check'],
        fits_near=ctx.get_parameter_source('metric_near') is default,
        fits_far=ctx.get_parameter_source('metric_far') is default,
    )


WITHOUT_METRES = (
    '--mode metric needs metres: --camera-height, --camera-pitch and --horizontal-fov, '
    '--fixed-scale, or a model that gives metres'
)


def may_give_metres(model: str) -> bool:
    """Whether a model gives metres, by its name; a file may, until it is loaded."""
    if model in models.names():
        return models.spec(model).output is models.Output.METRIC_DEPTH
    return model != AUTO


def by_model(look: Look, estimator: DepthEstimator) -> Look:
    """Return the look with the metres of a loaded model, and warn where they are used.

    Raises UsageError where metres are needed and nothing gives them.
    """
    gives = estimator.gives is models.Output.METRIC_DEPTH
    metres = dataclasses.replace(
        look.metres,
        of_model=gives,
        reference_px=estimator.focal_reference_px,
        far_end=estimator.far_end,
    )
    if look.heatmap.mode == 'metric' and not metres.asked:
        raise click.UsageError(WITHOUT_METRES)
    if gives and not metres.measured:
        learned = f'learned {estimator.domain}' if estimator.domain else 'unverified'
        LOGGER.warning(
            '%s gives metres, %s: elsewhere they are wrong by a factor; --camera-height, '
            '--camera-pitch and --horizontal-fov measure them by the floor instead',
            *(estimator.model, learned),
        )
    return dataclasses.replace(look, metres=metres)


def heatmap_options(values: dict[str, Any]) -> HeatmapOptions:
    """Return the heatmap's options from a command's values. Raises UsageError on a conflict."""
    try:
        return build(
            HeatmapOptions, {spec.name: values[spec.name] for spec in specs(HeatmapOptions)}
        )
    except OptionFault as error:
        text = str(error).replace('heatmap.', '--').replace('_', '-')
        raise click.UsageError(text) from error


def nowhere_text(scale: ScaleShift, inverse_depth: NDArray[np.float32]) -> str:
    """Return why a scale gives no pixel of relative inverse depth (h, w) metres, '' if it does."""
    depth_z = scale.depth(inverse_depth, min_depth_m=0, max_depth_m=FARTHEST_M)
    return '' if np.isfinite(depth_z).any() else out_of_range_text(scale)


def out_of_range_text(scale: ScaleShift) -> str:
    """Return that a scale gives no metres, with what to check."""
    return (
        f'nothing is within the range by 1/Z = {scale.scale:.3g} d {scale.shift:+.3g} of '
        f'scale.source {scale.source}: check --fixed-scale and --fixed-shift, or the mount'
    )


def blind_text(verdict: Verdict) -> str:
    """Return why a picture, or a part of it, is blind, in the node's words; '' if it is not."""
    return f'blind: the picture is {verdict.reason}' if verdict.reason else verdict.partial_reason


def captions_of(title: str, model: str, mode: str, verdict: Verdict) -> tuple[str, str]:
    """Return the captions of a picture and of its heatmap."""
    return title, blind_text(verdict) or f'{model}: {MODE_CAPTIONS[mode]}'


def _rounded(metres: float) -> float:
    """Return two significant digits, for a legend."""
    return float(f'{metres:.2g}')
