"""One camera's way in: subscribes, checks at the door, throttles, hands over to the worker.

Callbacks do no work on pixels: they read the fields of a serialised message. What is wrong with
an image is counted and said in one throttled warning that names the fault. While it is known that
frames would be of no use they are not even taken from the middleware.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from midas_depth_ros.geometry import CameraModel, CameraModelError
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
from midas_depth_ros.images.errors import MalformedMessage
from midas_depth_ros.nodes.depth.stamps import (
    Pace,
    RateBound,
    Restarts,
    Senders,
    StampJudge,
    StampThrottle,
    Verdict,
)
from midas_depth_ros.nodes.depth.worker import Frame, FrameExchange
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

    from midas_depth_ros.nodes.depth.reporting import CameraStatistics

# --- A subscription to pictures that costs little for those nobody will look at.
#
# Messages are taken serialised and only their fields are read (`images.cdr`). While the gate is
# closed they are not even taken: the middleware keeps the newest one and forgets the others. What
# comes out is a message, or the ImageError that says why there is none.

READERS: dict[type, Callable[[bytes], Any]] = {Image: read_image, CompressedImage: read_compressed}
SEQUENCE = 'publication_sequence_number'
UNNUMBERED = 2**64 - 1  # what a middleware says that has no numbers
MOST_MISSED = 1000  # a larger step in the sequence is another publisher, not frames of this one

OnMessage = Callable[[Any, int], None]
OnFault = Callable[[ImageError, int], None]


class GatedCallbackGroup(MutuallyExclusiveCallbackGroup):
    """A callback group that the executor passes over while it is closed, or there is no room."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        super().__init__()
        self.is_open = True
        self._has_room = has_room

    def can_execute(self, entity: Any) -> bool:
        """Asked by the executor whenever it begins to wait."""
        return self.is_open and self._has_room() and bool(super().can_execute(entity))


