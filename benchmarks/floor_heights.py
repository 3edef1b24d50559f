"""Heights above the floor while a robot nods: by the floor that is fitted, and by the mount.

Views of furnished rooms are given to the embedded model. Its metres are the best that scale and
shift can make of its answer, as if a sensor had measured them; the mount that is believed is off by
the nod. Counted is what a filter by height would make of the true floor, and of what stands on it.

    python -m benchmarks.floor_heights --write docs/nav2.md
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.metric_on_real import best_fit
from benchmarks.performance_page import write_block
from benchmarks.sigma import View, header, world_views
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import CameraMount, FloorPlane, depth_of_inverse, floor_in_metres

NODS_DEG = (0.0, 2.0, -2.0, 4.0, -4.0)  # positive: the camera looks farther down than is believed
NEAR_M = 3.0
FLOOR_M = 0.01  # what is lower is floor
STANDS_M = (0.2, 0.5)  # what a filter from FILTER_M on must not lose
FILTER_M = 0.1
SEEDS = range(500, 530)  # of furnished worlds; nothing was chosen on any


@dataclasses.dataclass
class Count:
    """Views, those without a fitted floor, and shares of pixels, one for each view."""

    views: int = 0
    refused: int = 0
    floor: list[float] = dataclasses.field(default_factory=list)
    stands: list[float] = dataclasses.field(default_factory=list)

    def add(self, heights: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Count one view. truth: true heights, NaN where nothing counts."""
        floor = truth < FLOOR_M
        stands = (truth > STANDS_M[0]) & (truth < STANDS_M[1])
        if floor.any():
            self.floor.append(float((heights[floor] >= FILTER_M).mean()))
        if stands.any():
            self.stands.append(float((heights[stands] < FILTER_M).mean()))

    def cells(self) -> str:
        return f'{np.mean(self.floor):.1%} | {np.mean(self.stands):.1%}'


def counted(
    view: View, d: NDArray[np.float32], nod_deg: float, fitted: Count, given: Count
) -> None:
    """Count one view by both, where there is a fitted floor."""
    grid = view.camera.normalised_grid()
    with np.errstate(divide='ignore'):
        true_z = 1 / view.inverse
    best = best_fit(d, true_z)
    inverse = best.inverse_depth(d)
    depth_z = depth_of_inverse(inverse)
    mount = view.mount
    believed = CameraMount(mount.height_m, mount.pitch_rad - math.radians(nod_deg), mount.roll_rad)
    found = floor_in_metres(inverse, grid, believed)
    fitted.views += 1
    if not isinstance(found, FloorPlane):
        fitted.refused += 1
        return
    truth = np.where(true_z < NEAR_M, mount.height_m - true_z * mount.descent(grid), np.nan)
    truth[~np.isfinite(depth_z)] = np.nan
    fitted.add(found.heights(depth_z, grid), truth)
    given.add(mount.height_m - depth_z * believed.descent(grid), truth)


def lines(worlds: int) -> Iterator[str]:
    """Yield the table."""
    network = load_estimator('embedded')
    counts = {nod: (Count(), Count()) for nod in NODS_DEG}
    views = world_views('furnished', SEEDS[:worlds], 4)
    for view in tqdm(views, total=4 * worlds, disable=None):
        d = network.estimate(view.rgb)
        for nod, (fitted, given) in counts.items():
            counted(view, d, nod, fitted, given)
    yield header(
        'the camera looks down by', 'views', 'no floor fitted', 'floor above 0.1 m, by `height`',
        'by the mount', 'things of 0.2 to 0.5 m below 0.1 m, by `height`', 'by the mount',
    )  # fmt: skip
    for nod, (fitted, given) in counts.items():
        (floor, stands), (floor_given, stands_given) = (
            each.cells().split(' | ') for each in (fitted, given)
        )
        said = (
            'what is believed'
            if not nod
            else f'{abs(nod):g} degrees {"more" if nod > 0 else "less"}'
        )
        yield (
            f'| {said} | {fitted.views} | {fitted.refused} | {floor} | {floor_given} | {stands} | '
            f'{stands_given} |'
        )


@click.command(help=__doc__)
@click.option('--worlds', default=len(SEEDS), show_default=True, type=click.IntRange(1, len(SEEDS)))
@click.option('--write', 'path', type=click.Path(path_type=Path), help='Page to write it into.')
def main(worlds: int, path: Path | None) -> None:
    """Print the table, or write it into a page."""
    text = '\n'.join(lines(worlds))
    click.echo(text)
    if path is not None:
        write_block(path, 'heights', text)


if __name__ == '__main__':
    main()
