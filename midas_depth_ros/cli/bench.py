"""`midas_depth bench`: how fast depth is on this machine, as a table or one JSON object."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from midas_depth_ros.cli.bench_models import bench_models
from midas_depth_ros.cli.options import accept_licence_option, like, network_size_options
from midas_depth_ros.depth import models
from midas_depth_ros.depth.models import WEIGHTS_SUFFIXES, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.lab.output import OutputConsole, print_status, write_atomically
from midas_depth_ros.options.text import printable

if TYPE_CHECKING:
    from midas_depth_ros.lab.speed.run import Result

PIPE_WIDTH = 150  # columns where there is no terminal
COLUMNS = (
    'part', 'backend', 'precision', 'size', 'median ms', 'p95 ms', 'x usual', 'CPU ms', 'GFLOP/s',
    'MB', 'start s',
)  # fmt: skip
NUMBERS_FROM = 4
SHARED = 'midas_depth_board.json'
BOARDS = 'docs/performance.md says how'

HELP = """Measure how fast depth is on this machine.

The usual way to run MiDaS on a CPU (eager torch, float32) is timed side by side with every
installed backend and precision: the network alone, picture to depth and heatmap, and the node as a
process, from the stamp of an image to its heatmap over DDS. It takes about five minutes, and less
than 40 s with --quick, plus the first conversion of a model.

With --models it compares models instead: each of the names or weights files, or all of
`midas_depth models`, in processes of its own, from a decoded picture of 640x480 to depth at the
size of the network: milliseconds, CPU milliseconds, speed against eager torch in the same run, and
of the fastest in each precision memory and start. All models take a quarter of an hour.

With --share the figures and what they depend on (CPU, memory, system, versions) go into a small
JSON file for the table of boards in docs/performance.md: it is shown before it is written, and
names neither host nor user nor paths.

