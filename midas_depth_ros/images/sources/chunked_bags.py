"""MCAP files (mcap.dev/spec): records in chunks, with an index at the end if they were closed.

What they have in common with bags of ROS 1 (`ros1_bag`) is here, too. Where the index is whole it
tells what there is; else the records are gone through from the beginning, up to where the file is
cut.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import re
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from midas_depth_ros.images.errors import UnreadableSource
from midas_depth_ros.images.message_bytes import NANOSECONDS
from midas_depth_ros.images.sources.sqlite_bag import MOST_BYTES, Recorded, Storage, unpacked
from midas_depth_ros.options.files import check_file, open_file
from midas_depth_ros.options.text import shown

# Of messages that wait for their turn, since chunks may overlap in time.
MOST_WAITING_BYTES = 2 * MOST_BYTES
MOST_HEADER_BYTES = 1 << 20
MOST_SUMMARY_BYTES = MOST_BYTES
# What a file may unpack to in one pass. Black pictures get a thousand times smaller; who makes more
# of less wants to keep somebody busy.
UNPACKED_BYTES, UNPACKED_RATIO = 4 << 30, 1000

Found = tuple[int, int, int, int]  # of a message: channel, time in ns, first and last byte of data


class Cut(ValueError):
    """The bytes end, or make no sense, before a record is whole; the text says where."""


# What damaged bytes come to.
DAMAGE = (Cut, ValueError, IndexError, KeyError, struct.error)


@dataclasses.dataclass
class Part:
    """Records that lie together: a chunk, or what stands outside of chunks.

    offset, size: where its bytes are in the file. unpacked: how many it says to hold. checksum:
    CRC-32 of them, 0 = not known. start_ns: no message in it is earlier. is_cut: it is not whole.
    channels: whose messages are in it; None = not known.
    """

    offset: int
    size: int
    unpacked: int
    compression: str = ''
    checksum: int = 0
    start_ns: int = 0
    is_cut: bool = False
    channels: frozenset[int] | None = None


class ChunkedStorage(Storage):
    """What both formats share. `channels`: number -> topic and type."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.channels: dict[int, tuple[str, str]] = {}
        self.parts: list[Part] = []
        self._size = check_file(path)
        self._budget = 0  # bytes that may still be unpacked
        self._begin_pass()

    def _begin_pass(self) -> None:
        self._budget = UNPACKED_BYTES + UNPACKED_RATIO * self._size

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """The messages of these topics that are whole, in the order of time."""
        waiting: list[tuple[int, int, Recorded]] = []
        number = held = 0
        self._begin_pass()
        with open_file(self.path) as file:
            for part in sorted(self.parts, key=lambda each: each.start_ns):
                while waiting and (waiting[0][0] < part.start_ns or held > MOST_WAITING_BYTES):
                    recorded = heapq.heappop(waiting)[2]
                    held -= len(recorded.data)
                    yield recorded
                for recorded in self._wanted(file, part, topics):
                    heapq.heappush(waiting, (recorded.time_ns, number, recorded))
                    number += 1
                    held += len(recorded.data)
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _wanted(self, file: BinaryIO, part: Part, topics: Collection[str]) -> Iterator[Recorded]:
        if part.channels is not None and not any(
            self.channels.get(each, ('', ''))[0] in topics for each in part.channels
        ):
            return
        data = self._data_of(file, part)
        for channel, time_ns, start, end in self._within(data, part):
            topic, kind = self.channels.get(channel, ('', ''))
            if channel not in self.channels:
                self._unknown(channel)
            if topic in topics:
                cdr = self._as_cdr(topic, kind, data[start:end])
                if cdr is not None:
                    yield Recorded(topic, kind, time_ns, cdr)

    def _data_of(self, file: BinaryIO, part: Part) -> bytes:
        """The bytes of a part, unpacked; of one that is cut as many as there are."""
        if max(part.unpacked, part.size) > MOST_BYTES:
            self._bad_part(part, f'it says to hold {part.unpacked} bytes, above {MOST_BYTES}')
            return b''
        self._budget -= part.unpacked
        if self._budget < 0:
            self._bad_part(part, 'the file unpacks to more than is allowed here')
            return b''
        file.seek(part.offset)
        packed = file.read(part.size)
        data, fault = unpacked(packed, part.compression, min(part.unpacked, MOST_BYTES))
        if part.is_cut:
            return data
        if len(packed) < part.size:
            fault = 'it ends too early'
        elif not fault and len(data) != part.unpacked:
            fault = f'it holds {len(data)} bytes, not {part.unpacked}'
        if not fault and part.checksum and zlib.crc32(data) != part.checksum:
            self._bad_part(part, 'its checksum is wrong')
            return b''  # any of it may be
        if fault:
            self._bad_part(part, fault)
        return data

    def _within(self, data: bytes, part: Part) -> Iterator[Found]:
        try:
            yield from self.records(data)
        except DAMAGE as error:
            if not part.is_cut:
                self._bad_part(part, str(error))

    def _bad_part(self, part: Part, fault: str) -> None:
        self.damaged(f'the chunk at byte {part.offset} is damaged ({fault})')

    def _unknown(self, channel: int) -> None:
        self.damaged(f'messages of channel {channel}, which it does not describe, are left out')

    def _measure(self, file: BinaryIO, part: Part) -> None:
        """Go through a part to know its channels, counts and times; keep it if it has messages."""
        first_ns, seen = None, set()
        for channel, time_ns, _, _ in self._within(self._data_of(file, part), part):
            if channel in self.channels:
                self.add_topic(*self.channels[channel], 1)
                seen.add(channel)
            else:
                self._unknown(channel)
            first_ns = time_ns if first_ns is None else min(first_ns, time_ns)
        if first_ns is not None:
            part.start_ns, part.channels = first_ns, frozenset(seen)
            self.parts.append(part)

    def records(self, data: bytes) -> Iterator[Found]:
        """The messages of a part; notes its channels. Raises Cut, or of DAMAGE."""
        raise NotImplementedError

    def _as_cdr(self, topic: str, kind: str, data: bytes) -> bytes | None:
        return data

    def converted(self, topic: str, kind: str, data: bytes) -> bytes | None:
        """A message of ROS 1 as ROS 2 would have serialised it; None where that cannot be."""
        from rosbags.serde import SerdeError
        from rosbags.typesys import Stores, get_typestore

        # Images and CameraInfo are the same in both; Humble has the Range of ROS 1, too.
        store = get_typestore(Stores.ROS2_HUMBLE)
        if kind not in store.fielddefs:
            self.damaged(f'{topic}: {shown(kind)} is not a ROS 2 message type')
            return None
        try:
            return bytes(store.ros1_to_cdr(data, kind))
        except (SerdeError, AssertionError, OverflowError, *DAMAGE) as error:
            self.damaged(f'{topic}: a malformed message: {error}')
            return None


