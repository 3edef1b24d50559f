"""`midas_depth bag`: a bag in, the bag that `depth_node` would have given out.

Works with the node's own code and ROS's own message classes, so ROS's Python packages are needed;
no node is made and nothing goes over the network.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from midas_depth_ros.commands.bag_run import process
from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.parameter_options import in_radians
from midas_depth_ros.images.sources import UnclearTopic
from midas_depth_ros.images.sources.bag import depth_topics, find_cameras
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.options.declarations import specs, specs_of, strangers
from midas_depth_ros.options.depth import DepthNodeSettings, check_camera_names
from midas_depth_ros.options.files import is_folder, is_there
from midas_depth_ros.options.parameter_files import ParameterFault, read_values, settings_from

NODE = 'depth_node'
OVERRIDES = 'qos_overrides.'
STORAGES = ('sqlite3', 'mcap')
COMPRESSIONS = ('zstd', 'lz4', 'none')  # of the chunks of an MCAP file, which have an index

HELP = """Bag to bag: what depth_node would publish of every frame.

IN is a rosbag2 (sqlite3 or mcap; a folder or one file) or a .bag file of ROS 1. Every frame of its
cameras is processed, in order; OUT is a rosbag2 with the node's own topics and types, with the
stamps and times of receipt of IN. The same bag and parameters give the same bytes.

A camera is an image topic with a camera_info beside it; --topic and --camera choose others. Its
outputs are called after its namespace: /front/image_raw gives /front/heatmap/image and so on.

Parameters are those of depth_node. process_every_frame is always on; cameras and transport choose
topics, as --camera does, and mounts.<camera>.* tell how one of these is mounted; what belongs to a
running node (rates of diagnostics, timeouts) has no effect. Topics in metres have messages only
where a scale is found.

Exit code: 0 all done, 1 some frames failed or the bag is damaged (what was done is kept),
2 wrong usage, 128 plus the number of the signal that stopped it.
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
    help='ROS parameters file with a section for depth_node, by its name or a wildcard.',
)
@click.option(
    '--namespace',
    default='',
    show_default='the one in which the files name depth_node',
    help='Namespace of the depth_node whose sections of the files are meant.',
)
@click.option(
    '-p',
    '--param',
    'assignments',
    multiple=True,
    metavar='NAME:=VALUE',
    shell_complete=complete_parameter,
    help='One parameter, over those of files: -p model:=embedded -p camera_pitch:=10deg.',
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
@click.option(
    '--compression',
    type=click.Choice(COMPRESSIONS),
    default=None,
    show_default=COMPRESSIONS[0],
    help='Of the chunks of an mcap; readers of MCAP know all of them.',
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
    """Choose cameras, process the bag and print a table of what came of it."""
    try:
        angles = tuple(map(in_radians, assignments))
        values = read_values(NODE, DepthNodeSettings, files, angles, namespace)
        known = specs_of(DepthNodeSettings, values)
        given = {name: value for name, value in values.items() if name in known}
        settings = settings_from(DepthNodeSettings, given)
    except ParameterFault as error:
        raise click.UsageError(str(error)) from error
    check_output(source, output, force)
    recorded = BagMessages(source)
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
            f'{source}: the name of a camera, which is that of its topic: {complaint}'
        )
    named = {camera.name for camera in chosen}.union(given.get('cameras', ()))
    stranger = strangers(DepthNodeSettings, given, {'cameras': sorted(named)})
    if stranger:
        raise click.UsageError(stranger)
    if storage is None:
        storage = recorded.storage if recorded.storage in STORAGES else 'mcap'
    if storage != 'mcap' and compression not in (None, 'none'):
        raise click.UsageError(f'{storage} is written without --compression: give --storage mcap')
    compression = compression or COMPRESSIONS[0]
    overrides = {name: value for name, value in values.items() if name.startswith(OVERRIDES)}
    done = process(recorded, output, settings, chosen, only, storage, compression, overrides)
    ctx.exit(0 if done else 1)


def check_output(source: Path, output: Path, force: bool) -> None:
    """Raises CommandError where OUT must not be written."""
    here, there = os.path.realpath(source), os.path.realpath(output)
    if here == there or os.path.dirname(here) == there:
        raise CommandError(f'{output} is the input: name another folder')
    if is_there(output) and not force:
        raise CommandError(f'{output} is there already: give --force to replace it')
    if is_there(output) and not is_there(output / 'metadata.yaml'):
        raise CommandError(f'{output} is no rosbag2: it is not replaced')
    if not is_folder(output.parent):
        raise CommandError(f'{output.parent}: there is no such folder')
