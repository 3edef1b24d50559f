"""Writes messages of the node into a rosbag2; equal messages make equal bytes.

Written by the library `rosbags`. A message is serialised by ROS and again by that library: between
aligned fields the middleware leaves random memory, the library writes zeros.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from rclpy.qos import QoSProfile
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
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    Reader,
    ReaderError,
    StoragePlugin,
    Writer,
)
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import Range

from midas_depth_ros.images.sources.sqlite_bag import unpack_faults
from midas_depth_ros.nodes.bag.pipeline import OfflinePublisher
from midas_depth_ros.nodes.ros.quality_of_service import type_name

STORAGES: Final = {'sqlite3': StoragePlugin.SQLITE3, 'mcap': StoragePlugin.MCAP}
FILE_NAME: Final = 'midas_depth'
LEAST_ROOM: Final = 1 << 20  # bytes; a disk with less counts as full
# What the library raises for a damaged bag.
READ_FAULTS: Final[tuple[type[Exception], ...]] = (
    *(ReaderError, AssertionError, LookupError, struct.error),
    *unpack_faults(),
)
FOREVER: Final = QosTime(9_223_372_036, 854_775_807)  # as rosbag2 writes an endless duration


def ros_types() -> tuple[Typestore, Literal[8, 9]]:
    """The message types of this ROS distribution, and the newest rosbag2 version that it reads."""
    # Range has a variance since Iron; Jazzy and later read version 9.
    if 'variance' in Range.get_fields_and_field_types():
        return get_typestore(Stores.ROS2_JAZZY), 9
    return get_typestore(Stores.ROS2_HUMBLE), 8


def offered(profile: QoSProfile) -> Qos:
    """A publisher's quality of service in the format of bag metadata."""
    return Qos(
        QosHistory(profile.history.value),
        profile.depth,
        QosReliability(profile.reliability.value),
        QosDurability(profile.durability.value),
        FOREVER,
        FOREVER,
        QosLiveliness(profile.liveliness.value or QosLiveliness.AUTOMATIC.value),
        FOREVER,
        profile.avoid_ros_namespace_conventions,
    )


class BagWriter:
    """A bag that is being written."""

    def __init__(
        self, writer: Writer, store: Typestore, topics: Mapping[str, OfflinePublisher]
    ) -> None:
        self._writer = writer
        self._store = store
        self._connections: dict[str, Connection] = {
            topic: writer.add_connection(
                topic,
                type_name(publisher.kind),
                typestore=store,
                offered_qos_profiles=[offered(publisher.profile)],
            )
            for topic, publisher in topics.items()
        }
        self.counts = dict.fromkeys(topics, 0)

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Append a message that was received at `time_ns`."""
        connection = self._connections[topic]
        self._writer.write(connection, time_ns, canonical(self._store, message))
        self.counts[topic] += 1


def canonical(store: Typestore, message: Any) -> bytes:
    """A ROS message as CDR in which every byte is determined by its values."""
    kind = type_name(type(message))
    return bytes(store.serialize_cdr(store.deserialize_cdr(serialize_message(message), kind), kind))


@contextlib.contextmanager
def bag_writer(
    folder: Path,
    storage: str,
    topics: Mapping[str, OfflinePublisher],
    about: Mapping[str, str],
    compression: str = 'zstd',
) -> Iterator[BagWriter]:
    """A new rosbag2 with the topics of these publishers in `folder`, which must not exist.

    storage: 'sqlite3' or 'mcap'. about: the metadata's custom_data. compression: of MCAP chunks,
    'zstd', 'lz4' or 'none'. The files are named FILE_NAME and read back for verification. Raises
    OSError.
    """
    store, version = ros_types()
    # The library names files after the folder: a fixed name, so that equal bags have equal bytes.
    inner = folder / FILE_NAME
    if storage == 'sqlite3' and set(str(inner.absolute())) & set('?#%'):
        # The library would parse it as part of an URI, and write elsewhere.
        raise OSError(errno.EINVAL, 'no sqlite3 where ?, # or % is in the path: --storage mcap')
    try:
        made_writer = Writer(inner, version=version, storage_plugin=STORAGES[storage])
        if storage == 'mcap' and compression == 'zstd':
            made_writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with made_writer as writer:
            if storage == 'mcap' and compression == 'lz4':
                _compress_by_lz4(writer)
            for key, value in about.items():
                writer.set_custom_data(key, value)
            made = BagWriter(writer, store, topics)
            yield made
        check(inner, made.counts)
    except sqlite3.Error as error:
        raise _reason(folder, error) from error


def _compress_by_lz4(writer: Writer) -> None:
    """Compress chunks by lz4, for which the library has no option. Raises OSError."""
    chunks: Any = writer.storage
    if not hasattr(chunks, 'compressor') or not hasattr(chunks, 'compression'):
        raise OSError(errno.ENOTSUP, 'this version of rosbags writes no lz4: --compression zstd')
    compress = importlib.import_module('lz4.frame').compress  # comes with rosbags
    chunks.compression, chunks.compressor = 'lz4', compress


def check(path: Path, counts: Mapping[str, int]) -> None:
    """Read a bag and raise OSError unless it has these numbers of messages by topic."""
    found = dict.fromkeys(counts, 0)
    try:
        with Reader(path) as reader:
            for connection, _, _ in reader.messages():
                found[connection.topic] += 1
    except READ_FAULTS as error:
        raise OSError(errno.EIO, f'it cannot be read back: {error}') from error
    if found != counts:
        lost = sum(counts.values()) - sum(found.values())
        raise OSError(errno.EIO, f'{lost} of its messages cannot be read back')


def _reason(folder: Path, error: sqlite3.Error) -> OSError:
    """The OSError behind an error of SQLite, which has one text for a full disk and database."""
    disk = os.statvfs(folder)
    if 'full' in str(error) or disk.f_bfree * disk.f_frsize < LEAST_ROOM:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(errno.EIO, str(error))
