"""Messages into facts that JSON can say: plain dicts, with null for what is unknown.

No rclpy: messages are duck-typed, so that this is tested without spinning anything.
"""

from __future__ import annotations

import math
from typing import Any

LEVELS = ('ok', 'warn', 'error', 'stale')
CLEAR = -1  # a beam that meets nothing; JSON has no infinity


def finite(value: float) -> float | None:
    """A rounded number; None for NaN and infinities."""
    return round(float(value), 4) if math.isfinite(value) else None


def statuses_of(message: Any, node: str) -> dict[str, Any]:
    """The statuses of a DiagnosticArray that are those of a node, by what they are about.

    node: its full name, which stands in `hardware_id`; before it the name alone.
    """
    prefix = f'{node.rpartition("/")[2]}: '
    return {
        status.name.removeprefix(prefix): status
        for status in message.status
        if status.name.startswith(prefix) and status.hardware_id in (node, '')
    }


def status_facts(status: Any) -> dict[str, Any]:
    """Level, sentence and values of a DiagnosticStatus."""
    level = ord(status.level) if isinstance(status.level, bytes) else int(status.level)
    return {
        'level': LEVELS[min(level, 3)],
        'message': status.message,
        'values': {pair.key: pair.value for pair in status.values},
    }


def range_facts(message: Any) -> dict[str, Any]:
    """The nearest obstacle in the corridor: metres, or clear."""
    value = finite(message.range)
    clear = value is not None and message.range >= message.max_range
    return {'metres': value, 'clear': clear, 'most': finite(message.max_range)}


def scan_facts(message: Any) -> dict[str, Any]:
    """Ranges per bearing: metres, CLEAR, or None where nothing is known."""
    return {
        'first': finite(message.angle_min),
        'step': round(float(message.angle_increment), 6),
        'most': finite(message.range_max),
        'ranges': [CLEAR if value == math.inf else finite(value) for value in message.ranges],
    }


def point_facts(message: Any) -> list[float | None]:
    """x forward and y left, in metres."""
    return [finite(message.point.x), finite(message.point.y)]
