"""The command `midas_depth`: its subcommands, errors and exit codes.

Exit codes: 0 success, 1 failure (one line `error: ...` on standard error), 2 wrong usage, 128 plus
the number of the signal that ended it. Commands import what needs ROS or torch inside their
functions, so that `midas_depth weights` runs without either.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

import click

import midas_depth_ros
from midas_depth_ros.cli.bag import bag
from midas_depth_ros.cli.bench import bench
from midas_depth_ros.cli.demo import demo
from midas_depth_ros.cli.drive import drive
from midas_depth_ros.cli.evaluate import evaluate
from midas_depth_ros.cli.export import export
from midas_depth_ros.cli.image import image
from midas_depth_ros.cli.inspect import inspect
from midas_depth_ros.cli.models import models
from midas_depth_ros.cli.video import video
from midas_depth_ros.cli.weights import weights
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.geometry import GeometryError
from midas_depth_ros.images import ImageError
from midas_depth_ros.lab.drive.rig import DriveError
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.lab.stopping import failures, run_command
from midas_depth_ros.options.text import printable
from midas_depth_ros.views import ViewError

# Errors that end a command with `error: ...` and exit code 1. Others are bugs, with a traceback.
FAILURES: tuple[type[Exception], ...] = (
    CommandError,
    DepthError,
    DriveError,
    GeometryError,
    ImageError,
    ViewError,
)

# The groups of commands in `--help`; the others are listed at the end.
SECTIONS: dict[str, tuple[str, ...]] = {
    'Look at depth': ('image', 'video', 'bag', 'demo'),
    'Models': ('models', 'weights', 'export', 'inspect', 'bench'),
    'Robots': ('drive', 'evaluate'),
}
LONGEST = 160  # characters of the line of a command, which may wrap
CONTEXT: dict[str, Any] = {'help_option_names': ['-h', '--help'], 'max_content_width': 100}


class CommandGroup(click.Group):
    """A click group whose errors are one line, and which cleans up when it ends."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        """Run as click does; a signal ends it with 128 plus its number."""
        call = functools.partial(super().main, *arguments, standalone_mode=False, **settings)
        return run_command(call) if standalone_mode else call()

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse as click does, which also prints `--help`."""
        with failures():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run as click does, with the errors of the package as Failure."""
        with failures(*FAILURES):
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under the headings of SECTIONS."""
        placed = [name for names in SECTIONS.values() for name in names]
        rest = [name for name in self.list_commands(ctx) if name not in placed]
        for title, names in {**SECTIONS, 'Others': rest}.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [
                (name, each.get_short_help_str(LONGEST)) for name, each in commands.items() if each
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class PrintableFormatter(logging.Formatter):
    """Makes log lines printable."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        return printable(super().formatMessage(record))


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(midas_depth_ros.__version__, prog_name='midas_depth')
@click.pass_context
def main(ctx: click.Context) -> None:
    """Monocular depth on the CPU, from one ordinary camera."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter())
    log = logging.getLogger('midas_depth_ros')
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)

    @ctx.call_on_close
    def restore() -> None:
        log.removeHandler(handler)
        log.setLevel(level)


for command in (models, weights, image, video, bag, drive, evaluate, export, inspect, bench, demo):
    main.add_command(command)


if __name__ == '__main__':
    main()
