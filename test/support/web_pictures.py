"""Picture files for tests of the dashboard, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


def ramp(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: brighter downward and to the right, no two channels alike."""
    rows, columns = np.indices((height, width))
    grey = 40 + 150 * (rows / height + columns / width) / 2
    return np.stack([grey, grey * 0.9, grey * 0.8], axis=2).astype(np.uint8)


def png_file(rgb: np.ndarray) -> bytes:
    return cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()


def jpeg_file(rgb: np.ndarray, orientation: int = 1) -> bytes:
    """A JPEG file with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'JPEG', quality=95, exif=exif)
    return file.getvalue()


def gif_file(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'GIF')
    return file.getvalue()


def pillow_file(
    kind: str,
    size: tuple[int, int] = (64, 48),
    mode: str = 'RGB',
    picture: np.ndarray | None = None,
    **options: Any,
) -> bytes:
    """A file as Pillow writes it: black, of this (width, height), or a picture."""
    file = io.BytesIO()
    image = Image.new(mode, size) if picture is None else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def animated_webp() -> bytes:
    frames = [Image.new('RGB', (64, 48), colour) for colour in ('red', 'green', 'blue')]
    file = io.BytesIO()
    frames[0].save(file, 'WEBP', save_all=True, append_images=frames[1:])
    return file.getvalue()


def many_scans(count: int = 90) -> bytes:
    """A progressive JPEG of 5792x5792 whose last scan comes again and again."""
    data = pillow_file('JPEG', (5792, 5792), 'L', progressive=True)
    last = data.rfind(b'\xff\xda')
    return data[:last] + data[last:-2] * count + data[-2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def zeros_packed(count: int) -> bytes:
    """So many zeros, as zlib packs them."""
    packer, piece = zlib.compressobj(9), bytes(10**6)
    packed = b''.join(packer.compress(piece) for _ in range(count // len(piece)))
    return packed + packer.flush()


def png_bomb(
    width: int,
    height: int,
    bits: int = 8,
    colour: int = 2,
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A whole black PNG of any size, with chunks before and after its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b''.join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    palette = [(b'PLTE', bytes(6))] if colour == 3 else []
    chunks = [(b'IHDR', header), *before, *palette, (b'IDAT', pixels), *after, (b'IEND', b'')]
    return PNG_SIGNATURE + b''.join(chunk(kind, data) for kind, data in chunks)


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG that promises 3.6 gigapixels and keeps the promise for the first rows."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1) * 4, 9)
    chunks = ((b'IHDR', header), (b'IDAT', rows), (b'IEND', b''))
    return PNG_SIGNATURE + b''.join(chunk(kind, data) for kind, data in chunks)


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PNG file."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
