"""The command `midas_depth`: what a person does with the package from a terminal.

Exit codes: 0 good, 1 failed (one line `error: ...` on standard error), 2 wrong usage, 128 plus the
number of the signal that ended it. A further command is a click command added to `main`; it imports
what it needs inside its function, so that `midas_depth weights` runs where neither ROS nor torch is
installed.
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
from midas_depth_ros.depth import downloads, models
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

# What a command may raise to end with `error: ...` and exit code 1. Anything else is a fault of
# the program and keeps its traceback.
FAILURES: tuple[type[Exception], ...] = (
    CommandError,
    DepthError,
    DriveError,
    GeometryError,
    ImageError,
    ViewError,
)

# How `--help` groups the commands; one that is in no group comes under the last heading.
SECTIONS: dict[str, tuple[str, ...]] = {
    'Look at depth': ('image', 'video', 'bag', 'demo'),
    'Models': ('weights', 'export', 'bench'),
    'Robots': ('drive',),
}
LONGEST = 160  # characters of the line of a command, which may wrap

STYLES = {FileState.GOOD: 'green', FileState.CORRUPT: 'bold red', FileState.MISSING: 'dim'}
CONTEXT: dict[str, Any] = {'help_option_names': ['-h', '--help'], 'max_content_width': 100}
PIPE_WIDTH = 400  # columns where there is no terminal: no path is to be broken


class CommandGroup(click.Group):
    """A click group whose errors are one line, and which leaves nothing behind."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        """As click's; a signal ends it with 128 plus its number."""
        call = functools.partial(super().main, *arguments, standalone_mode=False, **settings)
        return run_command(call) if standalone_mode else call()

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """As click's; `--help` is written here."""
        with failures():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, with the errors of the rooms as Failure."""
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
    """What the rooms log, with what comes from outside made printable."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line of a record."""
        return printable(super().formatMessage(record))


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(midas_depth_ros.__version__, prog_name='midas_depth')
@click.pass_context
def main(ctx: click.Context) -> None:
    """Monocular depth on the CPU: what is near, from one ordinary camera."""
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
    """The weights of a model, unless the context carries others (tests do)."""
    file = ctx.find_object(WeightsFile) or models.spec(model).weights
    if not file.url:
        raise CommandError(f'{model} ships in the package: there is nothing to fetch')
    return file


of_model = click.option(
    '--model', default=models.PREFERRED, show_default=True, help='Whose weights.'
)


@main.group(invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Show, fetch and verify the weights of MiDaS_small, or of another model (--model).

    Without a command: show. They are looked for in the folder named by MIDAS_DEPTH_WEIGHTS_DIR, in
    the user's cache and in the cache of torch hub, and fetched into that named folder, else
    into the user's cache. MIDAS_DEPTH_WEIGHTS_URL names a mirror to fetch from: its copy of the
    file, or, with a slash at the end, the folder that holds it.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, model=models.PREFERRED)


@weights.command()
@of_model
@click.pass_context
def show(ctx: click.Context, model: str) -> None:
    """List every place looked at, what is there, and which file is used."""
    spec = _file(ctx, model)
    table = Table('place', 'file', 'bytes', 'state', 'used')
    table.columns[2].justify = 'right'
    used: Path | None = None
    faults = []
    for place, check in weights_files.survey(spec):
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
    click.echo(f'used: {printable(used)}' if used else _nothing_there(spec))


def _cells(check: FileCheck) -> tuple[Text, str, Text]:
    size = '' if check.size is None else str(check.size)
    state = Text(check.state.value, style=STYLES[check.state])
    return Text(printable(check.path), overflow='fold'), size, state


def _nothing_there(spec: WeightsFile) -> str:
    folder = weights_files.download_folder() or f'a folder named by {weights_files.DIR_VARIABLE}'
    return printable(
        f'no good file; `midas_depth weights fetch` downloads {spec.name} ({spec.size} bytes, '
        f'SHA-256 {spec.sha256}) into {folder}'
    )


@weights.command()
@click.option('--force', is_flag=True, help='Fetch anew even where a good file is there.')
@click.option(
    '--dir',
    'folder',
    type=click.Path(file_okay=False, path_type=Path),
    help='Fetch into this folder instead.',
)
@of_model
@click.pass_context
def fetch(ctx: click.Context, force: bool, folder: Path | None, model: str) -> None:
    """Download the weights and print their path.

    A download that was cut short goes on where it ended. Size and SHA-256 are checked before the
    file gets its name.
    """
    spec = _file(ctx, model)
    path = downloads.fetch_weights(spec, folder, force=force)
    if spec.restriction:
        click.echo(f'licence {spec.licence}: {spec.restriction}', err=True)
    click.echo(printable(path) if sys.stdout.isatty() else path)  # a script wants the path itself
    if path not in weights_files.candidate_paths(spec):
        hint = f'set {weights_files.DIR_VARIABLE}={path.parent} for it to be found there'
        click.echo(printable(hint), err=True)


@weights.command()
@click.argument('path', required=False, type=click.Path(path_type=Path))
@of_model
@click.pass_context
def verify(ctx: click.Context, path: Path | None, model: str) -> None:
    """Check size and SHA-256 of PATH, or of every file in the places looked at.

    Exit code 1 if one is corrupt, or if there is none.
    """
    spec = _file(ctx, model)
    if path is not None:
        weights_files.verify(path, spec)
        click.echo(f'good: {printable(path)}')
        return
    checks = [check for _, check in weights_files.survey(spec)]
    for check in checks:
        if check.state is FileState.GOOD:
            click.echo(f'good: {printable(check.path)}')
    corrupt = [f'{f.path} {f.fault}' for f in checks if f.state is FileState.CORRUPT]
    if corrupt:
        raise WeightsCorrupt(f'{"; ".join(corrupt)}; `midas_depth weights fetch` gets a good one')
    if all(check.state is FileState.MISSING for check in checks):
        raise WeightsNotFound(_nothing_there(spec))


main.add_command(image)
main.add_command(video)
main.add_command(bag)
main.add_command(drive)
main.add_command(export)
main.add_command(bench)
main.add_command(demo)


if __name__ == '__main__':
    main()
