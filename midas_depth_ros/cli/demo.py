"""`midas_depth demo`: options in, exit code and an output folder out.

Exit code: 0 on success, even if the robot collided, which is reported; 1 with a reason if the
source, a node or the folder failed, or if the robot did not drive at all; 128 plus the signal's
number if a signal ended the run early. Modules that need ROS are imported when it runs.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from midas_depth_ros.cli.options import NumberRange, accept_licence_option, in_radians, like
from midas_depth_ros.depth.models import names
from midas_depth_ros.lab.demo import WIDEST
from midas_depth_ros.lab.output import CommandError, OutputConsole, step
from midas_depth_ros.options.declarations import bounds_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import ParameterFault, read_parameters
from midas_depth_ros.options.text import printable

if TYPE_CHECKING:
    from midas_depth_ros.lab.demo.run import Plan, Run

DASHBOARD_PORT = 8080
WORLD = 1  # the default, whose start has a good view

HELP = """Drive a simulated robot, or show your pictures; save pictures, summary and messages.

Without --source a robot drives through a furnished room. Its camera, the depth node with the
embedded model (no download), the avoidance node and a commander are separate processes that
communicate over DDS, in a ROS domain of their own unless ROS_DOMAIN_ID is set. With --source the
camera plays that source instead, and the model is the best one available.
"""


def check_assignments(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that values are name:=value of depth_node, and return angles in radians."""
    assignments = tuple(map(in_radians, values))
    try:
        read_parameters('depth_node', DepthNodeSettings, [], assignments)
    except ParameterFault as fault:
        raise click.BadParameter(str(fault)) from fault
    return assignments


def check_address(context: click.Context, parameter: click.Parameter, address: str) -> str:
    """Check that one can listen on an address of this machine."""
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((address or 'none', 0))  # '' would mean all addresses
    except (OSError, UnicodeError) as error:
        raise click.BadParameter(
            f'{printable(address)!r} cannot be listened on ({error}); 127.0.0.1 is this machine '
            'alone, 0.0.0.0 all of its addresses'
        ) from error
    return address


@click.command(name='demo', help=HELP, context_settings={'show_default': True})
@click.option(
    '--seconds',
    type=NumberRange(1, 86_400),
    default=20.0,
    help='Duration of the recording, from the first heatmap.',
)
@click.option(
    '--source',
    default='',
    show_default='the driving robot',
    metavar='PATH|NUMBER',
    help='Picture, folder of pictures, video, camera device number, or rosbag2 folder; at most '
    f'{WIDEST} pixels wide.',
)
@click.option(
    '--topic',
    default='',
    show_default='the only one',
    help='Image topic, for a rosbag2 with several.',
)
@click.option(
    '--model',
    default=None,
    show_default='embedded for the robot, auto for a --source',
    help=f'auto, {", ".join(names())}, or the path of a weights file.',
)
@accept_licence_option
@click.option(
    '--rate',
    'rate_hz',
    type=NumberRange(*bounds_of(DepthNodeSettings, 'max_rate')),
    default=None,
    show_default='10 for the robot, 5 for a --source',
    help='Frames per second that the node may process (its max_rate); 0 = no limit.',
)
@click.option(
    '--camera-rate',
    'camera_rate_hz',
    type=NumberRange(0.1, 1000),
    default=None,
    show_default="10 for the robot, --rate for pictures, else the source's own",
    help='Frame rate of the camera.',
)
@click.option(
    '--world',
    type=click.IntRange(0, 2_000_000_000),
    default=None,
    show_default=str(WORLD),
    help='Seed of the room that the robot drives through.',
)
@click.option(
    '--headless', is_flag=True, help='Do not start the dashboard, the live view in a browser.'
)
@click.option(
    '--dashboard-host',
    default='127.0.0.1',
    metavar='ADDRESS',
    callback=check_address,
    help='Address on which the dashboard listens; 0.0.0.0 for all, as from a container.',
)
@click.option('--keep-going', is_flag=True, help='Keep running after the recording, until Ctrl-C.')
@click.option(
    '--transport',
    **like('transport'),
    help='Transport of the images to the node.',
)
@click.option(
    '--param',
    'parameters',
    multiple=True,
    metavar='NAME:=VALUE',
    callback=check_assignments,
    help='A parameter of depth_node, such as heatmap.colormap:=turbo; may be repeated.',
)
@click.option(
    '--timeout',
    'timeout_s',
    type=NumberRange(1, 3600),
    default=30.0,
    help='Timeout in seconds for the first heatmap, once the model is loaded.',
)
@click.option(
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default='demo_output/<source>-<time>',
    help='Folder for the results.',
)
def demo(
    output: Path | None, headless: bool, world: int | None, accept_licence: str, **options: Any
) -> None:
    """Run the plan that the options give, and exit with its code. `options` are fields of Plan."""
    if options['source'] and world is not None:
        raise click.UsageError('--world is for the driving robot: omit it or --source')
    if accept_licence:
        options['parameters'] += (f'accept_licence:={json.dumps(accept_licence)}',)
    try:
        from midas_depth_ros.lab.demo.run import Plan
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f'{error}: source a ROS 2 installation, or use scripts/demo, which sets up its own'
        ) from error
    port = 0 if headless else DASHBOARD_PORT
    plan = Plan(world=WORLD if world is None else world, dashboard_port=port, **options)
    sys.exit(carry_out(plan, output))


