"""What the way from relative inverse depth to obstacles costs on one core, in rendered rooms.

Every room is measured several times and its fastest run counts; printed are median and
largest of the rooms. 2 % noise, 256x192, in a third of them a tenth of the pixels unknown.

    python -m benchmarks.geometry_speed
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from midas_depth_ros.geometry import (
    Beams,
    CameraMount,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
)
from training.places.floor_views import disturbed, room_view

REPEATS = 5
NOISE, UNKNOWN = 0.02, 0.1


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the fastest of some runs in milliseconds."""
    fastest = math.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = call()
        fastest = min(fastest, time.perf_counter() - start)
    return result, 1000 * fastest


def measure(rooms: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds of every step, one per room whose floor was found."""
    rng = np.random.default_rng(seed)
    steps = ('fit_ground_plane', 'find_obstacles', 'scan', 'beams (once per mount)')
    taken: dict[str, list[float]] = {step: [] for step in steps}
    for room in range(rooms):
        view = room_view(rng)
        mount = CameraMount(view.pose.z_m, view.pose.pitch_rad, view.pose.roll_rad)
        grid = view.camera.normalised_grid()
        d, *_ = disturbed(view, rng, noise=NOISE)
        if room % 3 == 2:
            d[rng.random(d.shape) < UNKNOWN] = np.nan
        fit, milliseconds = timed(lambda: fit_ground_plane(d, grid, mount))  # noqa: B023
        taken['fit_ground_plane'].append(milliseconds)
        if not isinstance(fit, ScaleShift):
            continue
        z = fit.depth(d, min_depth_m=0, beyond=math.inf)
        found, milliseconds = timed(
            lambda: find_obstacles(z, grid, mount, residual=fit.residual)  # noqa: B023
        )
        taken['find_obstacles'].append(milliseconds)
        angles = {'angle_min': -0.8, 'angle_max': 0.8, 'angle_increment': 0.01}
        beams, milliseconds = timed(lambda: Beams(grid, mount, **angles))  # noqa: B023
        taken[steps[3]].append(milliseconds)
        _, milliseconds = timed(
            lambda: beams.scan(found, range_min=0.1, range_max=6.0)  # noqa: B023
        )
        taken[steps[2]].append(milliseconds)
    return taken


@click.command()
@click.option('--rooms', default=60, show_default=True)
@click.option('--seed', default=0, show_default=True)
def main(rooms: int, seed: int) -> None:
    """Time the steps on one core."""
    os.sched_setaffinity(0, {0})
    cv2.setNumThreads(1)
    table = Table('step', 'rooms', 'median ms', 'largest ms')
    for step, values in measure(rooms, seed).items():
        table.add_row(step, str(len(values)), f'{np.median(values):.2f}', f'{max(values):.2f}')
    console = Console()
    console.print(table)
    console.print(f'one core, load {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