class McapStorage(ChunkedStorage):
    """An MCAP file."""

    name = 'mcap'
    MAGIC = b'\x89MCAP0\r\n'
    FOOTER_BYTES = 9 + 20 + len(MAGIC)
    FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END = (
        0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B, 0x0F
    )  # fmt: skip
    PRIVATE = 0x80  # from here on records are somebody's own
    CHUNK_HEAD = struct.Struct('<QQQI')

    def __init__(self, path: Path) -> None:
        """Raises UnreadableSource and UnreadableFile."""
        super().__init__(path)
        self._schemas: dict[int, tuple[str, str]] = {}  # name and encoding
        self._of_ros1: set[str] = set()  # topics
        with open_file(path) as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise UnreadableSource(f'{path}: it does not begin as an MCAP file does')
            if not self._read_summary(file):
                self.topics, self.counts, self.parts = {}, {}, []
                self._scan(file)

    def records(self, data: bytes) -> Iterator[Found]:
        """The messages of a part; notes its channels."""
        position = 0
        while position < len(data):
            kind, start = data[position], position + 9
            position = start + int.from_bytes(data[position + 1 : start], 'little')
            if position > len(data) or start > len(data):
                raise Cut(f'a record ends after the {len(data)} bytes that there are')
            if kind == self.MESSAGE:
                channel, _, time_ns, _ = struct.unpack_from('<HIQQ', data, start)
                if position - start < 22:
                    raise Cut(f'a message of {position - start} bytes is malformed')
                yield channel, time_ns, start + 22, position
            elif kind in (self.SCHEMA, self.CHANNEL):
                self._define(kind, data[start:position])

    def _define(self, kind: int, record: bytes) -> None:
        if kind == self.SCHEMA:
            (number,) = struct.unpack_from('<H', record)
            name, position = _text(record, 2)
            self._schemas[number] = name, _text(record, position)[0]
            return
        number, schema = struct.unpack_from('<HH', record)
        topic, position = _text(record, 4)
        encoding = _text(record, position)[0].lower()
        name, described = self._schemas.get(schema, ('a type that is not said', ''))
        # A profile need not be said, nor an encoding where the schema tells it.
        encoding = encoding or ENCODING_BY_SCHEMA.get(described, '')
        if encoding in ROS_ENCODINGS:
            topic, name = '/' + topic.removeprefix('/'), ros_name(name)
        else:
            encoding = shown(encoding) if encoding else 'an encoding that is not said'
            name = f'{name} as {encoding}'
            self.foreign[topic] = name
        if encoding == ROS_ENCODINGS[1]:
            self._of_ros1.add(topic)
            note = f'{self.path.name} has messages of ROS 1, which are read as those of ROS 2'
            self.notes = [note]
        self.channels[number] = topic, name
        self.add_topic(topic, name)

    def _as_cdr(self, topic: str, kind: str, data: bytes) -> bytes | None:
        return self.converted(topic, kind, data) if topic in self._of_ros1 else data

    def _read_summary(self, file: BinaryIO) -> bool:
        """Whether the end of the file tells all that is in it."""
        if self._size < len(self.MAGIC) + self.FOOTER_BYTES:
            return False
        file.seek(self._size - self.FOOTER_BYTES)
        footer = file.read(self.FOOTER_BYTES)
        if not footer.endswith(self.MAGIC) or footer[:9] != b'\x02\x14' + bytes(7):
            return False
        start, _, checksum = struct.unpack_from('<QQI', footer, 9)
        length = self._size - self.FOOTER_BYTES - start
        if not start or not 0 < length <= MOST_SUMMARY_BYTES:
            return False
        file.seek(start)
        summary = file.read(length)
        if checksum and zlib.crc32(summary + footer[:25]) != checksum:
            return False
        try:
            return self._parse_summary(file, summary, start)
        except DAMAGE:
            return False

    def _parse_summary(self, file: BinaryIO, summary: bytes, end: int) -> bool:
        counts: dict[int, int] = {}
        said = chunks = -1
        for _ in self.records(summary):
            raise Cut('a message in the summary')
        for kind, record in _framed(summary):
            if kind == self.CHUNK_INDEX:
                self.parts.append(self._indexed(file, record, end))
            elif kind == self.STATISTICS:
                said, _, _, _, _, chunks = struct.unpack_from('<QHIIII', record)
                pairs = record[46:][: struct.unpack_from('<I', record, 42)[0]]
                counts = dict(struct.iter_unpack('<HQ', pairs))
        # Whatever else a writer leaves out of its summary is found by going through the file.
        if said != sum(counts.values()) or chunks != len(self.parts) or bool(said) != bool(chunks):
            return False
        if not set(counts) <= set(self.channels):
            return False
        # An index that leaves a channel out is of no use for who looks for that channel.
        indexed = {channel for part in self.parts for channel in part.channels or ()}
        if not indexed >= {channel for channel, count in counts.items() if count}:
            self.parts = [dataclasses.replace(part, channels=None) for part in self.parts]
        for channel, count in counts.items():
            self.add_topic(*self.channels[channel], count)
        return True

    def _indexed(self, file: BinaryIO, record: bytes, end: int) -> Part:
        """A chunk by its index."""
        start_ns, _, offset, length, offsets = struct.unpack_from('<QQQQI', record)
        channels = frozenset(
            channel for channel, _ in struct.iter_unpack('<HQ', record[36:][:offsets])
        )
        compression, position = _text(record, 36 + offsets + 8)
        packed, plain = struct.unpack_from('<QQ', record, position)
        data = offset + 9 + self.CHUNK_HEAD.size + 4 + len(compression.encode()) + 8
        if not len(self.MAGIC) < offset < offset + length <= end or data + packed > end:
            raise Cut('a chunk outside of the file')
        file.seek(offset + 9)
        _, _, _, checksum = self.CHUNK_HEAD.unpack(exactly(file, self.CHUNK_HEAD.size))
        # An index need not tell which channels a chunk has.
        return Part(data, packed, plain, compression, checksum, start_ns, False, channels or None)

    def _scan(self, file: BinaryIO) -> None:
        """Go through the records of the file, up to its end or to where they make no sense."""
        position, run = len(self.MAGIC), 0  # bytes of records that stand outside of chunks
        while True:
            file.seek(position)
            head = file.read(9)
            kind, length = (
                (head[0], int.from_bytes(head[1:], 'little')) if len(head) == 9 else (0, 0)
            )
            end = position + 9 + length
            known = 0 < kind <= self.DATA_END or kind >= self.PRIVATE
            if not known or end > self._size:
                break
            in_run = kind in (self.SCHEMA, self.CHANNEL, self.MESSAGE)
            if run and (not in_run or run + 9 + length > PART_BYTES):
                self._measure(file, Part(position - run, run, run))
                run = 0
            if kind in (self.DATA_END, self.FOOTER):
                file.seek(self._size - len(self.MAGIC))
                if file.read() != self.MAGIC:
                    self.damaged(f'it is cut short after its messages, at byte {self._size}')
                return
            if kind == self.CHUNK:
                self._measure_chunk(file, position + 9, length, end)
            run += 9 + length if in_run else 0
            position = end
        if run:
            self._measure(file, Part(position - run, run, run))
        self.damaged(f'it is cut short, or damaged, at byte {position} of {self._size}')
        if kind == self.CHUNK:
            self._measure_chunk(file, position + 9, self._size - position - 9, end)

    def _measure_chunk(self, file: BinaryIO, start: int, length: int, end: int) -> None:
        file.seek(start)
        head = file.read(min(length, MOST_HEADER_BYTES, self.CHUNK_HEAD.size + 12 + 64))
        with contextlib.suppress(*DAMAGE):  # a chunk that ends within its head has nothing
            start_ns, _, plain, checksum = self.CHUNK_HEAD.unpack_from(head)
            compression, position = _text(head, self.CHUNK_HEAD.size)
            (packed,) = struct.unpack_from('<Q', head, position)
            is_cut = end > self._size
            size = min(packed, length - position - 8)
            part = Part(start + position + 8, size, plain, compression, checksum, start_ns, is_cut)
            if not is_cut and size < packed:
                self._bad_part(part, 'it says to be longer than it is')
            else:
                self._measure(file, part)


