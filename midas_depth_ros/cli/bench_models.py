"""`midas_depth bench --models`: the models side by side, as tables or one JSON object."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from midas_depth_ros.lab.output import OutputConsole, print_status
from midas_depth_ros.lab.speed.by_model import Comparison, Measured, Way, compare, subjects
from midas_depth_ros.options.text import printable

WIDTH = 80  # columns where there is no terminal
SECONDS, QUICK_SECONDS = 6.0, 2.0  # of timing, per model and size
# Widths are fixed, so that the tables of all models line up.
COLUMNS = (
    ('', 17), ('ms', 8), ('x eager', 7), ('per s', 6), ('CPU ms', 8), ('MB', 5), ('start s', 7),
    ('strays', 7),
)  # fmt: skip


def bench_models(
    names: Sequence[str],
    short_sides: Sequence[int],
    *,
    quick: bool,
    as_json: bool,
    threads: int,
    logs: Path | None,
) -> None:
    """Measure the models of these names or files, and print the result. Raises DepthError."""
    chosen, left_out = subjects(names, short_sides)
    with tempfile.TemporaryDirectory(prefix='midas_depth_bench_') as temporary:
        folder = logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = compare(
            chosen,
            print_status,
            logs=folder,
            threads=threads,
            seconds=QUICK_SECONDS if quick else SECONDS,
        )
    found.absent += left_out
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        show(found)


def show(found: Comparison) -> None:
    """Print a comparison to standard output."""
    console = OutputConsole()
    if not console.is_terminal:
        console = OutputConsole(width=WIDTH)
    for one in found.measured:
        console.print(Text(printable(heading(one)), 'bold'))
        console.print(table_of(one))
        if one.judged:
            console.print(Text(printable(f'  {one.judged}')))
        console.print()
    facts = found.facts
    console.print(
        Text(
            printable(
                f'From a decoded picture of {facts["picture"][0]}x{facts["picture"][1]} to depth '
                f'at the size of the network, beside eager torch in float32 (x eager). '
                f'{facts["cpu"]}, {facts["cores"]} processors, {facts["threads"]} threads, load '
                f'{facts["load_average"][0]} to {facts["load_average"][1]}, {facts["seconds"]} s.'
            )
        )
    )
    for line in found.absent:
        console.print(Text(printable(f'not measured: {line}'), 'yellow'))


def heading(one: Measured) -> str:
    """Model, size and weights."""
    return f'{one.model} at {one.input[0]}x{one.input[1]} ({one.weights})'


def table_of(one: Measured) -> Table:
    """One row per backend and precision; the fastest is bold."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for title, width in COLUMNS:
        table.add_column(title, justify='right' if title else 'left', width=width, no_wrap=True)
    best = one.fastest()
    for way in one.ways:
        table.add_row(*cells(way), style='bold' if way is best else None)
    return table


def cells(way: Way) -> list[str]:
    """One row; `strays` is AbsRel from the same backend's float32, on trained weights."""
    strays = '' if way.deviation is None else f'{way.deviation[1]:.4f}'
    return [
        f'  {way.name}',
        _number(way.ms, 1),
        _number(way.x_eager, 2),
        _number(1e3 / way.ms, 1),
        _number(way.cpu_ms, 1),
        _number(way.rss_mb, 0),
        _number(way.start_s, 2),
        strays,
    ]


def _number(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'
