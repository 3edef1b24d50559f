"""A rosbag2 as a source: its image messages as they were recorded, with the CameraInfo beside them.

Messages are read by `bag_messages` and understood by the library `rosbags`: no ROS is needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from midas_depth_ros.images.compressed import Format
from midas_depth_ros.images.decode import BitDepth
from midas_depth_ros.images.errors import SourceError, UnclearTopic, UnreadableSource
from midas_depth_ros.images.message_bytes import stamp_ns
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.images.sources.pictures import Frame, Source, Warn
from midas_depth_ros.options.text import printable

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# What image_transport's plugins put behind the topic of the raw images.
TRANSPORT_ENDINGS = (
    *('/compressed', '/compressedDepth', '/theora', '/ffmpeg', '/foxglove', '/zstd', '/zlib'),
    *('/avif', '/h264', '/h265', '/depthz', '/svtav1'),
)
DEPTH_ENDING = '/compressedDepth'

# What damaged bytes come to in the library besides its own errors.
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
        self._info_topic = info_of(self.topic, self._bag.topics)
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
                f'{self.name}: not one message of {self.topic} could be read: look at it with '
                'ros2 bag info, and give a bag with images'
            )

    def _first_camera_info(self) -> Any:
        """So that the first image has one too; they are recorded in any order."""
        first = self._bag.first(self._info_topic)
        with contextlib.suppress(*self._faults()):
            return None if first is None else self._types.deserialize_cdr(first.data, CAMERA_INFO)

    def _messages(self) -> Iterator[tuple[str, int, Any]]:
        """Type, time of recording in nanoseconds, and message, one after the other."""
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
    """The types of the messages that are read, by the library `rosbags`.

    Images and CameraInfo are the same in every ROS 2 (by their hashes), so the bag's own
    definitions, which may be missing or of types that do not parse, don't matter.
    Raises SourceError where there is no such library.
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
    """The image topic to read: the wanted one, else the only one of the bag's topics and types.

    An image topic and its `/compressed` sibling are one camera: the former is taken. leave_out:
    image topics that are no pictures, unless there are no others. Raises UnclearTopic, which lists
    what there is.
    """
    images = sorted(name for name, kind in topics.items() if kind in (IMAGE, COMPRESSED_IMAGE))
    listed = ', '.join(f'{name} ({kind})' for name, kind in sorted(topics.items())) or 'none at all'
    if wanted:
        wanted = '/' + wanted.strip('/')
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
    images = [name for name in images if name not in leave_out] or images
    cameras = {base_of(name, topics) for name in images}
    if len(cameras) > 1:
        raise UnclearTopic(
            f'{path}: the bag has images on several topics: name one in the parameter topic: '
            f'{", ".join(images)}'
        )
    return next((name for name in images if name in cameras), images[0])


def depth_topics(bag: BagMessages) -> set[str]:
    """The image topics whose first message is a depth image, not a picture."""
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
        # What cannot be read is a matter of the frame, and is said there.
        with contextlib.suppress(SerdeError, *MESSAGE_FAULTS):
            message: Any = store.deserialize_cdr(first.data, kind)
            text = message.encoding if kind == IMAGE else message.format
            if Format.of(text).is_measurement:  # an encoding alone is a format, too
                found.add(topic)
    return found


def base_of(topic: str, topics: Mapping[str, str]) -> str:
    """The topic of the raw images that belong to an image topic of a bag (name -> type).

    Where a camera_info lies beside a compressed topic itself, and not where image_transport expects
    it, there never was another.
    """
    ending = next((each for each in TRANSPORT_ENDINGS if topic.endswith(each)), '')
    if topics.get(topic) != COMPRESSED_IMAGE or not ending:
        return topic
    base = topic.removesuffix(ending)
    infos = [topics.get(beside(each)) == CAMERA_INFO for each in (base, topic)]
    return topic if infos == [False, True] else base


