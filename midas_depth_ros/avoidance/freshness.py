"""How old a message is, and whether that is too old: by when it came and by its header's stamp.

Times in, a verdict out. A stamp is believed where the clocks agree. One that is not set, lies in
the future or is older than any transport could make it tells of another clock: such messages are
refused, unless `other_clock` says that they may be judged by when they came.
"""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.options.avoidance import AvoidanceSettings

FUTURE_S = 0.2  # so far may a well set clock of another machine be ahead
OTHER_CLOCK_S = 60.0  # no queue is so long: who stamps like this has another clock
CREEPING = 0.05  # stamps that go on by less than this share of the time stand still


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a message came and when it says it was measured; all in s of one clock.

    `stamp_s` is 0 where a header's stamp is not set, and NaN where there is no header.
    """

    received_s: float
    stamp_s: float = math.nan

    @property
    def clocks_agree(self) -> bool:
        """Whether the stamp can be of our clock."""
        offset = self.received_s - self.stamp_s
        return self.stamp_s > 0 and -FUTURE_S <= offset <= OTHER_CLOCK_S

    @property
    def unstamped(self) -> bool:
        """There is no header that could tell."""
        return math.isnan(self.stamp_s)

    def measured_s(self, stamps: str) -> float:
        """The best guess of when it was measured; not later than it came."""
        if stamps != 'ignore' and self.clocks_agree:
            return min(self.stamp_s, self.received_s)
        return self.received_s

    def other_clock(self) -> str:
        """Why the stamp cannot be of our clock."""
        if self.unstamped:
            return 'not stamped'
        if self.stamp_s == 0:
            return 'not stamped (its stamp is 0)'
        offset = self.received_s - self.stamp_s
        side = f'{offset:.3g} s behind' if not offset < 0 else f'{-offset:.3g} s ahead of'
        return f'stamped by another clock, {side} ours'


@dataclasses.dataclass(frozen=True)
class Age:
    """The verdict on one message. `fault` says why it is not fresh; empty if it is."""

    seconds: float
    fault: str = ''
    by_stamp: bool = False


SILENT, LATE = 'silent for {:.1f} s', 'late: stamped {:.1f} s ago'


def age_of(
    moment: Moment,
    now_s: float,
    timeout_s: float,
    stamps: str = AvoidanceSettings.stamps,
    other_clock: bool = AvoidanceSettings.other_clock,
) -> Age:
    """How old a message is, and whether that is within the timeout.

    `stamps`: 'auto' believes the stamp where the clocks agree; where they do not the message is
    refused, or with `other_clock` judged by the time of receipt. A message that has no header is
    always judged so. 'require' refuses every message without a stamp of our clock; 'ignore' looks
    at the time of receipt alone.
    """
    since_receipt = now_s - moment.received_s
    if not since_receipt >= 0:
        return Age(math.inf, 'the clock went back')
    if stamps == 'ignore':
        return _verdict(since_receipt, timeout_s, SILENT, False)
    if not moment.clocks_agree:
        if stamps == 'require' or not (other_clock or moment.unstamped):
            return Age(math.inf, moment.other_clock())
        return _verdict(since_receipt, timeout_s, SILENT, False)
    if since_receipt > timeout_s:
        return _verdict(since_receipt, timeout_s, SILENT, True)
    return _verdict(now_s - moment.measured_s(stamps), timeout_s, LATE, True)


class StampWatch:
    """Judges the messages of one input as they come: late, frozen, or older than the last one."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget what came, as after a jump of the clock."""
        self._newest = Moment(-math.inf, -math.inf)
        self._began = self._newest
        self._alike = 0

    def fault_of(
        self,
        moment: Moment,
        timeout_s: float,
        stamps: str,
        other_clock: bool = AvoidanceSettings.other_clock,
    ) -> str:
        """Why a message that has just come cannot be used; empty if it can."""
        age = age_of(moment, moment.received_s, timeout_s, stamps, other_clock)
        if age.fault:
            return age.fault
        if moment.unstamped or moment.stamp_s == 0:
            return ''
        ahead = moment.stamp_s - self._newest.stamp_s
        if ahead == 0:
            self._alike += 1
            return f'frozen: {self._alike + 1} messages with the same stamp'
        if ahead < 0 and moment.received_s - self._newest.received_s <= timeout_s:
            return f'stamped {-ahead:.3g} s before the message that came before it'
        self._alike = 0
        self._newest = moment
        return '' if age.by_stamp else self._creeping(moment, timeout_s)

    def _creeping(self, moment: Moment, timeout_s: float) -> str:
        """Where only the time of receipt counts, a stamp must go on with it."""
        passed = moment.received_s - self._began.received_s
        went_on = moment.stamp_s - self._began.stamp_s
        if 0 <= passed <= timeout_s and went_on > 0:
            return ''
        if went_on > 0 and math.isfinite(passed) and went_on < CREEPING * passed:
            return f'frozen: its stamp went on by {went_on:.3g} s in {passed:.3g} s'
        self._began = moment
        return ''


