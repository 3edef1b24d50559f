"""Messages of the node into a rosbag2, so that the same messages make the same bytes.

Written by the library `rosbags`. A message is serialised by ROS and once more by that library: the
middleware leaves whatever the memory held between two aligned fields, the library zeros.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import Range

from midas_depth_ros.nodes.quality_of_service import OUTPUT

STORAGES: Final = {'sqlite3': StoragePlugin.SQLITE3, 'mcap': StoragePlugin.MCAP}
FILE_NAME: Final = 'midas_depth'
FOREVER: Final = QosTime(9_223_372_036, 854_775_807)  # as rosbag2 writes an endless duration
# As the node publishes.
OFFERED: Final = Qos(
    QosHistory.KEEP_LAST,
    OUTPUT.depth,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    FOREVER,
    FOREVER,
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)


def ros_types() -> tuple[Typestore, Literal[8, 9]]:
    """The message types of the ROS that runs here, and the version of rosbag2 that it reads.

    Of the types that the node publishes one has changed: Range has a variance since Iron. The
    metadata of version 9 is read from Jazzy on.
    """
    if 'variance' in Range.get_fields_and_field_types():
        return get_typestore(Stores.ROS2_JAZZY), 9
    return get_typestore(Stores.ROS2_HUMBLE), 8


def type_name(kind: type) -> str:
    """The name of a message class: sensor_msgs/msg/Image."""
    package, interface, *_ = kind.__module__.split('.')
    return f'{package}/{interface}/{kind.__name__}'


class BagWriter:
    """The topics of a bag that is being written."""

    def __init__(self, writer: Writer, store: Typestore, topics: Mapping[str, type]) -> None:
        self._writer = writer
        self._store = store
        self._connections: dict[str, Connection] = {
            topic: writer.add_connection(
                topic, type_name(kind), typestore=store, offered_qos_profiles=[OFFERED]
            )
            for topic, kind in topics.items()
        }
        self.counts = dict.fromkeys(topics, 0)

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Append a message that was received at `time_ns`."""
        connection = self._connections[topic]
        self._writer.write(connection, time_ns, canonical(self._store, message))
        self.counts[topic] += 1


def canonical(store: Typestore, message: Any) -> bytes:
    """A ROS message as CDR whose every byte follows from its values."""
    kind = type_name(type(message))
    return bytes(store.serialize_cdr(store.deserialize_cdr(serialize_message(message), kind), kind))


@contextlib.contextmanager
def bag_writer(
    path: Path, storage: str, topics: Mapping[str, type], about: Mapping[str, str]
) -> Iterator[BagWriter]:
    """A new rosbag2 folder `path` with these topics and types; it gets its name when it is whole.

    storage: 'sqlite3' or 'mcap'. about: goes into the metadata's custom_data. What is at `path`
    already is replaced. Raises OSError.
    """
    store, version = ros_types()
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        # The library names the bag's file after its folder: a name of its own, so that the bytes
        # do not depend on where the bag is put.
        part = folder / FILE_NAME
        with Writer(part, version=version, storage_plugin=STORAGES[storage]) as writer:
            for key, value in about.items():
                writer.set_custom_data(key, value)
            yield BagWriter(writer, store, topics)
        if path.exists():
            path.rename(folder / 'old')
        part.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