If the official weights are not on disk, random weights are used, which take the same time. Nothing
is judged by them: which precisions are accurate enough is known of trained weights only. What
cannot be measured is listed with the reason.
"""


@click.command(name='bench', help=HELP, context_settings={'show_default': True})
@click.argument('names', nargs=-1, metavar='[NAME]...')
@click.option('--quick', is_flag=True, help='Measure the main rows only, for less time.')
@click.option('--models', 'by_model', is_flag=True, help='Compare the models NAME..., or all.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@click.option(
    '--model', **like('model'), help=f'auto, {", ".join(models.names())} or a weights file.'
)
@accept_licence_option
@network_size_options
@click.option('--threads', **like('num_threads'), help='Threads for inference; 0 = all processors.')
@click.option(
    '--share',
    type=click.Path(dir_okay=False, path_type=Path),
    is_flag=False,
    flag_value=SHARED,
    default=None,
    metavar='[FILE]',
    help=f'Also write what can be sent in to FILE, {SHARED} if none is given.',
)
@click.option('--yes', is_flag=True, help='With --share: write the file without asking.')
@click.option(
    '--logs',
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    show_default='a temporary folder',
    help='Folder for the logs of the nodes.',
)
def bench(
    names: tuple[str, ...], quick: bool, by_model: bool, as_json: bool, model: str,
    accept_licence: str, network_size: int, network_aspect: float, threads: int,
    share: Path | None, yes: bool, logs: Path | None,
) -> None:  # fmt: skip
    """Measure, and print the result."""
    if share is not None and (as_json or by_model):
        raise click.UsageError(f'--share does not go with {"--json" if as_json else "--models"}')
    if yes and share is None:
        raise click.UsageError('--yes belongs to --share')
    if share is not None and not share.parent.is_dir():  # minutes before it is written
        raise click.UsageError(f'there is no folder {printable(share.parent)}: make it first')
    if by_model:
        sides = (network_size,) if network_size else ()
        bench_models(names, sides, quick=quick, as_json=as_json, threads=threads, logs=logs)
        return
    if names:
        raise click.UsageError('names of models belong to --models')
    size = NetworkSize(network_size, network_aspect)
    with tempfile.TemporaryDirectory(prefix='midas_depth_bench_') as temporary:
        result = measure(quick, model, threads, logs or Path(temporary), size, accept_licence)
    if as_json:
        click.echo(json.dumps(result.to_json()))
    else:
        show(result)
    if share is not None:
        write_shared(result, quick, share, yes)


def write_shared(result: Result, quick: bool, path: Path, without_asking: bool) -> None:
    """Show what would be shared, ask, and write it. Raises Abort if the answer is no."""
    from midas_depth_ros.lab.speed.share import as_text, shared

    text = as_text(shared(result, quick))
    click.echo(f'\n{text}')
    load, processors = result.facts['load_average'][0], result.facts['cores']
    if load > processors:
        print_status(
            f'others worked on this machine (load {load} on {processors} processors): the figures '
            'are too high, measure again when it is idle'
        )
    name = printable(path)
    if not without_asking:
        there = ', which is there' if path.exists() else ''
        click.confirm(f'Write this to {name}{there}?', abort=True)
    write_atomically(path, text.encode())
    click.echo(f'wrote {name}: for the table of boards, send it in ({BOARDS})')


def measure(
    quick: bool,
    model: str,
    threads: int,
    logs: Path,
    size: NetworkSize = OFFICIAL,
    accept_licence: str = '',
) -> Result:
    """Run the benchmark, with progress on standard error. Raises DepthError."""
    from midas_depth_ros.lab.speed.candidates import find_weights
    from midas_depth_ros.lab.speed.run import QUICK, Plan, Run

    plan = QUICK if quick else Plan()
    weights = find_weights(model, accept_licence)
    if weights.path.suffix.lower() in WEIGHTS_SUFFIXES:  # what no candidate can have
        size.applied_to(spec_of(weights.path))
    return Run(weights, threads, plan, print_status, size).carry_out(logs)


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
        auto_text(facts),
        f'a float32 matrix product reaches {facts["matrix_product_gflops"]} GFLOP/s here',
    ):
        console.print(Text(printable(line)))
    for table in scaling_tables(result):
        console.print(table)
    for line in result.absent:
        console.print(Text(printable(f'not measured: {line}'), 'yellow'))


def auto_text(facts: dict[str, Any]) -> str:
    """What `auto` selects and why; or that random weights cannot say."""
    chosen, why = ' '.join(facts['auto'] or ['nothing']), facts.get('auto_choice', '')
    if facts['judged']:
        return f'auto selects {chosen}: {why}'
    return f'the precision that auto selects is {why}; {chosen} stands for it here'


def main_table(result: Result) -> Table:
    """Return a table of all rows; the fastest of each part and size is bold."""
    from midas_depth_ros.lab.speed.run import NO_NETWORK

    table = Table(*COLUMNS)
    for column in table.columns[NUMBERS_FROM:]:
        column.justify = 'right'
    last: tuple[str, str] | None = None
    for row in result.rows:
        group = row.part, row.size
        if last is not None and group != last:
            table.add_section()
        last = group
        rivals = [one.median_ms for one in result.of(*group) if one.backend != NO_NETWORK]
        fastest = row.backend != NO_NETWORK and row.median_ms == min(rivals)
        numbers = (
            *((row.median_ms, 1), (row.p95_ms, 1), (row.ratio_to_usual, 2), (row.cpu_ms, 1)),
            *((row.gflops, 0), (row.rss_mb, 0), (row.start_s, 2)),
        )
        texts = [row.part, row.backend, row.precision, row.size]
        texts += [_number(value, digits) for value, digits in numbers]
        table.add_row(*texts, style='bold' if fastest else None)
    return table


def scaling_tables(result: Result) -> list[Table]:
    """Return the tables by threads, by picture size and by situation, if they were measured."""
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
