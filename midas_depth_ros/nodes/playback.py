"""When each picture of a source is due, and what time it is in between. Plain numbers, no ROS.

`Pacer` gives due times in seconds since the start, `Thinner` drops pictures of a device that is
too fast, `ClockTrack` gives the time for /clock.
"""

from __future__ import annotations

import dataclasses

NANOSECONDS = 1_000_000_000
PICTURES_RATE_HZ = 10.0  # of pictures, which have no rate of their own
LAG_S = 1.0  # who is later than this (a suspended laptop) doesn't hurry to catch up


class Pacer:
    """Due times of one frame after the other, over any number of passes through a source."""

    def __init__(self, rate_hz: float, source_rate_hz: float | None) -> None:
        """`rate_hz` overrules the source's own times; 0 keeps them."""
        self._period_s = 1.0 / (rate_hz or source_rate_hz or PICTURES_RATE_HZ)
        self._by_rate = rate_hz > 0
        self._pass_start_s = 0.0
        self._due_s: float | None = None
        self._interval_s = self._period_s

    def start_pass(self) -> None:
        """A new pass begins: its first frame follows the last one at the usual interval."""
        if self._due_s is not None:
            self._pass_start_s = self._due_s + self._interval_s

    def due_s(self, time_ns: int | None, now_s: float) -> float:
        """When the next frame is due; `time_ns` is its time in the source, None if it has none."""
        if time_ns is None or self._by_rate:
            due = 0.0 if self._due_s is None else self._due_s + self._period_s
        else:
            due = self._pass_start_s + time_ns / NANOSECONDS
        if now_s - due > LAG_S:
            self._pass_start_s += now_s - due
            due = now_s
        if self._due_s is not None and due > self._due_s:
            self._interval_s = due - self._due_s
        self._due_s = due
        return due


class Thinner:
    """Lets pictures that come by themselves pass at most at a rate."""

    def __init__(self, rate_hz: float) -> None:
        """0 lets all of them pass."""
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self._next_s = 0.0

    def passes(self, now_s: float) -> bool:
        """Whether the picture that has come now may pass."""
        # Half a millisecond: a camera at the very rate that is asked for jitters.
        if now_s < self._next_s - 0.0005:
            return False
        on_time = now_s < self._next_s + self._period_s
        self._next_s = (self._next_s if on_time else now_s) + self._period_s
        return True


@dataclasses.dataclass
class ClockTrack:
    """Recorded time: between two frames it passes evenly, and never runs ahead of the next one.

    Points are (stamp in nanoseconds, due time in seconds); (0, 0.0) is none yet.
    """

    last: tuple[int, float] = (0, 0.0)
    next: tuple[int, float] = (0, 0.0)

    def approach(self, stamp_ns: int, due_s: float) -> None:
        """The next frame is known."""
        self.last, self.next = self.next, (stamp_ns, due_s)

    def time_ns(self, now_s: float) -> int:
        """What /clock says; 0 while there is nothing to say."""
        (stamp, due), (next_stamp, next_due) = self.last, self.next
        if now_s >= next_due:
            return next_stamp
        if not stamp:
            return 0
        share = max(0.0, (now_s - due) / (next_due - due))
        return stamp + int(share * max(0, next_stamp - stamp))