def info_of(topic: str, topics: Mapping[str, str]) -> str:
    """The topic of the CameraInfo of an image topic; '' where there is none."""
    info = beside(base_of(topic, topics))
    return info if topics.get(info) == CAMERA_INFO else ''


def beside(topic: str) -> str:
    """Where image_transport expects the CameraInfo of a raw image topic."""
    return topic.rpartition('/')[0] + '/camera_info'


# --- Which topics of a bag are cameras: an image topic with the camera_info that belongs to it.
#
# Names and types in, cameras out; what is not clear is refused with what there is to choose. The
# type tells what an image topic is, not its name; depth images, which have the same, are told by
# their encoding (`bag.depth_topics`).

USUAL = 'image_raw'
ROOT_CAMERA = 'camera'  # the name of a camera whose topics have no namespace
TRANSPORTS = {IMAGE: 'raw', COMPRESSED_IMAGE: 'compressed'}


@dataclasses.dataclass(frozen=True)
class BagCamera:
    """A camera of a bag: its name, which is the namespace of its topics, and these topics.

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
    """The cameras of a bag with these topics (name -> type), by name.

    Without a wish: all that have a camera_info; if none has, the only one there is. Of one
    namespace `image_raw` is taken, or the only image. What is wanted twice, in whatever words, is
    one camera. transport: 'raw', 'compressed', or '' for raw where there is both. leave_out: image
    topics that are no pictures, unless they are wanted, or all that a wanted camera has. Raises
    UnclearTopic.
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
    with_info = {name for name in usual if info_of(name, topics)}
    names = sorted({namespace_of(name, topics) for name in (with_info or usual)})
    if not names or (not with_info and len(names) > 1):
        reason = 'images of several cameras, none with a camera_info'
        if not names:
            depth = ', '.join(sorted(images))
            reason = f'only depth images ({depth})' if depth else 'no images'
        raise UnclearTopic(f'the bag has {reason}: name one by --topic; {_listed(topics)}')
    return [_in_namespace(name, with_info or usual, topics) for name in names]


def namespace_of(topic: str, topics: Mapping[str, str]) -> str:
    """The camera's name: what comes before the last part of the raw image topic."""
    return base_of(topic, topics).rpartition('/')[0].lstrip('/')


def _in_namespace(
    namespace: str,
    images: Collection[str],
    topics: Mapping[str, str],
    leave_out: Collection[str] = (),
) -> BagCamera:
    every = sorted(name for name in images if namespace_of(name, topics) == namespace)
    ours = [name for name in every if name not in leave_out] or every
    bases = sorted({base_of(name, topics) for name in ours})
    usual = [base for base in bases if base.endswith('/' + USUAL)]
    if not usual and len(bases) != 1:
        what = f'several images: {", ".join(ours)}: name one by --topic' if ours else 'no images'
        raise UnclearTopic(f'/{namespace} has {what}; {_listed(topics)}')
    base = (usual or bases)[0]
    # The raw one comes before its siblings in the order of names, and `compressed` before others.
    return _camera(next(name for name in ours if base_of(name, topics) == base), topics)


def _camera(topic: str, topics: Mapping[str, str]) -> BagCamera:
    name = namespace_of(topic, topics) or ROOT_CAMERA
    return BagCamera(name, topic, info_of(topic, topics), TRANSPORTS[topics[topic]])


def _distinct(cameras: list[BagCamera]) -> list[BagCamera]:
    names = [camera.name for camera in cameras]
    twice = sorted({camera.image for camera in cameras if names.count(camera.name) > 1})
    if twice:
        raise UnclearTopic(
            f'{", ".join(twice)} are of one camera, so that their outputs would have the same '
            'names: name one of them'
        )
    return cameras


def _listed(topics: Mapping[str, str]) -> str:
    listed = ', '.join(f'{name} ({kind})' for name, kind in sorted(topics.items()))
    return f'its topics are: {listed or "none at all"}'
