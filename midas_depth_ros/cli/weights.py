"""`midas_depth weights`: show, fetch and verify weights files. Needs neither ROS nor torch."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from midas_depth_ros.cli.options import accept_licence_option
from midas_depth_ros.depth import models, weights_file
from midas_depth_ros.depth import weights as weights_files
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.weights_file import FileCheck, FileState, WeightsFile
from midas_depth_ros.lab.output import CommandError, OutputConsole
from midas_depth_ros.options.text import printable

STYLES = {FileState.GOOD: 'green', FileState.CORRUPT: 'bold red', FileState.MISSING: 'dim'}
PIPE_WIDTH = 400  # columns without a terminal, so that no path is wrapped


def _file(ctx: click.Context, model: str) -> WeightsFile:
    """Return the weights of a model, unless the context carries others (for tests)."""
    file = ctx.find_object(WeightsFile) or models.spec(model).weights
    if not file.url:
        raise CommandError(f'{model} ships with the package: nothing to fetch')
    return file


of_model = click.option(
    '--model', default=models.PREFERRED, show_default=True, help='Model of the weights.'
)


@click.group(invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Show, fetch and verify the weights of MiDaS_small, or of another model.

    Without a command: show; another model is named to a command, as in show --model NAME. Weights
    are looked up in the folder MIDAS_DEPTH_WEIGHTS_DIR, in the user's cache and in the caches of
    torch hub and of Hugging Face's hub. They are downloaded into that folder if it is set, else
    into the user's cache. MIDAS_DEPTH_WEIGHTS_URL is a mirror to download from: the file, or, with
    a slash at the end, the folder that contains it.
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
    if table.rows:
        console.print(table)
    for fault in faults:
        click.echo(f'corrupt: {fault}')
    click.echo(f'used: {printable(used)}' if used else _missing_text(spec, model))
    if spec.restriction:
        click.echo(f'licence {spec.licence_text}')


def _cells(check: FileCheck) -> tuple[Text, str, Text]:
    size = '' if check.size is None else str(check.size)
    state = Text(check.state.value, style=STYLES[check.state])
    return Text(printable(check.path), overflow='fold'), size, state


def _missing_text(spec: WeightsFile, model: str) -> str:
    if not spec.sha256:
        return printable(weights_files.only_by_path(spec))
    folder = weights_files.download_folder() or f'a folder named by {weights_files.DIR_VARIABLE}'
    return printable(
        f'no valid file; {_fetching(spec, model)} downloads {spec.name} ({spec.promise}) into '
        f'{folder}'
    )


def _fetching(spec: WeightsFile, model: str) -> str:
    """The command that fetches the weights of a model."""
    of = '' if model == models.PREFERRED else f' --model {model}'
    licence = f' --accept-licence {spec.licence}' if spec.must_be_accepted else ''
    return f'`midas_depth weights fetch{of}{licence}`'


@weights.command()
@click.option('--force', is_flag=True, help='Download again even if a valid file exists.')
@click.option(
    '--dir',
    'folder',
    type=click.Path(file_okay=False, path_type=Path),
    help='Download into this folder instead.',
)
@accept_licence_option
@of_model
@click.pass_context
def fetch(
    ctx: click.Context, force: bool, folder: Path | None, accept_licence: str, model: str
) -> None:
    """Download the weights and print their path.

    An interrupted download is resumed. Size and SHA-256 are checked before the file gets its name.
    """
    spec = _file(ctx, model)
    models.check_licence(models.spec(model), accept_licence)
    path = weights_files.fetch_weights(spec, folder, force=force)
    if spec.restriction:
        click.echo(f'licence {spec.licence_text}', err=True)
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
    if not spec.sha256:
        raise WeightsNotFound(printable(weights_files.only_by_path(spec)))
    if path is not None:
        weights_file.verify(path, spec)
        click.echo(f'good: {printable(path)}')
        return
    checks = [check for _, check in weights_files.examine_all(spec)]
    for check in checks:
        if check.state is FileState.GOOD:
            click.echo(f'good: {printable(check.path)}')
    corrupt = [f'{f.path} {f.fault}' for f in checks if f.state is FileState.CORRUPT]
    if corrupt:
        raise WeightsCorrupt(
            f'{"; ".join(corrupt)}; {_fetching(spec, model)} downloads a valid one'
        )
    if all(check.state is FileState.MISSING for check in checks):
        raise WeightsNotFound(_missing_text(spec, model))
