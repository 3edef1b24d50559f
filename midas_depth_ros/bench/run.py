"""One run of the benchmark: what is measured, for how long, in which order.

In: a model's name and a `Plan`. Out: a `Result`. Everything that is compared is measured side by
side within this run; what cannot take part is left out with its reason.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from midas_depth_ros.bench import parts, processes, roofline
from midas_depth_ros.bench.contestants import Contestant, gather, of_backend
from midas_depth_ros.bench.result import HOLLOW, PIPELINE, Result
from midas_depth_ros.bench.weights import Weights
from midas_depth_ros.depth.backends import AUTO, find_backend
from midas_depth_ros.depth.errors import DepthError

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
    network_pictures: tuple[parts.Size, ...] = (VGA, SQUARE)
    pipeline_pictures: tuple[parts.Size, ...] = (VGA, HD)
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
                'matrix_product_gflops': round(roofline.matrix_product_gflops(), 1),
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
            self._report(f'the network alone, {parts.words(size)}')
            seconds = self._seconds(self._plan.network_s, 2)
            self.result.rows += parts.network_rows(contestants, self._weights.name, size, seconds)
        for size in self._plan.pipeline_pictures:
            self._report(f'picture to depth and heatmap, {parts.words(size)}')
            seconds = self._seconds(self._plan.pipeline_s)
            self.result.rows += parts.pipeline_rows(contestants, size, seconds)

    def _measure_scaling(self, auto: tuple[str, str] | None) -> None:
        if not self._plan.scaling_s or auto is None:
            return
        from midas_depth_ros.bench.scaling import by_size, by_threads

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
            from midas_depth_ros.bench import node_part
            from midas_depth_ros.bench.over_dds import BenchError
        except ModuleNotFoundError as error:
            self.result.absent.append(f'node: {error}: source a ROS 2 installation')
            return
        usual = parts.usual_row(self.result.of(PIPELINE, parts.words(VGA)))
        whos = [auto]
        if self._plan.every_node:
            whos = [(one.backend, one.precision) for one in contestants]
            whos += [(HOLLOW, 'f32')]
        logs.mkdir(parents=True, exist_ok=True)
        try:
            rows, absent = node_part.node_rows(
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
        from midas_depth_ros.bench.load import shares
        from midas_depth_ros.bench.node_part import node_parameters
        from midas_depth_ros.bench.situations import SITUATIONS

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
