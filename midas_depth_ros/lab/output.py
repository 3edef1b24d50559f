"""What the commands say, and how their files come into being: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from midas_depth_ros.lab.stopping import Stopped, held, removing
from midas_depth_ros.options.text import printable

# --- What ends a command with one line and exit code 1.


class CommandError(Exception):
    """The text names what was in the way and the remedy; it is printable."""

    def __init__(self, text: object) -> None:
        super().__init__(printable(text))


ENDLESS = 1_000_000_000  # a total for the library, which wants one


class OutputConsole(Console):
    """Standard output, or standard error, for what rich draws."""

    def on_broken_pipe(self) -> None:
        """Nobody reads any more."""
        raise Stopped(signal.SIGPIPE)


class Reporter:
    """Shows how far a batch is, and says what goes wrong without tearing the bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """One more is done."""
        with contextlib.suppress(OSError):  # standard error may be gone; the work goes on
            self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """One line on standard error; it is made printable."""
        line = printable(text)
        with contextlib.suppress(OSError):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line on standard error, which may be gone: the work goes on."""
    with contextlib.suppress(OSError):
        click.echo(printable(text), err=True)


@contextlib.contextmanager
def reporting(title: str, total: int | None) -> Iterator[Reporter]:
    """A progress bar on standard error; in a pipe or a log there is none, only what is said.

    total: how many there are; None if nobody knows.
    """
    console = OutputConsole(stderr=True)
    columns: list[ProgressColumn] = [TextColumn(f'{title} {{task.completed:.0f}}')]
    if total:
        columns += [TextColumn(f'of {total}'), BarColumn(), TimeRemainingColumn()]
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a pipe stays there
    )
    with progress if console.is_terminal else contextlib.nullcontext():
        yield Reporter(progress, progress.add_task(title, total=total or ENDLESS))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, see that all of it is on the disk, and put it there.

    Raises CommandError; then what was there before still is, and nothing else.
    """
    with part_of(path) as part:
        with refusing(path), part.open('xb') as file:
            file.write(data)
            file.flush()
            size = os.fstat(file.fileno()).st_size
        if size != len(data):
            raise CommandError(f'{path}: of {len(data)} bytes {size} were written')
        put(part, path)


@contextlib.contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """A name beside `path`, of the same ending, for a file or folder that is to come into being.

    What has that name in the end is removed, whatever happens.
    """
    part = path.parent / f'.midas_depth_{secrets.token_hex(8)}{path.suffix}'
    with removing(part):
        yield part


def put(part: Path, path: Path) -> None:
    """Give a file or folder that is whole its own name; what had it before is replaced.

    It is on the disk when it gets its name. Raises CommandError.
    """
    with refusing(path):
        if part.is_dir():
            for each in [*part.rglob('*'), part]:
                _sync(each)
        else:
            _sync(part)
            if path.exists() and not path.is_file():
                raise CommandError(f'{path} is there and no file: it is not replaced')
    with held(), refusing(path):
        if not part.is_dir() or not path.exists():
            part.replace(path)
            return
        with part_of(path) as old:
            path.rename(old)
            try:
                part.rename(path)
            except OSError:
                old.rename(path)
                raise


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What the system refuses becomes a CommandError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        raise CommandError(f'{path}: it cannot be written: {error.strerror or error}') from error


def _sync(path: Path) -> None:
    """Have the disk take it: some tell only now that they are full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that never do
            raise
    finally:
        os.close(descriptor)


# --- What a person sees while a long step runs: a moving line, or plain lines in a log.
#
# On anything but a terminal a line is printed when a step begins and every few seconds while it
# lasts, so that a log stays readable and nobody waits in front of silence.

PLAIN_EVERY_S = 5.0
Update = Callable[[str, float], None]


@contextlib.contextmanager
def step(console: Console, title: str, total_s: float | None = None) -> Iterator[Update]:
    """Show that something is going on; gives `update(detail, seconds done)`.

    `total_s` is how long it will take; None if nobody knows.
    """
    with (_live if console.is_terminal else _plain)(console, title, total_s) as update:
        yield update


@contextlib.contextmanager
def _live(console: Console, title: str, total_s: float | None) -> Iterator[Update]:
    columns = [
        SpinnerColumn(),
        TextColumn('{task.description}', table_column=Column(no_wrap=True)),
        BarColumn(),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn('{task.fields[detail]}', markup=False, table_column=Column(no_wrap=True)),
    ]
    room = max(10, console.width - len(title) - 15)
    if total_s is None:
        del columns[2]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total_s, detail='')
        yield lambda detail, done_s: progress.update(
            task, detail=printable(detail, room), completed=done_s
        )


@contextlib.contextmanager
def _plain(console: Console, title: str, total_s: float | None) -> Iterator[Update]:
    last = time.monotonic()
    of_total = f' of {total_s:.0f}' if total_s else ''

    def update(detail: str, done_s: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            text = f'  {title}: {done_s:.0f}{of_total} s' + (f', {detail}' if detail else '')
            console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    console.print(f'{title} ...', markup=False, highlight=False, soft_wrap=True)
    yield update
