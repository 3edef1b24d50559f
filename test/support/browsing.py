"""A real headless Chromium for tests, and the programs that it looks at, as processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
WAIT_MS = 30_000


def find_browser() -> str | None:
    """The Chromium of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def browser_environment() -> dict[str, str]:
    """Ours without what the ROS of the package index needs to find its libraries."""
    return {k: v for k, v in os.environ.items() if k not in ('LD_LIBRARY_PATH', 'LD_PRELOAD')}


def wait_for(page: Any, expression: str, argument: Any = None) -> None:
    """Until a JavaScript expression is true in the page.

    Playwright's own wait evaluates text within the page, which the page's policy forbids.
    """
    deadline = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(expression, argument):
        if time.monotonic() > deadline:
            raise AssertionError(f'waited {WAIT_MS} ms in vain for {expression}')
        page.wait_for_timeout(50)


class Program:
    """A module of the package as a process: `python -m midas_depth_ros.<name> ...`."""

    def __init__(self, name: str, *arguments: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        with log.open('wb') as file:
            self.process = subprocess.Popen(
                [sys.executable, '-m', f'midas_depth_ros.{name}', *arguments],
                env={**environment, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1'},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors='replace')

    def said(self, pattern: str, timeout_s: float = 60.0) -> re.Match[str]:
        """What it has said that matches, once it has; AssertionError if it does not."""
        deadline = time.monotonic() + timeout_s
        while True:
            match = re.search(pattern, self.output)
            if match:
                return match
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f'{pattern!r} was not said:\n{self.output}')
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def programs(folder: Path, environment: dict[str, str]) -> Iterator[Starter]:
    """Starts programs that do not outlive the block."""
    starter = Starter(folder, environment)
    try:
        yield starter
    finally:
        starter.close()


class Starter:
    """Starts programs with one environment and a log file each."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._started: list[Program] = []

    def __call__(self, name: str, *arguments: str, **environment: str) -> Program:
        log = self._folder / f'{len(self._started)}_{name}.log'
        program = Program(
            name, *arguments, environment={**self._environment, **environment}, log=log
        )
        self._started.append(program)
        return program

    def close(self) -> None:
        """End what still runs."""
        for program in self._started:
            program.close()
