#!/usr/bin/env python3
"""What enlarging along the edges of the picture costs and gains; writes docs/edges.md.

    python -m benchmarks.edges                 # with the embedded model
    python -m benchmarks.edges --model midas_small

Pictures of the procedural world with exact depth; relative inverse depth is scaled to 1/Z by least
squares, and the error counted within 3 pixels of where depth jumps, and elsewhere.
"""

from __future__ import annotations

import dataclasses
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.views import enlarge_along_edges
from training.places import sample

PAGE = Path(__file__).resolve().parents[1] / 'docs/edges.md'
KINDS = ('room', 'corridor', 'street', 'clutter', 'table', 'open')
SEEDS = (1_950_000_001, 1_950_000_002, 1_950_000_003)  # none of those of training
WIDTH, HEIGHT = 640, 480
SIZES = ((640, 480), (1280, 720))
JUMP = 1.25  # of depth between neighbours, at least
NEAR_EDGE = 3  # pixels
ROUNDS = 30

TEXT = """
# Enlarging along the edges of the picture

The network's output is 256 pixels wide. Bilinear enlargement gives everything in the foreground a
blurred rim. With `heatmap.edge_aware` and `depth.edge_aware` (`--edge-aware` of `image` and
`video`) the heatmap and `depth/image` are enlarged by a fast guided filter instead (He and Sun
2015, arXiv:1505.00996), whose guide is the picture. Both are off by default.

- Unknown stays unknown: an output pixel with any share of an unknown pixel gets no value.

- No value exceeds the range of the network's values nearby.

- Scan, obstacles, closeness, proximity, points and `relative_inverse_depth` always use the
network's output at its own size. A pattern in the picture may show through in the enlarged images.

Written by `python -m benchmarks.edges`: {pictures} rendered pictures of {size} ({kinds}), model
`{model}`; mean error of 1/Z in 1/m within {near} pixels of depth jumps of {jump} or more, and
elsewhere. "Worse" counts the pictures with a larger error near edges than bilinear. Times are
medians on one machine ({cores} cores), with pictures of noise.
"""
TABLE = """\
| enlarged | near edges [1/m] | to bilinear | worse | elsewhere [1/m] | {} | {} |
| --- | --- | --- | --- | --- | --- | --- |
"""
LAST = """\
Most of the error near edges comes from the network itself: it misses thin objects, or places them
too far away. The filter can only correct the position of the rim."""

Floats = NDArray[np.float32]
Enlarge = Callable[[Floats, NDArray[np.uint8], tuple[int, int]], Floats]


def bilinear(values: Floats, picture: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """As heatmaps are enlarged without it."""
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def bicubic(values: Floats, picture: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """As depth images are enlarged without it."""
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
def main(model: str) -> None:
    """Measure, and write the page."""
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
    costs = {name: [median_ms(enlarge, *size) for size in SIZES] for name, enlarge in WAYS.items()}
    PAGE.write_text(page(estimator.model, errors, costs), encoding='utf-8')
    click.echo(PAGE.read_text(encoding='utf-8'))


def fitted(values: Floats, exact: Floats) -> tuple[float, float]:
    """Scale and shift of relative inverse depth, by least squares."""
    columns = np.stack([values.ravel(), np.ones(values.size, np.float32)], axis=1)
    scale, shift = np.linalg.lstsq(columns, exact.ravel(), rcond=None)[0]
    return float(scale), float(shift)


def near_edges(exact: Floats) -> NDArray[np.bool_]:
    """Within NEAR_EDGE pixels of where depth jumps."""
    depth, three = np.log(1 / np.maximum(exact, 1e-3)), np.ones((3, 3), np.uint8)
    jumps = cv2.dilate(depth, three) - cv2.erode(depth, three) > np.log(JUMP)
    side = 2 * NEAR_EDGE + 1
    return cv2.dilate(jumps.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def median_ms(enlarge: Enlarge, width: int, height: int) -> float:
    """Of one picture of this size, from 256x192 or 256x160."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    small = rng.random((192 if height * 4 == width * 3 else 160, 256), np.float32)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        enlarge(small, picture, (height, width))
        times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times))


def page(model: str, errors: dict[str, Errors], costs: dict[str, list[float]]) -> str:
    """docs/edges.md."""
    base = errors['bilinear']
    rows = []
    for name, each in errors.items():
        worse = sum(a > b for a, b in zip(each.near, base.near, strict=True))
        rows.append(
            f'| {name} | {np.mean(each.near):.4f} | '
            f'{100 * (np.mean(each.near) / np.mean(base.near) - 1):+.1f} % | {worse} | '
            f'{np.mean(each.elsewhere):.4f} | {costs[name][0]:.1f} | {costs[name][1]:.1f} |\n'
        )
    text = TEXT.format(
        pictures=len(KINDS) * len(SEEDS),
        size=f'{WIDTH}x{HEIGHT}',
        kinds=', '.join(KINDS),
        model=model,
        near=NEAR_EDGE,
        jump=f'{JUMP - 1:.0%}',
        cores=os.cpu_count(),
    )
    filled = [textwrap.fill(each, 110, subsequent_indent='  ' * each.startswith('- '))
              for each in text.strip().split('\n\n')]  # fmt: skip
    table = TABLE.format(*(f'{width}x{height} [ms]' for width, height in SIZES)) + ''.join(rows)
    return '\n\n'.join([*filled, table, LAST]) + '\n'


if __name__ == '__main__':
    main()
