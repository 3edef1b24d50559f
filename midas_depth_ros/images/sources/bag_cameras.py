"""Which topics of a bag are cameras: an image topic with the camera_info that belongs to it.

Names and types in, cameras out; what is not clear is refused with what there is to choose. Depth
images, which have the same type, are told by their encoding.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from midas_depth_ros.images.sources.bag import (
    CAMERA_INFO,
    COMPRESSED_ENDING,
    COMPRESSED_IMAGE,
    IMAGE,
    MESSAGE_FAULTS,
    camera_info_topic,
    image_topic,
)
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.images.sources.errors import UnclearTopic

USUAL = 'image_raw'
ROOT_CAMERA = 'camera'  # the name of a camera whose topics have no namespace
TRANSPORTS = ('raw', 'compressed')
# Encodings of depth images (REP 118) and other measurements: nothing to look at with a network.
MEASUREMENTS = ('16UC1', '16SC1', '32FC1', '32SC1', '64FC1')


@dataclasses.dataclass(frozen=True)
class BagCamera:
    """A camera of a bag: its name, which is the namespace of its topics, and these topics.

    info: '' where there is none.
    """

    name: str
    image: str
    info: str

    @property
    def transport(self) -> str:
        """'raw' or 'compressed'."""
        return TRANSPORTS[self.image.endswith(COMPRESSED_ENDING)]


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
    topics that are no pictures, unless they are wanted. Raises UnclearTopic.
    """
    images = {name for name, kind in topics.items() if is_image(name, kind, transport)}
    if wanted_topics or wanted_cameras:
        names = ['/' + name.strip('/') for name in wanted_topics]
        unknown = [name for name in names if name not in images]
        if unknown:
            raise UnclearTopic(f'there are no images on {", ".join(unknown)}; {_listed(topics)}')
        wanted = [_camera(name, topics) for name in names]
        wanted += [_in_namespace(name.strip('/'), images, topics) for name in wanted_cameras]
        return _distinct(list(dict.fromkeys(wanted)))
    usual = {name for name in images if name not in leave_out}
    with_info = {name for name in usual if camera_info_topic(name) in _infos(topics)}
    names = sorted({namespace_of(name) for name in (with_info or usual)})
    if not names or (not with_info and len(names) > 1):
        reason = 'no images' if not names else 'images of several cameras, none with a camera_info'
        raise UnclearTopic(f'the bag has {reason}: name one by --topic; {_listed(topics)}')
    return [_in_namespace(name, with_info or usual, topics) for name in names]


def depth_topics(bag: BagMessages) -> set[str]:
    """The image topics whose first message is a depth image, not a picture."""
    from rosbags.serde import SerdeError
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)  # Image is the same in all of them
    found = set()
    for topic in [name for name, kind in bag.topics.items() if kind == IMAGE]:
        first = bag.first(topic)
        if first is None:
            continue
        # What cannot be read is a matter of the frame, and is said there.
        with contextlib.suppress(SerdeError, *MESSAGE_FAULTS):
            message: Any = store.deserialize_cdr(first.data, IMAGE)
            if message.encoding in MEASUREMENTS:
                found.add(topic)
    return found


def is_image(name: str, kind: str, transport: str = '') -> bool:
    """Whether a topic carries pictures, by its type, its name and the transport wanted."""
    if kind == IMAGE:
        return transport in ('', 'raw')
    compressed = kind == COMPRESSED_IMAGE and name.endswith(COMPRESSED_ENDING)
    return compressed and transport in ('', 'compressed')


def namespace_of(topic: str) -> str:
    """The camera's name: what comes before the last part of the raw image topic."""
    return image_topic(topic).rpartition('/')[0].lstrip('/')


def _in_namespace(namespace: str, images: Collection[str], topics: Mapping[str, str]) -> BagCamera:
    ours = sorted(name for name in images if namespace_of(name) == namespace)
    bases = sorted({image_topic(name) for name in ours})
    usual = [base for base in bases if base.endswith('/' + USUAL)]
    if not usual and len(bases) != 1:
        what = f'several images: {", ".join(ours)}: name one by --topic' if ours else 'no images'
        raise UnclearTopic(f'/{namespace} has {what}; {_listed(topics)}')
    base = (usual or bases)[0]
    return _camera(base if base in ours else base + COMPRESSED_ENDING, topics)


def _camera(topic: str, topics: Mapping[str, str]) -> BagCamera:
    info = camera_info_topic(topic)
    known = info if info in _infos(topics) else ''
    return BagCamera(namespace_of(topic) or ROOT_CAMERA, topic, known)


def _distinct(cameras: list[BagCamera]) -> list[BagCamera]:
    names = [camera.name for camera in cameras]
    twice = sorted({camera.image for camera in cameras if names.count(camera.name) > 1})
    if twice:
        raise UnclearTopic(
            f'{", ".join(twice)} are of one camera, so that their outputs would have the same '
            'names: name one of them'
        )
    return cameras


def _infos(topics: Mapping[str, str]) -> set[str]:
    return {name for name, kind in topics.items() if kind == CAMERA_INFO}


def _listed(topics: Mapping[str, str]) -> str:
    listed = ', '.join(f'{name} ({kind})' for name, kind in sorted(topics.items()))
    return f'its topics are: {listed or "none at all"}'
