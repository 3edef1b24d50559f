"""Reads compressedDepth as image_transport's subscriber does. Shares nothing with what writes it.

Written from the message format of compressed_depth_image_transport and from Wilson, "Fast Lossless
Depth Image Compression" (2017), one number after the other.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np


class Nibbles:
    """Numbers of variable length, in words of 32 bits whose highest nibble comes first."""

    def __init__(self, data: bytes) -> None:
        self.words = struct.unpack(f'<{len(data) // 4}I', data[: len(data) // 4 * 4])
        self.place = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            word, position = divmod(self.place, 8)
            nibble = self.words[word] >> (28 - 4 * position) & 0xF
            self.place += 1
            value |= (nibble & 7) << shift
            shift += 3
            if not nibble & 8:
                return value


def read_rvl(data: bytes, count: int) -> tuple[list[int], int]:
    """Return `count` values, and how many bytes of whole words they took."""
    numbers, values, value = Nibbles(data), [], 0
    while len(values) < count:
        values += [0] * numbers.number()
        for _ in range(numbers.number()):
            folded = numbers.number()
            value += -(folded + 1) // 2 if folded % 2 else folded // 2
            assert 0 < value < 1 << 16, 'a value that is no uint16'
            values.append(value)
    assert len(values) == count, 'the runs end beyond the picture'
    return values, -(-numbers.place // 8) * 4


def read_depth(message) -> np.ndarray:
    """Decode `format` and `data`: (H, W) float32 metres, NaN unknown, or uint16, 0 unknown."""
    encoding, _, rest = message.format.partition('; ')
    container = rest.removeprefix('compressedDepth ')
    data = bytes(message.data)
    kind, a, b = struct.unpack_from('<iff', data)
    assert kind == 0, 'inverse depth'
    body = data[12:]
    if container == 'png':
        codes = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert codes.dtype == np.uint16
    else:
        assert container == 'rvl', message.format
        width, height = struct.unpack_from('<II', body)
        assert width * height <= 5 * len(body), 'the plugin takes it for damaged'
        values, _ = read_rvl(body[8:], width * height)
        codes = np.array(values, np.uint16).reshape(height, width)
    if encoding == '16UC1':
        return codes
    assert encoding == '32FC1'
    with np.errstate(divide='ignore'):
        depth = np.float32(a) / (codes.astype(np.float32) - np.float32(b))
    return np.where(codes == 0, np.float32(np.nan), depth)