class ImageSubscription:
    """Calls `on_message(message, missed)` or `on_fault(error, missed)` in the executor's thread.

    While `has_room()` is false nothing is taken, which holds a reliable publisher back; when that
    changes, who knows it wakes the executor.
    `missed` says how many messages went by before this one while the gate was closed; 0 where
    the middleware does not number them. Raises ValueError as `quality_of_service` does.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        on_message: OnMessage,
        on_fault: OnFault,
        profile: QoSProfile,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._node = node
        self._kind = kind
        self._on_message = on_message
        self._on_fault = on_fault
        self._last_number: int | None = None
        self._was_closed = False
        self._senders = Senders()
        self._gate = GatedCallbackGroup(has_room)
        # Frames pass by in real time, whatever a simulated clock does.
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._opening = node.create_timer(3600.0, self._open, clock=self._clock)
        self._opening.cancel()
        numbered = hasattr(Subscription, 'CallbackType')  # Humble hands over the message alone
        self.subscription = qos.make_subscription(
            node,
            kind,
            topic,
            self._on_numbered if numbered else self._on_unnumbered,
            profile,
            serialised=True,
            callback_group=self._gate,
        )

    @property
    def topic(self) -> str:
        """The full name of the topic."""
        return str(self.subscription.topic_name)

    def mixed(self) -> bool:
        """Whether the message at hand cannot be said to be of the same camera as those before."""
        publishers = qos.count_publishers(self._node, self.subscription)
        return self._senders.mixed(publishers, time.monotonic())

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

    def _on_unnumbered(self, message: Any) -> None:
        self._take(message, 0)

    def _on_numbered(self, message: Any, info: Any) -> None:
        number = info.get(SEQUENCE) if hasattr(info, 'get') else None
        number = None if number == UNNUMBERED else number
        self._senders.add(number, time.monotonic())
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


FAULT_LOG_PERIOD_S = 5.0
CALM_INFOS = 20  # so many messages alike, and two cameras no longer take turns
NAMED_EVERY_S = 1.0  # who publishes, while there are several
IDLE_PAUSE_S = 0.2  # how long a new subscriber waits at most for the next frame to be looked at
# Parameters may change meanwhile, and what is not looked at must not pass for silence.
MOST_PAUSE_S, MOST_PAUSE_SHARE = 1.0, 0.25  # the share is of image_timeout
EARLY_S, EARLY_SHARE = 0.01, 0.05  # looked at again this long before a frame may pass
NO_INFO = 'no camera_info yet'
IMAGE, COMPRESSED = qos.type_name(Image), qos.type_name(CompressedImage)
BELOW = '/compressed'  # where image_transport puts the compressed pictures of a topic
ASPECT = 0.02  # camera_info of another aspect than the pictures is not theirs


class CameraInput:
    """The subscriptions of one camera, from `open()` to `close()`."""

    def __init__(
        self,
        node: Node,
        camera: str,
        settings: Callable[[], DepthNodeSettings],
        statistics: CameraStatistics,
        wanted: Callable[[], bool],
    ) -> None:
        self.camera = camera
        self._model: CameraModel | None = None
        self._told = NO_INFO  # what camera_info says, or why it cannot be right
        self._ignored, self._ignored_s = '', -math.inf  # the reason that was said last, and when
        self._misfit = ''  # why camera_info is not that of the pictures, as long as it is not
        self._uncalibrated_s: float | None = None
        self._node = node
        self._settings = settings
        self._exchange: FrameExchange | None = None
        self._statistics = statistics
        self._wanted = wanted
        self._forget_time(paced=True)
        self._infos = CameraInfoChanges()
        self._fault_logged_s = -FAULT_LOG_PERIOD_S
        self._images: ImageSubscription | None = None
        self._info_subscription: Subscription | None = None
        self._check: Callable[[Any, int], str] = check_image
        self._named_s, self._mixed_words = -math.inf, 'pictures of several cameras are mixed'
        self._missed_ending = 'throttled'  # of the frames that pass by while nothing is taken

    def open(self, exchange: FrameExchange) -> None:
        """Subscribe to the camera's topics; frames go into `exchange`."""
        settings = self._settings()
        self._exchange = exchange
        self._forget_time(paced=not settings.process_every_frame)
        raw = settings.transport == 'raw'
        self._check = check_image if raw else check_compressed
        self._images = ImageSubscription(
            self._node,
            Image if raw else CompressedImage,
            self._relative_topic(),
            self._receive,
            self._reject,
            qos.EVERY_IMAGE if settings.process_every_frame else qos.NEWEST,
            has_room=lambda: not exchange.is_full(self.camera),
        )
        self._info_subscription = qos.make_subscription(
            self._node,
            CameraInfo,
            f'{self.camera}/camera_info',
            self._on_camera_info,
            qos.LATCHED,
        )
        self._statistics.watch()

    def _forget_time(self, paced: bool) -> None:
        """Know nothing of the stamps, as before the first frame."""
        self._throttle, self._bound, self._pace = StampThrottle(), RateBound(), Pace()
        self._judge, self._restarts = StampJudge(paced), Restarts()
        self._restarted = False
        self._told_time = True

    @property
    def stamps(self) -> Verdict:
        """What is wrong with the stamps of the last seconds, if anything."""
        return self._judge.verdict

    def close(self) -> None:
        """Unsubscribe."""
        if self._images is not None:
            self._images.close()
            self._images = None
        if self._info_subscription is not None:
            qos.unsubscribe(self._node, self._info_subscription)
            self._info_subscription = None

    @property
    def topic(self) -> str:
        """The full name of the image topic, whether it is subscribed to or not."""
        if self._images is not None:
            return self._images.topic
        return self._node.resolve_topic_name(self._relative_topic())

    def _relative_topic(self) -> str:
        raw = self._settings().transport == 'raw'
        return f'{self.camera}/image_raw' + ('' if raw else BELOW)

    @property
    def topic_type(self) -> str:
        """The type of the image topic, as the graph has it; '' while closed."""
        return qos.type_name(self._images.subscription.msg_type) if self._images is not None else ''

    @property
    def awaited(self) -> str:
        """What is subscribed to and of which type, in words; '' while closed."""
        if self._images is None or self._info_subscription is None:
            return ''
        images, info = map(qos.topic_words, (self._images.subscription, self._info_subscription))
        return f'images on {images}, camera_info on {info}'

    def publishers(self) -> tuple[int, list[str]]:
        """How many publish on the image topic, and why some cannot reach us."""
        if self._images is None:
            return 0, []
        compressed = f'{self.camera}/image_raw{BELOW}'
        remedies = {
            IMAGE: f'set transport to raw, and remap {self.camera}/image_raw to this topic',
            COMPRESSED: f'set transport to compressed, and remap {compressed} to this topic',
        }
        return qos.publishers_of(self._node, self._images.subscription, remedies)

    def info_publishers(self) -> tuple[int, list[str]]:
        """How many publish on the topic of camera_info, and why some cannot reach us."""
        if self._info_subscription is None:
            return 0, []
        return qos.publishers_of(self._node, self._info_subscription)

    def elsewhere(self) -> str:
        """Where this camera's pictures are, if nobody publishes any where they are awaited."""
        if self._images is None or self._node.count_publishers(self.topic):
            return ''
        raw = self._settings().transport == 'raw'
        if not raw and not self.topic.endswith(BELOW):
            return ''
        topic = self.topic + BELOW if raw else self.topic.removesuffix(BELOW)
        kind = COMPRESSED if raw else IMAGE
        if all(end.topic_type != kind for end in self._node.get_publishers_info_by_topic(topic)):
            return ''
        return f'they are on {topic}: set transport to {"compressed" if raw else "raw"}'

    def publisher_nodes(self) -> list[str]:
        """Which nodes publish on the image topic, one entry for each publisher."""
        if self._images is None:
            return []
        return qos.publisher_nodes(self._node, self._images.subscription)

    def _mixed(self, now_s: float) -> str:
        """Why a picture may be of another camera than those before it; '' if it cannot."""
        if self._images is None or not self._images.mixed():
            self._named_s = -math.inf
            return ''
        if now_s - self._named_s > NAMED_EVERY_S:
            names = self.publisher_nodes()
            if len(names) > 1:
                self._mixed_words = qos.mixed_words(self.topic, names)
                self._named_s = now_s
        return self._mixed_words

    @property
    def calibration(self) -> str:
        """What is known of the camera and from where, or why it is not, as things are now."""
        fov = self._settings().horizontal_fov
        if self._misfit or self._model is not None or math.isnan(fov):
            return self._misfit or self._told
        assumed = f'assumed field of view {fov:.3f} rad'
        return assumed if self._told == NO_INFO else f'{assumed}, for {self._told}'

    def uncalibrated(self) -> str:
        """Why nothing has been known of the camera for a while; '' if something is.

        To be asked now and then: the while begins when it is first seen that nothing is known.
        """
        unknown = self._model is None or bool(self._misfit)
        if self._images is None or not unknown or not math.isnan(self._settings().horizontal_fov):
            self._uncalibrated_s = None
            return ''
        now_s = time.monotonic()
        if self._uncalibrated_s is None:
            self._uncalibrated_s = now_s
        if now_s - self._uncalibrated_s < self._settings().image_timeout:
            return ''
        if self._told != NO_INFO or self._info_subscription is None:
            return f'no metres: {self.calibration}'
        count, reasons = self.info_publishers()
        topic = self._info_subscription.topic_name
        where = f'publishers: {count} on {topic}, incompatible: {len(reasons)}'
        return f'{NO_INFO}, so no metres ({where})'

    def model_for(self, width: int, height: int) -> CameraModel | None:
        """What is known of the camera, for pictures of this size; None if nothing is.

        camera_info if it is of the same shape, else the assumed field of view.
        """
        model = self._model
        if model is not None:
            if abs(model.width * height - model.height * width) <= ASPECT * model.width * height:
                self._misfit = ''
                return (
                    model
                    if (model.width, model.height) == (width, height)
                    else (model.scaled(width, height))
                )
            self._misfit = (
                f'camera_info is of {model.width}x{model.height}, the pictures are '
                f'{width}x{height}: ignored'
            )
        fov = self._settings().horizontal_fov
        if math.isnan(fov):
            return None
        return CameraModel.from_field_of_view(width, height, fov)

    def complain(self, ending: str, text: str) -> None:
        """Count a bad frame and warn about it, at most once in a few seconds."""
        self._statistics.fault(ending, text)
        now = time.monotonic()
        if now - self._fault_logged_s >= FAULT_LOG_PERIOD_S:
            self._fault_logged_s = now
            self._node.get_logger().warning(f'{self.camera}: frame {ending}: {text}')

    def _reject(self, error: ImageError, missed: int) -> None:
        self._count_arrival(missed)
        self.complain('rejected', str(error))

    def _count_arrival(self, missed: int) -> None:
        self._statistics.received(1 + missed)
        if missed:
            self._statistics.count(self._missed_ending, missed)

    def _receive(self, message: Any, missed: int) -> None:
        self._count_arrival(missed)
        try:
            self._check_and_queue(message)
        except ImageError as error:
            self.complain('rejected', str(error))
        except Exception as error:  # noqa: BLE001 - fields that nobody thought of cost one frame
            self.complain('failed', f'{type(error).__name__}: {error}')
            self._node.get_logger().debug(traceback.format_exc())

    def _check_and_queue(self, message: Any) -> None:
        """Check a message, judge its stamp, hand it over if it is its turn. Raises ImageError."""
        settings = self._settings()
        if self._check(message, settings.max_pixels):
            self._statistics.unended += 1
        if self._misfit and hasattr(message, 'width'):  # also where nobody wants it made into depth
            self.model_for(message.width, message.height)
        received_s = time.monotonic()
        clock = self._node.get_clock()
        now_ns, simulated = clock.now().nanoseconds, getattr(clock, 'ros_time_is_active', False)
        stamp = stamp_ns(message.header)
        verdict = self._judge.add(stamp, received_s, now_ns, simulated)
        every = settings.process_every_frame
        if not self._wanted():
            self._statistics.count('unwanted')
            if not every:
                self._pause(IDLE_PAUSE_S, 'unwanted')
            return
        self._note_restart(stamp, verdict.tells_time or every)
        if not every and not self._has_turn(stamp, received_s, now_ns, simulated, verdict):
            self._statistics.count('throttled')
            return
        restarted, self._restarted = self._restarted, False
        frame = Frame(
            self.camera,
            message,
            stamp or now_ns,
            received_s,
            restarted,
            self._told_time,
            self._mixed(received_s),
        )
        if self._exchange is not None and self._exchange.put(frame) is not None:
            self._statistics.count('dropped')

    def _note_restart(self, stamp: int, tells_time: bool) -> None:
        """Take note when what is remembered of the frames before has lost its meaning."""
        went_back, restarted = self._restarts.add(stamp)
        self._statistics.stamp_jumps += went_back
        if tells_time != self._told_time:
            self._told_time = tells_time
            self._restarted = True
        elif restarted:
            self._restarted = True
            self._node.get_logger().info(f'{self.camera}: stamps went back, starting anew')

    def _has_turn(
        self, stamp: int, received_s: float, now_ns: int, simulated: bool, verdict: Verdict
    ) -> bool:
        """Whether the frame comes no sooner than max_rate allows.

        By its stamp, so that simulated time and a bag are throttled as the live camera was; by
        receipt where stamps do not tell time. Without a simulated clock max_rate holds by receipt
        in any case: stamps may jump as they like.
        """
        max_rate = self._settings().max_rate
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

    def _pause(self, seconds: float, ending: str) -> None:
        """Skip frames that are known to be dropped here anyway."""
        longest_s = min(MOST_PAUSE_S, MOST_PAUSE_SHARE * self._settings().image_timeout)
        if seconds > 0 and self._images is not None:
            self._missed_ending = ending
            self._images.pause(min(seconds, longest_s))

    def _on_camera_info(self, info: CameraInfo) -> None:
        news = self._infos.add(info)
        if self._infos.by_turns:
            self._forget_camera(
                f'{self.camera}/camera_info alternates between two cameras: leave one publisher'
            )
            return
        if not news:
            return
        try:
            rectified = self._settings().rectified
            self._model = CameraModel.from_camera_info(info, rectified=rectified)
            matrix = 'P of camera_info' if rectified else 'camera_info'
            self._told = f'{matrix} {info.width}x{info.height}'
            self._ignored = self._misfit = ''
        except CameraModelError as error:
            self._forget_camera(str(error))
        except Exception as error:
            self._forget_camera(f'{type(error).__name__}: {error}')
            raise  # into the boundary of the subscription

    def _forget_camera(self, reason: str) -> None:
        """What was known before is not known of this camera; the reason is said once.

        The numbers in it may be others in every message: what is wrong with them is the same.
        """
        self._model, self._told, self._misfit = None, reason, ''
        kind, now_s = reason.partition(' is ')[0], time.monotonic()
        if kind != self._ignored and now_s - self._ignored_s >= FAULT_LOG_PERIOD_S:
            self._ignored, self._ignored_s = kind, now_s
            self._node.get_logger().warning(f'{self.camera}: camera_info ignored: {reason}')


