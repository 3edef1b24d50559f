"""Which frame next: throttling by stamps or by receipt, newest frame only, fair among cameras.

Plain Python, no ROS: frames come in from subscription callbacks, one worker thread takes them
out. A frame that is replaced before it was taken is a counted drop, never a queue.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from midas_depth_ros.images import NANOSECONDS

JITTER = 0.25  # share of a period by which a frame may come early without being skipped
BURST, SLACK = 2.0, 1.02  # frames at once; clocks of camera and computer differ a little
# For stamps to count as steady.
PACE_WINDOWS, PACE_WINDOW_S, PACE_RATIO, PACE_JITTER_S = 3, 0.25, 1.2, 0.03


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image message on its way through the node."""

    camera: str
    message: Any
    stamp_ns: int
    received_s: float  # monotonic clock
    restarted: bool = False  # time began anew before this frame: what came before has no meaning
    tells_time: bool = True  # whether its stamp can be used to tell how much later it is
    mixed: str = ''  # why it may be of another camera than the frames before

    @property
    def time_s(self) -> float:
        """When it was, for what is remembered from frame to frame: by its stamp, or by receipt."""
        return self.stamp_ns / NANOSECONDS if self.tells_time else self.received_s


class StampThrottle:
    """Lets frames of one camera pass no faster than a rate, judged by their stamps alone.

    So a replayed bag or simulated time is throttled as the live camera was. The mean rate is
    held even if the stamps jitter: each frame that passes books the next slot of a fixed grid.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._due_ns = 0

    def jumped_back(self, stamp_ns: int) -> bool:
        """Whether the stamp is older than the last one seen: a loop or a clock jump."""
        return self._last_ns is not None and stamp_ns < self._last_ns

    def passes(self, stamp_ns: int, max_rate_hz: float) -> bool:
        """Whether a frame with this stamp may pass; 0 Hz means without limit."""
        if self.jumped_back(stamp_ns) or self._last_ns is None:
            self._due_ns = stamp_ns
        self._last_ns = stamp_ns
        if max_rate_hz <= 0:
            return True
        period_ns = int(NANOSECONDS / max_rate_hz)
        if stamp_ns < self._due_ns - period_ns * JITTER:
            return False
        gap = stamp_ns > self._due_ns + period_ns
        self._due_ns = (stamp_ns if gap else self._due_ns) + period_ns
        return True

    def closed_for_s(self, stamp_ns: int, max_rate_hz: float) -> float:
        """Seconds after this stamp before which no frame can pass; 0 without a limit."""
        if max_rate_hz <= 0:
            return 0.0
        tolerance_ns = NANOSECONDS / max_rate_hz * JITTER
        return max(0.0, (self._due_ns - tolerance_ns - stamp_ns) / NANOSECONDS)


class RateBound:
    """Lets no more than a rate pass, whatever the stamps say: by the time that it is given.

    As many frames as a burst holds may pass at once, so that what comes late by chance is not lost.
    """

    def __init__(self) -> None:
        self._free = BURST
        self._last_s: float | None = None

    def passes(self, now_s: float, max_rate_hz: float) -> bool:
        """Whether a frame may pass now; 0 Hz means without limit. A clock set back starts anew."""
        elapsed_s = max(0.0, now_s - self._last_s) if self._last_s is not None else 0.0
        self._last_s = now_s
        if max_rate_hz <= 0:
            return True
        self._free = min(BURST, self._free + SLACK * max_rate_hz * elapsed_s)
        if self._free < 1.0:
            return False
        self._free -= 1.0
        return True


class Pace:
    """Whether stamps go as the wall clock goes, or slower: then time tells what is to come.

    A bag that is played fast does not, nor do stamps that jump.
    """

    def __init__(self) -> None:
        self._since: tuple[int, float] | None = None
        self._good = 0  # windows in a row

    @property
    def steady(self) -> bool:
        """Whether it has been so for some windows: a mere pause looks like slow stamps once."""
        return self._good >= PACE_WINDOWS

    def add(self, stamp_ns: int, received_s: float) -> None:
        """Take a frame into account."""
        if self._since is None:
            self._since = stamp_ns, received_s
            return
        elapsed_s = received_s - self._since[1]
        advanced_s = (stamp_ns - self._since[0]) / NANOSECONDS
        if elapsed_s >= PACE_WINDOW_S or advanced_s < 0:
            good = 0 <= advanced_s <= PACE_RATIO * elapsed_s + PACE_JITTER_S
            self._good = self._good + 1 if good else 0
            self._since = stamp_ns, received_s


class FrameExchange:
    """Frames between the callbacks and the worker: a slot per camera, taken in turn.

    With `capacity` 1 a new frame replaces a waiting one (`put` returns the one it replaced). With a
    larger capacity nothing is replaced (replay of every frame): who puts asks `is_full` first and
    is called by `on_room` when there is room again; `put` itself waits for it.
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
        """Hand a frame over; returns the frame that it replaced and that nobody will see."""
        with self._changed:
            queue = self._waiting[frame.camera]
            replaced = None
            if self._capacity == 1 and queue:
                replaced = queue.popleft()
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
        """Wake everybody and refuse further frames; what waits is forgotten."""
        with self._changed:
            self._closed = True
            for queue in self._waiting.values():
                queue.clear()
            self._changed.notify_all()
