"""The structure of a JPEG (ISO/IEC 10918-1, B.2): size, metadata, where it ends.

A JPEG ends at its end marker, whatever follows: a video, another picture, padding. Some cameras
send none; decoding the `truncation_probes` then shows whether all pixels are present.
"""

from __future__ import annotations

import enum
import math
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from midas_depth_ros.images.errors import CorruptPicture, TruncatedPicture

END = b'\xff\xd9'
SCAN, INTERVAL = 0xDA, 0xDD
# SOF0 to SOF15, without DHT, JPG and DAC, whose numbers lie among them.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = 0xC2
HUFFMAN_FRAMES = frozenset((0xC0, 0xC1, PROGRESSIVE))
# Tables, line counts and metadata, which may stand between two scans.
BETWEEN_SCANS = frozenset((0xC4, 0xCC, 0xDA, *range(0xDB, 0xDE), *range(0xE0, 0xF0), 0xFE))
# APP0 (JFIF) and APP14 (Adobe) define the components; the rest is metadata.
METADATA = frozenset(range(0xE1, 0xEE)) | {0xEF, 0xFE}
EXIF, EXIF_HEAD = 0xE1, b'Exif\0\0'
MOST_SEGMENTS = 1000
# Each scan of a progressive JPEG covers the whole picture. Encoders write about ten.
MOST_SCANS = 100
# Within a scan 0xFF is followed by 0, a restart or another 0xFF; anything else is the next marker.
MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
RESTART = re.compile(rb'\xff[\xd0-\xd7]')
BLOCK = 8
COEFFICIENTS = 64

# Bytes to continue a scan with, and their complement; no 0 and no 0xFF in either.
_SOME = bytes(random.Random(0).choices(range(1, 255), k=64))
CONTINUATIONS = _SOME, bytes(0xFF - each for each in _SOME)
# Encoders leave no byte behind the last block; so many of them are other data.
EXCESS, LEAST_SCAN = 64, 128
LITTLE = 32  # bytes of a scan: the first blocks of a picture of one colour
FEW_ZEROS = 3  # at the end of a scan; padding of a buffer is longer


class Ending(enum.Enum):
    """How compressed bytes end."""

    KNOWN = enum.auto()  # as expected: at an end marker with nothing behind it
    FOLLOWED = enum.auto()  # at an end marker that is followed by other data
    MISSING = enum.auto()  # without an end marker


Component = tuple[int, int]  # horizontal and vertical sampling factors


class JpegFrame(NamedTuple):
    """A frame header. components: by their numbers."""

    width: int
    height: int
    marker: int
    components: dict[int, Component]


