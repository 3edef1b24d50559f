"""A rosbag2 as a source: the recorded image messages, each with the latest CameraInfo.

Messages are read by `bag_messages` and deserialised by the library `rosbags`, without ROS. Also
finds the cameras of a bag: image topics with their camera_info.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from midas_depth_ros.images.compressed import DEPTH, DEPTH_ENDING, Format
from midas_depth_ros.images.decode import BitDepth
from midas_depth_ros.images.errors import SourceError, UnclearTopic, UnreadableSource
from midas_depth_ros.images.message_bytes import TF_STATIC, stamp_ns
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.images.sources.pictures import Frame, Source, Warn
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.options.text import printable

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# What image_transport's plugins append to the topic of the raw images.
TRANSPORT_ENDINGS = (
    *('/compressed', '/compressedDepth', '/theora', '/ffmpeg', '/foxglove', '/zstd', '/zlib'),
    *('/avif', '/h264', '/h265', '/depthz', '/svtav1'),
)

# What the library raises on damaged bytes besides its own errors.
MESSAGE_FAULTS = (ValueError, IndexError, AssertionError, OverflowError, MemoryError, struct.error)


class Bag(Source):
    """The image messages of one topic of a rosbag2."""

    has_stamps = True

    def __init__(
        self, path: Path, topic: str, max_pixels: int, warn: Warn, bit_depth: int = 0
    ) -> None:
        self.name = str(path)
        self._max_pixels = max_pixels
        self._bit_depth = bit_depth
        self._warn = warn
        self._types = message_types()
        self._bag = BagMessages(path)
        left_out = () if topic else depth_topics(self._bag)
        self.topic = choose_topic(path, self._bag.topics, topic, left_out)
        self.length = self._bag.counts[self.topic]
        self._info_topic = info_topic_of(self.topic, self._bag.topics)
        self.has_camera_info = bool(self._info_topic)

    def __iter__(self) -> Iterator[Frame]:
        index, info = -1, self._first_camera_info()
        first_ns: int | None = None
        bit_depth = BitDepth(self._bit_depth)
        for kind, time_ns, message in self._messages():
            if kind == CAMERA_INFO:
                info = message
                continue
            index += 1
            first_ns = time_ns if first_ns is None else first_ns
            yield Frame(
                f'{self.name} {self.topic} message {index}',
                time_ns=max(0, time_ns - first_ns),
                stamp_ns=stamp_ns(message.header) or time_ns,
                frame_id=message.header.frame_id,
                message=message,
                camera_info=info,
                max_pixels=self._max_pixels,
                bit_depth=bit_depth,
            )
        if index < 0:
            raise UnreadableSource(
                f'{self.name}: no message of {self.topic} could be read: check it with ros2 bag '
                'info, and give a bag with images'
            )

    def _first_camera_info(self) -> Any:
        """Read it ahead, so that the first image has one, too."""
        first = self._bag.first(self._info_topic)
        with contextlib.suppress(*self._faults()):
            return None if first is None else self._types.deserialize_cdr(first.data, CAMERA_INFO)

    def _messages(self) -> Iterator[tuple[str, int, Any]]:
        """Yield type, time of recording in nanoseconds, and message."""
        skipped = 0
        for recorded in self._bag.read([self.topic, self._info_topic]):
            if recorded.kind not in (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO):
                continue  # another type on the same topic
            try:
                message = self._types.deserialize_cdr(recorded.data, recorded.kind)
            except self._faults() as error:
                skipped += 1
                if skipped == 1:
                    text = f'{self.name}: a message of {recorded.topic} skipped: {error}'
                    self._warn(printable(text))
                continue
            yield recorded.kind, recorded.time_ns, message
        if skipped > 1:
            self._warn(printable(f'{self.name}: {skipped} messages were skipped'))

    @staticmethod
    def _faults() -> tuple[type[Exception], ...]:
        from rosbags.serde import SerdeError

        return (SerdeError, *MESSAGE_FAULTS)


def message_types() -> Any:
    """Return the type store of the library `rosbags`. Raises SourceError where it is missing.

    Images and CameraInfo are the same in every ROS 2 (by their hashes), so the bag's own
    definitions, which may be missing or unparsable, are not needed.
    """
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SourceError(
            f'reading a rosbag2 needs the Python library rosbags ({error}): pip install rosbags'
        ) from error
    return get_typestore(Stores.ROS2_HUMBLE)


def choose_topic(
    path: Path, topics: dict[str, str], wanted: str, leave_out: Collection[str] = ()
) -> str:
    """Choose the image topic to read: the wanted one, else the only one of `topics` (name -> type).

    Of an image topic and its `/compressed` sibling the former is taken. leave_out: topics that
    are not pictures, ignored unless there are no others. Raises UnclearTopic with all topics.
    """
    images = sorted(name for name, kind in topics.items() if kind in (IMAGE, COMPRESSED_IMAGE))
    if wanted:
        wanted = '/' + wanted.strip('/')
        _check_is_no_depth(wanted)
        if wanted in images:
            return wanted
        raise UnclearTopic(f'{path}: there are no images on topic {wanted}; {_listed(topics)}')
    if not images:
        raise UnclearTopic(
            f'{path}: the bag has no images: record an Image or CompressedImage topic; '
            f'{_listed(topics)}'
        )
    images = [name for name in images if name not in leave_out] or images
    cameras = {raw_topic_of(name, topics) for name in images}
    if len(cameras) > 1:
        raise UnclearTopic(
            f'{path}: the bag has images on several topics: name one in the parameter topic: '
            f'{", ".join(images)}'
        )
    return next((name for name in images if name in cameras), images[0])


def _check_is_no_depth(topic: str) -> None:
    if topic.endswith(DEPTH_ENDING):
        raise UnclearTopic(f'{topic} {DEPTH}')


def depth_topics(bag: BagMessages) -> set[str]:
    """Return the image topics whose first message is a depth image, not a picture."""
    from rosbags.serde import SerdeError

    store, found = message_types(), set()
    for topic, kind in bag.topics.items():
        if kind not in (IMAGE, COMPRESSED_IMAGE):
            continue
        if kind == COMPRESSED_IMAGE and topic.endswith(DEPTH_ENDING):
            found.add(topic)
        first = bag.first(topic)
        if first is None or first.kind != kind:
            continue
        # An unreadable message is reported when the frame is read.
        with contextlib.suppress(SerdeError, *MESSAGE_FAULTS):
            message: Any = store.deserialize_cdr(first.data, kind)
            text = message.encoding if kind == IMAGE else message.format
            if Format.parse(text).is_measurement:  # parses an encoding alone, too
                found.add(topic)
    return found


def raw_topic_of(topic: str, topics: Mapping[str, str]) -> str:
    """Return the topic of the raw images that belong to an image topic of a bag (name -> type).

    If a camera_info lies next to a compressed topic itself, and not where image_transport expects
    it, there never was a raw topic.
    """
    ending = next((each for each in TRANSPORT_ENDINGS if topic.endswith(each)), '')
    if topics.get(topic) != COMPRESSED_IMAGE or not ending:
        return topic
    base = topic.removesuffix(ending)
    infos = [topics.get(expected_info_topic(each)) == CAMERA_INFO for each in (base, topic)]
    return topic if infos == [False, True] else base


def info_topic_of(topic: str, topics: Mapping[str, str]) -> str:
    """Return the topic of the CameraInfo of an image topic; '' where there is none."""
    info = expected_info_topic(raw_topic_of(topic, topics))
    return info if topics.get(info) == CAMERA_INFO else ''


def expected_info_topic(topic: str) -> str:
    """Return where image_transport expects the CameraInfo of a raw image topic."""
    return topic.rpartition('/')[0] + '/camera_info'


# --- The cameras of a bag: image topics with their camera_info, found by their types, not names.

USUAL = 'image_raw'
ROOT_CAMERA = 'camera'  # the name of a camera whose topics have no namespace
TRANSPORTS = {IMAGE: 'raw', COMPRESSED_IMAGE: 'compressed'}


@dataclasses.dataclass(frozen=True)
class BagCamera:
    """A camera of a bag: its name, which is the namespace of its topics, and its topics.

    info: '' where there is none. transport: 'raw' or 'compressed', by the type of `image`.
    """

    name: str
    image: str
    info: str
    transport: str = TRANSPORTS[IMAGE]


def find_cameras(
    topics: Mapping[str, str],
    wanted_topics: Collection[str] = (),
    wanted_cameras: Collection[str] = (),
    transport: str = '',
    leave_out: Collection[str] = (),
) -> list[BagCamera]:
    """Find the cameras of a bag with these topics (name -> type), by name.

    By default all that have a camera_info; if none has, the only image topic. In a namespace
    `image_raw` is taken, or the only image topic. A camera that is wanted twice, by topic and by
    name, is returned once. transport: 'raw', 'compressed', or '' to prefer raw. leave_out: image
    topics that are not pictures, ignored unless they are wanted, or all that a wanted camera has.
    Raises UnclearTopic.
    """
    if not topics:
        raise UnclearTopic('the bag is empty: it has no images, nor any other topics')
    wanted_kinds = [kind for kind, name in TRANSPORTS.items() if transport in ('', name)]
    images = {name for name, kind in topics.items() if kind in wanted_kinds}
    if wanted_topics or wanted_cameras:
        names = ['/' + name.strip('/') for name in wanted_topics]
        unknown = [name for name in names if name not in images]
        if unknown:
            raise UnclearTopic(f'there are no images on {", ".join(unknown)}; {_listed(topics)}')
        wanted = [_camera(name, topics) for name in names]
        wanted += [
            _in_namespace(name.strip('/'), images, topics, leave_out) for name in wanted_cameras
        ]
        return _distinct(list(dict.fromkeys(wanted)))
    usual = {name for name in images if name not in leave_out}
    with_info = {name for name in usual if info_topic_of(name, topics)}
    names = sorted({namespace_of(name, topics) for name in (with_info or usual)})
    if not names or (not with_info and len(names) > 1):
        reason = 'images of several cameras, none with a camera_info'
        if not names:
            depth = ', '.join(sorted(images))
            reason = f'only depth images ({depth})' if depth else 'no images'
        raise UnclearTopic(f'the bag has {reason}: name one by --topic; {_listed(topics)}')
    return [_in_namespace(name, with_info or usual, topics) for name in names]


def namespace_of(topic: str, topics: Mapping[str, str]) -> str:
    """Return the camera's name: the raw image topic without its last part."""
    return raw_topic_of(topic, topics).rpartition('/')[0].lstrip('/')


