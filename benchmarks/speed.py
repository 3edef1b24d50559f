"""The time of single steps: a model, the geometry, overlapping, rendering.

    python -m benchmarks.speed model embedded --threads 1 --threads 2
    python -m benchmarks.speed geometry
    python -m benchmarks.speed overlap
    python -m benchmarks.speed places

`midas_depth bench` measures whole frames.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from midas_depth_ros.depth import DepthError
from midas_depth_ros.depth.backends import BACKENDS, find_backend, model_of
from midas_depth_ros.depth.models.spec import enlarged
from midas_depth_ros.geometry import (
    Beams,
    CameraMount,
    ScaleShift,
    closeness,
    compare_with_floor,
    find_obstacles,
    fit_ground_plane,
    mount_in_view,
)
from midas_depth_ros.lab.speed.candidates import Candidate, find_weights, load_candidate
from midas_depth_ros.lab.speed.run import picture
from midas_depth_ros.views import Heatmap, HeatmapOptions
from training.places import WORLDS, Sample, sample
from training.places.floor_views import disturbed, room_view


@click.group()
def main() -> None:
    """Time single steps."""


# --- One picture, by model, backend and number of threads: from a decoded picture to relative
# inverse depth at network size, and the network's part of it.

WARM_UP = 10


def model_ms(
    model: str, backend: str, threads: int, precision: str, size: tuple[int, int], runs: int
) -> tuple[str, np.ndarray]:
    """Return the precision, and (runs, 2) ms of preprocessing and network. Raises DepthError."""
    cv2.setNumThreads(threads)
    weights = find_weights(model).path
    factory = find_backend(backend, weights.suffix, precision, model_of(weights))
    network = factory(weights, threads, precision)
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


@main.command()
@click.argument('models', nargs=-1)
@click.option('--threads', multiple=True, type=int, default=(1, 2), show_default=True)
@click.option('--precision', multiple=True, default=('f32', 'auto'), show_default=True)
@click.option('--size', nargs=2, default=(640, 480), show_default=True, help='Of the picture.')
@click.option('--runs', default=200, show_default=True)
def model(
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
                    got, times = model_ms(model, backend, count, asked, size, runs)
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


# --- From relative inverse depth to obstacles on one core, in rendered rooms of 256x192.
#
# The fastest run of every room counts. In a third of them UNKNOWN pixels are unknown.

REPEATS = 5
NOISE, UNKNOWN = 0.02, 0.1


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return the result, and the fastest of REPEATS runs in milliseconds."""
    fastest = math.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = call(*arguments, **options)
        fastest = min(fastest, time.perf_counter() - start)
    return result, 1000 * fastest


def geometry_ms(rooms: int, seed: int) -> dict[str, list[float]]:
    """Return milliseconds of every step, one per room whose floor was found."""
    rng = np.random.default_rng(seed)
    steps = (
        *('fit_ground_plane', 'find_obstacles', 'scan', 'beams (once per mount)'),
        *('compare_with_floor', 'mount_in_view'),
    )
    taken: dict[str, list[float]] = {step: [] for step in steps}
    for room in range(rooms):
        view = room_view(rng)
        mount = CameraMount(view.pose.z_m, view.pose.pitch_rad, view.pose.roll_rad)
        grid = view.camera.normalised_grid()
        d, *_ = disturbed(view, rng, noise=NOISE)
        if room % 3 == 2:
            d[rng.random(d.shape) < UNKNOWN] = np.nan
        fit, milliseconds = timed(fit_ground_plane, d, grid, mount)
        taken['fit_ground_plane'].append(milliseconds)
        if not isinstance(fit, ScaleShift):
            continue
        in_metres, metres = fit.inverse_depth(d), ScaleShift(1.0, 0.0, 'model')
        _, milliseconds = timed(compare_with_floor, in_metres, grid, mount, metres)
        taken['compare_with_floor'].append(milliseconds)
        _, milliseconds = timed(mount_in_view, in_metres, grid, metres)
        taken['mount_in_view'].append(milliseconds)
        z = fit.depth(d, min_depth_m=0, beyond=math.inf)
        found, milliseconds = timed(find_obstacles, z, grid, mount, residual=fit.residual)
        taken['find_obstacles'].append(milliseconds)
        angles = {'angle_min': -0.8, 'angle_max': 0.8, 'angle_increment': 0.01}
        beams, milliseconds = timed(Beams, grid, mount, **angles)
        taken[steps[3]].append(milliseconds)
        _, milliseconds = timed(beams.scan, found, range_min=0.1, range_max=6.0)
        taken[steps[2]].append(milliseconds)
    return taken


@main.command()
@click.option('--rooms', default=60, show_default=True)
@click.option('--seed', default=0, show_default=True)
def geometry(rooms: int, seed: int) -> None:
    """Time the steps on one core."""
    os.sched_setaffinity(0, {0})
    cv2.setNumThreads(1)
    table = Table('step', 'rooms', 'median ms', 'largest ms')
    for step, values in geometry_ms(rooms, seed).items():
        table.add_row(step, str(len(values)), f'{np.median(values):.2f}', f'{max(values):.2f}')
    console = Console()
    console.print(table)
    console.print(f'one core, load {os.getloadavg()[0]:.1f}')


# --- Whether it helps to make the outputs of a frame in a second thread while the next one is in
# the network, on a robot without a GPU, where the network uses all cores.

