"""Known pictures and messages, encoded by hand with NumPy: nothing here calls the decoders.

A row of `LAYOUTS` says how an encoding packs a picture; `image_message` adds padding and byte
order. `write_png` is a PNG writer small enough to be seen to be right.
"""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace

import numpy as np

PADDING_BYTE = 0xA5


def colourful(height, width):
    """(H, W, 3) uint8: red grows to the right, green downwards, blue falls along the diagonal."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    red = 30 + 200 * columns / width
    green = 40 + 180 * rows / height
    blue = 220 - 100 * (columns / width + rows / height)
    return np.stack((red, green, blue), axis=2).round().astype(np.uint8)


def blocky(height, width, block=(2, 2)):
    """The same in blocks of one colour, so that nothing is lost when chroma is shared in them."""
    rows = np.arange(height) // block[0] * block[0]
    columns = np.arange(width) // block[1] * block[1]
    return colourful(height, width)[rows][:, columns]


def noise(height, width, channels=3, seed=0):
    """(H, W, channels) uint8 of random samples."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def yuv_of(rgb):
    """(H, W, 3) uint8 Y, U, V: BT.601 in video range, by its defining coefficients."""
    red, green, blue = np.moveaxis(rgb.astype(float) / 255, 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    y = 16 + 219 * luma
    u = 128 + 112 * (blue - luma) / (1 - 0.114)
    v = 128 + 112 * (red - luma) / (1 - 0.299)
    return np.stack((y, u, v), axis=2).round().astype(np.uint8)


def grey_of(rgb):
    """(H, W) uint8."""
    return rgb.mean(axis=2).astype(np.uint8)


def mosaic_of(rgb, pattern):
    """(H, W) uint8: of each pixel only the colour of its filter; `pattern` as ROS names it."""
    rows, columns = np.indices(rgb.shape[:2])
    channel = np.array(['rgb'.index(letter) for letter in pattern]).reshape(2, 2)
    return np.take_along_axis(rgb, channel[rows % 2, columns % 2][:, :, None], axis=2)[:, :, 0]


def packed_422(rgb, luma_first):
    """(H, 2W) uint8: per pixel its luma and, in turn, the U or the V of its pair."""
    yuv = yuv_of(rgb)
    columns = np.arange(rgb.shape[1])
    shared = yuv[:, columns // 2 * 2]
    chroma = np.where(columns % 2, shared[:, :, 2], shared[:, :, 1])
    pair = (yuv[:, :, 0], chroma) if luma_first else (chroma, yuv[:, :, 0])
    return np.stack(pair, axis=2).reshape(rgb.shape[0], -1)


def planes(rgb, subsample, v_first):
    """Two planes of rows: (H, W) luma, and chroma pairs of every `subsample`-th pixel and row."""
    yuv = yuv_of(rgb)
    chroma = yuv[::subsample, ::subsample, :0:-1] if v_first else yuv[::subsample, ::subsample, 1:]
    return [yuv[:, :, 0], chroma.reshape(chroma.shape[0], -1)]


def with_low_bytes(high, big_endian):
    """Samples of 16 bits whose high byte is given and whose low byte is anything but that."""
    low = 255 - high
    pair = (high, low) if big_endian else (low, high)
    return np.stack(pair, axis=-1).reshape(*high.shape[:-1], -1)


def image_message(name, rgb, padding=0, big_endian=False, alpha=77):
    """A stand-in for sensor_msgs/Image that shows `rgb` (or its grey) in the encoding `name`."""
    height, width = rgb.shape[:2]
    with_alpha = np.dstack((rgb, np.full((height, width), alpha, np.uint8)))
    orders = {'rgb': [0, 1, 2], 'bgr': [2, 1, 0], 'rgba': [0, 1, 2, 3], 'bgra': [2, 1, 0, 3]}
    bits = 16 if name.endswith('16') or name.startswith('16') else 8
    kind = name.removesuffix(str(bits))
    kind = {'8UC3': 'bgr', '16UC3': 'bgr', '8UC4': 'bgra', '16UC4': 'bgra'}.get(name, kind)
    if kind in orders:
        parts = [with_alpha[:, :, orders[kind]]]
    elif kind in ('mono', '8UC1', '16UC1'):
        parts = [grey_of(rgb)[:, :, None]]
    elif kind.startswith('bayer_'):
        parts = [mosaic_of(rgb, kind.removeprefix('bayer_'))[:, :, None]]
    elif name in ('uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2'):
        parts = [packed_422(rgb, luma_first=name in ('yuyv', 'yuv422_yuy2'))]
    else:
        parts = planes(rgb, 1 if name == 'nv24' else 2, v_first=name == 'nv21')
    if bits == 16:
        parts = [with_low_bytes(part, big_endian) for part in parts]
    parts = [part.reshape(part.shape[0], -1) for part in parts]
    step = parts[0].shape[1] + padding
    if name in ('nv12', 'nv21'):
        step = max(step, parts[1].shape[1] + padding)
    steps = (step, 2 * step if name == 'nv24' else step)
    padded = [_pad(part, row) for part, row in zip(parts, steps, strict=False)]
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=name,
        is_bigendian=int(big_endian),
        step=step,
        data=b''.join(part.tobytes() for part in padded),
    )


def _pad(rows, step):
    padded = np.full((rows.shape[0], step), PADDING_BYTE, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded


def png_chunk(kind, data):
    """One chunk of a PNG with its length and checksum."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def write_png(samples, depth=8, colour=2, palette=b'', extra=b'', size=None):
    """A PNG of (H, W, bytes per pixel) uint8 samples (big endian where 16 bits).

    `extra` is put before the pixels; `size` overrides the (width, height) that the header states.
    """
    height, width = samples.shape[:2]
    width = width * 8 // depth if depth < 8 else width
    header = struct.pack('>IIBBBBB', *(size or (width, height)), depth, colour, 0, 0, 0)
    rows = b''.join(b'\0' + row.tobytes() for row in samples)
    return b''.join(
        (
            b'\x89PNG\r\n\x1a\n',
            png_chunk(b'IHDR', header),
            png_chunk(b'PLTE', palette) if palette else b'',
            extra,
            png_chunk(b'IDAT', zlib.compress(rows)),
            png_chunk(b'IEND', b''),
        )
    )


def compressed_message(data, text='jpeg'):
    """A stand-in for sensor_msgs/CompressedImage."""
    return SimpleNamespace(format=text, data=data)
