"""Picture files and folders of them as a source. Broken ones are named in a warning and skipped."""

from __future__ import annotations

import io
import re
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, PpmImagePlugin, TiffImagePlugin

from midas_depth_ros.images.checks import MAX_PIXELS, check_size
from midas_depth_ros.images.compressed import PILLOW_FAULTS, decode_compressed
from midas_depth_ros.images.errors import CorruptPicture, ImageError, UnsupportedFormat
from midas_depth_ros.images.sources.errors import UnreadableSource
from midas_depth_ros.images.sources.frames import Frame, Source, Warn

CAMERA_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')
OTHER_READERS: dict[str, type[ImageFile.ImageFile]] = {
    '.bmp': BmpImagePlugin.BmpImageFile,
    '.tif': TiffImagePlugin.TiffImageFile,
    '.tiff': TiffImagePlugin.TiffImageFile,
    '.ppm': PpmImagePlugin.PpmImageFile,
    '.pgm': PpmImagePlugin.PpmImageFile,
}
PICTURE_SUFFIXES = (*CAMERA_SUFFIXES, *OTHER_READERS)

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

    def __init__(self, path: Path, max_pixels: int, warn: Warn) -> None:
        self.name = str(path)
        self._path = path
        self._max_pixels = max_pixels
        self._warn = warn
        self._complained: set[Path] = set()
        self.length = len(self._files())

    def __iter__(self) -> Iterator[Frame]:
        good = 0
        for path in self._files():
            try:
                picture = read_picture(path, self._max_pixels)
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


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Of 16 bits the high byte is kept. Raises ImageError (too large, damaged, no picture) and
    OSError.
    """
    data = path.read_bytes()
    reader = OTHER_READERS.get(path.suffix.lower())
    if reader is None:
        rgb = decode_compressed(types.SimpleNamespace(format='', data=data), max_pixels)
        return upright(rgb, orientation_of(data))
    try:
        with reader(io.BytesIO(data), path.name) as picture:
            check_size(*picture.size, max_pixels)
            picture.load()
            return eight_bits(picture)
    except PILLOW_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(f'it cannot be decoded ({error}): save it again') from error


def eight_bits(picture: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a loaded Pillow picture. Raises UnsupportedFormat."""
    if picture.mode == 'F':
        raise UnsupportedFormat('its pixels are floats, as in a depth map: give a camera picture')
    if picture.mode.startswith('I'):  # 16 bits of grey, in 16 or 32 bits by Pillow's age
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
    return np.ascontiguousarray(picture.convert('RGB'))


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
