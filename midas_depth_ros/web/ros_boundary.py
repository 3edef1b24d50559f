"""Where ROS comes in: nothing that is published, answered or asked can end the ROS thread.

rclpy lets whatever is raised while it takes a message, or works on it, end the spinning; and what
is raised while it takes one leaves the callback group locked for ever. So messages are taken as
bytes, turned into messages and worked on within a boundary that counts what goes wrong, and the
executor has the same boundary around everything else: clients, services, timers, events.
"""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.web.faults import Faults

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
