"""Whether closed, dark doors come out as doors, or as an open way into the dark.

On `sequences/rtabmap_corridor`, whose depth is not known, but whose doors can be seen: every closed
door that fills a sixth of the picture or more is declared below, by hand, with a part of the
picture beside it. A door at the side of the robot has to be nearer than the corridor's end. A door
in a wall ahead is as far away as that wall: it must not be farther by more than a 20th of the
picture's spread of relative inverse depth (5th to 95th percentile). A door that is ajar, or of
which it cannot be told, is left out.

    python -m benchmarks.closed_doors embedded
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.model_quality import data_folder
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.estimator import rgb_of

SEQUENCE = Path('sequences') / 'rtabmap_corridor'
WALL_TOLERANCE = 0.05  # of the spread: how much farther than its wall a door may seem

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of 512 x 384


@dataclass(frozen=True)
class Door:
    """The middle of a door in a frame, and of what is beside it."""

    frame: str
    door: Box
    beside: Box
    in_wall: bool  # beside is the wall that the door is in; else the end of the corridor


AT_THE_SIDE, AHEAD = False, True
DOORS = (
    Door('0005', (220, 80, 340, 350), (140, 80, 180, 300), AHEAD),
    Door('0009', (400, 60, 490, 360), (190, 200, 240, 300), AT_THE_SIDE),
    Door('0017', (330, 120, 410, 340), (120, 110, 280, 330), AHEAD),
    Door('0023', (245, 140, 360, 330), (135, 110, 205, 300), AHEAD),
    Door('0024', (235, 80, 390, 360), (80, 80, 190, 340), AHEAD),
    Door('0032', (395, 60, 475, 350), (170, 240, 220, 300), AT_THE_SIDE),
    Door('0035', (425, 60, 495, 350), (190, 240, 250, 300), AT_THE_SIDE),
    Door('0044', (155, 120, 260, 360), (108, 130, 132, 340), AHEAD),
    Door('0057', (345, 130, 460, 360), (100, 120, 300, 340), AHEAD),
    Door('0058', (380, 50, 500, 350), (40, 60, 320, 340), AHEAD),
    Door('0059', (335, 60, 420, 350), (80, 190, 130, 290), AT_THE_SIDE),
    Door('0063', (215, 140, 330, 330), (110, 120, 180, 320), AHEAD),
    Door('0070', (425, 60, 500, 350), (180, 250, 230, 310), AT_THE_SIDE),
    Door('0073', (425, 60, 490, 350), (180, 230, 240, 300), AT_THE_SIDE),
)


@dataclass(frozen=True)
class Seen:
    """How much nearer a door is than what is beside it, in spreads of the picture."""

    door: Door
    nearer: float

    @property
    def right(self) -> bool:
        return self.nearer > (-WALL_TOLERANCE if self.door.in_wall else 0.0)


def seen_of(door: Door, depth: NDArray[np.float32], size: tuple[int, int]) -> Seen:
    """Compare a door with what is beside it; depth (h, w) of a picture of `size` (H, W)."""
    spread = float(np.ptp(np.quantile(depth, (0.05, 0.95))))
    inside, beside = (float(np.median(part(depth, box, size))) for box in (door.door, door.beside))
    return Seen(door, (inside - beside) / max(spread, 1e-9))


def part(depth: NDArray[np.float32], box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
    """The pixels of a box of a picture of `size` (H, W) in depth of another size."""
    down, across = (small / large for small, large in zip(depth.shape, size, strict=True))
    left, top, right, bottom = box
    rows = slice(round(top * down), round(bottom * down))
    return depth[rows, round(left * across) : round(right * across)]


def doors_of(model: str, folder: Path) -> Iterator[Seen]:
    """Yield every declared door through a model."""
    estimator = load_estimator(model)
    for door in DOORS:
        rgb = rgb_of(folder / f'{door.frame}.jpg')
        yield seen_of(door, estimator.infer(rgb), rgb.shape[:2])


@click.command()
@click.argument('models', nargs=-1)
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
def main(models: tuple[str, ...], data: Path | None) -> None:
    """Look at closed doors through MODELS (default: embedded)."""
    folder = data_folder(data) / SEQUENCE
    found = {model: list(doors_of(model, folder)) for model in models or ('embedded',)}
    table = Table('frame', 'door', *(Path(model).name for model in found))
    for row, door in enumerate(DOORS):
        figures = [each[row] for each in found.values()]
        where = 'in the wall ahead' if door.in_wall else 'at the side'
        cells = (f'{each.nearer:+.2f}{"" if each.right else " wrong"}' for each in figures)
        table.add_row(door.frame, where, *cells)
    right = (f'{sum(each.right for each in one)} of {len(one)}' for one in found.values())
    table.add_row('right', '', *right)
    Console().print(table)


if __name__ == '__main__':
    main()
