"""Closeness to the left, in the centre and to the right as three bars.

Closeness has no unit: 0 is far, 1 is as near as the nearest floor in view, more is nearer
still, NaN is unknown. A notch marks 1; unknown is hatched, never an empty bar, since empty
would say that the way is clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.errors import OptionError
from midas_depth_ros.views.style import BACKGROUND, DIM_TEXT, HATCH, TEXT, TRACK
from midas_depth_ros.views.text import draw_text, fit_text, text_height, text_mask

# The value at which a bar is full.
FULL_BAR: Final = 1.5

NARROWEST: Final = 12  # pixels that three bars need

_NAMES: Final = (('left', 'centre', 'right'), ('L', 'C', 'R'))

# Closeness and the colour of a bar that long; between them colours are mixed.
_STOPS: Final = (0.0, 0.35, 0.65, 1.0)
_STOP_COLOURS: Final = np.array(
    ((86, 140, 190), (88, 176, 152), (236, 178, 62), (232, 74, 52)), float
)


def closeness_bars(
    closeness: Sequence[float], width: int, text_px: int | None = None
) -> NDArray[np.uint8]:
    """A strip with the three values (left, centre, right), to go under or over a picture.

    width: of the strip in pixels; text_px: size of the letters, by default what suits a 4:3
    picture of this width. Where there is no room, names and then figures are left out.
    Returns (h, width, 3) uint8 RGB. Raises OptionError.
    """
    if len(closeness) != 3:
        raise OptionError(f'closeness has {len(closeness)} values: give left, centre and right')
    if width < NARROWEST:
        raise OptionError(f'width is {width}: three bars need at least {NARROWEST} pixels')
    size = text_px or text_height(round(0.75 * width), width)
    pad = max(2, size // 3)
    gap = max(1, min(size // 2, width // 24))
    line = text_mask('', size).shape[0]
    bar = max(3, round(0.4 * size))
    strip = np.full((line + bar + 2 * pad + pad // 2, width, 3), BACKGROUND, np.uint8)
    cells = [strip[:, i * width // 3 + gap : (i + 1) * width // 3 - gap] for i in range(3)]
    names = _names(cells[0].shape[1], size)
    for value, name, cell in zip(closeness, names, cells, strict=True):
        draw_text(cell, name, (0, pad), size, DIM_TEXT)
        figure = fit_text('?' if math.isnan(value) else f'{value:.2f}', size, cell.shape[1], '')
        draw_text(cell, figure, (cell.shape[1], pad), size, TEXT, 'right')
        _draw_bar(cell[pad + line + pad // 2 :][:bar], value)
    return strip


def _names(width: int, size: int) -> tuple[str, str, str]:
    """The longest names that leave room for a figure in each cell of this width."""
    for names in _NAMES:
        if all(text_mask(f'{name} 0.00', size).shape[1] <= width for name in names):
            return names
    return ('', '', '')


def _draw_bar(track: NDArray[np.uint8], value: float) -> None:
    """Fill an (h, w, 3) track in place."""
    height, width = track.shape[:2]
    if math.isnan(value):
        rows, columns = np.indices((height, width))
        hatched = (rows + columns) % max(4, height) < max(2, height // 2)
        track[:] = np.where(hatched[..., None], HATCH, TRACK)
        return
    track[:] = TRACK
    share = min(max(value, 0.0) / FULL_BAR, 1.0)
    colour = [np.interp(value, _STOPS, channel) for channel in _STOP_COLOURS.T]
    track[:, : round(share * width)] = np.rint(colour)
    notch = round(width / FULL_BAR)
    track[:, notch : notch + max(1, width // 100)] = TEXT
