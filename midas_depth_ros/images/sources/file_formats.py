"""Formats of picture files by their suffixes that tell it: BMP, TIFF, PGM, PPM, HEIC and AVIF.

The bytes of a file go in, (H, W, 3) uint8 RGB comes out. A file may come from anywhere: what it
says of itself is checked before memory is taken for it, and decoders see only what was checked.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageOps

from midas_depth_ros.images.bit_depth import BitDepth, eight_bits, in_colour
from midas_depth_ros.images.decode import check_size
from midas_depth_ros.images.errors import (
    CorruptPicture,
    ImageError,
    TruncatedPicture,
    UnsupportedFormat,
)
from midas_depth_ros.images.pillow import (
    PILLOW_FAULTS,
    pillow_picture,
    rgb_of,
    sixteen_bits,
    tiff_picture,
)
from midas_depth_ros.options.text import shown

# Kind, width, height, largest value; comments may come between them, one blank comes behind.
GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
PORTABLE_HEADER = re.compile(rb'(P[2356])' + GAP + GAP.join([rb'(\d{1,9})'] * 3) + rb'\s')
LONGEST_HEADER = 4096
# What files of HEIF call themselves, of HEVC and of AV1.
AVIF_BRANDS = frozenset((b'avif', b'avis'))
HEIF_BRANDS = AVIF_BRANDS | {b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'mif1', b'msf1'}
MOST_BRAND_BYTES = 256
HEIF_FAULTS = (ValueError, OSError, EOFError, RuntimeError, SyntaxError, TypeError, IndexError)


def bmp_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """A BMP as (H, W, 3) uint8 RGB. Raises ImageError."""
    return pillow_picture(BmpImagePlugin.BmpImageFile, data, max_pixels, bit_depth)


def is_heif(data: bytes) -> bool:
    """Whether a file is one of HEIF (ISO/IEC 23008-12), as HEIC and AVIF are, whatever its name."""
    return data[4:8] == b'ftyp' and bool(set(brands_of(data)) & HEIF_BRANDS)


def brands_of(data: bytes) -> list[bytes]:
    """What a file of the kind of MP4 says to be: its brand, and those that it goes with."""
    end = min(int.from_bytes(data[:4], 'big'), MOST_BRAND_BYTES)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]


def heif_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """A HEIC or AVIF as (H, W, 3) uint8 RGB, turned as it says. Raises ImageError.

    More than 8 bits are reduced to 8 by who decodes it. UnsupportedFormat names what to install.
    """
    if not is_heif(data):
        raise UnsupportedFormat(
            f'it starts with {shown(data[:12])}, which is neither HEIC nor AVIF: save it as JPEG'
        )
    if AVIF_BRANDS & set(brands_of(data)):
        return _avif_picture(data, max_pixels)
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat(
            f'it is a HEIC, which needs the Python library pillow-heif ({error}): pip install '
            'pillow-heif (the extra `heif` of this package)'
        ) from error
    try:
        # Of several pictures the first one; it comes upright.
        picture = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        width, height = picture.size
        check_size(width, height, max_pixels)
        return in_colour(colours_of(np.asarray(picture)))
    except HEIF_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(f'the HEIC cannot be decoded ({error}): save it again') from error


def _avif_picture(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    try:
        from PIL import AvifImagePlugin, features

        if not features.check('avif'):
            raise ImportError('this Pillow is built without AVIF')
    except ImportError as error:
        raise UnsupportedFormat(
            f'it is an AVIF, which needs Pillow 11.3 or newer ({error}): pip install --upgrade '
            'pillow, or save it as JPEG'
        ) from error
    try:
        with warnings.catch_warnings(), AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as picture:
            warnings.simplefilter('ignore')
            check_size(*picture.size, max_pixels)
            upright = ImageOps.exif_transpose(picture)
            return np.ascontiguousarray(rgb_of(upright))
    except (*HEIF_FAULTS, *PILLOW_FAULTS) as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(f'the AVIF cannot be decoded ({error}): save it again') from error


def colours_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 1) grey or (H, W, 3) RGB of (H, W), with or without alpha."""
    samples = picture if picture.ndim == 3 else picture[:, :, np.newaxis]
    return np.ascontiguousarray(samples[:, :, : 1 if samples.shape[2] < 3 else 3])


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


Reader: TypeAlias = 'Callable[[bytes, int, BitDepth], NDArray[np.uint8]]'


def format_of(data: bytes) -> Reader | None:
    """What reads a BMP, PGM or PPM, by its first bytes; None for others."""
    if data.startswith(b'BM'):
        return bmp_picture
    return portable_picture if PORTABLE_HEADER.match(data[:LONGEST_HEADER]) else None


FILE_FORMATS: dict[str, Reader] = {
    '.bmp': bmp_picture,
    '.tif': tiff_picture,
    '.tiff': tiff_picture,
    '.ppm': portable_picture,
    '.pgm': portable_picture,
    '.pnm': portable_picture,
    **dict.fromkeys(('.heic', '.heif', '.hif', '.avif'), heif_picture),
}
