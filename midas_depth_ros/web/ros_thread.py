"""ROS in a thread of its own beside the web server: started, asked from coroutines, and joined.

The server's event loop never waits for ROS, and ROS never for a browser. What is asked of the node
runs in its thread; the answer comes back as a future.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.ros_node import DashboardNode

WAIT_S = 0.1  # how long a stop may go unnoticed
ANSWER_S = 10.0  # how long the depth node may take


class RosThread:
    """The dashboard's node, spinning. Raises RuntimeError for ROS arguments that rcl refuses."""

    def __init__(
        self, feed: Feed, depth_node: str, args: Sequence[str], domain_id: int | None = None
    ) -> None:
        self._context = Context()
        rclpy.init(
            args=['dashboard', *args],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,  # signals are the server's
        )
        self._stopping = threading.Event()
        self._node = DashboardNode(feed, depth_node, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='ros')
        self._thread.start()

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set a live parameter; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_parameter(name, value))

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume; raises Refused (409) with the node's own reason."""
        await self._answer(self._node.set_enabled(enabled))

    def close(self) -> None:
        """Stop spinning, join the thread, take the node down."""
        self._stopping.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

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
        # Not executor.spin(): shutting that down from outside destroys what it is waiting on.
        try:
            while not self._stopping.is_set() and self._context.ok():
                self._executor.spin_once(timeout_sec=WAIT_S)
        except ExternalShutdownException:
            pass
