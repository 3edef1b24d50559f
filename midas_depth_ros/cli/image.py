"""`midas_depth image`: pictures in; heatmaps, overlays, depth and point clouds out, without ROS.

A picture that fails is reported and skipped. Inputs are never written to, and existing outputs are
kept unless --force is given.
"""

from __future__ import annotations

import dataclasses
import json
import mimetypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midas_depth_ros.cli.image_inputs import expand, output_names
from midas_depth_ros.cli.image_outputs import (
    ALL_SUFFIXES,
    OUTPUTS,
    PICTURES,
    SUFFIXES,
    Result,
    closeness_json,
)
from midas_depth_ros.cli.options import (
    FIXED_SCALE,
    HEATMAP,
    MODEL,
    MOUNT,
    PICTURE_CHECK,
    ROTATE,
    Look,
    SectionCommand,
    as_options,
    blind_text,
    by_model,
    look_of,
    may_give_metres,
    model_file_option,
    node_parameters,
    nowhere_text,
)
from midas_depth_ros.depth import DepthError
from midas_depth_ros.geometry import (
    GeometryError,
    ScaleShift,
    turned,
)
from midas_depth_ros.images import BitDepth, ImageError
from midas_depth_ros.images.sources.pictures import (
    PICTURE_SUFFIXES,
    read_picture,
)
from midas_depth_ros.lab.output import (
    CommandError,
    Reporter,
    progress_bar,
    write_atomically,
    write_errors,
)
from midas_depth_ros.lab.stopping import signals_held
from midas_depth_ros.options.files import is_folder, is_there
from midas_depth_ros.options.text import printable
from midas_depth_ros.views import ViewError

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator

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

With --mode metric, colours range from the 2nd to the 98th percentile of the distances in the
picture, as shown by the legend, unless --metric-near and --metric-far are given.

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
            with signals_held():
                result = Result(picture.name, rgb, estimator, self.look, self.longest_side, suffix)
            blind = blind_text(result.verdict)
            if blind:
                report.print(f'{picture}: {blind}')
            no_metres = self._no_metres(result)
            if no_metres and not blind:
                seen = 'shows' if isinstance(result.scale, ScaleShift) else 'is grey,'
                report.print(f'{picture}: the heatmap {seen} no metres: {no_metres}')
            if self.as_json:
                about |= {
                    'width': rgb.shape[1],
                    'height': rgb.shape[0],
                    'model': result.model,
                    'closeness': closeness_json(result.closeness),
                    'blind': result.verdict.text,
                    'no_metres': no_metres,
                }
            with write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        except FAULTS as error:
            return [error]
        faults: list[Exception] = []
        for name, path in paths.items():
            try:
                with signals_held():
                    content = OUTPUTS[name][1](result)
                write_atomically(path, content)
                self._made[path] = picture
                about['made'].append(path.name)
            except FAULTS as error:
                faults.append(error)
        return faults

    def _no_metres(self, result: Result) -> str:
        """Why a heatmap that is asked for in metres has none; ''."""
        drawn = any(name in PICTURES for name in self.wanted)
        if not drawn or self.look.heatmap.mode != 'metric':
            return ''
        if isinstance(result.scale, ScaleShift):
            return nowhere_text(result.scale, result.inverse_depth)
        return as_options(result.scale.reason)

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
