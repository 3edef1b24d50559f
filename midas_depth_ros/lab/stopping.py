"""How every command ends: with its exit code, whatever stops it, and without leftover files.

A signal is raised as an exception, so that unfinished work is undone on the way out; the exit code
is 128 plus its number. Standard output that is full, closed or no longer read is an error as well.
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

RESEND_S = 0.3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked the command to stop. Not an Exception, so that no handler swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = signal.Signals(number)


class Failure(click.ClickException):
    """Ends a command with one line on standard error and exit code 1."""

    def show(self, file: Any = None) -> None:
        text = ' '.join(self.format_message().split())
        click.echo(f'error: {printable(text)}', err=True, file=file)


class _Signals:
    """Raises Stopped for a signal until it propagates; while `held`, the signal waits.

    Some libraries lose an exception that is raised while they work, as NumPy's random choice does.
    So the signal is sent repeatedly, and raised unless an earlier Stopped is being handled.
    """

    def __init__(self) -> None:
        self.requested = 0
        self.held = 0
        self._ended = threading.Event()
        self._has_sent = False
        self._resending = threading.Thread(target=self._resend, daemon=True)

    def begin(self) -> None:
        """Start the resending thread; it could not be started safely inside a signal handler."""
        self._resending.start()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or number
        self.raise_if_due()

    def raise_if_due(self) -> None:
        if self.requested and not self.held and not self._ended.is_set() and not _is_clearing():
            raise Stopped(self.requested)

    def end(self) -> None:
        """Raise and send nothing from now on."""
        self._ended.set()
        if self._resending.is_alive():
            self._resending.join()

    def clear(self) -> None:
        """Discard pending resent signals; call it after `end`, with signals blocked.

        They are not meant for whatever handles signals next, and could end the process.
        """
        if self._has_sent:
            while signal.sigtimedwait(SIGNALS, 0):
                pass

    def _resend(self) -> None:
        while not self._ended.wait(RESEND_S):
            if self.requested:
                self._has_sent = True
                signal.pthread_kill(threading.main_thread().ident or 0, self.requested)


def _is_clearing() -> bool:
    """Return whether some caller is in an `except` or `finally` block because of Stopped."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


_signals = _Signals()
_temporary: set[Path] = set()  # removed at exit: a signal may come before a `finally`


def is_stopping() -> bool:
    """Return whether a signal has asked the command to stop."""
    return bool(_signals.requested)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Defer signals to the end of the block.

    As around each frame of a loop: `midas_depth bag` was seen to crash where one came while OpenCV
    was called.
    """
    _signals.held += 1
    try:
        yield
    finally:
        _signals.held -= 1
    _signals.raise_if_due()


class Stoppable:
    """Signals raise Stopped in this block, except those that the parent process set to be ignored.

    A signal may arrive while the block is being left: then Stopped comes out of it, and whoever
    catches it calls `close`. This is not a generator: the garbage collector may finish an
    abandoned generator at any time, which would remove the handlers of another block.
    """

    def __init__(self, is_last: bool = False) -> None:
        """`is_last`: the process ends after the block, and ignores signals after the first."""
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
        except BaseException:  # including a signal between two of them; raised again
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
        """Restore the previous handlers; may be called again."""
        global _signals
        self._signals.end()
        if self._previous is None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # only reads the mask
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
    """Remove the file or folder of this name at the end of the block, whatever happens."""
    _temporary.add(path)
    try:
        yield
    finally:
        remove(path)
        _temporary.discard(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    with signals_held():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def failures(*kinds: type[Exception]) -> Iterator[None]:
    """Turn OSError and errors of these kinds into Failure; other exceptions are bugs and pass."""
    try:
        yield
    except BrokenPipeError as error:
        raise Stopped(signal.SIGPIPE) from error
    except OSError as error:
        raise Failure(os_error_text(error)) from error
    except kinds as error:
        raise Failure(str(error)) from error


def os_error_text(error: OSError) -> str:
    """Return the file and the reason of an OSError as text."""
    # Errors of writing name no file; our own files are named where they are written.
    name = 'standard output' if error.filename is None else os.fsdecode(error.filename)
    return f'{name}: {error.strerror or error}'


def run_command(call: Callable[[], Any]) -> NoReturn:
    """Run a command's main function, and exit the process with its exit code.

    call: click's `main` without standalone mode, so that it raises what ends it. An OSError is
    printed as a Failure.
    """
    ensure_streams()
    code = 1
    guard = Stoppable(is_last=True)
    try:
        with guard:
            code = _code_of(call)
    except Stopped as stopped:  # while the exit was being reported
        guard.close()
        code = 128 + stopped.number
    finally:
        for path in list(_temporary):
            remove(path)
        discard_output()
    sys.exit(code)


def _code_of(call: Callable[[], Any]) -> int:
    try:
        with failures():
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
    """Print click's message with each line made printable: it quotes arguments verbatim."""
    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().rstrip('\n').split('\n'):
        click.echo(printable(line), err=True)


def _flush() -> None:
    """Flush standard output; raises Stopped or Failure where it does not take the output."""
    if sys.stdout is not None:
        with failures():
            sys.stdout.flush()


def _say(say: Callable[[], Any]) -> None:
    """Call a function that prints to standard error, which may be closed."""
    with contextlib.suppress(OSError, ValueError):
        say()


def ensure_streams() -> None:
    """Make sure that the three standard streams are open and can encode every character.

    If one were closed, the next file to be opened would take its place, and messages would be
    written into it. Standard output that was closed refuses what is written to it.
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
        # A terminal with a small character set gets escapes, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def discard_output() -> None:
    """Discard buffered output that cannot be written: Python would retry at exit and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                number = os.open(os.devnull, os.O_WRONLY)
                os.dup2(number, stream.fileno())
                os.close(number)
