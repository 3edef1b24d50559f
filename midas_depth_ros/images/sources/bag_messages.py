"""The messages of a bag as they were recorded: serialised, in order, with the time of receipt.

Reads rosbag2 (folders and single .db3 and .mcap files, compressed or not) and bags of ROS 1. What
was recorded by ROS 1 comes out as ROS 2 would have serialised it. Of a damaged bag all comes that
is whole; then it is said what was lost.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from midas_depth_ros.images.errors import SourceNotFound, UnknownSource, UnreadableSource
from midas_depth_ros.images.sources.chunked_bags import (
    UNPACKED_BYTES,
    UNPACKED_RATIO,
    McapStorage,
    Ros1Storage,
)
from midas_depth_ros.images.sources.sqlite_bag import (
    DECOMPRESSORS,
    MOST_BYTES,
    Recorded,
    SqliteStorage,
    Storage,
    unpack_faults,
    unpacked,
)
from midas_depth_ros.images.sources.sqlite_bag import MAGIC as SQLITE_MAGIC
from midas_depth_ros.options.files import (
    UnreadableFile,
    check_file,
    is_folder,
    is_there,
    open_file,
    parse_yaml,
    read_text,
)
from midas_depth_ros.options.text import printable, shown

BAG_SUFFIXES = ('.db3', '.mcap')
PACKED_SUFFIX = '.zstd'
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'  # of a message, where each is compressed by itself
ROS1_SUFFIX = '.bag'
METADATA = 'metadata.yaml'
METADATA_BYTES = 64 << 20
PIECE_BYTES = 1 << 20


class NothingRecorded(UnreadableSource):
    """There is nothing in a file that could be mended."""


class BagMessages:
    """A bag. topics: name -> type. counts: name -> number of messages.

    storage: 'sqlite3', 'mcap', or 'ros1'. Raises SourceError where nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        if not is_there(path):
            raise SourceNotFound(f'{path}: there is no such bag')
        if not is_bag(path):
            raise UnknownSource(
                f'{path}: this is not a bag: name a rosbag2 folder, a .db3 or .mcap file, or a '
                '.bag file of ROS 1'
            )
        self.path = path
        self._damage: list[str] = []
        try:
            self._files = self._open_all()
        except NothingRecorded:
            raise
        except UnreadableSource as error:
            raise UnreadableSource(f'{error}; {self._remedy()}') from error
        self.storage = self._files[0].name if self._files else 'mcap'
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        for file in self._files:
            self.topics.update(file.topics)
            for topic, count in file.counts.items():
                self.counts[topic] = self.counts.get(topic, 0) + count
        foreign = {topic: kind for file in self._files for topic, kind in file.foreign.items()}
        if foreign and not set(self.topics) - set(foreign):
            listed = ', '.join(f'{topic} ({kind})' for topic, kind in sorted(foreign.items())[:5])
            raise UnreadableSource(
                f'{path}: its messages are not of ROS: {listed}: give a recording whose messages '
                'are encoded as cdr (ROS 2) or ros1'
            )
        if not self.topics and self.damage:
            raise UnreadableSource(f'{path}: {self.damage}; {self._remedy()}')

    @property
    def notes(self) -> list[str]:
        """What has to be said of a bag that is sound."""
        return [printable(note) for file in self._files for note in file.notes]

    @property
    def damage(self) -> str:
        """What is known to be damaged; all of it, when all messages have been read."""
        said = [*self._damage]
        for file in self._files:
            said += [f'{file.path.name}: {text}' for text in file.damage]
            said += [f'and {file.unsaid} more'] if file.unsaid else []
        return '; '.join(said)

    def read(self, topics: Collection[str]) -> Generator[Recorded, None, None]:
        """The messages of these topics in the order of recording.

        Raises UnreadableSource where the bag is damaged, after all that is whole.
        """
        found = 0
        for recorded in self._messages(topics):
            found += 1
            yield recorded
        told = sum(count for topic, count in self.counts.items() if topic in topics)
        damage = self.damage
        if not damage and found < told:
            damage = f'it says to have {told} messages of these topics'
        if damage:
            raise UnreadableSource(
                f'{self.path}: the bag is damaged ({damage}): {found} messages could be read; '
                f'{self._remedy()}'
            )

    def first(self, topic: str) -> Recorded | None:
        """The first message of a topic."""
        if not self.counts.get(topic):
            return None
        with contextlib.closing(self._messages([topic])) as messages:
            return next(messages, None)

    def _messages(self, topics: Collection[str]) -> Generator[Recorded, None, None]:
        for file in self._files:
            for recorded in file.messages(topics):
                if not recorded.data.startswith(ZSTD_MAGIC):  # CDR begins with a zero
                    yield recorded
                    continue
                data, fault = unpacked(recorded.data, 'zstd', MOST_BYTES)
                if fault:
                    self._note(f'a message of {recorded.topic}: {fault}')
                else:
                    yield recorded._replace(data=data)

    def _note(self, text: str) -> None:
        if text not in self._damage and len(self._damage) < 4:
            self._damage.append(printable(text, 300))

    def _remedy(self) -> str:
        command = 'rosbag reindex' if self.path.suffix == ROS1_SUFFIX else 'ros2 bag reindex'
        return f'a recording that was cut short may be repaired with {command} {self.path}'

    def _open_all(self) -> list[Storage]:
        if not is_folder(self.path):
            return [self._opened(self.path)]
        about = self._metadata()
        if about is None:
            paths = files_without_metadata(self.path)
        else:
            # By their names alone, each once: a bag stays within its folder.
            names = dict.fromkeys(PurePath(each).name for each in about['relative_file_paths'])
            paths = [self.path / name for name in names]
        files, faults = [], []
        for path in paths:
            try:
                files.append(self._opened(path))
            except UnreadableSource as error:
                faults.append(str(error).removeprefix(f'{self.path}/'))
        if not files:
            raise UnreadableSource(f'{self.path}: {"; ".join(faults)}')
        for fault in faults:
            self._note(fault)
        self._compare(about, files)
        return files

    def _metadata(self) -> dict[str, Any] | None:
        """What the folder tells of itself; None where it does not, or where that is damaged."""
        path = self.path / METADATA
        if not is_there(path):
            return None
        try:
            about = parse_yaml(read_text(path, METADATA_BYTES))['rosbag2_bagfile_information']
            if not all(isinstance(each, str) and each for each in about['relative_file_paths']):
                raise TypeError('relative_file_paths are not file names')
            return dict(about)
        except (UnreadableFile, LookupError, TypeError, ValueError) as error:
            self._note(f'{METADATA} is damaged: {error}')
        return None

    def _compare(self, about: dict[str, Any] | None, files: list[Storage]) -> None:
        told = about.get('message_count') if about else None
        there = sum(sum(file.counts.values()) for file in files)
        if isinstance(told, int) and told > there and not any(file.damage for file in files):
            self._note(f'{METADATA} lists {told} messages, of which {there} exist')

    def _opened(self, path: Path) -> Storage:
        """One file of the bag. Raises UnreadableSource."""
        try:
            if check_file(path) == 0:
                raise NothingRecorded(f'{path}: the file is empty: nothing was recorded into it')
            if path.suffix == PACKED_SUFFIX:
                path = self._unpack(path)
            with open_file(path) as file:
                magic = file.read(len(SQLITE_MAGIC))
            if magic.startswith(Ros1Storage.MAGIC) or path.suffix == ROS1_SUFFIX:
                return Ros1Storage(path)
            if magic.startswith(McapStorage.MAGIC):
                return McapStorage(path)
            if path.suffix == '.mcap' and magic != SQLITE_MAGIC:
                raise NothingRecorded(
                    f'{path}: it does not begin as an MCAP file does, but with '
                    f'{shown(magic)}: give a recording'
                )
            return SqliteStorage(path)
        except UnreadableFile as error:
            raise UnreadableSource(f'{path}: {error}') from error

    def _unpack(self, path: Path) -> Path:
        """A compressed file, unpacked into a temporary folder for as long as we live."""
        folder = tempfile.mkdtemp(prefix='midas_depth_bag_')
        weakref.finalize(self, shutil.rmtree, folder, True)
        target = Path(folder) / path.stem
        left = UNPACKED_BYTES + UNPACKED_RATIO * check_file(path)
        try:
            with open_file(path) as packed, target.open('wb') as plain:
                for piece in unpacked_pieces(packed, self._note):
                    left -= len(piece)
                    if left < 0:
                        self._note(f'{path.name}: it unpacks to more than is allowed here')
                        break
                    plain.write(piece)
        except OSError as error:
            raise UnreadableSource(
                f'{path}: it cannot be unpacked into {folder}: {error.strerror}: set TMPDIR to a '
                'folder with more room'
            ) from error
        return target


