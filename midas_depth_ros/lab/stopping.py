"""How every command ends: by its exit code, whatever stops it, and with nothing left behind.

A signal becomes an exception, so that what was begun is taken back on the way out; 128 plus its
number is the exit code. Standard output that is full, closed or no longer read is an error, too.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import click

from midas_depth_ros.options.text import printable

INSIST_S = 0.3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end. No Exception: nobody is to take it for a fault and go on."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = signal.Signals(number)


class Failure(click.ClickException):
    """Ends a command with one line on standard error and exit code 1."""

    def show(self, file: Any = None) -> None:
        text = ' '.join(self.format_message().split())
        click.echo(f'error: {printable(text)}', err=True, file=file)


class _Signals:
    """A signal is raised until it is on its way out; while `held` it waits.

    Some libraries lose an exception that comes while they work, as NumPy's random choice does. So
    the signal is sent again and again, and raised unless what it was raised for is being cleared.
    """

    def __init__(self) -> None:
        self.requested = 0
        self.held = 0
        self._ended = threading.Event()
        self._has_sent = False
        self._insisting = threading.Thread(target=self._insist, daemon=True)

    def begin(self) -> None:
        """Watch over signals; a thread cannot safely be started when one has come."""
        self._insisting.start()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or number
        self.check()

    def check(self) -> None:
        if self.requested and not self.held and not self._ended.is_set() and not _is_clearing():
            raise Stopped(self.requested)

    def end(self) -> None:
        """From here on nothing is raised or sent."""
        self._ended.set()
        if self._insisting.is_alive():
            self._insisting.join()

    def clear(self) -> None:
        """Take what was sent and has not come yet, while this thread blocks signals; after `end`.

        Whatever handles signals next has not been asked to end, and may end the process.
        """
        if self._has_sent:
            while signal.sigtimedwait(SIGNALS, 0):
                pass

    def _insist(self) -> None:
        while not self._ended.wait(INSIST_S):
            if self.requested:
                self._has_sent = True
                signal.pthread_kill(threading.main_thread().ident or 0, self.requested)


def _is_clearing() -> bool:
    """Whether some caller is in the midst of an `except` or `finally` that Stopped led to."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


_signals = _Signals()
_parts: set[Path] = set()  # that are to be gone when we end: a signal may come before a `finally`


def is_stopping() -> bool:
    """Whether a signal has asked for the end."""
    return bool(_signals.requested)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """No signal comes between the steps of this block; it is raised after it."""
    _signals.held += 1
    try:
        yield
    finally:
        _signals.held -= 1
    _signals.check()


class Stoppable:
    """Signals raise Stopped in this block, but for those that whoever started us has silenced.

    A signal may come as the block is left, before anything has been done about that: then Stopped
    comes out of it, and who catches it calls `close`. Nothing here is a generator: one that was not
    run to its end is run by the garbage collector, whenever that may be, and would take away the
    handlers of another block.
    """

    def __init__(self, is_last: bool = False) -> None:
        """`is_last`: the process ends after it; who was asked to end ignores what follows."""
        self._is_last = is_last
        self._signals = _Signals()
        self._previous: _Signals | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> None:
        global _signals
        if threading.current_thread() is not threading.main_thread():
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._handlers = {
            n: each for n, each in handlers.items() if each not in (signal.SIG_IGN, None)
        }
        self._previous, _signals = _signals, self._signals
        try:
            self._signals.begin()
            for number in self._handlers:
                signal.signal(number, self._signals.on_signal)
        except BaseException:  # a signal between two of them too, and it is raised again
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give signals back to who had them; may be called again."""
        global _signals
        self._signals.end()  # what comes now comes too late
        if self._previous is None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # asks only
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            self._signals.clear()
            ending = self._is_last and self._signals.requested
            for number, handler in self._handlers.items():
                signal.signal(number, signal.SIG_IGN if ending else handler)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _signals, self._previous = self._previous, None


@contextlib.contextmanager
def removing(path: Path) -> Iterator[None]:
    """What has this name after the block, a file or a folder, is removed, whatever happens."""
    _parts.add(path)
    try:
        yield
    finally:
        remove(path)
        _parts.discard(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    with held():  # a signal waits until nothing is left
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def failures(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, and what the system refuses, become Failure; a fault stays one."""
    try:
        yield
    except BrokenPipeError as error:
        raise Stopped(signal.SIGPIPE) from error
    except OSError as error:
        raise Failure(told(error)) from error
    except kinds as error:
        raise Failure(str(error)) from error


def failing(call: Callable[[], Any]) -> Any:
    """The result of a call, whose errors of the system become Failure."""
    with failures():
        return call()


def told(error: OSError) -> str:
    """An error of the system as a person reads it: what it is about, and the reason."""
    # A file that is written to has no name in its error; ours are told by who writes them.
    name = 'standard output' if error.filename is None else os.fsdecode(error.filename)
    return f'{name}: {error.strerror or error}'


def run_guarded(call: Callable[[], Any]) -> NoReturn:
    """Run a command's main function to its end, and leave with its exit code.

    call: click's `main` without standalone mode, so that it raises what ends it.
    """
    open_streams()
    code = 1
    guard = Stoppable(is_last=True)
    try:
        with guard:
            code = _code_of(call)
    except Stopped as stopped:  # while the end was being told
        guard.close()
        code = 128 + stopped.number
    finally:
        for path in list(_parts):
            remove(path)
        drop_output()
    sys.exit(code)


def _code_of(call: Callable[[], Any]) -> int:
    try:
        result = call()
        _flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        _say(functools.partial(_show, error))
        return error.exit_code
    except click.Abort:
        _say(lambda: click.echo('Aborted!', err=True))
        return 1
    except Stopped as stopped:
        _signals.end()
        text = f'Stopped by {stopped}'
        if stopped.number != signal.SIGPIPE:
            _say(lambda: click.echo(text, err=True))
        return 128 + stopped.number
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _show(error: click.ClickException) -> None:
    """What click has to say, line by line; it repeats arguments as they are."""
    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().rstrip('\n').split('\n'):
        click.echo(printable(line), err=True)


def _flush() -> None:
    """Raises Stopped or Failure where standard output does not take what was written to it."""
    if sys.stdout is not None:
        with failures():
            sys.stdout.flush()


def _say(say: Callable[[], Any]) -> None:
    """Standard error may be gone, too: then there is nobody to be told."""
    with contextlib.suppress(OSError, ValueError):
        say()


def open_streams() -> None:
    """Make sure that there is something behind the three streams, and that it takes every letter.

    Where one was closed, the next file to be opened would come in its place, and what is said would
    be written into that. Standard output that was closed refuses what is written to it.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, 'w', closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, 'w', closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows few letters gets their numbers, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def drop_output() -> None:
    """What could not be written would be tried again when Python ends, and be complained of."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                number = os.open(os.devnull, os.O_WRONLY)
                os.dup2(number, stream.fileno())
                os.close(number)
