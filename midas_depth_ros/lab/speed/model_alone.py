"""One way to run one model, loaded alone, for its memory and its start.

    python -m midas_depth_ros.lab.speed.model_alone JOB

JOB: see `jobs.Job`. Imports what a robot would, and no more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from midas_depth_ros.depth.backends import find_backend
from midas_depth_ros.depth.model_check import PICTURES, sample_pictures
from midas_depth_ros.lab.speed.jobs import Job, at_size, carry_out

RUNS = 3  # after the first, before the memory is read
STATUS = Path('/proc/self/status')
KIB, MIB = 2**10, 2**20


def alone(job: Job) -> dict[str, Any]:
    """Seconds from the start of this process to the first depth, and memory in MiB.

    The memory after some runs, and the most there ever was. Raises DepthError.
    """
    at_size(job.model, job.short_side)
    weights = Path(job.weights)
    factory = find_backend(job.backend, weights.suffix, job.precision)
    backend = factory(weights, job.threads, job.precision)
    (sample,) = sample_pictures(PICTURES[:1]).values()
    rgb = np.asarray(cv2.resize(sample, job.picture), np.uint8)
    backend.infer(backend.preprocess(rgb))
    start_s = time.time() - job.began
    for _ in range(RUNS):
        backend.infer(backend.preprocess(rgb))
    memory = memory_mib()
    return {'start_s': start_s, 'rss_mb': memory['VmRSS'], 'peak_mb': memory['VmHWM']}


def memory_mib() -> dict[str, float]:
    """Resident memory of this process now (VmRSS) and at most (VmHWM), in MiB; 0 if unknown."""
    found = {'VmRSS': 0.0, 'VmHWM': 0.0}
    try:
        for line in STATUS.read_text().splitlines():
            name, _, value = line.partition(':')
            if name in found:
                found[name] = int(value.split()[0]) * KIB / MIB
    except (OSError, ValueError, IndexError):
        pass
    return found


if __name__ == '__main__':
    sys.exit(carry_out(sys.argv[1:], alone))
