"""`midas_depth models`: what there is to choose from. Needs neither ROS nor torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from midas_depth_ros.depth import models as registry
from midas_depth_ros.depth import weights as weights_files
from midas_depth_ros.depth.models import ModelSpec
from midas_depth_ros.depth.models.published import Accuracy, Published
from midas_depth_ros.depth.weights_file import FileState
from midas_depth_ros.lab.output import OutputConsole
from midas_depth_ros.options.text import printable

WIDTH = 80  # columns where there is no terminal
# Whether the weights are on this machine.
SHIPS, HERE, CORRUPT, MISSING, BY_PATH = 'ships', 'here', 'corrupt', 'no', 'by path'
STYLES = {SHIPS: 'green', HERE: 'green', CORRUPT: 'bold red', MISSING: 'dim', BY_PATH: 'dim'}

HELP = """List the models, with what helps to choose one.

For each: millions of parameters, GFLOP of one picture at the size of its input for a 4:3 picture
(multiplications and additions counted apart), licence of the weights, and whether they are on this
machine ("by path": the hash is not published, so that you give the path of the file). Then the
accuracy on NYU Depth V2 (rooms) and KITTI (streets), by what was published: the mean error of depth
relative to it (AbsRel), and the share of pixels within a quarter of the true depth (d1). Compare
only figures of the same source.

How fast they are here is measured by `midas_depth bench --models`.
"""


@click.command(name='models', help=HELP)
@click.argument('names', nargs=-1, metavar='[NAME]...')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
def models(names: tuple[str, ...], as_json: bool) -> None:
    """Print the models of these names, or all."""
    chosen = [registry.spec(name) for name in names or registry.names()]
    if as_json:
        click.echo(json.dumps({'models': [facts(model) for model in chosen]}))
    else:
        show(chosen)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Whether the weights of a model are here: `state`, and the path of a usable file."""

    state: str
    path: Path | None = None


def weights_of(model: ModelSpec) -> Weights:
    """Look where `load_estimator` would; files are hashed."""
    if model.shipped is not None:
        return Weights(SHIPS, model.shipped)
    if not model.weights.sha256:
        return Weights(BY_PATH)
    checks = [check for _, check in weights_files.examine_all(model.weights)]
    good = next((check.path for check in checks if check.state is FileState.GOOD), None)
    if good is not None:
        return Weights(HERE, good)
    corrupt = any(check.state is FileState.CORRUPT for check in checks)
    return Weights(CORRUPT if corrupt else MISSING)


def input_of(model: ModelSpec) -> tuple[int, int]:
    """(width, height) of its input for a 4:3 picture, unless another is asked for."""
    height, width = model.picture.usual_size
    return width, height


def facts(model: ModelSpec) -> dict[str, Any]:
    """What is known about a model, for JSON."""
    weights = weights_of(model)
    return {
        'name': model.name,
        'title': model.title,
        'gives': model.output.value,
        'about': model.about,
        'parameters': model.parameters,
        'input': list(input_of(model)),
        'gflop': model.giga_operations.get(input_of(model)),
        'gflop_by_input': {f'{w}x{h}': work for (w, h), work in model.giga_operations.items()},
        'licence': model.weights.licence,
        'restriction': model.weights.restriction,
        'must_be_accepted': model.weights.must_be_accepted,
        'weights': weights.state,
        'weights_file': None if weights.path is None else str(weights.path),
        'published': [dataclasses.asdict(each) for each in model.published],
    }


def show(chosen: Sequence[ModelSpec]) -> None:
    """Print the models to standard output."""
    console = OutputConsole()
    if not console.is_terminal:
        console = OutputConsole(width=WIDTH)
    console.print(models_table(chosen))
    found = [(model, each) for model in chosen for each in model.published]
    if found:
        console.print()
        console.print(accuracy_table(found))
    for line in notes(chosen):
        console.print(Text(printable(line)))


SPDX_OWN = 'LicenseRef-'  # before the name of a licence that is not one of SPDX's


def licence_of(model: ModelSpec) -> str:
    """The licence of its weights, as short as `--accept-licence` takes it."""
    return printable(model.weights.licence.removeprefix(SPDX_OWN))


def models_table(chosen: Sequence[ModelSpec]) -> Table:
    """One row per model: size, cost, licence, weights."""
    table = _table('M', 'GFLOP', 'at', ('licence', 'left'), ('weights', 'left'))
    for model in chosen:
        width, height = input_of(model)
        work = model.giga_operations.get((width, height))
        weights = weights_of(model)
        table.add_row(
            Text(printable(model.name)),
            _number(model.parameters / 1e6),
            '' if work is None else _number(work),
            f'{width}x{height}',
            Text(licence_of(model), 'yellow' if model.weights.restriction else ''),
            Text(weights.state, STYLES[weights.state]),
        )
    return table


def accuracy_table(found: Sequence[tuple[ModelSpec, Published]]) -> Table:
    """One row per model and source, by source; a star marks a figure with a note."""
    table = _table('NYU AbsRel', 'd1', 'KITTI AbsRel', 'd1')
    for source in dict.fromkeys(each.source for _, each in found):
        table.add_row(Text(f'as published with {source.title}', 'italic'))
        for model, each in found:
            if each.source == source:
                star = '*' if each.note else ''
                cells = _accuracy(each.nyu), _accuracy(each.kitti)
                table.add_row(Text(printable(f'  {model.name}{star}')), *cells[0], *cells[1])
    return table


def notes(chosen: Sequence[ModelSpec]) -> list[str]:
    """What the tables leave out: notes, sources, restrictions, models without figures."""
    found = [(model, each) for model in chosen for each in model.published]
    lines = []
    for note in dict.fromkeys(each.note for _, each in found if each.note):
        starred = dict.fromkeys(model.name for model, each in found if each.note == note)
        lines.append(f'* {", ".join(starred)}: {note}.')
    for source in dict.fromkeys(each.source for _, each in found):
        lines.append(f'{source.title}: {source.where}; {source.about}.')
    unknown = [model.name for model in chosen if not model.published]
    if unknown:
        lines.append(f'Nothing published on these two sets: {", ".join(unknown)}.')
    for text in dict.fromkeys(_restriction(model) for model in chosen):
        if text:
            lines.append(text)
    return lines


def _restriction(model: ModelSpec) -> str:
    restriction = model.weights.restriction
    return f'Licence {licence_of(model)}: {restriction}.' if restriction else ''


def _table(*columns: str | tuple[str, JustifyMethod]) -> Table:
    """A table without lines; the first column, of names, is never wrapped."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column('model', no_wrap=True)
    for column in columns:
        if isinstance(column, str):
            table.add_column(column, justify='right')
        else:
            table.add_column(column[0], justify=column[1])
    return table


def _accuracy(found: Accuracy | None) -> tuple[str, str]:
    values = (None, None) if found is None else (found.abs_rel, found.delta1)
    first, second = ('' if value is None else f'{value:.3f}' for value in values)
    return first, second


def _number(value: float) -> str:
    """Three digits are enough."""
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'
