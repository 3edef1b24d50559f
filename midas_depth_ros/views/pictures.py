"""Pictures set side by side and in sheets, with a line of text below each.

For the demo, the README and a quick look at a run; everything is (H, W, 3) uint8 RGB and works
from 160x120 to 1920x1080 panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.closeness_bars import NARROWEST, closeness_bars
from midas_depth_ros.views.errors import OptionError, ViewError, check_picture
from midas_depth_ros.views.fitting import fit_into
from midas_depth_ros.views.legend import legend_beside
from midas_depth_ros.views.options import HeatmapOptions
from midas_depth_ros.views.style import BACKGROUND, DIM_TEXT, TEXT
from midas_depth_ros.views.text import draw_text, fit_text, text_height, text_mask

WIDEST: Final = 4  # times as wide as the camera picture a heatmap beside it may be
_WIDEST_GAP: Final = 40  # pixels
_CLOSENESS_NOTE: Final = 'closeness: 0 = far, 1 = as near as the nearest floor'


def side_by_side(
    rgb: NDArray[np.uint8],
    heatmap: NDArray[np.uint8],
    captions: tuple[str, str] | None = None,
    closeness: Sequence[float] | None = None,
    legend: HeatmapOptions | None = None,
) -> NDArray[np.uint8]:
    """Camera | heatmap, as high as the camera picture, with a thin line between.

    captions: a line below the camera picture and one below the heatmap; what does not fit is
        shortened.
    closeness: left, centre and right; drawn as bars below the heatmap's thirds, where it is wide
        enough for them.
    legend: of a heatmap in metres; its bar stands to the right, and hides nothing.
    Raises PictureError or OptionError.
    """
    camera = check_picture(rgb, 'camera picture')
    height, width = camera.shape[:2]
    other = _scaled(check_picture(heatmap, 'heatmap'), height, WIDEST * width)
    size = text_height(height, width)
    divider = np.full((height, min(max(2, height // 240), _WIDEST_GAP), 3), BACKGROUND, np.uint8)
    rows = [np.hstack([camera, divider, other])]
    panels = ((0, width), (width + divider.shape[1], other.shape[1]))
    if captions is not None:
        rows.append(_caption_strip(captions, panels, size))
    if closeness is not None and other.shape[1] >= NARROWEST:
        bars = closeness_bars(closeness, other.shape[1], size)
        beside = np.full((bars.shape[0], panels[1][0], 3), BACKGROUND, np.uint8)
        note_px = max(10, round(0.85 * size))
        pad = max(3, size // 2)
        note = fit_text(_CLOSENESS_NOTE, note_px, width - 2 * pad)
        draw_text(beside, note, (pad, max(2, size // 3)), note_px, DIM_TEXT)
        rows.append(np.hstack([beside, bars]))
    if legend is not None:
        strip = legend_beside(height, other.shape[1], legend)
        width = strip.shape[1]
        below = [np.full((row.shape[0], width, 3), BACKGROUND, np.uint8) for row in rows[1:]]
        rows = [np.hstack([*pair]) for pair in zip(rows, [strip, *below], strict=True)]
    return np.vstack(rows)


def one_above_other(
    rgb: NDArray[np.uint8],
    heatmap: NDArray[np.uint8],
    captions: tuple[str, str] | None = None,
    closeness: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Camera above heatmap, as wide as the camera picture, with a thin line between.

    captions: a line below each. closeness: as of `side_by_side`, below the heatmap. Raises
    PictureError or OptionError.
    """
    camera = check_picture(rgb, 'camera picture')
    height, width = camera.shape[:2]
    shown = check_picture(heatmap, 'heatmap')
    below = fit_into(shown, max(1, round(shown.shape[0] * width / shown.shape[1])), width)
    size = text_height(height, width)
    above_caption, below_caption = captions if captions is not None else (None, None)
    rows = [camera]
    if above_caption is not None:
        rows.append(_caption_strip((above_caption,), ((0, width),), size))
    rows += [np.full((min(max(2, height // 240), _WIDEST_GAP), width, 3), BACKGROUND, np.uint8)]
    rows.append(below)
    if below_caption is not None:
        rows.append(_caption_strip((below_caption,), ((0, width),), size))
    if closeness is not None and width >= NARROWEST:
        rows.append(closeness_bars(closeness, width, size))
    return np.vstack(rows)


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], columns: int, max_width: int = 1920
) -> NDArray[np.uint8]:
    """The pictures in rows of `columns`, all in cells of one size, at most `max_width` wide.

    The cell is the first picture, made smaller if it must; others are fitted into it.
    Raises PictureError, OptionError, or ViewError for an empty list.
    """
    checked = [check_picture(picture, f'picture {i}') for i, picture in enumerate(pictures)]
    if not checked:
        raise ViewError('a contact sheet of no pictures: give at least one')
    if columns < 1:
        raise OptionError(f'columns is {columns}: use 1 or more')
    columns = min(columns, len(checked))
    gap = min(max(2, max_width // 240), _WIDEST_GAP)
    room = (max_width - gap * (columns + 1)) // columns
    if room < 1:
        raise OptionError(f'max_width is {max_width}: too narrow for {columns} columns')
    first_h, first_w = checked[0].shape[:2]
    cell_w = min(first_w, room)
    cell_h = max(1, round(first_h * cell_w / first_w))
    cells = [fit_into(picture, cell_h, cell_w) for picture in checked]
    cells += [np.full((cell_h, cell_w, 3), BACKGROUND, np.uint8)] * (-len(cells) % columns)
    across = np.full((cell_h, gap, 3), BACKGROUND, np.uint8)
    rows = [
        np.hstack([across, *(part for cell in cells[i : i + columns] for part in (cell, across))])
        for i in range(0, len(cells), columns)
    ]
    down = np.full((gap, rows[0].shape[1], 3), BACKGROUND, np.uint8)
    return np.vstack([down, *(part for row in rows for part in (row, down))])


def _caption_strip(
    captions: tuple[str, ...], panels: tuple[tuple[int, int], ...], size: int
) -> NDArray[np.uint8]:
    """One line per panel; `panels` are the left edge and the width of each."""
    pad = max(3, size // 2)
    height = text_mask('', size).shape[0] + 2 * max(2, size // 4)
    strip = np.full((height, sum(panels[-1]), 3), BACKGROUND, np.uint8)
    for text, (left, width) in zip(captions, panels, strict=False):
        shown = fit_text(text, size, width - 2 * pad)
        draw_text(strip, shown, (left + pad, max(2, size // 4)), size, TEXT)
    return strip


def _scaled(picture: NDArray[np.uint8], height: int, widest: int) -> NDArray[np.uint8]:
    """The picture at another height, its shape kept; bars beside it where it would be wider."""
    width = min(max(1, round(picture.shape[1] * height / picture.shape[0])), widest)
    return fit_into(picture, height, width)
