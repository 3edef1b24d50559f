"""Reads and strips JPEG, PNG, WebP and TIFF containers before anything is decoded.

Bytes go in; width and height, the EXIF block, and the same picture without metadata come out.
Decoders get only what was checked here: no EXIF, colour profile or text can make them warn, turn
the picture, or unpack something large. Only the first picture of a file is read. JPEG is in `jpeg`.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable, Iterator

from midas_depth_ros.images import jpeg
from midas_depth_ros.images.errors import (
    CorruptPicture,
    DataTooShort,
    TruncatedPicture,
    UnsupportedFormat,
)
from midas_depth_ros.options.text import shown

# --- The tags of a TIFF file, and of an EXIF block, which has the same format.
#
# A tag names a place and a length, so a thousand tags can name the same megabyte, and Pillow, which
# reads all of them, would allocate a thousand. So they are checked and filtered first.

ORIENTATION = 0x0112
UPRIGHT = 1
WIDTH, HEIGHT = 256, 257
SHORT, LONG, LONG8 = 3, 4, 16
NUMBERS = {SHORT: 'H', LONG: 'I', LONG8: 'Q'}
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
# Bytes of a value, by its type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}
# Size, bits, compression, colours, order of bits and samples, places of strips and tiles,
# predictor, palette, extra samples, sample format, JPEG tables, YCbCr.
PIXEL_TAGS = frozenset(
    (256, 257, 258, 259, 262, 266, STRIP_OFFSETS, ORIENTATION, 277, 278, 279, 284, 317, 320)
    + (322, 323, TILE_OFFSETS, 325, 332, 338, 339, 347, 529, 530, 531, 532)
)
MOST_PARTS = 100_000  # strips or tiles; Pillow keeps an object for each


class TiffLayout:
    """How a file stores numbers: header, count of entries, entry (tag, type, ...) and offset."""

    def __init__(self, order: str, big: bool) -> None:
        formats = ('4xHHQ', 'Q', 'HHQ8s', 'Q') if big else ('4xI', 'H', 'HHI4s', 'I')
        self.order = order
        self.head, self.count, self.entry, self.offset = (
            struct.Struct(order + each) for each in formats
        )


TIFF_LAYOUTS = {
    b'II*\0': TiffLayout('<', big=False),
    b'MM\0*': TiffLayout('>', big=False),
    b'II+\0': TiffLayout('<', big=True),
    b'MM\0+': TiffLayout('>', big=True),
}
TiffEntry = tuple[int, int, int, bytes]


def exif_orientation(exif: bytes) -> int:
    """Return the orientation of an EXIF block, 1 to 8; 1 (upright) where it has no readable one."""
    try:
        form, entries = _directory(exif)
    except CorruptPicture:
        return UPRIGHT
    for tag, kind, _, raw in entries:
        if (tag, kind) == (ORIENTATION, SHORT):
            return int(struct.unpack_from(form.order + 'H', raw)[0])
    return UPRIGHT


def tiff_size(data: bytes) -> tuple[int, int]:
    """Return width and height of the first picture of a TIFF. Raises CorruptPicture."""
    form, entries = _directory(data)
    sides = {}
    for tag, kind, _, raw in entries:
        if tag in (WIDTH, HEIGHT) and kind in NUMBERS and SIZES[kind] <= len(raw):
            sides[tag] = int(struct.unpack_from(form.order + NUMBERS[kind], raw)[0])
    if len(sides) < 2:
        raise CorruptPicture('its tags lack width or height: save it again')
    return sides[WIDTH], sides[HEIGHT]


def tiff_without_metadata(data: bytes) -> bytes:
    """Reduce a TIFF file to its first picture and the tags that define pixels.

    Raises CorruptPicture where these tags are invalid or have more bytes than the file.
    """
    form, entries = _directory(data)
    kept = [entry for entry in entries if entry[0] in PIXEL_TAGS]
    total = sum(SIZES.get(kind, 0) * count for _, kind, count, _ in kept)
    if total > len(data):
        raise CorruptPicture(f'its tags have {total} bytes, more than the file: save it again')
    if len({tag for tag, _, _, _ in kept}) < len(kept):
        raise CorruptPicture('it has a tag twice: save it again')
    for tag, _, count, _ in kept:
        if tag in (STRIP_OFFSETS, TILE_OFFSETS) and count > MOST_PARTS:
            raise CorruptPicture(f'it has {count} strips or tiles: save it with fewer')
    padding = bytes(-len(data) % 2)
    head_size = form.head.size
    head = data[: head_size - form.offset.size] + form.offset.pack(len(data) + len(padding))
    directory = form.count.pack(len(kept)) + b''.join(form.entry.pack(*entry) for entry in kept)
    body = memoryview(data)[head_size:]
    return b''.join((head, body, padding, directory, form.offset.pack(0)))


def _directory(data: bytes) -> tuple[TiffLayout, list[TiffEntry]]:
    """Return the layout of the file and the entries of its first directory."""
    form = TIFF_LAYOUTS.get(data[:4])
    if form is None:
        raise CorruptPicture(
            f'it starts with {shown(data[:4])}, which is not a TIFF: save it again'
        )
    try:
        at = form.head.unpack_from(data)[-1]
        (count,) = form.count.unpack_from(data, at)
        first = at + form.count.size
        end = first + count * form.entry.size
        if end > len(data):
            raise CorruptPicture(f'it ends within its {count} tags: save it again')
        return form, list(form.entry.iter_unpack(data[first:end]))
    except (struct.error, OverflowError) as error:
        raise CorruptPicture(f'its tags cannot be read ({error}): save it again') from error


# --- PNG and WebP.

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
DEPTH_HEADER_BYTES = 12  # of image_transport's compressedDepth
# The chunks that define pixels. Transparency (tRNS) is removed: alpha is dropped anyway.
PNG_CHUNKS = (b'IHDR', b'PLTE', b'IDAT', b'IEND')
# By colour type: samples per pixel, and the bits they may have. Then the passes of an interlaced
# picture: left, top, and steps to the right and down.
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PNG_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
PIECE = 1 << 16
# Encoders write chunks of 8 kB or more; each takes a microsecond to read.
PNG_MOST_CHUNKS, PNG_CHUNK_BYTES = 1000, 1000
WEBP_MOST_CHUNKS = 1000
WEBP_ANIMATED = 0x02


@dataclasses.dataclass(frozen=True)
class Container:
    """A file format, as functions of the bytes of a picture.

    size: width and height. exif: the EXIF block, b'' where there is none. without_metadata: the
    bytes without it. ending: how the bytes end.
    """

    name: str
    size: Callable[[bytes], tuple[int, int]]
    exif: Callable[[bytes], bytes]
    without_metadata: Callable[[bytes], bytes]
    ending: Callable[[bytes], jpeg.Ending] = lambda data: jpeg.Ending.KNOWN


def container_of(data: bytes) -> Container:
    """Detect the format of compressed bytes. Raises DataTooShort or UnsupportedFormat."""
    if not data:
        raise DataTooShort('data is empty: give a JPEG, PNG, TIFF or WebP picture')
    for magic, offset, container in MAGIC:
        if data.startswith(magic, offset):
            return container
    if data.startswith(PNG_SIGNATURE, DEPTH_HEADER_BYTES):
        raise UnsupportedFormat(
            'data is a PNG behind the header of compressedDepth, a depth image: subscribe to the '
            'topic of the camera picture'
        )
    raise UnsupportedFormat(
        f'data starts with {shown(data[:12])}, which is not a JPEG, PNG, TIFF or WebP: '
        'give one of these'
    )


def png_size(data: bytes) -> tuple[int, int]:
    """Return width and height by the header of a PNG. Raises CorruptPicture."""
    if len(data) < 33:
        raise TruncatedPicture(f'the PNG ends within its header, after {len(data)} bytes')
    if data[8:16] != b'\0\0\0\x0dIHDR':
        raise CorruptPicture(f'the PNG starts with {shown(data[8:16])} instead of its header')
    return _big(data[16:20]), _big(data[20:24])


def png_exif(data: bytes) -> bytes:
    """Return the EXIF block of a PNG. Raises CorruptPicture."""
    for kind, start, end in _png_chunks(data):
        if kind == b'eXIf':
            return data[start + 8 : end - 4].removeprefix(jpeg.EXIF_HEAD)
    return b''


def png_without_metadata(data: bytes) -> bytes:
    """Remove all chunks that do not define pixels; check the others. Raises CorruptPicture."""
    kept: list[bytes | memoryview] = [PNG_SIGNATURE]
    headers, view = 0, memoryview(data)
    for kind, start, end in _png_chunks(data):
        if kind in PNG_CHUNKS:
            chunk = view[start:end]
            if zlib.crc32(chunk[4:-4]) != _big(chunk[-4:]):
                raise CorruptPicture(f'the {kind.decode()} chunk of the PNG has a wrong checksum')
            kept.append(chunk)
            headers += kind == b'IHDR'
    if headers != 1:
        raise CorruptPicture(f'the PNG has {headers} headers, not one')
    return b''.join(kept)


def png_colours(data: bytes) -> tuple[int, int, bool]:
    """Return bits per sample, colour type, and whether it is interlaced, by the header of a PNG.

    Raises CorruptPicture where there is no such PNG.
    """
    bits, colours = data[24], data[25]
    if bits not in PNG_BITS.get(colours, ()):
        raise CorruptPicture(
            f'the PNG cannot be decoded: colours of type {colours} have no {bits} bits: '
            'it was damaged'
        )
    return bits, colours, data[28] != 0


def png_pixels(data: bytes) -> bytes:
    """Return the compressed pixels of a PNG. Raises CorruptPicture and zlib.error.

    They are unpacked, piece by piece, to check that none is missing: decoders would show black.
    """
    view = memoryview(data)
    pixels = b''.join(
        view[start + 8 : end - 4] for kind, start, end in _png_chunks(data) if kind == b'IDAT'
    )
    missing = _png_bytes(data)
    stream = zlib.decompressobj()
    for start in range(0, len(pixels), PIECE):
        left = pixels[start : start + PIECE]
        while left and missing > 0 and not stream.eof:
            missing -= len(stream.decompress(left, PIECE))
            left = stream.unconsumed_tail
    if missing > 0:
        missing -= len(stream.flush())
    if missing > 0:
        raise TruncatedPicture(
            f'{missing} bytes of the pixels of the PNG are missing: it was cut short'
        )
    return pixels


def _png_bytes(data: bytes) -> int:
    """Return the size in bytes of the unpacked pixels of a PNG, by its header."""
    width, height = png_size(data)
    bits, colours, interlaced = png_colours(data)
    passes = PNG_PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right, down in passes:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * PNG_SAMPLES[colours] // 8))
    return total


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every chunk, up to and including IEND."""
    position = len(PNG_SIGNATURE)
    most = PNG_MOST_CHUNKS + len(data) // PNG_CHUNK_BYTES
    for _ in range(most):
        kind = data[position + 4 : position + 8]
        end = position + 12 + _big(data[position : position + 4])
        if len(kind) < 4 or end > len(data):
            raise TruncatedPicture(
                f'the PNG ends within a chunk, after {len(data)} bytes: it was cut short'
            )
        yield kind, position, end
        if kind == b'IEND':
            return
        position = end
    raise CorruptPicture(f'the PNG has more than {most} chunks: encode it with fewer')


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height by the header of a WebP. Raises CorruptPicture, UnsupportedFormat."""
    if len(data) < 30:
        raise TruncatedPicture(f'the WebP ends within its header, after {len(data)} bytes')
    kind, start = data[12:16], data[20:30]
    if kind == b'VP8X':
        if start[0] & WEBP_ANIMATED:
            raise UnsupportedFormat('the WebP is animated: give single pictures')
        return 1 + _little(start[4:7]), 1 + _little(start[7:10])
    if kind == b'VP8L' and start[0] == 0x2F:
        sides = _little(start[1:5])
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    if kind == b'VP8 ' and start[3:6] == b'\x9d\x01\x2a':
        return _little(start[6:8]) & 0x3FFF, _little(start[8:10]) & 0x3FFF
    raise CorruptPicture(f'the WebP has {shown(kind)} instead of a picture header')


def webp_exif(data: bytes) -> bytes:
    """Return the EXIF block of a WebP."""
    position = 12
    for _ in range(WEBP_MOST_CHUNKS):
        kind, start = data[position : position + 4], position + 8
        end = start + _little(data[position + 4 : start])
        if kind == b'EXIF':
            return data[start:end].removeprefix(jpeg.EXIF_HEAD)
        if end >= len(data):
            break
        position = end + end % 2
    return b''


def webp_without_metadata(data: bytes) -> bytes:
    """Remove trailing data from a WebP. Raises TruncatedPicture."""
    end = 8 + _little(data[4:8])
    if end > len(data):
        raise TruncatedPicture(f'the WebP has {len(data)} of its {end} bytes: it was cut short')
    return data[:end]


def _big(number: bytes | memoryview) -> int:
    return int.from_bytes(number, 'big')


def _little(number: bytes) -> int:
    return int.from_bytes(number, 'little')


JPEG = Container('JPEG', jpeg.size_of, jpeg.exif_of, jpeg.without_metadata, jpeg.ending_of)
PNG = Container('PNG', png_size, png_exif, png_without_metadata)
WEBP = Container('WebP', webp_size, webp_exif, webp_without_metadata)
# Its orientation is a tag, which its decoder applies.
TIFF = Container('TIFF', tiff_size, lambda data: b'', tiff_without_metadata)
MAGIC = (
    (b'\xff\xd8\xff', 0, JPEG),
    (PNG_SIGNATURE, 0, PNG),
    (b'WEBP', 8, WEBP),
    *((magic, 0, TIFF) for magic in TIFF_LAYOUTS),
)
