"""One camera's way in: subscribe, check, throttle to max_rate, hand over to the worker.

Callbacks never touch pixels: they read only the fields of a serialised message. A malformed image
is counted, and reported in a throttled warning that names the fault.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.images import (
    NANOSECONDS,
    ImageError,
    check_compressed,
    check_image,
    is_plain_cdr,
    read_compressed,
    read_image,
    stamp_ns,
)
from midas_depth_ros.images.compressed import DEPTH, DEPTH_ENDING
from midas_depth_ros.images.errors import MalformedMessage, UnsupportedFormat
from midas_depth_ros.nodes.depth.stamps import (
    PublisherWatch,
    RateBound,
    RestartDetector,
    StampJudge,
    StampPace,
    StampThrottle,
    StampVerdict,
)
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised

if TYPE_CHECKING:
    from rclpy.node import Node

    from midas_depth_ros.nodes.depth.worker import Camera

# --- Messages are taken serialised and only their fields are read (`images.message_bytes`). While
# the gate is closed they are not even taken: the middleware keeps the newest one and drops others.

READERS: dict[type, Callable[[bytes], Any]] = {Image: read_image, CompressedImage: read_compressed}
MOST_MISSED = 1000  # a larger step in the sequence is another publisher, not frames of this one


class GatedCallbackGroup(MutuallyExclusiveCallbackGroup):
    """A callback group that the executor skips while it is closed, or while there is no room."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        super().__init__()
        self.is_open = True
        self._has_room = has_room

    def can_execute(self, entity: Any) -> bool:
        """Called by the executor whenever it begins to wait."""
        return self.is_open and self._has_room() and bool(super().can_execute(entity))


class ImageSubscription:
    """Calls `on_message(message, missed)` or `on_fault(error, missed)` in the executor's thread.

    While `has_room()` is false nothing is taken, which holds a reliable publisher back; wake the
    executor when that changes. missed: how many messages went by while the gate was closed; 0
    if the middleware does not number them. Raises ValueError as `quality_of_service` does.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        on_message: Callable[[Any, int], None],
        on_fault: Callable[[ImageError, int], None],
        profile: QoSProfile,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._node = node
        self._kind = kind
        self._on_message = on_message
        self._on_fault = on_fault
        self._last_number: int | None = None
        self._was_closed = False
        self._publisher_watch = PublisherWatch()
        self._gate = GatedCallbackGroup(has_room)
        # Frames arrive in real time, whatever a simulated clock does.
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._opening = node.create_timer(3600.0, self._open, clock=self._clock)
        self._opening.cancel()
        numbered = hasattr(Subscription, 'CallbackType')  # Humble hands over the message alone
        self.subscription = qos.make_subscription(
            node,
            kind,
            topic,
            self._on_numbered if numbered else lambda message: self._take(message, 0),
            profile,
            serialised=True,
            callback_group=self._gate,
        )

    def mixed(self) -> bool:
        """Whether the current message may be of another camera than those before."""
        publishers = qos.count_publishers(self._node, self.subscription)
        return self._publisher_watch.mixed(publishers, time.monotonic())

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._opening)
        qos.unsubscribe(self._node, self.subscription)

    def pause(self, seconds: float) -> None:
        """Take nothing for this long; called from within the callbacks."""
        self._gate.is_open = False
        self._was_closed = True
        self._opening.timer_period_ns = int(seconds * 1e9)
        self._opening.reset()

    def _open(self) -> None:
        self._opening.cancel()
        self._gate.is_open = True

    def _on_numbered(self, message: Any, info: Any) -> None:
        number = qos.number_of(info)
        self._publisher_watch.add(number, time.monotonic())
        missed = 0
        if number is not None and self._last_number is not None and self._was_closed:
            missed = number - self._last_number - 1
        self._last_number = number
        self._was_closed = False
        self._take(message, missed if 0 < missed < MOST_MISSED else 0)

    def _take(self, message: Any, missed: int) -> None:
        if isinstance(message, bytes):
            try:
                plain = is_plain_cdr(message)
                read = READERS[self._kind]
                message = read(message) if plain else deserialised(message, self._kind)
            except ImageError as error:
                self._on_fault(error, missed)
                return
            except Unreadable as error:
                self._on_fault(MalformedMessage(str(error)), missed)
                return
        self._on_message(message, missed)


# --- Frames on their way from the callbacks to the worker.


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image message on its way through the node."""

    camera: str
    message: Any
    stamp_ns: int
    received_s: float  # monotonic clock
    restarted: bool = False  # time began anew before this frame: earlier state is meaningless
    tells_time: bool = True  # whether stamps can be used to measure time between frames
    mixed: str = ''  # why it may be of another camera than the frames before

    @property
    def time_s(self) -> float:
        """The time for what is remembered between frames: its stamp, or its receipt."""
        return self.stamp_ns / NANOSECONDS if self.tells_time else self.received_s


