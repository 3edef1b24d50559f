"""The topics of one camera as facts and JPEGs for the page.

Messages are read within a boundary that counts what goes wrong: nothing that is published can end
the ROS thread.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, Vector3Stamped
from numpy.typing import NDArray
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.geometry import turned
from midas_depth_ros.images import (
    BitDepth,
    decode_image,
    encode_jpeg,
    is_plain_cdr,
    read_compressed,
    read_image,
)
from midas_depth_ros.images.compressed import Format, checked
from midas_depth_ros.images.containers import JPEG, PNG, Container, container_of, png_colours
from midas_depth_ros.images.jpeg import Ending
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.options.declarations import FEWEST_BITS
from midas_depth_ros.options.text import check_topic
from midas_depth_ros.web.errors import Faults
from midas_depth_ros.web.feed import Feed, Picture
from midas_depth_ros.web.limits import Limits
from midas_depth_ros.web.pictures import at_most, check_cost, decode_reduced

# --- Messages as facts: JSON values, null where unknown. What a number cannot mean is unknown.

LEVELS = ('ok', 'warn', 'error', 'stale')
CLEAR = -1  # a beam that hits nothing; JSON has no infinity
FARTHEST_M = 1000.0
MOST_BEAMS = 720  # are drawn; of more, neighbours are merged to the nearest
MOST_CLOSENESS = 1000.0
FULL_TURN = 2 * math.pi + 0.1
MOST_VALUES, MOST_STATUSES = 100, 64  # per status, per message


class LifetimeEstimator:
    """How long periodic messages stay valid: some of their own periods, within bounds.

    A single long gap is not a period: the shorter of the last two counts, 0 while unknown.
    """

    def __init__(self, least_s: float, most_s: float, periods: float = 3.0) -> None:
        self._least_s, self._most_s, self._periods = least_s, most_s, periods
        self._heard_s: float | None = None
        self._period_s = 0.0

    def update(self, now_s: float) -> float:
        """Register a message heard now and return its lifetime in seconds."""
        period_s = now_s - self._heard_s if self._heard_s is not None else 0.0
        steady_s = min(period_s, self._period_s)
        self._heard_s, self._period_s = now_s, period_s
        return min(max(self._least_s, self._periods * steady_s), self._most_s)


def rounded(value: float, most: float = FARTHEST_M) -> float | None:
    """Return a rounded number; None for NaN, infinities and absurd values."""
    number = float(value)
    return round(number, 4) if abs(number) <= most else None


def statuses_of(message: Any, node: str) -> dict[str, Any]:
    """Return the statuses of a node in a DiagnosticArray, by what they are about.

    node: its full name, as in `hardware_id`; status names start with its last part.
    """
    prefix = f'{node.rpartition("/")[2]}: '
    ours = [
        status
        for status in message.status
        if status.name.startswith(prefix) and status.hardware_id in (node, '')
    ]
    return {status.name.removeprefix(prefix): status for status in ours[:MOST_STATUSES]}


def status_facts(status: Any) -> dict[str, Any]:
    """Return level, message and values of a DiagnosticStatus."""
    level = int.from_bytes(status.level, 'big') if isinstance(status.level, bytes) else status.level
    return {
        'level': LEVELS[min(max(int(level), 0), 3)],
        'message': status.message,
        'values': {pair.key: pair.value for pair in list(status.values)[:MOST_VALUES]},
    }


def closeness_facts(message: Any) -> list[float | None]:
    """Return closeness left, centre and right; None = unknown."""
    near = message.vector
    return [rounded(value, MOST_CLOSENESS) for value in (near.x, near.y, near.z)]


def range_facts(message: Any) -> dict[str, Any]:
    """Return the nearest obstacle in the corridor: metres, or clear up to `most`.

    Clear means exactly `max_range`; anything beyond that is not a measurement.
    """
    value, most = rounded(message.range), rounded(message.max_range)
    most = most if most is not None and most > 0 else None
    known = value is not None and most is not None and 0 <= value <= most
    return {
        'metres': value if known else None,
        'clear': known and message.range == message.max_range,
        'most': most,
    }


def scan_facts(message: Any) -> dict[str, Any] | None:
    """Return ranges per bearing: metres, CLEAR, or None where unknown.

    None for a message whose angles or maximum range are not valid.
    """
    geometry = _beams_of(message)
    if geometry is None:
        return None
    facts, group = geometry
    ranges, least = np.asarray(message.ranges, np.float64), rounded(message.range_min) or 0.0
    drawn = merge_beams(measured_ranges(ranges, least, facts['most']), group)
    return {**facts, 'ranges': [CLEAR if value == CLEAR else rounded(value) for value in drawn]}


def free_facts(message: Any) -> dict[str, Any] | None:
    """Return how many metres the floor was seen free per bearing; 0 where it was not.

    None as `scan_facts`.
    """
    geometry = _beams_of(message)
    if geometry is None:
        return None
    facts, group = geometry
    ranges, most = np.asarray(message.ranges, np.float64), facts['most']
    free = np.where(ranges > 0, np.minimum(ranges, most), 0.0)  # also of NaN
    rows = np.pad(free, (0, -free.size % group), constant_values=most).reshape(-1, group)
    return {**facts, 'free': [rounded(value) for value in rows.min(axis=1)]}


def _beams_of(message: Any) -> tuple[dict[str, Any], int] | None:
    """Where beams look and how far, and how many are drawn as one; None if that is not valid."""
    ranges = np.asarray(message.ranges, np.float64)
    first, step = rounded(message.angle_min), rounded(message.angle_increment)
    most = rounded(message.range_max)
    if first is None or step is None or most is None or most <= 0 or not ranges.size:
        return None
    step = float(message.angle_increment)
    turn = abs(step) * (ranges.size - 1)
    if abs(first) > FULL_TURN or turn > FULL_TURN or (ranges.size > 1 and step == 0):
        return None
    group = -(-ranges.size // MOST_BEAMS)
    first = round(first + step * (group - 1) / 2, 6)
    return {'first': first, 'step': round(step * group, 9), 'most': most}, group


def measured_ranges(ranges: NDArray[np.float64], least: float, most: float) -> NDArray[np.float64]:
    """Return (N,) metres, CLEAR for +Inf, NaN for other non-measurements (REP 117)."""
    with np.errstate(invalid='ignore'):
        measured = (ranges >= max(least, 0.0)) & (ranges <= most)
    known = np.where(measured, ranges, np.nan)
    return np.where(np.isposinf(ranges), float(CLEAR), known)


def merge_beams(values: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    """Merge each `group` neighbours: the nearest obstacle, or CLEAR if all are, else NaN."""
    rows = np.pad(values, (0, -values.size % group), constant_values=CLEAR).reshape(-1, group)
    obstacles = np.where(rows >= 0, rows, np.inf).min(axis=1)
    unseen = np.where((rows == CLEAR).all(axis=1), CLEAR, np.nan)
    return np.where(np.isfinite(obstacles), obstacles, unseen)


def point_facts(message: Any) -> list[float | None]:
    """Return x forward and y left, in metres."""
    return [rounded(message.point.x), rounded(message.point.y)]


# --- Subscriptions with a boundary.
#
# rclpy stops spinning on any exception from taking or processing a message, and one raised while
# taking leaves the callback group locked. So messages are taken as bytes, then deserialized and
# processed within a boundary that counts exceptions. `ros_node.GuardedExecutor` guards all else.

MIB = 2**20
MOST_BYTES = 1 * MIB  # of a message that is deserialized: Python objects are far larger
MOST_PICTURE_BYTES = 256 * MIB
SHORTEST_PERIOD_S = 0.01  # of one topic
PAUSE_FACTOR = 4.0  # after a slow message: no topic gets over a fifth of the thread's time


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    faults: Faults,
    *,
    serialised: bool = False,
    is_wanted: Callable[[bytes], bool] = lambda data: True,
    period_s: float = SHORTEST_PERIOD_S,
) -> Subscription:
    """Subscribe, with a boundary around everything a message can cause.

    callback: gets messages; with `serialised`, their bytes. is_wanted: judges a message by its
    bytes. period_s: a message that comes sooner is dropped, as is one that comes too soon after a
    slow one. Raises ValueError for an invalid name or wrong qos_overrides.
    """
    what = f'{kind.__name__} on {topic}'
    most = MOST_PICTURE_BYTES if serialised else MOST_BYTES
    due_s = -math.inf

    def read(came: Any) -> Any:
        if len(came) > most:
            raise ValueError(f'a message of {len(came)} bytes, more than {most}')
        return came if serialised else deserialize_message(came, kind)

    def take(came: Any) -> None:
        nonlocal due_s
        began_s = time.monotonic()
        with faults.guard(what):
            is_bytes = isinstance(came, bytes)
            if is_bytes and (not is_wanted(came) or began_s < due_s):
                return
            try:
                callback(read(came) if is_bytes else came)
            finally:
                now_s = time.monotonic()
                due_s = now_s + max(period_s, PAUSE_FACTOR * (now_s - began_s))

    try:
        return qos.make_subscription(node, kind, topic, take, profile, serialised=True)
    except NameValidationException as error:
        raise ValueError(str(error)) from error


def is_topic_name(name: str) -> bool:
    """Return whether this is a valid full topic name."""
    return name.startswith('/') and not check_topic(name)


# --- One camera while a browser looks: its picture, its heatmap, what is near.
#
# Raw pictures stay serialised until a browser wants one, so a camera of 30 Hz costs little more
# than the frames that are shown.

SHOWN_SIDE = 960  # px; larger pictures are reduced for the browser
# Compressed pictures up to this size go to the browser as they are, if it shows them as decoded.
# Larger ones would hold up the facts on a slow link.
SHOWN_BYTES, SHOWN_PIXELS = 150_000, 4_194_304
QUALITIES = (80, 50)  # the second where the first makes more bytes than that
PNG_WITHOUT_ALPHA = (0, 2, 3)  # colour types
# How long a reading is valid, up to the second where it is published slowly.
EXPIRY_S, MOST_EXPIRY_S = 2.0, 10.0
READINGS: tuple[tuple[str, type, Callable[[Any], Any]], ...] = (
    ('closeness', Vector3Stamped, closeness_facts),
    ('proximity', Range, range_facts),
    ('scan', LaserScan, scan_facts),
    ('seen_free', LaserScan, free_facts),
    ('nearest_point', PointStamped, point_facts),
)
SHOWN = Limits(kept_side=SHOWN_SIDE)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a camera's pictures come from ('' = nowhere), and by how many degrees to turn them."""

    topic: str = ''
    is_compressed: bool = False
    rotate: int = 0


