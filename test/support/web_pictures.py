"""Picture files for tests of the dashboard, good and bad."""

from __future__ import annotations

import io
import struct
import zlib

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


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG that promises 3.6 gigapixels and keeps the promise for the first rows."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1) * 4, 9)
    return PNG_SIGNATURE + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in ((b'IHDR', header), (b'IDAT', rows), (b'IEND', b''))
    )


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PNG file."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
