"""What Pillow decodes, made RGB or samples of 16 bits; TIFF, which is a picture of both kinds.

Bytes go in, or a picture that Pillow has loaded, and (H, W, 3) uint8 RGB comes out. Its plugins are
used directly, since Image.open() warns and refuses by limits of its own.
"""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from midas_depth_ros.images.bit_depth import BitDepth, eight_bits, in_colour
from midas_depth_ros.images.containers import only_pixels
from midas_depth_ros.images.decode import check_size
from midas_depth_ros.images.errors import CorruptPicture, ImageError, UnsupportedFormat

# More of a picture is not converted at once: copies of all of it would add up.
BAND_PIXELS = 1 << 19
# Of a picture that is read in strips or tiles, which may lie over each other; planes are passes.
MOST_PASSES = 4
# Pillow's raw modes for colours of 16 bits, which give the high byte of each, and those that give
# the other one.
FOREIGN = 'B' if sys.byteorder == 'little' else 'L'
OTHER_BYTE = {
    f'{colours};16{order}': f'{colours};16{other}'
    for colours in ('RGB', 'RGBX', 'RGBA')
    for order, other in (('L', 'B'), ('B', 'L'), ('N', FOREIGN))
}
# What Pillow raises on damaged bytes.
PILLOW_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def rgb_of(picture: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a loaded picture of Pillow; perhaps read-only."""
    if picture.width * picture.height <= BAND_PIXELS:
        return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))
    rgb = np.empty((picture.height, picture.width, 3), np.uint8)
    copy_bands(picture, rgb, 'RGB')
    return rgb


def copy_bands(picture: Image.Image, into: NDArray[np.uint8], mode: str) -> None:
    """Copy a loaded picture into an (H, W, C) array, converted to a mode of C channels or more."""
    rows = max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(picture.height, top + rows)
        band = picture.crop((0, top, picture.width, bottom))
        converted = np.asarray(band if band.mode == mode else band.convert(mode))
        into[top:bottom] = converted[:, :, : into.shape[2]]


def tiff_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """The first picture of a TIFF as (H, W, 3) uint8 RGB, turned as it says. Raises ImageError."""
    only = only_pixels(data)
    return pillow_picture(TiffImagePlugin.TiffImageFile, only, max_pixels, bit_depth)


def pillow_picture(
    reader: type[ImageFile.ImageFile], data: bytes, max_pixels: int, bit_depth: BitDepth
) -> NDArray[np.uint8]:
    """A file as one of Pillow's plugins reads it: (H, W, 3) uint8 RGB. Raises ImageError."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what is wrong with a tag that is not needed
        try:
            with reader(io.BytesIO(data)) as picture:
                check_size(*picture.size, max_pixels)
                return _rgb_of_file(picture, data, bit_depth)
        except PILLOW_FAULTS as error:
            if isinstance(error, ImageError):
                raise
            raise CorruptPicture(f'it cannot be decoded ({error}): save it again') from error


def _rgb_of_file(
    picture: ImageFile.ImageFile, data: bytes, bit_depth: BitDepth
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an opened BMP or TIFF. Raises ImageError and what Pillow raises."""
    tiles = picture.tile
    passes = sum(area(tile[1]) for tile in tiles) / (picture.width * picture.height)
    if not 1 <= passes <= MOST_PASSES:
        raise CorruptPicture(
            f'its strips or tiles cover it {passes:.2f} times, not once: save it again'
        )
    if any(tile[0] == 'bmp_rle' for tile in tiles):
        raise UnsupportedFormat('its pixels are run-length encoded: save it as PNG')
    raw_modes = {str(tile[3][0]) for tile in tiles if isinstance(tile[3], tuple)}
    picture.load()
    if picture.mode == 'F':
        raise UnsupportedFormat('its pixels are floats, as in a depth map: give a camera picture')
    if picture.mode.startswith('I'):  # grey of more than 8 bits, in 16 or 32 bits
        samples = sixteen_bits(np.asarray(picture))
        bits = bits_by_its_tags(picture)
    elif raw_modes and raw_modes <= set(OTHER_BYTE):
        samples = np.left_shift(rgb_of(picture), 8, dtype=np.uint16)
        samples |= low_bytes(type(picture), data)
        bits = 16
    else:
        return np.ascontiguousarray(rgb_of(picture))
    kind = (picture.format, samples.shape)
    depth = bits if bits < 16 and not bit_depth.given else bit_depth.of(samples, kind)
    return in_colour(eight_bits(samples, depth))


def area(box: tuple[int, int, int, int] | None) -> int:
    """Pixels of (left, upper, right, lower)."""
    return 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])


def sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Integers as uint16. Raises UnsupportedFormat where they do not fit."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise UnsupportedFormat(
            f'its values go from {low} to {high}: give a camera picture of at most 16 bits'
        )
    return np.ascontiguousarray(values, np.uint16)


def bits_by_its_tags(picture: ImageFile.ImageFile) -> int:
    """How many bits a grey TIFF says that its samples have."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 16
    return int(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])


def low_bytes(reader: type[ImageFile.ImageFile], data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3): of colours of 16 bits, of which Pillow gives the high bytes, the others."""
    with reader(io.BytesIO(data)) as picture:
        picture.tile = [with_other_byte(tile) for tile in picture.tile]
        picture.load()
        return rgb_of(picture)


def with_other_byte(tile: Any) -> Any:
    """The part of a picture that Pillow is to read, with the raw mode for the other byte."""
    name, *where, (raw_mode, *arguments) = tile
    make = getattr(type(tile), '_make', tuple)  # a named tuple in newer Pillows
    return make((name, *where, (OTHER_BYTE[raw_mode], *arguments)))
