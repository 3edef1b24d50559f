"""The `main()` of every node: start ROS, spin, and stop promptly and cleanly.

SIGINT, SIGTERM and SIGHUP end the node with exit code 0 and without a traceback; an invalid
parameter ends it with one log line and 1. A node that hangs is killed after a few seconds with 1.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import rclpy
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.options.text import printable

try:
    from rclpy.event_handler import EventHandler
except ImportError:  # Humble
    from rclpy.qos_event import QoSEventHandler as EventHandler

# --- SIGINT, SIGTERM and SIGHUP as a flag instead of a sudden end. Plain Python, no ROS.

# A closed terminal sends SIGHUP: a node that drives a robot must stop it then, too.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Within a `with` block a signal only sets `requested`, to the name of the last one.

    So children can be ended and last messages sent in order. A SIGHUP that is ignored stays
    ignored, as nohup wants it.
    """

    def __init__(self, numbers: Sequence[signal.Signals] = STOP_SIGNALS) -> None:
        self.requested = ''
        self._numbers = tuple(
            number
            for number in numbers
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        )
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self.on_signal) for number in self._numbers}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # else it was not set by Python
                signal.signal(number, self.handler_after(handler))

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal."""
        self.requested = signal.Signals(number).name

    def handler_after(self, previous: Any) -> Any:
        """The handler to restore after the block: the one from before."""
        return previous


# --- Python's logging, which the subpackages without ROS use, forwarded to the console and /rosout.

PACKAGE_LOGGER = 'midas_depth_ros'


class RosHandler(logging.Handler):
    """Hands records to a node's logger at the same level."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; one that cannot be formatted must not stop its caller."""
        try:
            text = '\n'.join(map(printable, record.getMessage().split('\n')))
        except Exception:  # noqa: BLE001 - logging's own boundary, which reports to stderr
            self.handleError(record)
            return
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def forward_logging(node: Node) -> None:
    """Forward the package's logging to this node; the latest node replaces earlier ones."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.handlers = [RosHandler(node)]
    logger.setLevel(logging.INFO)
    logger.propagate = False


WAIT_S = 1.0  # of the executor, for what wakes it by no event: a context shut down by others
POKE_S = 0.05  # how often the watching thread tries to interrupt
INSIST_S = 0.5  # how long a callback may run on after a second signal
AGAIN_S = 2.0  # an exception may get lost: when to raise the next one
HARD_S, HARD_COUNT = 3.0, 3  # a third signal this late kills the process
LIMIT_S = 9.0  # as does this time alone; ros2 launch sends SIGKILL after 10 s
LAST_WORDS_S = 2.0  # for the log line about it: a hanging thread may hold the log's lock
FAULT_PAUSE_S = 0.01  # after a message that rclpy could not take
CHUNK_BYTES = 64
UNSAFE_MODULES = ('importlib._bootstrap', 'weakref', '_weakref')


class NodeSignals(StopSignals):
    """The signals of a node's process.

    rclpy's own handlers shut the context down under a running node, so that its last messages and
    its cleanup fail. Here the context lives until the node is closed.

    The first signal lets the running callback finish; but while the node is being made, or is
    `interruptible` (a model is loading), it raises KeyboardInterrupt. A second one does so in a
    callback that runs on. Never within rclpy, which would crash. A node that still hangs is killed
    by a third signal, or after LIMIT_S (a volley, as terminals send it, counts as two).

    Python runs handlers only between two steps of the main thread, not while it waits inside rcl
    or hangs in native code. So a thread watches a socket that the interpreter writes to at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.making = False
        self.closing = False
        self.node: Node | None = None  # the one that spins
        self.wake: Callable[[], object] = _nothing  # ends the executor's wait
        self._insists = False  # the next handler interrupts, if it may
        self._interrupted_s = -AGAIN_S
        self._pokes = 0  # signals of our own that have not arrived yet
        self._moments: list[float] = []
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name='signal_watch', daemon=True)
        self._previous_fd = -1

    def __enter__(self) -> NodeSignals:
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        super().__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.closing = True
        super().__exit__(*raised)
        signal.set_wakeup_fd(self._previous_fd)
        self._sending.close()  # the thread sees the end
        self._thread.join()
        self._receiving.close()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal, and interrupt what may be interrupted."""
        super().on_signal(number, frame)
        if (self._insists or self._at_once()) and not self._done() and _is_safe(frame):
            self._interrupted_s = time.monotonic()
            raise KeyboardInterrupt

    def handler_after(self, previous: Any) -> Any:
        """Ignore signals once one has come: the second of a pair must not kill a node that ends."""
        return signal.SIG_IGN if self.requested else previous

    @property
    def has_interrupted(self) -> bool:
        """Whether KeyboardInterrupt was raised, which leaves unfinished what it interrupts."""
        return self._interrupted_s > -AGAIN_S

    def _at_once(self) -> bool:
        return self.making or bool(getattr(self.node, 'interruptible', False))

    def _done(self) -> bool:
        """Whether there is nothing to interrupt, or it has just been interrupted."""
        return self.closing or time.monotonic() - self._interrupted_s < AGAIN_S

    def _watch(self) -> None:
        """The thread's work: wake the executor, interrupt callbacks, kill a node that hangs."""
        while self._heard():
            if not self._moments:
                continue
            self.wake()
            since_s = time.monotonic() - self._moments[0]
            late = (
                len(self._moments) >= HARD_COUNT and self._moments[-1] - self._moments[0] > HARD_S
            )
            if late or since_s > LIMIT_S:
                end_hard(
                    f'still running {since_s:.0f} s after the signal to end: {_where_it_hangs()}'
                )
            self._insists = len(self._moments) > 1 and since_s > INSIST_S
            if (self._insists or self._at_once()) and not self._done():
                self._pokes += 1
                signal.pthread_kill(self._main, signal.SIGINT)

    def _heard(self) -> bool:
        """Wait for signals, or for the next poll; False at the end."""
        self._receiving.settimeout(POKE_S if self._moments else None)
        try:
            numbers = self._receiving.recv(CHUNK_BYTES)
        except TimeoutError:
            return True
        for number in numbers:
            if self._pokes and number == signal.SIGINT:
                self._pokes -= 1
            elif number in self._numbers:
                self._moments.append(time.monotonic())
        return bool(numbers)


