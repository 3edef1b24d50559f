"""The command `midas_depth`, with its subcommands and `weights`.

Exit codes: 0 success, 1 failure (one line `error: ...` on standard error), 2 wrong usage, 128 plus
the number of the signal that ended it. Commands import what needs ROS or torch inside their
functions, so that `midas_depth weights` runs without either.
"""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

import midas_depth_ros
from midas_depth_ros.cli.bag import bag
from midas_depth_ros.cli.bench import bench
from midas_depth_ros.cli.demo import demo
from midas_depth_ros.cli.drive import drive
from midas_depth_ros.cli.export import export
from midas_depth_ros.cli.image import image
from midas_depth_ros.cli.video import video
from midas_depth_ros.depth import models
from midas_depth_ros.depth import weights as weights_files
from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.weights import FileCheck, FileState, WeightsFile
from midas_depth_ros.geometry import GeometryError
from midas_depth_ros.images import ImageError
from midas_depth_ros.lab.drive.rig import DriveError
from midas_depth_ros.lab.output import CommandError, OutputConsole
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
    'Models': ('weights', 'export', 'bench'),
    'Robots': ('drive',),
}
LONGEST = 160  # characters of the line of a command, which may wrap

STYLES = {FileState.GOOD: 'green', FileState.CORRUPT: 'bold red', FileState.MISSING: 'dim'}
CONTEXT: dict[str, Any] = {'help_option_names': ['-h', '--help'], 'max_content_width': 100}
PIPE_WIDTH = 400  # columns without a terminal, so that no path is wrapped


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


def _file(ctx: click.Context, model: str) -> WeightsFile:
    """Return the weights of a model, unless the context carries others (for tests)."""
    file = ctx.find_object(WeightsFile) or models.spec(model).weights
    if not file.url:
        raise CommandError(f'{model} ships with the package: nothing to fetch')
    return file


of_model = click.option(
    '--model', default=models.PREFERRED, show_default=True, help='Model of the weights.'
)


@main.group(invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Show, fetch and verify the weights of MiDaS_small, or of another model (--model).

    Without a command: show. Weights are looked up in the folder MIDAS_DEPTH_WEIGHTS_DIR, in the
    user's cache and in the cache of torch hub. They are downloaded into that folder if it is set,
    else into the user's cache. MIDAS_DEPTH_WEIGHTS_URL is a mirror to download from: the file, or,
    with a slash at the end, the folder that contains it.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, model=models.PREFERRED)


@weights.command()
@of_model
@click.pass_context
def show(ctx: click.Context, model: str) -> None:
    """List the searched places, and the file that is used."""
    spec = _file(ctx, model)
    table = Table('place', 'file', 'bytes', 'state', 'used')
    table.columns[2].justify = 'right'
    used: Path | None = None
    faults = []
    for place, check in weights_files.examine_all(spec):
        mark = ''
        if used is None and check.state is FileState.GOOD:
            used, mark = check.path, 'yes'
        if check.state is FileState.CORRUPT:
            faults.append(printable(f'{check.path} {check.fault}'))
        table.add_row(place.label, *_cells(check), mark)
    console = OutputConsole()
    if not console.is_terminal:
        console = OutputConsole(width=PIPE_WIDTH)
    console.print(table)
    for fault in faults:
        click.echo(f'corrupt: {fault}')
    click.echo(f'used: {printable(used)}' if used else _missing_text(spec))


def _cells(check: FileCheck) -> tuple[Text, str, Text]:
    size = '' if check.size is None else str(check.size)
    state = Text(check.state.value, style=STYLES[check.state])
    return Text(printable(check.path), overflow='fold'), size, state


def _missing_text(spec: WeightsFile) -> str:
    folder = weights_files.download_folder() or f'a folder named by {weights_files.DIR_VARIABLE}'
    return printable(
        f'no valid file; `midas_depth weights fetch` downloads {spec.name} ({spec.size} bytes, '
        f'SHA-256 {spec.sha256}) into {folder}'
    )


@weights.command()
@click.option('--force', is_flag=True, help='Download again even if a valid file exists.')
@click.option(
    '--dir',
    'folder',
    type=click.Path(file_okay=False, path_type=Path),
    help='Download into this folder instead.',
)
@of_model
@click.pass_context
def fetch(ctx: click.Context, force: bool, folder: Path | None, model: str) -> None:
    """Download the weights and print their path.

    An interrupted download is resumed. Size and SHA-256 are checked before the file gets its name.
    """
    spec = _file(ctx, model)
    path = weights_files.fetch_weights(spec, folder, force=force)
    if spec.restriction:
        click.echo(f'licence {spec.licence}: {spec.restriction}', err=True)
    click.echo(printable(path) if sys.stdout.isatty() else path)  # scripts get the path itself
    if path not in weights_files.candidate_paths(spec):
        hint = f'set {weights_files.DIR_VARIABLE}={path.parent} so that it is found there'
        click.echo(printable(hint), err=True)


@weights.command()
@click.argument('path', required=False, type=click.Path(path_type=Path))
@of_model
@click.pass_context
def verify(ctx: click.Context, path: Path | None, model: str) -> None:
    """Check size and SHA-256 of weights files.

    PATH, or the files in all searched places. Exit code 1 if one is corrupt, or if there are none.
    """
    spec = _file(ctx, model)
    if path is not None:
        weights_files.verify(path, spec)
        click.echo(f'good: {printable(path)}')
        return
    checks = [check for _, check in weights_files.examine_all(spec)]
    for check in checks:
        if check.state is FileState.GOOD:
            click.echo(f'good: {printable(check.path)}')
    corrupt = [f'{f.path} {f.fault}' for f in checks if f.state is FileState.CORRUPT]
    if corrupt:
        raise WeightsCorrupt(
            f'{"; ".join(corrupt)}; `midas_depth weights fetch` downloads a valid one'
        )
    if all(check.state is FileState.MISSING for check in checks):
        raise WeightsNotFound(_missing_text(spec))


for command in (image, video, bag, drive, export, bench, demo):
    main.add_command(command)


if __name__ == '__main__':
    main()