class CameraInfoChanges:
    """Whether what camera_info says changes, and whether it changes to and fro.

    Counted in messages, so that a bag is judged as the live camera was.
    """

    def __init__(self) -> None:
        self._last: CameraInfo | None = None
        self._before: CameraInfo | None = None
        self._since_turn = CALM_INFOS
        self._since_change = 0

    @property
    def by_turns(self) -> bool:
        """Whether two cameras have taken turns within the last messages."""
        return self._since_turn < CALM_INFOS

    def add(self, info: CameraInfo) -> bool:
        """Take a message; whether it is to be looked at: another one, or calm has come."""
        self._since_turn += 1
        self._since_change += 1
        if self._last is not None and same_camera(info, self._last):
            return self._since_turn == CALM_INFOS
        back = self._before is not None and same_camera(info, self._before)
        if back and self._since_change < CALM_INFOS:
            self._since_turn = 0
        self._before, self._last = self._last, info
        self._since_change = 0
        return True


def same_camera(one: CameraInfo, other: CameraInfo) -> bool:
    """Whether two CameraInfo messages differ in nothing but the header."""
    fields = [field for field in one.get_fields_and_field_types() if field != 'header']
    return all(_equal(getattr(one, field), getattr(other, field)) for field in fields)


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; NaN is the same as NaN."""
    if hasattr(one, 'tobytes') and hasattr(other, 'tobytes'):
        return bool(one.tobytes() == other.tobytes())
    return bool(one == other)
