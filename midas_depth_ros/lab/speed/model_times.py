"""All ways to run one model, timed side by side in a process of their own.

    python -m midas_depth_ros.lab.speed.model_times JOB

JOB: see `jobs.Job`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.model_check import Deviation, measure_deviation, sample_pictures
from midas_depth_ros.lab.output import print_status
from midas_depth_ros.lab.speed.candidates import F32, Candidate, find_candidates
from midas_depth_ros.lab.speed.jobs import Job, at_size, carry_out
from midas_depth_ros.lab.speed.run import picture, timed_in_turn

PRECISIONS = ('f32', 'bf16')


def every_way(job: Job) -> dict[str, Any]:
    """Time every backend and precision, and the usual recipe, from a picture to depth.

    Side by side, so that a disturbance affects all of them.
    """
    model = at_size(job.model, job.short_side)
    candidates, absent = find_candidates(
        Path(job.weights),
        job.threads,
        print_status,
        precisions=PRECISIONS,
        backends=tuple(BACKENDS) if model.onnx else ('torch',),
        without=job.without,
    )
    rgb = picture(*job.picture)
    calls = {one.name: functools.partial(_depth, one, rgb) for one in candidates}
    print_status('timing')
    times = timed_in_turn(calls, job.seconds)
    judged = deviations(candidates) if job.trained else {}
    usual = next((times[one.name].median_ms for one in candidates if one.is_usual), None)
    rows = []
    for one in candidates:
        found, deviation = times[one.name], judged.get(one.name)
        rows.append(
            {
                'backend': one.backend,
                'precision': one.precision,
                'ms': found.median_ms,
                'fastest_ms': float(found.wall_ms.min()),
                'cpu_ms': found.cpu_ms,
                'runs': len(found.wall_ms),
                'x_eager': usual / found.median_ms if usual else None,
                'deviation': deviation and [deviation.correlation, deviation.abs_rel],
                'within_bound': deviation and deviation.within_bound,
            }
        )
    width, height = model.picture.network_size(*job.picture)
    return {'rows': rows, 'absent': absent, 'input': [width, height]}


def _depth(one: Candidate, rgb: Any) -> Any:
    return one.network(one.preprocess(rgb))


def deviations(candidates: Sequence[Candidate]) -> dict[str, Deviation]:
    """Of each faster precision from the same backend's float32, on the sample pictures."""
    found = {}
    for _, group in groupby(candidates, key=lambda one: one.backend):
        ways = {one.precision: one for one in group}
        exact = ways.pop(F32, None)
        for other in ways.values() if exact else ():
            print_status(f'measuring how far {other.name} strays')
            first, second = (functools.partial(_depth, one) for one in (exact, other) if one)
            found[other.name] = measure_deviation(first, second, sample_pictures())
    return found


if __name__ == '__main__':
    sys.exit(carry_out(sys.argv[1:], every_way))
