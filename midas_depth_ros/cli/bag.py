"""`midas_depth bag`: a bag in, a bag with what `depth_node` would have published out.

It uses the node's code and ROS's message classes, so ROS's Python packages are required; no node
is started and nothing goes over the network. The code of the node is imported when it runs.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import midas_depth_ros
from midas_depth_ros.cli.options import in_radians
from midas_depth_ros.images.sources import UnclearTopic
from midas_depth_ros.images.sources.bag import (
    BagCamera,
    depth_topics,
    find_cameras,
    in_order,
    until_damaged,
)
from midas_depth_ros.images.sources.bag_messages import BagMessages, strangers_in
from midas_depth_ros.lab.output import (
    CommandError,
    check_outside,
    check_target,
    move_into_place,
    progress_bar,
    temporary_beside,
    write_errors,
)
from midas_depth_ros.lab.stopping import signals_held
from midas_depth_ros.options.declarations import specs, specs_for_names, unknown_in_groups
from midas_depth_ros.options.depth import DepthNodeSettings, apply_cpu_budget, parse_cpus
from midas_depth_ros.options.files import (
    ParameterFault,
    UnreadableFile,
    is_there,
    read_values,
    settings_from,
)
from midas_depth_ros.options.text import check_camera_names, printable, shown

if TYPE_CHECKING:
    from midas_depth_ros.nodes.bag.pipeline import CameraCounts

PIPE_WIDTH = 200  # columns where there is no terminal


def process(
    source: BagMessages,
    output: Path,
    settings: DepthNodeSettings,
    cameras: list[BagCamera],
    only: tuple[str, ...],
    storage: str,
    compression: str,
    overrides: Mapping[str, Any],
) -> bool:
    """Process the bag and print a summary; returns whether everything succeeded.

    overrides: parameters of `qos_overrides`, for the offered QoS of the outputs.

    Raises CommandError if ROS is missing, a parameter is not supported here, or OUT cannot be
    written, and DepthError without a model.
    """
    try:
        from midas_depth_ros.nodes.bag import pipeline as bag_pipeline
        from midas_depth_ros.nodes.bag import writer as bag_writer
        from midas_depth_ros.nodes.depth.node import estimator_from
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error}: processing a bag needs ROS 2: source a ROS 2 installation, or '
            'pip install -r requirements/ros.txt'
        ) from error
    unknown = [name for name in only if name not in bag_pipeline.OUTPUTS]
    if unknown:
        choices = ', '.join(bag_pipeline.OUTPUTS)
        raise click.UsageError(f'--only {unknown[0]}: unknown output; choose from {choices}')
    as_command_error(apply_cpu_budget, settings.niceness, parse_cpus(settings.cpu_affinity))
    total = sum(source.counts[camera.image] for camera in cameras)
    faults: list[str] = []
    with (
        contextlib.closing(estimator_from(settings)) as estimator,
        progress_bar('frames', total) as report,
    ):
        for note in filter(None, (estimator.notice, *source.notes)):
            report.print(note)

        def fail(text: str) -> None:
            faults.append(text)
            report.print(text)

        make = bag_pipeline.BagPipeline
        pipeline = as_command_error(
            make, estimator, settings, cameras, only, fail, report.print, overrides
        )
        messages = until_damaged(in_order(source, cameras, pipeline.topics), fail)
        about = {
            'midas_depth_ros': midas_depth_ros.__version__,
            'model': estimator.model,
            'backend': estimator.backend,
        }
        with temporary_beside(output) as part:
            to_bag = bag_writer.bag_writer(part, storage, pipeline.outputs, about, compression)
            with write_errors(output), to_bag as writer:
                for recorded in messages:
                    with signals_held():
                        for topic, message in pipeline.process(recorded):
                            writer.write(topic, recorded.time_ns, message)
                    if pipeline.is_image(recorded):
                        report.advance()
            move_into_place(part / bag_writer.FILE_NAME, output)
    if source.damage:
        frames = sum(each.frames for each in pipeline.camera_counts)
        report.print(f'{source.path}: {frames} images of the damaged bag were recovered')
    print_summary(pipeline.camera_counts, writer.counts, output)
    return not faults and all(each.processed for each in pipeline.camera_counts)


def as_command_error(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call; a ValueError about a parameter becomes CommandError."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise CommandError(str(error)) from error


def print_summary(
    camera_counts: Collection[CameraCounts], counts: Mapping[str, int], output: Path
) -> None:
    """Print what was processed and what was written."""
    text = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    table = Table('camera', 'pictures', 'frames', 'processed', 'in metres', box=SIMPLE)
    for column in table.columns[2:]:
        column.justify = 'right'
    for each in camera_counts:
        camera = each.camera
        numbers = map(str, (each.frames, each.processed, each.in_metres))
        table.add_row(Text(printable(camera.name)), Text(printable(camera.image)), *numbers)
    Console(file=text, width=width).print(table)
    click.echo(text.getvalue(), nl=False)
    for each in camera_counts:
        if not each.frames:
            click.echo(printable(f'{each.camera.name}: no message on {each.camera.image}'))
        if each.reason:
            reason = f'{each.camera.name}: last frame without metres: {each.reason}'
            click.echo(printable(reason))
    topics = sum(map(bool, counts.values()))
    click.echo(printable(f'{sum(counts.values())} messages on {topics} topics in {output}'))


NODE = 'depth_node'
OVERRIDES = 'qos_overrides.'
STORAGES = ('sqlite3', 'mcap')
COMPRESSIONS = ('zstd', 'lz4', 'none')  # of the chunks of an MCAP file, which have an index

HELP = """Write a bag with what depth_node would publish for every frame.

