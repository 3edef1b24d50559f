"""`midas_depth bag`: a bag in, the bag that `depth_node` would have given out.

Works with the node's own code and ROS's own message classes, so ROS's Python packages are needed;
no node is made and nothing goes over the network.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import midas_depth_ros
from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.output import reporting
from midas_depth_ros.images.sources import SourceError, UnclearTopic
from midas_depth_ros.images.sources.bag_cameras import BagCamera, depth_topics, find_cameras
from midas_depth_ros.images.sources.bag_messages import BagMessages, Recorded
from midas_depth_ros.nodes.declarations import specs
from midas_depth_ros.nodes.parameter_files import ParameterFault, read_parameters, settings_from
from midas_depth_ros.nodes.settings import DepthNodeSettings

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator
    from midas_depth_ros.nodes.bag_pipeline import Tally

NODE = 'depth_node'
STORAGES = ('sqlite3', 'mcap')
PIPE_WIDTH = 200  # columns where there is no terminal

HELP = """What depth_node makes of a bag, as a bag.

IN is a rosbag2 (sqlite3 or mcap; a folder or one file) or a .bag file of ROS 1. Every frame of its
cameras is processed, in order; OUT is a rosbag2 with the node's own topics and types, with the
stamps and times of receipt of IN. The same bag and parameters give the same bytes.

A camera is an image topic with a camera_info beside it; --topic and --camera choose others. Its
outputs are called after its namespace: /front/image_raw gives /front/heatmap/image and so on.

Parameters are those of depth_node. process_every_frame is always on; cameras and transport choose
topics, as --camera does; what belongs to a running node (rates of diagnostics, timeouts) has no
effect. Topics in metres have messages only where a scale is found.

