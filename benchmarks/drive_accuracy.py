"""What odometry, sigma and fusion do for metres, on short rendered drives with exact depth.

Each drive is 0.8 m long, of nine frames, and is judged by its last one. The network's answer is
either the exact inverse depth, disturbed as in `benchmarks.accuracy`, or that of a real network on
the rendered picture. The parts are called as the node calls them.

    python -m benchmarks.drive_accuracy --write docs/accuracy.md
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import (
    DISTANCES_M,
    DISTURBANCES,
    WRONG,
    depth_error,
    distance_error,
    floor_in_plain_view,
    header,
    mount_of,
    truth,
)
from benchmarks.metric_on_real import best_fit
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.geometry import (
    Agreement,
    CameraMount,
    MetricDepth,
    MetricFrame,
    ParallaxScale,
    Refusal,
    ScaleShift,
    fit_ground_plane,
    inverse_depth_sigma,
)
from midas_depth_ros.options.metric import FusionOptions, MetricOptions
from training.places.floor_drives import (
    AMBIGUOUS_DRIVES,
    PICTURE,
    DriveFrame,
    disturbed_drive,
    room_drive,
    wall_drive,
)

Answer = tuple[np.ndarray, float, float]  # d, and the scale and shift that are right for it
SLIP = 0.2
HALF_WAY = 5  # the frame after 0.5 m
EMBEDDED = 'embedded model'


@dataclasses.dataclass(frozen=True)
class Means:
    """What makes metres: sources by their names in `Agreement`, and what is done with them."""

    sources: tuple[str, ...] = ('ground_plane',)
    sigma: bool = False
    fusion: bool = False


FLOOR, ODOMETRY = 'ground_plane', 'odometry'
COLUMNS = {
    'floor alone': Means(),
    '+ odometry (auto)': Means((FLOOR, ODOMETRY)),
    '+ sigma': Means(sigma=True),
    '+ fusion': Means(fusion=True),
    'all': Means((FLOOR, ODOMETRY), sigma=True, fusion=True),
}
ALONE = Means((ODOMETRY,))


# --- One drive through the parts, as the node calls them.


@dataclasses.dataclass
class Outcome:
    """The last frame of a drive: its metres, or why there are none; and that after 0.5 m."""

    scale: ScaleShift | None
    half_way: ScaleShift | None
    frame: MetricFrame | None
    nearest_m: float
    reason: str


class Timer:
    """Seconds by part, of every call."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def __call__(self, part: str, call: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = call()
        self.seconds[part].append(time.perf_counter() - start)
        return result
