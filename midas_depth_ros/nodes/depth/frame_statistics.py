"""What happens to each camera's frames, counted and timed; and how busy the process is.

Callbacks and the worker write to a `CameraStatistics` for each camera, `reporting.py` reads it.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics
import threading
import time
from collections.abc import Callable

WINDOW = 200  # frames over which medians are taken
RECENT = 15  # frames from which follows what rate is possible now
JUDGED = 3  # frames at least, before a model is called too slow
RATE_WINDOW_S = 5.0


class Times:
    """A sliding window of durations in milliseconds."""

    def __init__(self, window: int = WINDOW) -> None:
        self._values: collections.deque[float] = collections.deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Forget all durations."""
        self._values.clear()

    def add(self, seconds: float) -> None:
        """Add one duration in seconds."""
        self._values.append(seconds * 1e3)

    def summary(self) -> tuple[float, float] | None:
        """Median and 95th percentile in ms; None without a measurement."""
        ordered = sorted(self._values)  # at once: another thread may clear them
        if not ordered:
            return None
        return statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1) + 0.5)]


@dataclasses.dataclass
class Counts:
    """Where frames ended; every received frame is in exactly one of the others, or waits."""

    received: int = 0
    unwanted: int = 0  # no output had a subscriber
    throttled: int = 0  # faster than max_rate
    dropped: int = 0  # replaced by a newer one before its turn
    rejected: int = 0  # malformed
    failed: int = 0  # inference or an output raised
    processed: int = 0


class CameraStatistics:
    """Counts and times of one camera; written under a lock, single fields are read without it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.counts = Counts()
        self.stamp_jumps = 0
        self.unchanged = 0  # frames processed without inference: they showed the same as before
        self.unended = 0  # JPEGs without an end marker
        self.latency, self.stamp_age, self.inference = Times(), Times(), Times()
        self.work = Times(RECENT)  # the worker's time for a frame, at the network's size of now
        self.network_size: tuple[int, int] | None = None  # width, height
        self.first_work_s = 0.0  # of the first frame at that size
        self.slowness_logged: object = None  # what was last logged of it
        self.last_fault = ''
        self.blind = self.partly_blind = ''  # why the last picture says nothing, or a part of it
        self.bit_depth = ''
        self._fault_at: float | None = None
        self._arrivals: collections.deque[float] = collections.deque(maxlen=1000)
        self._outputs: collections.deque[float] = collections.deque(maxlen=1000)
        self._watched_since = self._clock()
        self._busy_since: float | None = None

    def watch(self) -> None:
        """Images are expected from now on: silence is counted from here."""
        with self._lock:
            self._watched_since = self._clock()

    def received(self, images: int = 1) -> None:
        """Count images that arrived since the last call."""
        with self._lock:
            self.counts.received += images
            self._arrivals.extend([self._clock()] * images)

    def count(self, ending: str, frames: int = 1) -> None:
        """Count frames in one of the fields of `Counts`."""
        with self._lock:
            setattr(self.counts, ending, getattr(self.counts, ending) + frames)

    def fault(self, ending: str, text: str) -> None:
        """Count a frame that was rejected or failed, and keep the reason."""
        self.count(ending)
        with self._lock:
            self.last_fault, self._fault_at = text, self._clock()

    def busy(self, at_work: bool) -> None:
        """The worker begins a frame of this camera, or has finished it."""
        with self._lock:
            self._busy_since = self._clock() if at_work else None

    def busy_for(self) -> float:
        """Seconds the worker has spent on the current frame; 0 without one."""
        with self._lock:
            return 0.0 if self._busy_since is None else self._clock() - self._busy_since

    def judged(self, blind: str, partly_blind: str) -> None:
        """Keep why the last picture, or a part of it, says nothing about depth; '' if it does."""
        with self._lock:
            self.blind, self.partly_blind = blind, partly_blind

    def processed(self, latency_s: float, stamp_age_s: float, inference_s: float | None) -> None:
        """Count a frame whose outputs were published; inference_s: None without inference."""
        with self._lock:
            self.counts.processed += 1
            self.latency.add(latency_s)
            self.stamp_age.add(stamp_age_s)
            if inference_s is None:
                self.unchanged += 1
            else:
                self.inference.add(inference_s)
            self._outputs.append(self._clock())

    def worked(self, seconds: float, network_size: tuple[int, int]) -> bool:
        """Keep how long the worker took for a frame; whether it is the first of its network size.

        The first one counts apart: a network may have to be prepared for it.
        """
        with self._lock:
            if network_size == self.network_size:
                self.work.add(seconds)
                return False
            self.network_size, self.first_work_s = network_size, seconds
            self.work.clear()
            return True

    def work_ms(self) -> float | None:
        """Median of the worker's time for a frame; None before there are a few."""
        with self._lock:
            summary = self.work.summary() if len(self.work) >= JUDGED else None
            return summary[0] if summary else None

    def silent_for(self) -> float:
        """Seconds since the last image, or since images are expected."""
        with self._lock:
            last = self._arrivals[-1] if self._arrivals else self._watched_since
            return self._clock() - max(last, self._watched_since)

    def recent_fault(self, within_s: float = RATE_WINDOW_S) -> str:
        """The last fault, if it is not older than this; else ''."""
        with self._lock:
            if self._fault_at is None or self._clock() - self._fault_at > within_s:
                return ''
            return self.last_fault

    def rates(self) -> tuple[float, float]:
        """Images in and frames out per second over the last seconds."""
        with self._lock:
            return self._rate(self._arrivals), self._rate(self._outputs)

    def _rate(self, moments: collections.deque[float]) -> float:
        now = self._clock()
        recent = sum(1 for moment in moments if now - moment <= RATE_WINDOW_S)
        return recent / min(RATE_WINDOW_S, max(now - self._watched_since, 1.0))


class ProcessorUse:
    """How busy this process is, all its threads together, from one question to the next."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._busy = clock, busy
        self._last = clock(), busy()

    def percent(self) -> float:
        """Processor time since the last question; 100 is one core."""
        now, busy = self._clock(), self._busy()
        elapsed_s, busy_s = now - self._last[0], busy - self._last[1]
        self._last = now, busy
        return 100 * busy_s / elapsed_s if elapsed_s > 0 else 0.0