def carry_out(plan: Plan, output: Path | None) -> int:
    """Run a plan, print its summary, and return the exit code."""
    from midas_depth_ros.lab.demo.report import LOGS, claim, default_folder
    from midas_depth_ros.lab.demo.run import RunError, StoppedError, run

    console = OutputConsole(highlight=False)
    folder = (output or default_folder(plan.source)).absolute()
    try:
        if claim(folder):
            _print(console, f'The results of an earlier run in {folder} will be replaced')
        names = ', '.join(plan.commands())
        _print(console, f'Starting {names} with {plan.what}; logs are in {folder / LOGS}')
        if plan.drives and plan.model is None:
            _print(
                console,
                'Model: embedded, which ships with the package: no download '
                '(use --model midas_small for MiDaS_small)',
            )
        return _report(run(plan, folder, console), folder, console)
    except CommandError as error:
        return _fail(str(error))
    except RunError as error:
        if error.log:
            _print_error(f'Last lines of {error.log}:')
            for line in error.last_lines:
                _print_error(f'  {line}')
        return _fail(str(error))
    except StoppedError as stopped:
        return _fail(f'{stopped} before the first heatmap: no results', str(stopped))


def _print(console: Console, text: str) -> None:
    """Print one line, made printable."""
    console.print(Text(printable(text)), soft_wrap=True)


def _print_error(text: str) -> None:
    _print(OutputConsole(stderr=True, highlight=False), text)


def _report(result: Run, folder: Path, console: Console) -> int:
    from midas_depth_ros.lab.demo import report
    from midas_depth_ros.lab.demo.summary import as_text, tables, why_it_did_not_drive

    with step(console, 'Writing the results'):
        summary = report.write(result, folder)
    if console.is_terminal:
        console.print(tables(summary))
    else:  # a log gets the width of summary.txt
        console.print(Text(as_text(summary)), soft_wrap=True)
    console.print(Text('Results:'))
    for path, meaning in report.contents(folder):
        _print(console, f'  {path}  {meaning}')
    stood = why_it_did_not_drive(summary)
    if stood and not result.ended_by:
        return _fail(stood)
    return _exit_code(result.ended_by)


def _exit_code(ended_by: str) -> int:
    return 128 + signal.Signals[ended_by] if ended_by in signal.Signals.__members__ else 0


def _fail(reason: str, signal_name: str = '') -> int:
    _print_error(f'demo: {reason}')
    return _exit_code(signal_name) or 1
