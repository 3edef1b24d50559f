"""Formats of picture files by their suffixes that tell it: BMP, TIFF, PGM and PPM.

The bytes of a file go in, (H, W, 3) uint8 RGB comes out. A file may come from anywhere: what it
says of itself is checked before memory is taken for it, and decoders see only what was checked.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin

from midas_depth_ros.images.bit_depth import BitDepth, eight_bits, in_colour
from midas_depth_ros.images.checks import check_size
from midas_depth_ros.images.errors import (
    CorruptPicture,
    TruncatedPicture,
    UnsupportedFormat,
    shown,
)
from midas_depth_ros.images.pillow import pillow_picture, sixteen_bits, tiff_picture

# Kind, width, height, largest value; comments may come between them, one blank comes behind.
GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
PORTABLE_HEADER = re.compile(rb'(P[2356])' + GAP + GAP.join([rb'(\d{1,9})'] * 3) + rb'\s')
LONGEST_HEADER = 4096


def bmp_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """A BMP as (H, W, 3) uint8 RGB. Raises ImageError."""
    return pillow_picture(BmpImagePlugin.BmpImageFile, data, max_pixels, bit_depth)


def portable_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """A PGM or PPM as (H, W, 3) uint8 RGB. Raises ImageError.

    Read here, since Pillow takes a microsecond for each sample. The largest value that it states
    is believed; that of 65535 only says that there are two bytes.
    """
    header = PORTABLE_HEADER.match(data[:LONGEST_HEADER])
    if header is None:
        raise UnsupportedFormat(
            f'it starts with {shown(data[:12])}, which is neither a PGM nor a PPM (P2, P3, P5, P6)'
        )
    width, height, largest = (int(number) for number in header.group(2, 3, 4))
    check_size(width, height, max_pixels)
    if not 0 < largest <= 0xFFFF:
        raise CorruptPicture(f'it says that its largest value is {largest}, not 1 to 65535')
    colours = 3 if header.group(1) in (b'P3', b'P6') else 1
    count = width * height * colours
    kind = '>u2' if largest > 0xFF else 'u1'
    if header.group(1) in (b'P2', b'P3'):
        values = text_numbers(data[header.end() :], count, largest)
    elif len(data) - header.end() < count * np.dtype(kind).itemsize:
        raise TruncatedPicture(f'it ends after {len(data)} bytes, within its pixels: save it again')
    else:
        values = np.frombuffer(data, kind, count, header.end())
    samples = sixteen_bits(values).reshape(height, width, colours)
    if largest == 0xFFFF or (bit_depth.given and largest > 0xFF):
        depth = bit_depth.of(samples, ('portable', samples.shape))
        return in_colour(eight_bits(samples, depth))
    grey_or_rgb = cv2.convertScaleAbs(samples, alpha=255 / largest)
    return in_colour(np.asarray(grey_or_rgb, np.uint8).reshape(samples.shape))


def text_numbers(text: bytes, count: int, largest: int) -> NDArray[np.int64]:
    """The first `count` numbers of a plain PGM or PPM. Raises CorruptPicture, also for comments."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # what NumPy says of letters
        try:
            values = np.fromstring(text, np.int64, count, sep=' ')
        except (ValueError, DeprecationWarning) as error:
            raise CorruptPicture(f'its numbers cannot be read ({error}): save it again') from error
    if len(values) < count or values.min() < 0 or values.max() > largest:
        raise CorruptPicture(f'it has not {count} numbers of 0 to {largest}: save it again')
    return values


FILE_FORMATS: dict[str, Callable[[bytes, int, BitDepth], NDArray[np.uint8]]] = {
    '.bmp': bmp_picture,
    '.tif': tiff_picture,
    '.tiff': tiff_picture,
    '.ppm': portable_picture,
    '.pgm': portable_picture,
}
