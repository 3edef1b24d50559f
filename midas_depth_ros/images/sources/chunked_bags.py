"""MCAP files and ROS 1 bags: records in chunks, with an index at the end if they were closed.

An intact index is used; otherwise the records are read from the beginning, up to where the file is
cut. Sources: mcap.dev/spec, wiki.ros.org/Bags/Format/2.0.
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

MOST_WAITING_BYTES = 2 * MOST_BYTES  # of messages that wait, since chunks may overlap in time
MOST_HEADER_BYTES = 1 << 20
MOST_SUMMARY_BYTES = MOST_BYTES
# The limit of what a file may unpack to in one pass. Black pictures shrink a thousandfold.
UNPACKED_BYTES, UNPACKED_RATIO = 4 << 30, 1000

MessageSpan = tuple[int, int, int, int]  # channel, time in ns, start and end of the data


class BadRecord(ValueError):
    """A record is incomplete or invalid; the text says where."""


# What damaged bytes raise.
DAMAGE = (BadRecord, ValueError, IndexError, KeyError, struct.error)


@dataclasses.dataclass
class Block:
    """Consecutive records: a chunk, or records outside of chunks.

    offset, size: its bytes in the file. unpacked: its stated unpacked size. checksum: CRC-32 of the
    unpacked bytes, 0 = unknown. start_ns: no message is earlier. is_cut: it is incomplete.
    channels: of its messages; None = unknown.
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
    """What both formats share. channels: number -> topic and type."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.channels: dict[int, tuple[str, str]] = {}
        self.blocks: list[Block] = []
        self._size = check_file(path)
        self._begin_pass()

    def _begin_pass(self) -> None:
        self._budget = UNPACKED_BYTES + UNPACKED_RATIO * self._size  # bytes to unpack

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """Yield the intact messages of these topics in the order of time."""
        waiting: list[tuple[int, int, Recorded]] = []
        number = held = 0
        self._begin_pass()
        with open_file(self.path) as file:
            for block in sorted(self.blocks, key=lambda each: each.start_ns):
                while waiting and (waiting[0][0] < block.start_ns or held > MOST_WAITING_BYTES):
                    recorded = heapq.heappop(waiting)[2]
                    held -= len(recorded.data)
                    yield recorded
                for recorded in self._wanted(file, block, topics):
                    heapq.heappush(waiting, (recorded.time_ns, number, recorded))
                    number += 1
                    held += len(recorded.data)
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _wanted(self, file: BinaryIO, block: Block, topics: Collection[str]) -> Iterator[Recorded]:
        if block.channels is not None and not any(
            self.channels.get(each, ('', ''))[0] in topics for each in block.channels
        ):
            return
        data = self._data_of(file, block)
        for channel, time_ns, start, end in self._within(data, block):
            topic, kind = self.channels.get(channel, ('', ''))
            if channel not in self.channels:
                self._unknown(channel)
            if topic in topics:
                cdr = self._as_cdr(topic, kind, data[start:end])
                if cdr is not None:
                    yield Recorded(topic, kind, time_ns, cdr)

    def _data_of(self, file: BinaryIO, block: Block) -> bytes:
        """Return the unpacked bytes of a block, as many as there are if it is cut."""
        if max(block.unpacked, block.size) > MOST_BYTES:
            self._bad_block(block, f'its stated size is {block.unpacked} bytes, above {MOST_BYTES}')
            return b''
        self._budget -= block.unpacked
        if self._budget < 0:
            self._bad_block(block, 'the file unpacks to more than the limit')
            return b''
        file.seek(block.offset)
        packed = file.read(block.size)
        data, fault = unpacked(packed, block.compression, min(block.unpacked, MOST_BYTES))
        if block.is_cut:
            return data
        if len(packed) < block.size:
            fault = 'it ends too early'
        elif not fault and len(data) != block.unpacked:
            fault = f'it holds {len(data)} bytes, not {block.unpacked}'
        if not fault and block.checksum and zlib.crc32(data) != block.checksum:
            self._bad_block(block, 'its checksum is wrong')
            return b''  # any byte may be wrong
        if fault:
            self._bad_block(block, fault)
        return data

    def _within(self, data: bytes, block: Block) -> Iterator[MessageSpan]:
        try:
            yield from self.records(data)
        except DAMAGE as error:
            if not block.is_cut:
                self._bad_block(block, str(error))

    def _bad_block(self, block: Block, fault: str) -> None:
        self.note_damage(f'the chunk at byte {block.offset} is damaged ({fault})')

    def _unknown(self, channel: int) -> None:
        self.note_damage(f'messages of channel {channel}, which is not described, are left out')

    def _measure(self, file: BinaryIO, block: Block) -> None:
        """Read channels, counts and times of a block; keep it if it has messages."""
        first_ns, seen = None, set()
        for channel, time_ns, _, _ in self._within(self._data_of(file, block), block):
            if channel in self.channels:
                self.add_topic(*self.channels[channel], 1)
                seen.add(channel)
            else:
                self._unknown(channel)
            first_ns = time_ns if first_ns is None else min(first_ns, time_ns)
        if first_ns is not None:
            block.start_ns, block.channels = first_ns, frozenset(seen)
            self.blocks.append(block)

    def records(self, data: bytes) -> Iterator[MessageSpan]:
        """Yield the messages of a block; adds its channels. Raises one of DAMAGE."""
        raise NotImplementedError

    def _as_cdr(self, topic: str, kind: str, data: bytes) -> bytes | None:
        """Convert a ROS 1 message to ROS 2's serialisation; None if that is impossible."""
        from rosbags.serde import SerdeError
        from rosbags.typesys import Stores, get_typestore

        # Images and CameraInfo are the same in both; Humble has the Range of ROS 1, too.
        store = get_typestore(Stores.ROS2_HUMBLE)
        if kind not in store.fielddefs:
            self.note_damage(f'{topic}: {shown(kind)} is not a ROS 2 message type')
            return None
        try:
            return bytes(store.ros1_to_cdr(data, kind))
        except (SerdeError, AssertionError, OverflowError, *DAMAGE) as error:
            self.note_damage(f'{topic}: a malformed message: {error}')
            return None


