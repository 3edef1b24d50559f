"""Which topics of a bag are cameras: an image topic with the camera_info that belongs to it.

Names and types in, cameras out; what is not clear is refused with what there is to choose. The type
tells what an image topic is, not its name; depth images, which have the same, are told by their
encoding (`bag.depth_topics`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from midas_depth_ros.images.sources.bag import (
    COMPRESSED_IMAGE,
    IMAGE,
    base_of,
    info_of,
)
from midas_depth_ros.images.sources.errors import UnclearTopic

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
            reason = f'no images but depth ({depth})' if depth else 'no images'
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
