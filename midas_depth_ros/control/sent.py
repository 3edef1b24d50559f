"""What was sent: whether zeros are still owed, and whether it comes back as a command.

Who falls silent while the last thing sent is a speed leaves a robot that may go on with it. And
who is fed with what it sends drives on for ever. Both are judged by what really went out.
"""

from __future__ import annotations

import math
import random

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
