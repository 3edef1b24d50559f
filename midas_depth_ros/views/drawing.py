"""What all views share: their errors, the colours around pictures, and text.

    ViewError
    +-- PictureError     not an (H, W, 3) uint8 picture
    +-- ValuesError      not an (h, w) map of numbers
    +-- OptionError      an option outside its bounds

Every error text names the value at fault and the remedy.
"""

from __future__ import annotations

import bisect
import functools
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


class ViewError(ValueError):
    """Base of all errors of `views`."""


class PictureError(ViewError):
    """The array is not an (H, W, 3) uint8 picture."""


class ValuesError(ViewError):
    """The array is not an (h, w) map of relative inverse depth."""


class OptionError(ViewError):
    """An option has a value outside its bounds."""


def check_picture(picture: Any, what: str = 'picture') -> NDArray[np.uint8]:
    """Return a non-empty (H, W, 3) uint8 picture as C-contiguous array. Raises PictureError."""
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise PictureError(
            f'{what} has shape {array.shape} and dtype {array.dtype}: '
            'give a non-empty (H, W, 3) uint8 RGB array'
        )
    return np.ascontiguousarray(array)


# The colours of everything that is drawn around pictures, RGB.
BACKGROUND: Final = (22, 23, 26)
TEXT: Final = (232, 232, 228)
DIM_TEXT: Final = (150, 152, 156)
TRACK: Final = (52, 54, 60)
HATCH: Final = (112, 114, 120)


# --- Text on pictures, readable from 10 pixels up.
#
# Uses Pillow's own typeface (10.1 and later), else DejaVu Sans of the system, else Pillow's bitmap
# letters in whole multiples: nothing has to be installed.

Colour = tuple[int, int, int]

LONGEST: Final = 500  # characters; no panel has room for more
_SIZES: Final = (1, 400)  # pixels
_BITMAP_LETTER: Final = (6, 11)
_BLANK: Final = 0.36  # minimum gap between words / size: small letters would leave only two pixels


def text_height(panel_height: int, panel_width: int) -> int:
    """Return the letter size in pixels for a panel of this size: 17 at 640x480, at least 11."""
    return int(np.clip(round(min(panel_height, 0.75 * panel_width) / 28), 11, 40))


def text_mask(text: str, size: int) -> NDArray[np.uint8]:
    """Render one line of text as coverage 0..255: (h, w) uint8; h depends on the size alone.

    Line breaks become spaces; empty text has width 0; only LONGEST characters are drawn. Raises
    OptionError for an unsupported size.
    """
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise OptionError(f'letters of {size} pixels: use {_SIZES[0]} to {_SIZES[1]}')
    return _mask(' '.join(text[:LONGEST].splitlines()), size)


def fit_text(text: str, size: int, width: int, ellipsis: str = '...') -> str:
    """Shorten a text to at most `width` pixels, with an ellipsis.

    With an empty ellipsis a text that does not fit becomes '': half a number is a wrong number.
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
    """Draw one line into an (H, W, 3) picture in place; parts outside are cut off.

    xy: left edge, middle (align 'centre') or right edge of the line, and its top.
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
    """Return an outline typeface of this size, or None where there are only bitmap letters."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):  # before Pillow 10.1, or built without FreeType
        pass
    try:
        return ImageFont.truetype('DejaVuSans.ttf', size)
    except (OSError, ImportError):
        return None
