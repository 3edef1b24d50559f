"""ROS in a thread of its own beside the web server: started, asked from coroutines, and joined.

The server's event loop never waits for ROS, and ROS never for a browser. What is asked of the node
runs in its thread; the answer comes back as a future. A thread that ends, or that hangs, is
`trouble`, with which the process has to end: without it the dashboard learns nothing any more. Who
started it (launch, systemd) can start it again; one that mends itself would hide what is wrong.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from midas_depth_ros.web.errors import Faults, Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_messages import GuardedExecutor
from midas_depth_ros.web.ros_node import DashboardNode

WAIT_S = 0.1  # how long a stop may go unnoticed
ANSWER_S = 10.0  # how long the depth node may take
CLOSING_S = 5.0
MOST_IN_A_ROW = 50  # failures of the executor itself, which would then fail for ever
MOST_STILL = 30  # times that `trouble` is asked while the thread has not gone round


class RosThread:
    """The dashboard's node, spinning.

    Raises RuntimeError for ROS arguments that rcl refuses, ValueError for an invalid name.
    """

    def __init__(
        self,
        feed: Feed,
        depth_node: str,
        args: Sequence[str],
        domain_id: int | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self._context = Context()
        rclpy.init(
            args=['dashboard', *args],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,  # signals are the server's
        )
        self._stopping = threading.Event()
        try:
            self._node = DashboardNode(feed, depth_node, self._faults, context=self._context)
        except Exception:
            rclpy.try_shutdown(context=self._context)
            raise
        self._executor = GuardedExecutor(self._faults, context=self._context)
        self._executor.add_node(self._node)
        self._rounds = self._rounds_seen = self._still = 0
        self._death = ''
        # A daemon: where it hangs, it must not keep the process.
        self._thread = threading.Thread(target=self._spin, name='ros', daemon=True)
        self._thread.start()

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set a live parameter; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_parameter(name, value))

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_enabled(enabled))

    def trouble(self) -> str:
        """Why nothing is heard from ROS any more, '' while the thread works; asked once a second.

        It is counted how often it was asked without a round in between, not how long that took: a
        process that was stopped for an hour and goes on is all right.
        """
        if self._death:
            return self._death
        self._still = self._still + 1 if self._rounds == self._rounds_seen else 0
        self._rounds_seen = self._rounds
        if self._still >= MOST_STILL:
            return f'the ROS thread hangs: it has not gone round for about {MOST_STILL} s'
        return ''

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of it."""
        return {'ros': True, 'working': self._still < 3 and not self._death, 'ended': self._death}

    def close(self) -> bool:
        """Stop spinning, join the thread, take the node down; False where it hangs."""
        self._stopping.set()
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            return False
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)
        return True

    async def _answer(self, future: Future[str]) -> None:
        """Wait for what the node says: '' is good, anything else a reason."""
        try:
            reason = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
        except asyncio.TimeoutError:
            raise Refused(504, f'the depth node has not answered for {ANSWER_S:g} s') from None
        except ConnectionError as error:
            raise Refused(503, str(error)) from error
        if reason:
            raise Refused(409, reason)

    def _spin(self) -> None:
        try:
            self._go_round()
            if not self._stopping.is_set():
                self._death = 'the ROS thread has ended: ROS was shut down'
        except BaseException as error:  # noqa: BLE001 - told by `trouble`, which ends the process
            self._faults.count('the ROS thread', error)
            self._death = f'the ROS thread has ended: {type(error).__name__}: {error}'

    def _go_round(self) -> None:
        failures = 0
        # Not executor.spin(): shutting that down from outside destroys what it is waiting on.
        while not self._stopping.is_set() and self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=WAIT_S)
            except ExternalShutdownException:
                return
            except Exception as error:
                self._faults.count('the ROS executor', error)
                failures += 1
                if failures >= MOST_IN_A_ROW:
                    raise
                self._stopping.wait(WAIT_S)
            else:
                failures = 0
            self._rounds += 1