def _in_namespace(
    namespace: str,
    images: Collection[str],
    topics: Mapping[str, str],
    leave_out: Collection[str] = (),
) -> BagCamera:
    every = sorted(name for name in images if namespace_of(name, topics) == namespace)
    ours = [name for name in every if name not in leave_out] or every
    bases = sorted({raw_topic_of(name, topics) for name in ours})
    usual = [base for base in bases if base.endswith('/' + USUAL)]
    if not usual and len(bases) != 1:
        what = f'several images: {", ".join(ours)}: name one by --topic' if ours else 'no images'
        raise UnclearTopic(f'/{namespace} has {what}; {_listed(topics)}')
    base = (usual or bases)[0]
    # In alphabetical order the raw topic comes first, and `compressed` before other transports.
    return _camera(next(name for name in ours if raw_topic_of(name, topics) == base), topics)


def _camera(topic: str, topics: Mapping[str, str]) -> BagCamera:
    _check_is_no_depth(topic)
    name = namespace_of(topic, topics) or ROOT_CAMERA
    return BagCamera(name, topic, info_topic_of(topic, topics), TRANSPORTS[topics[topic]])


def _distinct(cameras: list[BagCamera]) -> list[BagCamera]:
    names = [camera.name for camera in cameras]
    twice = sorted({camera.image for camera in cameras if names.count(camera.name) > 1})
    if twice:
        raise UnclearTopic(
            f'{", ".join(twice)} belong to one camera, so their outputs would have the same '
            'names: name one of them'
        )
    return cameras


def _listed(topics: Mapping[str, str]) -> str:
    listed = ', '.join(f'{name} ({kind})' for name, kind in sorted(topics.items()))
    return f'its topics are: {listed or "none"}'


# --- The messages of a bag, for who processes all of them.


def until_damaged(messages: Iterable[Recorded], fail: Callable[[str], None]) -> Iterator[Recorded]:
    """Yield messages until the bag cannot be read any more, which is reported."""
    try:
        yield from messages
    except SourceError as error:
        fail(str(error))


def in_order(
    source: BagMessages, cameras: Iterable[BagCamera], topics: Collection[str]
) -> Iterator[Recorded]:
    """Yield the messages of these topics as recorded, after what holds for all pictures.

    That is the first camera_info of each camera (a driver publishes it with the image; which of
    them is recorded first is arbitrary), and static transforms, which have no time.
    """
    infos = [first for camera in cameras if camera.info and (first := source.first(camera.info))]
    yield from infos
    if TF_STATIC in topics and source.counts.get(TF_STATIC):
        with contextlib.suppress(SourceError):  # damage is reported below
            yield from source.read([TF_STATIC])
    yield from source.read(topics)
