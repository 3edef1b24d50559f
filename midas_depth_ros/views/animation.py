"""A run as one animated GIF that every browser and README shows.

All frames share one palette, found over the whole run, so that colours do not flicker between
frames; pictures are made smaller, and then fewer, until the file is as small as was asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from midas_depth_ros.views.errors import OptionError, ViewError, check_picture
from midas_depth_ros.views.fitting import fit_into

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