# What messages are that can be read: by the encodings that MCAP knows, or by those of schemas.
ROS_ENCODINGS = ('cdr', 'ros1')
ENCODING_BY_SCHEMA = {'ros2msg': 'cdr', 'ros2idl': 'cdr', 'omgidl': 'cdr', 'ros1msg': 'ros1'}
PART_BYTES = 1 << 20  # of messages outside of chunks that are read together


def ros_name(name: str) -> str:
    """The name of a type as ROS 2 has it: of `sensor_msgs/Image`, or as DDS mangles it."""
    parts = [part for part in re.split('/|::', name) if part]
    if 'dds_' in parts:
        parts = [part for part in parts if part != 'dds_']
        parts[-1:] = [each.removesuffix('_') for each in parts[-1:]]
    return '/'.join([parts[0], 'msg', parts[1]] if len(parts) == 2 else parts)


def _framed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of the records in a summary that is whole."""
    position = 0
    while position < len(data):
        start = position + 9
        end = start + int.from_bytes(data[position + 1 : start], 'little')
        yield data[position], data[start:end]
        position = end


def _text(record: bytes, position: int) -> tuple[str, int]:
    """A string of an MCAP record, and where it ends."""
    (length,) = struct.unpack_from('<I', record, position)
    end = position + 4 + length
    if end > len(record):
        raise Cut(f'a text of {length} bytes in a record of {len(record)}')
    return record[position + 4 : end].decode('utf-8', 'replace'), end


def exactly(file: BinaryIO, size: int) -> bytes:
    """So many bytes of a file. Raises Cut."""
    data = file.read(size)
    if len(data) < size:
        raise Cut(f'{len(data)} bytes instead of {size}')
    return data


# --- Bags of ROS 1 (wiki.ros.org/Bags/Format/2.0): what is whole in them, as ROS 2 would have
# it.
#
# Chunks are found by their heads, with the index behind each; those without one are gone through.


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
