"""What is in a recording: its pictures, its truth, and which of both belong together.

The headers of all messages are read before anything is computed, so that what does not fit is said
at once: a topic that is not there, stamps that do not overlap, a frame whose place is not known.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.message_bytes import BYTE_ORDERS
from midas_depth_ros.images.sources import SourceError
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.lab.evaluate.tape import Tape
from midas_depth_ros.lab.evaluate.truth import TYPES, Place
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.options.text import shown

LONGEST_FRAME_ID = 1000
LISTED = 12  # topics that an error names


@dataclasses.dataclass(frozen=True)
class Head:
    """The header of a recorded message; a stamp of 0 is replaced by the time of receipt."""

    stamp_ns: int
    frame_id: str


@dataclasses.dataclass(frozen=True)
class Survey:
    """The pictures to process, and the truth of each, by their numbers in the recording.

    stamps_ns: of all pictures. chosen: numbers of those to process. partner: number of a picture ->
    number of the message of the truth. away_s: how far their stamps are apart. tapes: number of a
    picture -> what was measured in it.
    """

    stamps_ns: tuple[int, ...]
    chosen: tuple[int, ...]
    optical_frame: str
    partner: Mapping[int, int] = dataclasses.field(default_factory=dict)
    away_s: Mapping[int, float] = dataclasses.field(default_factory=dict)
    truth_frame: str = ''
    truth_messages: int = 0
    tapes: Mapping[int, list[Tape]] = dataclasses.field(default_factory=dict)
    damage: str = ''


def head_of(data: bytes, time_ns: int) -> Head | None:
    """Return the header at the start of a serialised message; None if there is none."""
    order = BYTE_ORDERS.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return None
    seconds, nanoseconds, length = struct.unpack_from(order + 'iII', data, 4)
    if not 0 < length <= LONGEST_FRAME_ID or len(data) < 16 + length:
        return None
    frame_id = bytes(data[16 : 16 + length - 1]).decode('utf-8', 'replace')
    return Head(seconds * NANOSECONDS + nanoseconds or time_ns, frame_id)


def check_truth_topic(bag: BagMessages, topic: str, camera: BagCamera) -> str:
    """Return the type of the topic of the truth. Raises CommandError."""
    kind = bag.topics.get(topic)
    listed = sorted(name for name, each in bag.topics.items() if each in TYPES)
    there = ', '.join(f'{name} ({bag.topics[name]})' for name in listed[:LISTED])
    if kind is None:
        raise CommandError(
            f'{bag.path}: there is no topic {topic}; what could be a truth: {there or "nothing"}'
        )
    if kind not in TYPES:
        raise CommandError(
            f'{bag.path}: {topic} is a {kind}, which is no truth: name a topic of type '
            f'{", ".join(TYPES)}, or a table of tape measures (.csv); there are: '
            f'{there or "none"}'
        )
    if topic == camera.image:
        raise CommandError(f'{topic} is the picture itself: name the topic of what was measured')
    if not bag.counts.get(topic):
        raise CommandError(f'{bag.path}: {topic} has no message: name a topic that was recorded')
    return kind


def survey(
    bag: BagMessages,
    camera: BagCamera,
    truth_topic: str,
    tapes: list[Tape],
    rate_hz: float,
    tolerance_s: float,
    advance: Callable[[], None] = lambda: None,
) -> Survey:
    """Return what is in a recording. Raises CommandError if nothing can be compared.

    advance: called for each message.
    """
    pictures: list[Head] = []
    truths: list[Head] = []
    damage = ''
    try:
        for recorded in bag.read({camera.image, truth_topic} - {''}):
            head = head_of(recorded.data, recorded.time_ns) or Head(recorded.time_ns, '')
            (pictures if recorded.topic == camera.image else truths).append(head)
            advance()
    except SourceError as error:
        damage = str(error)
    if not pictures:
        raise CommandError(
            f'{bag.path}: no picture of {camera.image} could be read{": " if damage else ""}'
            f'{damage}: record the images of the camera'
        )
    stamps = tuple(head.stamp_ns for head in pictures)
    optical_frame = pictures[0].frame_id
    measured = _by_picture(tapes, stamps, tolerance_s)
    chosen = tuple(sorted({*every(stamps, rate_hz), *measured}))
    if not truth_topic:
        return Survey(stamps, chosen, optical_frame, tapes=measured, damage=damage)
    if not truths:
        raise CommandError(f'{bag.path}: no message of {truth_topic} could be read: {damage}')
    partner, away = partners(stamps, [head.stamp_ns for head in truths], chosen, tolerance_s)
    if not partner:
        raise CommandError(_apart(bag.path, truth_topic, stamps, truths, tolerance_s))
    return Survey(
        *(stamps, chosen, optical_frame, partner, away),
        truths[0].frame_id,
        len(truths),
        damage=damage,
    )


def every(stamps_ns: Iterable[int], rate_hz: float) -> list[int]:
    """Return the numbers of the pictures that a node with this max_rate takes; 0 = all."""
    chosen: list[int] = []
    due = -1 << 62
    least_ns = 0 if rate_hz <= 0 else round(0.95 * NANOSECONDS / rate_hz)
    for number, stamp in enumerate(stamps_ns):
        if stamp >= due or stamp < due - 2 * least_ns:  # or the stamps went back
            chosen.append(number)
            due = stamp + least_ns
    return chosen


def partners(
    stamps_ns: tuple[int, ...], truth_ns: list[int], chosen: Iterable[int], tolerance_s: float
) -> tuple[dict[int, int], dict[int, float]]:
    """Return for the chosen pictures the nearest message of the truth, and how far away it is."""
    order = np.argsort(np.array(truth_ns), kind='stable')
    ordered = np.array(truth_ns)[order]
    partner, away = {}, {}
    for number in chosen:
        stamp = stamps_ns[number]
        after = int(np.searchsorted(ordered, stamp))
        near = [index for index in (after - 1, after) if 0 <= index < len(ordered)]
        best = min(near, key=lambda index: abs(int(ordered[index]) - stamp))
        off_s = abs(int(ordered[best]) - stamp) / NANOSECONDS
        if off_s <= tolerance_s:
            partner[number], away[number] = int(order[best]), off_s
    return partner, away


def _by_picture(
    tapes: list[Tape], stamps_ns: tuple[int, ...], tolerance_s: float
) -> dict[int, list[Tape]]:
    """The measurements by the number of their picture. Raises CommandError."""
    found: dict[int, list[Tape]] = {}
    for index, tape in enumerate(tapes, 1):
        number = tape.frame
        if number >= len(stamps_ns):
            raise CommandError(
                f'measurement {index} is of frame {number}: the recording has the frames 0 to '
                f'{len(stamps_ns) - 1}'
            )
        if number < 0:
            off_s = [abs(stamp / NANOSECONDS - tape.stamp_s) for stamp in stamps_ns]
            number = int(np.argmin(off_s))
            if not off_s[number] <= tolerance_s:
                raise CommandError(
                    f'measurement {index} has the stamp {tape.stamp_s:.3f}: the nearest picture '
                    f'is {off_s[number]:.3f} s away, more than --tolerance {tolerance_s:g} s'
                )
        found.setdefault(number, []).append(tape)
    return found


def _apart(
    path: Path, topic: str, stamps_ns: tuple[int, ...], truths: list[Head], tolerance_s: float
) -> str:
    truth_ns = np.array([head.stamp_ns for head in truths])
    nearest = min(int(np.abs(truth_ns - stamp).min()) for stamp in stamps_ns) / NANOSECONDS
    return (
        f'{path}: no message of {topic} is within {tolerance_s:g} s of a picture by its stamp; '
        f'the nearest is {nearest:.3f} s away (pictures {_span(stamps_ns)}, truth '
        f'{_span(truth_ns.tolist())}): both must be stamped by one clock; --tolerance allows more'
    )


def _span(stamps_ns: Iterable[int]) -> str:
    stamps = list(stamps_ns)
    return f'{min(stamps) / NANOSECONDS:.2f} to {max(stamps) / NANOSECONDS:.2f} s'


def place_of(
    kind: str,
    found: Survey,
    body_frame: str,
    given: Place | None,
    reference: Place | None,
    by_tf: Place | None = None,
) -> Place:
    """Return where the sensor of the truth is: as given, else by its frame. Raises CommandError.

    given: by --truth-at. reference: by the parameters reference.*, where they are set. by_tf: of
    the recording, where it knows.
    """
    frame, optical = found.truth_frame, found.optical_frame
    if given is not None:
        if kind.endswith('/Image') and not given.optical:
            raise CommandError(
                'a depth image is compared in the optical frame of the camera: record the '
                "registered (aligned) depth, or give --truth-at camera if it is the camera's own"
            )
        return given
    if frame == optical:
        return Place(optical=True)
    if kind.endswith('/Image'):
        raise CommandError(
            f'the depth image is in the frame {shown(frame)}, the pictures are in '
            f'{shown(optical)}: record the depth that is registered to (aligned with) the camera, '
            'or give --truth-at camera if it is'
        )
    if reference is not None and frame != body_frame:
        return reference
    if by_tf is not None:
        return by_tf
    if frame == body_frame:
        return Place()
    raise CommandError(
        f'the truth is in the frame {shown(frame)}, whose place is not known: give --truth-at '
        f'X,Y,Z[,YAW[,PITCH]] (metres and radians or 10deg, in {body_frame}: below the lens, x '
        'ahead, y left, z up), or --truth-at camera if it measures in the optical frame; '
        'or record /tf_static, with the frame of the truth and one on the floor'
    )
