"""The `main()` of every node: start ROS, spin, and stop promptly and cleanly.

In comes a function that makes the node; out goes the exit code of the process. SIGINT, SIGTERM and
SIGHUP end the node with 0 and without a traceback; a wrong parameter is one line of log and a 1.
What does not end within a few seconds is ended hard, with a line that says where it hangs, and a 1.
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
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import rclpy
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.options.text import printable

if TYPE_CHECKING:
    from rclpy.node import Node

# --- SIGINT, SIGTERM and SIGHUP as a flag instead of a sudden end. Plain Python, no ROS.

# A terminal that is closed says SIGHUP: what drives a robot must stop it then, too.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Self = TypeVar('Self', bound='StopSignals')


class StopSignals:
    """For the length of a `with` block: `requested` is the name of the signal that came last.

    The context that a signal finds stays whole, so that children are ended and last messages
    sent in order. What else shall happen, a subclass adds in `on_signal` and `handler_after`.
    A SIGHUP that is ignored stays ignored: so nohup asks for it.
    """

    def __init__(self, numbers: Sequence[signal.Signals] = STOP_SIGNALS) -> None:
        self.requested = ''
        self._numbers = tuple(
            number
            for number in numbers
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        )
        self._previous: dict[int, Any] = {}

    def __enter__(self: Self) -> Self:
        self._previous = {number: signal.signal(number, self.on_signal) for number in self._numbers}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # else it was not Python that had set it
                signal.signal(number, self.handler_after(handler))

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.requested = signal.Signals(number).name

    def handler_after(self, previous: Any) -> Any:
        """What handles a signal after the block: what did before it."""
        return previous


# --- What the pure rooms say through Python's logging, said through ROS.
#
# So that a slow download or a corrupt file is told on the console and on /rosout like all else.

PACKAGE_LOGGER = 'midas_depth_ros'


class RosHandler(logging.Handler):
    """Hands records to a node's logger, level for level."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record; one that cannot be put into words must not stop who logs it."""
        try:
            text = '\n'.join(map(printable, record.getMessage().split('\n')))
        except Exception:  # noqa: BLE001 - logging's own boundary, which says it on standard error
            self.handleError(record)
            return
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def forward_logging(node: Node) -> None:
    """Let this node say what the package logs; the latest node made replaces earlier ones."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.handlers = [RosHandler(node)]
    logger.setLevel(logging.INFO)
    logger.propagate = False


# A signal ends the wait at once, and what ends the node by itself comes from a callback. This
# bounds what would go unnoticed otherwise: a context shut down by others, a lost wake-up.
WAIT_S = 1.0
POKE_S = 0.05  # how often it is tried to interrupt
INSIST_S = 0.5  # so long a callback may still run when a second signal has come
AGAIN_S = 2.0  # an exception may get lost: so long after it the next one is tried
HARD_S, HARD_COUNT = 3.0, 3  # a third signal after so long ends the process
LIMIT_S = 9.0  # and time alone does; ros2 launch sends SIGKILL after 10 s
LAST_WORDS_S = 2.0  # for the line of log that says so: what hangs may hold its lock
FAULT_PAUSE_S = 0.01  # after a message that rclpy could not take
CHUNK_BYTES = 64
UNSAFE_MODULES = ('importlib._bootstrap', 'weakref', '_weakref')


class NodeSignals(StopSignals):
    """The signals of a process that is a node.

    rclpy's own handlers shut the context down under the feet of a running node, so that its last
    messages and its cleanup fail. Here the context lives until the node is closed.

    The first signal lets the running callback finish; while the node is being made, or while it is
    `interruptible` (a model is loading), it raises KeyboardInterrupt. A second one does so in a
    callback that goes on. Never within rclpy: an exception in the middle of a message that it
    converts is a crash, sometimes a SIGSEGV, so the moment is waited for. What then still hangs is
    ended by a third signal, or by LIMIT_S (a terminal and ros2 launch both send several: a volley
    counts as two).

    Python runs its handlers between two steps of the main thread, which takes none while it waits
    inside rcl or hangs in native code. So a thread watches: the interpreter writes to its socket at
    once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.making = False
        self.closing = False
        self.node: Node | None = None  # the one that spins
        self.wake: Callable[[], object] = _nothing  # ends the executor's wait
        self._insists = False  # the next handler interrupts, if it may
        self._interrupted_s = -AGAIN_S
        self._pokes = 0  # signals of our own that are on their way
        self._moments: list[float] = []
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name='signal_watch', daemon=True)
        self._previous_fd = -1

    def __enter__(self) -> NodeSignals:
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing = True
        super().__exit__(kind, error, trace)
        signal.set_wakeup_fd(self._previous_fd)
        self._sending.close()  # the thread sees the end
        self._thread.join()
        self._receiving.close()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take note, and interrupt what may be interrupted."""
        super().on_signal(number, frame)
        if (self._insists or self._at_once()) and not self._done() and _is_safe(frame):
            self._interrupted_s = time.monotonic()
            raise KeyboardInterrupt

    def handler_after(self, previous: Any) -> Any:
        """Who was asked to end is ending: the second signal of a pair must not kill it now."""
        return signal.SIG_IGN if self.requested else previous

    @property
    def has_interrupted(self) -> bool:
        """Whether it has raised KeyboardInterrupt, which leaves half done what it meets."""
        return self._interrupted_s > -AGAIN_S

    def _at_once(self) -> bool:
        return self.making or bool(getattr(self.node, 'interruptible', False))

    def _done(self) -> bool:
        """Whether there is nothing to interrupt, or that has just been done."""
        return self.closing or time.monotonic() - self._interrupted_s < AGAIN_S

    def _watch(self) -> None:
        """The thread's work: wake the executor, interrupt what goes on, end what hangs."""
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
                    f'told to end {since_s:.0f} s ago and still not ended: {_where_it_hangs()}'
                )
            self._insists = len(self._moments) > 1 and since_s > INSIST_S
            if (self._insists or self._at_once()) and not self._done():
                self._pokes += 1
                signal.pthread_kill(self._main, signal.SIGINT)

    def _heard(self) -> bool:
        """Wait for signals, or for the next moment to look; False at the end."""
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
    """Whether an exception may begin here.

    Not within rclpy and its messages; nor where Python calls what cannot raise: destructors, and
    the callbacks of weak references, as imports have them; nor in a handler, that of a signal which
    came a moment before: it is about to raise itself.
    """
    if frame is None or frame.f_code.co_name in ('__del__', 'on_signal'):
        return False
    module = str(frame.f_globals.get('__name__', ''))
    return not (boundary.is_of_ros(module) or module.startswith(UNSAFE_MODULES))


