"""What was measured as rows, for the table and for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from midas_depth_ros.bench.rounds import Times
from midas_depth_ros.depth.backends import BACKENDS

NETWORK, PIPELINE, NODE = 'network', 'pipeline', 'node'
HOLLOW = 'no network'  # the node around nothing: what is left without one


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
