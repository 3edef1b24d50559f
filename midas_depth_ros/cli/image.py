"""`midas_depth image`: pictures in; heatmaps, overlays, depth and point clouds out, without ROS.

A picture that fails is reported and skipped. Inputs are never written to, and existing outputs are
kept unless --force is given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import io
import json
import math
import mimetypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from midas_depth_ros.cli.options import (
    ASSUMED_FOV_RAD,
    FAR_PERCENTILE,
    FIXED_SCALE,
    HEATMAP,
    MODEL,
    MOUNT,
    NEAR_PERCENTILE,
    PICTURE_CHECK,
    ROTATE,
    Look,
    SectionCommand,
    as_options,
    blind_text,
    by_model,
    captions_of,
    look_of,
    may_give_metres,
    model_file_option,
    node_parameters,
)
from midas_depth_ros.depth import DepthError
from midas_depth_ros.geometry import (
    Closeness,
    GeometryError,
    Refusal,
    ScaleShift,
    ply_bytes,
    point_cloud,
    turned,
)
from midas_depth_ros.images import BitDepth, ImageError, verdict_for
from midas_depth_ros.images.message_bytes import picture_reduced
from midas_depth_ros.images.sources import expanded_path
from midas_depth_ros.images.sources.pictures import (
    PICTURE_SUFFIXES,
    is_picture,
    natural_order,
    read_picture,
)
from midas_depth_ros.lab.output import (
    CommandError,
    Reporter,
    progress_bar,
    write_atomically,
    write_errors,
)
from midas_depth_ros.options.files import is_folder, is_there
from midas_depth_ros.options.text import printable
from midas_depth_ros.views import Heatmap, HeatmapOptions, ViewError, side_by_side

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator

# --- What is made of one picture: six files, each from one row of OUTPUTS.

OVERLAY_ALPHA = 0.5  # of the overlay, if none is given
HIGHEST_LEVEL = 65535
FARTHEST_M = 1000.0  # of a file of metres: what is farther is unknown
CLOUD_DEPTH_M = (0.05, 50.0)  # of the points of a cloud in metres
NEAREST, FARTHEST = 1.0, 10.0  # distances in a cloud without a scale
LONGEST_SIDES = {'.webp': 16_383, '.jpg': 65_500, '.jpeg': 65_500}  # pixels, by the formats


class Result:
    """One picture and its depth. What several outputs need is computed once.

    rgb: (H, W, 3) uint8, no side above `longest_side` (0 = as the picture is). answer: (h, w)
    float32 relative inverse depth at network size. inverse_depth: the same with NaN where the
    picture is blind. suffix: of the files of pictures.
    """

    def __init__(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        estimator: DepthEstimator,
        look: Look,
        longest_side: int = 0,
        suffix: str = '.png',
    ) -> None:
        self.name = name
        self.rgb = shrunk(rgb, longest_side)
        self.suffix = suffix
        self.look = look
        self.model = estimator.model
        self.answer = estimator.infer(rgb)
        self.verdict = verdict_for(estimator, rgb, check=look.picture_check)
        self.inverse_depth = self.verdict.masked(self.answer)
        self.enlarge = estimator.enlarge

    @functools.cached_property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) float32 relative inverse depth, as the node publishes it."""
        return self.enlarge(self.answer, self.rgb.shape[:2])

    @functools.cached_property
    def scale(self) -> ScaleShift | Refusal:
        """Scale and shift, or why there are none."""
        return self.look.fit(self.inverse_depth, self.verdict)

    @functools.cached_property
    def closeness(self) -> Closeness:
        """Closeness left, centre and right; NaN = unknown."""
        return self.look.closeness(self.inverse_depth, self.verdict)

    @functools.cached_property
    def heatmap(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return self.draw(self.look.heatmap)

    def draw(self, options: HeatmapOptions) -> NDArray[np.uint8]:
        """Return the heatmap with other options."""
        size, depth, scale = self.rgb.shape[:2], self.inverse_depth, None
        if options.mode == 'metric' and isinstance(self.scale, ScaleShift):
            scale = self.scale
            fitted = self.look.fitted(scale.inverse_depth(depth))
            near, far = fitted.metric_near, fitted.metric_far
            options = dataclasses.replace(options, metric_near=near, metric_far=far)
        return Heatmap().render(depth, self.rgb, 0.0, options, size, scale)


def closeness_json(near: Closeness) -> dict[str, float | str | None]:
    """Return closeness as in the HTTP API: null = unknown."""
    values = {'left': near.left, 'centre': near.centre, 'right': near.right}
    return {
        **{name: round(float(v), 4) if math.isfinite(v) else None for name, v in values.items()},
        'reason': near.reason,
    }


def heatmap_png(result: Result) -> bytes:
    """Return the heatmap."""
    return encoded(result.heatmap, result.suffix)


def overlay_png(result: Result) -> bytes:
    """Return the heatmap blended with the picture."""
    options = result.look.heatmap
    alpha = options.overlay_alpha or OVERLAY_ALPHA
    return encoded(result.draw(dataclasses.replace(options, overlay_alpha=alpha)), result.suffix)


def side_by_side_png(result: Result) -> bytes:
    """Return picture | heatmap, with captions and closeness."""
    near, mode = result.closeness, result.look.heatmap.mode
    captions = captions_of(result.name, result.model, mode, result.verdict)
    sectors = (near.left, near.centre, near.right)
    return encoded(side_by_side(result.rgb, result.heatmap, captions, sectors), result.suffix)


def depth_png(result: Result) -> bytes:
    """Return relative inverse depth in 16 bits, from the farthest (0) to the nearest (65535).

    The values of both are in the text fields `far` and `near` of the file.
    """
    far, near = float(result.depth.min()), float(result.depth.max())
    share = (result.depth - far) / ((near - far) or 1.0)
    about = PngImagePlugin.PngInfo()
    about.add_text('Description', 'relative inverse depth, no unit: far + v/65535 * (near - far)')
    about.add_text('far', repr(far))
    about.add_text('near', repr(near))
    buffer = io.BytesIO()
    levels = np.rint(share * HIGHEST_LEVEL).astype(np.uint16)
    Image.fromarray(levels).save(buffer, format='PNG', pnginfo=about)
    return buffer.getvalue()


def depth_npy(result: Result) -> bytes:
    """Return relative inverse depth, (H, W) float32."""
    buffer = io.BytesIO()
    np.save(buffer, result.depth)
    return buffer.getvalue()


def metres_npy(result: Result) -> bytes:
    """Return metres along the optical axis, (H, W) float32, NaN where unknown.

    Raises CommandError where there is no scale, or the picture is blind.
    """
    if isinstance(result.scale, Refusal):
        raise CommandError(f'no metres: {result.scale.reason}')
    d = result.enlarge(result.inverse_depth, result.rgb.shape[:2])
    depth_z = result.scale.depth(d, min_depth_m=0, max_depth_m=FARTHEST_M)
    buffer = io.BytesIO()
    np.save(buffer, depth_z)
    return buffer.getvalue()


def cloud_ply(result: Result) -> bytes:
    """Return coloured points at network size, without those that are blind.

    They are in metres with a scale, else without unit. Raises CommandError if the picture is blind,
    or if metres were requested and the fit was refused: a cloud without unit could be mistaken for
    one in metres.
    """
    depth, metres, scale = result.inverse_depth, result.look.metres, result.scale
    if not metres.asked:
        if result.verdict.reason:
            raise CommandError(f'no cloud: the picture is {result.verdict.reason}')
        known = depth[np.isfinite(depth)]
        far, near = np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE))
        share = np.clip((depth - far) / max(float(near - far), 1e-9), 0, 1)
        depth_z = 1 / (1 / FARTHEST + share * (1 / NEAREST - 1 / FARTHEST))
        unit = (
            f'unit: none. Relative shape only: the nearest was put at {NEAREST:g}, the farthest '
            f'at {FARTHEST:g}; scale and shift are unknown'
        )
    elif isinstance(scale, Refusal):
        raise CommandError(f'no cloud: no metric scale: {scale.reason}')
    else:
        depth_z = scale.depth(depth, min_depth_m=CLOUD_DEPTH_M[0], max_depth_m=CLOUD_DEPTH_M[1])
        unit = f'unit: metres, by {scale.source}: 1/Z = {scale.scale:.9g} d + {scale.shift:.9g}'
    fov = metres.horizontal_fov_rad
    fov_text = f'{ASSUMED_FOV_RAD:g} rad, assumed' if math.isnan(fov) else f'{fov:g} rad'
    comments = (unit, f'horizontal field of view {fov_text}', 'x right, y down, z forward')
    points = point_cloud(depth_z.astype(np.float32), metres.any_grid(depth.shape))
    return ply_bytes(points, picture_reduced(result.rgb, depth.shape), comments)


