"""The stamps of one camera: whether they are valid, and which frames `max_rate` lets pass.

Plain Python, no ROS. A `StampVerdict` names a fault, its size and the remedy. Stamps are
compared with steady time, or with a simulated clock where the node has one: so a bag that is played
slowly is valid as long as /clock is as slow.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable

from midas_depth_ros.images import NANOSECONDS

WINDOW_S = 3.0  # of receipt, over which stamps are judged
FEWEST, SHORTEST_S = 4, 0.8  # frames and seconds that a verdict needs
JUDGED_EVERY_S = 0.2
SLOW, FAST = 0.5, 2.0  # seconds of stamps in one second; wide, for late frames and bursts
FAR_S = 1.0  # from the node's clock; consumers of the outputs look no farther back either
CLOCK_STILL_S = 2.0
SHORTEST_CLOCK_S = 0.1  # of simulated time, to measure a pace
# Of the steps in a window.
MOSTLY_BACK, OFTEN_BACK, TIMES_BACK = 0.75, 0.25, 2
APART_S = 0.5  # two sequences; less may be the jitter of one
CALM_FRAMES, FORGET_FRAMES = 10, 100  # without a step back
TIMES_RESUMED = 2
# Several publishers on one topic.
TURNS_S = 30.0  # sequence numbers that go back twice within this: publishers take turns
SURE_S = 3.0  # a publisher that sends nothing for this long no longer counts
MOST_STEP = 100  # a larger step between sequence numbers is another publisher
GONE_S = 0.5  # messages of a publisher that is gone may still arrive for this long


@dataclasses.dataclass(frozen=True)
class StampVerdict:
    """text: the fault and its remedy, or ''. tells_time: whether stamps advance as time does."""

    text: str = ''
    tells_time: bool = True


class RestartDetector:
    """Tells a restart (a bag that loops, a clock that was set) from stamps out of order.

    By the stamps alone, so that a recording is always judged alike. The first step back is a
    restart; if one soon follows another, or stamps go on from before it, there are two publishers.
    """

    def __init__(self) -> None:
        self._newest: int | None = None
        self._left = 0  # the stamp before the step back
        self._frames = FORGET_FRAMES  # since the step back
        self._resumed = 0

    @property
    def mixed(self) -> bool:
        """Whether two sequences of stamps alternate."""
        return self._resumed >= TIMES_RESUMED

    def add(self, stamp_ns: int) -> tuple[bool, bool]:
        """Whether the stamp is older than the one before, and whether that is a restart."""
        newest, self._newest = self._newest, stamp_ns
        if newest is None:
            return False, False
        self._frames += 1
        if stamp_ns >= newest:
            if newest <= self._left < stamp_ns and self._frames < CALM_FRAMES:
                self._resumed += 1
            if self._frames >= FORGET_FRAMES:
                self._resumed = 0
            return False, False
        calm = self._frames >= CALM_FRAMES
        self._left = newest if calm else max(newest, self._left)
        self._frames = 0
        return True, calm and not self.mixed


class PublisherWatch:
    """Whether the images of one topic may be those of several cameras in turn.

    Every publisher numbers its messages, from one up. With several publishers nothing counts until
    the numbers have been those of one for a while: then the others are idle, or died and linger.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._left = 0  # the number before the step back
        self._changes_s: collections.deque[float] = collections.deque(maxlen=2)
        self._forward = 0  # messages since then
        self._several_s = -math.inf  # when there last were several publishers
        self._since_s: float | None = None  # since when there are several

    def add(self, number: int | None, now_s: float) -> None:
        """Add the sequence number of a message; None where the middleware has none."""
        if number is None:
            return
        last, self._last = self._last, number
        self._forward += 1
        if last is None:
            return
        back = number <= last
        leapt = self._since_s is not None and number - last > MOST_STEP
        if back or leapt or self._resumed(last, number, now_s):
            self._left = last if back else number
            self._changes_s.append(now_s)
            self._forward = 0

    def mixed(self, publishers: int, now_s: float) -> bool:
        """Whether an image that arrives now may be of another camera than those before.

        publishers: how many there are on the topic.
        """
        if publishers > 1:
            self._several_s = now_s
            if self._since_s is None:
                self._since_s, self._forward = now_s, 0
            return not self._only_one_sends(now_s)
        self._since_s = None
        return now_s - self._several_s < GONE_S or self._took_turns(2 * GONE_S, now_s)

    def _resumed(self, last: int, number: int, now_s: float) -> bool:
        """Whether the numbers jump back to where they were before the step back."""
        if not self._changes_s or not last < self._left < number:
            return False
        return now_s - self._changes_s[-1] < SURE_S

    def _only_one_sends(self, now_s: float) -> bool:
        if self._since_s is None or self._took_turns(TURNS_S, now_s):
            return False
        changed_s = max(self._since_s, *self._changes_s, -math.inf)
        return now_s - changed_s > SURE_S and self._forward >= FEWEST

    def _took_turns(self, within_s: float, now_s: float) -> bool:
        if len(self._changes_s) < 2 or now_s - self._changes_s[1] > within_s:
            return False
        return self._changes_s[1] - self._changes_s[0] < within_s


