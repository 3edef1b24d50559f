"""Hypothesis strategies for camera messages, sound and broken, within the ranges of ROS.

`image_fields()` gives the fields of sensor_msgs/Image as a dict, `compressed_fields()` those of
CompressedImage. Every value fits its ROS type (uint32, uint8, string without NUL, bytes), so that
the same cases can be sent over DDS. Most start from a sound message of which one thing is broken:
bytes without any sense never get past the first check.
"""

from __future__ import annotations

import functools
import io
import struct

import numpy as np
from hypothesis import strategies as st
from picture_files import noise, png_chunk, write_png
from PIL import Image

UINT32_MAX = 2**32 - 1
MOST_BYTES = 20_000
# Edges of ranges, and values near the pictures made here.
UNLIKELY = (0, 1, 2, 3, 7, 16, 21, 41, 255, 65_535, 65_536, 2**31 - 1, 2**31, UINT32_MAX)

BYTES_PER_PIXEL = {
    **dict.fromkeys(('mono8', '8UC1', 'nv12', 'nv21', 'nv24'), 1),
    **dict.fromkeys((f'bayer_{order}8' for order in ('rggb', 'bggr', 'gbrg', 'grbg')), 1),
    **dict.fromkeys((f'bayer_{order}16' for order in ('rggb', 'bggr', 'gbrg', 'grbg')), 2),
    **dict.fromkeys(('mono16', '16UC1', 'uyvy', 'yuyv', 'yuv422', 'yuv422_yuy2'), 2),
    **dict.fromkeys(('rgb8', 'bgr8', '8UC3'), 3),
    **dict.fromkeys(('rgba8', 'bgra8', '8UC4'), 4),
    **dict.fromkeys(('rgb16', 'bgr16', '16UC3'), 6),
    **dict.fromkeys(('rgba16', 'bgra16', '16UC4'), 8),
}
# Chroma planes, in halves of the luma plane.
HALVES = {'nv12': 3, 'nv21': 3, 'nv24': 6}
STRANGE_ENCODINGS = ('', 'RGB8', '8UC2', '16SC1', '32FC1', '64FC4', 'nv16', 'jpeg', 'rgb8 ', 'é☃')
FORMATS = (
    *('jpeg', 'png', 'webp', '', 'bgr8; jpeg compressed bgr8', 'mono16; png compressed '),
    *('16UC1; compressedDepth png', 'h264', 'rgb8; tiff compressed '),
)

# The default alphabet has no surrogates, which UTF-8 cannot carry; NUL ends a string of ROS.
names = st.text(max_size=24).map(lambda text: text.replace('\0', ''))
sides = st.integers(1, 20)
numbers = st.sampled_from(UNLIKELY) | st.integers(0, UINT32_MAX)
patterns = st.binary(min_size=1, max_size=24)


