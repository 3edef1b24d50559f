"""`midas_depth bench`: options in, a table or one JSON object out.

What it needs is imported when it runs, so that the command is known wherever the package is.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midas_depth_ros.cli.options import like
from midas_depth_ros.depth.models import names
from midas_depth_ros.lab.output import print_status

if TYPE_CHECKING:
    from midas_depth_ros.lab.speed.run import Result

HELP = """Measure how fast depth is on this machine.

The usual way to run MiDaS on a CPU (torch as it comes, float32) is timed side by side with every
backend and precision that is installed: the network alone, picture to depth and heatmap, and the
node as a process, from a picture's stamp to its heatmap over DDS. Takes about five minutes, a
model's first conversion not counted; with --quick less than 40 s.

Where the official weights are not here, random ones of the same network are taken: the times are
the same. What cannot be measured is left out and named.
"""


@click.command(name='bench', help=HELP, context_settings={'show_default': True})
@click.option('--quick', is_flag=True, help='The main rows only, shorter.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@click.option('--model', **like('model'), help=f'auto, {", ".join(names())} or a weights file.')
@click.option('--threads', **like('num_threads'), help='Of inference; 0 = all processors.')
@click.option(
    '--logs',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default='a temporary folder',
    help="Folder for the nodes' logs.",
)
def bench(quick: bool, as_json: bool, model: str, threads: int, logs: Path | None) -> None:
    """Measure, and print what came of it."""
    with tempfile.TemporaryDirectory(prefix='midas_depth_bench_') as temporary:
        result = measure(quick, model, threads, logs or Path(temporary))
    if as_json:
        click.echo(json.dumps(result.to_json()))
        return
    from midas_depth_ros.lab.speed.run import show

    show(result)


def measure(quick: bool, model: str, threads: int, logs: Path) -> Result:
    """Carry a run out; what is at work is told on standard error. Raises DepthError."""
    from midas_depth_ros.lab.speed.contestants import find_weights
    from midas_depth_ros.lab.speed.run import QUICK, Plan, Run

    run = Run(
        find_weights(model),
        threads,
        QUICK if quick else Plan(),
        print_status,
    )
    return run.carry_out(logs)
