"""How long one picture takes, by model, backend and number of threads.

From a decoded picture to relative inverse depth at network size, preprocessing included; the first
runs are left out. Prints the fastest, the median and the slowest tenth.

    python -m benchmarks.model_speed embedded --threads 1 --threads 2
"""

from __future__ import annotations

import itertools
import os
import time

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from midas_depth_ros.depth import DepthError, load_estimator
from midas_depth_ros.depth.backends import BACKENDS

WARM_UP = 10


def milliseconds(
    model: str, backend: str, threads: int, precision: str, size: tuple[int, int], runs: int
) -> tuple[str, np.ndarray]:
    """The precision, and (runs,) of one estimator; raises DepthError where it cannot be loaded."""
    estimator = load_estimator(model, backend, threads, precision=precision, allow_download=False)
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    taken = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        estimator.infer(rgb)
        taken.append(1000 * (time.perf_counter() - start))
    estimator.close()
    return estimator.precision, np.array(taken[WARM_UP:])


@click.command()
@click.argument('models', nargs=-1)
@click.option('--threads', multiple=True, type=int, default=(1, 2), show_default=True)
@click.option('--precision', multiple=True, default=('f32', 'auto'), show_default=True)
@click.option('--size', nargs=2, default=(640, 480), show_default=True, help='Of the picture.')
@click.option('--runs', default=200, show_default=True)
def main(
    models: tuple[str, ...], threads: tuple[int, ...], precision: tuple[str, ...],
    size: tuple[int, int], runs: int,
) -> None:  # fmt: skip
    """Time MODELS (default: embedded) on every backend that runs them."""
    table = Table('model', 'backend', 'precision', 'threads')
    for column in ('fastest ms', 'median ms', 'slowest tenth ms'):
        table.add_column(column, justify='right')
    for model in models or ('embedded',):
        for backend, count in itertools.product(BACKENDS, threads):
            done = set()
            for asked in precision:
                try:
                    got, times = milliseconds(model, backend, count, asked, size, runs)
                except DepthError as error:
                    click.echo(f'{model} on {backend}: {error}', err=True)
                    break
                if got not in done:
                    figures = (times.min(), np.median(times), np.quantile(times, 0.9))
                    table.add_row(model, backend, got, str(count), *(f'{x:.1f}' for x in figures))
                done.add(got)
    console = Console()
    console.print(table)
    machine = f'{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}'
    console.print(f'pictures of {size[0]}x{size[1]}, {machine}')


if __name__ == '__main__':
    main()
