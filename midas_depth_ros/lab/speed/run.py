"""One run of the benchmark: a `Plan` comes in, a `Result` goes out.

All that is compared is measured side by side within the run.
"""

from __future__ import annotations

import contextlib
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

from midas_depth_ros.depth import models
from midas_depth_ros.depth.backends import AUTO, BACKENDS, find_backend, model_of
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import cores
from midas_depth_ros.lab.speed.candidates import (
    F32,
    USUAL_RECIPE,
    Candidate,
    Weights,
    candidate_of,
    find_candidates,
    load_candidate,
)
from midas_depth_ros.lab.speed.random_weights import CANNOT_JUDGE
from midas_depth_ros.sim import moving_scene, render

# --- Timing several functions side by side, so that a disturbance affects all of them.

WARM_UP_ROUNDS, WARM_UP_SHARE = 3, 0.25  # the share is of the whole time
LEAST_ROUNDS, MOST_OVERTIME = 5, 1.5
# Thread pools spin for a while after their work, which must not slow down the next function.
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
    """Call each function once per round, for about `seconds` in all."""
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
    """Return whether to go on: LEAST_ROUNDS rounds, within MOST_OVERTIME, then until `seconds`."""
    if rounds < LEAST_ROUNDS:
        return rounds < 1 or elapsed_s < MOST_OVERTIME * seconds
    return elapsed_s < seconds


# --- The result: rows for the table and for JSON.

NETWORK, PIPELINE, NODE = 'network', 'pipeline', 'node'
NO_NETWORK = 'no network'  # the node around a network that costs nothing


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
        """Return the row as a dictionary with rounded numbers."""
        values = dataclasses.asdict(self)
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}


def row(
    part: str, backend: str, precision: str, size: str, times: Times, usual_ms: float | None
) -> Row:
    """Return a row of times; `usual_ms` is the median of the usual recipe, if it was measured."""
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
    """The result of a run; `absent` lists what could not run, `facts` machine and versions."""

    rows: list[Row] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    loads: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    scaling: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    absent: list[str] = dataclasses.field(default_factory=list)

    def of(self, part: str, size: str = '') -> list[Row]:
        """Return the rows of a part, and of one size if given."""
        return [one for one in self.rows if one.part == part and size in ('', one.size)]

    def chosen(self) -> Row | None:
        """Return the row of the node that `auto` selects, or of the fastest one."""
        wanted = self.facts.get('auto')
        nodes = [one for one in self.of(NODE) if one.backend in BACKENDS]
        same = [one for one in nodes if [one.backend, one.precision] == wanted]
        fastest = sorted(nodes, key=lambda one: one.median_ms)
        return next(iter(same + fastest), None)

    def to_json(self) -> dict[str, Any]:
        """Return one object; `rss_mb` and `start_s` are those of the node with `auto`."""
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


# --- The picture for all timings: a corridor of the procedural world, with noise.

TIME_S = 3.0
NOISE = 4.0  # of 255, as a camera's


@functools.lru_cache(maxsize=8)
def picture(width: int, height: int) -> NDArray[np.uint8]:
    """Return a (height, width, 3) uint8 RGB picture, read-only."""
    scene = moving_scene(0)
    seen = render(scene.scene_at(TIME_S), scene.camera, scene.pose_at(TIME_S)).rgb
    rgb = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    rgb += np.random.default_rng(0).normal(0, NOISE, rgb.shape).astype(np.float32)
    noisy = np.clip(rgb, 0, 255).astype(np.uint8)
    noisy.setflags(write=False)
    return noisy


# --- The parts without ROS: the network alone, and the pipeline.

Size = tuple[int, int]  # width, height


def size_text(size: Size) -> str:
    """Return a size as text, such as 640x480."""
    return f'{size[0]}x{size[1]}'


def network_rows(
    candidates: Sequence[Candidate], model: str, size: Size, seconds: float
) -> list[Row]:
    """Time the network alone, for the input that a picture of this size gives."""
    inputs = {one.name: one.preprocess(picture(*size)) for one in candidates}
    calls = {one.name: functools.partial(one.network, inputs[one.name]) for one in candidates}
    shape = next(iter(inputs.values())).shape[:1:-1]
    rows = _rows(NETWORK, candidates, (shape[0], shape[1]), calls, seconds)
    return [
        dataclasses.replace(one, gflops=network_gflops(model, (shape[0], shape[1]), one.median_ms))
        for one in rows
    ]