class CameraWatch:
    """The subscriptions of one camera. Raises ValueError, and unsubscribes, if one fails."""

    def __init__(
        self, node: Node, feed: Feed, faults: Faults, name: str, prefix: str, source: Source
    ) -> None:
        self.source = source
        self._node, self._feed, self._faults, self._name = node, feed, faults, name
        self._subscriptions: list[Any] = []
        self._lifetimes: dict[str, LifetimeEstimator] = {}
        try:
            self._subscribe(prefix)
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe, and remove facts and pictures from the feed."""
        for subscription in self._subscriptions:
            qos.unsubscribe(self._node, subscription)
        self._subscriptions = []
        for reading, _, _ in READINGS:
            self._feed.remove_fact(f'{reading}/{self._name}')
        for stream in ('picture', 'heatmap'):
            self._feed.remove_picture(f'{self._name}/{stream}')

    def _subscribe(self, prefix: str) -> None:
        heatmap = Source(f'{prefix}/heatmap/image/compressed', is_compressed=True)
        self._add_stream('heatmap', heatmap)  # already upright
        if self.source.topic:
            self._add_stream('picture', self.source)
        for reading, kind, facts_of in READINGS:
            self._feed.set_fact(f'{reading}/{self._name}', None)
            self._add_reading(reading, kind, f'{prefix}/{reading}', facts_of)

    def _add(self, kind: type, topic: str, callback: Callable[[Any], None], **how: Any) -> None:
        made = subscribe(self._node, kind, topic, callback, qos.NEWEST, self._faults, **how)
        self._subscriptions.append(made)

    def _add_stream(self, stream: str, source: Source) -> None:
        kind = CompressedImage if source.is_compressed else Image
        # One bit depth for all frames: brightness must not flicker.
        to_jpeg: Callable[[Any], bytes] = functools.partial(
            compressed_to_jpeg if source.is_compressed else raw_to_jpeg,
            bit_depth=BitDepth(),
            rotate=source.rotate,
        )

        def on_picture(message: Any) -> None:
            lifetime_s = self._lifetime_s(stream)
            picture = Picture(lambda: to_jpeg(message), lifetime_s, self._faults, self._feed.clock)
            self._feed.set_picture(f'{self._name}/{stream}', picture)

        self._add(kind, source.topic, on_picture, serialised=True)

    def _add_reading(
        self, reading: str, kind: type, topic: str, facts_of: Callable[[Any], Any]
    ) -> None:
        def on_message(message: Any) -> None:
            facts = facts_of(message)
            self._feed.set_fact(f'{reading}/{self._name}', facts, self._lifetime_s(reading))

        self._add(kind, topic, on_message)

    def _lifetime_s(self, what: str) -> float:
        estimator = self._lifetimes.setdefault(what, LifetimeEstimator(EXPIRY_S, MOST_EXPIRY_S))
        return estimator.update(time.monotonic())


def raw_to_jpeg(came: Any, bit_depth: BitDepth | None = None, rotate: int = 0) -> bytes:
    """Return the JPEG of a sensor_msgs/Image, serialised or not, rotated clockwise [degrees].

    Raises ImageError, and rmw's own errors.
    """
    message = _parsed(came, read_image, Image)
    return shown_jpeg(turned(decode_image(message, SHOWN.pixels, bit_depth=bit_depth), rotate))


def compressed_to_jpeg(came: Any, bit_depth: BitDepth | None = None, rotate: int = 0) -> bytes:
    """Return a CompressedImage as a browser can show it, rotated clockwise [degrees].

    A small JPEG or PNG that a browser shows as the node decodes it is returned as it is, without
    metadata; anything else as a JPEG. Raises ImageError, Refused, and rmw's own errors.
    """
    message = _parsed(came, read_compressed, CompressedImage)
    data = bytes(message.data)
    container = container_of(data)
    width, height = container.size(data)
    check_cost(container, data, width, height, SHOWN)
    sent = types.SimpleNamespace(format=message.format, data=data)
    is_small = len(data) <= SHOWN_BYTES and width * height <= SHOWN_PIXELS
    if is_small and not rotate and _shows_as_decoded(container, data, message.format):
        return checked(sent, SHOWN.pixels)[2]
    return shown_jpeg(turned(decode_reduced(sent, SHOWN, bit_depth), rotate))


def _shows_as_decoded(container: Container, data: bytes, text: Any) -> bool:
    """Return whether a browser makes the same picture of these bytes, without their metadata.

    Not of a mosaic, swapped colours, transparency or more than 8 bits, nor of a WebP, which keeps
    its metadata. What may have been cut short is decoded, to tell.
    """
    if not isinstance(text, str):
        return False
    form = Format.parse(text)
    if form.mosaic is not None or form.is_swapped:
        return False
    if container is PNG:
        bits, colours, _ = png_colours(data)
        return bits <= FEWEST_BITS and colours in PNG_WITHOUT_ALPHA
    return container is JPEG and container.ending(data) is Ending.KNOWN


def _parsed(came: Any, read: Callable[[bytes], Any], kind: type) -> Any:
    if not isinstance(came, bytes):
        return came
    return read(came) if is_plain_cdr(came) else deserialize_message(came, kind)


def shown_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 RGB as a JPEG of at most SHOWN_SIDE px."""
    small, made = np.ascontiguousarray(at_most(rgb, SHOWN_SIDE)), b''
    for quality in QUALITIES:
        made = encode_jpeg(small, quality).tobytes()
        if len(made) <= SHOWN_BYTES:
            break
    return made
