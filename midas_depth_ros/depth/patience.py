"""How long a download may take, and when it is given up because it would take longer.

In: a `Patience`, and from time to time how many bytes are there. Out: '' or the reason to give up.
A robot that starts does not wait for a day: 'auto' has a model that ships instead.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable

KB = 1000


@dataclasses.dataclass(frozen=True)
class Patience:
    """`budget_s` is for everything: waiting for another process, looking up names, the transfer.

    From `grace_s` on, the rate of the last `grace_s` says how long the rest takes; where that is
    more than the budget has left, it is given up at once. What has arrived stays, and the next
    start goes on from there.
    """

    budget_s: float
    grace_s: float
    remedy: str = ''


HOUR_S = 3600.0
AUTO_PATIENCE = Patience(
    300.0, 20.0, '`midas_depth weights fetch` waits longer, and the next start goes on from here'
)
NAMED_PATIENCE = Patience(HOUR_S, 60.0, '`midas_depth weights fetch` waits longer')
FETCH_PATIENCE = Patience(24 * HOUR_S, 60.0)


class Judge:
    """Watches one download; `total` is its size in bytes. `clock` gives seconds."""

    def __init__(
        self, patience: Patience, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience, self._total, self._clock = patience, total, clock
        self._start_s = clock()
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def reason_to_stop(self, done: int) -> str:
        """Why not to wait any longer, with `done` bytes there; '' to go on."""
        now, patience = self._clock(), self._patience
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it began anew
        self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[1][0] >= patience.grace_s:
            self._seen.popleft()
        waited = now - self._start_s
        if waited >= patience.budget_s:
            return self._text(done, f'it took more than {duration(patience.budget_s)}')
        then, before = self._seen[0]
        span = now - then
        if span < patience.grace_s:
            return ''
        rate = (done - before) / span
        if rate * (patience.budget_s - waited) >= self._total - done:
            return ''
        if rate == 0:
            return self._text(done, f'nothing came for {duration(span)}')
        left = (self._total - done) / rate
        return self._text(done, f'at {rate / KB:.1f} kB/s the rest would take {duration(left)}')

    def _text(self, done: int, what: str) -> str:
        bound = f'at most {duration(self._patience.budget_s)} are waited for it'
        remedy = f': {self._patience.remedy}' if self._patience.remedy else ''
        return f'{done} of {self._total} bytes are here, and {what}; {bound}{remedy}'


def duration(seconds: float) -> str:
    """For people: '40 s', '5 min', '23.8 h'."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 2 * HOUR_S:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / HOUR_S:.1f} h' if seconds < 48 * HOUR_S else f'{seconds / 86400:.0f} days'
