#!/usr/bin/env python3
"""How many samples of the procedural world one core makes per second, by kind of place.

Prints samples per second of processor time and of wall-clock time for each kind and for the mix
that training takes; `--sheet` writes a sheet of samples beside their depth to look at.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from training.places import PLACES, Sample, sample

COLUMNS = 4


def measure(kind: str | None, count: int, width: int, height: int) -> tuple[float, float]:
    """(samples per second of processor time, of wall-clock time), once everything is warm."""
    for seed in range(count // 4 + 30):
        sample(seed, width, height, kind)
    busy, wall = time.process_time(), time.perf_counter()
    for seed in range(10**6, 10**6 + count):
        sample(seed, width, height, kind)
    return count / (time.process_time() - busy), count / (time.perf_counter() - wall)


def beside_depth(drawn: Sample) -> np.ndarray:
    """The picture and its inverse depth in colours, BGR."""
    inverse = 1 / np.maximum(drawn.depth_z, 1e-3)
    grey = np.clip(255 * inverse / max(np.percentile(inverse, 99), 1e-6), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.concatenate([drawn.rgb[..., ::-1], colours], axis=1)


def write_sheet(path: Path, kind: str | None, rows: int, first: int, textures: str) -> None:
    tiles = [
        beside_depth(sample(first + i, kind=kind, textures=textures)) for i in range(rows * COLUMNS)
    ]
    lines = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    if not cv2.imwrite(str(path), np.concatenate(lines)):
        raise click.ClickException(f'{path} could not be written')


@click.command()
@click.option('--count', default=200, show_default=True, help='Samples to time of every kind.')
@click.option('--width', default=256, show_default=True)
@click.option('--height', default=192, show_default=True)
@click.option('--kind', type=click.Choice(list(PLACES)), help='Only this kind.')
@click.option('--sheet', type=click.Path(path_type=Path), help='Write a sheet instead of timing.')
@click.option('--rows', default=6, show_default=True, help='Of the sheet.')
@click.option('--first', default=0, show_default=True, help='First seed of the sheet.')
@click.option('--textures', type=click.Choice(['train', 'eval']), default='train')
def main(
    count: int,
    width: int,
    height: int,
    kind: str | None,
    sheet: Path | None,
    rows: int,
    first: int,
    textures: str,
) -> None:
    """Time the world on one core, or look at it."""
    if sheet is not None:
        write_sheet(sheet, kind, rows, first, textures)
        return
    cv2.setNumThreads(1)
    table = Table('kind', 'per second of one core', 'per second of wall clock')
    for name in [kind] if kind else [*PLACES, None]:
        busy, wall = measure(name, count, width, height)
        table.add_row(name or 'as trained on', f'{busy:.0f}', f'{wall:.0f}')
    Console().print(table)


if __name__ == '__main__':
    main()
