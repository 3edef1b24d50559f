"""Timing several things side by side, so that what disturbs one disturbs all.

Functions come in, each is called once per round, and the times of each go out. Only within one
run are they to be compared.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

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
