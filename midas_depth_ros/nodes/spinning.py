"""The `main()` of every node: start ROS, spin, and stop promptly and cleanly.

In comes a function that makes the node; out goes the exit code of the process. SIGINT and SIGTERM
end the node with 0 and without a traceback; a wrong parameter is one line of log and a 1.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from midas_depth_ros.nodes.signal_waker import SignalWaker
from midas_depth_ros.nodes.stop_signals import StopSignals

# A signal ends the wait by `SignalWaker`, and what ends the node by itself comes from a callback.
# This bounds what would go unnoticed otherwise: a context shut down by others, a lost wake-up.
WAIT_S = 1.0


class NodeSignals(StopSignals):
    """The signals of a process that is a node.

    rclpy's own handlers shut the context down under the feet of a running node, so that its last
    messages and its cleanup fail. Here the context lives until the node is closed. While the node
    is being made, or while it is `interruptible` (a model is loading), a signal raises
    KeyboardInterrupt at once; while it spins, the first one lets the running callback finish and
    the second one interrupts it; while it closes, more of them are ignored (a terminal and ros2
    launch both send one).
    """

    def __init__(self) -> None:
        super().__init__()
        self.making = False
        self.closing = False
        self.node: Node | None = None  # the one that spins

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take note, and interrupt what may be interrupted."""
        again = bool(self.requested)
        super().on_signal(number, frame)
        interruptible = self.making or getattr(self.node, 'interruptible', False)
        if not self.closing and (again or interruptible):
            raise KeyboardInterrupt

    def handler_after(self, previous: Any) -> Any:
        """Who was asked to end is ending: the second signal of a pair must not kill it now."""
        return signal.SIG_IGN if self.requested else previous


def run_node(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Make a node, spin it until it or somebody else ends it, and close it.

    A node that ends by itself sets an attribute `exit_code` (int) on itself. `args` are the
    command line, sys.argv if None. Returns the exit code: 0 after SIGINT, SIGTERM or a shutdown
    of ROS, 1 with a fatal line of log when a parameter or a ROS argument is wrong (ValueError
    or rclpy's ParameterException from `make_node`). Other exceptions are faults of the program
    and are passed on.
    """
    with NodeSignals() as signals:
        try:
            if not _started(args):
                return 1
            return _spin(make_node, make_executor, signals)
        except KeyboardInterrupt:
            return 0
        finally:
            signals.closing = True
            rclpy.try_shutdown()


def _started(args: Sequence[str] | None) -> bool:
    try:
        rclpy.init(
            args=None if args is None else list(args),
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except RuntimeError as error:  # rcl's way of refusing --ros-args that it cannot read
        get_logger('midas_depth_ros').fatal(f'ROS arguments refused: {error}')
        return False
    return True


def _spin(
    make_node: Callable[[], Node], make_executor: Callable[[], Executor], signals: NodeSignals
) -> int:
    executor = make_executor()
    if signals.requested:
        return 0
    try:
        signals.making = True
        signals.node = node = make_node()
    except (ValueError, ParameterException) as error:
        get_logger('midas_depth_ros').fatal(str(error))
        return 1
    finally:
        signals.making = False
    try:
        executor.add_node(node)
        # `executor.wake()` would only make it look again at what to wait for.
        with SignalWaker(node.create_guard_condition(_nothing).trigger):
            while not signals.requested and rclpy.ok() and not hasattr(node, 'exit_code'):
                executor.spin_once(timeout_sec=WAIT_S)
    except ExternalShutdownException:
        pass
    finally:
        signals.closing = True
        executor.shutdown()
        node.destroy_node()
    return int(getattr(node, 'exit_code', 0))


def _nothing() -> None:
    """A callback, so that the executor returns."""
