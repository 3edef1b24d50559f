"""`midas_depth image`: pictures in; heatmaps, overlays, depth and point clouds out. No ROS.

A picture that cannot be done is named with its fault and skipped. Inputs are never written to, and
what is there already is only overwritten with --force.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.help_sections import SectionCommand
from midas_depth_ros.commands.image_inputs import expand
from midas_depth_ros.commands.image_outputs import (
    OUTPUTS,
    Look,
    Result,
    blind_words,
    closeness_json,
)
from midas_depth_ros.commands.metres import metres_of
from midas_depth_ros.commands.output import Reporter, refusing, reporting, write_whole
from midas_depth_ros.commands.parameter_options import (
    FIXED_SCALE,
    MODEL,
    MOUNT,
    PICTURE_CHECK,
    ROTATE,
    heatmap_options,
    heatmap_parameters,
    node_parameters,
)
from midas_depth_ros.depth import DepthError
from midas_depth_ros.geometry import GeometryError, turned
from midas_depth_ros.images import BitDepth, ImageError
from midas_depth_ros.images.errors import printable
from midas_depth_ros.images.files import is_there
from midas_depth_ros.images.sources.pictures import read_picture
from midas_depth_ros.views import ViewError

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator

# What one bad picture may come to; the others are done all the same.
FAULTS = (ImageError, DepthError, GeometryError, ViewError, CommandError)

HELP = """Heatmap, depth and point cloud of pictures.

FILE is a picture, a folder of pictures or a pattern ('*.jpg'). Of picture.jpg these are made, all
or those named by --only:

\b
  heatmap       picture_heatmap.png       warm is near
  overlay       picture_overlay.png       with the picture shining through
  side-by-side  picture_side_by_side.png  picture | heatmap, with closeness
  depth16       picture_depth16.png       relative inverse depth, 0 to 65535
  npy           picture_depth.npy         relative inverse depth as it is, float32
  cloud         picture_cloud.ply         coloured points

Relative inverse depth has no unit: larger is nearer, within one picture. The cloud has none either,
unless a scale is given: --camera-height, --camera-pitch and --horizontal-fov (metres by the floor
in view; where no floor can be fitted there is no cloud, and it is said why), or --fixed-scale.

A picture that says nothing about depth (dark, white, fogged, out of focus, covered), or a part of
which does not, is named with the reason: there its heatmap is grey and closeness unknown, and there
are no points. depth16 and npy are what the network says all the same.

