"""How long a download may take, and when it is given up because it would take longer.

A robot that starts does not wait for a day: 'auto' has a model that ships instead.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable

KB = 1000


@dataclasses.dataclass(frozen=True)
class DownloadLimit:
    """`budget_s` is for everything: waiting for another process, looking up names, the transfer.

    From `grace_s` on, the rate of the last `grace_s` says how long the rest takes; where that is
    more than the budget has left, the download is given up at once. What has arrived stays, and the
    next start resumes it.
    """

    budget_s: float
    grace_s: float
    remedy: str = ''


HOUR_S = 3600.0
AUTO_LIMIT = DownloadLimit(
    300.0, 20.0, '`midas_depth weights fetch` waits longer, and the next start resumes'
)
NAMED_LIMIT = DownloadLimit(HOUR_S, 60.0, '`midas_depth weights fetch` waits longer')
FETCH_LIMIT = DownloadLimit(24 * HOUR_S, 60.0)


class DownloadWatch:
    """Watches one download; `total` is its size in bytes, 0 while unknown. `clock`: in seconds."""

    def __init__(
        self, limit: DownloadLimit, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self.total, self._clock = limit, total, clock
        self._start_s = clock()
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def reason_to_stop(self, done: int) -> str:
        """Why not to wait any longer, with `done` bytes there; '' to go on."""
        now, limit = self._clock(), self._limit
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it restarted
        self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[1][0] >= limit.grace_s:
            self._seen.popleft()
        waited = now - self._start_s
        if waited >= limit.budget_s:
            return self._text(done, f'it took more than {duration(limit.budget_s)}')
        then, before = self._seen[0]
        span = now - then
        if span < limit.grace_s:
            return ''
        rate = (done - before) / span
        missing = self.total - done if self.total else 1
        if rate * (limit.budget_s - waited) >= missing:
            return ''
        if rate == 0:
            return self._text(done, f'nothing came for {duration(span)}')
        left = missing / rate
        return self._text(done, f'at {rate / KB:.1f} kB/s the rest would take {duration(left)}')

    def _text(self, done: int, what: str) -> str:
        remedy = f': {self._limit.remedy}' if self._limit.remedy else ''
        total = f' of {self.total}' if self.total else ''
        return (
            f'{done}{total} bytes are here, and {what}; the limit is '
            f'{duration(self._limit.budget_s)}{remedy}'
        )


def duration(seconds: float) -> str:
    """For people: '40 s', '5 min', '23.8 h'."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 2 * HOUR_S:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / HOUR_S:.1f} h' if seconds < 48 * HOUR_S else f'{seconds / 86400:.0f} days'


@dataclasses.dataclass(frozen=True)
class DownloadOptions:
    """How a download is carried out.

    `read_timeout_s` is the longest silence of the server. Between tries the pause doubles from
    `first_pause_s`. Where there is no terminal a line is logged every `log_every_s`. `limit`
    bounds all of it; `clock` gives it seconds.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    first_pause_s: float = 1.0
    log_every_s: float = 5.0
    limit: DownloadLimit = FETCH_LIMIT
    clock: Callable[[], float] = time.monotonic
