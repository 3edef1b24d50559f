"""The bar that says which colour is how many metres: in a heatmap's right edge, or beside it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.colormaps import colourise
from midas_depth_ros.views.options import HeatmapOptions
from midas_depth_ros.views.style import BACKGROUND, TEXT
from midas_depth_ros.views.text import draw_text, text_height, text_mask
from midas_depth_ros.views.tone import spread

# Metres that a person likes to read, as many of them as there is room for.
_TICKS: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
_SMALLEST_HEIGHT: Final = 90  # a legend in a smaller picture hides more than it tells


def with_legend(heatmap: NDArray[np.uint8], options: HeatmapOptions) -> NDArray[np.uint8]:
    """A copy of an (H, W, 3) uint8 RGB heatmap with a bar from `metric_far` to `metric_near`.

    Pictures too small for readable figures stay as they are. Where the picture may become wider,
    `legend_beside` hides nothing of it.
    """
    height, width = heatmap.shape[:2]
    if height < _SMALLEST_HEIGHT or width < _SMALLEST_HEIGHT:
        return heatmap
    size = text_height(height, width)
    picture = heatmap.copy()
    panel = picture[:, width - _panel_width(width, size) :]
    panel[:] = (0.3 * panel + 0.7 * np.array(BACKGROUND)).astype(np.uint8)
    _draw(panel, options, size, _bar_width(width))
    return picture


def legend_beside(height: int, width: int, options: HeatmapOptions) -> NDArray[np.uint8]:
    """The same bar as a strip of its own, for a heatmap of this size: (height, w, 3) uint8 RGB.

    w is 0 for a heatmap too small for readable figures.
    """
    if height < _SMALLEST_HEIGHT or width < _SMALLEST_HEIGHT:
        return np.zeros((height, 0, 3), np.uint8)
    size = text_height(height, width)
    strip = np.full((height, _panel_width(width, size), 3), BACKGROUND, np.uint8)
    _draw(strip, options, size, _bar_width(width))
    return strip


def _bar_width(width: int) -> int:
    return max(6, width // 40)


def _panel_width(width: int, size: int) -> int:
    return _bar_width(width) + text_mask('0.5 m', size).shape[1] + 12


def _draw(panel: NDArray[np.uint8], options: HeatmapOptions, size: int, bar: int) -> None:
    """The bar at the right edge of a panel, near at the top, and as many figures as fit."""
    height, width = panel.shape[:2]
    line = text_mask('0', size).shape[0]
    top, bottom = line, height - line
    index = np.linspace(255, 0, bottom - top)[:, None].repeat(bar, axis=1)
    panel[top:bottom, width - bar - 4 : width - 4] = colourise(
        np.rint(index).astype(np.uint8), options.colormap
    )
    rows: list[int] = []
    for metres in (options.metric_near, options.metric_far, *_ticks(options)):
        row = _row(metres, options, top, bottom)
        if any(abs(row - other) < line for other in rows):
            continue
        rows.append(row)
        panel[row : row + 1, width - bar - 7 : width - bar - 4] = TEXT
        draw_text(panel, f'{metres:g} m', (width - bar - 9, row - line // 2), size, TEXT, 'right')


def with_notice(heatmap: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A copy of an (H, W, 3) uint8 RGB picture with one line of text in its middle."""
    height, width = heatmap.shape[:2]
    picture = heatmap.copy()
    size = text_height(height, width)
    draw_text(picture, text, (width // 2, (height - size) // 2), size, TEXT, 'centre')
    return picture


def _ticks(options: HeatmapOptions) -> list[float]:
    return [m for m in _TICKS if options.metric_near < m < options.metric_far]


def _row(metres: float, options: HeatmapOptions, top: int, bottom: int) -> int:
    """Where on the bar, near at the top, a distance lies: where its colour is."""
    near, far = 1 / options.metric_near, 1 / options.metric_far
    tone = np.array([(1 / metres - far) / (near - far)], np.float32)
    ratio = options.metric_far / options.metric_near
    share = 1 - float(spread(tone, options.mapping, options.gamma, ratio)[0])
    return min(bottom - 1, top + round(share * (bottom - top - 1)))
