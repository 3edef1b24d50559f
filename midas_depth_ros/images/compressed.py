"""sensor_msgs/CompressedImage into RGB. A message goes in, an (H, W, 3) uint8 array comes out.

The bytes tell what they are; the `format` string is believed only where it names something that
is no camera picture. Pillow decodes: unlike OpenCV it says when bytes are missing, and it prints
nothing. Its plugins are used directly, since Image.open() warns and refuses by limits of its own.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from midas_depth_ros.images import containers
from midas_depth_ros.images.bit_depth import COLOURS, BitDepth, eight_bits, in_colour
from midas_depth_ros.images.checks import MAX_PIXELS, byte_view, check_size
from midas_depth_ros.images.errors import CorruptPicture, ImageError, UnsupportedFormat, shown

READERS: dict[containers.Container, type[ImageFile.ImageFile]] = {
    containers.JPEG: JpegImagePlugin.JpegImageFile,
    containers.PNG: PngImagePlugin.PngImageFile,
    containers.WEBP: WebPImagePlugin.WebPImageFile,
}

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
# Colour type of a PNG -> Pillow's modes that give all of its samples of 16 bits: both bytes of grey
# (and of its alpha) as channels of their own, or first the high bytes of the colours, then the low
# ones, for Pillow has no mode with more than 8 bits per colour.
SIXTEEN_BITS = {
    0: (('LA', 'LA'),),
    2: (('RGB', 'RGB;16B'), ('RGB', 'RGB;16L')),
    4: (('RGBA', 'RGBA'),),
    6: (('RGBA', 'RGBA;16B'), ('RGBA', 'RGBA;16L')),
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
    Image.DecompressionBombError,  # WebP of more than 179 million pixels, checked in its plugin
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
    try:
        if container is containers.PNG:
            pixels = containers.png_pixels(data)
            bits, colours, interlaced = containers.png_colours(data)
            if bits == SIXTEEN:
                samples = _sixteen_bits(pixels, size, colours, interlaced)
                may_be_depth = message.format.partition(';')[0].strip() == DEPTH_ENCODING
                kind = (container, colours, *size)
                depth = (bit_depth or BitDepth()).of(samples, kind, may_be_depth)
                return in_colour(eight_bits(samples, depth))
        if bit_depth is not None:
            bit_depth.reset()
        with READERS[container](io.BytesIO(data)) as picture:
            if picture.size == size:
                picture.load()
                return _rgb(picture)
    except PILLOW_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(
            f'the {container.name} of {len(data)} bytes cannot be decoded ({error}): '
            'the message was damaged or cut short'
        ) from error
    raise CorruptPicture(
        f'the {container.name} is {size[0]}x{size[1]} by its header, but not by its data: '
        'the message was damaged'
    )


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
    for word in re.findall('[a-z0-9]+', text.lower()):
        if word in FOREIGN_FORMATS:
            raise UnsupportedFormat(f'format {shown(text)} {FOREIGN_FORMATS[word]}')


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))


def _sixteen_bits(
    pixels: bytes, size: tuple[int, int], colours: int, interlaced: bool
) -> NDArray[np.uint16]:
    """(H, W) or (H, W, 3) of a PNG with samples of 16 bits, alpha dropped."""
    planes = [
        np.asarray(Image.frombytes(mode, size, pixels, 'zip', (raw_mode, interlaced)))
        for mode, raw_mode in SIXTEEN_BITS[colours]
    ]
    if len(planes) == 2:
        high, low = (plane[:, :, :COLOURS] for plane in planes)
        return np.left_shift(high, 8, dtype=np.uint16) | low
    return planes[0].view('>u2')[:, :, 0].astype(np.uint16)
