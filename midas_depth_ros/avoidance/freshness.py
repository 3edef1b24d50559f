"""How old a message is, and whether that is too old: by time of receipt and header stamp.

A stamp counts where the clocks agree. A stamp that is not set, lies in the future or is older than
any transport could make it is of another clock: such messages are rejected, unless `other_clock`
allows judging them by time of receipt.
"""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.options.avoidance import AvoidanceSettings

FUTURE_S = 0.2  # how far a well synchronised clock of another machine may be ahead
OTHER_CLOCK_S = 60.0  # no queue is this long: an older stamp is of another clock
CREEPING = 0.05  # stamps that advance by less than this share of the time are frozen


@dataclasses.dataclass(frozen=True)
class MessageTimes:
    """When a message was received and when its header says it was measured; s of one clock.

    `stamp_s` is 0 if the stamp is not set, and NaN if there is no header.
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
        """Whether the message has no header."""
        return math.isnan(self.stamp_s)

    def measured_s(self, stamps: str) -> float:
        """Return the best estimate of when it was measured, at most the time of receipt."""
        if stamps != 'ignore' and self.clocks_agree:
            return min(self.stamp_s, self.received_s)
        return self.received_s

    def other_clock(self) -> str:
        """Return why the stamp cannot be of our clock."""
        if self.unstamped:
            return 'not stamped'
        if self.stamp_s == 0:
            return 'not stamped (its stamp is 0)'
        offset = self.received_s - self.stamp_s
        side = f'{-offset:.3g} s ahead of' if offset < 0 else f'{offset:.3g} s behind'
        return f'stamped by another clock, {side} ours'


@dataclasses.dataclass(frozen=True)
class Age:
    """One message's age in s. `fault` says why it is not fresh; '' if it is."""

    seconds: float
    fault: str = ''
    by_stamp: bool = False


def age_of(
    moment: MessageTimes,
    now_s: float,
    timeout_s: float,
    stamps: str = AvoidanceSettings.stamps,
    other_clock: bool = AvoidanceSettings.other_clock,
) -> Age:
    """Return how old a message is, and whether that is within the timeout.

    `stamps`: 'auto' uses the stamp where the clocks agree; otherwise the message is rejected, or
    with `other_clock` judged by time of receipt, as is a message without a header. 'require'
    rejects every message without a stamp of our clock; 'ignore' uses the time of receipt alone.
    """
    since_receipt = now_s - moment.received_s
    if not since_receipt >= 0:
        return Age(math.inf, 'the clock went back')
    by_stamp = stamps != 'ignore' and moment.clocks_agree
    by_receipt = stamps == 'ignore' or (stamps == 'auto' and (other_clock or moment.unstamped))
    if not (by_stamp or by_receipt):
        return Age(math.inf, moment.other_clock())
    seconds, words = since_receipt, 'silent for {:.1f} s'
    if by_stamp and since_receipt <= timeout_s:
        seconds, words = now_s - moment.measured_s(stamps), 'late: stamped {:.1f} s ago'
    return Age(seconds, '' if seconds <= timeout_s else words.format(seconds), by_stamp)


class StampChecker:
    """Checks the messages of one input as they come: late, frozen, or older than the last one."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget earlier messages, as after a jump of the clock."""
        self._newest = MessageTimes(-math.inf, -math.inf)
        self._began = self._newest
        self._alike = 0

    def fault_of(
        self,
        moment: MessageTimes,
        timeout_s: float,
        stamps: str,
        other_clock: bool = AvoidanceSettings.other_clock,
    ) -> str:
        """Return why a message just received cannot be used; '' if it can."""
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
            return f'stamped {-ahead:.3g} s before the previous message'
        self._alike = 0
        self._newest = moment
        return '' if age.by_stamp else self._creeping(moment, timeout_s)

    def _creeping(self, moment: MessageTimes, timeout_s: float) -> str:
        """Where only the time of receipt counts, stamps must advance with it."""
        passed = moment.received_s - self._began.received_s
        went_on = moment.stamp_s - self._began.stamp_s
        if 0 <= passed <= timeout_s and went_on > 0:
            return ''
        if went_on > 0 and math.isfinite(passed) and went_on < CREEPING * passed:
            return f'frozen: its stamp advanced by {went_on:.3g} s in {passed:.3g} s'
        self._began = moment
        return ''


# --- Velocities sent: whether zeros must still be sent, and whether they come back as commands.
#
# If the last velocity before silence is not zero, the robot may keep driving; if what is sent
# comes back as a command, it drives on for ever. Both are judged by what was really sent.

ZEROS_FOR_S = 1.0  # how long zeros are sent before silence
LONGEST_STEP_S = 0.2  # a gap between two zeros counts as at most this: what was in it is unknown
STANDING_CLOCK = 5.0  # a clock that stands still is waited for at most this many times as long

# Fields of a Twist that a wheeled robot leaves at zero: their signs carry the mark.
MARKED = 4
MARKS = range(1, 2**MARKED)
ECHOES = 4  # times that the newest mark must have come back: it cannot be guessed this often
ECHO_OVER_S = 2.0


class ZeroTracker:
    """Tracks whether zeros must still be sent: after any other velocity, for long enough.

    Time counts by the clock of the node and by a steady clock, in steps of at most
    `LONGEST_STEP_S`: after a stall or a jump of the clock it continues where it was.
    """

    def __init__(self) -> None:
        self._owed = False
        self._at = (math.nan, math.nan)
        self._run = (0.0, 0.0)

    def owes(self) -> bool:
        """Return whether a zero must still be sent."""
        return self._owed

    def sent(self, linear: float, angular: float, now_s: float, steady_s: float) -> None:
        """Record a velocity that is sent."""
        if linear != 0 or angular != 0:
            self._owed, self._run = True, (0.0, 0.0)
            self._at = (math.nan, math.nan)
        elif self._owed:
            self._run = (
                self._run[0] + _counted(now_s - self._at[0]),
                self._run[1] + _counted(steady_s - self._at[1]),
            )
            self._at = (now_s, steady_s)
            by_both = min(self._run) >= ZEROS_FOR_S
            self._owed = not (by_both or self._run[1] >= STANDING_CLOCK * ZEROS_FOR_S)


class EchoDetector:
    """Detects that the velocities sent come back as commands, through whatever relay.

    Every velocity carries a mark. As soon as a command has the newest mark, the mark is changed:
    only an echo follows every change.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self.mark = self._random.choice(MARKS)
        self._used = False
        self._followed = 0
        self._heard_s = -math.inf

    def sent(self) -> None:
        """Record that the mark was sent."""
        self._used = True

    def heard(self, mark: int, steady_s: float) -> None:
        """Record a command with a mark; 0 if it has none."""
        if mark != self.mark or not self._used:
            return
        if steady_s - self._heard_s > ECHO_OVER_S:
            self._followed = 0
        self._followed += 1
        self._heard_s = steady_s
        self._used = False
        self.mark = self._random.choice([each for each in MARKS if each != self.mark])

    def comes_back(self, steady_s: float) -> bool:
        """Return whether the velocities sent come back, as far as is known now."""
        return self._followed >= ECHOES and steady_s - self._heard_s <= ECHO_OVER_S


def _counted(step_s: float) -> float:
    return min(max(step_s, 0.0), LONGEST_STEP_S) if step_s == step_s else 0.0
