"""What was measured: rounds side by side, rows, and tables of them."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from midas_depth_ros.depth.backends import AUTO, BACKENDS, find_backend
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.output import OutputConsole
from midas_depth_ros.lab.processes import cores
from midas_depth_ros.lab.speed import contestants as usual_recipe
from midas_depth_ros.lab.speed.contestants import Contestant, Weights, gather, loaded, of_backend
from midas_depth_ros.options.text import printable
from midas_depth_ros.sim import moving_scene, render

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


# --- One run of the benchmark: what is measured, for how long, in which order.
#
# In: a model's name and a `Plan`. Out: a `Result`. Everything that is compared is measured side by
# side within this run; what cannot take part is left out with its reason.

# --- The picture that everything is timed with: a corridor of the procedural world, with noise.

TIME_S = 3.0
NOISE = 4.0  # of 255, as a camera's


@functools.lru_cache(maxsize=8)
def picture(width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, read-only."""
    scene = moving_scene(0)
    seen = render(scene.scene_at(TIME_S), scene.camera, scene.pose_at(TIME_S)).rgb
    rgb = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    rgb += np.random.default_rng(0).normal(0, NOISE, rgb.shape).astype(np.float32)
    noisy = np.clip(rgb, 0, 255).astype(np.uint8)
    noisy.setflags(write=False)
    return noisy


# --- The parts of the benchmark that need no ROS: the network alone, and the whole pipeline.

Size = tuple[int, int]  # width, height


def words(size: Size) -> str:
    """A size for people: 640x480."""
    return f'{size[0]}x{size[1]}'


def network_rows(
    contestants: Sequence[Contestant], model: str, size: Size, seconds: float
) -> list[Row]:
    """The network alone, on what a picture of this size becomes."""
    inputs = {one.name: one.preprocess(picture(*size)) for one in contestants}
    calls = {one.name: functools.partial(one.network, inputs[one.name]) for one in contestants}
    shape = next(iter(inputs.values())).shape[:1:-1]
    rows = _rows(NETWORK, contestants, (shape[0], shape[1]), calls, seconds)
    return [
        dataclasses.replace(one, gflops=network_gflops(model, (shape[0], shape[1]), one.median_ms))
        for one in rows
    ]


def pipeline_rows(contestants: Sequence[Contestant], size: Size, seconds: float) -> list[Row]:
    """From a picture of this size to depth and heatmap at its size."""
    calls = {one.name: functools.partial(one.pipeline, picture(*size)) for one in contestants}
    return _rows(PIPELINE, contestants, size, calls, seconds)


def _rows(
    part: str,
    contestants: Sequence[Contestant],
    size: Size,
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
) -> list[Row]:
    times = timed_in_turn(calls, seconds)
    usual_ms = usual_median(contestants, times)
    return [
        row(part, one.backend, one.precision, words(size), times[one.name], usual_ms)
        for one in contestants
    ]


def usual_median(contestants: Sequence[Contestant], times: dict[str, Times]) -> float | None:
    """The median of the usual recipe, or None where it is not among them."""
    return next((times[one.name].median_ms for one in contestants if one.is_usual), None)


def usual_row(rows: Sequence[Row]) -> Row | None:
    """The row of the usual recipe, or None where it is not among them."""
    return next((one for one in rows if one.backend == usual_recipe.NAME), None)


# --- How near a network comes to what this machine can do at all.
#
# The limit is what a plain float32 matrix product reaches here, which NumPy's BLAS is written for.

# Floating point operations of one run, a multiplication and an addition counted apart.
GIGA_OPERATIONS = {
    ('midas_small', (256, 256)): 9.19,
    ('midas_small', (256, 192)): 6.89,
    ('midas_small', (256, 128)): 4.60,
}
SIDE = 1024
REPEATS = 12


