"""Of a bag that is damaged all comes that is whole, and it is said; nothing in it is believed.

What is whole is known without our readers: by the official library of each format, on sound files.
"""

from __future__ import annotations

import bz2
import io
import shutil
import sqlite3
import struct
from pathlib import Path

import bags
import lz4.frame
import mcap.reader
import mcap.writer
import numpy as np
import pytest
from backports import zstd
from effort import some
from mcap.writer import CompressionType, IndexType
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, Writer
from rosbags.typesys import Stores, get_typestore

from midas_depth_ros.images.errors import UnreadableSource
from midas_depth_ros.images.sources import chunked_bags, sqlite_bag
from midas_depth_ros.images.sources.bag_messages import BagMessages

pytestmark = pytest.mark.thorough

STRING = 'std_msgs/msg/String'
COUNT = 60
STEP_NS = 100_000_000


def payload(index: int) -> bytes:
    """A String message in CDR, long enough to spread over pages, and unlike any other."""
    noise = np.random.default_rng(index).integers(65, 91, 3000, np.uint8).tobytes()
    text = b'%04d ' % index + noise + b'\0'
    return b'\0\1\0\0' + struct.pack('<I', len(text)) + text


def time_of(index: int) -> int:
    return bags.START_NS + index * STEP_NS


def write_mcap(path: Path, count: int = COUNT, order=None, **options) -> Path:
    """By the official writer: two topics in turn."""
    with path.open('wb') as file:
        writer = mcap.writer.Writer(file, **{'chunk_size': 20_000, **options})
        writer.start('ros2')
        schema = writer.register_schema(STRING, 'ros2msg', b'string data')
        channels = [writer.register_channel(name, 'cdr', schema) for name in ('/a', '/b')]
        for index in order or range(count):
            now = time_of(index)
            writer.add_message(channels[index % 2], now, payload(index), now)
        writer.finish()
    return path


def write_sqlite(path: Path, count: int = COUNT, **options) -> Path:
    return write_rosbag2(path, 'sqlite3', count, **options)


def write_rosbag2(
    path: Path, storage: str, count: int = COUNT, compression: str = '', first: int = 0
) -> Path:
    writer = Writer(path, version=9, storage_plugin=bags.STORAGES[storage])
    if compression:
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        connections = [
            writer.add_connection(name, STRING, typestore=bags.JAZZY) for name in ('/a', '/b')
        ]
        for index in range(first, first + count):
            writer.write(connections[index % 2], time_of(index), payload(index))
    return path


def write_ros1(path: Path, count: int = COUNT, compression: str = '') -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    writer.chunk_threshold = 20_000
    with writer:
        connections = [writer.add_connection(name, STRING, typestore=store) for name in ('a', '/b')]
        for index in range(count):
            writer.write(connections[index % 2], time_of(index), payload(index)[4:-1][:-1] + b'xx')
    return path


def read(path: Path, topics=('/a', '/b')) -> tuple[list[tuple[str, int, bytes]], str]:
    """What can be read, and what is said of the rest."""
    found = []
    try:
        for each in BagMessages(path).read(topics):
            assert each.kind == STRING
            found.append((each.topic, each.time_ns, each.data))
    except UnreadableSource as error:
        return found, str(error)
    return found, ''


def expected(indexes) -> list[tuple[str, int, bytes]]:
    return [('/ab'[:1] + 'ab'[i % 2], time_of(i), payload(i)) for i in indexes]


VARIANTS = {
    'plain': {'compression': CompressionType.NONE},
    'zstd': {'compression': CompressionType.ZSTD},
    'lz4': {'compression': CompressionType.LZ4},
    'no message index': {'index_types': IndexType.CHUNK},
    'no index': {'index_types': IndexType.NONE},
    'no statistics': {'use_statistics': False},
    'no channels in the summary': {'repeat_channels': False, 'repeat_schemas': False},
    'no chunks': {'use_chunking': False},
    'no checksums': {'enable_crcs': False},
}


