"""The command line of the demonstration: options in, exit code and an output folder out.

0 when all went well; 1 with one reason when the source, the node or the folder would not do; as
a shell does it, 128 plus the signal's number when Ctrl-C or SIGTERM ended the run early.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from midas_depth_ros.demo import output_folder, report
from midas_depth_ros.demo.output_folder import OutputFolderError
from midas_depth_ros.demo.plan import Plan, Run
from midas_depth_ros.demo.progress import step
from midas_depth_ros.demo.run import RunError, StoppedError, run
from midas_depth_ros.demo.summary import as_text, tables

HELP = """Run the depth node on a camera for a while; leave pictures, figures and messages.

Without --source a synthetic moving scene is the camera. The node and the camera are processes
of their own that talk over DDS, in a ROS domain of their own unless ROS_DOMAIN_ID is set.
"""


def check_assignments(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse what is not name:=value."""
    for value in values:
        name, separator, _ = value.partition(':=')
        if not separator or not name:
            raise click.BadParameter(f'{value!r} is not of the form name:=value')
    return values


@click.command(name='demo', help=HELP, context_settings={'show_default': True})
@click.option(
    '--seconds',
    type=click.FloatRange(1, 86_400),
    default=20.0,
    help='Length of the run, after the first heatmap.',
)
@click.option(
    '--source',
    default='',
    show_default='a synthetic moving scene',
    metavar='PATH|NUMBER',
    help='Picture, folder of pictures, video, camera device number, or rosbag2 folder.',
)
@click.option(
    '--topic',
    default='',
    show_default='the only one',
    help='Image topic of a rosbag2 that has several.',
)
@click.option(
    '--model',
    default='auto',
    help='auto, midas_small, embedded, or the path of a weights file.',
)
@click.option(
    '--rate',
    type=click.FloatRange(0, 1000),
    default=5.0,
    help='Frames per second that the node may process (its max_rate); 0 = no limit.',
)
@click.option(
    '--camera-rate',
    type=click.FloatRange(0.1, 1000),
    default=None,
    show_default="the source's own",
    help='Pictures per second of the camera.',
)
@click.option(
    '--transport',
    type=click.Choice(['raw', 'compressed']),
    default='raw',
    help='How pictures travel to the node.',
)
@click.option(
    '--param',
    'parameters',
    multiple=True,
    metavar='NAME:=VALUE',
    callback=check_assignments,
    help='A further parameter of depth_node, such as heatmap.colormap:=turbo; repeatable.',
)
@click.option(
    '--timeout',
    type=click.FloatRange(1, 3600),
    default=30.0,
    help='Longest wait in seconds for the first heatmap, once the model is loaded.',
)
@click.option(
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default='demo_output/<source>-<time>',
    help='Folder for the results.',
)
def demo(
    seconds: float,
    source: str,
    topic: str,
    model: str,
    rate: float,
    camera_rate: float | None,
    transport: str,
    parameters: tuple[str, ...],
    timeout: float,
    output: Path | None,
) -> None:
    """Make a plan of the options, carry it out, and exit with its code."""
    plan = Plan(source, seconds, model, rate, camera_rate, topic, transport, parameters, timeout)
    sys.exit(carry_out(plan, output))


def carry_out(plan: Plan, output: Path | None) -> int:
    """Run a plan, report it, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no block characters gets question marks, not a traceback.
        stream.reconfigure(errors='replace')  # type: ignore[union-attr]
    console = Console(highlight=False)
    folder = (output or output_folder.default_folder(plan.source)).absolute()
    try:
        if output_folder.claim(folder):
            console.print(
                Text(f'Replacing the results of an earlier run in {folder}'), soft_wrap=True
            )
        source = f'image_stream on {plan.source}' if plan.source else 'synthetic_camera'
        text = f'Starting depth_node and {source}; logs are in {folder / "logs"}'
        console.print(Text(text), soft_wrap=True)
        result = run(plan, folder, console)
    except OutputFolderError as error:
        return _refuse(str(error))
    except RunError as error:
        return _fail(error)
    except StoppedError as stopped:
        return _refuse(f'{stopped} before the first heatmap: nothing to report', str(stopped))
    return _present(result, folder, console)


def _present(result: Run, folder: Path, console: Console) -> int:
    with step(console, 'Writing pictures and figures'):
        summary = report.write(result, folder)
    if console.is_terminal:
        console.print(tables(summary))
    else:  # in a log they keep the width that they have in summary.txt
        console.print(Text(as_text(summary)), soft_wrap=True)
    console.print(Text('The results are in'))
    for path, meaning in report.contents(folder):
        console.print(Text(f'  {path}  {meaning}'), soft_wrap=True)
    return _exit_code(result.ended_by)


def _exit_code(ended_by: str) -> int:
    return 128 + signal.Signals[ended_by] if ended_by in signal.Signals.__members__ else 0


def _refuse(reason: str, signal_name: str = '') -> int:
    Console(stderr=True, highlight=False).print(Text(f'demo: {reason}'), soft_wrap=True)
    return _exit_code(signal_name) or 1


def _fail(error: RunError) -> int:
    console = Console(stderr=True, highlight=False)
    if error.log:
        console.print(Text(f'The last lines of {error.log}:'), soft_wrap=True)
        for line in error.last_lines:
            console.print(Text(f'  {line}'), soft_wrap=True)
    return _refuse(str(error))
