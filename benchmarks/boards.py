"""Writes the table of boards of docs/performance.md, from what `midas_depth bench --share` wrote.

    midas_depth bench --share benchmarks/boards/raspberry_pi_5.json   # on the board: 5 minutes
    python -m benchmarks.boards

The rows are in the order of the file names. A board file is text of others: it is checked, and
what it says is escaped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchmarks.performance_page import PAGE, VGA, write_block
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE
from midas_depth_ros.lab.speed.run import NODE, PIPELINE
from midas_depth_ros.lab.speed.share import SCHEMA, SCHEMA_VERSION
from midas_depth_ros.options.files import SETTINGS_BYTES, UnreadableFile, read_file
from midas_depth_ros.options.text import printable, shown

BOARDS = Path(__file__).parent / 'boards'
NUMBER = (int, float)
MOST = 1e9  # of any number in a file: more comes from somebody who made it up
FIELDS: dict[str, Any] = {
    'midas_depth_ros': str, 'measured': str, 'machine': dict, 'model': str, 'threads': int,
    'random_weights': bool, 'load_average': list, 'versions': dict, 'rows': list,
}  # fmt: skip
MACHINE_FIELDS: dict[str, Any] = {
    'board': str, 'cpu': str, 'cores': int, 'features': list, 'virtual': bool,
    'memory_gb': NUMBER, 'system': str,
}  # fmt: skip
ROW_FIELDS: dict[str, Any] = {
    'part': str, 'backend': str, 'precision': str, 'size': str, 'median_ms': NUMBER,
    'cpu_ms': NUMBER,
}  # fmt: skip
# Columns of milliseconds, from a picture of 640x480 to depth and heatmap: backend and precision.
COLUMNS = (
    (USUAL_RECIPE, 'f32'), ('openvino', 'f32'), ('openvino', 'bf16'), ('openvino', 'f16'),
    ('openvino', 'int8'), ('onnxruntime', 'f32'), ('torch', 'f32'), ('tflite', 'f32'),
)  # fmt: skip

Json = dict[str, Any]


class BoardError(click.ClickException):
    """A file is not what `bench --share` writes; the text says why."""


def read_board(path: Path) -> Json:
    """Return what a board file says. Raises BoardError where it is none."""
    try:
        board = json.loads(read_file(path, SETTINGS_BYTES))
    except (UnreadableFile, ValueError, RecursionError) as error:
        raise BoardError(f'{path.name}: {error}') from error
    if not isinstance(board, dict) or board.get('schema') != SCHEMA:
        raise BoardError(f'{path.name} is not a file of `midas_depth bench --share`')
    if board.get('schema_version') != SCHEMA_VERSION:
        version = board.get('schema_version')
        raise BoardError(f'{path.name} has schema version {version!r}: this reads {SCHEMA_VERSION}')
    _check(path, board, FIELDS)
    _check(path, board['machine'], MACHINE_FIELDS)
    for row in board['rows']:
        _check(path, row, ROW_FIELDS)
    return board


def _check(path: Path, found: Any, fields: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise BoardError(f'{path.name}: {shown(found)} is not an object')
    for name, kind in fields.items():
        value = found.get(name)
        if not isinstance(value, kind) or (isinstance(value, NUMBER) and not abs(value) < MOST):
            raise BoardError(f'{path.name}: {name} is {shown(value)}')


def table(boards: list[Json]) -> str:
    """Return a Markdown table, a row for each board, without columns that nobody measured."""
    shown = [who for who in COLUMNS if any(_row(board, PIPELINE, who) for board in boards)]
    heads = ['board', 'memory, GB', 'load', *(' '.join(who) for who in shown)]
    heads += ['node: stamp to heatmap', 'CPU', 'MB']
    lines = [f'| {" | ".join(heads)} |', f'| --- |{" --: |" * (len(heads) - 1)}']
    for board in boards:
        cells = [_name(board), f'{board["machine"]["memory_gb"]:.0f}', _load(board)]
        for who in shown:
            row = _row(board, PIPELINE, who)
            cells.append(f'{row["median_ms"]:.0f}' if row else '')
        lines.append(f'| {" | ".join([*cells, *_node(board)])} |')
    return '\n'.join(lines)


def _row(board: Json, part: str, who: tuple[str, str]) -> Json | None:
    rows = (row for row in board['rows'] if (row['part'], row['size']) == (part, VGA))
    return next((row for row in rows if (row['backend'], row['precision']) == who), None)


def _node(board: Json) -> list[str]:
    auto = board.get('auto')
    who = (auto[0], auto[1]) if isinstance(auto, list) and len(auto) == 2 else ('', '')
    row = _row(board, NODE, who)
    if row is None:
        return [''] * 3
    memory = row.get('rss_mb')
    return [
        f'{row["median_ms"]:.0f} ({_escaped(" ".join(who))})',
        f'{row["cpu_ms"]:.0f}',
        f'{memory:.0f}' if isinstance(memory, NUMBER) else '',
    ]


def _name(board: Json) -> str:
    machine = board['machine']
    features = ', '.join(_escaped(name) for name in machine['features'])
    virtual = ' of a virtual machine' if machine['virtual'] else ''
    weights = ', random weights' if board['random_weights'] else ''
    name = _escaped(machine['board'] or machine['cpu'])
    return (
        f'**{name}**, {board["threads"]} of {machine["cores"]} cores{virtual} ({features}); '
        f'{_escaped(machine["system"])}; {_escaped(board["model"])}{weights}; '
        f'{_escaped(board["midas_depth_ros"])}, {_escaped(board["measured"])}'
    )


def _load(board: Json) -> str:
    numbers = [f'{value:.1f}' for value in board['load_average'] if isinstance(value, NUMBER)]
    return ' to '.join(numbers)


def _escaped(text: Any) -> str:
    """Text of a file, for a cell of a Markdown table."""
    plain = printable(str(text))
    return ''.join(f'\\{char}' if char in '\\|`*_<>[]' else char for char in plain)


@click.command()
@click.argument('files', nargs=-1, type=click.Path(path_type=Path))
@click.option('--page', default=PAGE, show_default=True, type=click.Path(path_type=Path))
def main(files: tuple[Path, ...], page: Path) -> None:
    """Write the table of FILES, by default of all in benchmarks/boards, into the page."""
    paths = files or sorted(BOARDS.glob('*.json'))
    write_block(page, 'boards', table([read_board(path) for path in paths]))
    click.echo(f'written: {page}')


if __name__ == '__main__':
    main()
