"""sensor_msgs/CompressedImage into RGB. A message goes in, an (H, W, 3) uint8 array comes out.

The container format is detected from the bytes. The `format` string, as image_transport writes it,
says what was compressed: `bayer_rggb8; png compressed ` is a grey PNG that still is a mosaic.
Pillow decodes JPEG, PNG and TIFF: unlike OpenCV it reports missing bytes and prints nothing. OpenCV
decodes WebP, of which Pillow makes five copies. Decoding takes about twice the memory of the RGB,
however few bytes the picture has.
"""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import sys
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from midas_depth_ros.images import containers, jpeg
from midas_depth_ros.images.decode import (
    CONVERTERS,
    ENCODINGS,
    MAX_PIXELS,
    MEASUREMENTS,
    BitDepth,
    Encoding,
    Layout,
    RawPicture,
    byte_view,
    check_size,
    eight_bits,
    in_colour,
)
from midas_depth_ros.images.errors import (
    CorruptPicture,
    ImageError,
    TruncatedPicture,
    UnsupportedFormat,
)
from midas_depth_ros.images.reduction import Size, reduction
from midas_depth_ros.options.text import shown

READERS: dict[containers.Container, type[ImageFile.ImageFile]] = {
    containers.JPEG: JpegImagePlugin.JpegImageFile,
    containers.PNG: PngImagePlugin.PngImageFile,
}
LONGEST_FORMAT = 200
NO_END_MARKER = 'without end marker'  # how such a JPEG is reported and counted

VIDEO = 'is video: republish it as raw or jpeg, by ffmpeg_image_transport for example'
DEPTH = 'is a depth image: subscribe to the topic of the camera picture'
PACKED = 'is packed by another transport: republish it as raw or compressed'
DEPTH_ENDING = '/compressedDepth'  # of the topics on which image_transport has depth images
# Words of the `format` string, in lower case, and what the error says.
DEPTH_FORMATS = ('compresseddepth', 'rvl', 'depthz')
FOREIGN_FORMATS = {
    **dict.fromkeys(('h264', 'x264', 'h265', 'x265', 'hevc', 'av1', 'vp8', 'vp9'), VIDEO),
    **dict.fromkeys(('ffmpeg', 'theora', 'mpeg4', 'mp4'), VIDEO),
    **dict.fromkeys(DEPTH_FORMATS, DEPTH),
    **dict.fromkeys(('zstd', 'zlib'), PACKED),
}

SIXTEEN = 16
DEPTH_ENCODING = '16UC1'
WHITE_IS_ZERO = 0  # PhotometricInterpretation; Pillow heeds it in pictures of at most 8 bits
# Colour type of a PNG -> its channels without alpha, and the Pillow modes that together give 16
# bits, since Pillow has no colour mode with more than 8: both bytes of grey as two channels, or the
# high bytes of colours and then the low ones. The last column is the target in (H, W, C, 2).
GREY, HIGH, LOW = np.s_[:, :, 0, :], np.s_[..., 0], np.s_[..., 1]
SIXTEEN_BITS: dict[int, tuple[int, tuple[tuple[str, str, Any], ...]]] = {
    0: (1, (('LA', 'LA', GREY),)),
    2: (3, (('RGB', 'RGB;16B', HIGH), ('RGB', 'RGB;16L', LOW))),
    4: (1, (('RGBA', 'RGBA', GREY),)),
    6: (3, (('RGBA', 'RGBA;16B', HIGH), ('RGBA', 'RGBA;16L', LOW))),
}


