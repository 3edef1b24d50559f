"""Renders the pictures on which a precision's deviation from f32 is measured.

They lie in midas_depth_ros/assets/samples, named after the kind of place; the seeds below are not
those of training.

    python -m benchmarks.sample_pictures midas_depth_ros/assets/samples
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2

from midas_depth_ros.sim.world import sample

WIDTH, HEIGHT, JPEG_QUALITY = 320, 240, 90
SEEDS = {
    'room_1': ('room', 1_900_000_001),
    'room_2': ('room', 1_900_000_002),
    'room_3': ('room', 1_900_000_003),
    'corridor_1': ('corridor', 1_900_000_001),
    'corridor_2': ('corridor', 1_900_000_002),
    'street_1': ('street', 1_900_000_001),
    'street_2': ('street', 1_900_000_002),
    'open_1': ('open', 1_900_000_001),
    'table_1': ('table', 1_900_000_001),
    'clutter_1': ('clutter', 1_900_000_001),
}


@click.command()
@click.argument('folder', type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the pictures into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (kind, seed) in SEEDS.items():
        picture = sample(seed, WIDTH, HEIGHT, kind).rgb
        path = folder / f'{name}.jpg'
        if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise click.ClickException(f'{path} could not be written: choose another folder')
        click.echo(path)


if __name__ == '__main__':
    main()