def pipeline_rows(candidates: Sequence[Candidate], size: Size, seconds: float) -> list[Row]:
    """Time the way from a picture of this size to depth and heatmap at its size."""
    calls = {one.name: functools.partial(one.pipeline, picture(*size)) for one in candidates}
    return _rows(PIPELINE, candidates, size, calls, seconds)


def _rows(
    part: str,
    candidates: Sequence[Candidate],
    size: Size,
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
) -> list[Row]:
    times = timed_in_turn(calls, seconds)
    usual_ms = next((times[one.name].median_ms for one in candidates if one.is_usual), None)
    return [
        row(part, one.backend, one.precision, size_text(size), times[one.name], usual_ms)
        for one in candidates
    ]


# --- How near a network comes to the limit of the machine: NumPy's float32 matrix product.

SIDE = 1024
REPEATS = 12


def matrix_product_gflops() -> float:
    """Return the best GFLOP/s of some float32 products of 1024x1024 matrices, on all processors."""
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
    """Return the GFLOP/s of a network of input (width, height); None if its cost is unknown."""
    work = models.spec(model).giga_operations.get(size) if model in models.names() else None
    return None if work is None else work / median_ms * 1e3


# --- The pipeline of one backend by number of threads and by picture size.


def by_threads(
    weights: Path,
    who: tuple[str, str],
    size: Size,
    seconds: float,
    network_size: NetworkSize = OFFICIAL,
) -> list[dict[str, Any]]:
    """Return one entry per number of threads: 1, 2, 4 ... and the number of processors."""
    most = cores()
    counts = sorted({1 << power for power in range(most.bit_length())} | {most})
    counts = [count for count in counts if count <= most]
    rgb = picture(*size)
    calls = {
        count: functools.partial(load_candidate(*who, weights, count, network_size).pipeline, rgb)
        for count in counts
    }
    times = timed_in_turn(calls, seconds)
    return [{'threads': count, **_line(times[count])} for count in counts]


def by_size(
    weights: Path,
    who: tuple[str, str],
    num_threads: int,
    sizes: Sequence[Size],
    seconds: float,
    network_size: NetworkSize = OFFICIAL,
) -> list[dict[str, Any]]:
    """Return one entry per picture size."""
    pipeline = load_candidate(*who, weights, num_threads, network_size).pipeline
    calls = {size: functools.partial(pipeline, picture(*size)) for size in sizes}
    times = timed_in_turn(calls, seconds)
    return [{'size': size_text(size), **_line(times[size])} for size in sizes]


def _line(times: Times) -> dict[str, float]:
    return {
        'median_ms': round(times.median_ms, 3),
        'p95_ms': round(times.percentile_ms(95), 3),
        'cpu_ms': round(times.cpu_ms, 3),
    }


# --- The run.

