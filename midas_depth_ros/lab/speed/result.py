"""What was measured: rounds side by side, rows, and tables of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from rich.table import Table
from rich.text import Text

from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.lab.output import OutputConsole
from midas_depth_ros.options.text import printable

# --- Timing several things side by side, so that what disturbs one disturbs all.
#
# Functions come in, each is called once per round, and the times of each go out. Only within one
# run are they to be compared.

WARM_UP_ROUNDS, WARM_UP_SHARE = 3, 0.25  # the share is of the time for all
LEAST_ROUNDS, MOST_OVERTIME = 5, 1.5
# Thread pools look for more work for a while; the next in turn shall not pay for that.
SETTLE_S = 0.003

Name = TypeVar('Name')


@dataclasses.dataclass(frozen=True)
class Times:
    """(n,) float64 milliseconds of wall clock, and the CPU time per call of the whole process."""

    wall_ms: np.ndarray
    cpu_ms: float

    @property
    def median_ms(self) -> float:
        """The median."""
        return float(np.median(self.wall_ms))

    def percentile_ms(self, percent: float) -> float:
        """A percentile."""
        return float(np.percentile(self.wall_ms, percent))


def timed_in_turn(calls: Mapping[Name, Callable[[], object]], seconds: float) -> dict[Name, Times]:
    """Call each function in turn for about this long altogether."""
    wall: dict[Name, list[float]] = {name: [] for name in calls}
    cpu: dict[Name, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for _ in range(WARM_UP_ROUNDS):
        for call in calls.values():
            call()
        if time.perf_counter() > begin + WARM_UP_SHARE * seconds:
            break
    rounds = 0
    while _goes_on(rounds, time.perf_counter() - begin, seconds):
        rounds += 1
        for name, call in calls.items():
            time.sleep(SETTLE_S)
            cpu_before, before = time.process_time(), time.perf_counter()
            call()
            wall[name].append(1e3 * (time.perf_counter() - before))
            cpu[name].append(1e3 * (time.process_time() - cpu_before))
    return {name: Times(np.array(wall[name]), float(np.median(cpu[name]))) for name in calls}


def _goes_on(rounds: int, elapsed_s: float, seconds: float) -> bool:
    """At least one round; a few where they are slow, within reason; then until time is up."""
    if rounds < LEAST_ROUNDS:
        return rounds < 1 or elapsed_s < MOST_OVERTIME * seconds
    return elapsed_s < seconds


# --- What was measured as rows, for the table and for JSON.

NETWORK, PIPELINE, NODE = 'network', 'pipeline', 'node'
NO_NETWORK = 'no network'  # the node around nothing: what is left without one


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `ratio_to_usual`: how many times faster than the usual recipe."""

    part: str
    backend: str
    precision: str
    size: str
    median_ms: float
    p95_ms: float
    ratio_to_usual: float | None
    p99_ms: float
    fastest_ms: float
    cpu_ms: float  # CPU time per frame; of a node all its threads
    runs: int
    rss_mb: float | None = None  # of a node
    start_s: float | None = None  # of a node: from its start to the first heatmap
    gflops: float | None = None  # of a network
    spread: float = 0.0  # half of the range from the 25th to the 75th percentile, per median

    def to_json(self) -> dict[str, Any]:
        """Rounded to what is measured."""
        values = dataclasses.asdict(self)
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}


def row(
    part: str, backend: str, precision: str, size: str, times: Times, usual_ms: float | None
) -> Row:
    """A row of some times; `usual_ms` is the median of the usual recipe, if it took part."""
    low, high = np.percentile(times.wall_ms, (25, 75))
    return Row(
        part,
        backend,
        precision,
        size,
        times.median_ms,
        times.percentile_ms(95),
        usual_ms / times.median_ms if usual_ms else None,
        times.percentile_ms(99),
        float(times.wall_ms.min()),
        times.cpu_ms,
        len(times.wall_ms),
        spread=float((high - low) / 2 / times.median_ms),
    )


@dataclasses.dataclass
class Result:
    """All of one run; `absent` says what was left out and why, `facts` on what and with what."""

    rows: list[Row] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    loads: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    scaling: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    absent: list[str] = dataclasses.field(default_factory=list)

    def of(self, part: str, size: str = '') -> list[Row]:
        """The rows of a part, of one size if it is named."""
        return [one for one in self.rows if one.part == part and size in ('', one.size)]

    def chosen(self) -> Row | None:
        """The row of the node that `auto` gives, or of the fastest one."""
        wanted = self.facts.get('auto')
        nodes = [one for one in self.of(NODE) if one.backend in BACKENDS]
        same = [one for one in nodes if [one.backend, one.precision] == wanted]
        fastest = sorted(nodes, key=lambda one: one.median_ms)
        return next(iter(same + fastest), None)

    def to_json(self) -> dict[str, Any]:
        """One object; `rss_mb` and `start_s` are of the node with the backend of `auto`."""
        node = self.chosen()
        return {
            **self.facts,
            'rss_mb': None if node is None or node.rss_mb is None else round(node.rss_mb, 1),
            'start_s': None if node is None or node.start_s is None else round(node.start_s, 2),
            'rows': [one.to_json() for one in self.rows],
            'loads': self.loads,
            'scaling': self.scaling,
            'absent': self.absent,
        }


# --- A result as tables in the terminal.

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
        rivals = [one.median_ms for one in result.of(*group) if one.backend != NO_NETWORK]
        fastest = row.backend != NO_NETWORK and row.median_ms == min(rivals)
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
