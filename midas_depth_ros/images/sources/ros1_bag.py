"""Bags of ROS 1 (wiki.ros.org/Bags/Format/2.0): what is whole in them, as ROS 2 would have it.

Chunks are found by their heads, with the index behind each; those without one are gone through.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from midas_depth_ros.images.files import open_file
from midas_depth_ros.images.sources.chunked_bags import (
    DAMAGE,
    MOST_HEADER_BYTES,
    ChunkedStorage,
    Cut,
    Found,
    Part,
    exactly,
)
from midas_depth_ros.images.sources.errors import UnreadableSource

NANOSECONDS = 1_000_000_000


class Ros1Storage(ChunkedStorage):
    """A bag of ROS 1. Its messages come out as ROS 2 would have serialised them."""

    name = 'ros1'
    MAGIC = b'#ROSBAG V2.0\n'
    MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = range(2, 8)

    def __init__(self, path: Path) -> None:
        """Raises UnreadableSource and UnreadableFile."""
        super().__init__(path)
        self._found: list[Part] = []
        self._counts: dict[int, dict[int, int]] = {}  # number of a part -> connection -> messages
        self._to_come = -1  # chunks that the index should have; -1: there is none
        with open_file(path) as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise UnreadableSource(f'{path}: it does not begin as a bag of ROS 1 (2.0) does')
            self._scan(file)

    def _scan(self, file: BinaryIO) -> None:
        """Chunks by their heads and the index behind each; those without one are gone through."""
        position, self._to_come = len(self.MAGIC), -1
        with contextlib.suppress(*DAMAGE):
            while position < self._size:
                position = self._take(file, position)
        if position < self._size or self._to_come:
            self.damaged(f'it is cut short, or was not closed, at byte {position} of {self._size}')
            self._counts.pop(len(self._found) - 1, None)  # perhaps not all of its index
        for number, part in enumerate(self._found):
            counts = self._counts.get(number, {})
            if counts and set(counts) <= set(self.channels):
                for connection, count in counts.items():
                    self.add_topic(*self.channels[connection], count)
                part.channels = frozenset(counts)
                self.parts.append(part)
            else:
                self._measure(file, part)

    def _take(self, file: BinaryIO, position: int) -> int:
        """Take note of the record at a byte; where the next one is. Raises Cut, or of DAMAGE."""
        header, start, length = self._head(file, position)
        kind, end = header['op'][0], start + length
        if kind == self.CHUNK:
            compression = header['compression'].decode('ascii')
            size = min(length, self._size - start)
            self._found.append(Part(start, size, _u32(header['size']), compression))
            self._found[-1].is_cut = end > self._size
        if end > self._size:
            raise Cut('the file ends within a record')
        if kind == self.BAG_HEADER and int.from_bytes(header['index_pos'], 'little'):
            self._to_come = _u32(header['chunk_count'])
        elif kind == self.CHUNK_INFO:
            self._to_come -= 1
        elif kind == self.INDEX and self._found:
            times, part = file.read(length), self._found[-1]
            counts = self._counts.setdefault(len(self._found) - 1, {})
            counts[_u32(header['conn'])] = _u32(header['count'])
            first_ns = min(_time(times, at) for at in range(0, length, 12))
            part.start_ns = min(part.start_ns or first_ns, first_ns)
        elif kind == self.CONNECTION:
            self._connect(header, file.read(min(length, MOST_HEADER_BYTES)))
        elif kind == self.MESSAGE:
            self._found.append(Part(position, end - position, end - position))
        return end

    def _head(self, file: BinaryIO, position: int) -> tuple[dict[str, bytes], int, int]:
        """The header of the record at a byte, where its data begin and how long they say to be."""
        file.seek(position)
        length = int.from_bytes(exactly(file, 4), 'little')
        if length > MOST_HEADER_BYTES:
            raise Cut(f'a header of {length} bytes')
        header = _fields(exactly(file, length))
        size = int.from_bytes(exactly(file, 4), 'little')
        return header, position + 8 + length, size

    def _connect(self, header: dict[str, bytes], data: bytes) -> None:
        fields = _fields(data)
        kind = fields['type'].decode('utf-8', 'replace')
        package, _, name = kind.partition('/')
        topic = header['topic'].decode('utf-8', 'replace')
        topic = '/' + '/'.join(part for part in topic.split('/') if part)
        self.channels[_u32(header['conn'])] = topic, f'{package}/msg/{name.removeprefix("msg/")}'
        self.add_topic(*self.channels[_u32(header['conn'])])

    def records(self, data: bytes) -> Iterator[Found]:
        """The messages of a chunk; notes its connections."""
        position = 0
        while position < len(data):
            (length,) = struct.unpack_from('<I', data, position)
            start = position + 8 + length
            header = _fields(data[position + 4 : position + 4 + length])
            end = start + struct.unpack_from('<I', data, position + 4 + length)[0]
            if end > len(data):
                raise Cut(f'a record ends after the {len(data)} bytes that there are')
            kind = header['op'][0]
            if kind == self.CONNECTION:
                self._connect(header, data[start:end])
            elif kind == self.MESSAGE:
                yield _u32(header['conn']), _time(header['time'], 0), start, end
            position = end

    def _as_cdr(self, topic: str, kind: str, data: bytes) -> bytes | None:
        return self.converted(topic, kind, data)


def _fields(data: bytes) -> dict[str, bytes]:
    """The header of a record: name=value, each with its length before it."""
    fields: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from('<I', data, position)
        field = data[position + 4 : position + 4 + length]
        name, sign, value = field.partition(b'=')
        if len(field) < length or not sign:
            raise Cut('a header without its fields')
        fields[name.decode('ascii')] = value
        position += 4 + length
    return fields


def _u32(value: bytes) -> int:
    return int(struct.unpack('<I', value)[0])


def _time(data: bytes, at: int) -> int:
    seconds, nanoseconds = struct.unpack_from('<II', data, at)
    return int(seconds) * NANOSECONDS + int(nanoseconds)