SIZE = (640, 480)
FRAMES = 15  # of a turn


class Outputs:
    """Depth, closeness and heatmap as messages."""

    def __init__(self) -> None:
        self._heatmap, self._options, self._stamp_s = Heatmap(), HeatmapOptions(), 0.0

    def make(self, small: Any) -> None:
        """Make the outputs of one frame."""
        from std_msgs.msg import Header  # the other steps need no ROS

        from midas_depth_ros.nodes.ros.messages import serialised_bgr, serialised_image

        self._stamp_s += 0.1
        closeness(small)
        shape = (SIZE[1], SIZE[0])
        serialised_image(enlarged(small, shape), Header())
        rgb = self._heatmap.render(small, None, self._stamp_s, self._options, shape)
        serialised_bgr(rgb, Header())


def in_turn(one: Candidate, outputs: Outputs) -> None:
    """Process one frame after another."""
    for _ in range(FRAMES):
        outputs.make(one.network(one.preprocess(picture(*SIZE))))


def overlapped(one: Candidate, outputs: Outputs) -> None:
    """Make the outputs in a second thread."""
    waiting: queue.Queue[Any] = queue.Queue(1)

    def work() -> None:
        while (small := waiting.get()) is not None:
            outputs.make(small)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(FRAMES):
        waiting.put(one.network(one.preprocess(picture(*SIZE))))
    waiting.put(None)
    thread.join()


@main.command()
@click.option('--backend', default='openvino', show_default=True)
@click.option('--precision', default='bf16', show_default=True)
@click.option('--turns', default=30, show_default=True)
def overlap(backend: str, precision: str, turns: int) -> None:
    """Print the milliseconds per frame of both ways."""
    one, outputs = load_candidate(backend, precision, find_weights('auto').path, 0), Outputs()
    ways: dict[str, Callable[[Candidate, Outputs], None]] = {
        'one after another': in_turn,
        'overlapped': overlapped,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            before, cpu_before = time.perf_counter(), time.process_time()
            way(one, outputs)
            if turn:  # the first one warms up
                wall[name].append(1e3 * (time.perf_counter() - before) / FRAMES)
                cpu[name].append(1e3 * (time.process_time() - cpu_before) / FRAMES)
    for name in ways:
        click.echo(
            f'{name}: median {np.median(wall[name]):.1f} ms, fastest {min(wall[name]):.1f} ms, '
            f'CPU {np.median(cpu[name]):.1f} ms per frame'
        )


# --- Rendering of the training places on one core, by kind of place.

COLUMNS = 4


Draw = Callable[[int], Sample]


def samples_per_second(draw: Draw, count: int) -> tuple[float, float]:
    """Return samples per second of CPU time and of wall-clock time, after a warm-up."""
    for seed in range(count // 4 + 30):
        draw(seed)
    busy, wall = time.process_time(), time.perf_counter()
    for seed in range(10**6, 10**6 + count):
        draw(seed)
    return count / (time.process_time() - busy), count / (time.perf_counter() - wall)


def beside_depth(drawn: Sample) -> np.ndarray:
    """Return the picture and its inverse depth in colours, BGR."""
    inverse = 1 / np.maximum(drawn.depth_z, 1e-3)
    grey = np.clip(255 * inverse / max(np.percentile(inverse, 99), 1e-6), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.concatenate([drawn.rgb[..., ::-1], colours], axis=1)


def write_sheet(path: Path, draw: Draw, rows: int, first: int) -> None:
    tiles = [beside_depth(draw(first + i)) for i in range(rows * COLUMNS)]
    lines = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    if not cv2.imwrite(str(path), np.concatenate(lines)):
        raise click.ClickException(f'{path} could not be written')


@main.command()
@click.option('--world', type=click.Choice(list(WORLDS)), default='wider', show_default=True)
@click.option('--count', default=200, show_default=True, help='Number of samples of every kind.')
@click.option('--width', default=256, show_default=True)
@click.option('--height', default=192, show_default=True)
@click.option('--kind', help='Only this kind of the world.')
@click.option('--sheet', type=click.Path(path_type=Path), help='Write a sheet instead of timing.')
@click.option('--rows', default=6, show_default=True, help='Of the sheet.')
@click.option('--first', default=0, show_default=True, help='First seed of the sheet.')
@click.option('--textures', type=click.Choice(['train', 'eval']), default='train')
def places(
    world: str,
    count: int,
    width: int,
    height: int,
    kind: str | None,
    sheet: Path | None,
    rows: int,
    first: int,
    textures: str,
) -> None:
    """Time the rendering on one core, or write a sheet of samples beside their depth."""
    if kind is not None and kind not in WORLDS[world]:
        raise click.BadParameter(f'{kind} is not one of {", ".join(WORLDS[world])}')

    def drawer(kind: str | None) -> Draw:
        return lambda seed: sample(seed, width, height, kind, textures, world)

    if sheet is not None:
        write_sheet(sheet, drawer(kind), rows, first)
        return
    cv2.setNumThreads(1)
    table = Table('kind', 'per second of one core', 'per second of wall clock')
    for name in [kind] if kind else [*WORLDS[world], None]:
        busy, wall = samples_per_second(drawer(name), count)
        table.add_row(name or 'as trained on', f'{busy:.0f}', f'{wall:.0f}')
    Console().print(table)


if __name__ == '__main__':
    main()
