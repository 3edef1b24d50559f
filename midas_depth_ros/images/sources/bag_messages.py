"""The recorded messages of a bag: serialised, in order, with the time of receipt.

Reads rosbag2 (folders and single .db3 and .mcap files, compressed or not) and ROS 1 bags, whose
messages are converted to ROS 2. All intact messages of a damaged bag are read; then an error says
what was lost.
"""

from __future__ import annotations

import contextlib
import os
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


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return what the metadata of a rosbag2 says, `relative_file_paths` among it.

    Raises UnreadableFile where it is missing or damaged.
    """
    text = read_text(folder / METADATA, METADATA_BYTES)
    try:
        about = parse_yaml(text)['rosbag2_bagfile_information']
        if not all(isinstance(each, str) and each for each in about['relative_file_paths']):
            raise TypeError('relative_file_paths are not file names')
        return dict(about)
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableFile(str(error)) from error


def strangers_in(folder: Path) -> list[str]:
    """Return the names in the folder of a rosbag2 that do not belong to it, sorted.

    Raises UnreadableFile as `read_metadata`.
    """
    own = {METADATA}
    for each in read_metadata(folder)['relative_file_paths']:
        name = PurePath(each).name
        own |= {name, f'{name}-shm', f'{name}-wal', f'{name}{PACKED_SUFFIX}'}
    return sorted(each.name for each in folder.iterdir() if each.name not in own)


class NotRepairable(UnreadableSource):
    """The file has nothing that could be repaired."""


class BagMessages:
    """A bag. topics: name -> type. counts: name -> number of messages.

    storage: 'sqlite3', 'mcap', or 'ros1'. paths: the files that it is read from. Raises SourceError
    if nothing can be read.
    """

    def __init__(self, path: Path) -> None:
        if not is_there(path):
            raise SourceNotFound(f'{path}: there is no such bag')
        is_file = path.suffix == ROS1_SUFFIX or is_bag_file(path)
        if not (is_bag_folder(path) if is_folder(path) else is_file):
            raise UnknownSource(
                f'{path} is not a bag: name a rosbag2 folder, a .db3 or .mcap file, or a .bag file '
                'of ROS 1'
            )
        self.path = path
        self.paths: list[Path] = []
        self._damage: list[str] = []
        try:
            self._files = self._open_all()
        except NotRepairable:
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
                f'{path}: its messages are not ROS messages: {listed}: give a recording whose '
                'messages are encoded as cdr (ROS 2) or ros1'
            )
        if not self.topics and self.damage:
            raise UnreadableSource(f'{path}: {self.damage}; {self._remedy()}')

    @property
    def folders(self) -> list[Path]:
        """The folders of recordings that its files belong to, also those that links lead to."""
        places = [
            Path(place).parent for each in self.paths for place in (each, os.path.realpath(each))
        ]
        found = [self.path] if is_folder(self.path) else []
        return [*found, *(each for each in dict.fromkeys(places) if is_there(each / METADATA))]

    @property
    def notes(self) -> list[str]:
        """What to report of a bag that is not damaged."""
        return [printable(note) for file in self._files for note in file.notes]

    @property
    def damage(self) -> str:
        """The damage found so far; complete once all messages have been read."""
        found = [*self._damage]
        for file in self._files:
            found += [f'{file.path.name}: {text}' for text in file.damage]
            found += [f'and {file.unreported} more'] if file.unreported else []
        return '; '.join(found)

    def read(self, topics: Collection[str]) -> Generator[Recorded, None, None]:
        """Yield the messages of these topics in the order of recording.

        Raises UnreadableSource for a damaged bag, after all its intact messages.
        """
        found = 0
        for recorded in self._messages(topics):
            found += 1
            yield recorded
        stated = sum(count for topic, count in self.counts.items() if topic in topics)
        damage = self.damage
        if not damage and found < stated:
            damage = f'it should have {stated} messages of these topics'
        if damage:
            raise UnreadableSource(
                f'{self.path}: the bag is damaged ({damage}): {found} messages could be read; '
                f'{self._remedy()}'
            )

    def first(self, topic: str) -> Recorded | None:
        """Return the first message of a topic, None if there is none."""
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
        self.paths.append(self.path / METADATA)
        about = self._metadata()
        if about is None:
            paths = files_without_metadata(self.path)
        else:
            # By their names alone, each once: a bag cannot name files outside its folder.
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
        """Read the folder's metadata; None where it is missing or damaged."""
        if not is_there(self.path / METADATA):
            return None
        try:
            return read_metadata(self.path)
        except UnreadableFile as error:
            self._note(f'{METADATA} is damaged: {error}')
        return None

    def _compare(self, about: dict[str, Any] | None, files: list[Storage]) -> None:
        stated = about.get('message_count') if about else None
        found = sum(sum(file.counts.values()) for file in files)
        if isinstance(stated, int) and stated > found and not any(file.damage for file in files):
            self._note(f'{METADATA} lists {stated} messages, of which {found} exist')

    def _opened(self, path: Path) -> Storage:
        """Open one file of the bag. Raises UnreadableSource."""
        self.paths.append(path)
        try:
            if check_file(path) == 0:
                raise NotRepairable(f'{path}: the file is empty: nothing was recorded into it')
            if path.suffix == PACKED_SUFFIX:
                path = self._unpack(path)
            with open_file(path) as file:
                magic = file.read(len(SQLITE_MAGIC))
            if magic.startswith(Ros1Storage.MAGIC) or path.suffix == ROS1_SUFFIX:
                return Ros1Storage(path)
            if magic.startswith(McapStorage.MAGIC):
                return McapStorage(path)
            if path.suffix == '.mcap' and magic != SQLITE_MAGIC:
                raise NotRepairable(
                    f'{path}: it begins with {shown(magic)}, which is not an MCAP file: give a '
                    'recording'
                )
            return SqliteStorage(path)
        except UnreadableFile as error:
            raise UnreadableSource(f'{path}: {error}') from error

    def _unpack(self, path: Path) -> Path:
        """Unpack a compressed file into a temporary folder, which is removed with this object."""
        folder = tempfile.mkdtemp(prefix='midas_depth_bag_')
        weakref.finalize(self, shutil.rmtree, folder, True)
        target = Path(folder) / path.stem
        left = UNPACKED_BYTES + UNPACKED_RATIO * check_file(path)
        try:
            with open_file(path) as packed, target.open('wb') as plain:
                for piece in unpacked_pieces(packed, self._note):
                    left -= len(piece)
                    if left < 0:
                        self._note(f'{path.name}: it unpacks to more than the limit')
                        break
                    plain.write(piece)
        except OSError as error:
            raise UnreadableSource(
                f'{path}: it cannot be unpacked into {folder}: {error.strerror}: set TMPDIR to a '
                'folder with more room'
            ) from error
        return target