class JpegStructure(NamedTuple):
    """A parsed JPEG. first_scan: start of its header. end: behind the last byte of all scans."""

    ending: Ending
    first_scan: int
    end: int
    scans: int


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height by the frame header of a JPEG. Raises CorruptPicture."""
    for marker, start, end in _headers(data):
        if marker in FRAMES:
            return _frame_of(data, start, end, marker)[:2]
    raise CorruptPicture('the JPEG has no frame header before its first scan')


def exif_of(data: bytes) -> bytes:
    """Return the EXIF block of a JPEG, b'' if there is none. Raises CorruptPicture."""
    for marker, start, end in _headers(data):
        block = data[start + 4 : end]
        if marker == EXIF and block.startswith(EXIF_HEAD):
            return block.removeprefix(EXIF_HEAD)
    return b''


def ending_of(data: bytes) -> Ending:
    """Return how the bytes of a JPEG end. Raises CorruptPicture."""
    return _parse(data).ending


def scans_of(data: bytes) -> int:
    """Return how many scans a JPEG has. Raises CorruptPicture."""
    return _parse(data).scans


def without_metadata(data: bytes) -> bytes:
    """Remove EXIF, profiles, comments and trailing data from a JPEG; add a missing end marker.

    Raises CorruptPicture, also where restart markers are missing.
    """
    found = _parse(data)
    kept = [data[:2]]
    kept += [data[start:end] for marker, start, end in _headers(data) if marker not in METADATA]
    first_entropy = found.first_scan + 2 + _big(data, found.first_scan + 2)
    return b''.join((*kept, data[first_entropy : found.end], END))


class TruncationProbes(NamedTuple):
    """JPEGs to decode instead of one whose end is uncertain.

    continued: two that continue the last scan, each with the complement of the other's bits. They
    decode to the same picture if and only if nothing is missing.
    shortened: the same without the last bytes of the scan. If these two decode to the same as well,
    other data stands there and was taken for pixels. Empty where this cannot be decided.
    is_filled: whether the scan has so many zeros that they are padding, or change no pixel.
    minimal: has hardly any of the scan. If it decodes to the same as `continued`, the bytes change
    nothing, as in a picture of one colour.
    """

    continued: tuple[bytes, bytes]
    shortened: tuple[bytes, ...]
    is_filled: bool
    minimal: bytes


def truncation_probes(data: bytes) -> TruncationProbes:
    """Make the probes for a JPEG as returned by `without_metadata`."""
    scan = data.removesuffix(END)
    header = scan.rfind(bytes((0xFF, SCAN)))
    first = header + 2 + _big(scan, header + 2)
    length = len(scan) - first

    def of(kept: int) -> tuple[bytes, bytes]:
        part = scan[: first + kept]
        if kept < length and part.endswith(b'\xff'):
            part = part[:-1]  # its second half is missing
        return part + CONTINUATIONS[0] + END, part + CONTINUATIONS[1] + END

    # The last scan of a progressive picture only refines it, and may add nothing. Decoders skip
    # surplus data before a restart marker.
    refines = PROGRESSIVE in (marker for marker, _, _ in _headers(data))
    restart = max((each.end() for each in RESTART.finditer(scan, first)), default=first)
    can_tell = len(scan) - restart >= LEAST_SCAN and not refines
    shortened = of(length - EXCESS) if can_tell else ()
    is_filled = refines and scan.find(bytes(EXCESS), first) > 0
    return TruncationProbes(of(length), shortened, is_filled, of(min(LITTLE, length // 4))[0])


def _parse(data: bytes) -> JpegStructure:
    """Go through all segments and scans. Raises CorruptPicture."""
    frame: JpegFrame | None = None
    interval = scans = first_scan = 0
    covered: set[tuple[int, int]] = set()  # (component, coefficient) of which all bits are present
    position = 2
    for _ in range(MOST_SEGMENTS):
        marker, start, end = _segment(data, position)
        position = end
        if marker in FRAMES:
            if frame is not None:
                raise CorruptPicture('the JPEG has 2 frame headers, not one')
            frame = _frame_of(data, start, end, marker)
        elif marker == INTERVAL and end >= start + 6:
            interval = _big(data, start + 4)
        elif marker == SCAN:
            if frame is None:
                raise CorruptPicture('the JPEG has 0 frame headers, not one')
            scans += 1
            first_scan = first_scan or start
            found = MARKER.search(data, end)
            position = found.start() if found else len(data)
            of = _scan_of(data, start, end, frame, covered)
            _check_restarts(data[end:position] if interval else b'', interval, frame, of)
            if scans > MOST_SCANS:
                raise CorruptPicture(
                    f'the JPEG has more than {MOST_SCANS} scans: encode it with fewer'
                )
        if not scans:
            continue
        ending = _ending_at(data, position, is_scan=marker == SCAN)
        if ending is None:
            continue
        if ending is Ending.MISSING:
            position = _scan_end(data, end)
        assert frame is not None
        _check_whole(ending, frame, covered, len(data))
        return JpegStructure(ending, first_scan, position, scans)
    raise CorruptPicture(f'the JPEG has more than {MOST_SEGMENTS} segments')


def _ending_at(data: bytes, position: int, is_scan: bool) -> Ending | None:
    """Return how a JPEG ends at this byte, behind a scan or a segment; None where it continues.

    Raises TruncatedPicture for unexpected data.
    """
    if position == len(data) and is_scan:
        return Ending.MISSING
    while data[position : position + 2] == b'\xff\xff':
        position += 1
    marker = data[position : position + 2]
    if marker == END:
        # Padding of a buffer does not count.
        follows = data[position + 2 :].translate(None, b'\0\xff')
        return Ending.FOLLOWED if follows else Ending.KNOWN
    if len(marker) < 2 or marker[0] != 0xFF or marker[1] not in BETWEEN_SCANS:
        raise TruncatedPicture(
            f'the JPEG breaks off at byte {position} of {len(data)}, within its scans: it was cut '
            'short or damaged'
        )
    return None


def _headers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of every segment, up to and including the first scan header."""
    position = 2
    for _ in range(MOST_SEGMENTS):
        segment = _segment(data, position)
        yield segment
        if segment[0] == SCAN:
            return
        position = segment[2]
    raise CorruptPicture(f'the JPEG has more than {MOST_SEGMENTS} header segments')


