"""A real headless Chromium for tests, and the programs that it looks at, as processes.

The fixture `open_page` opens the dashboard of a fixture `robot`, which the module has to have: a
mapping with its `address`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
WAIT_MS = 60_000  # a busy machine
# What a browser itself notes of refusals, and of a server that is stopped on purpose.
EXPECTED = (
    'the server responded with a status of 4',
    'WebSocket connection',
    'ERR_CONNECTION_REFUSED',
    'ERR_CONNECTION_RESET',
)
FRAMES = """
([stream, least]) => Number(
    document.querySelector(`canvas[data-stream="${stream}"]`)?.dataset.frames ?? 0) >= least
"""


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
        page.wait_for_timeout(150)


def frames(page: Any, stream: str) -> int:
    """How many frames of a stream a page has drawn."""
    return int(page.locator(f'canvas[data-stream="{stream}"]').get_attribute('data-frames') or 0)


def wait_frames(page: Any, stream: str, least: int) -> None:
    """Until it has drawn so many."""
    wait_for(page, FRAMES, [stream, least])


@pytest.fixture(scope='module')
def chromium():
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root may not use the sandbox, and its shared memory is small.
        flags = [
            '--disable-dev-shm-usage',
            '--disable-gpu',
            *(['--no-sandbox'] if os.geteuid() == 0 else []),
        ]
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=flags, env=browser_environment()
        )
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """What the page complains about on the console; none is left at the end of the test."""
    heard: list[str] = []
    yield heard
    unexpected = [text for text in heard if not any(word in text for word in EXPECTED)]
    assert unexpected == [], unexpected


@pytest.fixture
def open_page(chromium, robot, complaints):
    """Opens the dashboard in a browser of its own."""
    contexts = []

    def make(path: str = '', before: Callable[[Any], None] = lambda page: None, **options):
        options.setdefault('viewport', {'width': 1366, 'height': 820})
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on('console', lambda m: complaints.append(m.text) if m.type != 'log' else None)
        page.on('pageerror', lambda error: complaints.append(str(error)))
        before(page)
        page.goto(robot['address'] + path)
        return page

    yield make
    for context in contexts:
        context.close()


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
