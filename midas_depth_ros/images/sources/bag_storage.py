"""One file of a bag, read for what is whole in it: what the three formats have in common.

A recording whose robot lost its power is cut anywhere. So a file says what is damaged and gives the
rest; nothing in it is believed about sizes, and nothing is unpacked beyond a bound.
"""

from __future__ import annotations

import abc
import bz2
import importlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midas_depth_ros.images.errors import printable, shown

# Of one chunk, unpacked, and of one message: more than two of the largest pictures there are.
MOST_BYTES = 256 << 20
PIECE_BYTES = 1 << 16
MOST_SAID = 4  # kinds of damage that are named; a broken disk has many


class Recorded(NamedTuple):
    """One message. time_ns: when it was received. data: CDR, its four-byte head included."""

    topic: str
    kind: str
    time_ns: int
    data: bytes


class Storage(abc.ABC):
    """A file of a bag. topics: name -> type. counts: name -> number of messages that are known of.

    damage: what is wrong with it, in words; complete when all messages have been read. foreign:
    topic -> what its messages are, where ROS cannot read them. notes: what else has to be said.
    """

    name: str  # of the format, as rosbag2 calls it

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.damage: list[str] = []
        self.foreign: dict[str, str] = {}
        self.notes: list[str] = []
        self.unsaid = 0  # further damage, of which only the number is kept

    @abc.abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """The messages of these topics that are whole, in the order of time."""

    def damaged(self, text: str) -> None:
        """Note what is damaged, each once."""
        line = printable(text, 300)
        if line not in self.damage and len(self.damage) < MOST_SAID:
            self.damage.append(line)
        elif line not in self.damage:
            self.unsaid += 1

    def add_topic(self, topic: str, kind: str, count: int = 0) -> None:
        """A topic that is in the file, and so many messages more of it."""
        self.topics[topic] = kind
        self.counts[topic] = self.counts.get(topic, 0) + count


def unpacked(data: bytes, compression: str, most: int = MOST_BYTES) -> tuple[bytes, str]:
    """What was compressed by zstd, lz4, bz2 or not at all, and what is wrong with it, '' = nothing.

    Of what is cut or damaged the beginning is given, as far as it can be told; never more than
    `most` bytes.
    """
    if compression in ('', 'none'):
        return data, ''
    make = DECOMPRESSORS.get(compression)
    if make is None:
        return b'', f'it is compressed by {shown(compression)}, which is not known here'
    found = bytearray()
    try:
        while data:  # one frame after the other
            frame = make()
            data = _unpack_frame(frame, data, found, most)
            if len(found) > most:
                return bytes(found[:most]), f'more than {most} bytes are packed into it'
            if not frame.eof:
                return bytes(found), 'it ends too early'
    except unpack_faults() as error:
        return bytes(found), f'it cannot be unpacked: {error}'
    return bytes(found), ''


def _unpack_frame(frame: Any, data: bytes, found: bytearray, most: int) -> bytes:
    """Append what a frame holds to `found`; the bytes that follow it."""
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        found += frame.decompress(piece, most + 1 - len(found))
        while len(found) <= most and not frame.eof and not frame.needs_input:
            found += frame.decompress(b'', most + 1 - len(found))
        if frame.eof:
            return bytes(frame.unused_data or b'') + data[start + PIECE_BYTES :]
        if len(found) > most:
            break
    return b''


def unpack_faults() -> tuple[type[Exception], ...]:
    """What the libraries say of damaged bytes, and of a library that is missing."""
    known = RuntimeError, OSError, ValueError, EOFError, MemoryError, ImportError
    try:
        return *known, _zstd_library().ZstdError
    except ImportError:
        return known


def _zstd_library() -> Any:
    try:
        return importlib.import_module('compression.zstd')  # of Python 3.14
    except ImportError:
        return importlib.import_module('backports.zstd')  # comes with rosbags


def _zstd() -> Any:
    return _zstd_library().ZstdDecompressor()


def _lz4() -> Any:
    return importlib.import_module('lz4.frame').LZ4FrameDecompressor()  # comes with rosbags


DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': _zstd,
    'lz4': _lz4,
    'bz2': bz2.BZ2Decompressor,
}