def encoded(rgb: NDArray[np.uint8], suffix: str = '.png') -> bytes:
    """Return a picture file of (H, W, 3) uint8 RGB. Raises CommandError."""
    size = f'{rgb.shape[1]}x{rgb.shape[0]} pixels'
    most = LONGEST_SIDES.get(suffix, max(rgb.shape))
    if max(rgb.shape) > most:
        raise CommandError(
            f'{size} are too large for {suffix}: its sides are limited to {most}; --max-side makes '
            'them smaller'
        )
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise CommandError(f'OpenCV cannot encode {size} as {suffix}')
    return bytes(data)


def shrunk(rgb: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 with no side above `longest_side` (0 = unchanged)."""
    height, width = rgb.shape[:2]
    factor = longest_side / max(height, width) if longest_side else 1.0
    if factor >= 1:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


# Name of an output -> the end of its file's name, and what makes it.
OUTPUTS: Final[dict[str, tuple[str, Callable[[Result], bytes]]]] = {
    'heatmap': ('_heatmap.png', heatmap_png),
    'overlay': ('_overlay.png', overlay_png),
    'side-by-side': ('_side_by_side.png', side_by_side_png),
    'depth16': ('_depth16.png', depth_png),
    'npy': ('_depth.npy', depth_npy),
    'metres': ('_metres.npy', metres_npy),
    'cloud': ('_cloud.ply', cloud_ply),
}
OUTPUT_ENDINGS: Final = tuple(ending for ending, _ in OUTPUTS.values())
# The suffixes of one output whose file is named.
PICTURES: Final = ('heatmap', 'overlay', 'side-by-side')
SUFFIXES: Final = {
    **dict.fromkeys(PICTURES, ('.png', '.jpg', '.jpeg', '.webp')),
    'depth16': ('.png',),
    'npy': ('.npy',),
    'metres': ('.npy',),
    'cloud': ('.ply',),
}
ALL_SUFFIXES: Final = sorted({each for suffixes in SUFFIXES.values() for each in suffixes})

# --- The inputs: files, folders and patterns.


def expand(named: Iterable[str]) -> list[Path | CommandError]:
    """Return the pictures in order, each once; what stands for none is replaced by the error.

    A folder gives its pictures in natural order, without subfolders and without outputs of an
    earlier run. A name that does not exist is tried as a pattern (**, * and ?), for shells that do
    not expand it.
    """
    found: dict[str, Path | CommandError] = {}
    for text in named:
        for each in _pictures_of(text):
            key = os.path.realpath(each) if isinstance(each, Path) else str(each)
            found.setdefault(key, each)
    return list(found.values())


def _pictures_of(text: str) -> list[Path | CommandError]:
    path = expanded_path(text)
    if not text:
        return [CommandError('a FILE has an empty name: no such file or folder')]
    if is_folder(path):
        return _of_folder(path)
    if is_there(path) or path.is_symlink():
        return [path]
    if not glob.has_magic(text):
        return [CommandError(f'{text}: no such file or folder')]
    matched = [found for found in _matches(path) if is_picture(found) and is_there(found)]
    if not matched:
        return [CommandError(f'{text}: no picture matches ({", ".join(PICTURE_SUFFIXES)})')]
    return [*sorted((each for each in matched if not is_folder(each)), key=natural_order)]


def _matches(pattern: Path) -> Iterable[Path]:
    """Return the matches of a pattern; ** does not follow links, which may form loops."""
    if '**' not in pattern.parts:
        return map(Path, glob.glob(str(pattern)))
    first = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    folder = Path(*pattern.parts[:first])
    found = folder.glob(str(Path(*pattern.parts[first:])))
    return [
        path
        for path in found
        if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    ]


def _of_folder(folder: Path) -> list[Path | CommandError]:
    try:
        pictures = _unmade_in(folder)
    except OSError as error:
        return [CommandError(f'cannot read the folder {folder}: {error.strerror}')]
    if not pictures:
        return [CommandError(f'{folder}: the folder holds no pictures (subfolders do not count)')]
    return [*sorted(pictures, key=natural_order)]


def _unmade_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder that are not outputs of an earlier run. Raises OSError."""
    pictures = [path for path in folder.iterdir() if is_picture(path)]
    return [path for path in pictures if not path.name.endswith(OUTPUT_ENDINGS)]


def output_names(pictures: list[Path]) -> dict[Path, str]:
    """Return the stems of the outputs of each picture, with its suffix where needed.

    IMG_1.HEIC and IMG_1.JPG are different pictures. Those beside a picture count as well, so that
    its outputs have the same names when it is processed alone.
    """
    known = dict.fromkeys(pictures)
    for folder in dict.fromkeys(each.parent for each in pictures):
        with contextlib.suppress(OSError):
            known |= dict.fromkeys(_unmade_in(folder))
    long: set[str] = set()  # names of pictures whose outputs have the suffix as well
    while True:
        names = {
            each: f'{each.stem}_{each.suffix[1:]}' if each.name in long else each.stem
            for each in known
        }
        shared: dict[str, set[str]] = {}
        for picture, name in names.items():
            shared.setdefault(name, set()).add(picture.name)
        more = {each for group in shared.values() if len(group) > 1 for each in group} - long
        if not more:
            return names
        long |= more


# --- The command.

# Errors of one picture; the others are still processed.
FAULTS = (ImageError, DepthError, GeometryError, ViewError, CommandError)

HELP = """Make heatmaps, depth and point clouds of pictures.

FILE is a picture, a folder of pictures or a pattern ('*.jpg'). The outputs of picture.jpg, all or
those given by --only, are:

\b
  heatmap       picture_heatmap.png       warm is near
  overlay       picture_overlay.png       the heatmap blended with the picture
  side-by-side  picture_side_by_side.png  picture | heatmap, with closeness
  depth16       picture_depth16.png       relative inverse depth, 0 to 65535
  npy           picture_depth.npy         relative inverse depth, float32
  metres        picture_metres.npy        metres, float32, NaN = unknown
  cloud         picture_cloud.ply         coloured points

They are at most --max-side pixels wide and high. For one picture and one output, -o may name a
file: -o result.png. The outputs of a.jpg and a.png in one folder are a_jpg_heatmap.png and
a_png_heatmap.png. Existing outputs are kept, so that an interrupted batch can be run again.

Relative inverse depth has no unit: larger is nearer, within one picture. The cloud has no unit
either, unless there is a scale: by --fixed-scale, or by --camera-height, --camera-pitch and
--horizontal-fov from the floor in view. If no floor is found there is no cloud, and the reason is
printed. Else a model that gives metres gives the scale: as good as the picture is like those it
learned from, and unverified. metres is made by such a model, or where --only names it.

Blind pictures (dark, overexposed, fogged, out of focus, covered) and blind parts of pictures are
reported with the reason: there, the heatmap is grey, closeness is unknown and the cloud has no
points. depth16 and npy contain the output of the network nevertheless.

With --mode metric, colours range from the nearest to the farthest distance in the picture, as shown
by the legend, unless --metric-near and --metric-far are given.

Exit code: 0 all done or already there, 1 some pictures failed, 2 wrong usage, 128 plus the number
of the signal that stopped it.
"""


@click.command(name='image', cls=SectionCommand, help=HELP, context_settings={'show_default': True})
@click.argument('files', metavar='FILE...', nargs=-1, required=True)
@click.option(
    '-o',
    '--output',
    type=click.Path(path_type=Path),
    default=Path('midas_depth_output'),
    help='Folder for the outputs, created if needed. For one picture also a file.',
)
@click.option(
    '--only',
    type=click.Choice(list(OUTPUTS)),
    multiple=True,
    help='Make only this output; may be repeated.',
)
@click.option('--force', is_flag=True, help='Overwrite existing outputs.')
@click.option(
    '--max-side',
    type=click.IntRange(0, 65_535),
    default=1280,
    help='Limit of width and height of the outputs; 0 = as large as the picture. [px]',
)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@node_parameters('Model', *MODEL)
@model_file_option
@node_parameters('Heatmap', *HEATMAP)
@node_parameters('Mounting', ROTATE)
@node_parameters('Metres', *MOUNT)
@node_parameters('Metres', *FIXED_SCALE, unset=True)
@node_parameters('Blindness', PICTURE_CHECK)
@click.pass_context
def image(
    ctx: click.Context,
    files: tuple[str, ...],
    output: Path,
    only: tuple[str, ...],
    force: bool,
    max_side: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Process the pictures one by one, and print a summary."""
    look = look_of(ctx, values)
    inputs = expand(files)
    unasked = () if may_give_metres(values['model']) else ('metres',)
    wanted = only or [name for name in OUTPUTS if name not in unasked]
    wanted = tuple(name for name in OUTPUTS if name in wanted)
    name = named_output(output, only, len(inputs))
    file = output if name else None
    wanted = (name,) if name else wanted
    folder = output.parent if name else output
    named = bool(only or name)
    batch = Batch(folder, file, wanted, force, max_side, look, inputs, values, as_json, named)
    done = batch.run()
    if as_json:
        found = {'done': done, 'kept': batch.kept, 'output': str(output), 'pictures': batch.found}
        click.echo(json.dumps(found))
    else:
        kept = f', {batch.kept} already there (use --force to overwrite)' if batch.kept else ''
        line = f'{done} of {len(inputs)} done{kept}: {", ".join(batch.wanted)} in {output}'
        click.echo(printable(line))
    ctx.exit(0 if done + batch.kept == len(inputs) else 1)


def named_output(output: Path, only: tuple[str, ...], pictures: int) -> str:
    """Return the output whose file -o names; '' if -o names a folder. Raises UsageError."""
    suffix, choices = output.suffix.lower(), ', '.join(f'*{each}' for each in ALL_SUFFIXES)
    if is_folder(output):
        return ''
    if suffix not in ALL_SUFFIXES:
        kind = mimetypes.MimeTypes().guess_type(output.name)[0] or ''
        if kind.startswith(('image/', 'video/')) or suffix in PICTURE_SUFFIXES:
            raise click.UsageError(
                f'-o {output}: cannot write {output.suffix}: use {choices}, or a folder'
            )
        if is_there(output):
            raise click.UsageError(f'-o {output} is a file: use a folder, or {choices}')
        return ''
    if pictures > 1:
        raise click.UsageError(
            f'-o {output} is one file, but there are {pictures} pictures: use a folder'
        )
    fitting = [name for name in OUTPUTS if suffix in SUFFIXES[name]]
    if len(only) > 1:
        raise click.UsageError(f'-o {output} is one file: give one --only, or use a folder')
    if only and only[0] not in fitting:
        raise click.UsageError(
            f'-o {output}: {only[0]} is written as {", ".join(SUFFIXES[only[0]])}'
        )
    return only[0] if only else fitting[0]


@dataclasses.dataclass
class Batch:
    """The pictures of one call. `file` is written instead of files in `folder`, if given."""

    folder: Path
    file: Path | None
    wanted: tuple[str, ...]
    force: bool
    longest_side: int
    look: Look
    inputs: list[Path | CommandError]
    values: dict[str, Any]
    as_json: bool
    named: bool = False  # whether --only or -o name the outputs
    kept: int = 0  # pictures whose outputs existed already
    found: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # per picture, for JSON

    def __post_init__(self) -> None:
        pictures = [each for each in self.inputs if isinstance(each, Path)]
        self._given = {os.path.realpath(each) for each in pictures}
        self._names = output_names(pictures)
        self._made: dict[Path, Path] = {}  # output -> its picture

    def run(self) -> int:
        """Return how many were done; the others are reported. Raises DepthError without a model."""
        from midas_depth_ros.cli.options import estimator_of

        # Before the progress bar, since a model may be downloaded; not if there is nothing to do.
        to_do = any(isinstance(each, Path) and self._is_to_do(each) for each in self.inputs)
        estimator = estimator_of(self.values) if to_do else None
        if estimator is not None:
            self.look = by_model(self.look, estimator)
            if not self.named and not self.look.metres.of_model:
                self.wanted = tuple(name for name in self.wanted if name != 'metres')
        done = 0
        with progress_bar('pictures', len(self.inputs)) as report:
            for each in self.inputs:
                about: dict[str, Any] = {}
                if isinstance(each, CommandError):
                    lines = [fault_text(each)]
                else:
                    faults = self._process(each, estimator, about, report)
                    lines = [f'{each}: {fault_text(fault)}' for fault in faults]
                for line in lines:
                    report.print(line)
                if self.as_json:
                    self.found.append({**about, 'faults': lines})
                is_kept = bool(about.get('kept')) and not about['made'] and not lines
                self.kept += is_kept
                done += not lines and not is_kept
                report.advance()
        return done

    def _process(
        self,
        picture: Path,
        estimator: DepthEstimator | None,
        about: dict[str, Any],
        report: Reporter,
    ) -> list[Exception]:
        """Process one picture; returns its faults, and fills `about` for JSON."""
        about['picture'] = str(picture)
        try:
            paths, kept = self._paths_of(picture)
            about |= {'kept': [path.name for path in kept], 'made': []}
            self._made |= dict.fromkeys(kept, picture)
            if kept:
                report.print(f'{picture}: already in {self.folder}: {", ".join(about["kept"])}')
            if not paths or estimator is None:
                return []
            bit_depth = BitDepth(self.values['bit_depth'])  # a new guess for each picture
            rgb = read_picture(picture, self.values['max_pixels'], bit_depth)
            rgb = turned(rgb, self.values['rotate'])
            suffix = self.file.suffix.lower() if self.file else '.png'
            result = Result(picture.name, rgb, estimator, self.look, self.longest_side, suffix)
            blind = blind_text(result.verdict)
            if blind:
                report.print(f'{picture}: {blind}')
            if self.as_json:
                about |= {
                    'width': rgb.shape[1],
                    'height': rgb.shape[0],
                    'model': result.model,
                    'closeness': closeness_json(result.closeness),
                    'blind': result.verdict.text,
                }
            with write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        except FAULTS as error:
            return [error]
        faults: list[Exception] = []
        for name, path in paths.items():
            try:
                write_atomically(path, OUTPUTS[name][1](result))
                self._made[path] = picture
                about['made'].append(path.name)
            except FAULTS as error:
                faults.append(error)
        return faults

    def _is_to_do(self, picture: Path) -> bool:
        """Return whether an output of the picture would be made."""
        try:
            return bool(self._paths_of(picture)[0])
        except CommandError:
            return False

    def _paths_of(self, picture: Path) -> tuple[dict[str, Path], list[Path]]:
        """Return the paths of its outputs, and those that exist and are kept.

        Raises CommandError if they belong to another picture, or would overwrite an input.
        """
        name = self._names[picture]
        paths = {each: self.folder / (name + OUTPUTS[each][0]) for each in self.wanted}
        if self.file:
            paths = dict.fromkeys(self.wanted, self.file)
        for path in paths.values():
            other = self._made.get(path, picture)
            if other != picture:
                raise CommandError(
                    f'{path} is an output of {other}: use different names or folders'
                )
            if os.path.realpath(path) in self._given:
                raise CommandError(f'{path} is one of the inputs: use another folder for -o')
        kept = [] if self.force else [path for path in paths.values() if is_there(path)]
        if kept and self.file:
            raise CommandError(f'{self.file} already exists: use --force to overwrite it')
        return {each: path for each, path in paths.items() if path not in kept}, kept


def fault_text(error: Exception) -> str:
    """Return an error in one line, with options in place of parameters."""
    return as_options(' '.join(str(error).split()))