@dataclasses.dataclass(frozen=True)
class _Seen:
    received_s: float
    stamp_ns: int
    clock_ns: int


class StampJudge:
    """Judges the stamps of one camera over the last seconds.

    paced: False for a replay, whose frames come as fast as they are processed: then only their
    order is judged.
    """

    def __init__(self, paced: bool = True) -> None:
        self._paced = paced
        self._meanwhile = 'frames are throttled by receipt' if paced else 'all frames are processed'
        self._seen: collections.deque[_Seen] = collections.deque(maxlen=1000)
        self._simulated = False
        self._judged_s = -JUDGED_EVERY_S
        self.verdict = StampVerdict()

    def add(self, stamp_ns: int, received_s: float, clock_ns: int, simulated: bool) -> StampVerdict:
        """Add a frame.

        received_s: steady clock. clock_ns: the node's clock then. simulated: whether that follows
        /clock.
        """
        clock_set = simulated and self._seen and clock_ns < self._seen[-1].clock_ns
        if clock_set or simulated != self._simulated:
            self._seen.clear()  # time itself has changed: earlier frames mean nothing now
        self._simulated = simulated
        self._seen.append(_Seen(received_s, stamp_ns, clock_ns))
        while len(self._seen) > FEWEST and received_s - self._seen[0].received_s > WINDOW_S:
            self._seen.popleft()
        if received_s - self._judged_s >= JUDGED_EVERY_S:
            self._judged_s = received_s
            self.verdict = self._judge()
        return self.verdict

    def _judge(self) -> StampVerdict:
        seen = self._seen
        if not any(each.stamp_ns for each in seen):
            return StampVerdict(
                'the pictures have no stamps (0), nor have the outputs, so their age is unknown; '
                f'{self._meanwhile}: set stamps in the camera driver',
                tells_time=False,
            )
        if len(seen) < FEWEST or seen[-1].received_s - seen[0].received_s < SHORTEST_S:
            return self.verdict
        return self._order() or (self._pace() if self._paced else None) or StampVerdict()

    def _order(self) -> StampVerdict | None:
        """What is wrong with the order of the stamps, if anything."""
        steps = _steps(self._seen, lambda each: each.stamp_ns)
        if not any(steps):
            return self._still()
        back = [-step for step in steps if step < 0]
        if len(back) < TIMES_BACK:
            return None
        restarts = RestartDetector()
        for each in self._seen:
            restarts.add(each.stamp_ns)
        often = f'{len(back)} of {len(steps)} steps'
        apart_s = statistics.median(back) / NANOSECONDS
        if restarts.mixed and (apart_s > APART_S or len(back) > OFTEN_BACK * len(steps)):
            text = (
                f'two sequences of stamps, {apart_s:.3g} s apart, alternate (back in {often}): '
                f'two publishers, or pictures out of order; {self._meanwhile}: stop all publishers '
                'but one'
            )
        elif len(back) > MOSTLY_BACK * len(steps):
            text = (
                f'stamps go back ({often}); {self._meanwhile}: fix the camera driver or the player'
            )
        elif len(back) > OFTEN_BACK * len(steps):
            text = f'stamps are out of order (back in {often}); {self._meanwhile}: fix the driver'
        else:
            return None
        return StampVerdict(text, tells_time=False)

    def _still(self) -> StampVerdict | None:
        if self._paced and self._simulated and self._clock_span_s() <= 0:
            return None  # a simulation that pauses
        still_s = self._seen[-1].received_s - self._seen[0].received_s
        return StampVerdict(
            f'stamps stand still at {self._seen[-1].stamp_ns / NANOSECONDS:.3f} s, for at least '
            f'{still_s:.1f} s now, and so do those of the outputs; {self._meanwhile}: restart the '
            'camera, or fix its driver',
            tells_time=False,
        )

    def _pace(self) -> StampVerdict | None:
        """What is wrong with stamps that are in order, compared with the node's clock."""
        seen = self._seen
        received_s = seen[-1].received_s - seen[0].received_s
        passed = _steps(seen, lambda each: round(each.received_s * NANOSECONDS))
        speed = 1.0  # of the node's clock
        if self._simulated:
            clock_s = self._clock_span_s()
            if clock_s <= 0:
                return self._clock_still(received_s)
            if clock_s < SHORTEST_CLOCK_S:
                return None
            passed, speed = _steps(seen, lambda each: each.clock_ns), clock_s / received_s
        advanced = _steps(seen, lambda each: each.stamp_ns)
        # Without its largest jump a camera whose clock was set is valid; as a whole a burst is.
        jumps = [abs(step - time) for step, time in zip(advanced, passed, strict=True)]
        largest = jumps.index(max(jumps))
        paces = [_ratio(advanced, passed)]
        paces.append(_ratio(*(s[:largest] + s[largest + 1 :] for s in (advanced, passed))))
        if not any(SLOW <= pace <= FAST for pace in paces):
            return self._off_pace(paces[0])
        return self._far(FAR_S * max(1.0, speed))

    def _off_pace(self, pace: float) -> StampVerdict:
        clock = 'of /clock' if self._simulated else 'of time'
        back = sum(step < 0 for step in _steps(self._seen, lambda each: each.stamp_ns))
        text = f'stamps advance by {pace:.3g} s in a second {clock}'
        text += f', and went back {back} times' if back else ''
        text += f'; {self._meanwhile}: '
        if self._simulated:
            text += 'the same simulation or player must stamp the pictures and publish /clock'
        else:
            text += (
                'fix the camera driver; for a recording that is not played at its own speed, '
                'publish /clock (ros2 bag play --clock) and set use_sim_time'
            )
        return StampVerdict(text, tells_time=False)

    def _far(self, limit_s: float) -> StampVerdict | None:
        off_s = (
            statistics.median(each.stamp_ns - each.clock_ns for each in self._seen) / NANOSECONDS
        )
        if abs(off_s) <= limit_s:
            return None
        where = 'behind' if off_s < 0 else 'ahead of'
        clock = '/clock' if self._simulated else "this computer's clock"
        remedy = 'synchronise the clocks (chrony, PTP)'
        if not self._simulated:
            remedy += ', or for a recording publish /clock and set use_sim_time'
        return StampVerdict(f'stamps are {_duration(abs(off_s))} {where} {clock}: {remedy}')

    def _clock_still(self, received_s: float) -> StampVerdict | None:
        if received_s < CLOCK_STILL_S:
            return None
        return StampVerdict(
            f'no time on /clock for {received_s:.0f} s while pictures arrive (use_sim_time is '
            'set): publish /clock (ros2 bag play --clock), or unset use_sim_time'
        )

    def _clock_span_s(self) -> float:
        return (self._seen[-1].clock_ns - self._seen[0].clock_ns) / NANOSECONDS


