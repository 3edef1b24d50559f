"""The dashboard's ROS node: diagnostics, pictures, scan and closeness of a depth node into a feed.

It learns the cameras and their topics from /diagnostics. To the node's outputs it subscribes only
while a browser looks, since the depth node infers only for subscribers; best effort and one
message deep, so that it holds nobody back. What only the ROS thread may do is queued for it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import time
import types
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped, Vector3Stamped
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_parameter_events
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.geometry import turned
from midas_depth_ros.images import (
    BitDepth,
    decode_compressed,
    decode_image,
    encode_jpeg,
    is_plain_cdr,
    read_compressed,
    read_image,
)
from midas_depth_ros.images.compressed import Format
from midas_depth_ros.images.containers import TIFF, container_of
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.quality_of_service import type_name
from midas_depth_ros.options.declarations import TURNS
from midas_depth_ros.options.text import check_camera_names
from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.feed import Feed, Picture
from midas_depth_ros.web.limits import Limits
from midas_depth_ros.web.pictures import check_cost, decode_smaller
from midas_depth_ros.web.ros_messages import (
    LONGEST_NAME,
    Rhythm,
    closeness_facts,
    is_topic_name,
    listen,
    point_facts,
    range_facts,
    scan_facts,
    status_facts,
    statuses_of,
)
from midas_depth_ros.web.ros_parameters import ParameterClients

# --- The topics of one camera while a browser looks: its picture, its heatmap, what is near.
#
# Raw pictures stay serialised until a browser wants one: a camera of 30 Hz costs the dashboard
# little more than the frames that are shown.

SHOWN_SIDE = 960  # px; larger pictures are reduced for the browser
QUALITY = 80
# Compressed pictures up to here go to the browser as they came.
SHOWN_BYTES, SHOWN_PIXELS = 2**20, 4_194_304
# What is heard counts for so long, or longer where it comes slowly.
EXPIRY_S, MOST_EXPIRY_S = 2.0, 10.0
READINGS: tuple[tuple[str, type, Callable[[Any], Any]], ...] = (
    ('closeness', Vector3Stamped, closeness_facts),
    ('proximity', Range, range_facts),
    ('scan', LaserScan, scan_facts),
    ('nearest_point', PointStamped, point_facts),
)
SHOWN = Limits(kept_side=SHOWN_SIDE)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a camera's pictures come from, '' = nowhere, and how they are turned for the eye."""

    topic: str = ''
    is_compressed: bool = False
    rotate: int = 0