def _is_safe(frame: FrameType | None) -> bool:
    """Whether an exception may be raised here.

    Not within rclpy; nor in destructors and callbacks of weak references (as in imports), which
    must not raise; nor in the handler of an earlier signal, which raises itself.
    """
    if frame is None or frame.f_code.co_name in ('__del__', 'on_signal'):
        return False
    module = str(frame.f_globals.get('__name__', ''))
    return not (boundary.is_of_ros(module) or module.startswith(UNSAFE_MODULES))


def _where_it_hangs() -> str:
    """Where each other thread of the program is."""
    frames = sys._current_frames()
    texts = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread.daemon or thread is threading.current_thread() or frame is None:
            continue
        code = frame.f_code
        place = f'{os.path.basename(code.co_filename)}:{frame.f_lineno}'
        texts.append(f'{thread.name} in {code.co_name} ({place})')
    return ', '.join(texts)


def end_hard(text: str) -> NoReturn:
    """Log the reason and end the process now, without cleanup, with exit code 1."""
    with open(os.devnull, 'w') as nowhere:
        faulthandler.dump_traceback_later(LAST_WORDS_S, exit=True, file=nowhere)
        get_logger('midas_depth_ros').fatal(f'{text}; killed without cleanup')
        _flush()
        os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


# --- An executor with less to do.
#
# In every turn rclpy builds a list of all that it waits for, in Python: most of the time that a
# callback costs. Half of the list is events of the middleware, such as that a subscriber does not
# match; and every callback wakes the executor that has just run it, for a turn in vain.

EVENTS_EVERY_S = 1.0


class WakeByOthers(GuardCondition):
    """Wakes an executor, unless its own thread asks for that: it is not waiting."""

    own_thread = -1

    def trigger(self) -> None:
        """Wake the executor."""
        if threading.get_ident() != self.own_thread:
            super().trigger()


