"""How the pipeline of one backend gets faster with threads and slower with larger pictures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midas_depth_ros.bench.contestants import loaded
from midas_depth_ros.bench.parts import Size, words
from midas_depth_ros.bench.pictures import picture
from midas_depth_ros.bench.processes import cores
from midas_depth_ros.bench.rounds import Times, timed_in_turn


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