class McapStorage(ChunkedStorage):
    """An MCAP file."""

    name = 'mcap'
    MAGIC = b'\x89MCAP0\r\n'
    FOOTER_BYTES = 9 + 20 + len(MAGIC)
    FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END = (
        0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B, 0x0F
    )  # fmt: skip
    PRIVATE = 0x80  # from here on records are application-defined
    CHUNK_HEAD = struct.Struct('<QQQI')

    def __init__(self, path: Path) -> None:
        """Raises UnreadableSource and UnreadableFile."""
        super().__init__(path)
        self._schemas: dict[int, tuple[str, str]] = {}  # name and encoding
        self._of_ros1: set[str] = set()  # topics
        with open_file(path) as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise UnreadableSource(f'{path}: it is not an MCAP file')
            if not self._read_summary(file):
                self.topics, self.counts, self.blocks = {}, {}, []
                self._scan(file)

    def records(self, data: bytes) -> Iterator[MessageSpan]:
        """Yield the messages of a block; adds its channels."""
        for kind, start, end in _mcap_records(data):
            if kind == self.MESSAGE:
                channel, _, time_ns, _ = struct.unpack_from('<HIQQ', data, start)
                if end - start < 22:
                    raise BadRecord(f'a message of {end - start} bytes is malformed')
                yield channel, time_ns, start + 22, end
            elif kind in (self.SCHEMA, self.CHANNEL):
                self._define(kind, data[start:end])

    def _define(self, kind: int, record: bytes) -> None:
        if kind == self.SCHEMA:
            (number,) = struct.unpack_from('<H', record)
            name, position = _text(record, 2)
            self._schemas[number] = name, _text(record, position)[0]
            return
        number, schema = struct.unpack_from('<HH', record)
        topic, position = _text(record, 4)
        encoding = _text(record, position)[0].lower()
        name, described = self._schemas.get(schema, ('an unknown type', ''))
        # The encoding may be missing where the schema implies it.
        encoding = encoding or ENCODING_BY_SCHEMA.get(described, '')
        if encoding in ROS_ENCODINGS:
            topic, name = '/' + topic.removeprefix('/'), ros_name(name)
        else:
            name = f'{name} as {shown(encoding) if encoding else "an unknown encoding"}'
            self.foreign[topic] = name
        if encoding == ROS_ENCODINGS[1]:
            self._of_ros1.add(topic)
            self.notes = [f'{self.path.name} has ROS 1 messages, which are converted to ROS 2']
        self.channels[number] = topic, name
        self.add_topic(topic, name)

    def _as_cdr(self, topic: str, kind: str, data: bytes) -> bytes | None:
        return super()._as_cdr(topic, kind, data) if topic in self._of_ros1 else data

    def _read_summary(self, file: BinaryIO) -> bool:
        """Read the summary at the end; False if it is missing, damaged or incomplete."""
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
        stated = chunks = -1
        for _ in self.records(summary):
            raise BadRecord('a message in the summary')
        for kind, start, stop in _mcap_records(summary):
            record = summary[start:stop]
            if kind == self.CHUNK_INDEX:
                self.blocks.append(self._indexed(file, record, end))
            elif kind == self.STATISTICS:
                stated, _, _, _, _, chunks = struct.unpack_from('<QHIIII', record)
                pairs = record[46:][: struct.unpack_from('<I', record, 42)[0]]
                counts = dict(struct.iter_unpack('<HQ', pairs))
        # Whatever a writer leaves out of its summary is found by scanning the file.
        is_complete = stated == sum(counts.values()) and chunks == len(self.blocks)
        if not is_complete or bool(stated) != bool(chunks):
            return False
        if not set(counts) <= set(self.channels):
            return False
        # An index that leaves out a channel cannot be used to find its messages.
        indexed = {channel for block in self.blocks for channel in block.channels or ()}
        if not indexed >= {channel for channel, count in counts.items() if count}:
            self.blocks = [dataclasses.replace(block, channels=None) for block in self.blocks]
        for channel, count in counts.items():
            self.add_topic(*self.channels[channel], count)
        return True

    def _indexed(self, file: BinaryIO, record: bytes, end: int) -> Block:
        """Return a chunk by its index."""
        start_ns, _, offset, length, offsets = struct.unpack_from('<QQQQI', record)
        channels = frozenset(
            channel for channel, _ in struct.iter_unpack('<HQ', record[36:][:offsets])
        )
        compression, position = _text(record, 36 + offsets + 8)
        packed, plain = struct.unpack_from('<QQ', record, position)
        data = offset + 9 + self.CHUNK_HEAD.size + 4 + len(compression.encode()) + 8
        if not len(self.MAGIC) < offset < offset + length <= end or data + packed > end:
            raise BadRecord('a chunk outside of the file')
        file.seek(offset + 9)
        _, _, _, checksum = self.CHUNK_HEAD.unpack(exactly(file, self.CHUNK_HEAD.size))
        # An index may leave out which channels a chunk has.
        return Block(data, packed, plain, compression, checksum, start_ns, False, channels or None)

    def _scan(self, file: BinaryIO) -> None:
        """Read the records of the file, up to its end or the first invalid one."""
        position, run = len(self.MAGIC), 0  # bytes of records outside of chunks
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
            if run and (not in_run or run + 9 + length > BLOCK_BYTES):
                self._measure(file, Block(position - run, run, run))
                run = 0
            if kind in (self.DATA_END, self.FOOTER):
                file.seek(self._size - len(self.MAGIC))
                if file.read() != self.MAGIC:
                    self.note_damage(f'it is cut short after its messages, at byte {self._size}')
                return
            if kind == self.CHUNK:
                self._measure_chunk(file, position + 9, length, end)
            run += 9 + length if in_run else 0
            position = end
        if run:
            self._measure(file, Block(position - run, run, run))
        self.note_damage(f'it is cut short, or damaged, at byte {position} of {self._size}')
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
            block = Block(
                start + position + 8, size, plain, compression, checksum, start_ns, is_cut
            )
            if not is_cut and size < packed:
                self._bad_block(block, 'it is smaller than its stated size')
            else:
                self._measure(file, block)


