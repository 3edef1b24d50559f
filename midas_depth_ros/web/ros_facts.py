"""Messages into facts that JSON can say: plain dicts, with null for what is unknown.

No rclpy: messages are duck-typed, so that this is tested without spinning anything. What a number
cannot mean is unknown, and what is unknown is never clear.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = ('ok', 'warn', 'error', 'stale')
CLEAR = -1  # a beam that meets nothing; JSON has no infinity
FARTHEST_M = 1000.0
MOST_BEAMS = 720  # are drawn; of more the nearest of neighbours stands for them
MOST_CLOSENESS = 1000.0
FULL_TURN = 2 * math.pi + 0.1
MOST_VALUES, MOST_STATUSES = 100, 64  # of one status, of one message


class Rhythm:
    """How long what comes again and again may be believed: for some of its own periods.

    One long gap is no rhythm: the shorter of the last two periods counts, and at first neither is
    known. Never less than `least_s`, never more than `most_s`.
    """

    def __init__(self, least_s: float, most_s: float, periods: float = 3.0) -> None:
        self._least_s, self._most_s, self._periods = least_s, most_s, periods
        self._heard_s: float | None = None
        self._period_s = 0.0

    def lifetime_s(self, now_s: float) -> float:
        """That of what is heard now."""
        period_s = now_s - self._heard_s if self._heard_s is not None else 0.0
        steady_s = min(period_s, self._period_s)
        self._heard_s, self._period_s = now_s, period_s
        return min(max(self._least_s, self._periods * steady_s), self._most_s)


def finite(value: float, most: float = FARTHEST_M) -> float | None:
    """A rounded number; None for NaN, infinities and what is beyond all sense."""
    number = float(value)
    return round(number, 4) if abs(number) <= most else None


def statuses_of(message: Any, node: str) -> dict[str, Any]:
    """The statuses of a DiagnosticArray that are those of a node, by what they are about.

    node: its full name, which stands in `hardware_id`; before it the name alone.
    """
    prefix = f'{node.rpartition("/")[2]}: '
    ours = [
        status
        for status in message.status
        if status.name.startswith(prefix) and status.hardware_id in (node, '')
    ]
    return {status.name.removeprefix(prefix): status for status in ours[:MOST_STATUSES]}


def status_facts(status: Any) -> dict[str, Any]:
    """Level, sentence and values of a DiagnosticStatus."""
    level = int.from_bytes(status.level, 'big') if isinstance(status.level, bytes) else status.level
    return {
        'level': LEVELS[min(max(int(level), 0), 3)],
        'message': status.message,
        'values': {pair.key: pair.value for pair in list(status.values)[:MOST_VALUES]},
    }


def closeness_facts(message: Any) -> list[float | None]:
    """Closeness to the left, in the centre and to the right; None = unknown."""
    near = message.vector
    return [finite(value, MOST_CLOSENESS) for value in (near.x, near.y, near.z)]


def range_facts(message: Any) -> dict[str, Any]:
    """The nearest obstacle in the corridor: metres, or clear up to `most`.

    Clear is only what stands exactly at a sensible greatest range; beyond it is no measurement.
    """
    value, most = finite(message.range), finite(message.max_range)
    most = most if most is not None and most > 0 else None
    known = value is not None and most is not None and 0 <= value <= most
    return {
        'metres': value if known else None,
        'clear': known and message.range == message.max_range,
        'most': most,
    }


def scan_facts(message: Any) -> dict[str, Any] | None:
    """Ranges per bearing: metres, CLEAR, or None where nothing is known.

    None for the whole where the message does not say into which directions it looked.
    """
    ranges = np.asarray(message.ranges, np.float64)
    first, step = finite(message.angle_min), finite(message.angle_increment)
    most = finite(message.range_max)
    if first is None or step is None or most is None or most <= 0 or not ranges.size:
        return None
    step = float(message.angle_increment)
    turn = abs(step) * (ranges.size - 1)
    if abs(first) > FULL_TURN or turn > FULL_TURN or (ranges.size > 1 and step == 0):
        return None
    group = -(-ranges.size // MOST_BEAMS)
    drawn = nearest(beams(ranges, finite(message.range_min) or 0.0, most), group)
    return {
        'first': round(first + step * (group - 1) / 2, 6),
        'step': round(step * group, 9),
        'most': most,
        'ranges': [CLEAR if value == CLEAR else finite(value) for value in drawn],
    }


def beams(ranges: NDArray[np.float64], least: float, most: float) -> NDArray[np.float64]:
    """(N,) metres, CLEAR for +Inf, NaN for whatever else is no measurement (REP 117)."""
    with np.errstate(invalid='ignore'):
        measured = (ranges >= max(least, 0.0)) & (ranges <= most)
    known = np.where(measured, ranges, np.nan)
    return np.where(np.isposinf(ranges), float(CLEAR), known)


def nearest(values: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    """One value for each `group` neighbours: an obstacle if there is one, clear if all are."""
    if group <= 1:
        return values
    padded = np.full(-(-values.size // group) * group, np.nan)
    padded[: values.size] = values
    rows = padded.reshape(-1, group)
    obstacles = np.where(rows >= 0, rows, np.inf).min(axis=1)
    counted = np.arange(padded.size).reshape(-1, group) < values.size
    all_clear = np.where(counted, rows == CLEAR, True).all(axis=1)
    return np.where(np.isfinite(obstacles), obstacles, np.where(all_clear, CLEAR, np.nan))


def point_facts(message: Any) -> list[float | None]:
    """x forward and y left, in metres."""
    return [finite(message.point.x), finite(message.point.y)]
