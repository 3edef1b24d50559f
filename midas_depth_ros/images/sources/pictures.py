"""Picture files and folders of them as a source. Broken ones are named in a warning and skipped."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.bit_depth import BitDepth
from midas_depth_ros.images.checks import MAX_PIXELS
from midas_depth_ros.images.compressed import decode_compressed
from midas_depth_ros.images.containers import container_of
from midas_depth_ros.images.errors import ImageError, UnreadableFile, printable
from midas_depth_ros.images.files import check_file, is_folder, read_file
from midas_depth_ros.images.sources.errors import UnreadableSource
from midas_depth_ros.images.sources.file_formats import (
    FILE_FORMATS,
    format_of,
    heif_picture,
    is_heif,
)
from midas_depth_ros.images.sources.frames import Frame, Source, Warn
from midas_depth_ros.images.tags import orientation

CAMERA_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.webp')
PICTURE_SUFFIXES = (*CAMERA_SUFFIXES, *FILE_FORMATS)
# A file may have 16 bits of four channels, and besides its pixels whatever cameras put there.
BYTES_PER_PIXEL, OTHER_BYTES = 8, 64 << 20


class Turn(NamedTuple):
    """How a picture becomes upright: transposed, then its rows and its columns reversed."""

    transposed: bool = False
    rows: bool = False
    columns: bool = False


ORIENTATIONS = {  # of EXIF
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(True),
    6: Turn(True, columns=True),
    7: Turn(True, rows=True, columns=True),
    8: Turn(True, rows=True),
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
        self._kept: tuple[tuple[int, int], NDArray[np.uint8]] | None = None
        self.length = len(self._files())

    def __iter__(self) -> Iterator[Frame]:
        good = 0
        bit_depth = BitDepth(self._bit_depth)  # the pictures of a folder are of one camera
        files = self._files()
        for path in files:
            try:
                picture = self._picture(path, bit_depth, keep=len(files) == 1)
            except ImageError as error:
                self._complain(path, error)
                continue
            good += 1
            yield Frame(str(path), picture=picture)
        if not good:
            raise UnreadableSource(
                f'{self._path}: not one picture could be read: see the warnings above, and give '
                f'sound pictures ({", ".join(PICTURE_SUFFIXES)})'
            )

    def _picture(self, path: Path, bit_depth: BitDepth, keep: bool) -> NDArray[np.uint8]:
        """Read a picture; a single one, which is played again and again, unless it is as it was.

        Raises ImageError.
        """
        if not keep:
            return read_picture(path, self._max_pixels, bit_depth)
        try:
            found = path.stat()
        except OSError as error:
            raise UnreadableFile(f'it cannot be read: {error.strerror}') from error
        as_it_is = (found.st_mtime_ns, found.st_size)
        if self._kept is None or self._kept[0] != as_it_is:
            picture = read_picture(path, self._max_pixels, bit_depth)
            picture.flags.writeable = False  # it is given out more than once
            self._kept = as_it_is, picture
        return self._kept[1]

    def _files(self) -> list[Path]:
        """The names alone are kept: a folder may hold more pictures than the memory."""
        if not is_folder(self._path):
            try:
                check_file(self._path)
            except UnreadableFile as error:
                raise UnreadableSource(f'{self._path}: {error}') from error
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
            self._warn(printable(f'{path}: skipped: {error}'))


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
    guessed from this picture), unless the file says it. Raises ImageError (no file, too large,
    damaged, no picture).
    """
    data = read_file(path, BYTES_PER_PIXEL * max_pixels + OTHER_BYTES)
    bit_depth = bit_depth or BitDepth()
    # Phones, chats and browsers rename pictures: what they are is in their first bytes.
    if is_heif(data):
        return heif_picture(data, max_pixels, bit_depth)
    if not is_compressed(data):
        reader = format_of(data) or FILE_FORMATS.get(path.suffix.lower())
        if reader:
            return reader(data, max_pixels, bit_depth)
    rgb = decode_compressed(types.SimpleNamespace(format='', data=data), max_pixels, bit_depth)
    return upright(rgb, orientation_of(data))


def is_compressed(data: bytes) -> bool:
    """Whether the bytes are those of a JPEG, PNG, WebP or TIFF."""
    try:
        return bool(container_of(data))
    except ImageError:
        return False


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP file, 1 (upright) where none can be read."""
    try:
        return orientation(container_of(data).exif(data))
    except ImageError:
        return 1


def upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture turned and mirrored so that EXIF orientation `orientation` becomes 1."""
    return turned(rgb, ORIENTATIONS.get(orientation, Turn()))


def turned(rgb: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """(H, W, 3) turned and mirrored, C-contiguous."""
    if turn.transposed:
        rgb = rgb.transpose(1, 0, 2)
    if turn.rows:
        rgb = rgb[::-1]
    if turn.columns:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)
