"""Messages into facts that JSON can say; and the boundary that nothing from ROS gets past."""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.web.errors import Faults

# --- Messages into facts that JSON can say: plain dicts, with null for what is unknown.
#
# No rclpy: messages are duck-typed, so that this is tested without spinning anything. What a
# number cannot mean is unknown, and what is unknown is never clear.

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


# --- Where ROS comes in: nothing that is published, answered or asked can end the ROS thread.
#
# rclpy lets whatever is raised while it takes a message, or works on it, end the spinning; and
# what is raised while it takes one leaves the callback group locked for ever. So messages are
# taken as bytes, turned into messages and worked on within a boundary that counts what goes wrong,
# and the executor has the same boundary around everything else: clients, services, timers, events.

MIB = 2**20
MOST_BYTES = 1 * MIB  # of a message that is turned into Python objects, which are far larger
MOST_PICTURE_BYTES = 256 * MIB
SHORTEST_PERIOD_S = 0.01  # of one topic
TOLL = 4.0  # no topic gets more than a fifth of the thread's time
LONGEST_NAME = 200
TOPIC_NAME = r'(/[A-Za-z_][A-Za-z0-9_]*)+'


class GuardedExecutor(SingleThreadedExecutor):
    """Counts what is raised while something is taken or worked on, and goes on."""

    def __init__(self, faults: Faults, **options: Any) -> None:
        super().__init__(**options)
        self._faults = faults

    def _take_subscription(self, sub: Any) -> Any:
        return self._guarded('a message', super()._take_subscription, sub)

    def _take_client(self, client: Any) -> Any:
        return self._guarded('an answer of a service', super()._take_client, client)

    def _take_service(self, srv: Any) -> Any:
        return self._guarded('a call of a service', super()._take_service, srv)

    def _take_timer(self, tmr: Any) -> Any:
        return self._guarded('a timer', super()._take_timer, tmr)

    def _take_guard_condition(self, gc: Any) -> Any:
        return self._guarded('work for the ROS thread', super()._take_guard_condition, gc)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._guarded('an event', super()._take_waitable, waitable)

    def _guarded(self, what: str, take: Callable[[Any], Any], entity: Any) -> Any:
        work = None
        with self._faults.around(what):
            work = take(entity)
        if not inspect.iscoroutinefunction(work):  # nothing, or data, as on Humble
            return work

        async def guarded() -> None:
            with self._faults.around(what):
                await work()

        return guarded


def listen(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    faults: Faults,
    *,
    serialised: bool = False,
    wanted: Callable[[bytes], bool] = lambda data: True,
    period_s: float = SHORTEST_PERIOD_S,
) -> Subscription:
    """Subscribe, with a boundary around all that a message can do.

    callback: gets messages; with `serialised` bytes, as they came. wanted: says by its bytes
    whether a message is worth reading. period_s: what comes sooner is left out, and what comes
    while one that took long to read takes its toll. Raises ValueError for names that ROS does not
    take and wrong qos_overrides.
    """
    what = f'{kind.__name__} on {topic}'
    most = MOST_PICTURE_BYTES if serialised else MOST_BYTES
    due_s = -math.inf

    def read(came: Any) -> Any:
        if len(came) > most:
            raise ValueError(f'a message of {len(came)} bytes, more than {most}')
        return came if serialised else deserialize_message(came, kind)

    def take(came: Any) -> None:
        nonlocal due_s
        began_s = time.monotonic()
        with faults.around(what):
            is_bytes = isinstance(came, bytes)
            if is_bytes and (not wanted(came) or began_s < due_s):
                return
            try:
                callback(read(came) if is_bytes else came)
            finally:
                now_s = time.monotonic()
                due_s = now_s + max(period_s, TOLL * (now_s - began_s))

    try:
        return qos.make_subscription(node, kind, topic, take, profile, serialised=True)
    except NameValidationException as error:
        raise ValueError(str(error)) from error


def is_topic_name(name: str) -> bool:
    """Whether this is the full name of a topic as ROS takes it."""
    return len(name) <= LONGEST_NAME and re.fullmatch(TOPIC_NAME, name) is not None
