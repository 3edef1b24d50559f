"""Frames and sources in general; picture files, and folders of them, as a source.

The bytes of a file go in, (H, W, 3) uint8 RGB comes out. Files are not trusted: headers are checked
before memory is allocated, and decoders get only what was checked.
"""

from __future__ import annotations

import abc
import dataclasses
import io
import re
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageOps

from midas_depth_ros.images.compressed import (
    PILLOW_FAULTS,
    checked,
    decode_compressed,
    pillow_picture,
    rgb_of,
    sixteen_bits,
    tiff_picture,
)
from midas_depth_ros.images.containers import container_of, exif_orientation
from midas_depth_ros.images.decode import (
    MAX_PIXELS,
    BitDepth,
    check_size,
    decode_image,
    eight_bits,
    in_colour,
)
from midas_depth_ros.images.errors import (
    CorruptPicture,
    ImageError,
    TruncatedPicture,
    UnreadableSource,
    UnsupportedFormat,
)
from midas_depth_ros.options.files import UnreadableFile, check_file, is_folder, read_file
from midas_depth_ros.options.text import printable, shown

# --- File formats that messages do not have: BMP, PGM, PPM, HEIC and AVIF.

# Kind, width, height, largest value; comments may stand between them, one blank behind.
GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
PNM_HEADER = re.compile(rb'(P[2356])' + GAP + GAP.join([rb'(\d{1,9})'] * 3) + rb'\s')
LONGEST_HEADER = 4096
# Brands of HEIF files (ISO/IEC 23008-12), with HEVC and with AV1.
AVIF_BRANDS = frozenset((b'avif', b'avis'))
HEIF_BRANDS = AVIF_BRANDS | {b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'mif1', b'msf1'}
MOST_BRAND_BYTES = 256
HEIF_FAULTS = (*PILLOW_FAULTS, RuntimeError)


def bmp_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """Decode a BMP to (H, W, 3) uint8 RGB. Raises ImageError."""
    return pillow_picture(BmpImagePlugin.BmpImageFile, data, max_pixels, bit_depth)


def is_heif(data: bytes) -> bool:
    """Whether a file is a HEIC or AVIF, by its content."""
    return data[4:8] == b'ftyp' and bool(set(brands_of(data)) & HEIF_BRANDS)


def brands_of(data: bytes) -> list[bytes]:
    """Return the major brand and the compatible brands of a file with MP4's structure."""
    end = min(int.from_bytes(data[:4], 'big'), MOST_BRAND_BYTES)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]


def heif_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """Decode a HEIC or AVIF to upright (H, W, 3) uint8 RGB. Raises ImageError.

    The decoder reduces more than 8 bits to 8. UnsupportedFormat names the library to install.
    """
    if not is_heif(data):
        raise UnsupportedFormat(
            f'it starts with {shown(data[:12])}, which is not a HEIC or AVIF: save it as JPEG'
        )
    is_avif = bool(AVIF_BRANDS & set(brands_of(data)))
    try:
        return (_avif_picture if is_avif else _heic_picture)(data, max_pixels)
    except HEIF_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        kind = 'AVIF' if is_avif else 'HEIC'
        raise CorruptPicture(f'the {kind} cannot be decoded ({error}): save it again') from error


