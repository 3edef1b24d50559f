"""How long one picture takes, by model, backend and number of threads.

From a decoded picture to relative inverse depth at network size, and the network's part of it; the
first runs are left out. Prints the fastest, the median and the slowest tenth of the whole, and the
median of the network.

    python -m benchmarks.model_speed embedded --threads 1 --threads 2
"""

from __future__ import annotations

import itertools
import os
import time

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from midas_depth_ros.depth import DepthError
from midas_depth_ros.depth.backends import BACKENDS, find_backend
from midas_depth_ros.lab.speed.contestants import find_weights

WARM_UP = 10


def milliseconds(
    model: str, backend: str, threads: int, precision: str, size: tuple[int, int], runs: int
) -> tuple[str, np.ndarray]:
    """The precision, and (runs, 2): preparation and network, of one model.

    Raises DepthError where it cannot be loaded.
    """
    cv2.setNumThreads(threads)
    weights = find_weights(model).path
    network = find_backend(backend, weights.suffix, precision)(weights, threads, precision)
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    taken = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        network_input = network.preprocess(rgb)
        prepared = time.perf_counter()
        network.infer(network_input)
        taken.append((1000 * (prepared - start), 1000 * (time.perf_counter() - prepared)))
    network.close()
    return network.precision, np.array(taken[WARM_UP:])


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
    for column in ('fastest ms', 'median ms', 'slowest tenth ms', 'network, median ms'):
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
                    whole, network = times.sum(axis=1), float(np.median(times[:, 1]))
                    slow = float(np.quantile(whole, 0.9))
                    figures = (whole.min(), float(np.median(whole)), slow, network)
                    table.add_row(model, backend, got, str(count), *(f'{x:.1f}' for x in figures))
                done.add(got)
    console = Console(width=120)
    console.print(table)
    machine = f'{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}'
    console.print(f'pictures of {size[0]}x{size[1]}, {machine}')


if __name__ == '__main__':
    main()