def _where_it_hangs() -> str:
    """What each other thread of the program is at."""
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
    """Say why, and end the process now: no cleanup, exit code 1."""
    with open(os.devnull, 'w') as nowhere:
        faulthandler.dump_traceback_later(LAST_WORDS_S, exit=True, file=nowhere)
        get_logger('midas_depth_ros').fatal(f'{text}; ended without cleanup')
        _flush()
        os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def run_node(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Make a node, spin it until it or somebody else ends it, and close it.

    A node that ends by itself sets an attribute `exit_code` (int) on itself, and one that has to
    leave a thread behind sets `hangs` to True: then the process ends at once with 1. `args` are the
    command line, sys.argv if None. Returns the exit code: 0 after SIGINT, SIGTERM, SIGHUP or a
    shutdown of ROS, 1 with a fatal line of log when a parameter or a ROS argument is wrong
    (ValueError or rclpy's ParameterException from `make_node`). Other exceptions are faults of the
    program and are passed on. Where a signal had to interrupt the node at work (it was loading, or
    its callback went on), the process ends here, with 0.
    """
    exit_code = 0
    with NodeSignals() as signals:
        try:
            exit_code = _spin(make_node, make_executor, signals) if _started(args) else 1
        except KeyboardInterrupt:
            pass
        except Exception:
            if not signals.has_interrupted:  # else native code has made that of the interrupt
                raise
        finally:
            signals.closing = True
            rclpy.try_shutdown()
        if getattr(signals.node, 'hangs', False):  # the interpreter would wait for it for ever
            end_hard(f'closed, but a thread hangs: {_where_it_hangs()}')
        if signals.has_interrupted:
            # Whatever it met is half done: a thread pool that nobody would tell to end, a native
            # module that could not be imported, so that the node could not start. The interpreter's
            # own end would wait for the one, and its exit code tell of the other.
            _flush()
            os._exit(0)
        return exit_code


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
        get_logger('midas_depth_ros').fatal(printable(str(error)))
        return 1
    finally:
        signals.making = False
    try:
        boundary.guard_services(node)
        executor.add_node(node)
        # `executor.wake()` would only make it look again at what to wait for.
        signals.wake = _suppressing(node.create_guard_condition(_nothing).trigger)
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
    """One turn of the executor, which survives what rclpy cannot take or answer by itself."""
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


def _suppressing(trigger: Callable[[], object]) -> Callable[[], None]:
    def wake() -> None:
        with contextlib.suppress(InvalidHandle):  # the node is being destroyed
            trigger()

    return wake


def _nothing() -> None:
    """A callback, so that the executor returns."""
