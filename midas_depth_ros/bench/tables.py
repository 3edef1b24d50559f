"""A result as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from midas_depth_ros.bench.result import HOLLOW, Result, Row
from midas_depth_ros.commands.output import OutputConsole
from midas_depth_ros.images.errors import printable

PIPE_WIDTH = 150  # columns where there is no terminal
COLUMNS = (
    'part', 'backend', 'precision', 'size', 'median ms', 'p95 ms', 'x usual', 'CPU ms', 'GFLOP/s',
    'MB', 'start s',
)  # fmt: skip
NUMBERS_FROM = 4


def show(result: Result) -> None:
    """Print a result to standard output."""
    console = OutputConsole()
    if not console.is_terminal:
        console = OutputConsole(width=PIPE_WIDTH)
    console.print(main_table(result))
    facts = result.facts
    for line in (
        f'{facts["model"]} ({facts["weights"]}), {facts["cpu"]}, {facts["cores"]} processors, '
        f'load {facts["load_average"][0]} to {facts["load_average"][1]}, {facts["seconds"]} s',
        f'auto takes {" ".join(facts["auto"] or ["nothing"])}: {facts.get("auto_choice", "")}',
        f'a plain float32 matrix product reaches {facts["matrix_product_gflops"]} GFLOP/s here',
    ):
        console.print(Text(printable(line)))
    for table in scaling_tables(result):
        console.print(table)
    for line in result.absent:
        console.print(Text(printable(f'left out: {line}'), 'yellow'))


def main_table(result: Result) -> Table:
    """All rows; of each part and size the fastest stands out."""
    table = Table(*COLUMNS)
    for column in table.columns[NUMBERS_FROM:]:
        column.justify = 'right'
    last: tuple[str, str] | None = None
    for row in result.rows:
        group = row.part, row.size
        if last is not None and group != last:
            table.add_section()
        last = group
        rivals = [one.median_ms for one in result.of(*group) if one.backend != HOLLOW]
        fastest = row.backend != HOLLOW and row.median_ms == min(rivals)
        table.add_row(*cells(row), style='bold' if fastest else None)
    return table


def cells(row: Row) -> list[str]:
    """One row as text."""
    return [
        row.part,
        row.backend,
        row.precision,
        row.size,
        _number(row.median_ms, 1),
        _number(row.p95_ms, 1),
        _number(row.ratio_to_usual, 2),
        _number(row.cpu_ms, 1),
        _number(row.gflops, 0),
        _number(row.rss_mb, 0),
        _number(row.start_s, 2),
    ]


def scaling_tables(result: Result) -> list[Table]:
    """By threads, by size, and the CPU share in each situation; those that were measured."""
    tables = []
    for what, lines in result.scaling.items():
        table = Table(what, 'median ms', 'p95 ms', 'CPU ms', title=f'picture to heatmap, by {what}')
        for line in lines:
            table.add_row(*(_cell(value) for value in line.values()))
        tables.append(table)
    if result.loads:
        table = Table('situation', 'CPU % of one core', 'heatmaps per s', title='a running node')
        for name, share in result.loads.items():
            table.add_row(name, _cell(share['cpu_percent']), _cell(share['frames_per_s']))
        tables.append(table)
    return tables


def _cell(value: Any) -> str:
    return _number(value, 1) if isinstance(value, float) else str(value)


def _number(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'
