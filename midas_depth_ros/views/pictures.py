"""Pictures side by side, in sheets and as animation, with captions and closeness bars.

For the demo, the README and a quick look at a run. Everything is (H, W, 3) uint8 RGB, for panels
from 160x120 to 1920x1080.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Final

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


def fit_into(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale an (H, W, 3) picture to fit a (height, width, 3) frame, centred, keeping its shape."""
    if picture.shape[:2] == (height, width):
        return picture
    factor = min(height / picture.shape[0], width / picture.shape[1])
    inner_h = min(height, max(1, round(picture.shape[0] * factor)))
    inner_w = min(width, max(1, round(picture.shape[1] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(picture, (inner_w, inner_h), interpolation=method)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    return _bordered(inner, top, height - inner_h - top, left, width - inner_w - left)


def _bordered(
    picture: NDArray[np.uint8], top: int, bottom: int, left: int, right: int
) -> NDArray[np.uint8]:
    border = cv2.BORDER_CONSTANT
    return cv2.copyMakeBorder(picture, top, bottom, left, right, border, value=BACKGROUND)


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
    """Put camera | heatmap side by side, as high as the camera picture, with a thin gap.

    captions: one line below each, shortened to fit.
    closeness: left, centre and right; drawn as bars below the heatmap if it is wide enough.
    legend: of a heatmap in metres; the bar is added on the right.
    Raises PictureError or OptionError.
    """
    camera = check_picture(rgb, 'camera picture')
    height, width = camera.shape[:2]
    other = check_picture(heatmap, 'heatmap')
    other_w = min(max(1, round(other.shape[1] * height / other.shape[0])), WIDEST * width)
    other = fit_into(other, height, other_w)
    size = text_height(height, width)
    left = width + min(max(2, height // 240), _WIDEST_GAP)
    rows = [np.hstack([_bordered(camera, 0, 0, 0, left - width), other])]
    panels = ((0, width), (left, other.shape[1]))
    if captions is not None:
        rows.append(_caption_strip(captions, panels, size))
    if closeness is not None and other.shape[1] >= NARROWEST:
        bars = closeness_bars(closeness, other.shape[1], size)
        row = _bordered(bars, 0, 0, left, 0)
        note_px = max(10, round(0.85 * size))
        pad = max(3, size // 2)
        note = fit_text(_CLOSENESS_NOTE, note_px, width - 2 * pad)
        draw_text(row, note, (pad, max(2, size // 3)), note_px, DIM_TEXT)
        rows.append(row)
    if legend is not None:
        strip = legend_beside(height, other.shape[1], legend)
        rows[0] = np.hstack([rows[0], strip])
        rows[1:] = [_bordered(row, 0, 0, 0, strip.shape[1]) for row in rows[1:]]
    return np.vstack(rows)


def one_above_other(
    rgb: NDArray[np.uint8],
    heatmap: NDArray[np.uint8],
    captions: tuple[str, str] | None = None,
    closeness: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Put the camera picture above the heatmap, equally wide, with a thin gap.

    captions, closeness: as in `side_by_side`. Raises PictureError or OptionError.
    """
    camera = check_picture(rgb, 'camera picture')
    height, width = camera.shape[:2]
    shown = check_picture(heatmap, 'heatmap')
    below = fit_into(shown, max(1, round(shown.shape[0] * width / shown.shape[1])), width)
    size = text_height(height, width)
    below = _bordered(below, min(max(2, height // 240), _WIDEST_GAP), 0, 0, 0)
    rows = [camera, below]
    if captions is not None:
        above, under = (_caption_strip((text,), ((0, width),), size) for text in captions)
        rows = [camera, above, below, under]
    if closeness is not None and width >= NARROWEST:
        rows.append(closeness_bars(closeness, width, size))
    return np.vstack(rows)


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], columns: int, max_width: int = 1920
) -> NDArray[np.uint8]:
    """Put pictures in rows of `columns`, in cells of one size, at most `max_width` wide in all.

    The cell has the shape of the first picture; the others are fitted into it.
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
    cells = [_bordered(fit_into(each, cell_h, cell_w), 0, gap, 0, gap) for each in checked]
    cells += [np.full_like(cells[0], BACKGROUND)] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return _bordered(np.vstack(rows), gap, 0, gap, 0)


def _caption_strip(
    captions: tuple[str, ...], panels: tuple[tuple[int, int], ...], size: int
) -> NDArray[np.uint8]:
    """Draw one line per panel; `panels` are the left edge and the width of each."""
    pad = max(3, size // 2)
    height = text_mask('', size).shape[0] + 2 * max(2, size // 4)
    strip = np.full((height, sum(panels[-1]), 3), BACKGROUND, np.uint8)
    for text, (left, width) in zip(captions, panels, strict=False):
        shown = fit_text(text, size, width - 2 * pad)
        draw_text(strip, shown, (left + pad, max(2, size // 4)), size, TEXT)
    return strip


# --- A run as one animated GIF.
#
# All frames share one palette, computed over the whole run, so that colours do not flicker. If the
# file is too large, pictures become smaller, and then fewer.

_MAX_FPS: Final = 50.0  # browsers slow down faster ones
_TICK_MS: Final = 10  # GIF counts in hundredths of a second
# A file that is too large loses width down to this one, then frames, then width again.
_READABLE_WIDTH: Final = 660
_SMOOTH_FPS: Final = 2.0
_LEAST_WIDTH: Final = 64
_LONGEST_SIDE: Final = 65_535  # limit of GIF

_PALETTE_FRAMES: Final = 16
_COLOURS: Final = 256


def encode_animation(
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    max_width: int = 960,
    max_bytes: int = 4_000_000,
) -> bytes:
    """Encode frames as an endlessly repeating GIF.

    frames: (H, W, 3) uint8 RGB; the first one sets the shape, the others are fitted into it.
        Shrinking makes text unreadable, so give them at their final size.
    fps: frames per second, above 0 and at most 50.
    max_bytes: if it is larger, pictures become smaller and every other frame is left out; the
        duration stays the same.
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
    """Fit all frames to the size of the first, which is reduced to at most `max_width`."""
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
    # No dithering: its dots would move from frame to frame, and cost bytes.
    no_dither = getattr(Image, 'Dither', Image).NONE  # the enum came with Pillow 9.1
    indexed = [
        Image.fromarray(picture).quantize(palette=palette, dither=no_dither) for picture in pictures
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
    """Make a palette picture with the colours of frames from the whole run."""
    step = -(-len(pictures) // _PALETTE_FRAMES)
    tall = np.vstack([picture[::2, ::2] for picture in pictures[::step]])
    # The k-means pass after median cut brings back small areas of strong colour.
    return Image.fromarray(tall).quantize(_COLOURS, kmeans=1)


# --- Closeness left, centre and right as three bars.
#
# 0 is far, 1 is as near as the nearest floor in view, NaN is unknown. A notch marks 1. Unknown is
# hatched, since an empty bar would mean that the way is clear.

FULL_BAR: Final = 1.5  # closeness at which a bar is full
NARROWEST: Final = 12  # pixels that three bars need
_NAMES: Final = (('left', 'centre', 'right'), ('L', 'C', 'R'))
# Closeness and the colour of a bar of that length; colours between them are interpolated.
_STOPS: Final = (0.0, 0.35, 0.65, 1.0)
_STOP_COLOURS: Final = np.array(
    ((86, 140, 190), (88, 176, 152), (236, 178, 62), (232, 74, 52)), float
)


def closeness_bars(
    closeness: Sequence[float], width: int, text_px: int | None = None
) -> NDArray[np.uint8]:
    """Draw a strip with the three values (left, centre, right), to go under or over a picture.

    width: of the strip in pixels; text_px: size of the letters, by default that for a 4:3 picture
    of this width. Without room, names and then figures are left out.
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
    """Return the longest names that leave room for a figure in each cell of this width."""
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
