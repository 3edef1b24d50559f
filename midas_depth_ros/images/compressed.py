"""sensor_msgs/CompressedImage into RGB. A message goes in, an (H, W, 3) uint8 array comes out.

The bytes tell what they are; the `format` string is believed only where it names something that
is no camera picture. Pillow decodes JPEG and PNG: unlike OpenCV it says when bytes are missing, and
it prints nothing. Its plugins are used directly, since Image.open() warns and refuses by limits of
its own. OpenCV decodes WebP, of which Pillow makes five copies. A picture takes about twice the
memory of its RGB, however few bytes it comes from.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from midas_depth_ros.images import containers
from midas_depth_ros.images.bit_depth import BitDepth, eight_bits, in_colour
from midas_depth_ros.images.checks import MAX_PIXELS, byte_view, check_size
from midas_depth_ros.images.errors import CorruptPicture, ImageError, UnsupportedFormat, shown

READERS: dict[containers.Container, type[ImageFile.ImageFile]] = {
    containers.JPEG: JpegImagePlugin.JpegImageFile,
    containers.PNG: PngImagePlugin.PngImageFile,
}
# More of a picture is not converted at once: copies of all of it would add up.
BAND_PIXELS = 1 << 19
LONGEST_FORMAT = 200

VIDEO = 'is video: republish it as raw or jpeg, by ffmpeg_image_transport for example'
DEPTH = 'is a depth image: subscribe to the topic of the camera picture'
# Words of the `format` string, in lower case, and what to say of them.
FOREIGN_FORMATS = {
    **dict.fromkeys(('h264', 'x264', 'h265', 'x265', 'hevc', 'av1', 'vp8', 'vp9'), VIDEO),
    **dict.fromkeys(('ffmpeg', 'theora', 'mpeg4', 'mp4'), VIDEO),
    **dict.fromkeys(('compresseddepth', 'rvl'), DEPTH),
}

SIXTEEN = 16
DEPTH_ENCODING = '16UC1'
# Colour type of a PNG -> its channels without alpha, and Pillow's modes that give all of their 16
# bits: both bytes of grey as channels of their own, or the high bytes of colours and then the low
# ones, for Pillow has no mode with more than 8 bits per colour. Where they go in (H, W, C, 2).
GREY, HIGH, LOW = np.s_[:, :, 0, :], np.s_[..., 0], np.s_[..., 1]
SIXTEEN_BITS: dict[int, tuple[int, tuple[tuple[str, str, Any], ...]]] = {
    0: (1, (('LA', 'LA', GREY),)),
    2: (3, (('RGB', 'RGB;16B', HIGH), ('RGB', 'RGB;16L', LOW))),
    4: (1, (('RGBA', 'RGBA', GREY),)),
    6: (3, (('RGBA', 'RGBA;16B', HIGH), ('RGBA', 'RGBA;16L', LOW))),
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


def decode_compressed(
    message: Any, max_pixels: int = MAX_PIXELS, bit_depth: BitDepth | None = None
) -> NDArray[np.uint8]:
    """Turn a sensor_msgs/CompressedImage (JPEG, PNG or WebP) into RGB.

    Args:
        message: anything with format and data (array.array('B'), bytes, memoryview, uint8 array).
        max_pixels: larger pictures are refused by their header, before they are decoded.
        bit_depth: of the camera, for a PNG of 16 bits; without it, it is guessed from this picture
            alone.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, perhaps read-only. Grey becomes RGB, alpha is dropped,
        and EXIF orientation is ignored as ROS ignores it.

    Raises:
        ImageError: one of its kinds, for whatever is wrong with the message. A JPEG of which
            bytes are missing in the middle cannot be told from a whole one.
    """
    container, size, data = checked(message, max_pixels)
    bit_depth = bit_depth or BitDepth()
    try:
        if container is containers.PNG and containers.png_colours(data)[0] == SIXTEEN:
            may_be_depth = message.format.partition(';')[0].strip() == DEPTH_ENCODING
            return _rgb_of_sixteen(data, size, bit_depth, may_be_depth)
        bit_depth.reset()
        rgb = _rgb_of_eight(container, data, size)
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
    return rgb


def check_compressed(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Raise the ImageError that decode_compressed() would, as far as it can tell undecoded."""
    checked(message, max_pixels)


def checked(message: Any, max_pixels: int) -> tuple[containers.Container, tuple[int, int], bytes]:
    """The container, its (width, height) and its bytes without metadata. Raises ImageError."""
    check_format(message.format)
    data = byte_view(message.data).tobytes()
    container = containers.container_of(data)
    width, height = container.size(data)
    check_size(width, height, max_pixels)
    return container, (width, height), container.without_metadata(data)


def check_format(text: Any) -> None:
    """Raise UnsupportedFormat if a `format` string names video or depth."""
    if not isinstance(text, str):
        raise UnsupportedFormat(f'format is {shown(text)}: set it to a string such as "jpeg"')
    if len(text) > LONGEST_FORMAT:
        raise UnsupportedFormat(
            f'format {shown(text)} has {len(text)} characters: name the format, such as "jpeg"'
        )
    for word in re.findall('[a-z0-9]+', text.lower()):
        if word in FOREIGN_FORMATS:
            raise UnsupportedFormat(f'format {shown(text)} {FOREIGN_FORMATS[word]}')


def _rgb_of_eight(
    container: containers.Container, data: bytes, size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB; None where it is of another size. Raises what Pillow raises."""
    if container is containers.WEBP:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if bgr is None:
            raise ValueError('OpenCV finds no picture in it')
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        return rgb if rgb.shape[1::-1] == size else None
    if container is containers.PNG:
        containers.png_pixels(data)  # to see that they are all there
    with READERS[container](io.BytesIO(data)) as picture:
        if picture.size != size:
            return None
        picture.load()
        return rgb_of(picture)


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


def _rgb_of_sixteen(
    data: bytes, size: tuple[int, int], bit_depth: BitDepth, may_be_depth: bool
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a PNG with samples of 16 bits, alpha dropped."""
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
