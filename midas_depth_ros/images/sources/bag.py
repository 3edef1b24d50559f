"""A rosbag2 as a source: its image messages as they were recorded, with the CameraInfo beside them.

Reads folders (sqlite3, mcap, compressed or not) and single .db3 and .mcap files by the library
`rosbags`, so that no ROS is needed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas_depth_ros.images.bit_depth import BitDepth
from midas_depth_ros.images.sources.errors import SourceError, UnclearTopic, UnreadableSource
from midas_depth_ros.images.sources.frames import Frame, Source, Warn

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader

BAG_SUFFIXES = ('.db3', '.mcap')
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
COMPRESSED_ENDING = '/compressed'
NANOSECONDS = 1_000_000_000

# What damaged bytes come to in the library besides its own errors: of a message, of a bag.
MESSAGE_FAULTS = (ValueError, IndexError, AssertionError, OverflowError, struct.error)
BAG_FAULTS = (OSError, MemoryError, KeyError, TypeError, *MESSAGE_FAULTS)


class Bag(Source):
    """The image messages of one topic of a rosbag2."""

    has_stamps = True

    def __init__(
        self, path: Path, topic: str, max_pixels: int, warn: Warn, bit_depth: int = 0
    ) -> None:
        self.name = str(path)
        self._path = storage_of(path)
        self._max_pixels = max_pixels
        self._bit_depth = bit_depth
        self._warn = warn
        with self._opened() as reader:
            topics = {each.topic: each.msgtype for each in reader.connections}
        self.topic = choose_topic(self._path, topics, topic)
        info_topic = camera_info_topic(self.topic)
        self._info_topic = info_topic if topics.get(info_topic) == CAMERA_INFO else ''
        self.has_camera_info = bool(self._info_topic)

    def __iter__(self) -> Iterator[Frame]:
        index, first_ns, info = -1, 0, self._first_camera_info()
        bit_depth = BitDepth(self._bit_depth)
        for connection, time_ns, message in self._messages(self.topic, self._info_topic):
            if connection.msgtype == CAMERA_INFO:
                info = message
                continue
            index += 1
            first_ns = first_ns or time_ns
            yield Frame(
                f'{self.name} {self.topic} message {index}',
                time_ns=max(0, time_ns - first_ns),
                stamp_ns=stamp_of(message) or time_ns,
                frame_id=message.header.frame_id,
                message=message,
                camera_info=info,
                max_pixels=self._max_pixels,
                bit_depth=bit_depth,
            )
        if index < 0:
            raise UnreadableSource(
                f'{self.name}: not one message of {self.topic} could be read: look at it with '
                'ros2 bag info, and give a bag with images'
            )

    def _first_camera_info(self) -> Any:
        """So that the first image has one too; they are recorded in any order."""
        if not self._info_topic:
            return None
        with contextlib.closing(self._messages(self._info_topic)) as messages:
            return next((message for _, _, message in messages), None)

    def _messages(self, *topics: str) -> Generator[tuple[Connection, int, Any], None, None]:
        """Connection, time of recording in nanoseconds, and message, one after the other."""
        from rosbags.serde import SerdeError
        from rosbags.typesys import Stores, get_typestore

        # The three types that are read here are the same in every ROS 2 (by their hashes), so the
        # bag's own definitions, which may be missing or of types that do not parse, don't matter.
        types = get_typestore(Stores.ROS2_HUMBLE)
        skipped = 0
        with self._opened() as reader:
            wanted = [each for each in reader.connections if each.topic in topics]
            for connection, time_ns, data in reader.messages(wanted):
                try:
                    message = types.deserialize_cdr(data, connection.msgtype)
                except (SerdeError, *MESSAGE_FAULTS) as error:
                    skipped += 1
                    if skipped == 1:
                        self._warn(f'{self.name}: a message of {connection.topic} skipped: {error}')
                    continue
                yield connection, int(time_ns), message
        if skipped > 1:
            self._warn(f'{self.name}: {skipped} messages were skipped')

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Reader]:
        """The library's reader; what it complains of becomes UnreadableSource."""
        rosbag2, faults = load_rosbags()
        try:
            with rosbag2.Reader(self._path) as reader:
                yield reader
        except faults as error:
            if isinstance(error, SourceError):
                raise
            raise UnreadableSource(
                f'{self.name}: the bag cannot be read ({error}): a recording that was cut short '
                f'can be mended with ros2 bag reindex {self.name}'
            ) from error


def load_rosbags() -> tuple[Any, tuple[type[Exception], ...]]:
    """The rosbag2 module of `rosbags`, and what it raises on bags that it cannot read."""
    try:
        from rosbags import rosbag2
    except ImportError as error:
        raise SourceError(
            f'reading a rosbag2 needs the Python library rosbags ({error}): pip install rosbags'
        ) from error
    return rosbag2, (rosbag2.ReaderError, database_error(), *BAG_FAULTS)


def database_error() -> type[Exception]:
    """What the library's SQLite raises: newer ones bring their own, by the module apsw."""
    try:
        import apsw
    except ImportError:
        return sqlite3.Error
    return apsw.Error


def storage_of(path: Path) -> Path:
    """What to open: the folder, or the only storage file of one that has lost its metadata."""
    files = bag_files(path) if path.is_dir() else []
    if not files or (path / 'metadata.yaml').is_file():
        return path
    if len(files) > 1:
        raise UnreadableSource(
            f'{path}: metadata.yaml is missing, and there are several storage files '
            f'({", ".join(file.name for file in files)}): run ros2 bag reindex {path}, or give one '
            'of them'
        )
    return files[0]


def bag_files(folder: Path) -> list[Path]:
    """The storage files of a rosbag2 folder."""
    return sorted(path for path in folder.iterdir() if path.suffix in BAG_SUFFIXES)


def choose_topic(path: Path, topics: dict[str, str], wanted: str) -> str:
    """The image topic to read: the wanted one, else the only one of the bag's topics and types.

    An image topic and its `/compressed` sibling are one camera: the former is taken.
    Raises UnclearTopic, which lists what there is.
    """
    images = sorted(name for name, kind in topics.items() if kind in (IMAGE, COMPRESSED_IMAGE))
    listed = ', '.join(f'{name} ({kind})' for name, kind in sorted(topics.items())) or 'none at all'
    if wanted:
        wanted = '/' + wanted.lstrip('/')
        if wanted in images:
            return wanted
        raise UnclearTopic(
            f'{path}: there are no images on topic {wanted}; its topics are: {listed}'
        )
    if not images:
        raise UnclearTopic(
            f'{path}: the bag has no images: record an Image or CompressedImage topic; '
            f'its topics are: {listed}'
        )
    cameras = {image_topic(name) for name in images}
    if len(cameras) > 1:
        raise UnclearTopic(
            f'{path}: the bag has images on several topics: name one in the parameter topic: '
            f'{", ".join(images)}'
        )
    return next((name for name in images if name in cameras), images[0])


def image_topic(topic: str) -> str:
    """The topic of the raw images that belong to a raw or compressed one."""
    return topic[: -len(COMPRESSED_ENDING)] if topic.endswith(COMPRESSED_ENDING) else topic


def camera_info_topic(topic: str) -> str:
    """Where image_transport expects the CameraInfo of an image topic: beside it."""
    return image_topic(topic).rpartition('/')[0] + '/camera_info'


def stamp_of(message: Any) -> int:
    """The header's stamp in nanoseconds."""
    return int(message.header.stamp.sec) * NANOSECONDS + int(message.header.stamp.nanosec)