@dataclasses.dataclass(frozen=True)
class Format:
    """A parsed `format` string, by the rules of image_transport's plugins.

    encoding: of the Image before compression, '' where it is missing. target: the encoding it was
    converted to before compression, '' = none. words: all words of the string, in lower case.
    """

    encoding: str
    target: str
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Format:
        """Parse `encoding; container compressed target`, of which parts may be missing."""
        first, sign, rest = text.partition(';')
        encoding = first.strip()
        if not sign and encoding.lower() not in ENCODINGS and encoding.upper() not in MEASUREMENTS:
            encoding = ''  # such as 'jpeg'
        target = re.search(r'compressed\s+(\w+)', rest.lower())
        words = tuple(re.findall('[a-z0-9]+', text.lower()))
        return cls(encoding, target[1] if target else '', words)

    @property
    def is_measurement(self) -> bool:
        """Whether it is depth or another measurement instead of a camera picture."""
        is_depth = any(each in self.words for each in DEPTH_FORMATS)
        return is_depth or self.encoding.upper() in MEASUREMENTS

    @property
    def mosaic(self) -> Encoding | None:
        """The Bayer encoding of the decoded picture, if it still is a mosaic."""
        encoding = ENCODINGS.get(self.encoding.lower())
        if encoding is None or encoding.layout is not Layout.MOSAIC:
            return None
        return encoding if not self.target or self.target.startswith('bayer') else None

    @property
    def is_swapped(self) -> bool:
        """Whether red and blue are swapped: OpenCV's encoders expect BGR and were given RGB."""
        return self.encoding.lower().startswith(('rgb', 'bgr')) and self.target.startswith('rgb')


def decode_compressed(
    message: Any,
    max_pixels: int = MAX_PIXELS,
    bit_depth: BitDepth | None = None,
    least: Size | None = None,
) -> NDArray[np.uint8]:
    """Decode a sensor_msgs/CompressedImage (JPEG, PNG, TIFF or WebP) to RGB.

    Args:
        message: anything with format and data (array.array('B'), bytes, memoryview, uint8 array).
        max_pixels: larger pictures are rejected by their header, before decoding.
        bit_depth: of the camera, for a PNG or TIFF of 16 bits; by default guessed from this picture
            alone.
        least: (height, width) that suffice: a larger JPEG may be decoded at a half, a quarter or an
            eighth of both its sides (`reduction`), each pixel the mean of those it stands for.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, perhaps read-only. Grey becomes RGB unless `format` names
        a Bayer mosaic, alpha is dropped, and EXIF orientation is ignored, as ROS ignores it.

    Raises:
        ImageError: the message is invalid. Bytes missing in the middle of a JPEG are only detected
            if it has restart markers.
    """
    container, size, data = checked(message, max_pixels)
    bit_depth = bit_depth or BitDepth()
    text = Format.parse(message.format)
    try:
        if container is containers.TIFF:
            sixteen = BitDepth(SIXTEEN) if text.encoding.upper() == DEPTH_ENCODING else bit_depth
            rgb: NDArray[np.uint8] | None = tiff_picture(data, max_pixels, sixteen)
        elif container is containers.PNG and containers.png_colours(data)[0] == SIXTEEN:
            rgb = _rgb_of_sixteen(data, size, bit_depth, text.encoding.upper() == DEPTH_ENCODING)
        else:
            bit_depth.reset()
            ending = container.ending(byte_view(message.data).tobytes())
            whole = text.mosaic is not None or ending is not jpeg.Ending.KNOWN
            rgb = _rgb_of_eight(container, data, size, ending, None if whole else least)
    except (*PILLOW_FAULTS, cv2.error) as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(
            f'the {container.name} of {len(data)} bytes cannot be decoded ({error}): '
            'it was damaged or cut short'
        ) from error
    if rgb is None:
        raise CorruptPicture(
            f'the {container.name} is {size[0]}x{size[1]} by its header, but not by its data: '
            'it was damaged'
        )
    return original_colours(rgb, text)


def check_compressed(message: Any, max_pixels: int = MAX_PIXELS) -> str:
    """Raise the ImageError that decode_compressed() would raise, as far as known undecoded.

    Returns what is unusual in a picture that may be good, to be counted; '' = nothing.
    """
    container, _, _ = checked(message, max_pixels)
    ending = container.ending(byte_view(message.data).tobytes())
    return NO_END_MARKER if ending is jpeg.Ending.MISSING else ''


def checked(message: Any, max_pixels: int) -> tuple[containers.Container, tuple[int, int], bytes]:
    """Return the container, its (width, height) and bytes without metadata. Raises ImageError."""
    check_format(message.format)
    data = byte_view(message.data).tobytes()
    container = containers.container_of(data)
    width, height = container.size(data)
    check_size(width, height, max_pixels)
    return container, (width, height), container.without_metadata(data)