def _steps(seen: collections.deque[_Seen], of: Callable[[_Seen], int]) -> list[int]:
    values = [of(each) for each in seen]
    return [after - before for before, after in itertools.pairwise(values)]


def _ratio(advanced: list[int], passed: list[int]) -> float:
    return sum(advanced) / max(sum(passed), 1)


def _duration(seconds: float) -> str:
    for unit, size in (('days', 86_400.0), ('hours', 3600.0)):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds:.2f} s'


# --- Throttling: which frames `max_rate` lets pass.

JITTER = 0.25  # share of a period by which a frame may be early without being skipped
BURST, SLACK = 2.0, 1.02  # frames at once; the clocks of camera and computer differ a little
PACE_WINDOWS, PACE_WINDOW_S, PACE_RATIO, PACE_JITTER_S = 3, 0.25, 1.2, 0.03


class StampThrottle:
    """Lets frames of one camera pass no faster than a rate, by their stamps alone.

    The mean rate holds though stamps jitter: a frame that passes takes the next slot of a grid.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._passed_ns = self._due_ns = 0

    def passes(self, stamp_ns: int, max_rate_hz: float) -> bool:
        """Whether a frame with this stamp may pass; 0 Hz means without limit."""
        if self._last_ns is None or stamp_ns < self._last_ns:
            self._due_ns = self._passed_ns = stamp_ns
        self._last_ns = stamp_ns
        if max_rate_hz <= 0:
            return True
        period_ns = int(NANOSECONDS / max_rate_hz)
        due_ns = self._due_by(period_ns)
        if stamp_ns < due_ns - period_ns * JITTER:
            return False
        gap = stamp_ns > due_ns + period_ns
        self._due_ns = (stamp_ns if gap else due_ns) + period_ns
        self._passed_ns = stamp_ns
        return True

    def closed_for_s(self, stamp_ns: int, max_rate_hz: float) -> float:
        """Seconds after this stamp before which no frame can pass; 0 without a limit."""
        if max_rate_hz <= 0:
            return 0.0
        period_ns = int(NANOSECONDS / max_rate_hz)
        opens_ns = self._due_by(period_ns) - period_ns * JITTER
        return max(0.0, (opens_ns - stamp_ns) / NANOSECONDS)

    def _due_by(self, period_ns: int) -> int:
        """When a frame is due; sooner than it was if the rate has been raised since."""
        return min(self._due_ns, self._passed_ns + int(period_ns * (1 + JITTER)) + 1)


class RateBound:
    """Lets no more than a rate pass, by receipt: a token bucket of BURST frames."""

    def __init__(self) -> None:
        self._free = BURST
        self._last_s: float | None = None

    def passes(self, now_s: float, max_rate_hz: float) -> bool:
        """Whether a frame may pass now; 0 Hz means without limit."""
        elapsed_s = max(0.0, now_s - self._last_s) if self._last_s is not None else 0.0
        self._last_s = now_s
        if max_rate_hz <= 0:
            return True
        self._free = min(BURST, self._free + SLACK * max_rate_hz * elapsed_s)
        if self._free < 1.0:
            return False
        self._free -= 1.0
        return True


class StampPace:
    """Whether stamps advance no faster than the wall clock, so that the next due time is known."""

    def __init__(self) -> None:
        self._since: tuple[int, float] | None = None
        self._good = 0  # windows in a row

    @property
    def steady(self) -> bool:
        """Whether that held for PACE_WINDOWS windows: a pause looks like slow stamps in one."""
        return self._good >= PACE_WINDOWS

    def add(self, stamp_ns: int, received_s: float) -> None:
        """Add a frame."""
        if self._since is None:
            self._since = stamp_ns, received_s
            return
        elapsed_s = received_s - self._since[1]
        advanced_s = (stamp_ns - self._since[0]) / NANOSECONDS
        if elapsed_s >= PACE_WINDOW_S or advanced_s < 0:
            good = 0 <= advanced_s <= PACE_RATIO * elapsed_s + PACE_JITTER_S
            self._good = self._good + 1 if good else 0
            self._since = stamp_ns, received_s