def _segment(data: bytes, position: int) -> tuple[int, int, int]:
    """Return marker, start and end of the segment at a byte."""
    if data[position : position + 1] not in (b'\xff', b''):
        raise CorruptPicture(f'the JPEG has no marker at byte {position}')
    while data[position : position + 2] == b'\xff\xff':
        position += 1
    header = data[position + 1 : position + 4]
    end = position + 2 + int.from_bytes(header[1:], 'big')
    if len(header) < 3 or end > len(data):
        raise TruncatedPicture(
            f'the JPEG ends within its headers, after {len(data)} bytes: it was cut short'
        )
    if end < position + 4:
        raise CorruptPicture(f'the JPEG has a segment without a length at byte {position}')
    return header[0], position, end


def _frame_of(data: bytes, start: int, end: int, marker: int) -> JpegFrame:
    """Read a frame header."""
    if end - start < 10:
        raise CorruptPicture(f'the JPEG frame header has {end - start} bytes, not 10 or more')
    components = {}
    for at in range(start + 10, min(end - 2, start + 10 + 3 * data[start + 9]), 3):
        components[data[at]] = data[at + 1] >> 4 or 1, data[at + 1] & 15 or 1
    return JpegFrame(_big(data, start + 7), _big(data, start + 5), marker, components)


def _scan_of(
    data: bytes, start: int, end: int, frame: JpegFrame, covered: set[tuple[int, int]]
) -> list[Component]:
    """Return the components of a scan; add the coefficients it completes to `covered`."""
    count = data[start + 4] if end > start + 4 else 0
    if not 1 <= count <= 4 or end < start + 8 + 2 * count:
        raise CorruptPicture(f'the JPEG has a scan of {count} components')
    numbers = data[start + 5 : start + 5 + 2 * count : 2]
    first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
    if frame.marker != PROGRESSIVE:
        first, last, bits = 0, COEFFICIENTS - 1, 0
    known = [number for number in numbers if number in frame.components]
    if not bits & 15:
        covered |= {(number, each) for number in known for each in range(first, last + 1)}
    return [frame.components[number] for number in known]


def _check_restarts(
    scan: bytes, interval: int, frame: JpegFrame, components: list[Component]
) -> None:
    """Raise TruncatedPicture where a scan has fewer restart markers than its size requires."""
    if not interval or not components:
        return
    width, height = frame.width, frame.height
    across = max(horizontal for horizontal, _ in frame.components.values())
    down = max(vertical for _, vertical in frame.components.values())
    if len(components) == 1:  # then only its own blocks count
        width = math.ceil(width * components[0][0] / across)
        height = math.ceil(height * components[0][1] / down)
        across = down = 1
    units = math.ceil(width / (BLOCK * across)) * math.ceil(height / (BLOCK * down))
    wanted, found = math.ceil(units / interval) - 1, len(RESTART.findall(scan))
    if found < wanted:
        raise TruncatedPicture(
            f'the JPEG has {found} of {wanted} restart markers: it was cut short or damaged'
        )


def _check_whole(
    ending: Ending, frame: JpegFrame, covered: set[tuple[int, int]], size: int
) -> None:
    """Raise TruncatedPicture where scans are missing: before an uncertain end, or of a progressive
    picture, whose later scans may have been cut off and an end marker put behind the rest.
    """
    if ending is Ending.KNOWN and frame.marker != PROGRESSIVE:
        return
    missing = len(frame.components) * COEFFICIENTS > len(covered)
    if missing or (ending is Ending.MISSING and frame.marker not in HUFFMAN_FRAMES):
        raise TruncatedPicture(
            f'the JPEG has {size} bytes, but no end marker behind all of its pixels: it was cut '
            'short'
        )


def _scan_end(data: bytes, start: int) -> int:
    """Return where the last scan ends that has no marker behind it, padding excluded."""
    end = len(data)
    while end > start and data[end - 1] == 0xFF:
        end -= 1
    pixels = len(data[start:end].rstrip(b'\0'))
    # Pixels often end in zeros themselves, since the usual table codes grey so: one zero is kept,
    # which may be the end of the last block.
    zeros = end - start - pixels
    return end if zeros <= FEW_ZEROS else start + pixels + 1


def _big(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], 'big')
