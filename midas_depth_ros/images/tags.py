"""The tags of a TIFF file, and of the EXIF block of a picture, which is written like one.

Bytes go in; the orientation, or the same file with nothing but the tags that make pixels, comes
out. A tag names a place and a length, so that a thousand of them can name the same megabyte:
Pillow, which reads all of them, then takes a thousand. Here they are counted before it sees them.
"""

from __future__ import annotations

import dataclasses
import struct

from midas_depth_ros.images.errors import CorruptPicture, shown

ORIENTATION = 0x0112
UPRIGHT = 1
WIDTH, HEIGHT = 256, 257
SHORT, LONG, LONG8 = 3, 4, 16
NUMBERS = {SHORT: 'H', LONG: 'I', LONG8: 'Q'}
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
# Bytes of a value, by its kind.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}
# Size, bits, compression, colours, order of bits and samples, where strips and tiles lie,
# predictor, palette, extra samples, sample format, tables of JPEG, YCbCr.
PIXEL_TAGS = frozenset(
    (256, 257, 258, 259, 262, 266, STRIP_OFFSETS, ORIENTATION, 277, 278, 279, 284, 317, 320)
    + (322, 323, TILE_OFFSETS, 325, 332, 338, 339, 347, 529, 530, 531, 532)
)
MOST_PARTS = 100_000  # strips or tiles; Pillow keeps an object for each


@dataclasses.dataclass(frozen=True)
class Form:
    """How a file writes numbers: byte order, and those of BigTIFF or of a plain TIFF."""

    order: str
    big: bool

    @property
    def head(self) -> struct.Struct:
        """Offset of the directory, behind the first bytes of the file."""
        return struct.Struct(self.order + ('4xHHQ' if self.big else '4xI'))

    @property
    def count(self) -> struct.Struct:
        """How many entries the directory has."""
        return struct.Struct(self.order + ('Q' if self.big else 'H'))

    @property
    def entry(self) -> struct.Struct:
        """Tag, kind, number of values, and the values or where they are."""
        return struct.Struct(self.order + ('HHQ8s' if self.big else 'HHI4s'))

    @property
    def offset(self) -> struct.Struct:
        """A place in the file."""
        return struct.Struct(self.order + ('Q' if self.big else 'I'))


FORMS = {
    b'II*\0': Form('<', False),
    b'MM\0*': Form('>', False),
    b'II+\0': Form('<', True),
    b'MM\0+': Form('>', True),
}
Entry = tuple[int, int, int, bytes]


def orientation(exif: bytes) -> int:
    """The orientation of an EXIF block, 1 to 8; 1 (upright) where it has none that can be read."""
    try:
        form, entries = _directory(exif)
    except CorruptPicture:
        return UPRIGHT
    for tag, kind, _, raw in entries:
        if (tag, kind) == (ORIENTATION, SHORT):
            return int(struct.unpack_from(form.order + 'H', raw)[0])
    return UPRIGHT


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of the first picture of a TIFF file. Raises CorruptPicture."""
    form, entries = _directory(data)
    sides = {}
    for tag, kind, _, raw in entries:
        if tag in (WIDTH, HEIGHT) and kind in NUMBERS and SIZES[kind] <= len(raw):
            sides[tag] = int(struct.unpack_from(form.order + NUMBERS[kind], raw)[0])
    if len(sides) < 2:
        raise CorruptPicture('it has no width or no height among its tags: save it again')
    return sides[WIDTH], sides[HEIGHT]


def only_pixels(data: bytes) -> bytes:
    """A TIFF file with the first of its pictures and only the tags that make pixels.

    Raises CorruptPicture where these tags have more bytes than the file, or are no tags.
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


def _directory(data: bytes) -> tuple[Form, list[Entry]]:
    """How the file is written, and the entries of its first directory."""
    form = FORMS.get(data[:4])
    if form is None:
        raise CorruptPicture(f'it starts with {shown(data[:4])}, which is no TIFF: save it again')
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
