"""How old a message is, and whether that is too old: by when it came and by its header's stamp.

Times in, a verdict out. A stamp is believed where the clocks agree; a stamp that is zero, lies
in the future or is older than any transport could make it tells of another clock instead.
"""

from __future__ import annotations

import dataclasses
import math

FUTURE_S = 0.2  # so far may a well set clock of another machine be ahead
OTHER_CLOCK_S = 60.0  # no queue is so long: who stamps like this has another clock


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a message came and when it says it was measured; all in s of one clock, NaN = unset."""

    received_s: float
    stamp_s: float = math.nan

    @property
    def clocks_agree(self) -> bool:
        """Whether the stamp can be of our clock."""
        offset = self.received_s - self.stamp_s
        return self.stamp_s > 0 and -FUTURE_S <= offset <= OTHER_CLOCK_S

    def measured_s(self, stamps: str) -> float:
        """The best guess of when it was measured; not later than it came."""
        if stamps != 'ignore' and self.clocks_agree:
            return min(self.stamp_s, self.received_s)
        return self.received_s


@dataclasses.dataclass(frozen=True)
class Age:
    """The verdict on one message. `fault` says why it is not fresh; empty if it is."""

    seconds: float
    fault: str = ''
    by_stamp: bool = False


def age_of(moment: Moment, now_s: float, timeout_s: float, stamps: str = 'auto') -> Age:
    """How old a message is, and whether that is within the timeout.

    `stamps`: 'auto' believes the stamp where the clocks agree and else only the time of receipt;
    'require' refuses what has no such stamp; 'ignore' looks at the time of receipt alone.
    """
    since_receipt = now_s - moment.received_s
    if not since_receipt >= 0:
        return Age(math.inf, 'the clock went back')
    if stamps == 'ignore' or (stamps == 'auto' and not moment.clocks_agree):
        return _verdict(since_receipt, timeout_s, 'silent for', False)
    if not moment.clocks_agree:
        offset = moment.received_s - moment.stamp_s
        return Age(math.inf, f'stamped by another clock, {offset:.3g} s behind ours')
    if since_receipt > timeout_s:
        return _verdict(since_receipt, timeout_s, 'silent for', True)
    return _verdict(now_s - moment.measured_s(stamps), timeout_s, 'late: stamped', True)


def _verdict(seconds: float, timeout_s: float, words: str, by_stamp: bool) -> Age:
    fault = '' if seconds <= timeout_s else f'{words} {seconds:.1f} s'
    if fault and words.startswith('late'):
        fault += ' ago'
    return Age(seconds, fault, by_stamp)