class CameraWatch:
    """The subscriptions of one camera, whose pictures come from `source`.

    Raises ValueError, after undoing what it had begun, where one of them cannot be had.
    """

    def __init__(
        self, node: Node, feed: Feed, faults: Faults, name: str, prefix: str, source: Source
    ) -> None:
        self.source = source
        self._node, self._feed, self._faults, self._name = node, feed, faults, name
        self._subscriptions: list[Any] = []
        self._rhythms: dict[str, Rhythm] = {}
        try:
            self._subscribe(prefix)
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe and forget."""
        for subscription in self._subscriptions:
            qos.unsubscribe(self._node, subscription)
        self._subscriptions = []
        for reading, _, _ in READINGS:
            self._feed.forget(f'{reading}/{self._name}')
        for stream in ('picture', 'heatmap'):
            self._feed.drop(f'{self._name}/{stream}')

    def _subscribe(self, prefix: str) -> None:
        heatmap = Source(f'{prefix}/heatmap/image/compressed', is_compressed=True)
        self._add_stream('heatmap', heatmap)  # it is upright already
        if self.source.topic:
            self._add_stream('picture', self.source)
        for reading, kind, facts_of in READINGS:
            self._feed.tell(f'{reading}/{self._name}', None)
            self._add_reading(reading, kind, f'{prefix}/{reading}', facts_of)

    def _add(self, kind: type, topic: str, callback: Callable[[Any], None], **how: Any) -> None:
        made = listen(self._node, kind, topic, callback, qos.NEWEST, self._faults, **how)
        self._subscriptions.append(made)

    def _add_stream(self, stream: str, source: Source) -> None:
        kind = CompressedImage if source.is_compressed else Image
        to_jpeg: Callable[[Any], bytes] = functools.partial(
            compressed_to_jpeg, rotate=source.rotate
        )
        if kind is Image:  # guessed from all that came, brightness does not flicker
            to_jpeg = functools.partial(raw_to_jpeg, bit_depth=BitDepth(), rotate=source.rotate)

        def on_picture(message: Any) -> None:
            lifetime_s = self._lifetime_s(stream)
            picture = Picture(lambda: to_jpeg(message), lifetime_s, self._faults, self._feed.clock)
            self._feed.put(f'{self._name}/{stream}', picture)

        self._add(kind, source.topic, on_picture, serialised=True)

    def _add_reading(
        self, reading: str, kind: type, topic: str, facts_of: Callable[[Any], Any]
    ) -> None:
        def on_message(message: Any) -> None:
            facts = facts_of(message)
            self._feed.tell(f'{reading}/{self._name}', facts, self._lifetime_s(reading))

        self._add(kind, topic, on_message)

    def _lifetime_s(self, what: str) -> float:
        """How long what is heard now may be believed, by the rhythm in which it comes."""
        rhythm = self._rhythms.setdefault(what, Rhythm(EXPIRY_S, MOST_EXPIRY_S))
        return rhythm.lifetime_s(time.monotonic())


def raw_to_jpeg(came: Any, bit_depth: BitDepth | None = None, rotate: int = 0) -> bytes:
    """The JPEG of a sensor_msgs/Image, serialised or not, turned clockwise by `rotate` degrees.

    Raises ImageError and rmw's own.
    """
    message = came
    if isinstance(came, bytes):
        message = read_image(came) if is_plain_cdr(came) else deserialize_message(came, Image)
    return shown_jpeg(turned(decode_image(message, SHOWN.pixels, bit_depth=bit_depth), rotate))


def compressed_to_jpeg(came: Any, rotate: int = 0) -> bytes:
    """The picture of a CompressedImage as it came, or another JPEG of one that is large or turned.

    Raises ImageError, Refused and rmw's own.
    """
    message = came
    if isinstance(came, bytes):
        plain = is_plain_cdr(came)
        message = read_compressed(came) if plain else deserialize_message(came, CompressedImage)
    data = bytes(message.data)
    container = container_of(data)
    width, height = container.size(data)
    check_cost(container, data, width, height, SHOWN)
    is_mosaic = isinstance(message.format, str) and Format.parse(message.format).mosaic is not None
    if is_mosaic or container is TIFF:  # which no browser shows in its colours
        return shown_jpeg(turned(decode_compressed(message, SHOWN.pixels), rotate))
    if not rotate and len(data) <= SHOWN_BYTES and 0 < width * height <= SHOWN_PIXELS:
        return data
    smaller = decode_smaller(types.SimpleNamespace(format='', data=data), SHOWN)
    return shown_jpeg(turned(smaller, rotate))


def shown_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG for a browser."""
    factor = SHOWN_SIDE / max(rgb.shape[:2])
    if factor < 1:
        size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.ascontiguousarray(rgb), QUALITY).tobytes()


COMPRESSED = type_name(CompressedImage)
TICK_S = 0.5
LINGER_S = 3.0  # subscriptions outlive the last browser: a page that is loaded anew finds them
# For so long a node counts as there after it was heard: by its diagnostics, or, where they come
# seldom, by an answer. What they said is believed no longer than either.
DIAGNOSTICS_S, MOST_DIAGNOSTICS_S = 3.5, 30.0
ALIVE_S, ASK_AFTER_S = 3.5, 1.2
DIAGNOSTICS = qos.best_effort(10)
MOST_CAMERAS = 16
MOST_WATCHES = 500  # different ones: rclpy keeps a little of every topic that there was
MOST_WORK = 200