IN is a rosbag2 (sqlite3 or mcap; a folder or one file) or a .bag file of ROS 1. All frames of its
cameras are processed in order; OUT is a rosbag2 with the node's topics and types, and the stamps
and receipt times of IN. The same bag and parameters give the same bytes.

A camera is an image topic with a camera_info in the same namespace; --topic and --camera choose
others. Outputs are in its namespace: /front/image_raw gives /front/heatmap/image and so on.

Parameters are those of depth_node. process_every_frame is always on; cameras and transport choose
topics, as --camera does, and mounts.<camera>.* describe the mounts of these cameras. Parameters of
a running node (rates of diagnostics, timeouts) have no effect. Topics in metres have messages only
while there is a metric scale.

Exit code: 0 all done, 1 some frames failed or the bag is damaged (the others are kept), 2 wrong
usage, 128 plus the number of the signal that stopped it.
"""


def complete_parameter(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the parameters whose names begin like this, for shell completion."""
    names = [spec.name for spec in specs(DepthNodeSettings)]
    return [f'{name}:=' for name in names if name.startswith(incomplete)]


@click.command(name='bag', help=HELP, context_settings={'show_default': True})
@click.argument('source', metavar='IN', type=click.Path(path_type=Path))
@click.argument('output', metavar='OUT', type=click.Path(path_type=Path))
@click.option('--topic', 'topics', multiple=True, help='Image topic; may be repeated.')
@click.option('--camera', 'cameras', multiple=True, help='Namespace of a camera; may be repeated.')
@click.option(
    '--params-file',
    'files',
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='ROS parameters file with a section for depth_node or a wildcard.',
)
@click.option(
    '--namespace',
    default='',
    show_default='that of depth_node in the files',
    help='Namespace of depth_node, to choose the sections of the files.',
)
@click.option(
    '-p',
    '--param',
    'assignments',
    multiple=True,
    metavar='NAME:=VALUE',
    shell_complete=complete_parameter,
    help='A parameter, which overrides the files: -p model:=embedded -p camera_pitch:=10deg.',
)
@click.option(
    '--only',
    multiple=True,
    metavar='OUTPUT',
    help='Write only this output, such as heatmap/image; may be repeated.',
)
@click.option(
    '--storage',
    type=click.Choice(STORAGES),
    default=None,
    show_default='that of IN, mcap for ROS 1',
    help='Storage of OUT.',
)
@click.option(
    '--compression',
    type=click.Choice(COMPRESSIONS),
    default=None,
    show_default=COMPRESSIONS[0],
    help='Compression of the chunks of an mcap.',
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
    namespace: str,
    assignments: tuple[str, ...],
    only: tuple[str, ...],
    storage: str | None,
    compression: str | None,
    force: bool,
) -> None:
    """Choose cameras, process the bag and print a summary."""
    try:
        angles = tuple(map(in_radians, assignments))
        values = read_values(NODE, DepthNodeSettings, files, angles, namespace)
        known = specs_for_names(DepthNodeSettings, values)
        given = {name: value for name, value in values.items() if name in known}
        settings = settings_from(DepthNodeSettings, given)
    except ParameterFault as error:
        raise click.UsageError(str(error)) from error
    check_output(source, output, files, force)
    recorded = BagMessages(source)
    check_outside(output, recorded.folders, recorded.paths)
    if not topics and not cameras and 'cameras' in given:
        cameras = settings.cameras
    transport = settings.transport if 'transport' in given else ''
    left_out = () if topics and not cameras else depth_topics(recorded)
    try:
        chosen = find_cameras(recorded.topics, topics, cameras, transport, left_out)
    except UnclearTopic as error:
        raise CommandError(f'{source}: {error}') from error
    complaint = check_camera_names([camera.name for camera in chosen])
    if complaint:
        raise CommandError(
            f'{source}: unsuitable name of a camera, which comes from its topic: {complaint}'
        )
    named = {camera.name for camera in chosen}.union(given.get('cameras', ()))
    unknown = unknown_in_groups(DepthNodeSettings, given, {'cameras': sorted(named)})
    if unknown:
        raise click.UsageError(unknown)
    if storage is None:
        storage = recorded.storage if recorded.storage in STORAGES else 'mcap'
    if storage != 'mcap' and compression not in (None, 'none'):
        raise click.UsageError(f'{storage} does not support --compression: use --storage mcap')
    compression = compression or COMPRESSIONS[0]
    overrides = {name: value for name, value in values.items() if name.startswith(OVERRIDES)}
    done = process(recorded, output, settings, chosen, only, storage, compression, overrides)
    ctx.exit(0 if done else 1)


def check_output(source: Path, output: Path, files: Sequence[Path], force: bool) -> None:
    """Raise CommandError if OUT must not be written, or anything would be lost with the old one.

    files: of parameters.
    """
    check_target(output, (source, *files), force)
    if not is_there(output):
        return
    try:
        strangers = strangers_in(output)
    except (UnreadableFile, OSError) as error:
        raise CommandError(f'{output} is not a rosbag2: it is not replaced ({error})') from error
    if strangers:
        raise CommandError(
            f'{output} holds {shown(strangers[0])} beside its recording: it is not replaced; move '
            'that, or use another folder'
        )
