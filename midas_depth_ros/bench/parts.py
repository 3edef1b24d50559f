"""The parts of the benchmark that need no ROS: the network alone, and the whole pipeline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from midas_depth_ros.bench import usual_recipe
from midas_depth_ros.bench.contestants import Contestant
from midas_depth_ros.bench.pictures import picture
from midas_depth_ros.bench.result import NETWORK, PIPELINE, Row, row
from midas_depth_ros.bench.roofline import network_gflops
from midas_depth_ros.bench.rounds import Times, timed_in_turn

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