def check_format(text: Any) -> None:
    """Raise UnsupportedFormat if a `format` string is invalid or names video or depth."""
    if not isinstance(text, str):
        raise UnsupportedFormat(f'format is {shown(text)}: set it to a string such as "jpeg"')
    if len(text) > LONGEST_FORMAT:
        raise UnsupportedFormat(
            f'format {shown(text)} has {len(text)} characters: name the format, such as "jpeg"'
        )
    parsed = Format.parse(text)
    for word in parsed.words:
        if word in FOREIGN_FORMATS:
            raise UnsupportedFormat(f'format {shown(text)} {FOREIGN_FORMATS[word]}')
    # 16UC1 is decoded as grey if its topic is named, as where it is uncompressed.
    if parsed.encoding.upper() in MEASUREMENTS and parsed.encoding.upper() != DEPTH_ENCODING:
        raise UnsupportedFormat(f'format {shown(text)} {DEPTH}')


def original_colours(rgb: NDArray[np.uint8], text: Format) -> NDArray[np.uint8]:
    """Restore the colours that a decoded (H, W, 3) uint8 picture had before compression."""
    mosaic = text.mosaic
    if mosaic is not None and all(np.array_equal(rgb[:, :, 0], rgb[:, :, i]) for i in (1, 2)):
        height, width, _ = rgb.shape
        samples = np.ascontiguousarray(rgb[:, :, 0]).reshape(-1)
        encoding = dataclasses.replace(mosaic, sample_bytes=1)
        return CONVERTERS[Layout.MOSAIC](RawPicture(samples, width, height, width, False, encoding))
    return np.ascontiguousarray(rgb[:, :, ::-1]) if text.is_swapped else rgb