class DashboardNode(Node):
    """Watches one depth node, given by its name relative to this node's namespace.

    Raises ValueError where that cannot be a name.
    """

    def __init__(
        self, feed: Feed, depth_node: str, faults: Faults | None = None, **node_options: Any
    ) -> None:
        # Nothing here follows a clock of ROS, and what nobody may set needs no services.
        node_options.setdefault('parameter_overrides', [Parameter('use_sim_time', value=False)])
        node_options.setdefault('start_parameter_services', False)
        super().__init__('dashboard', **node_options)
        self._feed = feed
        self._faults = faults or Faults()
        self._full_name = self._resolved(depth_node)
        if not is_topic_name(self._full_name):
            self.destroy_node()
            raise ValueError(
                f'{depth_node!r} cannot be the name of a node: give that of depth_node'
            )
        self._cameras: dict[str, CameraWatch] = {}
        self._sources: dict[str, Source] = {}
        self._ever: set[tuple[str, Source]] = set()  # cameras that were watched, with their topics
        self._refused: set[tuple[str, Source]] = set()  # those that cannot be
        self._rhythm = Rhythm(DIAGNOSTICS_S, MOST_DIAGNOSTICS_S)
        self._diagnosed: tuple[Any, Any] = (None, None)  # the model's facts and the cameras'
        self._diagnosed_until_s = self._present_until_s = -math.inf
        self._alive_s = self._told_alive_s = self._asked_s = -math.inf
        self._unwatched_since_s: float | None = None
        self._work: collections.deque[Callable[[], None]] = collections.deque()
        self._parameter_clients = ParameterClients(self, self._full_name, feed, self._faults)
        self._guard = self.create_guard_condition(self._do_work)
        mark = f'{self._full_name.rpartition("/")[2]}: model'.encode()
        listen(
            self,
            DiagnosticArray,
            '/diagnostics',
            self._on_diagnostics,
            DIAGNOSTICS,
            self._faults,
            wanted=lambda data: mark in data,
        )
        name = self._full_name.encode()
        listen(
            self,
            ParameterEvent,
            '/parameter_events',
            lambda data: self._parameter_clients.changed(),
            qos_profile_parameter_events,
            self._faults,
            serialised=True,  # that it names the node says enough: they are read anew
            wanted=lambda data: name in data,
            period_s=0.0,
        )
        self.create_timer(TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        feed.on_audience(self._on_audience)
        feed.tell('ros', {'depth_node': self._full_name})
        feed.tell('present', False)
        feed.tell('cameras', {})

    def soon(self, function: Callable[[], None]) -> None:
        """Have something done in the ROS thread, from any. Raises Refused where it has too much."""
        if len(self._work) >= MOST_WORK:
            raise Refused(503, 'too many calls to ROS are pending: try again', 2)
        self._work.append(function)
        with contextlib.suppress(InvalidHandle):  # the node is gone: nobody is there to do it
            self._guard.trigger()

    def set_parameter(self, name: str, value: Any) -> Future[str]:
        """Set a parameter of the depth node: '' or why it was refused; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameter_clients.set(name, value, answer))
        return answer

    def set_enabled(self, enabled: bool) -> Future[str]:
        """Pause or resume the depth node: '' or why not; from any thread."""
        answer: Future[str] = Future()
        self.soon(lambda: self._parameter_clients.enable(enabled, answer))
        return answer

    def destroy_node(self) -> None:
        """Unsubscribe first."""
        self._feed.on_audience(lambda viewers: None)
        if hasattr(self, '_cameras'):
            self._watch({})
        super().destroy_node()

    def _resolved(self, name: str) -> str:
        if name.startswith('/'):
            return name
        return f'{self.get_namespace().rstrip("/")}/{name}'

    def _on_audience(self, viewers: int) -> None:
        with self._faults.around('the audience'):  # the next tick sees it too
            self.soon(self._follow)

    def _do_work(self) -> None:
        while self._work:
            function = self._work.popleft()
            with self._faults.around('work for the ROS thread'):
                function()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = statuses_of(message, self._full_name)
        if 'model' not in statuses:
            return
        now_s = time.monotonic()
        self._diagnosed_until_s = now_s + self._rhythm.lifetime_s(now_s)
        model = status_facts(statuses.pop('model'))
        cameras = {
            name.removeprefix('camera '): status_facts(status)
            for name, status in statuses.items()
            if name.startswith('camera ')
        }
        sound = [name for name in cameras if is_camera_name(name)][:MOST_CAMERAS]
        for name in cameras.keys() - set(sound):
            self._faults.count('diagnostics', f'{name!r} cannot be a camera, or is one too many')
        self._diagnosed = model, {name: cameras[name] for name in sound}
        self._alive_s = now_s
        self._tell_diagnosed(now_s)
        self._sources = {name: self._source_of(cameras[name]) for name in sound}

    def _tell_diagnosed(self, now_s: float) -> None:
        """Tell what diagnostics said, by a sign of life of now."""
        lifetime_s = min(ALIVE_S, self._diagnosed_until_s - now_s)
        if lifetime_s <= 0:
            return
        self._told_alive_s, self._present_until_s = now_s, now_s + lifetime_s
        model, cameras = self._diagnosed
        self._feed.tell('present', True, lifetime_s, otherwise=False)
        self._feed.tell('model', model, lifetime_s)
        self._feed.tell('cameras', cameras, lifetime_s)

    def _look_for_life(self) -> None:
        """A node whose diagnostics are some time ago is asked whether it still answers."""
        now_s = time.monotonic()
        if self._alive_s > self._told_alive_s and now_s < self._present_until_s:
            self._tell_diagnosed(now_s)
        if (
            now_s < self._present_until_s
            and now_s - max(self._alive_s, self._asked_s) > ASK_AFTER_S
        ):
            self._asked_s = now_s
            self._parameter_clients.ask(self._on_life)

    def _on_life(self) -> None:
        self._alive_s = time.monotonic()

    def _source_of(self, facts: dict[str, Any]) -> Source:
        """Where the pictures of a camera come from, as far as that can be subscribed to."""
        values = facts['values']
        topic = str(values.get('topic', ''))
        if topic and not is_topic_name(topic):
            self._faults.count('diagnostics', f'{topic!r} cannot be a topic')
            return Source()
        kind = values.get('topic type', '')
        is_compressed = kind == COMPRESSED if kind else topic.endswith('/compressed')
        turn = values.get('rotate [degrees]', '')
        return Source(topic, is_compressed, int(turn) if turn in map(str, TURNS) else 0)

    def _tick(self) -> None:
        with self._faults.around('whether the depth node answers'):
            self._look_for_life()
        self._parameter_clients.follow(self._present(), self._diagnosed[1] or ())
        self._follow()

    def _follow(self) -> None:
        """Bring what is subscribed to in line with who is there and who looks."""
        if not self._present():
            self._sources = {}
        now_s = time.monotonic()
        if self._feed.viewers:
            self._unwatched_since_s = None
        elif self._unwatched_since_s is None:
            self._unwatched_since_s = now_s
        since_s = self._unwatched_since_s
        if since_s is not None and now_s - since_s > LINGER_S:
            self._watch({})
        elif since_s is None and self._sources:
            self._watch(self._sources)

    def _present(self) -> bool:
        """Whether the node was heard of lately, by its own rhythm."""
        return time.monotonic() < self._present_until_s

    def _watch(self, sources: dict[str, Source]) -> None:
        """Subscribe to the outputs of these cameras, and to no others."""
        for name, watch in list(self._cameras.items()):
            if sources.get(name) != watch.source:
                watch.close()
                del self._cameras[name]
        for name, source in sources.items():
            if name not in self._cameras and (name, source) not in self._refused:
                self._watch_camera(name, source)

    def _watch_camera(self, name: str, source: Source) -> None:
        if (name, source) not in self._ever and len(self._ever) >= MOST_WATCHES:
            self._faults.count('a camera', 'there were too many: restart the dashboard')
            return
        self._ever.add((name, source))
        prefix = f'{self._full_name.rpartition("/")[0]}/{name}'
        try:
            watch = CameraWatch(self, self._feed, self._faults, name, prefix, source)
        except ValueError as error:
            self._refused.add((name, source))
            self._faults.count('a camera', error)
        else:
            self._cameras[name] = watch


def is_camera_name(name: str) -> bool:
    """Whether depth_node can have a camera of this name."""
    return len(name) <= LONGEST_NAME and not check_camera_names([name])