def _heic_picture(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat(
            f'it is a HEIC, which needs the Python library pillow-heif ({error}): pip install '
            'pillow-heif (the extra `heif` of this package)'
        ) from error
    # The first of several pictures; it comes upright.
    picture = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    width, height = picture.size
    check_size(width, height, max_pixels)
    samples = np.asarray(picture)  # (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)
    samples = samples if samples.ndim == 3 else samples[:, :, np.newaxis]
    return in_colour(np.ascontiguousarray(samples[:, :, : 1 if samples.shape[2] < 3 else 3]))


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
    with warnings.catch_warnings(), AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as picture:
        warnings.simplefilter('ignore')
        check_size(*picture.size, max_pixels)
        return np.ascontiguousarray(rgb_of(ImageOps.exif_transpose(picture)))


def pnm_picture(data: bytes, max_pixels: int, bit_depth: BitDepth) -> NDArray[np.uint8]:
    """Decode a PGM or PPM to (H, W, 3) uint8 RGB. Raises ImageError.

    Pillow would take a microsecond for each sample. The largest value in the header is trusted,
    except for 65535, which only means two bytes.
    """
    header = PNM_HEADER.match(data[:LONGEST_HEADER])
    if header is None:
        raise UnsupportedFormat(
            f'it starts with {shown(data[:12])}, which is not a PGM or PPM (P2, P3, P5, P6)'
        )
    width, height, largest = (int(number) for number in header.group(2, 3, 4))
    check_size(width, height, max_pixels)
    if not 0 < largest <= 0xFFFF:
        raise CorruptPicture(f'its header has the largest value {largest}, not 1 to 65535')
    colours = 3 if header.group(1) in (b'P3', b'P6') else 1
    count = width * height * colours
    kind = '>u2' if largest > 0xFF else 'u1'
    if header.group(1) in (b'P2', b'P3'):
        values = ascii_samples(data[header.end() :], count, largest)
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


def ascii_samples(text: bytes, count: int, largest: int) -> NDArray[np.int64]:
    """Read `count` numbers of a plain PGM or PPM. Raises CorruptPicture, also for comments."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # NumPy only warns of letters
        try:
            values = np.fromstring(text, np.int64, count, sep=' ')
        except (ValueError, DeprecationWarning) as error:
            raise CorruptPicture(f'its numbers cannot be read ({error}): save it again') from error
    if len(values) < count or values.min() < 0 or values.max() > largest:
        raise CorruptPicture(f'it lacks {count} numbers of 0 to {largest}: save it again')
    return values


Reader: TypeAlias = 'Callable[[bytes, int, BitDepth], NDArray[np.uint8]]'


def reader_for(data: bytes) -> Reader | None:
    """Return the reader of a BMP, PGM or PPM, by the first bytes; None for others."""
    if data.startswith(b'BM'):
        return bmp_picture
    return pnm_picture if PNM_HEADER.match(data[:LONGEST_HEADER]) else None


FILE_FORMATS: dict[str, Reader] = {
    '.bmp': bmp_picture,
    '.tif': tiff_picture,
    '.tiff': tiff_picture,
    '.ppm': pnm_picture,
    '.pgm': pnm_picture,
    '.pnm': pnm_picture,
    **dict.fromkeys(('.heic', '.heif', '.hif', '.avif'), heif_picture),
}


# --- What every source gives: frames, one after the other, never all at once.

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source: an RGB array, or a recorded message that is decoded on demand.

    name: where it comes from, for people.
    time_ns: when it is due, from the source's start; None where a source has no timing.
    stamp_ns: the recorded stamp, or None.
    frame_id: of the recorded message, or ''.
    picture: (H, W, 3) uint8 RGB; None where there is a `message`.
    message: an object with the fields of the recorded Image or CompressedImage.
    camera_info: likewise the camera's latest CameraInfo, or None.
    max_pixels: a larger message is not decoded.
    bit_depth: of the message's camera; None = guess it from this message alone.
    """

    name: str
    time_ns: int | None = None
    stamp_ns: int | None = None
    frame_id: str = ''
    picture: NDArray[np.uint8] | None = None
    message: Any = None
    camera_info: Any = None
    max_pixels: int = MAX_PIXELS
    bit_depth: BitDepth | None = None

    @property
    def is_raw_message(self) -> bool:
        """Whether `message` is an Image."""
        return hasattr(self.message, 'encoding')

    @property
    def is_compressed_message(self) -> bool:
        """Whether `message` is a CompressedImage."""
        return hasattr(self.message, 'format')

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, by the header of a message. Raises ImageError."""
        if self.picture is not None:
            return self.picture.shape[1], self.picture.shape[0]
        if self.is_raw_message:
            return int(self.message.width), int(self.message.height)
        return checked(self.message, self.max_pixels)[1]

    def rgb(self) -> NDArray[np.uint8]:
        """Return the picture as (H, W, 3) uint8 RGB. Raises ImageError for an invalid message."""
        if self.picture is not None:
            return self.picture
        decode = decode_image if self.is_raw_message else decode_compressed
        return decode(self.message, self.max_pixels, bit_depth=self.bit_depth)

    def shrunk(self, max_width: int) -> Frame:
        """Shrink the picture to at most `max_width` (0 = no limit), keeping its aspect ratio.

        A message that is narrow enough is unchanged. Raises ImageError.
        """
        if not max_width or self.size[0] <= max_width:
            return self
        width, height = self.size
        size = (max_width, max(1, round(height * max_width / width)))
        small = cv2.resize(self.rgb(), size, interpolation=cv2.INTER_AREA)
        return dataclasses.replace(self, picture=small, message=None)


class Source(abc.ABC):
    """A source of pictures. Each iteration starts from the beginning, except for a device.

    name: for people. rate_hz: of its pictures, None where it has no rate. length: the stated number
    of pictures, or None; some container formats only estimate it. live: whether pictures arrive at
    their own pace. has_stamps: whether they have recorded stamps. has_camera_info: whether they may
    have a CameraInfo. sound: a file whose sound belongs to the pictures, or None; start_s: when the
    first picture is due by the clock of the sound.
    """

    name: str
    rate_hz: float | None = None
    length: int | None = None
    live = False
    has_stamps = False
    has_camera_info = False
    sound: Path | None = None
    start_s = 0.0

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order. Raises SourceError when there is none, or the source ends."""


# --- Picture files and folders of them. Unreadable pictures are skipped with a warning.

CAMERA_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.webp')
PICTURE_SUFFIXES = (*CAMERA_SUFFIXES, *FILE_FORMATS)
# A file may have four channels of 16 bits, and metadata besides its pixels.
BYTES_PER_PIXEL, OTHER_BYTES = 8, 64 << 20


class Turn(NamedTuple):
    """How to make a picture upright: transpose it, then reverse its rows and its columns."""

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
                if path not in self._complained:
                    self._complained.add(path)
                    self._warn(printable(f'{path}: skipped: {error}'))
                continue
            good += 1
            yield Frame(str(path), picture=picture)
        if not good:
            raise UnreadableSource(
                f'{self._path}: no picture could be read: see the warnings above, and give valid '
                f'pictures ({", ".join(PICTURE_SUFFIXES)})'
            )

    def _picture(self, path: Path, bit_depth: BitDepth, keep: bool) -> NDArray[np.uint8]:
        """Read a picture; `keep` reuses a single one, which is played repeatedly, if unchanged.

        Raises ImageError.
        """
        if not keep:
            return read_picture(path, self._max_pixels, bit_depth)
        try:
            found = path.stat()
        except OSError as error:
            raise UnreadableSource(f'it cannot be read: {error.strerror}') from error
        as_it_is = (found.st_mtime_ns, found.st_size)
        if self._kept is None or self._kept[0] != as_it_is:
            picture = read_picture(path, self._max_pixels, bit_depth)
            picture.flags.writeable = False  # it is returned more than once
            self._kept = as_it_is, picture
        return self._kept[1]

    def _files(self) -> list[Path]:
        """List the files; pictures are read one by one, since a folder may exceed the memory."""
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


def is_picture(path: Path) -> bool:
    """Whether a file has the name of a picture; hidden files (._x.jpg of macOS) are ignored."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith('.')


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which frame_10 comes after frame_9."""
    parts = re.split(r'(\d+)', path.name.lower())
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def read_picture(
    path: Path, max_pixels: int = MAX_PIXELS, bit_depth: BitDepth | None = None
) -> NDArray[np.uint8]:
    """Read a picture file as upright (H, W, 3) uint8 RGB, by its EXIF orientation.

    Samples of 16 bits are scaled by `bit_depth` (by default guessed from this picture) unless the
    file states the depth. Raises ImageError (no file, too large, damaged, not a picture).
    """
    try:
        data = read_file(path, BYTES_PER_PIXEL * max_pixels + OTHER_BYTES)
    except UnreadableFile as error:
        raise UnreadableSource(error) from error
    bit_depth = bit_depth or BitDepth()
    # Phones, chats and browsers rename pictures, so the first bytes decide.
    if is_heif(data):
        return heif_picture(data, max_pixels, bit_depth)
    reader = None
    try:
        container_of(data)
    except ImageError:
        reader = reader_for(data) or FILE_FORMATS.get(path.suffix.lower())
    if reader:
        return reader(data, max_pixels, bit_depth)
    rgb = decode_compressed(types.SimpleNamespace(format='', data=data), max_pixels, bit_depth)
    return upright(rgb, orientation_of(data))


def orientation_of(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG, PNG or WebP, 1 (upright) where none can be read."""
    try:
        return exif_orientation(container_of(data).exif(data))
    except ImageError:
        return 1


def upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror a picture of EXIF orientation `orientation` to orientation 1."""
    return turned(rgb, ORIENTATIONS.get(orientation, Turn()))


def turned(rgb: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Turn and mirror (H, W, 3); the result is C-contiguous."""
    if turn.transposed:
        rgb = rgb.transpose(1, 0, 2)
    if turn.rows:
        rgb = rgb[::-1]
    if turn.columns:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)
