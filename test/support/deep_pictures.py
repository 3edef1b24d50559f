"""Camera pictures with more than 8 bits per sample, encoded by hand with NumPy and zlib.

`fields_of` gives the fields of a sensor_msgs/Image, `png_of` and `tiff_of` files. Nothing here
calls the decoders.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

ORDERS = {
    'rgb16': [0, 1, 2],
    'bgr16': [2, 1, 0],
    '16UC3': [2, 1, 0],
    'rgba16': [0, 1, 2, 3],
    'bgra16': [2, 1, 0, 3],
    '16UC4': [2, 1, 0, 3],
}
COLOUR = tuple(ORDERS)
BAYER = tuple(f'bayer_{pattern}16' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg'))
OPAQUE = 0xFFFF
PADDING_BYTE = 0xA5


def samples_of(brightness, bits, high=False):
    """uint16 of a sensor of `bits` bits for brightness 0 to 1; in the high bits if asked."""
    values = np.rint(np.clip(brightness, 0, 1) * ((1 << bits) - 1)).astype(np.uint16)
    return values << (16 - bits) if high else values


def shown_by(name, rgb):
    """What an encoding shows of an (H, W, 3) picture: itself, or its green for a grey one."""
    return np.repeat(rgb[:, :, 1:2], 3, axis=2) if name in ('mono16', '16UC1') else rgb


def packed(name, rgb):
    """(H, W, C) or (H, W) uint16 as the encoding has it, of an (H, W, 3) uint16 picture."""
    if name in ORDERS:
        alpha = np.full((*rgb.shape[:2], 1), OPAQUE, np.uint16)
        return np.concatenate((rgb, alpha), axis=2)[:, :, ORDERS[name]]
    if name in ('mono16', '16UC1'):
        return rgb[:, :, 1]
    rows, columns = np.indices(rgb.shape[:2])
    pattern = name.removeprefix('bayer_').removesuffix('16')
    channel = np.array(['rgb'.index(letter) for letter in pattern]).reshape(2, 2)
    return np.take_along_axis(rgb, channel[rows % 2, columns % 2][:, :, None], axis=2)[:, :, 0]


def fields_of(name, rgb, padding=0, big_endian=False):
    """The fields of a sensor_msgs/Image, but for its header, as a dict."""
    height, width = rgb.shape[:2]
    samples = packed(name, rgb).astype('>u2' if big_endian else '<u2')
    rows = np.frombuffer(samples.tobytes(), np.uint8).reshape(height, -1)
    padded = np.full((height, rows.shape[1] + padding), PADDING_BYTE, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return {
        'height': height,
        'width': width,
        'encoding': name,
        'is_bigendian': int(big_endian),
        'step': padded.shape[1],
        'data': padded.tobytes(),
    }


def png_of(samples, colour, interlaced=False):
    """A PNG of (H, W, C) uint16 samples; `colour` is 0, 2, 4 or 6 as in its header."""
    height, width = samples.shape[:2]
    header = struct.pack('>IIBBBBB', width, height, 16, colour, 0, 0, int(interlaced))
    parts = [samples]
    if interlaced:
        steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4))
        steps += ((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        parts = [samples[top::down, left::right] for top, left, down, right in steps]
    rows = b''.join(
        b'\0' + row.astype('>u2').tobytes() for part in parts for row in part if len(row)
    )
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff_of(samples, order='<', bits=16, compressed=False, orientation=1, strips=1, black=1):
    """A TIFF of (H, W, 1) or (H, W, 3) uint16 samples; of 12 bits they are packed, grey only.

    black: PhotometricInterpretation of grey, 1 = 0 is black, 0 = 0 is white.
    """
    height, width, colours = samples.shape
    data = samples.astype(order + 'u2').tobytes()
    if bits == 12:
        first, second = samples.reshape(-1, 2).astype(np.uint32).T
        both = first << 12 | second
        data = (
            np.stack((both >> 16, both >> 8 & 255, both & 255), axis=1).astype(np.uint8).tobytes()
        )
    if compressed:
        data = zlib.compress(data)
    short, long = 3, 4
    # Behind the 8 bytes of the header: the bits of 3 colours, offsets and sizes of strips, pixels.
    bits_at, offsets_at = 8, 16
    sizes_at = offsets_at + 4 * strips
    pixels_at = sizes_at + 4 * strips
    tags = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, colours, bits if colours == 1 else bits_at),
        (259, short, 1, 8 if compressed else 1),
        (262, short, 1, black if colours == 1 else 2),
        (273, long, strips, pixels_at if strips == 1 else offsets_at),
        (274, short, 1, orientation),
        (277, short, 1, colours),
        (278, short, 1, height if strips == 1 else max(1, height - 1)),
        (279, long, strips, len(data) if strips == 1 else sizes_at),
    ]
    directory_at = pixels_at + len(data) + len(data) % 2
    entries = b''
    for tag, kind, count, value in tags:
        inline = struct.pack(order + 'HH', value, 0) if (kind, count) == (short, 1) else None
        entries += struct.pack(order + 'HHI', tag, kind, count)
        entries += inline or struct.pack(order + 'I', value)
    return b''.join(
        (
            (b'II' if order == '<' else b'MM') + struct.pack(order + 'HI', 42, directory_at),
            struct.pack(order + '4H', bits, bits, bits, 0),
            struct.pack(f'{order}{strips}I', *[pixels_at] * strips),
            struct.pack(f'{order}{strips}I', *[len(data)] * strips),
            data + bytes(len(data) % 2),
            struct.pack(order + 'H', len(tags)) + entries + bytes(4),
        )
    )
