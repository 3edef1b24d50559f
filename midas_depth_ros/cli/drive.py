"""`midas_depth drive`: simulated drives, summed up as lines or one JSON object."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from midas_depth_ros.cli.options import NumberRange, accept_licence_option, like
from midas_depth_ros.lab.drive.rig import SCALES, DriveError, DrivePlan, summary
from midas_depth_ros.lab.output import print_status
from midas_depth_ros.options.stream import SyntheticCameraSettings

HELP = """Drive a simulated robot through worlds and count its collisions.

Each world is driven without avoidance and with it, with a constant forward command and random
turns, until the first collision or fall or until the time is up. Robot with camera, depth node and
avoidance node are processes that communicate over DDS, in real time; with --in-process the same
parts run in this process, in simulated time.
"""


@click.command(name='drive', help=HELP, context_settings={'show_default': True})
@click.option('--worlds', type=click.IntRange(1, 100_000), default=5, help='Number of worlds.')
@click.option(
    '--seed',
    type=click.IntRange(0, 2_000_000_000),
    default=0,
    help='Seed of the first world; the others have the following seeds.',
)
@click.option(
    '--worlds-are',
    **like('robot.world', SyntheticCameraSettings),
    help='plain = bare rooms and corridors with obstacles; furnished = as in `midas_depth demo`; '
    'uneven = ramps, steps up and edges down; hazards = dark doors, glass doors, stairs down and '
    "things at arm's length.",
)
@click.option(
    '--depth',
    type=click.Choice(['exact', 'metres', 'model']),
    default='exact',
    help='exact = from the simulation, with random scale, shift and 3 % noise in every frame; '
    'metres = the same in metres, as of a model that gives them, and with neither camera_height '
    'nor camera_pitch: only with --in-process.',
)
@click.option(
    '--metres-off',
    type=NumberRange(0.2, 5.0),
    default=1.0,
    help='Factor by which --depth metres is too far, as of a model in a place unlike those it '
    'learned from.',
)
@click.option(
    '--scale',
    type=click.Choice(SCALES),
    default=DrivePlan.scale,
    help='Where metres come from: the floor in view, the odometry of the wheels, or auto = both, '
    'where they agree. By odometry a person drives the robot by hand while it has no metres. With '
    '--depth model the floor alone is watched by its motion, too (scale.floor_motion).',
)
@click.option(
    '--odometry-bias',
    **like('robot.odometry_bias', SyntheticCameraSettings),
    help='Share by which odometry reports too long a way.',
)
@click.option(
    '--slip',
    **like('robot.slip', SyntheticCameraSettings),
    help='Share by which the wheels roll farther than the robot moves.',
)
@click.option('--model', **like('model'), help='Model for --depth model, as for depth_node.')
@accept_licence_option
@click.option('--seconds', type=NumberRange(1, 3600), default=30.0, help='Time limit of a drive.')
@click.option('--speed', type=NumberRange(0.05, 0.6), default=0.4, help='Commanded speed in m/s.')
@click.option(
    '--rate', type=NumberRange(0.5, 20), default=DrivePlan.rate_hz, help='Frame rate of the camera.'
)
@click.option('--no-avoidance', is_flag=True, help='Drive without avoidance only.')
@click.option('--no-blind', is_flag=True, help='Drive with avoidance only.')
@click.option('--in-process', is_flag=True, help='One process, in simulated time, without ROS.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@click.option(
    '--logs',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default='a temporary folder',
    help='Folder for the logs of the processes.',
)
def drive(
    worlds: int,
    seed: int,
    worlds_are: str,
    depth: str,
    metres_off: float,
    scale: str,
    odometry_bias: float,
    slip: float,
    model: str,
    accept_licence: str,
    seconds: float,
    speed: float,
    rate: float,
    no_avoidance: bool,
    no_blind: bool,
    in_process: bool,
    as_json: bool,
    logs: Path | None,
) -> None:
    """Run the plan that the options give, and print a summary."""
    if no_avoidance and no_blind:
        raise click.UsageError('--no-avoidance and --no-blind leave nothing to drive')
    if depth == 'metres' and not in_process:
        raise click.UsageError('--depth metres needs --in-process')
    if scale != 'floor' and (depth == 'metres' or (depth == 'exact' and not in_process)):
        needed = '--depth model' if depth == 'metres' else '--depth model or --in-process'
        raise click.UsageError(f'--scale {scale} needs pictures: {needed}')
    avoiding, blind = not no_avoidance, not no_blind
    plan = DrivePlan(
        *(worlds, seed, depth, model, seconds, speed, rate, avoiding, blind, worlds_are),
        metres_off=metres_off,
        accept_licence=accept_licence,
        scale=scale,
        odometry_bias=odometry_bias,
        slip=slip,
    )
    found = carry_out(plan, in_process, logs, print_status)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for key, value in found.items():
            click.echo(f'{key.replace("_", " ")}: {"-" if value is None else value}')


def carry_out(
    plan: DrivePlan, in_process: bool, logs: Path | None, report: Callable[[str], None]
) -> dict[str, Any]:
    """Drive and return the summary. Raises DriveError, and DepthError without a model."""
    if in_process:
        from midas_depth_ros.lab.drive.in_process import drive_in_process

        results = drive_in_process(plan, report)
    else:
        results = _over_dds(plan, logs, report)
    return summary(results, depth=plan.depth, scale=plan.scale, in_process=in_process)


def _over_dds(plan: DrivePlan, logs: Path | None, report: Callable[[str], None]) -> Any:
    try:
        from midas_depth_ros.lab.drive import over_dds
    except ModuleNotFoundError as error:
        raise DriveError(
            f'{error}: source a ROS 2 installation, or use --in-process, which needs no ROS'
        ) from error
    with tempfile.TemporaryDirectory(prefix='midas_depth_drive_') as temporary:
        folder = logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return over_dds.drive_over_dds(plan, folder, report)
        except over_dds.DriveStopped as stopped:
            sys.exit(128 + signal.Signals[str(stopped)])
