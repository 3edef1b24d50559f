"""Picture files and folders of them as a source. Broken ones are named in a warning and skipped."""

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
from midas_depth_ros.images.containers import container_of, orientation
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

# --- Formats of picture files by their suffixes that tell it: BMP, TIFF, PGM, PPM, HEIC and
# AVIF.
#
# The bytes of a file go in, (H, W, 3) uint8 RGB comes out. A file may come from anywhere: what it
# says of itself is checked before memory is taken for it, and decoders see only what was checked.

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


# --- Picture files and folders of them as a source. Broken ones are named in a warning and
# skipped.

# --- What every source gives: frames, one after the other, never all at once.
#
# A frame has an RGB array, or the message of a bag as it was recorded, to be decoded on demand.

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source.

    name: where it comes from, for people.
    time_ns: when it is due, counted from the source's start; None where a source has no rhythm.
    stamp_ns: the stamp it was recorded with; None where there is none.
    frame_id: of the recorded message; '' where there is none.
    picture: (H, W, 3) uint8 RGB; None where there is a `message`.
    message: an image or compressed image with all the fields of the ROS message, as recorded.
    camera_info: the camera's CameraInfo by then, likewise, or None.
    max_pixels: a larger message is not decoded.
    bit_depth: of the camera that the message is of; None guesses it from this message alone.
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
        """The picture as (H, W, 3) uint8 RGB. Raises ImageError if the message is malformed."""
        if self.picture is not None:
            return self.picture
        decode = decode_image if self.is_raw_message else decode_compressed
        return decode(self.message, self.max_pixels, bit_depth=self.bit_depth)

    def shrunk(self, max_width: int) -> Frame:
        """The frame with a picture at most `max_width` wide (0 = no limit), its aspect kept.

        A message that is narrow enough stays as recorded. Raises ImageError.
        """
        if not max_width or self.size[0] <= max_width:
            return self
        width, height = self.size
        size = (max_width, max(1, round(height * max_width / width)))
        small = cv2.resize(self.rgb(), size, interpolation=cv2.INTER_AREA)
        return dataclasses.replace(self, picture=small, message=None)


class Source(abc.ABC):
    """A place where pictures come from. Each iteration starts anew, a device excepted.

    name: for people. rate_hz: of its pictures, None where it has none of its own. length: how many
    pictures it says to have, None where it does not; some container formats only guess.
    live: whether its pictures come when they like. has_stamps: whether they were recorded with
    stamps. has_camera_info: whether they may have a CameraInfo. sound: a file whose sound belongs
    to the pictures, None where there is none; start_s: when the first one is due by its clock.
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
        """The frames in order. Raises SourceError when there is none, or none any more."""


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
            raise UnreadableSource(f'it cannot be read: {error.strerror}') from error
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
    try:
        data = read_file(path, BYTES_PER_PIXEL * max_pixels + OTHER_BYTES)
    except UnreadableFile as error:
        raise UnreadableSource(error) from error
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
