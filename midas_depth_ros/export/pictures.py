"""The pictures on which int8 is calibrated, and those on which a deviation is measured.

In: a folder, video or bag of the user's, or nothing. Out: pictures by name; those that int8 finds
its ranges on are not those it is judged by.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.images.errors import ImageError
from midas_depth_ros.images.sources import SourceError, open_source
from midas_depth_ros.sim.world import sample

Pictures = Mapping[str, NDArray[np.uint8]]

RENDERED_SEED = 1_800_000_000  # of the procedural world: neither training's nor the samples'
RENDERED_SIZE = (320, 240)
JUDGED = 30  # pictures, at most, on which the deviation is measured
WIDEST = 640  # pixels kept of a picture's width: the network sees 256


def chosen_pictures(
    path: Path | None, count: int, precision: str
) -> tuple[Pictures | None, Pictures | None]:
    """(to calibrate on, to measure on); None = not needed, and the package's own.

    Of the user's pictures every other one calibrates int8, of the rest some are measured on.
    Raises DepthError where there are none.
    """
    if path is None:
        return (rendered(count) if precision == 'int8' else None), None
    found = list(read(path, count).items())
    if precision != 'int8':
        return None, _spread(dict(found), JUDGED)
    return dict(found[::2]), _spread(dict(found[1::2] or found), JUDGED)


def rendered(count: int) -> Pictures:
    """Pictures of the procedural world, (240, 320, 3) uint8."""
    with click.progressbar(range(count), label='rendering pictures') as numbers:
        return {
            f'rendered {number}': sample(RENDERED_SEED + number, *RENDERED_SIZE).rgb
            for number in numbers
        }


def read(path: Path, count: int) -> Pictures:
    """At most `count` pictures, spread over all there are; raises DepthError."""
    kept: dict[str, NDArray[np.uint8]] = {}
    every = 1
    try:
        for number, frame in enumerate(open_source(path)):
            if number % every:
                continue
            kept[f'{Path(frame.name).name} {number}'] = frame.shrunk(WIDEST).rgb()
            if len(kept) == 2 * count:  # then every other of them will do
                kept, every = dict(list(kept.items())[::2]), 2 * every
    except (SourceError, ImageError) as error:
        raise DepthError(f'no pictures to be had of {path}: {error}') from error
    return _spread(kept, count)


def _spread(pictures: Pictures, count: int) -> Pictures:
    """At most `count` of them, evenly."""
    step = max(1, -(-len(pictures) // count))
    return dict(list(pictures.items())[::step])
