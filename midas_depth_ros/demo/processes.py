"""Child processes that are always ended: each with a log file, in a process group of its own.

`Children` starts them, tells which one ended and with what last words, and stops them all:
SIGINT, then SIGTERM, then SIGKILL, each after a bounded wait. Use them within `StopSignals`, so
that no signal can come between the children and their end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from midas_depth_ros.commands.stopping import held

# The signals to end a process with, and how long to wait after each, in seconds.
STEPS = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_BYTES = 16_384
PROMPT = '$ '  # before the command line in a log


@dataclasses.dataclass(frozen=True)
class Child:
    """One running or ended process and the file that has what it wrote."""

    name: str
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative numbers are signals, as in `subprocess`."""
        return self.process.poll()

    def tail(self, lines: int = 12) -> list[str]:
        """The last lines of its log that are not blank."""
        with self.log.open('rb') as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL_BYTES))
            text = log.read().decode(errors='replace')
        # A progress bar redraws its line after a carriage return: only the last state counts.
        drawn = [line.rstrip('\r').rpartition('\r')[2].rstrip() for line in text.split('\n')]
        return [line for line in drawn if line][-lines:]

    def last_words(self) -> str:
        """The line of its log that says most: the first recent error, else the last line."""
        lines = [line for line in self.tail() if not line.startswith(PROMPT)]
        errors = [line for line in lines if line.startswith(('[ERROR]', '[FATAL]'))]
        # What comes before ']: ' is level, time and logger.
        return (errors or lines[-1:] or [''])[0].rpartition(']: ')[2]

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None:
            return f'{self.name} is running'
        if code < 0:
            return f'{self.name} was ended by {signal.Signals(-code).name}'
        return f'{self.name} ended with exit code {code}'


class Children:
    """The processes of one run, for the length of a `with` block; none outlives it."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environment = dict(environment)
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a process whose stdout and stderr go to `<log folder>/<name>.log`.

        Raises OSError, which names the file.
        """
        path = self._log_folder / f'{name}.log'
        with path.open('wb', buffering=0) as log, held():
            try:
                log.write(f'{PROMPT}{shlex.join(command)}\n'.encode(errors='backslashreplace'))
            except OSError as error:  # which does not say of which file
                raise OSError(error.errno, error.strerror, str(path)) from error
            process = subprocess.Popen(
                [*_leash(), *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end them in order
            )
            child = Child(name, tuple(command), path, process)
            self._children.append(child)
        return child

    def ended(self) -> Child | None:
        """The first child that is no longer running."""
        return next((child for child in self._children if child.exit_code is not None), None)

    def stop(self) -> dict[str, int]:
        """End all that still run, and return the exit code of each."""
        for number, wait_s in STEPS:
            for child in self._children:
                _send(child, number)
            if self._wait(wait_s):
                break
        return {child.name: child.process.returncode for child in self._children}

    def _wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while any(child.exit_code is None for child in self._children):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _send(child: Child, number: signal.Signals) -> None:
    if child.exit_code is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)


def _leash() -> list[str]:
    """What makes the kernel end a child whose parent is killed without a chance to do it."""
    setpriv = shutil.which('setpriv')  # of util-linux
    return [setpriv, '--pdeathsig', 'TERM'] if setpriv else []