def repeated(pattern, size):
    """`size` bytes of a pattern over and over, but never more than MOST_BYTES."""
    size = min(size, MOST_BYTES)
    return (pattern * (size // len(pattern) + 1))[:size]


@st.composite
def image_fields(draw):
    """Dicts of height, width, encoding, is_bigendian, step and data (bytes)."""
    encoding = draw(st.sampled_from(sorted(BYTES_PER_PIXEL)))
    width, height = draw(sides), draw(sides)
    even = encoding in ('nv12', 'nv21')
    step = (width + (width % 2 if even else 0)) * BYTES_PER_PIXEL[encoding]
    step += draw(st.sampled_from((0, 0, 0, 1, 2, 4, 16)))
    rows = (height + (height % 2 if even else 0)) * HALVES.get(encoding, 2) // 2
    fields = {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': draw(st.sampled_from((0, 1, 255))),
        'step': step,
    }
    size = step * rows
    broken = draw(
        st.sampled_from(('', '', '', 'height', 'width', 'step', 'encoding', 'data', 'all'))
    )
    if broken in ('height', 'width', 'step'):
        fields[broken] = draw(numbers)
    elif broken == 'encoding':
        fields['encoding'] = draw(st.sampled_from(STRANGE_ENCODINGS) | names)
    elif broken == 'data':
        size = max(0, size + draw(st.integers(-30, 30)))
    elif broken == 'all':
        values = draw(st.tuples(numbers, numbers, numbers, st.integers(0, 255)))
        fields.update(zip(('height', 'width', 'step', 'is_bigendian'), values, strict=True))
        size = draw(st.integers(0, 400))
    return {**fields, 'data': repeated(draw(patterns), size)}


@st.composite
def compressed_fields(draw):
    """Dicts of format and data (bytes)."""
    data = draw(st.sampled_from(sound_files()))
    broken = draw(st.sampled_from((*BREAKERS, 'nothing')))
    if broken != 'nothing':
        data = BREAKERS[broken](draw, data)
    # Mostly a format that does not end the matter before the bytes are looked at.
    text = draw(st.sampled_from(FORMATS * 3) | names) if draw(st.booleans()) else 'jpeg'
    return {'format': text, 'data': data}


@functools.cache
def sound_files():
    """Small pictures in every container and of many kinds."""
    rgb = noise(16, 24)
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[:, :, 0])
    clear = Image.fromarray(noise(16, 24, 4))
    return (
        _saved(colour, 'JPEG'),
        _saved(colour, 'JPEG', progressive=True),
        _saved(colour, 'JPEG', subsampling=0, comment=b'said'),
        _saved(grey, 'JPEG'),
        _saved(colour.convert('CMYK'), 'JPEG'),
        write_png(rgb),
        write_png(noise(16, 24, 2), depth=16, colour=0),
        write_png(noise(16, 24, 6), depth=16, colour=2, extra=png_chunk(b'tEXt', b'a\0b')),
        write_png(noise(16, 24, 1) % 4, colour=3, palette=bytes(range(12))),
        write_png(noise(16, 3, 1), depth=1, colour=0),
        _saved(clear, 'PNG'),
        _saved(colour, 'WEBP'),
        _saved(colour, 'WEBP', lossless=True),
        _saved(clear, 'WEBP'),
        _saved(colour, 'WEBP', save_all=True, duration=100, append_images=[colour.rotate(180)]),
    )


def _saved(picture, name, **options):
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def _cut(draw, data):
    return data[: draw(st.integers(0, len(data)))]


def _flip(draw, data):
    changed = np.frombuffer(data, np.uint8).copy()
    for _ in range(draw(st.integers(1, 3))):
        # Headers are short and matter most.
        last = draw(st.sampled_from((40, 200, len(data)))) - 1
        changed[draw(st.integers(0, min(last, len(data) - 1)))] = draw(st.integers(0, 255))
    return changed.tobytes()


def _resize(draw, data):
    """Another size in the header, up to the largest that it can state."""
    width, height = draw(numbers), draw(numbers)
    if data.startswith(b'\x89PNG'):
        header = struct.pack('>II', width, height) + data[24:29]
        return data[:8] + png_chunk(b'IHDR', header) + data[33:]
    if data.startswith(b'RIFF'):
        return (
            data[:24] + struct.pack('<II', width, height)[: 6 + width % 2] + data[30 + width % 2 :]
        )
    start = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2')) + 5
    return data[:start] + struct.pack('>HH', height % 65_536, width % 65_536) + data[start + 4 :]


def _insert(draw, data):
    position = draw(st.integers(0, len(data)))
    return data[:position] + draw(patterns) * draw(st.sampled_from((1, 100))) + data[position:]


def _repeat(draw, data):
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    return data[:end] + data[start:]


def _senseless(draw, data):
    return data[: draw(st.sampled_from((0, 3, 8, 12, 16, 24)))] + draw(st.binary(max_size=300))


BREAKERS = {
    'cut': _cut,
    'flip': _flip,
    'resize': _resize,
    'insert': _insert,
    'repeat': _repeat,
    'senseless': _senseless,
}
