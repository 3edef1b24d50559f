"""Storage files of a bag in general; .db3 files of rosbag2, also damaged ones.

SQLite aborts a query at the first missing page. So rows are found by their ids and fetched one by
one: only those on damaged pages are lost.
"""

from __future__ import annotations

import abc
import array
import bz2
import contextlib
import importlib
import sqlite3
import urllib.parse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midas_depth_ros.images.errors import UnreadableSource
from midas_depth_ros.options.files import check_file, open_file
from midas_depth_ros.options.text import printable, shown

# --- What the three formats have in common: files may be cut anywhere, as where a robot lost power.

MOST_BYTES = 256 << 20  # of an unpacked chunk, and of a message: two of the largest pictures
PIECE_BYTES = 1 << 16
MOST_REPORTED = 4  # kinds of damage; a broken disk has many


class Recorded(NamedTuple):
    """One message. time_ns: when it was received. data: CDR with its four-byte header."""

    topic: str
    kind: str
    time_ns: int
    data: bytes


class Storage(abc.ABC):
    """A file of a bag. topics: name -> type. counts: name -> number of known messages.

    damage: texts, complete once all messages have been read. foreign: topic -> type and encoding of
    messages that ROS cannot read. notes: other texts to report.
    """

    name: str  # of the format, as rosbag2 calls it

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.damage: list[str] = []
        self.foreign: dict[str, str] = {}
        self.notes: list[str] = []
        self.unreported = 0  # number of further kinds of damage

    @abc.abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """Yield the intact messages of these topics in the order of time."""

    def note_damage(self, text: str) -> None:
        """Add a text to `damage`, each once."""
        line = printable(text, 300)
        if line not in self.damage and len(self.damage) < MOST_REPORTED:
            self.damage.append(line)
        elif line not in self.damage:
            self.unreported += 1

    def add_topic(self, topic: str, kind: str, count: int = 0) -> None:
        """Add a topic, or `count` more messages of it."""
        self.topics[topic] = kind
        self.counts[topic] = self.counts.get(topic, 0) + count


def unpacked(data: bytes, compression: str, most: int = MOST_BYTES) -> tuple[bytes, str]:
    """Unpack data compressed by zstd, lz4, bz2 or not at all; returns it and a fault, '' = none.

    Of damaged data as much as possible of the beginning is returned; never more than `most` bytes.
    """
    if compression in ('', 'none'):
        return data, ''
    make = DECOMPRESSORS.get(compression)
    if make is None:
        return b'', f'it has the unknown compression {shown(compression)}'
    found = bytearray()
    try:
        while data:  # one frame after the other
            frame = make()
            data = _unpack_frame(frame, data, found, most)
            if len(found) > most:
                return bytes(found[:most]), f'it unpacks to more than {most} bytes'
            if not frame.eof:
                return bytes(found), 'it ends too early'
    except unpack_faults() as error:
        return bytes(found), f'it cannot be unpacked: {error}'
    return bytes(found), ''


def _unpack_frame(frame: Any, data: bytes, found: bytearray, most: int) -> bytes:
    """Append the content of a frame to `found`; returns the bytes that follow it."""
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        found += frame.decompress(piece, most + 1 - len(found))
        while len(found) <= most and not frame.eof and not frame.needs_input:
            found += frame.decompress(b'', most + 1 - len(found))
        if frame.eof:
            return bytes(frame.unused_data or b'') + data[start + PIECE_BYTES :]
        if len(found) > most:
            break
    return b''


def unpack_faults() -> tuple[type[Exception], ...]:
    """Return what the libraries raise on damaged bytes, and on a missing library."""
    known = RuntimeError, OSError, ValueError, EOFError, MemoryError, ImportError
    try:
        return *known, _zstd_library().ZstdError
    except ImportError:
        return known


def _zstd_library() -> Any:
    try:
        return importlib.import_module('compression.zstd')  # of Python 3.14
    except ImportError:
        return importlib.import_module('backports.zstd')  # comes with rosbags


DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': lambda: _zstd_library().ZstdDecompressor(),
    'lz4': lambda: importlib.import_module('lz4.frame').LZ4FrameDecompressor(),  # with rosbags
    'bz2': bz2.BZ2Decompressor,
}


# --- Files of SQLite.

MAGIC = b'SQLite format 3\0'
FORMAT, CDR = 'serialization_format', 'cdr'
LONGEST_GAP = 5000  # ids that are tried behind a damaged page
ROWS = 'SELECT id, topic_id, timestamp FROM messages WHERE id > ? ORDER BY id'
ROW = 'SELECT id, topic_id, timestamp FROM messages WHERE id = ?'
DATA = 'SELECT data FROM messages WHERE id = ? AND length(data) <= ?'


class SqliteStorage(Storage):
    """A database with the tables `topics` and `messages`, in any version of rosbag2."""

    name = 'sqlite3'

    def __init__(self, path: Path) -> None:
        """Raises UnreadableSource and UnreadableFile."""
        super().__init__(path)
        self._size = check_file(path)
        self._page_bytes, pages = _layout(path)
        promised = self._page_bytes * pages
        self._topics: dict[int, tuple[str, str]] = {}
        self._salvaged: list[tuple[int, int, int]] | None = None  # number, topic, time; in order
        with self._open() as connection:
            try:
                self._read_topics(connection)
            except sqlite3.Error as error:
                raise UnreadableSource(f'{path}: its topics cannot be read: {error}') from error
            try:
                if promised > self._size:
                    raise sqlite3.DatabaseError(
                        f'it is cut short: {promised} bytes were written, {self._size} are there'
                    )
                counts = connection.execute(
                    'SELECT topic_id, count(*) FROM messages GROUP BY topic_id'
                ).fetchall()
            except sqlite3.Error as error:
                counts = self._salvage(connection, error)
            for number, count in counts:
                if number in self._topics:
                    self.add_topic(*self._topics[number], int(count))
        self._check_log()

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """Yield the intact messages of these topics in the order of time."""
        wanted = {number for number, (topic, _) in self._topics.items() if topic in topics}
        lost = 0
        with self._open() as connection:
            for number in self._numbers(connection, wanted):
                recorded = self._fetch(connection, number)
                if recorded is None:
                    lost += 1
                else:
                    yield recorded
        if lost:
            self.note_damage(f'{lost} of its messages lie on damaged pages')

    def _numbers(self, connection: sqlite3.Connection, wanted: set[int]) -> Collection[int]:
        """Return the ids of the rows to fetch, in the order of time."""
        if self._salvaged is None:
            marks = ','.join('?' * len(wanted))
            query = f'SELECT id FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp, id'
            try:
                return array.array('q', (row[0] for row in connection.execute(query, [*wanted])))
            except (sqlite3.Error, TypeError, OverflowError) as error:
                self._salvage(connection, error)
        assert self._salvaged is not None
        return [number for number, topic, _ in self._salvaged if topic in wanted]

    def _fetch(self, connection: sqlite3.Connection, number: int) -> Recorded | None:
        with contextlib.suppress(sqlite3.Error, MemoryError):
            row = connection.execute(ROW, (number,)).fetchone()
            data = connection.execute(DATA, (number, MOST_BYTES)).fetchone()
            if _is_row(row) and data is not None and isinstance(data[0], bytes):
                topic, kind = self._topics[row[1]]
                return Recorded(topic, kind, row[2], data[0])
        return None

    def _read_topics(self, connection: sqlite3.Connection) -> None:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"
        ).fetchall()
        # A view of that name could be an endless query.
        if not {('topics',), ('messages',)} <= set(tables):
            raise sqlite3.DatabaseError('it has no tables topics and messages')
        columns = [row[1] for row in connection.execute('PRAGMA table_info(topics)')]
        form = FORMAT if FORMAT in columns else f"'{CDR}'"
        for number, topic, kind, encoding in connection.execute(
            f'SELECT id, name, type, {form} FROM topics'
        ):
            if isinstance(topic, str) and isinstance(kind, str):
                if encoding not in (CDR, '', None):
                    kind = self.foreign[topic] = f'{kind} as {shown(encoding)}'
                self._topics[number] = topic, kind
                self.add_topic(topic, kind)

    def _salvage(self, connection: sqlite3.Connection, error: Exception) -> list[tuple[int, int]]:
        """Find the readable rows; returns their number by topic."""
        self.note_damage(str(error))
        rows = [row for row in _walk(connection) if row[1] in self._topics]
        rows = rows[: len(rows) - self._half_written(connection, rows)]
        self._salvaged = sorted(rows, key=lambda row: (row[2], row[0]))
        counts = dict.fromkeys(self._topics, 0)
        for _, topic, _ in rows:
            counts[topic] += 1
        return list(counts.items())

    def _half_written(
        self, connection: sqlite3.Connection, rows: list[tuple[int, int, int]]
    ) -> int:
        """Return how many rows at the end are incomplete.

        SQLite reads zeros for the missing part of the last page. It holds the end of the last row,
        since rows are only appended to a recording, and their pages to its file.
        """
        if self._size % self._page_bytes == 0:
            return 0
        for count, (number, _, _) in enumerate(reversed(rows)):
            recorded = self._fetch(connection, number)
            if recorded is not None:
                return count + (not recorded.data or recorded.data[-1] == 0)
        return len(rows)

    def _check_log(self) -> None:
        """Report messages in a log beside the file, which is merged when the file is closed."""
        log = self.path.with_name(self.path.name + '-wal')
        with contextlib.suppress(OSError):
            if log.stat().st_size:
                self.note_damage(
                    f'{log.name} was never merged and is not read: merge it with sqlite3 '
                    f'{self.path.name} "PRAGMA wal_checkpoint(TRUNCATE)"'
                )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        address = f'file:{urllib.parse.quote(str(self.path.absolute()))}?immutable=1'
        try:
            # Another thread may close the reader; it does nothing else with it.
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise UnreadableSource(f'{self.path}: it cannot be opened: {error}') from error
        with contextlib.closing(connection):
            connection.text_factory = lambda data: data.decode('utf-8', 'replace')
            try:
                # Needed to open a file that is shorter than its first page says.
                for setting in ('writable_schema = ON', 'trusted_schema = OFF', 'query_only = ON'):
                    connection.execute(f'PRAGMA {setting}')
            except sqlite3.Error as error:
                raise UnreadableSource(f'{self.path}: it cannot be read: {error}') from error
            yield connection


def _layout(path: Path) -> tuple[int, int]:
    """Return page size and number of pages by the header (sqlite.org/fileformat.html)."""
    with open_file(path) as file:
        head = file.read(100)
    size = int.from_bytes(head[16:18], 'big')
    is_known = len(head) == 100 and head[24:28] == head[92:96]
    pages = int.from_bytes(head[28:32], 'big') if is_known else 0
    return (65_536 if size == 1 else size or 1), pages


def _walk(connection: sqlite3.Connection) -> Iterator[tuple[int, int, int]]:
    """Yield id, topic and time of every readable row."""
    number, missing = -1, 0
    while missing <= LONGEST_GAP:
        with contextlib.suppress(sqlite3.Error):
            for row in connection.execute(ROWS, (number,)):
                if _is_row(row):
                    yield row
                number, missing = row[0], 0
            return  # to the end without an error
        while missing <= LONGEST_GAP:
            number, missing = number + 1, missing + 1
            with contextlib.suppress(sqlite3.Error, OverflowError):
                row = connection.execute(ROW, (number,)).fetchone()
                if row is not None:
                    if _is_row(row):
                        yield row
                    missing = 0
                    break


def _is_row(row: Any) -> bool:
    return row is not None and all(isinstance(value, int) for value in row)
