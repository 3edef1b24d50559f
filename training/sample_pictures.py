"""Renders the pictures that ship: those to check a model on, and those to calibrate int8 on.

They are in midas_depth_ros/assets, named after the kind of place. The seeds are not used in
training, and no place is in both folders.

    python -m training.sample_pictures midas_depth_ros/assets
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np

from training.places import sample

JPEG_QUALITY = 90
# folder -> width and height in pixels, the seed of the first of each kind, how many of each kind
FOLDERS = {
    'samples': (
        (320, 240),
        1_900_000_001,
        {'room': 3, 'corridor': 2, 'street': 2, 'open': 1, 'table': 1, 'clutter': 1},
    ),
    'calibration': (
        (256, 192),
        1_800_000_001,
        {'room': 7, 'corridor': 3, 'street': 4, 'open': 2, 'table': 2, 'clutter': 2},
    ),
}


def pictures(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (H, W, 3) uint8 RGB) of the pictures in one of `FOLDERS`."""
    size, first_seed, counts = FOLDERS[folder]
    for kind, count in counts.items():
        for number in range(count):
            yield f'{kind}_{number + 1}', sample(first_seed + number, *size, kind).rgb


@click.command()
@click.argument('assets', type=click.Path(file_okay=False, path_type=Path))
def main(assets: Path) -> None:
    """Write both folders into ASSETS."""
    for folder in FOLDERS:
        (assets / folder).mkdir(parents=True, exist_ok=True)
        for name, rgb in pictures(folder):
            path = assets / folder / f'{name}.jpg'
            if not cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
                raise click.ClickException(f'{path} could not be written: choose another folder')
            click.echo(path)


if __name__ == '__main__':
    main()