ROS_ENCODINGS = ('cdr', 'ros1')
ENCODING_BY_SCHEMA = {'ros2msg': 'cdr', 'ros2idl': 'cdr', 'omgidl': 'cdr', 'ros1msg': 'ros1'}
BLOCK_BYTES = 1 << 20  # of messages outside of chunks that are read together


def ros_name(name: str) -> str:
    """Convert a type name such as `sensor_msgs/Image`, or one mangled by DDS, to ROS 2's form."""
    parts = [each for each in re.split('/|::', name) if each]
    if 'dds_' in parts:
        parts = [each for each in parts if each != 'dds_']
        parts[-1:] = [each.removesuffix('_') for each in parts[-1:]]
    return '/'.join([parts[0], 'msg', parts[1]] if len(parts) == 2 else parts)


def _mcap_records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and end of the content of each record. Raises BadRecord."""
    end = 0
    while end < len(data):
        kind, start = data[end], end + 9
        end = start + int.from_bytes(data[end + 1 : start], 'little')
        if end > len(data):
            raise BadRecord(f'a record ends beyond the {len(data)} bytes of its block')
        yield kind, start, end


def _text(record: bytes, position: int) -> tuple[str, int]:
    """Return a string of an MCAP record, and where it ends."""
    (length,) = struct.unpack_from('<I', record, position)
    end = position + 4 + length
    if end > len(record):
        raise BadRecord(f'a text of {length} bytes in a record of {len(record)}')
    return record[position + 4 : end].decode('utf-8', 'replace'), end


def exactly(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes. Raises BadRecord."""
    data = file.read(size)
    if len(data) < size:
        raise BadRecord(f'{len(data)} bytes instead of {size}')
    return data