def matrix_product_gflops() -> float:
    """GFLOP/s of the best of some float32 products of 1024x1024 matrices, on all processors."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(a)
    best = float('inf')
    for _ in range(REPEATS):
        before = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - before)
    return 2 * SIDE**3 / best / 1e9


def network_gflops(model: str, size: tuple[int, int], median_ms: float) -> float | None:
    """What a network of this input size (width, height) reached; None where its cost is unknown."""
    work = GIGA_OPERATIONS.get((model, size))
    return None if work is None else work / median_ms * 1e3


# --- How the pipeline of one backend gets faster with threads and slower with larger pictures.


def by_threads(
    weights: Path, who: tuple[str, str], size: Size, seconds: float
) -> list[dict[str, Any]]:
    """A line per number of threads: 1, 2, 4 ... and as many as there are processors."""
    most = cores()
    counts = sorted({1 << power for power in range(most.bit_length())} | {most})
    counts = [count for count in counts if count <= most]
    rgb = picture(*size)
    calls = {
        count: functools.partial(loaded(*who, weights, count).pipeline, rgb) for count in counts
    }
    times = timed_in_turn(calls, seconds)
    return [{'threads': count, **_line(times[count])} for count in counts]


def by_size(
    weights: Path, who: tuple[str, str], num_threads: int, sizes: Sequence[Size], seconds: float
) -> list[dict[str, Any]]:
    """A line per size of the picture."""
    pipeline = loaded(*who, weights, num_threads).pipeline
    calls = {size: functools.partial(pipeline, picture(*size)) for size in sizes}
    times = timed_in_turn(calls, seconds)
    return [{'size': words(size), **_line(times[size])} for size in sizes]


def _line(times: Times) -> dict[str, float]:
    return {
        'median_ms': round(times.median_ms, 3),
        'p95_ms': round(times.percentile_ms(95), 3),
        'cpu_ms': round(times.cpu_ms, 3),
    }


Report = Callable[[str], None]
LIBRARIES = ('openvino', 'onnxruntime', 'torch', 'opencv-python-headless', 'numpy', 'rclpy')
SQUARE, VGA, HD = (480, 480), (640, 480), (1280, 720)
OTHER_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Seconds for each part; what is 0 is left out. `deadline_s` is for everything, from now."""

    network_s: float = 12.0
    pipeline_s: float = 15.0
    node_s: float = 25.0
    scaling_s: float = 5.0
    load_s: float = 6.0
    network_pictures: tuple[Size, ...] = (VGA, SQUARE)
    pipeline_pictures: tuple[Size, ...] = (VGA, HD)
    every_node: bool = True
    gather_s: float = float('inf')
    deadline_s: float = float('inf')


QUICK = Plan(
    network_s=4.0,
    pipeline_s=5.0,
    node_s=4.0,
    scaling_s=0.0,
    load_s=0.0,
    network_pictures=(VGA,),
    pipeline_pictures=(VGA,),
    every_node=False,
    gather_s=10.0,
    deadline_s=32.0,
)
NODE_RESERVE_S = 9.0  # of a plan with a deadline: for a node to start and to be measured
LEAST_S = 1.0


