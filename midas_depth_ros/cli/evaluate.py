"""`midas_depth evaluate`: how good are the metres of a recording, and what may a robot do by them.

The recording goes through the node's own classes, once for each model and source of scale, and is
compared with what another sensor or a tape measured.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midas_depth_ros.cli.bag import NODE, complete_parameter
from midas_depth_ros.cli.options import NumberRange, in_radians, like, radians_of
from midas_depth_ros.images.sources import UnclearTopic
from midas_depth_ros.images.sources.bag import BagCamera, depth_topics, find_cameras
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.lab.output import CommandError, check_outside, check_target, write_atomically
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import bounds_of, specs_for_names
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import ParameterFault, read_values, settings_from
from midas_depth_ros.options.metric import SCALE_SOURCES
from midas_depth_ros.options.text import printable

if TYPE_CHECKING:
    from midas_depth_ros.lab.evaluate.truth import Place

PAGE_SUFFIXES = ('.html', '.htm')
REFERENCE = ('reference.x', 'reference.y', 'reference.z', 'reference.yaw')
HELP = """Compare the metres of a recording with a truth, and say what a robot may do by them.

BAG is a recording as `midas_depth bag` takes it, with the pictures of one camera, its camera_info,
and what else its metres need (odometry, an Imu). The mount, odometry where none was recorded, and
the place of the truth are taken from its TF where they are not given. The truth is a topic of the
recording: a LaserScan, a Range, a PointCloud2, a depth image that is registered to the camera; or a
table of tape measures (.csv: frame or stamp, u and v or bearing, metres). The result is one page,
and one JSON object.