class NodeExecutor(SingleThreadedExecutor):
    """Waits for events of the middleware once a second, and is not woken by its own callbacks."""

    def __init__(self, *, context: Any = None) -> None:
        super().__init__(context=context)
        self._asks, self._asked_s = True, -EVENTS_EVERY_S
        self._by_others = WakeByOthers(None, None, context=self._context)
        by_all = getattr(self, '_guard', None)
        if isinstance(by_all, GuardCondition):
            by_all.destroy()
            self._guard = self._by_others

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """One turn; always in the same thread."""
        self._by_others.own_thread = threading.get_ident()
        self._asks = time.monotonic() - self._asked_s >= EVENTS_EVERY_S
        super().spin_once(timeout_sec)

    def can_execute(self, entity: Any) -> bool:
        """Called by rclpy for everything that it could wait for, before it waits."""
        if isinstance(entity, EventHandler):
            if not self._asks:
                return False
            self._asked_s = time.monotonic()
        return bool(super().can_execute(entity))


ROS_OPTIONS = ('-p', '--param', '--params-file', '-r', '--remap', '--log-level')


def run_node(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    make_executor: Callable[[], Executor] = NodeExecutor,
) -> int:
    """Make a node, spin it until it ends, and close it; returns the exit code.

    The code is 0 after SIGINT, SIGTERM, SIGHUP or a shutdown of ROS, and 1 with a FATAL log line if
    a parameter or a ROS argument is invalid (ValueError or rclpy's ParameterException from
    `make_node`). Other exceptions are bugs and are passed on. A node ends itself by an attribute
    `exit_code` (int); `hangs` = True says that it leaves a thread behind: then the process ends at
    once with 1. If a signal had to interrupt the node, the process ends here with 0. args: the
    command line, sys.argv if None.
    """
    exit_code = 0
    with NodeSignals() as signals:
        try:
            exit_code = _spin(make_node, make_executor, signals) if _started(args) else 1
        except KeyboardInterrupt:
            pass
        except Exception:
            if not signals.has_interrupted:  # else native code has converted the interrupt
                raise
        finally:
            signals.closing = True
            rclpy.try_shutdown()
        if getattr(signals.node, 'hangs', False):  # the interpreter would wait for ever
            end_hard(f'closed, but a thread hangs: {_where_it_hangs()}')
        if signals.has_interrupted:
            # Something is unfinished: a thread pool that would never end, for which the interpreter
            # would wait, or an import that failed, which would change the exit code.
            _flush()
            os._exit(0)
        return exit_code


def _started(args: Sequence[str] | None) -> bool:
    try:
        rclpy.init(
            args=None if args is None else list(args),
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except RuntimeError as error:  # raised by rcl for invalid --ros-args
        get_logger('midas_depth_ros').fatal(f'ROS arguments refused: {error}')
        return False
    _warn_of_ignored(sys.argv[1:] if args is None else args)
    return True


def _warn_of_ignored(args: Sequence[str]) -> None:
    """Warn of what is meant for ROS and does not follow --ros-args: rcl ignores it silently."""
    left = remove_ros_args(list(args))
    if any(':=' in word or word in ROS_OPTIONS for word in left):
        get_logger('midas_depth_ros').warning(
            f'ignored: {printable(" ".join(left))}: parameters and remappings follow after '
            '--ros-args, as in --ros-args -p NAME:=VALUE'
        )


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
        get_logger('midas_depth_ros').fatal(printable(str(error)))
        return 1
    finally:
        signals.making = False
    try:
        boundary.guard_services(node)
        executor.add_node(node)
        # `executor.wake()` would only make it look again at what to wait for.
        guard = node.create_guard_condition(_nothing)

        def wake() -> None:
            with contextlib.suppress(InvalidHandle):  # the node is being destroyed
                guard.trigger()

        signals.wake = wake
        while not signals.requested and rclpy.ok() and not hasattr(node, 'exit_code'):
            _spin_once(executor, node)
    except ExternalShutdownException:
        pass
    finally:
        signals.closing = True
        signals.wake = _nothing
        executor.shutdown()
        node.destroy_node()
    return int(getattr(node, 'exit_code', 0))


def _spin_once(executor: Executor, node: Node) -> None:
    """One turn of the executor; it survives messages and requests that rclpy cannot handle."""
    try:
        executor.spin_once(timeout_sec=WAIT_S)
    except ExternalShutdownException:
        raise
    except Exception as error:
        if not boundary.is_from_outside(error):
            raise
        boundary.refuse(node, boundary.ROS_ITSELF, f'{type(error).__name__}: {error}')
        if isinstance(executor, SingleThreadedExecutor):
            boundary.listen_again(executor)
        time.sleep(FAULT_PAUSE_S)


def _nothing() -> None:
    """A callback that does nothing, after which the executor returns."""