Exit code: 0 all done, 1 some pictures failed, 2 wrong usage, 128 plus the number of the signal that
stopped it.
"""


@click.command(name='image', cls=SectionCommand, help=HELP, context_settings={'show_default': True})
@click.argument('files', metavar='FILE...', nargs=-1, required=True)
@click.option(
    '-o',
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=Path('midas_depth_output'),
    help='Folder of what is made; it comes into being if it must.',
)
@click.option(
    '--only',
    type=click.Choice(list(OUTPUTS)),
    multiple=True,
    help='Make only this; may be given several times.',
)
@click.option('--force', is_flag=True, help='Overwrite what an earlier run made.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@node_parameters('Model', *MODEL)
@heatmap_parameters
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
    as_json: bool,
    **values: Any,
) -> None:
    """Do the pictures one by one and say what came of it."""
    look = Look(heatmap_options(values), metres_of(values), values['picture_check'])
    if look.heatmap.mode == 'metric' and not look.metres.asked:
        raise click.UsageError(
            '--mode metric needs metres: --camera-height, --camera-pitch and --horizontal-fov, or '
            '--fixed-scale'
        )
    wanted = tuple(name for name in OUTPUTS if not only or name in only)
    inputs = expand(files, leave_out=[ending for ending, _ in OUTPUTS.values()])
    batch = Batch(output, wanted, force, look, inputs, values, as_json)
    done = batch.run()
    if as_json:
        found = {'done': done, 'output': str(output), 'pictures': batch.found}
        click.echo(json.dumps(found))
    else:
        click.echo(printable(f'{done} of {len(inputs)} done: {", ".join(wanted)} in {output}'))
    ctx.exit(0 if done == len(inputs) else 1)


class Batch:
    """The pictures of one call, and what has been written for them."""

    def __init__(
        self,
        folder: Path,
        wanted: tuple[str, ...],
        force: bool,
        look: Look,
        inputs: list[Path | CommandError],
        values: dict[str, Any],
        as_json: bool,
    ) -> None:
        self._folder = folder
        self._wanted = wanted
        self._force = force
        self._look = look
        self._inputs = inputs
        self._values = values
        self._as_json = as_json
        self._given = {os.path.realpath(each) for each in inputs if isinstance(each, Path)}
        self._made: dict[Path, Path] = {}  # output -> the picture it is of
        self.found: list[dict[str, Any]] = []  # of each picture, as JSON has it

    def run(self) -> int:
        """How many were done; the others are named. Raises DepthError where there is no model."""
        from midas_depth_ros.commands.model import estimator_of

        # Before the bar, for a model may be fetched; not for names behind which nothing is.
        there = any(isinstance(each, Path) for each in self._inputs)
        estimator = estimator_of(self._values) if there else None
        done = 0
        with reporting('pictures', len(self._inputs)) as report:
            for each in self._inputs:
                faults: list[Exception] = []
                about: dict[str, Any] = {}
                if isinstance(each, CommandError):
                    faults = [each]
                elif estimator is not None:
                    faults = self._do(each, estimator, about, report)
                lines = [fault_line(each, fault) for fault in faults]
                for line in lines:
                    report.say(line)
                if self._as_json:
                    self.found.append({**about, 'faults': lines})
                done += not faults
                report.advance()
        return done

    def _do(
        self, picture: Path, estimator: DepthEstimator, about: dict[str, Any], report: Reporter
    ) -> list[Exception]:
        """Do one picture; what went wrong with it. `about` is filled with what JSON tells of it."""
        about['picture'] = str(picture)
        try:
            paths = self._paths_of(picture)
            bit_depth = BitDepth(self._values['bit_depth'])  # each is a picture for itself
            rgb = read_picture(picture, self._values['max_pixels'], bit_depth)
            rgb = turned(rgb, self._values['rotate'])
            result = Result(picture.name, rgb, estimator, self._look)
            blind = blind_words(result.verdict)
            if blind:
                report.say(f'{picture}: {blind}')
            if self._as_json:
                about |= {
                    'width': rgb.shape[1],
                    'height': rgb.shape[0],
                    'model': result.model,
                    'closeness': closeness_json(result.closeness),
                    'blind': result.verdict.text,
                }
            with refusing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
        except FAULTS as error:
            return [error]
        faults: list[Exception] = []
        for name, path in paths.items():
            try:
                write_whole(path, OUTPUTS[name][1](result))
            except FAULTS as error:
                faults.append(error)
        return faults

    def _paths_of(self, picture: Path) -> dict[str, Path]:
        """Where its outputs go. Raises CommandError where that is not free."""
        paths = {name: self._folder / (picture.stem + OUTPUTS[name][0]) for name in self._wanted}
        for path in paths.values():
            other = self._made.setdefault(path, picture)
            if other != picture:
                raise CommandError(
                    f'{path} is that of {other}: give them different names or folders'
                )
            if os.path.realpath(path) in self._given:
                raise CommandError(f'{path} is one of the inputs: name another folder by -o')
        there = [path.name for path in paths.values() if is_there(path)]
        if there and not self._force:
            raise CommandError(
                f'there already in {self._folder}: {", ".join(there)}: give --force to overwrite'
            )
        return paths


def fault_line(each: Path | CommandError, error: Exception) -> str:
    """One line: which picture, and what is wrong with it."""
    text = ' '.join(str(error).split())
    return text if isinstance(each, CommandError) else f'{each}: {text}'