Exit code: 0 all done, 1 some frames failed or the bag is damaged (what was done is kept),
2 wrong usage.
"""


def complete_parameter(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """The parameters whose names begin so, for the shell."""
    names = [spec.name for spec in specs(DepthNodeSettings)]
    return [f'{name}:=' for name in names if name.startswith(incomplete)]


@click.command(name='bag', help=HELP, context_settings={'show_default': True})
@click.argument('source', metavar='IN', type=click.Path(path_type=Path))
@click.argument('output', metavar='OUT', type=click.Path(path_type=Path))
@click.option('--topic', 'topics', multiple=True, help='Image topic; may be given several times.')
@click.option('--camera', 'cameras', multiple=True, help='Camera by its namespace; likewise.')
@click.option(
    '--params-file',
    'files',
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='ROS parameters file with a section depth_node or /**.',
)
@click.option(
    '-p',
    '--param',
    'assignments',
    multiple=True,
    metavar='NAME:=VALUE',
    shell_complete=complete_parameter,
    help='One parameter, over those of files: -p model:=embedded -p heatmap.colormap:=turbo.',
)
@click.option(
    '--only',
    multiple=True,
    metavar='OUTPUT',
    help='Write only this output, such as heatmap/image; may be given several times.',
)
@click.option(
    '--storage',
    type=click.Choice(STORAGES),
    default=None,
    show_default='that of IN, mcap for ROS 1',
    help='How OUT is stored.',
)
@click.option('--force', is_flag=True, help='Replace OUT if it is a bag.')
@click.pass_context
def bag(
    ctx: click.Context,
    source: Path,
    output: Path,
    topics: tuple[str, ...],
    cameras: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    only: tuple[str, ...],
    storage: str | None,
    force: bool,
) -> None:
    """Choose cameras, process the bag and print a table of what came of it."""
    try:
        known = [spec.name for spec in specs(DepthNodeSettings)]
        given = read_parameters(NODE, known, files, assignments)
        settings = settings_from(DepthNodeSettings, given)
    except ParameterFault as error:
        raise click.UsageError(str(error)) from error
    check_output(source, output, force)
    recorded = BagMessages(source)
    if not topics and not cameras and 'cameras' in given:
        cameras = settings.cameras
    transport = settings.transport if 'transport' in given else ''
    left_out = () if topics or cameras else depth_topics(recorded)
    try:
        chosen = find_cameras(recorded.topics, topics, cameras, transport, left_out)
    except UnclearTopic as error:
        raise CommandError(f'{source}: {error}') from error
    if storage is None:
        storage = recorded.storage if recorded.storage in STORAGES else 'mcap'
    done = process(recorded, output, settings, chosen, only, storage)
    ctx.exit(0 if done else 1)


def check_output(source: Path, output: Path, force: bool) -> None:
    """Raises CommandError where OUT must not be written."""
    here, there = os.path.realpath(source), os.path.realpath(output)
    if here == there or os.path.dirname(here) == there:
        raise CommandError(f'{output} is the input: name another folder')
    if output.exists() and not force:
        raise CommandError(f'{output} is there already: give --force to replace it')
    if output.exists() and not (output / 'metadata.yaml').is_file():
        raise CommandError(f'{output} is no rosbag2: it is not replaced')
    if not output.parent.is_dir():
        raise CommandError(f'{output.parent}: there is no such folder')


def process(
    source: BagMessages,
    output: Path,
    settings: DepthNodeSettings,
    cameras: list[BagCamera],
    only: tuple[str, ...],
    storage: str,
) -> bool:
    """Process the bag and say what came of it; whether everything went well.

    Raises CommandError where ROS is missing or OUT cannot be written, DepthError where there is no
    model.
    """
    ros = code_of_the_node()
    unknown = [name for name in only if name not in ros.bag_pipeline.OUTPUTS]
    if unknown:
        choices = ', '.join(ros.bag_pipeline.OUTPUTS)
        raise click.UsageError(f'--only {unknown[0]}: choose of {choices}')
    total = sum(source.counts[camera.image] for camera in cameras)
    faults: list[str] = []
    with (
        contextlib.closing(ros.depth_node.estimator_from(settings)) as estimator,
        reporting('frames', total) as report,
    ):
        if estimator.notice:
            report.say(estimator.notice)

        def fail(text: str) -> None:
            faults.append(text)
            report.say(text)

        try:
            pipeline = ros.bag_pipeline.BagPipeline(
                estimator, settings, cameras, only, fail, report.say
            )
            about = description(estimator)
            with ros.bag_writer.bag_writer(output, storage, pipeline.outputs, about) as writer:
                for recorded in until_damaged(in_order(source, cameras, pipeline.topics), fail):
                    for topic, message in pipeline.process(recorded):
                        writer.write(topic, recorded.time_ns, message)
                    if pipeline.is_picture(recorded):
                        report.advance()
        except ValueError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f'{output}: it cannot be written: {error}') from error
    tell(pipeline.tallies, writer.counts, output)
    return not faults and all(tally.processed for tally in pipeline.tallies)


def code_of_the_node() -> SimpleNamespace:
    """The modules that need ROS. Raises CommandError where it is missing."""
    try:
        from midas_depth_ros.nodes import bag_pipeline, bag_writer, depth_node
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error}: a bag is processed by the code of the node: source a ROS 2 installation, or '
            'pip install -r requirements/ros.txt'
        ) from error
    return SimpleNamespace(bag_pipeline=bag_pipeline, bag_writer=bag_writer, depth_node=depth_node)


def description(estimator: DepthEstimator) -> dict[str, str]:
    """What made the bag, for its metadata."""
    return {
        'midas_depth_ros': midas_depth_ros.__version__,
        'model': estimator.model,
        'backend': estimator.backend,
    }


def until_damaged(messages: Iterable[Recorded], fail: Callable[[str], None]) -> Iterator[Recorded]:
    """The messages up to where the bag cannot be read any more, which is said."""
    try:
        yield from messages
    except SourceError as error:
        fail(str(error))


def in_order(
    source: BagMessages, cameras: Iterable[BagCamera], topics: Collection[str]
) -> Iterator[Recorded]:
    """The messages of these topics, as recorded, but the first camera_info of each camera first.

    A driver sends it beside the picture; which of them is recorded first is chance.
    """
    infos = [first for camera in cameras if camera.info and (first := source.first(camera.info))]
    yield from infos
    yield from source.read(topics)


def tell(tallies: Iterable[Tally], counts: Mapping[str, int], output: Path) -> None:
    """Print what was processed and what was written."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    table = Table('camera', 'pictures', 'frames', 'processed', 'in metres', box=SIMPLE)
    for column in table.columns[2:]:
        column.justify = 'right'
    for tally in tallies:
        camera = tally.camera
        numbers = map(str, (tally.frames, tally.processed, tally.in_metres))
        table.add_row(camera.name, camera.image, *numbers)
    console.print(table)
    for tally in tallies:
        if tally.reason:
            click.echo(f'{tally.camera.name}: the last frame without metres: {tally.reason}')
    click.echo(
        f'{sum(counts.values())} messages on {sum(map(bool, counts.values()))} topics in {output}'
    )