class Run:
    """Carries a plan out."""

    def __init__(self, weights: Weights, num_threads: int, plan: Plan, report: Report) -> None:
        self._weights, self._num_threads = weights, num_threads
        self._plan, self._report = plan, report
        self._end = time.monotonic() + plan.deadline_s
        self.result = Result()

    def carry_out(self, logs: Path) -> Result:
        """Measure everything; `logs` is a folder for those of the nodes."""
        began, load_before = time.monotonic(), os.getloadavg()[0]
        ready = self._auto()
        auto = (ready[0].backend, ready[0].precision) if ready else None
        contestants, absent = gather(
            self._weights.path, self._num_threads, self._report, self._plan.gather_s, ready
        )
        self.result.absent += absent
        self._measure_parts(contestants)
        self._measure_scaling(auto)
        self._measure_nodes(contestants, auto, logs)
        self.result.facts.update(
            {
                'model': self._weights.name,
                'weights': self._weights.note,
                'auto': list(auto) if auto else None,
                'cpu': processes.cpu_name(),
                'cores': processes.cores(),
                'threads': self._num_threads or processes.cores(),
                'matrix_product_gflops': round(matrix_product_gflops(), 1),
                'system': f'{platform.system()} {platform.machine()}, Python '
                f'{platform.python_version()}',
                'versions': versions(),
                'load_average': [round(load_before, 2), round(os.getloadavg()[0], 2)],
                'seconds': round(time.monotonic() - began, 1),
            }
        )
        return self.result

    def _auto(self) -> list[Contestant]:
        """What a node would take by itself; none where there is nothing to be had."""
        self._report('asking what auto takes')
        try:
            factory = find_backend(AUTO, self._weights.path.suffix)
            backend = factory(self._weights.path, self._num_threads, AUTO)
        except DepthError as error:
            self.result.absent.append(f'auto: {error}')
            return []
        self.result.facts['auto_choice'] = backend.choice
        return [of_backend(backend, self._weights.path)]

    def _seconds(self, wanted: float, shares: int = 1) -> float:
        """As long as planned, or what the deadline leaves of it."""
        left = (self._end - time.monotonic() - NODE_RESERVE_S) / shares
        return max(min(wanted, left), LEAST_S)

    def _measure_parts(self, contestants: list[Contestant]) -> None:
        if not contestants:
            return
        for size in self._plan.network_pictures:
            self._report(f'the network alone, {words(size)}')
            seconds = self._seconds(self._plan.network_s, 2)
            self.result.rows += network_rows(contestants, self._weights.name, size, seconds)
        for size in self._plan.pipeline_pictures:
            self._report(f'picture to depth and heatmap, {words(size)}')
            seconds = self._seconds(self._plan.pipeline_s)
            self.result.rows += pipeline_rows(contestants, size, seconds)

    def _measure_scaling(self, auto: tuple[str, str] | None) -> None:
        if not self._plan.scaling_s or auto is None:
            return

        self._report('by threads and by size')
        path, seconds = self._weights.path, self._plan.scaling_s
        self.result.scaling['threads'] = by_threads(path, auto, VGA, seconds)
        self.result.scaling['size'] = by_size(path, auto, self._num_threads, OTHER_SIZES, seconds)

    def _measure_nodes(
        self, contestants: list[Contestant], auto: tuple[str, str] | None, logs: Path
    ) -> None:
        if not self._plan.node_s or auto is None:
            return
        try:
            from midas_depth_ros.lab.speed import nodes
            from midas_depth_ros.lab.speed.nodes import BenchError
        except ModuleNotFoundError as error:
            self.result.absent.append(f'node: {error}: source a ROS 2 installation')
            return
        usual = usual_row(self.result.of(PIPELINE, words(VGA)))
        whos = [auto]
        if self._plan.every_node:
            whos = [(one.backend, one.precision) for one in contestants]
            whos += [(NO_NETWORK, 'f32')]
        logs.mkdir(parents=True, exist_ok=True)
        try:
            rows, absent = nodes.node_rows(
                whos,
                self._weights.path,
                self._num_threads,
                max(min(self._plan.node_s, self._end - time.monotonic() - 3.0), LEAST_S),
                logs,
                self._report,
                usual.median_ms if usual else None,
            )
            self.result.rows += rows
            self.result.absent += absent
            if self._plan.load_s:
                self._measure_loads(auto, logs)
        except BenchError as error:
            self.result.absent.append(f'node: {error}')

    def _measure_loads(self, auto: tuple[str, str], logs: Path) -> None:
        from midas_depth_ros.lab.speed.nodes import SITUATIONS, node_parameters, shares

        parameters: dict[str, Any] = node_parameters(self._weights.path, self._num_threads, auto)
        found = shares(
            SITUATIONS, 'nodes.depth.node', parameters, logs, self._plan.load_s, self._report
        )
        self.result.loads = {
            name: {
                'cpu_percent': round(share.cpu_percent, 2),
                'frames_per_s': round(share.frames_per_s, 2),
            }
            for name, share in found.items()
        }


def versions() -> dict[str, str]:
    """Of the libraries that matter, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
