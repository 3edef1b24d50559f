"""A subscription to pictures that costs little for those nobody will look at.

Messages are taken serialised and only their fields are read (`images.cdr`). While the gate is
closed they are not even taken: the middleware keeps the newest one and forgets the others. What
comes out is a message, or the ImageError that says why there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.images import ImageError, is_plain_cdr, read_compressed, read_image
from midas_depth_ros.images.errors import MalformedMessage
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.serialised import Unreadable, deserialised
from midas_depth_ros.nodes.stamps import Senders

if TYPE_CHECKING:
    from rclpy.node import Node

READERS: dict[type, Callable[[bytes], Any]] = {Image: read_image, CompressedImage: read_compressed}
SEQUENCE = 'publication_sequence_number'
UNNUMBERED = 2**64 - 1  # what a middleware says that has no numbers
MOST_MISSED = 1000  # a larger step in the sequence is another publisher, not frames of this one

OnMessage = Callable[[Any, int], None]
OnFault = Callable[[ImageError, int], None]


class Gate(MutuallyExclusiveCallbackGroup):
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
        self._gate = Gate(has_room)
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
