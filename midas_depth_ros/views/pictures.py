"""Pictures set side by side and in sheets, with a line of text below each.

For the demo, the README and a quick look at a run; everything is (H, W, 3) uint8 RGB and works
from 160x120 to 1920x1080 panels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.drawing import (
    BACKGROUND,
    DIM_TEXT,
    HATCH,
    TEXT,
    TRACK,
    OptionError,
    ViewError,
    check_picture,
    draw_text,
    fit_text,
    text_height,
    text_mask,
)
from midas_depth_ros.views.heatmap import legend_beside

# --- Pictures of any size brought into a frame of a given size, their shape kept.


def fit_into(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The (H, W, 3) picture as large as fits, centred in a (height, width, 3) frame."""
    if picture.shape[:2] == (height, width):
        return picture
    factor = min(height / picture.shape[0], width / picture.shape[1])
    inner_h = min(height, max(1, round(picture.shape[0] * factor)))
    inner_w = min(width, max(1, round(picture.shape[1] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(picture, (inner_w, inner_h), interpolation=method)
    frame = np.full((height, width, 3), BACKGROUND, np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    frame[top : top + inner_h, left : left + inner_w] = inner
    return frame


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


# --- A run as one animated GIF that every browser and README shows.
#
# All frames share one palette, found over the whole run, so that colours do not flicker between
# frames; pictures are made smaller, and then fewer, until the file is as small as was asked for.

# Browsers slow down what is faster than this, and GIF counts in hundredths of a second.
_MAX_FPS: Final = 50.0
_TICK_MS: Final = 10

# A file that is too large gives up width down to this one, then frames, then width again.
_READABLE_WIDTH: Final = 660
_SMOOTH_FPS: Final = 2.0
_LEAST_WIDTH: Final = 64
_LONGEST_SIDE: Final = 65_535  # that a GIF can state

_PALETTE_FRAMES: Final = 16
_COLOURS: Final = 256


def encode_animation(
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    max_width: int = 960,
    max_bytes: int = 4_000_000,
) -> bytes:
    """The frames as an endlessly repeating GIF.

    frames: (H, W, 3) uint8 RGB; the first one sets the shape, others are fitted into it. Text
        stays readable if they come at the size they shall have: shrinking shrinks it too.
    fps: frames per second, above 0 and at most 50.
    max_bytes: until it is no larger, pictures become smaller and every other frame is left out;
        the duration stays.
    Raises PictureError, OptionError, or ViewError if there are no frames.
    """
    if not 0 < fps <= _MAX_FPS:
        raise OptionError(f'fps is {fps!r}: use a value above 0 and at most {_MAX_FPS:g}')
    if max_width < 1:
        raise OptionError(f'max_width is {max_width}: use 1 or more')
    if max_bytes < 1:
        raise OptionError(f'max_bytes is {max_bytes}: use 1 or more')
    pictures = _fitted(frames, max_width)
    ends_ms = [round((i + 1) * 1000 / fps / _TICK_MS) * _TICK_MS for i in range(len(pictures))]
    data = _encode(pictures, ends_ms)
    while len(data) > max_bytes:
        width = pictures[0].shape[1]
        narrower = round(0.95 * width * math.sqrt(max_bytes / len(data)))
        if width > _READABLE_WIDTH:
            pictures = _fitted(pictures, max(narrower, _READABLE_WIDTH))
        elif len(pictures) > 1 and 1000 * len(pictures) / ends_ms[-1] > _SMOOTH_FPS:
            pictures, ends_ms = pictures[::2], [*ends_ms[1:-1:2], ends_ms[-1]]
        elif width > _LEAST_WIDTH:
            pictures = _fitted(pictures, max(min(narrower, width - 1), _LEAST_WIDTH))
        else:
            raise OptionError(
                f'max_bytes is {max_bytes}: even at {width} pixels wide, {len(pictures)} frames '
                f'take {len(data)}; allow more, or give fewer frames'
            )
        data = _encode(pictures, ends_ms)
    return data


def _fitted(frames: Iterable[NDArray[np.uint8]], max_width: int) -> list[NDArray[np.uint8]]:
    """All frames at the size of the first, which is made at most `max_width` wide."""
    fitted: list[NDArray[np.uint8]] = []
    for i, frame in enumerate(frames):
        picture = check_picture(frame, f'frame {i}')
        if fitted:
            height, width = fitted[0].shape[:2]
        else:
            height, width = picture.shape[:2]
            factor = min(1.0, max_width / width, _LONGEST_SIDE / max(height, width))
            width, height = max(1, round(width * factor)), max(1, round(height * factor))
        fitted.append(fit_into(picture, height, width))
    if not fitted:
        raise ViewError('an animation of no frames: give at least one')
    return fitted


def _encode(pictures: Sequence[NDArray[np.uint8]], ends_ms: Sequence[int]) -> bytes:
    palette = _shared_palette(pictures)
    # Dithering would boil: its dots move from frame to frame, and cost bytes.
    indexed = [
        Image.fromarray(picture).quantize(palette=palette, dither=_no_dither())
        for picture in pictures
    ]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        format='GIF',
        save_all=True,
        append_images=indexed[1:],
        duration=np.diff([0, *ends_ms]).tolist(),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _shared_palette(pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """A palette picture with the colours of frames spread over the whole run."""
    step = -(-len(pictures) // _PALETTE_FRAMES)
    tall = np.vstack([picture[::2, ::2] for picture in pictures[::step]])
    # The k-means pass after median cut brings back small areas of strong colour.
    return Image.fromarray(tall).quantize(_COLOURS, kmeans=1)


def _no_dither() -> Any:
    return getattr(Image, 'Dither', Image).NONE  # the enum came with Pillow 9.1


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