Report = Callable[[str], None]
LIBRARIES = ('openvino', 'onnxruntime', 'torch', 'opencv-python-headless', 'numpy', 'rclpy')
SQUARE, VGA, HD = (480, 480), (640, 480), (1280, 720)
OTHER_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Seconds for each part, 0 = skipped; `deadline_s` is for all, from the start of the run."""

    network_s: float = 12.0
    pipeline_s: float = 15.0
    node_s: float = 25.0
    scaling_s: float = 5.0
    load_s: float = 6.0
    network_pictures: tuple[Size, ...] = (VGA, SQUARE)
    pipeline_pictures: tuple[Size, ...] = (VGA, HD)
    every_node: bool = True
    loading_s: float = float('inf')
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
    loading_s=10.0,
    deadline_s=32.0,
)
NODE_RESERVE_S = 9.0  # of the deadline: for starting and measuring a node
LEAST_S = 1.0


class Run:
    """Carries out a plan."""

    def __init__(
        self,
        weights: Weights,
        num_threads: int,
        plan: Plan,
        report: Report,
        size: NetworkSize = OFFICIAL,
    ) -> None:
        self._weights, self._num_threads, self._size = weights, num_threads, size
        self._plan, self._report = plan, report
        self._end = time.monotonic() + plan.deadline_s
        self.result = Result()

    def carry_out(self, logs: Path) -> Result:
        """Measure everything; `logs` is the folder for the logs of the nodes."""
        logs.mkdir(parents=True, exist_ok=True)  # minutes before the nodes write there
        began, load_before = time.monotonic(), os.getloadavg()[0]
        ready = self._auto()
        auto = (ready[0].backend, ready[0].precision) if ready else None
        candidates, absent = find_candidates(
            self._weights.path,
            self._num_threads,
            self._report,
            self._plan.loading_s,
            ready,
            size=self._size,
        )
        self.result.absent += absent
        self._measure_parts(candidates)
        self._measure_scaling(auto)
        self._measure_nodes(candidates, auto, logs)
        self.result.facts.update(
            {
                'model': self._weights.name,
                'weights': self._weights.note,
                'judged': not self._weights.random,
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

    def _auto(self) -> list[Candidate]:
        """Return the backend that `auto` selects, as a list of at most one.

        In f32 with random weights: `auto` would judge precisions by them, and they say nothing.
        """
        self._report('finding what auto selects')
        precision = F32 if self._weights.random else AUTO
        try:
            path = self._weights.path
            factory = find_backend(AUTO, path.suffix, precision, model_of(path))
            backend = factory(path, self._num_threads, precision, self._size)
        except DepthError as error:
            self.result.absent.append(f'auto: {error}')
            return []
        self.result.facts['auto_choice'] = CANNOT_JUDGE if self._weights.random else backend.choice
        return [candidate_of(backend, self._weights.path)]

    def _seconds(self, wanted: float, shares: int = 1) -> float:
        """Return the planned seconds, or what the deadline leaves of them."""
        left = (self._end - time.monotonic() - NODE_RESERVE_S) / shares
        return max(min(wanted, left), LEAST_S)

    def _measure_parts(self, candidates: list[Candidate]) -> None:
        if not candidates:
            return
        for size in self._plan.network_pictures:
            self._report(f'the network alone, {size_text(size)}')
            seconds = self._seconds(self._plan.network_s, 2)
            self.result.rows += network_rows(candidates, self._weights.name, size, seconds)
        for size in self._plan.pipeline_pictures:
            self._report(f'picture to depth and heatmap, {size_text(size)}')
            seconds = self._seconds(self._plan.pipeline_s)
            self.result.rows += pipeline_rows(candidates, size, seconds)

    def _measure_scaling(self, auto: tuple[str, str] | None) -> None:
        if not self._plan.scaling_s or auto is None:
            return

        self._report('by threads and by size')
        path, seconds = self._weights.path, self._plan.scaling_s
        self.result.scaling['threads'] = by_threads(path, auto, VGA, seconds, self._size)
        self.result.scaling['size'] = by_size(
            path, auto, self._num_threads, OTHER_SIZES, seconds, self._size
        )

    def _measure_nodes(
        self, candidates: list[Candidate], auto: tuple[str, str] | None, logs: Path
    ) -> None:
        if not self._plan.node_s or auto is None:
            return
        try:
            from midas_depth_ros.lab.speed import nodes
            from midas_depth_ros.lab.speed.nodes import BenchError
        except ModuleNotFoundError as error:
            self.result.absent.append(f'node: {error}: source a ROS 2 installation')
            return
        pipelines = self.result.of(PIPELINE, size_text(VGA))
        usual_ms = next((one.median_ms for one in pipelines if one.backend == USUAL_RECIPE), None)
        whos = [auto]
        if self._plan.every_node:
            whos = [(one.backend, one.precision) for one in candidates]
            whos += [(NO_NETWORK, 'f32')]
        try:
            rows, absent = nodes.node_rows(
                whos,
                self._weights.path,
                self._num_threads,
                max(min(self._plan.node_s, self._end - time.monotonic() - 3.0), LEAST_S),
                logs,
                self._report,
                usual_ms,
                self._size,
            )
            self.result.rows += rows
            self.result.absent += absent
            if self._plan.load_s:
                self._measure_loads(auto, logs)
        except BenchError as error:
            self.result.absent.append(f'node: {error}')

    def _measure_loads(self, auto: tuple[str, str], logs: Path) -> None:
        from midas_depth_ros.lab.speed.nodes import SITUATIONS, node_parameters, shares

        parameters: dict[str, Any] = node_parameters(
            self._weights.path, self._num_threads, auto, self._size
        )
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
    """Return the versions of the LIBRARIES that are installed."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