def _verdict(seconds: float, timeout_s: float, words: str, by_stamp: bool) -> Age:
    return Age(seconds, '' if seconds <= timeout_s else words.format(seconds), by_stamp)


# --- What was sent: whether zeros are still owed, and whether it comes back as a command.
#
# Who falls silent while the last thing sent is a speed leaves a robot that may go on with it. And
# who is fed with what it sends drives on for ever. Both are judged by what really went out.

ZEROS_FOR_S = 1.0  # so long zeros are sent before falling silent
LONGEST_STEP_S = 0.2  # of a gap between two zeros no more counts: nobody knows what was in it
STANDING_CLOCK = 5.0  # a clock that stands still is waited for no longer than so many times

# Numbers of a Twist that a robot on wheels leaves at zero; their signs are a mark nobody minds.
MARKED = 4
MARKS = range(1, 2**MARKED)
ECHOES = 4  # so often the newest mark must have come back: nobody guesses it so often
ECHO_OVER_S = 2.0


class ZeroWatch:
    """Whether zeros are owed: since anything but zero was sent they have not gone on long enough.

    Time counts by the clock of the node and by a steady one, and only as steps of at most
    `LONGEST_STEP_S`: after a stall or a jump of the clock it begins where it was.
    """

    def __init__(self) -> None:
        self._owed = False
        self._at = (math.nan, math.nan)
        self._run = (0.0, 0.0)

    def owes(self) -> bool:
        """Whether a zero must be sent still."""
        return self._owed

    def sent(self, linear: float, angular: float, now_s: float, steady_s: float) -> None:
        """A velocity goes out."""
        if linear != 0 or angular != 0:
            self._owed, self._run = True, (0.0, 0.0)
            self._at = (math.nan, math.nan)
        elif self._owed:
            steps = (now_s - self._at[0], steady_s - self._at[1])
            self._run = (
                self._run[0] + _counted(steps[0]),
                self._run[1] + _counted(steps[1]),
            )
            self._at = (now_s, steady_s)
            by_both = min(self._run) >= ZEROS_FOR_S
            self._owed = not (by_both or self._run[1] >= STANDING_CLOCK * ZEROS_FOR_S)


class EchoWatch:
    """Notices that what was sent comes back, through whatever relay.

    Every velocity carries a mark. As soon as one comes in with the newest mark, that is changed;
    who follows every change can only be oneself.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self.mark = self._random.choice(MARKS)
        self._used = False
        self._followed = 0
        self._heard_s = -math.inf

    def sent(self) -> None:
        """The mark goes out."""
        self._used = True

    def heard(self, mark: int, steady_s: float) -> None:
        """A command came in with a mark; 0 where it has none."""
        if mark != self.mark or not self._used:
            return
        if steady_s - self._heard_s > ECHO_OVER_S:
            self._followed = 0
        self._followed += 1
        self._heard_s = steady_s
        self._used = False
        self.mark = self._random.choice([each for each in MARKS if each != self.mark])

    def comes_back(self, steady_s: float) -> bool:
        """Whether what is sent comes back, as far as one knows now."""
        return self._followed >= ECHOES and steady_s - self._heard_s <= ECHO_OVER_S


def _counted(step_s: float) -> float:
    return min(max(step_s, 0.0), LONGEST_STEP_S) if step_s == step_s else 0.0
