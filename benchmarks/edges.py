"""Cost and gain of enlarging depth along the edges of the picture, for docs/edges.md.

    python -m benchmarks.edges                 # with the embedded model
    python -m benchmarks.edges --model midas_small

Pictures of the procedural world with exact depth; relative inverse depth is scaled to 1/Z by least
squares, and the error counted within 3 pixels of where depth jumps, and elsewhere.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.performance_page import write_block
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.lab.speed.run import timed_in_turn
from midas_depth_ros.views import enlarge_along_edges
from training.places import sample

KINDS = ('room', 'corridor', 'street', 'clutter', 'table', 'open')
SEEDS = (1_950_000_001, 1_950_000_002, 1_950_000_003)  # none of those of training
WIDTH, HEIGHT = 640, 480
SIZES = ((640, 480), (1280, 720))
JUMP = 1.25  # of depth between neighbours, at least
NEAR_EDGE = 3  # pixels
SECONDS = 3.0  # of timing, for each size

HEADER = """\
| enlarged | near edges [1/m] | to bilinear | worse | elsewhere [1/m] | {} | {} |
| --- | --- | --- | --- | --- | --- | --- |"""
Floats = NDArray[np.float32]
Enlarge = Callable[[Floats, NDArray[np.uint8], tuple[int, int]], Floats]


def bilinear(values: Floats, picture: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """Enlarge as for heatmaps without the filter."""
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def bicubic(values: Floats, picture: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """Enlarge as for depth images without the filter."""
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


WAYS: dict[str, Enlarge] = {
    'bilinear': bilinear,
    'bicubic': bicubic,
    'along edges': enlarge_along_edges,
}


@dataclasses.dataclass
class Errors:
    """Mean errors in 1/m of every picture, near edges and elsewhere."""

    near: list[float] = dataclasses.field(default_factory=list)
    elsewhere: list[float] = dataclasses.field(default_factory=list)


@click.command()
@click.option('--model', default='embedded', show_default=True)
@click.option('--write', 'page', type=click.Path(dir_okay=False, path_type=Path))
def main(model: str, page: Path | None) -> None:
    """Measure, print the table, and write it into a page (docs/edges.md)."""
    estimator = load_estimator(model, allow_download=False)
    errors = {name: Errors() for name in WAYS}
    for kind in KINDS:
        for seed in SEEDS:
            view = sample(seed, WIDTH, HEIGHT, kind)
            exact = (1 / view.depth_z).astype(np.float32)
            small = estimator.infer(view.rgb)
            scale, shift = fitted(bilinear(small, view.rgb, exact.shape), exact)
            near = near_edges(exact)
            for name, enlarge in WAYS.items():
                large = enlarge(small, view.rgb, (HEIGHT, WIDTH))
                wrong = np.abs(scale * large + shift - exact)
                errors[name].near.append(float(wrong[near].mean()))
                errors[name].elsewhere.append(float(wrong[~near].mean()))
    costs = [costs_ms(*size) for size in SIZES]
    text = table(errors, costs)
    if page:
        write_block(page, 'edges', text)
    click.echo(text)


def fitted(values: Floats, exact: Floats) -> tuple[float, float]:
    """Return scale and shift of relative inverse depth, by least squares."""
    columns = np.stack([values.ravel(), np.ones(values.size, np.float32)], axis=1)
    scale, shift = np.linalg.lstsq(columns, exact.ravel(), rcond=None)[0]
    return float(scale), float(shift)


def near_edges(exact: Floats) -> NDArray[np.bool_]:
    """Return the pixels within NEAR_EDGE of a jump of depth."""
    depth, three = np.log(1 / np.maximum(exact, 1e-3)), np.ones((3, 3), np.uint8)
    jumps = cv2.dilate(depth, three) - cv2.erode(depth, three) > np.log(JUMP)
    side = 2 * NEAR_EDGE + 1
    return cv2.dilate(jumps.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def costs_ms(width: int, height: int) -> dict[str, float]:
    """Return the median time of each way for a picture of this size, from 256x192 or 256x160."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    small = rng.random((192 if height * 4 == width * 3 else 160, 256), np.float32)
    calls = {
        name: functools.partial(enlarge, small, picture, (height, width))
        for name, enlarge in WAYS.items()
    }
    return {name: times.median_ms for name, times in timed_in_turn(calls, SECONDS).items()}


def table(errors: dict[str, Errors], costs: list[dict[str, float]]) -> str:
    """Return the table of docs/edges.md."""
    base = errors['bilinear']
    lines = [HEADER.format(*(f'{width}x{height} [ms]' for width, height in SIZES))]
    for name, each in errors.items():
        worse = sum(a > b for a, b in zip(each.near, base.near, strict=True))
        lines.append(
            f'| {name} | {np.mean(each.near):.4f} | '
            f'{100 * (np.mean(each.near) / np.mean(base.near) - 1):+.1f} % | {worse} | '
            f'{np.mean(each.elsewhere):.4f} | {costs[0][name]:.1f} | {costs[1][name]:.1f} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