class FrameExchange:
    """Frames between the callbacks and the worker: a slot per camera, taken in turn.

    With `capacity` 1 a new frame replaces a waiting one, which `put` returns. With a larger one
    (replay of every frame) `put` blocks while `is_full`; `on_room` is called when there is room.
    """

    def __init__(
        self,
        cameras: tuple[str, ...],
        capacity: int = 1,
        on_room: Callable[[], object] = lambda: None,
    ) -> None:
        self._waiting: dict[str, collections.deque[Frame]] = {
            camera: collections.deque() for camera in cameras
        }
        self._turn = collections.deque(cameras)
        self._capacity = capacity
        self._on_room = on_room
        self._closed = False
        self._changed = threading.Condition()

    def is_full(self, camera: str) -> bool:
        """Whether the next frame of this camera would have to wait."""
        with self._changed:
            full = len(self._waiting[camera]) >= self._capacity > 1
            return full and not self._closed

    def put(self, frame: Frame) -> Frame | None:
        """Hand a frame over; returns the frame that was dropped for it, if any."""
        with self._changed:
            queue = self._waiting[frame.camera]
            replaced = None
            if self._capacity == 1 and queue:
                replaced = queue.popleft()
                if replaced.restarted:  # time began anew for this frame, too
                    frame = dataclasses.replace(frame, restarted=True)
            else:
                self._changed.wait_for(lambda: len(queue) < self._capacity or self._closed)
            if self._closed:
                return frame
            queue.append(frame)
            self._changed.notify_all()
            return replaced

    def take(self) -> Frame | None:
        """Wait for the next frame, the cameras in turn; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._waiting.values()))
            if self._closed:
                return None
            while not self._waiting[self._turn[0]]:
                self._turn.rotate(-1)
            frame = self._waiting[self._turn[0]].popleft()
            self._turn.rotate(-1)
            self._changed.notify_all()
        if self._capacity > 1:
            self._on_room()
        return frame

    def close(self) -> None:
        """Wake all that wait, drop waiting frames and refuse further ones."""
        with self._changed:
            self._closed = True
            for queue in self._waiting.values():
                queue.clear()
            self._changed.notify_all()


FAULT_LOG_PERIOD_S = 5.0
PUBLISHERS_NAMED_EVERY_S = 1.0  # while there are several
IDLE_PAUSE_S = 0.2  # how long a new subscriber waits at most for the next frame to be taken
# Parameters may change meanwhile, and a pause must not pass for silence.
MOST_PAUSE_S, MOST_PAUSE_SHARE = 1.0, 0.25  # the share is of image_timeout
EARLY_S, EARLY_SHARE = 0.01, 0.05  # the gate opens this long before a frame may pass
IMAGE, COMPRESSED = qos.type_name(Image), qos.type_name(CompressedImage)
BELOW = '/compressed'  # where image_transport puts the compressed images of a topic


class CameraInput:
    """The image subscription of one camera, from `open()` to `close()`."""

    def __init__(self, node: Node, camera: Camera, transport: str) -> None:
        """camera: has the `calibration` and counts in `statistics`. transport: as the parameter."""
        self._node = node
        self._camera = camera
        self._raw = transport == 'raw'
        self._relative_topic = f'{camera.name}/image_raw' + ('' if self._raw else BELOW)
        self._exchange: FrameExchange | None = None
        self._images: ImageSubscription | None = None
        self._forget_time(paced=True)
        self._fault_logged_s = -FAULT_LOG_PERIOD_S
        self._named_s, self._mixed_reason = -math.inf, 'pictures of several cameras are mixed'
        self._missed_count = 'throttled'  # which count frames go to that are not even taken

    def open(self, exchange: FrameExchange) -> None:
        """Subscribe to the camera's topics; frames go into `exchange`."""
        every_frame = self._node.settings.process_every_frame
        name = self._camera.name
        self._exchange = exchange
        self._forget_time(paced=not every_frame)
        self._images = ImageSubscription(
            self._node,
            Image if self._raw else CompressedImage,
            self._relative_topic,
            self._on_image,
            self._on_malformed,
            qos.EVERY_IMAGE if every_frame else qos.NEWEST,
            has_room=lambda: not exchange.is_full(name),
        )
        if self.topic.endswith(DEPTH_ENDING):
            self._node.get_logger().error(f'{name}: {self._is_depth}')
        self._camera.calibration.open()
        self._camera.statistics.watch()

    def _forget_time(self, paced: bool) -> None:
        """Know nothing of the stamps, as before the first frame."""
        self._throttle, self._bound, self._pace = StampThrottle(), RateBound(), StampPace()
        self._judge, self._restarts = StampJudge(paced), RestartDetector()
        self._restarted = False
        self._stamps_told_time = True

    def close(self) -> None:
        """Unsubscribe."""
        if self._images is not None:
            self._images.close()
            self._images = None
        self._camera.calibration.close()

    @property
    def _subscription(self) -> Subscription | None:
        return None if self._images is None else self._images.subscription

    @property
    def stamps(self) -> StampVerdict:
        """What is wrong with the stamps of the last seconds, if anything."""
        return self._judge.verdict

    @property
    def topic(self) -> str:
        """The full name of the image topic, whether it is subscribed to or not."""
        if self._subscription is not None:
            return str(self._subscription.topic_name)
        return self._node.resolve_topic_name(self._relative_topic)

    @property
    def topic_type(self) -> str:
        """The type of the image topic, as the graph has it; '' while closed."""
        return qos.type_name(self._images.subscription.msg_type) if self._images is not None else ''

    @property
    def subscribed(self) -> str:
        """The image topic that is subscribed to and its type, as text; '' while closed."""
        return qos.topic_words(self._subscription)

    def publishers(self) -> tuple[int, list[str]]:
        """How many publish on the image topic, and why some cannot reach us."""
        raw = f'{self._camera.name}/image_raw'
        remedies = {
            IMAGE: f'set transport to raw, and remap {raw} to this topic',
            COMPRESSED: f'set transport to compressed, and remap {raw}{BELOW} to this topic',
        }
        count, reasons = qos.publishers_of(self._node, self._subscription, remedies)
        if self._subscription is not None and self.topic.endswith(DEPTH_ENDING):
            return count, [self._is_depth]
        return count, reasons

    @property
    def _is_depth(self) -> str:
        remap = f'remap {self._relative_topic} to it'
        return f'{self.topic} {DEPTH} ({remap})'

    def publisher_nodes(self) -> list[str]:
        """Which nodes publish on the image topic, one entry for each publisher."""
        return qos.publisher_nodes(self._node, self._subscription)

    def other_transport(self) -> str:
        """Where this camera's images are published instead, if nobody publishes on its topic."""
        if self._images is None or self._node.count_publishers(self.topic):
            return ''
        if not self._raw and not self.topic.endswith(BELOW):
            return ''
        topic = self.topic + BELOW if self._raw else self.topic.removesuffix(BELOW)
        kind = COMPRESSED if self._raw else IMAGE
        if all(end.topic_type != kind for end in self._node.get_publishers_info_by_topic(topic)):
            return ''
        return f'they are on {topic}: set transport to {"compressed" if self._raw else "raw"}'

    def report_fault(self, count: str, text: str) -> None:
        """Count a frame as `rejected` or `failed`, and warn at most once in a few seconds."""
        self._camera.statistics.fault(count, text)
        now = time.monotonic()
        if now - self._fault_logged_s >= FAULT_LOG_PERIOD_S:
            self._fault_logged_s = now
            self._node.get_logger().warning(f'{self._camera.name}: frame {count}: {text}')

    def _on_malformed(self, error: ImageError, missed: int) -> None:
        self._count_arrival(missed)
        self.report_fault('rejected', str(error))

    def _on_image(self, message: Any, missed: int) -> None:
        self._count_arrival(missed)
        try:
            self._check_and_queue(message)
        except ImageError as error:
            self.report_fault('rejected', str(error))
        except Exception as error:  # noqa: BLE001 - unforeseen fields cost one frame
            self.report_fault('failed', f'{type(error).__name__}: {error}')
            self._node.get_logger().debug(traceback.format_exc())

    def _count_arrival(self, missed: int) -> None:
        self._camera.statistics.received(1 + missed)
        if missed:
            self._camera.statistics.count(self._missed_count, missed)

    def _check_and_queue(self, message: Any) -> None:
        """Check a message, judge its stamp, hand it over if max_rate allows. Raises ImageError."""
        settings, camera = self._node.settings, self._camera
        if self.topic.endswith(DEPTH_ENDING):
            raise UnsupportedFormat(self._is_depth)
        check: Callable[[Any, int], str] = check_image if self._raw else check_compressed
        if check(message, settings.max_pixels):
            camera.statistics.unended += 1
        if hasattr(message, 'width'):
            camera.calibration.check_size(message.width, message.height)
        received_s = time.monotonic()
        clock = self._node.get_clock()
        now_ns, simulated = clock.now().nanoseconds, getattr(clock, 'ros_time_is_active', False)
        stamp = stamp_ns(message.header)
        verdict = self._judge.add(stamp, received_s, now_ns, simulated)
        every_frame = settings.process_every_frame
        if not camera.wanted():
            camera.statistics.count('unwanted')
            if not every_frame:
                self._pause(IDLE_PAUSE_S, 'unwanted')
            return
        self._note_restart(stamp, verdict.tells_time or every_frame)
        if not every_frame and not self._is_due(stamp, received_s, now_ns, simulated, verdict):
            camera.statistics.count('throttled')
            return
        restarted, self._restarted = self._restarted, False
        frame = Frame(
            camera.name,
            message,
            stamp or now_ns,
            received_s,
            restarted,
            self._stamps_told_time,
            self._mixed(received_s),
        )
        if self._exchange is not None and self._exchange.put(frame) is not None:
            camera.statistics.count('dropped')

    def _note_restart(self, stamp: int, tells_time: bool) -> None:
        """Remember when the state kept from earlier frames has become meaningless."""
        went_back, restarted = self._restarts.add(stamp)
        self._camera.statistics.stamp_jumps += went_back
        if tells_time != self._stamps_told_time:
            self._stamps_told_time = tells_time
            self._restarted = True
        elif restarted:
            self._restarted = True
            self._node.get_logger().info(f'{self._camera.name}: stamps went back, starting anew')

    def _is_due(
        self, stamp: int, received_s: float, now_ns: int, simulated: bool, verdict: StampVerdict
    ) -> bool:
        """Whether max_rate lets the frame pass.

        By its stamp, so that simulated time and a bag are throttled as the live camera was. By
        receipt if stamps do not tell time, and also whenever time is not simulated.
        """
        max_rate = self._node.settings.max_rate
        if not verdict.tells_time:
            now_s = now_ns / NANOSECONDS if simulated else received_s
            return self._bound.passes(now_s, max_rate)
        stamp = stamp or now_ns
        passes = self._throttle.passes(stamp, max_rate)
        self._pace.add(stamp, received_s)
        if self._pace.steady:
            closed_s = self._throttle.closed_for_s(stamp, max_rate)
            self._pause(closed_s - max(EARLY_S, EARLY_SHARE * closed_s), 'throttled')
        return passes and (simulated or self._bound.passes(received_s, max_rate))

    def _pause(self, seconds: float, count: str) -> None:
        """Take no frames that would be dropped here anyway; they are counted as `count`."""
        longest_s = min(MOST_PAUSE_S, MOST_PAUSE_SHARE * self._node.settings.image_timeout)
        if seconds > 0 and self._images is not None:
            self._missed_count = count
            self._images.pause(min(seconds, longest_s))

    def _mixed(self, now_s: float) -> str:
        """Why a picture may be of another camera than those before it; '' if it is not."""
        if self._images is None or not self._images.mixed():
            self._named_s = -math.inf
            return ''
        if now_s - self._named_s > PUBLISHERS_NAMED_EVERY_S:
            names = self.publisher_nodes()
            if len(names) > 1:
                self._mixed_reason = qos.mixed_words(self.topic, names)
                self._named_s = now_s
        return self._mixed_reason
