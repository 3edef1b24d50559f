"""The messages of a bag as they were recorded: serialised, in order, with the time of receipt.

Reads rosbag2 (folders and single .db3 and .mcap files) and bags of ROS 1, by the library
`rosbags`. What was recorded by ROS 1 comes out as ROS 2 would have serialised it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midas_depth_ros.images.sources.bag import (
    bag_files,
    load_rosbags,
    storage_of,
)
from midas_depth_ros.images.sources.errors import (
    SourceError,
    SourceNotFound,
    UnknownSource,
    UnreadableSource,
)

ROS1_SUFFIX = '.bag'


class Recorded(NamedTuple):
    """One message. time_ns: when it was received. data: CDR, its four-byte head included."""

    topic: str
    kind: str
    time_ns: int
    data: bytes


class BagMessages:
    """A bag. topics: name -> type. counts: name -> number of messages.

    storage: 'sqlite3', 'mcap', or 'ros1'. Raises SourceError where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SourceNotFound(f'{path}: there is no such bag')
        self.path = path
        self.is_ros1 = path.is_file() and path.suffix == ROS1_SUFFIX
        if not self.is_ros1 and not _looks_like_rosbag2(path):
            raise UnknownSource(
                f'{path}: this is no bag: name a rosbag2 folder, a .db3 or .mcap file, or a .bag '
                'file of ROS 1'
            )
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        with self._opened() as reader:
            for each in reader.connections:
                self.topics[each.topic] = each.msgtype
                self.counts[each.topic] = self.counts.get(each.topic, 0) + each.msgcount
            self.storage = 'ros1' if self.is_ros1 else _storage(reader, self.path)

    def read(self, topics: Collection[str]) -> Generator[Recorded, None, None]:
        """The messages of these topics in the order of recording.

        Raises UnreadableSource where the bag turns out to be damaged, after what is before that.
        """
        with self._opened() as reader:
            wanted = [each for each in reader.connections if each.topic in topics]
            if not wanted:
                return  # the library would take that for all of them
            for connection, time_ns, data in reader.messages(wanted):
                kind = connection.msgtype
                recorded = bytes(self._as_cdr(data, kind))
                yield Recorded(connection.topic, kind, int(time_ns), recorded)

    def first(self, topic: str) -> Recorded | None:
        """The first message of a topic."""
        with contextlib.closing(self.read([topic])) as messages:
            return next(messages, None)

    def _as_cdr(self, data: Any, kind: str) -> Any:
        if not self.is_ros1:
            return data
        from rosbags.typesys import Stores, get_typestore

        # Images and CameraInfo are the same in both; Humble has the Range of ROS 1, too.
        store = get_typestore(Stores.ROS2_HUMBLE)
        if kind not in store.fielddefs:
            raise UnreadableSource(f'{self.path}: {kind} is no type that ROS 2 knows')
        return store.ros1_to_cdr(data, kind)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """The library's reader; what it complains of becomes UnreadableSource."""
        rosbag2, faults = load_rosbags()
        from rosbags import rosbag1
        from rosbags.serde import SerdeError

        complaints: tuple[type[Exception], ...] = (*faults, rosbag1.ReaderError, SerdeError)
        reads: Any = rosbag1.Reader if self.is_ros1 else rosbag2.Reader
        path = self.path if self.is_ros1 else storage_of(self.path)
        try:
            with reads(path) as reader:
                yield reader
        except complaints as error:
            if isinstance(error, SourceError):
                raise
            command = 'rosbag reindex' if self.is_ros1 else 'ros2 bag reindex'
            raise UnreadableSource(
                f'{self.path}: the bag cannot be read, or not to its end ({error}): a recording '
                f'that was cut short can be mended with {command} {self.path}'
            ) from error


def _looks_like_rosbag2(path: Path) -> bool:
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(bag_files(path))
    return path.suffix in ('.db3', '.mcap')


def _storage(reader: Any, path: Path) -> str:
    """How a rosbag2 is stored."""
    metadata = getattr(reader, 'metadata', None)
    named = metadata.get('storage_identifier') if isinstance(metadata, dict) else None
    if named in ('sqlite3', 'mcap'):
        return str(named)
    files = bag_files(path) if path.is_dir() else [path]
    return 'mcap' if any('.mcap' in file.suffixes for file in files) else 'sqlite3'