Exit code: 0 compared, 1 it could not be, or some frames failed or the bag is damaged (the others
are compared), 2 wrong usage, 128 plus the number of the signal that stopped it.
"""


ANGLES_FROM = 3  # in X,Y,Z,YAW,PITCH


def place_option(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | str | None:
    """Return the numbers of --truth-at, 'camera', or None. Raises BadParameter."""
    if text is None or text.strip() == 'camera':
        return text and text.strip()
    parts = text.split(',')
    try:
        numbers = tuple(_number(part, index >= ANGLES_FROM) for index, part in enumerate(parts))
    except ValueError:
        numbers = ()
    if not ANGLES_FROM <= len(numbers) <= ANGLES_FROM + 2 or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(
            f'{text!r} is not a place: write X,Y,Z[,YAW[,PITCH]] in metres and radians (or 10deg), '
            'or camera'
        )
    return numbers


def _number(text: str, is_angle: bool) -> float:
    radians = radians_of(text.strip()) if is_angle else None
    return float(text) if radians is None else radians


def number(name: str, settings_class: type) -> dict[str, Any]:
    """Return type and default of an option for a parameter; NaN is refused."""
    kind = NumberRange(*bounds_of(settings_class, name))
    return like(name, settings_class) | {'type': kind}


@click.command(name='evaluate', help=HELP, context_settings={'show_default': True})
@click.argument('bag', metavar='BAG', type=click.Path(path_type=Path))
@click.option('--truth', required=True, metavar='TOPIC|CSV', help='What is true.')
@click.option(
    '--truth-at',
    metavar='PLACE',
    callback=place_option,
    default=None,
    show_default='by its frame_id: that of the pictures, or body_frame; reference.*; by TF',
    help='Place of the sensor of the truth: X,Y,Z[,YAW[,PITCH]] in body_frame (below the lens, x '
    'ahead, y left, z up; PITCH: positive = looking down), or camera = it measures in the optical '
    'frame.',
)
@click.option(
    '--tolerance',
    type=NumberRange(0.0, 10.0),
    default=0.1,
    help='How far the stamps of picture and truth may be apart, in seconds.',
)
@click.option(
    '-o',
    '--output',
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help='The page (.html).',
)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@click.option('--force', is_flag=True, help='Overwrite existing files.')
@click.option(
    '--model',
    'models',
    multiple=True,
    show_default='that of the parameters',
    help='A model, as for depth_node; may be repeated, to compare.',
)
@click.option(
    '--source',
    'sources',
    multiple=True,
    type=click.Choice(SCALE_SOURCES),
    show_default='that of the parameters',
    help='scale.source; may be repeated, to compare.',
)
@click.option('--topic', default='', help='Image topic, where the bag has several cameras.')
@click.option('--camera', default='', help='Namespace of the camera, likewise.')
@click.option(
    '--params-file',
    'files',
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='ROS parameters file with a section for depth_node or a wildcard.',
)
@click.option(
    '-p',
    '--param',
    'assignments',
    multiple=True,
    metavar='NAME:=VALUE',
    shell_complete=complete_parameter,
    help='A parameter of depth_node: -p camera_height:=0.3 -p camera_pitch:=10deg.',
)
@click.option(
    '--rate',
    **number('max_rate', DepthNodeSettings) | {'default': None},
    show_default='max_rate',
    help='Process at most this many frames per second, as a node would; 0 = all.',
)
@click.option(
    '--speed',
    'speeds',
    type=NumberRange(0.01, 10.0),
    multiple=True,
    default=(0.2, 0.4, 0.8),
    help='Speed of the robot in m/s, for the verdict; may be repeated.',
)
@click.option(
    '--stopping-distance',
    **number('stop_distance', AvoidanceSettings),
    help='How far before things, from the lens, the robot is to stop, in metres.',
)
@click.option(
    '--deceleration',
    **number('stop_deceleration', AvoidanceSettings),
    help='Deceleration of the robot in m/s^2.',
)
@click.option(
    '--reaction-time',
    **number('reaction_time', AvoidanceSettings),
    help='Delay from a command to the braking of the wheels, in seconds.',
)
@click.option(
    '--latency',
    type=NumberRange(0.0, 10.0),
    default=None,
    show_default='as measured here',
    help='From a picture to what is said of it, in seconds, on the robot.',
)
@click.pass_context
def evaluate(ctx: click.Context, /, **given: Any) -> None:
    """Check what is given, compare, and write the page."""
    page = given['output']
    if page is None and not given['as_json']:
        raise click.UsageError('give --output page.html, or --json')
    if page is not None:
        check_page(page, given)
    values, settings = _settings(given)
    bag = BagMessages(given['bag'])
    if page is not None:
        check_outside(page, bag.folders, bag.paths)
    camera = _camera(bag, given['topic'], given['camera'])
    try:
        from midas_depth_ros.lab.evaluate import report as lab_report
        from midas_depth_ros.lab.evaluate.page import page_of
        from midas_depth_ros.lab.evaluate.plots import check_library
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error}: processing a bag needs ROS 2: source a ROS 2 installation, or '
            'pip install -r requirements/ros.txt'
        ) from error
    plan = lab_report.Plan(
        bag=bag,
        camera=camera,
        truth=given['truth'],
        place=_place(given['truth_at']),
        reference=_reference(values, settings),
        settings=settings,
        variants=_variants(settings, given['models'], given['sources']),
        rate_hz=settings.max_rate if given['rate'] is None else given['rate'],
        tolerance_s=given['tolerance'],
        speeds_m_s=given['speeds'],
        stopping_distance_m=given['stopping_distance'],
        deceleration_m_s2=given['deceleration'],
        reaction_s=given['reaction_time'],
        latency_s=given['latency'],
        given=frozenset(values),
    )
    if page is not None:
        check_library()  # before minutes of work
    report, runs, faults = lab_report.evaluate(plan)
    if page is not None:
        write_atomically(page, page_of(report, runs).encode())
    if given['as_json']:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        for run in runs:
            click.echo(printable(f'{run.name}: {run.figures["verdict"]["text"]}'))
    ctx.exit(1 if faults else 0)


def _settings(given: dict[str, Any]) -> tuple[dict[str, Any], DepthNodeSettings]:
    """The parameters that are given, and all of them. Raises UsageError."""
    try:
        angles = tuple(map(in_radians, given['assignments']))
        values = read_values(NODE, DepthNodeSettings, given['files'], angles, '')
        known = specs_for_names(DepthNodeSettings, values)
        values = {name: value for name, value in values.items() if name in known}
        return values, settings_from(DepthNodeSettings, values)
    except ParameterFault as error:
        raise click.UsageError(str(error)) from error


def _camera(bag: BagMessages, topic: str, name: str) -> BagCamera:
    """The camera to evaluate. Raises CommandError that names those there are."""
    wanted = (topic,) if topic else (), (name,) if name else ()
    left_out = () if topic else depth_topics(bag)
    try:
        found = find_cameras(bag.topics, *wanted, '', left_out)
    except UnclearTopic as error:
        raise CommandError(f'{bag.path}: {error}') from error
    if len(found) > 1:
        listed = ', '.join(camera.name for camera in found)
        raise CommandError(
            f'{bag.path} has {len(found)} cameras ({listed}): name one by --camera or --topic'
        )
    return found[0]


def _place(given: Any) -> Place | None:
    from midas_depth_ros.lab.evaluate.truth import Place

    if given is None:
        return None
    return Place(optical=True) if given == 'camera' else Place(*given)


def _reference(values: dict[str, Any], settings: DepthNodeSettings) -> Place | None:
    """The place that the parameters reference.* give, if any of them is set."""
    from midas_depth_ros.lab.evaluate.truth import Place

    if not any(name in values for name in REFERENCE):
        return None
    at = settings.reference
    return Place(at.x, at.y, at.z, at.yaw)


def _variants(
    settings: DepthNodeSettings, models: tuple[str, ...], sources: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Every model with every source, each once."""
    every = itertools.product(models or (settings.model,), sources or (settings.scale.source,))
    return list(dict.fromkeys(every))


def check_page(page: Path, given: dict[str, Any]) -> None:
    """Raise CommandError if the page must not be written."""
    if page.suffix.lower() not in PAGE_SUFFIXES:
        raise CommandError(f'{page}: the suffix of the page must be {" or ".join(PAGE_SUFFIXES)}')
    check_target(page, (given['bag'], given['truth'], *given['files']), given['force'])
