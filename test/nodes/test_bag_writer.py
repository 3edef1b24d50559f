"""An MCAP that is written is read by the official reader, by rosbags and by us, index and all."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import lz4.frame
import mcap.reader
import mcap.records
import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
from backports import zstd
from geometry_msgs.msg import Vector3Stamped
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image

from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.nodes.bag.pipeline import OfflinePublisher
from midas_depth_ros.nodes.bag.writer import bag_writer, canonical, ros_types
from midas_depth_ros.nodes.ros.quality_of_service import REPLAY_OUTPUT

COUNT = 30
STORE = ros_types()[0]
TOPICS = {'/a/image': Image, '/a/closeness': Vector3Stamped, '/silent': Image}
UNPACK = {'zstd': zstd.decompress, 'lz4': lz4.frame.decompress, '': bytes}


def message(topic: str, index: int):
    if TOPICS[topic] is Vector3Stamped:
        made = Vector3Stamped()
        made.vector.x = float(index)
        return made
    made = Image(height=200, width=300, encoding='rgb8', step=900)
    made.data.frombytes(np.random.default_rng(index).integers(0, 99, 180_000, np.uint8).tobytes())
    return made


def written(folder: Path, **options) -> list[tuple[str, int, bytes]]:
    publishers = {
        topic: OfflinePublisher(topic, kind, REPLAY_OUTPUT, lambda *_: None, True)
        for topic, kind in TOPICS.items()
    }
    expected = []
    folder.mkdir()
    with bag_writer(folder, 'mcap', publishers, {'model': 'x'}, **options) as writer:
        for index in range(COUNT):
            for topic in list(TOPICS)[:2]:
                made = message(topic, index)
                writer.write(topic, 1000 + index, made)
                expected.append((topic, 1000 + index, canonical(STORE, made)))
    return expected


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'none', ''])
def test_every_reader_finds_what_was_written(tmp_path, compression):
    expected = written(tmp_path / 'out', **({'compression': compression} if compression else {}))
    path = tmp_path / 'out' / 'midas_depth'
    with Reader(path) as reader:
        found = [(each.topic, time, bytes(data)) for each, time, data in reader.messages()]
        (quality,) = reader.connections[0].ext.offered_qos_profiles
    assert found == expected
    assert quality.depth == 100
    ours = BagMessages(path)
    assert [(each.topic, each.time_ns, each.data) for each in ours.read(ours.topics)] == expected
    data = next(path.glob('*.mcap')).read_bytes()
    official = mcap.reader.make_reader(io.BytesIO(data))
    assert isinstance(official, mcap.reader.SeekingReader)
    for topics, first, last in (
        (None, None, None),
        (['/a/closeness'], None, None),
        (['/a/image'], 1005, 1020),
        (['/silent'], None, None),
    ):
        times = {} if first is None else {'starting_at': first, 'ending_before': last}
        told = official.iter_messages(topics=topics, **times)
        assert [(channel.topic, each.log_time, each.data) for _, channel, each in told] == [
            each
            for each in expected
            if (topics is None or each[0] in topics) and (first is None or first <= each[1] < last)
        ]
    check_index(data, {'': 'zstd', 'none': ''}.get(compression, compression))


def check_index(data: bytes, compression: str) -> None:
    """Every chunk has its index, and every message index names the byte at which a message is."""
    records = list(StreamReader(io.BytesIO(data), emit_chunks=True).records)
    indexes = [each for each in records if isinstance(each, mcap.records.ChunkIndex)]
    chunks = [each for each in records if isinstance(each, mcap.records.Chunk)]
    (statistics,) = [each for each in records if isinstance(each, mcap.records.Statistics)]
    assert len(chunks) == len(indexes) == statistics.chunk_count > 3
    assert statistics.message_count == 2 * COUNT == sum(statistics.channel_message_counts.values())
    seen = 0
    for index, chunk in zip(indexes, chunks, strict=True):
        assert index.compression == chunk.compression == compression
        plain = UNPACK[compression](chunk.data)
        assert index.uncompressed_size == len(plain)
        assert chunk.uncompressed_crc in (0, zlib.crc32(plain))
        assert data[index.chunk_start_offset] == 0x06
        end = index.chunk_start_offset + index.chunk_length
        for channel, offset in index.message_index_offsets.items():
            assert end <= offset < end + index.message_index_length
            kind, _, number, size = struct.unpack_from('<BQHI', data, offset)
            assert (kind, number) == (0x07, channel)
            for time_ns, at in struct.iter_unpack('<QQ', data[offset + 15 :][:size]):
                opcode, _, of, _, log_time = struct.unpack_from('<BQHIQ', plain, at)
                assert (opcode, of, log_time) == (0x05, channel, time_ns)
                assert index.message_start_time <= log_time <= index.message_end_time
                seen += 1
    assert seen == 2 * COUNT


def test_compression_makes_it_smaller_and_the_same_bytes_each_time(tmp_path):
    sizes = {}
    for name in ('zstd', 'lz4', 'none'):
        files = []
        for number in (1, 2):
            written(tmp_path / f'{name}{number}', compression=name)
            files.append((tmp_path / f'{name}{number}/midas_depth/midas_depth.mcap').read_bytes())
        assert files[0] == files[1]
        sizes[name] = len(files[0])
    assert sizes['zstd'] < 0.95 * sizes['none']
    assert sizes['lz4'] <= 1.01 * sizes['none']  # noise has nothing for it