def _rgb_of_eight(
    container: containers.Container,
    data: bytes,
    size: tuple[int, int],
    ending: jpeg.Ending,
    least: Size | None,
) -> NDArray[np.uint8] | None:
    """Decode to (H, W, 3) uint8 RGB; None if it has another size. Raises what Pillow raises."""
    if container is containers.WEBP:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if bgr is None:
            raise ValueError('OpenCV finds no picture in it')
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        return rgb if rgb.shape[1::-1] == size else None
    if container is containers.PNG:
        containers.png_pixels(data)  # raises if any are missing
    with READERS[container](io.BytesIO(data)) as picture:
        if picture.size != size:
            return None
        if ending is not jpeg.Ending.KNOWN:
            return whole_jpeg(data)
        if (by := reduction(size[::-1], least)) > 1 and container is containers.JPEG:
            picture.draft('RGB', (size[0] // by, size[1] // by))
        picture.load()
        return rgb_of(picture)


def whole_jpeg(data: bytes, smaller: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode a JPEG whose end is uncertain, without metadata, to (H, W, 3) uint8 RGB.

    smaller: a sufficient width and height. Raises TruncatedPicture if pixels are missing, and what
    Pillow raises.
    """
    probes = jpeg.truncation_probes(data)
    rgb, other = (_rgb_of_jpeg(each, smaller) for each in probes.continued)
    if not np.array_equal(rgb, other):
        raise TruncatedPicture('the JPEG ends within its pixels: it was cut short')
    has_more = probes.is_filled
    if probes.shortened:
        one, other = (_rgb_of_jpeg(each, smaller) for each in probes.shortened)
        has_more = np.array_equal(one, other)
    if has_more and not np.array_equal(rgb, _rgb_of_jpeg(probes.minimal, smaller)):
        raise TruncatedPicture(
            'the JPEG has other data where its pixels should end: it was cut short'
        )
    return rgb


def _rgb_of_jpeg(data: bytes, smaller: tuple[int, int] | None) -> NDArray[np.uint8]:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as picture:
        if smaller is not None:
            picture.draft('RGB', smaller)
        picture.load()
        return rgb_of(picture)


def _rgb_of_sixteen(
    data: bytes, size: tuple[int, int], bit_depth: BitDepth, may_be_depth: bool
) -> NDArray[np.uint8]:
    """Decode a PNG with samples of 16 bits to (H, W, 3) uint8 RGB, dropping alpha."""
    pixels = containers.png_pixels(data)
    _, colours, interlaced = containers.png_colours(data)
    channels, sources = SIXTEEN_BITS[colours]
    samples = np.empty((size[1], size[0], channels), np.uint16)
    high_first = samples.view(np.uint8).reshape(*samples.shape, 2)
    if sys.byteorder == 'little':
        high_first = high_first[..., ::-1]
    for mode, raw_mode, place in sources:
        made = (mode, size, pixels, 'zip', (raw_mode, interlaced))
        copy_bands(Image.frombytes(*made), high_first[place], mode)
    depth = bit_depth.of(samples, (containers.PNG, colours, *size), may_be_depth)
    return in_colour(eight_bits(samples, depth))


# --- Decoding by Pillow, 8 or 16 bits; shared with the readers of picture files.
#
# Pillow's plugins are used directly, since Image.open() warns and has limits of its own.

BAND_PIXELS = 1 << 19  # converted at once: copies of a whole picture would add up
MOST_PASSES = 4  # how often strips or tiles, which may overlap, cover a picture; planes are passes
# Pillow's raw modes for colours of 16 bits give the high byte of each; these give the other one.
SWAPPED_ORDER = 'B' if sys.byteorder == 'little' else 'L'
OTHER_BYTE = {
    f'{colours};16{order}': f'{colours};16{other}'
    for colours in ('RGB', 'RGBX', 'RGBA')
    for order, other in (('L', 'B'), ('B', 'L'), ('N', SWAPPED_ORDER))
}
# What Pillow raises on damaged bytes.
PILLOW_FAULTS = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def rgb_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Convert a loaded Pillow picture to (H, W, 3) uint8 RGB, perhaps read-only."""
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
    """Decode the first picture of a TIFF to upright (H, W, 3) uint8 RGB. Raises ImageError."""
    data = containers.tiff_without_metadata(data)
    return pillow_picture(TiffImagePlugin.TiffImageFile, data, max_pixels, bit_depth)


def pillow_picture(
    reader: type[ImageFile.ImageFile], data: bytes, max_pixels: int, bit_depth: BitDepth
) -> NDArray[np.uint8]:
    """Decode a file by one of Pillow's plugins to (H, W, 3) uint8 RGB. Raises ImageError."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about tags that are not needed
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
    """Decode an opened BMP or TIFF to (H, W, 3) uint8. Raises ImageError and what Pillow raises."""
    tiles = picture.tile
    boxes = [tile[1] for tile in tiles if tile[1] is not None]  # left, upper, right, lower
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    passes = covered / (picture.width * picture.height)
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
    bits = SIXTEEN
    if picture.mode.startswith('I'):  # grey of more than 8 bits, in 16 or 32 bits
        samples = sixteen_bits(np.asarray(picture))
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            bits = int(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (SIXTEEN,))[0])
            if picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
                samples = np.subtract((1 << bits) - 1, samples, dtype=np.uint16)
    elif raw_modes and raw_modes <= set(OTHER_BYTE):
        samples = np.left_shift(rgb_of(picture), 8, dtype=np.uint16)
        samples |= _low_bytes(type(picture), data)
    else:
        return np.ascontiguousarray(rgb_of(picture))
    kind = (picture.format, samples.shape)
    depth = bits if bits < SIXTEEN and not bit_depth.given else bit_depth.of(samples, kind)
    return in_colour(eight_bits(samples, depth))


def sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Convert integers to uint16. Raises UnsupportedFormat where they do not fit."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise UnsupportedFormat(
            f'its values go from {low} to {high}: give a camera picture of at most 16 bits'
        )
    return np.ascontiguousarray(values, np.uint16)


def _low_bytes(reader: type[ImageFile.ImageFile], data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3): the low bytes of colours of 16 bits, of which Pillow gives the high ones."""
    with reader(io.BytesIO(data)) as picture:
        picture.tile = [_with_other_byte(tile) for tile in picture.tile]
        picture.load()
        return rgb_of(picture)


def _with_other_byte(tile: Any) -> Any:
    """A Pillow tile with the raw mode that gives the other byte."""
    name, *where, (raw_mode, *arguments) = tile
    make = getattr(type(tile), '_make', tuple)  # a named tuple in newer Pillows
    return make((name, *where, (OTHER_BYTE[raw_mode], *arguments)))