def unpacked_pieces(packed: BinaryIO, note: Callable[[str], None]) -> Iterator[bytes]:
    """What a file packed by zstd holds, piece by piece, up to where it is damaged."""
    frame = DECOMPRESSORS['zstd']()
    while piece := packed.read(PIECE_BYTES):
        while piece or not (frame.eof or frame.needs_input):
            if frame.eof:
                frame = DECOMPRESSORS['zstd']()
            try:
                yield frame.decompress(piece, PIECE_BYTES)
            except unpack_faults() as error:
                note(f'it cannot be unpacked to its end: {error}')
                return
            piece = frame.unused_data if frame.eof else b''
    if not frame.eof:
        note('it is cut short')


def is_bag(path: Path) -> bool:
    """Whether a folder or a file is a bag, by its names."""
    if is_folder(path):
        return is_bag_folder(path)
    return path.suffix == ROS1_SUFFIX or is_bag_file(path)


def is_bag_folder(folder: Path) -> bool:
    """Whether a folder is a rosbag2, which may have lost its metadata."""
    return is_there(folder / METADATA) or bool(bag_files(folder))


def is_bag_file(path: Path) -> bool:
    """Whether a file calls itself one of rosbag2."""
    return path.name.removesuffix(PACKED_SUFFIX).endswith(BAG_SUFFIXES)


def bag_files(folder: Path) -> list[Path]:
    """The storage files of a rosbag2 folder."""
    try:
        return sorted(path for path in folder.iterdir() if is_bag_file(path))
    except OSError as error:
        raise UnreadableSource(f'{folder}: the folder cannot be read: {error.strerror}') from error


def files_without_metadata(folder: Path) -> list[Path]:
    """The storage files of a folder that has lost its metadata: one, or parts with numbers.

    Raises UnreadableSource where it is not clear what belongs together.
    """
    files = bag_files(folder)
    parts = [re.fullmatch(r'(.*_)(\d+)(\.[a-z0-9.]+)', file.name) for file in files]
    alike = {(part[1], part[3]) if part else None for part in parts}
    if len(files) > 1 and (None in alike or len(alike) > 1):
        raise UnreadableSource(
            f'{folder}: {METADATA} is missing, and there are several storage files '
            f'({", ".join(file.name for file in files)}): run ros2 bag reindex {folder}, or give '
            'one of them'
        )
    if not files:
        raise UnreadableSource(f'{folder}: {METADATA} is damaged, and there is no storage file')
    return sorted(files, key=lambda file: [int(n) for n in re.findall(r'_(\d+)\.', file.name)])