def unpacked_pieces(packed: BinaryIO, note: Callable[[str], None]) -> Iterator[bytes]:
    """Unpack a zstd file piece by piece, up to where it is damaged."""
    frame = DECOMPRESSORS['zstd']()
    while piece := packed.read(PIECE_BYTES):
        while piece or not (frame.eof or frame.needs_input):
            if frame.eof:
                frame = DECOMPRESSORS['zstd']()
            try:
                yield frame.decompress(piece, PIECE_BYTES)
            except unpack_faults() as error:
                note(f'it cannot be unpacked completely: {error}')
                return
            piece = frame.unused_data if frame.eof else b''
    if not frame.eof:
        note('it is cut short')


def is_bag_folder(folder: Path) -> bool:
    """Whether a folder is a rosbag2, with or without metadata."""
    return is_there(folder / METADATA) or bool(bag_files(folder))


def is_bag_file(path: Path) -> bool:
    """Whether a file has the name of a rosbag2 storage file."""
    return path.name.removesuffix(PACKED_SUFFIX).endswith(BAG_SUFFIXES)


def bag_files(folder: Path) -> list[Path]:
    """Return the storage files of a rosbag2 folder."""
    try:
        return sorted(path for path in folder.iterdir() if is_bag_file(path))
    except OSError as error:
        raise UnreadableSource(f'{folder}: the folder cannot be read: {error.strerror}') from error


def files_without_metadata(folder: Path) -> list[Path]:
    """Return the storage files of a folder without metadata: one, or numbered parts.

    Raises UnreadableSource where it is unclear which files belong together.
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
