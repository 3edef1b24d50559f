"""The bar that says which colour is how many metres: in a heatmap's right edge, or beside it."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.colours import colourise, spread
from midas_depth_ros.views.errors import OptionError

# --- The few colours of everything that is drawn around pictures, RGB.

BACKGROUND: Final = (22, 23, 26)
TEXT: Final = (232, 232, 228)
DIM_TEXT: Final = (150, 152, 156)
TRACK: Final = (52, 54, 60)
HATCH: Final = (112, 114, 120)


# --- Text on pictures, readable from 10 pixels up.
#
# Pillow's own typeface is used where Pillow carries one (10.1 and later), else DejaVu Sans where
# the system has it, else Pillow's bitmap letters in whole multiples: nothing has to be installed.

Colour = tuple[int, int, int]

LONGEST: Final = 500  # characters; no panel has room for more
_SIZES: Final = (1, 400)  # pixels
_BITMAP_LETTER: Final = (6, 11)
# The blank between two words, of the size: small letters, set to whole pixels, leave one of two
# pixels, and what is there reads as one word.
_BLANK: Final = 0.36


def text_height(panel_height: int, panel_width: int) -> int:
    """Letter size in pixels that suits a panel of this size: 17 at 640x480, never below 11."""
    return int(np.clip(round(min(panel_height, 0.75 * panel_width) / 28), 11, 40))


def text_mask(text: str, size: int) -> NDArray[np.uint8]:
    """Coverage 0..255 of one line of text: (h, w) uint8; h is the same for every text of a size.

    Line breaks become spaces; empty text has width 0; of long text LONGEST characters are drawn.
    Raises OptionError for a size that no letters have.
    """
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise OptionError(f'letters of {size} pixels: use {_SIZES[0]} to {_SIZES[1]}')
    return _mask(' '.join(text[:LONGEST].splitlines()), size)


def fit_text(text: str, size: int, width: int, ellipsis: str = '...') -> str:
    """The text if it is at most `width` pixels wide, else its beginning and an ellipsis.

    With an empty ellipsis it is all or nothing: half a number is a wrong number.
    """
    whole = len(text) <= LONGEST
    text = text[:LONGEST]
    if whole and text_mask(text, size).shape[1] <= width:
        return text
    if not ellipsis:
        return ''

    def shortened(length: int) -> str:
        return text[:length].rstrip() + ellipsis

    fitting = bisect.bisect_right(
        range(1, len(text)), width, key=lambda length: text_mask(shortened(length), size).shape[1]
    )
    return shortened(fitting) if fitting else ''


def draw_text(
    picture: NDArray[np.uint8],
    text: str,
    xy: tuple[int, int],
    size: int,
    colour: Colour,
    align: str = 'left',
) -> None:
    """Draw one line into an (H, W, 3) picture in place; what lies outside is cut off.

    xy: top of the line and its left edge, its middle (align 'centre') or its right edge.
    """
    mask = text_mask(text, size)
    x, y = xy
    x -= {'left': 0, 'centre': mask.shape[1] // 2, 'right': mask.shape[1]}[align]
    left, top = max(x, 0), max(y, 0)
    right = min(x + mask.shape[1], picture.shape[1])
    bottom = min(y + mask.shape[0], picture.shape[0])
    if left >= right or top >= bottom:
        return
    cover = mask[top - y : bottom - y, left - x : right - x, None] / np.float32(255)
    under = picture[top:bottom, left:right]
    mixed = under + (np.array(colour, np.float32) - under) * cover
    picture[top:bottom, left:right] = np.rint(mixed).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _mask(text: str, size: int) -> NDArray[np.uint8]:
    font = _typeface(size)
    mask = _bitmap_mask(text, size) if font is None else _outline_mask(text, font)
    mask.setflags(write=False)
    return mask


def _outline_mask(text: str, font: Any) -> NDArray[np.uint8]:
    ascent, descent = font.getmetrics()
    height = ascent + descent
    width = max(math.ceil(_BLANK * font.size), round(font.getlength(' ')))
    blank = np.zeros((height, width), np.uint8)
    parts = [np.zeros((height, 0), np.uint8)]
    for number, word in enumerate(text.split(' ')):
        parts += [blank] if number else []
        parts.append(_drawn(word, font, (round(font.getlength(word)), height)))
    return np.hstack(parts)


def _bitmap_mask(text: str, size: int) -> NDArray[np.uint8]:
    width, height = _BITMAP_LETTER
    plain = text.encode('latin-1', 'replace').decode('latin-1')
    mask = _drawn(plain, ImageFont.load_default(), (width * len(plain), height))
    times = max(1, round(size / height))
    return mask.repeat(times, axis=0).repeat(times, axis=1)


def _drawn(text: str, font: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    if width == 0:  # some Pillows cannot make an array of an empty picture
        return np.zeros((height, 0), np.uint8)
    canvas = Image.new('L', (width, height))
    ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    return np.array(canvas)


@functools.lru_cache(maxsize=32)
def _typeface(size: int) -> Any:
    """An outline typeface of this size, or None where there are only bitmap letters."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):  # before Pillow 10.1, or built without FreeType
        pass
    try:
        return ImageFont.truetype('DejaVuSans.ttf', size)
    except (OSError, ImportError):
        return None


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


# --- Closeness to the left, in the centre and to the right as three bars.
#
# Closeness has no unit: 0 is far, 1 is as near as the nearest floor in view, more is nearer
# still, NaN is unknown. A notch marks 1; unknown is hatched, never an empty bar, since empty
# would say that the way is clear.

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