# --- Bags of ROS 1.


class Ros1Storage(ChunkedStorage):
    """A bag of ROS 1. Its messages are converted to ROS 2's serialisation."""

    name = 'ros1'
    MAGIC = b'#ROSBAG V2.0\n'
    MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = range(2, 8)

    def __init__(self, path: Path) -> None:
        """Raises UnreadableSource and UnreadableFile."""
        super().__init__(path)
        self._found: list[Block] = []
        self._counts: dict[int, dict[int, int]] = {}  # index of a block -> connection -> messages
        self._to_come = -1  # chunks that the index should still have; -1: there is no index
        with open_file(path) as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise UnreadableSource(f'{path}: it is not a bag of ROS 1 (format 2.0)')
            self._scan(file)

    def _scan(self, file: BinaryIO) -> None:
        """Find chunks by their headers and the index behind each; read those without an index."""
        position = len(self.MAGIC)
        with contextlib.suppress(*DAMAGE):
            while position < self._size:
                position = self._take(file, position)
        if position < self._size or self._to_come:
            self.note_damage(
                f'it is cut short, or was not closed, at byte {position} of {self._size}'
            )
            self._counts.pop(len(self._found) - 1, None)  # perhaps not all of its index
        for number, block in enumerate(self._found):
            counts = self._counts.get(number, {})
            if counts and set(counts) <= set(self.channels):
                for connection, count in counts.items():
                    self.add_topic(*self.channels[connection], count)
                block.channels = frozenset(counts)
                self.blocks.append(block)
            else:
                self._measure(file, block)

    def _take(self, file: BinaryIO, position: int) -> int:
        """Process the record at a byte; returns where the next one is. Raises one of DAMAGE."""
        header, start, length = self._head(file, position)
        kind, end = header['op'][0], start + length
        if kind == self.CHUNK:
            compression = header['compression'].decode('ascii')
            size = min(length, self._size - start)
            self._found.append(Block(start, size, _u32(header['size']), compression))
            self._found[-1].is_cut = end > self._size
        if end > self._size:
            raise BadRecord('the file ends within a record')
        if kind == self.BAG_HEADER and int.from_bytes(header['index_pos'], 'little'):
            self._to_come = _u32(header['chunk_count'])
        elif kind == self.CHUNK_INFO:
            self._to_come -= 1
        elif kind == self.INDEX and self._found:
            times, block = file.read(length), self._found[-1]
            counts = self._counts.setdefault(len(self._found) - 1, {})
            counts[_u32(header['conn'])] = _u32(header['count'])
            first_ns = min(_time(times, at) for at in range(0, length, 12))
            block.start_ns = min(block.start_ns or first_ns, first_ns)
        elif kind == self.CONNECTION:
            self._connect(header, file.read(min(length, MOST_HEADER_BYTES)))
        elif kind == self.MESSAGE:
            self._found.append(Block(position, end - position, end - position))
        return end

    def _head(self, file: BinaryIO, position: int) -> tuple[dict[str, bytes], int, int]:
        """Return the header of the record at a byte, where its data begin and their stated size."""
        file.seek(position)
        length = int.from_bytes(exactly(file, 4), 'little')
        if length > MOST_HEADER_BYTES:
            raise BadRecord(f'a header of {length} bytes')
        header = _fields(exactly(file, length))
        size = int.from_bytes(exactly(file, 4), 'little')
        return header, position + 8 + length, size

    def _connect(self, header: dict[str, bytes], data: bytes) -> None:
        fields = _fields(data)
        kind = fields['type'].decode('utf-8', 'replace')
        package, _, name = kind.partition('/')
        topic = header['topic'].decode('utf-8', 'replace')
        topic = '/' + '/'.join(block for block in topic.split('/') if block)
        self.channels[_u32(header['conn'])] = topic, f'{package}/msg/{name.removeprefix("msg/")}'
        self.add_topic(*self.channels[_u32(header['conn'])])

    def records(self, data: bytes) -> Iterator[MessageSpan]:
        """Yield the messages of a chunk; adds its connections."""
        position = 0
        while position < len(data):
            (length,) = struct.unpack_from('<I', data, position)
            start = position + 8 + length
            header = _fields(data[position + 4 : position + 4 + length])
            end = start + struct.unpack_from('<I', data, position + 4 + length)[0]
            if end > len(data):
                raise BadRecord(f'a record ends beyond the {len(data)} bytes of its block')
            kind = header['op'][0]
            if kind == self.CONNECTION:
                self._connect(header, data[start:end])
            elif kind == self.MESSAGE:
                yield _u32(header['conn']), _time(header['time'], 0), start, end
            position = end


def _fields(data: bytes) -> dict[str, bytes]:
    """Parse the header of a record: name=value, each preceded by its length."""
    fields: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from('<I', data, position)
        field = data[position + 4 : position + 4 + length]
        name, sign, value = field.partition(b'=')
        if len(field) < length or not sign:
            raise BadRecord('a header without its fields')
        fields[name.decode('ascii')] = value
        position += 4 + length
    return fields


def _u32(value: bytes) -> int:
    return int(struct.unpack('<I', value)[0])


def _time(data: bytes, at: int) -> int:
    seconds, nanoseconds = struct.unpack_from('<II', data, at)
    return int(seconds) * NANOSECONDS + int(nanoseconds)
