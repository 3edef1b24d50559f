"""MCAP files as other programs than rosbag2 write them, by the official writer.

What they hold is known by the official reader.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import bags
import mcap.reader
import numpy as np
import pytest
from mcap.writer import IndexType, Writer
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from midas_depth_ros.images.errors import UnreadableSource
from midas_depth_ros.images.sources import UnclearTopic, open_source
from midas_depth_ros.images.sources.bag_messages import BagMessages

CASES = Path(__file__).parent / 'mcap_without_message_index'
COUNT, STEP_NS = 6, 100_000_000
IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
TOPIC = '/camera/image_raw'


def picture(index: int) -> np.ndarray:
    return np.full((4, 6, 3), 10 * index + 5, np.uint8)


def image(index: int):
    return bags.raw_message(picture(index), bags.START_NS + index * STEP_NS)


def as_cdr(index: int) -> bytes:
    return bytes(bags.JAZZY.serialize_cdr(image(index), IMAGE))


def as_ros1(index: int) -> bytes:
    store, message = get_typestore(Stores.ROS1_NOETIC), image(index)
    stamp = message.header.stamp
    header = store.types['std_msgs/msg/Header'](
        index, store.types['builtin_interfaces/msg/Time'](stamp.sec, stamp.nanosec), 'optical'
    )
    fields = {name: getattr(message, name) for name in FIELDS}
    return bytes(store.serialize_ros1(store.types[IMAGE](header=header, **fields), IMAGE))


FIELDS = ('height', 'width', 'encoding', 'is_bigendian', 'step', 'data')


def write(
    path: Path,
    profile: str = 'ros2',
    name: str = IMAGE,
    schema: str = 'ros2msg',
    encoding: str = 'cdr',
    topic: str = TOPIC,
    make=as_cdr,
    others: tuple = (),
    change=lambda statistics, indexes: None,
    **options,
) -> Path:
    """others: (topic, type, schema encoding, encoding) of channels with messages of two bytes.

    change: what it does with statistics and chunk indexes before they are written.
    """
    with path.open('wb') as file:
        writer = Writer(file, **{'chunk_size': 300, **options})
        writer.start(profile)
        channels = [
            writer.register_channel(
                each[0], each[3], writer.register_schema(each[1], each[2], b'see elsewhere')
            )
            for each in ((topic, name, schema, encoding), *others)
        ]
        for index in range(COUNT):
            now = bags.START_NS + index * STEP_NS + 7
            for channel in channels:
                data = make(index) if channel == channels[0] else b'{}'
                writer.add_message(channel, now, data, now)
        writer._Writer__finalize_chunk()
        change(writer._Writer__statistics, writer._Writer__chunk_indices)
        writer.finish()
    return path


def frames(path: Path) -> list:
    said: list[str] = []
    found = list(open_source(path, warn=said.append))
    return [found, said]


def check(path: Path) -> list[str]:
    """Every picture comes, in order, with its time; what was said meanwhile."""
    found, said = frames(path)
    assert [each.time_ns for each in found] == [index * STEP_NS for index in range(COUNT)]
    for index, frame in enumerate(found):
        np.testing.assert_array_equal(frame.rgb(), picture(index))
        assert frame.stamp_ns == bags.START_NS + index * STEP_NS
    return said


@pytest.mark.parametrize('profile', ['', 'ros2', 'x-mine'])
@pytest.mark.parametrize(
    'name',
    [IMAGE, 'sensor_msgs/Image', 'sensor_msgs::msg::dds_::Image_', 'sensor_msgs::msg::Image'],
)
def test_ros_2_is_known_by_its_messages_not_by_the_profile(tmp_path, profile, name):
    assert check(write(tmp_path / 'a.mcap', profile, name)) == []


@pytest.mark.parametrize(
    ('schema', 'encoding'),
    [('ros2msg', ''), ('ros2idl', ''), ('omgidl', 'cdr'), ('', 'cdr'), ('ros2msg', 'CDR')],
)
def test_what_is_not_said_of_the_encoding_the_schema_says(tmp_path, schema, encoding):
    assert check(write(tmp_path / 'a.mcap', '', schema=schema, encoding=encoding)) == []
    assert (
        check(
            write(tmp_path / 'b.mcap', '', schema=schema, encoding='cdr', topic='camera/image_raw')
        )
        == []
    )


@pytest.mark.parametrize('encoding', ['ros1', ''])
def test_ros_1_is_read_and_said(tmp_path, encoding):
    path = write(
        tmp_path / 'a.mcap', 'ros1', 'sensor_msgs/Image', 'ros1msg', encoding, make=as_ros1
    )
    assert check(path) == []
    bag = BagMessages(path)
    assert bag.topics == {TOPIC: IMAGE}
    assert bag.notes == ['a.mcap has ROS 1 messages, which are converted to ROS 2']


def test_bags_of_ros_1_are_a_source(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(tmp_path / 'a.bag') as writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=store)
        for index in range(COUNT):
            writer.write(connection, bags.START_NS + index * STEP_NS, as_ros1(index))
    assert check(tmp_path / 'a.bag') == []
    (tmp_path / 'b.bag').write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(UnreadableSource, match='rosbag reindex'):
        open_source(tmp_path / 'b.bag')


def test_a_database_that_is_not_of_cdr_is_named(tmp_path):
    path = bags.write_image_bag(tmp_path / 'in', [picture(1)], storage='sqlite3')
    assert len(frames(path)[0]) == 1
    with sqlite3.connect(path / 'in.db3') as database:
        database.execute("UPDATE topics SET serialization_format = 'protobuf'")
    database.close()
    with pytest.raises(
        UnreadableSource, match=r"not ROS messages: .*Image as 'protobuf'"
    ) as caught:
        BagMessages(path)
    assert 'reindex' not in str(caught.value)


def test_times_are_those_of_recording_from_the_first_one_on(tmp_path):
    """Stamps may be of another clock; recorded times may begin at 0, as simulated ones do."""
    for start in (0, bags.START_NS):
        path = tmp_path / f'{start}.mcap'
        with path.open('wb') as file:
            writer = Writer(file)
            writer.start('ros2')
            schema = writer.register_schema(IMAGE, 'ros2msg', b'')
            channel = writer.register_channel(TOPIC, 'cdr', schema)
            for index in range(COUNT):
                writer.add_message(channel, start + index * 33_000_000, as_cdr(index), 5)
            writer.finish()
        source = open_source(path)
        assert source.length == COUNT
        assert [each.time_ns for each in source] == [i * 33_000_000 for i in range(COUNT)]
        assert [each.stamp_ns for each in source] == [
            bags.START_NS + i * STEP_NS for i in range(COUNT)
        ]


@pytest.mark.parametrize('encoding', ['protobuf', 'json', 'flatbuffer', 'x-\x1b[31m'])
def test_what_is_not_of_ros_is_named(tmp_path, encoding):
    path = write(tmp_path / 'a.mcap', '', 'foxglove.CompressedImage', encoding, encoding)
    with pytest.raises(UnreadableSource) as caught:
        BagMessages(path)
    said = str(caught.value)
    assert 'not ROS messages' in said
    assert f'foxglove.CompressedImage as {encoding!r}' in said.replace('\\\\', '\\')
    assert 'reindex' not in said
    assert '\x1b' not in said


def test_beside_other_messages_those_of_ros_are_read(tmp_path):
    others = (('/tf', 'foxglove.FrameTransform', 'protobuf', 'protobuf'), ('/x', 'x', '', 'json'))
    path = write(tmp_path / 'a.mcap', '', others=others)
    assert check(path) == []
    with pytest.raises(UnclearTopic, match=r"/tf .foxglove.FrameTransform as 'protobuf'"):
        open_source(path, topic='/tf')


def test_chunks_without_a_message_index_are_read():
    path = CASES / 'recording.mcap'
    with path.open('rb') as file:
        official = [message.data for _, _, message in mcap.reader.make_reader(file).iter_messages()]
    bag = BagMessages(path)
    assert [each.data for each in bag.read(bag.topics)] == official
    assert len(official) == 10
    assert len(frames(path)[0]) == 10


class TestSummaries:
    """Statistics and indexes that say something else than the chunks hold."""

    OTHER = (('/b', INFO, 'ros2msg', 'cdr'),)

    def test_fewer_than_it_says_is_said(self, tmp_path):
        def more(statistics, indexes) -> None:
            statistics.message_count += 4
            statistics.channel_message_counts[1] += 4

        bag = BagMessages(write(tmp_path / 'a.mcap', others=self.OTHER, change=more))
        found = []
        with pytest.raises(UnreadableSource, match=r'should have 10 messages.* 6 messages could'):
            found.extend(bag.read([TOPIC]))
        source = open_source(bag.path, TOPIC)
        with pytest.raises(UnreadableSource, match='should have 10 messages'):
            list(source)

    @pytest.mark.parametrize('is_none', [False, True])
    def test_statistics_that_say_nothing_are_not_believed(self, tmp_path, is_none):
        def nothing(statistics, indexes) -> None:
            statistics.channel_message_counts.clear()
            if is_none:
                statistics.message_count = 0

        bag = BagMessages(write(tmp_path / 'a.mcap', others=self.OTHER, change=nothing))
        assert bag.counts == {TOPIC: COUNT, '/b': COUNT}
        assert len(list(bag.read([TOPIC]))) == COUNT

    @pytest.mark.parametrize('every', [False, True])
    def test_an_index_that_leaves_a_channel_out_leaves_nothing_out(self, tmp_path, every):
        def without(statistics, indexes) -> None:
            for each in indexes:
                each.message_index_offsets.pop(1, None)
                if every:
                    each.message_index_offsets.clear()

        path = write(tmp_path / 'a.mcap', others=self.OTHER, change=without)
        assert len(list(BagMessages(path).read([TOPIC]))) == COUNT

    @pytest.mark.parametrize('index_types', [IndexType.CHUNK, IndexType.NONE, IndexType.MESSAGE])
    @pytest.mark.parametrize('use_statistics', [False, True])
    def test_whatever_is_not_indexed_is_found(self, tmp_path, index_types, use_statistics):
        path = write(tmp_path / 'a.mcap', index_types=index_types, use_statistics=use_statistics)
        assert check(path) == []

    def test_messages_of_an_unknown_channel_are_said(self, tmp_path):
        path = write(tmp_path / 'a.mcap', use_chunking=False, use_statistics=False)
        data = path.read_bytes()
        message = b'\x05' + (28).to_bytes(8, 'little')  # of 6 bytes
        extra = message + (77).to_bytes(2, 'little') + bytes(20) + b'strang'
        at = data.index(b'\x0f' + (4).to_bytes(8, 'little'))  # the end of the data
        path.write_bytes(data[:at] + extra + data[at:])
        found = []
        with pytest.raises(UnreadableSource, match='channel 77, which is not described'):
            found.extend(BagMessages(path).read([TOPIC]))


@pytest.mark.parametrize('content', [b'', b'\x89MCAP1\r\n' + bytes(99), b'bag: no', bytes(99)])
def test_where_there_is_nothing_to_mend_no_mending_is_proposed(tmp_path, content):
    (tmp_path / 'a.mcap').write_bytes(content)
    with pytest.raises(UnreadableSource, match=r'is not an MCAP file|nothing was rec') as caught:
        BagMessages(tmp_path / 'a.mcap')
    assert 'reindex' not in str(caught.value)


def test_what_a_recording_is_its_bytes_say(tmp_path):
    path = write(tmp_path / 'a.mcap')
    check(path.rename(tmp_path / 'a.db3'))
    folder = bags.write_image_bag(tmp_path / 'in', [picture(1)], storage='sqlite3')
    assert len(frames((folder / 'in.db3').rename(tmp_path / 'b.mcap'))[0]) == 1
