"""Picture files and folders of them as a source. Broken ones are named in a warning and skipped."""

from __future__ import annotations

import io
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, TiffImagePlugin

from midas_depth_ros.images.bit_depth import BitDepth, eight_bits, in_colour
from midas_depth_ros.images.checks import MAX_PIXELS, check_size
from midas_depth_ros.images.compressed import PILLOW_FAULTS, decode_compressed
from midas_depth_ros.images.errors import (
    CorruptPicture,
    ImageError,
    TruncatedPicture,
    UnsupportedFormat,
    shown,
)
from midas_depth_ros.images.sources.errors import UnreadableSource
from midas_depth_ros.images.sources.frames import Frame, Source, Warn

CAMERA_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')
PORTABLE_SUFFIXES = ('.ppm', '.pgm')
OTHER_READERS: dict[str, type[ImageFile.ImageFile]] = {
    '.bmp': BmpImagePlugin.BmpImageFile,
    '.tif': TiffImagePlugin.TiffImageFile,
    '.tiff': TiffImagePlugin.TiffImageFile,
}
PICTURE_SUFFIXES = (*CAMERA_SUFFIXES, *OTHER_READERS, *PORTABLE_SUFFIXES)

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
# Kind, width, height, largest value; comments may come between them, one blank comes behind.
GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
PORTABLE_HEADER = re.compile(rb'(P[2356])' + GAP + GAP.join([rb'(\d{1,9})'] * 3) + rb'\s')

EXIF_ORIENTATION = 0x0112
# EXIF orientation -> transposed?, rows reversed?, columns reversed?, in this order.
ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class PictureFiles(Source):
    """One picture file, or those of a folder in natural order."""

    def __init__(self, path: Path, max_pixels: int, warn: Warn, bit_depth: int = 0) -> None:
        self.name = str(path)
        self._path = path
        self._max_pixels = max_pixels
        self._bit_depth = bit_depth
        self._warn = warn
        self._complained: set[Path] = set()
        self.length = len(self._files())

    def __iter__(self) -> Iterator[Frame]:
        good = 0
        bit_depth = BitDepth(self._bit_depth)  # the pictures of a folder are of one camera
        for path in self._files():
            try:
                picture = read_picture(path, self._max_pixels, bit_depth)
            except (ImageError, OSError) as error:
                self._complain(path, error)
                continue
            good += 1
            yield Frame(str(path), picture=picture)
        if not good:
            raise UnreadableSource(
                f'{self._path}: not one picture could be read: see the warnings above, and give '
                f'sound pictures ({", ".join(PICTURE_SUFFIXES)})'
            )

    def _files(self) -> list[Path]:
        """The names alone are kept: a folder may hold more pictures than the memory."""
        if self._path.is_file():
            return [self._path]
        try:
            found = [path for path in self._path.iterdir() if is_picture(path)]
        except OSError as error:
            raise UnreadableSource(f'{self._path}: the folder cannot be read: {error}') from error
        if not found:
            raise UnreadableSource(
                f'{self._path}: the folder holds no pictures ({", ".join(PICTURE_SUFFIXES)}) and '
                'no rosbag2; sub-folders are not searched'
            )
        return sorted(found, key=natural_order)

    def _complain(self, path: Path, error: Exception) -> None:
        if path not in self._complained:
            self._complained.add(path)
            self._warn(f'{path}: skipped: {error}')


def is_picture(path: Path) -> bool:
    """Whether a file calls itself a picture; hidden ones (._x.jpg of macOS) are none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith('.')


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sorting key by which frame_10 comes after frame_9."""
    parts = re.split(r'(\d+)', path.name.lower())
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def read_picture(
    path: Path, max_pixels: int = MAX_PIXELS, bit_depth: BitDepth | None = None
) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Samples of 16 bits are scaled by what the camera uses of them (`bit_depth`; without one it is
    guessed from this picture), unless the file says it. Raises ImageError (too large, damaged, no
    picture) and OSError.
    """
    data = path.read_bytes()
    bit_depth = bit_depth or BitDepth()
    suffix = path.suffix.lower()
    if suffix in CAMERA_SUFFIXES:
        message = types.SimpleNamespace(format='', data=data)
        rgb = decode_compressed(message, max_pixels, bit_depth)
        return upright(rgb, orientation_of(data))
    if suffix in PORTABLE_SUFFIXES:
        return portable_picture(data, max_pixels, bit_depth)
    try:
        with OTHER_READERS[suffix](io.BytesIO(data), path.name) as picture:
            check_size(*picture.size, max_pixels)
            return pillow_picture(picture, data, bit_depth)
    except PILLOW_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(f'it cannot be decoded ({error}): save it again') from error


def pillow_picture(
    picture: ImageFile.ImageFile, data: bytes, bit_depth: BitDepth
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an opened BMP or TIFF. Raises ImageError and what Pillow raises."""
    tiles = picture.tile
    if sum(area(tile[1]) for tile in tiles) > MOST_PASSES * picture.width * picture.height:
        raise CorruptPicture('its strips or tiles cover it several times over: save it again')
    raw_modes = {str(tile[3][0]) for tile in tiles if isinstance(tile[3], tuple)}
    picture.load()
    if picture.mode == 'F':
        raise UnsupportedFormat('its pixels are floats, as in a depth map: give a camera picture')
    if picture.mode.startswith('I'):  # grey of more than 8 bits, in 16 or 32 bits
        samples = sixteen_bits(np.asarray(picture))
        bits = bits_by_its_tags(picture)
    elif raw_modes and raw_modes <= set(OTHER_BYTE):
        high = np.asarray(picture.convert('RGB'), np.uint16)
        samples = np.left_shift(high, 8, dtype=np.uint16) | low_bytes(type(picture), data)
        bits = 16
    else:
        return np.ascontiguousarray(picture.convert('RGB'))
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
        return np.asarray(picture.convert('RGB'))


def with_other_byte(tile: Any) -> Any:
    """The part of a picture that Pillow is to read, with the raw mode for the other byte."""
    name, *where, (raw_mode, *arguments) = tile
    make = getattr(type(tile), '_make', tuple)  # a named tuple in newer Pillows
    return make((name, *where, (OTHER_BYTE[raw_mode], *arguments)))


def portable_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """A PGM or PPM as (H, W, 3) uint8 RGB. Raises ImageError.

    Read here, since Pillow takes a microsecond for each sample. The largest value that it states
    is believed; that of 65535 only says that there are two bytes.
    """
    header = PORTABLE_HEADER.match(data)
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
    """The first `count` numbers of a plain PGM or PPM, comments left out. Raises CorruptPicture."""
    text = re.sub(rb'#[^\r\n]*', b' ', text)
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # what NumPy says of letters
        try:
            values = np.fromstring(text, np.int64, count, sep=' ')
        except (ValueError, DeprecationWarning) as error:
            raise CorruptPicture(f'its numbers cannot be read ({error}): save it again') from error
    if len(values) < count or values.min() < 0 or values.max() > largest:
        raise CorruptPicture(f'it has not {count} numbers of 0 to {largest}: save it again')
    return values


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of a picture file, 1 (upright) if it has none that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a damaged EXIF block is no reason to complain
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return int(picture.getexif().get(EXIF_ORIENTATION, 1))
        except (*PILLOW_FAULTS, Image.DecompressionBombError):
            return 1


def upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture turned and mirrored so that EXIF orientation `orientation` becomes 1."""
    transposed, rows, columns = ORIENTATIONS.get(orientation, (False, False, False))
    if transposed:
        rgb = rgb.transpose(1, 0, 2)
    if rows:
        rgb = rgb[::-1]
    if columns:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)