class TestMcap:
    @pytest.mark.parametrize('name', VARIANTS)
    def test_every_kind_of_file_gives_what_the_official_reader_gives(self, tmp_path, name):
        path = write_mcap(tmp_path / 'a.mcap', **VARIANTS[name])
        with path.open('rb') as file:
            # The seeking reader does not find channels that the summary leaves out.
            official = [
                (channel.topic, message.log_time, message.data)
                for _, channel, message in mcap.reader.NonSeekingReader(file).iter_messages()
            ]
        assert official == expected(range(COUNT))
        assert read(path) == (official, '')
        bag = BagMessages(path)
        assert (bag.topics, bag.counts) == (
            dict.fromkeys(('/a', '/b'), STRING),
            {'/a': COUNT // 2, '/b': COUNT // 2},
        )
        assert [topic for topic, _, _ in read(path, ['/b'])[0]] == ['/b'] * (COUNT // 2)
        assert bag.first('/b').data == payload(1)

    @pytest.mark.parametrize('name', ['plain', 'no chunks', 'no index', 'zstd'])
    def test_messages_come_in_the_order_of_time(self, tmp_path, name):
        order = np.random.default_rng(0).permutation(COUNT).tolist()
        path = write_mcap(tmp_path / 'a.mcap', order=order, **VARIANTS[name])
        found, said = read(path)
        assert (sorted(found), said) == (sorted(expected(range(COUNT))), '')
        if name != 'no chunks':  # between those there is no index of times
            assert found == expected(range(COUNT))

    @pytest.mark.sampled
    @pytest.mark.parametrize('name', VARIANTS)
    @pytest.mark.parametrize('share', [0.001, 0.01, 0.2, 0.5, 0.83, 0.97, 0.9999])
    def test_of_a_cut_file_all_comes_that_was_written_before(self, tmp_path, name, share):
        path = write_mcap(tmp_path / 'a.mcap', **VARIANTS[name])
        data = path.read_bytes()
        cut = int(share * len(data))
        path.write_bytes(data[:cut])
        whole = [index for index in range(COUNT) if payload(index) in data[:cut]]
        try:
            found, said = read(path)
        except UnreadableSource as error:
            found, said = [], str(error)
        assert 'cut short' in said
        assert 'reindex' in said
        assert found == expected(range(len(found)))
        if 'NONE' in str(VARIANTS[name].get('compression')) or name == 'no chunks':
            assert len(found) == len(whole)
        else:
            assert len(found) >= int(COUNT * share) - 10, 'all but the last chunk'
        if found:
            assert f'{len(found)} messages could be read' in said

    def test_every_byte_may_be_the_last(self, tmp_path):
        whole = write_mcap(tmp_path / 'a.mcap', 4, chunk_size=4000).read_bytes()
        path = tmp_path / 'cut.mcap'
        before = 0
        for cut in some(range(len(whole))):
            path.write_bytes(whole[:cut])
            try:
                found, said = read(path)
            except UnreadableSource as error:
                found, said = [], str(error)
            assert said
            assert found == expected(range(len(found)))
            assert len(found) >= before, f'{cut}: more of the file gives less'
            before = len(found)
        assert before == 4

    def test_zeros_at_the_end_are_no_records(self, tmp_path):
        """As a file system leaves them, that has noted a file's length before its content."""
        path = write_mcap(tmp_path / 'a.mcap', **VARIANTS['plain'])
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes(100_000))
        found, said = read(path)
        assert found == expected(range(len(found)))
        assert len(found) > COUNT // 3
        assert 'cut short' in said

    @pytest.mark.parametrize('name', ['plain', 'zstd', 'no index'])
    def test_a_chunk_with_a_wrong_checksum_is_left_out(self, tmp_path, name):
        path = write_mcap(tmp_path / 'a.mcap', **VARIANTS[name])
        data = bytearray(path.read_bytes())
        at = len(data) // 2
        data[at : at + 4] = bytes(255 - byte for byte in data[at : at + 4])
        path.write_bytes(data)
        found, said = read(path)
        assert COUNT - 10 <= len(found) < COUNT
        assert set(found) < set(expected(range(COUNT)))
        assert found == sorted(found, key=lambda each: each[1])
        assert 'the chunk at byte' in said
        assert f'{len(found)} messages could be read' in said

    def test_a_summary_that_promises_more_is_found_out(self, tmp_path):
        path = write_mcap(tmp_path / 'a.mcap', enable_crcs=False)
        data = bytearray(path.read_bytes())
        counts = struct.pack('<HQ', 1, COUNT // 2)
        at = data.rindex(counts)
        data[at : at + 10] = struct.pack('<HQ', 1, COUNT // 2 + 1)
        start = data.rindex(struct.pack('<QHI', COUNT, 1, 2))
        data[start : start + 8] = struct.pack('<Q', COUNT + 1)
        path.write_bytes(data)
        found, said = read(path)
        assert found == expected(range(COUNT))
        assert f'{COUNT + 1} messages' in said

    @pytest.mark.parametrize('seed', range(6))
    def test_what_is_found_in_a_damaged_file_was_in_it(self, tmp_path, seed):
        rng = np.random.default_rng(seed)
        name = [*VARIANTS][seed]
        whole = np.frombuffer(
            write_mcap(tmp_path / 'a.mcap', 20, **VARIANTS[name]).read_bytes(), 'u1'
        )
        sound = {message[2] for message in expected(range(20))}
        for _ in range(30):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 5)] = rng.integers(0, 256, 5)
            (tmp_path / 'a.mcap').write_bytes(damaged.tobytes())
            try:
                found, said = read(tmp_path / 'a.mcap')
            except (UnreadableSource, AssertionError) as error:
                found, said = [], str(error)
            whole_messages = [data for _, _, data in found if data in sound]
            assert said or len(whole_messages) >= 19


def chunk(data: bytes, plain: int, compression: str) -> bytes:
    head = struct.pack('<QQQI', 0, 0, plain, 0) + text(compression) + struct.pack('<Q', len(data))
    return b'\x06' + struct.pack('<Q', len(head) + len(data)) + head + data


def text(content: str) -> bytes:
    return struct.pack('<I', len(content)) + content.encode()


@pytest.fixture
def most(monkeypatch):
    """Small bounds, so that bombs need not be large."""
    monkeypatch.setattr(chunked_bags, 'MOST_BYTES', 1_000_000)
    monkeypatch.setattr(chunked_bags, 'UNPACKED_BYTES', 5_000_000)
    monkeypatch.setattr(chunked_bags, 'UNPACKED_RATIO', 10)
    return 1_000_000


class TestBombs:
    PACKED = {  # noqa: RUF012
        'zstd': zstd.compress(bytes(50_000_000)),
        'lz4': lz4.frame.compress(bytes(50_000_000)),
        'bz2': bz2.compress(bytes(50_000_000)),
    }

    @pytest.mark.parametrize('compression', ['zstd', 'lz4', 'bz2'])
    def test_no_more_is_unpacked_than_was_said(self, compression):
        data, fault = sqlite_bag.unpacked(self.PACKED[compression], compression, 70_000)
        assert len(data) == 70_000
        assert 'more than 70000 bytes' in fault

    @pytest.mark.parametrize('compression', ['zstd', 'lz4', 'brotli', 'zstd '])
    @pytest.mark.parametrize('says', [10, 900_000, 50_000_000, 2**63])
    def test_a_chunk_that_grows_is_left_out(self, tmp_path, most, compression, says):
        sound = write_mcap(tmp_path / 'a.mcap', index_types=IndexType.NONE).read_bytes()
        bomb = chunk(self.PACKED.get(compression, b'x'), says, compression)
        at = sound.index(b'\x06', 8)
        (tmp_path / 'a.mcap').write_bytes(sound[:at] + bomb + sound[at:])
        found, said = read(tmp_path / 'a.mcap')
        assert found == expected(range(COUNT))
        assert 'the chunk at byte' in said

    def test_many_chunks_that_grow_have_one_bound(self, tmp_path, most, monkeypatch):
        grown = []
        original = chunked_bags.unpacked

        def counting(*arguments):
            data, fault = original(*arguments)
            grown.append(len(data))
            return data, fault

        monkeypatch.setattr(chunked_bags, 'unpacked', counting)
        sound = write_mcap(tmp_path / 'a.mcap', index_types=IndexType.NONE).read_bytes()
        at = sound.index(b'\x06', 8)
        bomb = chunk(zstd.compress(bytes(900_000)), 900_000, 'zstd')
        (tmp_path / 'a.mcap').write_bytes(sound[:at] + bomb * 500 + sound[at:])
        _, said = read(tmp_path / 'a.mcap')
        assert 'unpacks to more than the limit' in said
        assert sum(grown) < 3 * (5_000_000 + 10 * len(sound))

    @pytest.mark.parametrize('mode', ['MESSAGE', 'FILE'])
    def test_messages_and_files_that_grow_are_left_out(self, tmp_path, mode, monkeypatch):
        from midas_depth_ros.images.sources import bag_messages

        path = write_sqlite(tmp_path / 'bag', compression=mode)
        assert read(path) == (expected(range(COUNT)), '')
        monkeypatch.setattr(bag_messages, 'MOST_BYTES', 1000)
        monkeypatch.setattr(bag_messages, 'UNPACKED_BYTES', 1000)
        monkeypatch.setattr(bag_messages, 'UNPACKED_RATIO', 0)
        try:
            found, said = read(path)
        except UnreadableSource as error:
            found, said = [], str(error)
        assert (found, bool(said)) == ([], True)


class TestSqlite:
    @pytest.mark.parametrize('share', [0.0, 0.001, 0.05, 0.3, 0.5, 0.8, 0.99])
    def test_of_a_cut_file_all_comes_that_was_written_before(self, tmp_path, share):
        path = write_sqlite(tmp_path / 'bag')
        assert read(path) == (expected(range(COUNT)), '')
        file = path / 'bag.db3'
        data = file.read_bytes()
        file.write_bytes(data[: int(share * len(data))])
        try:
            found, said = read(path)
        except UnreadableSource as error:
            found, said = [], str(error)
        assert said
        assert 'reindex' in said
        # A row may go on, in pages that were free then, behind the one that follows it.
        assert found == [each for each in expected(range(COUNT)) if each in found]
        assert len(found) >= COUNT * share - 6
        if found:
            assert f'{len(found)} messages could be read' in said

    def test_what_lies_behind_a_damaged_page_comes_too(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag')
        file = path / 'bag.db3'
        data = bytearray(file.read_bytes())
        half = len(data) // 2 // 4096 * 4096
        data[half : half + 3 * 4096] = bytes(3 * 4096)
        file.write_bytes(data)
        found, said = read(path)
        assert COUNT - 25 <= len(found) < COUNT
        assert set(found) < set(expected(range(COUNT)))
        assert found[0] == expected([0])[0]
        assert found[-1] == expected([COUNT - 1])[0]
        assert said

    def test_a_log_that_was_not_merged_is_named(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag')
        (path / 'bag.db3-wal').write_bytes(b'x' * 100)
        found, said = read(path)
        assert found == expected(range(COUNT))
        assert 'bag.db3-wal was never merged' in said

    @pytest.mark.parametrize('name', ['a#b', 'a?b', 'a%41', 'a b', 'ä'])
    def test_odd_names_are_names(self, tmp_path, name):
        path = write_sqlite(tmp_path / 'bag').rename(tmp_path / name)
        (path / 'bag.db3').rename(path / f'{name}.db3')
        about = path / 'metadata.yaml'
        about.write_text(about.read_text().replace('bag.db3', f'"{name}.db3"'))
        assert read(path) == (expected(range(COUNT)), '')
        assert read(path / f'{name}.db3') == (expected(range(COUNT)), '')

    def test_a_view_without_an_end_is_not_read(self, tmp_path):
        path = tmp_path / 'a.db3'
        connection = sqlite3.connect(path)
        connection.executescript(
            'CREATE TABLE topics(id, name, type);'
            "INSERT INTO topics VALUES(1, '/a', 'std_msgs/msg/String');"
            'CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 '
            'FROM n) SELECT id, 1 AS topic_id, id AS timestamp, NULL AS data FROM n;'
        )
        connection.close()
        with pytest.raises(UnreadableSource, match='no tables'):
            BagMessages(path)

    def test_rows_of_other_types_are_left_out(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag', 4)
        connection = sqlite3.connect(path / 'bag.db3')
        with connection:
            connection.execute("UPDATE messages SET timestamp = 'soon' WHERE id = 1")
            connection.execute("UPDATE messages SET data = 'text' WHERE id = 2")
            connection.execute("INSERT INTO topics VALUES(9, x'ff', 7, 'cdr', '', '')")
        connection.close()
        found, said = read(path)
        assert found == expected([2, 3])
        assert said


def official_ros1(path: Path) -> list[tuple[str, int, bytes]]:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Reader1(path) as reader:
        return [
            ('/' + each.topic.lstrip('/'), time_ns, bytes(store.ros1_to_cdr(data, STRING)))
            for each, time_ns, data in reader.messages()
        ]


class TestRos1:
    @pytest.mark.parametrize('compression', ['', 'BZ2', 'LZ4'])
    def test_it_gives_what_the_library_gives(self, tmp_path, compression):
        path = write_ros1(tmp_path / 'a.bag', compression=compression)
        official = official_ros1(path)
        assert len(official) == COUNT
        assert read(path) == (official, '')
        assert BagMessages(path).counts == {'/a': COUNT // 2, '/b': COUNT // 2}

    @pytest.mark.sampled
    @pytest.mark.parametrize('compression', ['', 'BZ2', 'LZ4'])
    @pytest.mark.parametrize('share', [0.0001, 0.01, 0.05, 0.4, 0.7, 0.95, 0.999])
    def test_of_a_cut_bag_all_comes_that_was_written_before(self, tmp_path, compression, share):
        path = write_ros1(tmp_path / 'a.bag', compression=compression)
        official = official_ros1(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        try:
            found, said = read(path)
        except UnreadableSource as error:
            found, said = [], str(error)
        assert 'cut short' in said or 'it is not a' in said
        assert found == official[: len(found)]
        assert len(found) >= int(COUNT * share) - 20
        assert 'rosbag reindex' in said

    def test_a_bag_that_was_not_closed_gives_all(self, tmp_path):
        path = write_ros1(tmp_path / 'a.bag')
        official = official_ros1(path)
        data = path.read_bytes()
        at = data.index(b'index_pos=') + 10
        end = struct.unpack_from('<Q', data, at)[0]
        path.write_bytes(data[:at] + bytes(8) + data[at + 8 : end])
        found, said = read(path)
        assert found == official
        assert 'was not closed' in said

    def test_a_damaged_chunk_is_left_out(self, tmp_path):
        path = write_ros1(tmp_path / 'a.bag', compression='BZ2')
        official = official_ros1(path)
        data = bytearray(path.read_bytes())
        at = len(data) // 2
        data[at : at + 40] = bytes(40)
        path.write_bytes(data)
        found, said = read(path)
        assert COUNT - 15 <= len(found) < COUNT
        assert set(found) < set(official)
        assert 'the chunk at byte' in said


class TestFolders:
    def test_parts_with_numbers_are_one_recording_even_without_metadata(self, tmp_path):
        folder = tmp_path / 'bag'
        folder.mkdir()
        for number in (0, 2, 10):
            part = write_rosbag2(tmp_path / f'p{number}', 'mcap', 3, first=3 * number)
            shutil.copy(part / f'p{number}.mcap', folder / f'bag_{number}.mcap')
        assert read(folder) == (expected([0, 1, 2, 6, 7, 8, 30, 31, 32]), '')

    @pytest.mark.sampled
    @pytest.mark.parametrize('content', [b'', b'\0' * 50, b'{{', b'[' * 9000, b'a: 1', b'\xff'])
    def test_metadata_that_are_damaged_are_said_and_done_without(self, tmp_path, content):
        path = write_sqlite(tmp_path / 'bag')
        (path / 'metadata.yaml').write_bytes(content)
        found, said = read(path)
        assert found == expected(range(COUNT))
        assert 'metadata.yaml is damaged' in said

    def test_packed_messages_are_known_without_metadata(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag', compression='MESSAGE')
        (path / 'metadata.yaml').unlink()
        assert read(path) == (expected(range(COUNT)), '')

    def test_a_file_that_is_named_twice_is_read_once(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag')
        about = (path / 'metadata.yaml').read_text()
        (path / 'metadata.yaml').write_text(
            about.replace('relative_file_paths:\n', 'relative_file_paths:\n  - ../bag/bag.db3\n')
        )
        assert read(path) == (expected(range(COUNT)), '')

    def test_a_file_that_is_missing_is_named_and_the_others_are_read(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag')
        about = (path / 'metadata.yaml').read_text()
        (path / 'metadata.yaml').write_text(
            about.replace('relative_file_paths:\n', 'relative_file_paths:\n  - gone.db3\n')
        )
        found, said = read(path)
        assert found == expected(range(COUNT))
        assert 'gone.db3: it cannot be read: No such file' in said

    def test_metadata_that_tell_of_more_are_believed(self, tmp_path):
        path = write_sqlite(tmp_path / 'bag')
        about = (path / 'metadata.yaml').read_text()
        (path / 'metadata.yaml').write_text(
            about.replace(f'message_count: {COUNT}\n', 'message_count: 999\n')
        )
        found, said = read(path)
        assert found == expected(range(COUNT))
        assert 'lists 999 messages' in said

    @pytest.mark.parametrize('name', ['a.mcap', 'a.db3', 'a.bag', 'a.db3.zstd'])
    @pytest.mark.parametrize(
        'content', [b'', b'x', b'\x89MCAP0\r\n', b'SQLite format 3\0', bytes(99)]
    )
    def test_what_is_no_bag_is_refused_in_one_line(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableSource) as caught:
            list(BagMessages(tmp_path / name).read(['/a']))
        assert str(tmp_path / name)[:-5] in str(caught.value)
        assert '\n' not in str(caught.value)

    def test_the_library_reads_the_same(self, tmp_path):
        for storage in bags.STORAGES:
            path = write_rosbag2(tmp_path / storage, storage)
            with Reader(path) as reader:
                official = [(c.topic, now, bytes(data)) for c, now, data in reader.messages()]
            assert read(path) == (official, '')

    def test_a_packed_file_leaves_nothing_behind(self, tmp_path, monkeypatch):
        path = write_sqlite(tmp_path / 'bag', compression='FILE')
        (tmp_path / 'temporary').mkdir()
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
        bag = BagMessages(path)
        assert len(list((tmp_path / 'temporary').iterdir())) == 1
        assert len(list(bag.read(['/a']))) == COUNT // 2
        del bag
        assert not list((tmp_path / 'temporary').iterdir())
        data = next(path.glob('*.zstd')).read_bytes()
        next(path.glob('*.zstd')).write_bytes(data[: len(data) // 2])
        found, said = read(path)
        assert 0 < len(found) < COUNT
        assert 'cut short' in said
        assert io.BytesIO(data).read(4) == b'\x28\xb5\x2f\xfd'
