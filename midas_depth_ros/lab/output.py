"""Terminal output of the commands, and their files, which are written atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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

from midas_depth_ros.lab.stopping import Stopped, removing, signals_held
from midas_depth_ros.options.files import is_folder, is_there
from midas_depth_ros.options.text import printable


class CommandError(Exception):
    """Ends a command with exit code 1 and one line that names the cause and the remedy."""

    def __init__(self, text: object) -> None:
        super().__init__(printable(text))


# --- Terminal output.

NO_TOTAL = 1_000_000_000  # rich requires a total
PLAIN_EVERY_S = 5.0
Update = Callable[[str, float], None]


class OutputConsole(Console):
    """A rich console on standard output or standard error."""

    def on_broken_pipe(self) -> None:
        """Stop: nobody reads the output any more."""
        raise Stopped(signal.SIGPIPE)


class Reporter:
    """Shows the progress of a batch, and prints lines without breaking the progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """Count one more item."""
        with contextlib.suppress(OSError):  # standard error may be closed
            self._progress.advance(self._task)

    def print(self, text: str) -> None:
        """Print one line on standard error, made printable."""
        with contextlib.suppress(OSError):
            _print_line(self._progress.console, printable(text))


def print_status(text: str) -> None:
    """Print one line on standard error, which may be closed."""
    with contextlib.suppress(OSError):
        click.echo(printable(text), err=True)


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(title: str, total: int | None) -> Iterator[Reporter]:
    """Show a progress bar on standard error; in a pipe or a log only the printed lines appear.

    total: the number of items; None if unknown.
    """
    console = OutputConsole(stderr=True)
    columns: list[ProgressColumn] = [TextColumn(f'{title} {{task.completed:.0f}}')]
    if total:
        columns += [TextColumn(f'of {total}'), BarColumn(), TimeRemainingColumn()]
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a pipe gets what is printed, nothing else
    )
    with progress if console.is_terminal else contextlib.nullcontext():
        yield Reporter(progress, progress.add_task(title, total=total or NO_TOTAL))


@contextlib.contextmanager
def step(console: Console, title: str, total_s: float | None = None) -> Iterator[Update]:
    """Show that a step is running; yields `update(detail, elapsed seconds)`.

    A terminal gets a moving line; a log one line at the start and one every few seconds.
    total_s: the expected duration; None if unknown.
    """
    with (_live_step if console.is_terminal else _plain_step)(console, title, total_s) as update:
        yield update


@contextlib.contextmanager
def _live_step(console: Console, title: str, total_s: float | None) -> Iterator[Update]:
    columns = [
        SpinnerColumn(),
        TextColumn('{task.description}', table_column=Column(no_wrap=True)),
        *([] if total_s is None else [BarColumn()]),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn('{task.fields[detail]}', markup=False, table_column=Column(no_wrap=True)),
    ]
    width = max(10, console.width - len(title) - 15)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total_s, detail='')
        yield lambda detail, done_s: progress.update(
            task, detail=printable(detail, width), completed=done_s
        )


@contextlib.contextmanager
def _plain_step(console: Console, title: str, total_s: float | None) -> Iterator[Update]:
    last = time.monotonic()
    of_total = f' of {total_s:.0f}' if total_s else ''

    def update(detail: str, done_s: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            text = f'  {title}: {done_s:.0f}{of_total} s' + (f', {detail}' if detail else '')
            _print_line(console, printable(text))

    _print_line(console, f'{title} ...')
    yield update


# --- Files.


def check_target(target: Path, inputs: Sequence[Path | str], force: bool) -> None:
    """Raise CommandError if `target` is an input or holds one, exists without `force`, or has no
    folder.
    """
    check_no_input(target, inputs)
    if is_there(target) and not force:
        raise CommandError(f'{target} already exists: use --force to overwrite it')
    if not is_folder(target.parent):
        raise CommandError(f'{target.parent}: no such folder')


def check_no_input(target: Path, inputs: Sequence[Path | str]) -> None:
    """Raise CommandError if `target` is an input or holds one."""
    real = os.path.realpath(target)
    for each in inputs:
        read = os.path.realpath(each)
        if read == real:
            raise CommandError(f'{target} is the input: use another output')
        if read.startswith(os.path.join(real, '')):
            raise CommandError(f'{target} holds {each}, which is an input: use another output')


def check_outside(target: Path, folders: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise CommandError if `target` is in the folder of a recording, or is or holds one of its
    files, perhaps by a link.
    """
    for folder in folders:
        if os.path.realpath(target).startswith(os.path.join(os.path.realpath(folder), '')):
            raise CommandError(f'{target} is in the recording {folder}: use another output')
    check_no_input(target, files)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, and move it into place.

    Raises CommandError; an existing file is then left as it was.
    """
    with temporary_beside(path) as part:
        with write_errors(path), part.open('xb') as file:
            file.write(data)
            file.flush()
            size = os.fstat(file.fileno()).st_size
        if size != len(data):
            raise CommandError(f'cannot write {path}: {size} of {len(data)} bytes were written')
        move_into_place(part, path)


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield an unused hidden name beside `path`, with the same suffix, for a file or a folder.

    Whatever has this name at the end of the block is removed.
    """
    part = path.parent / f'.midas_depth_{secrets.token_hex(8)}{path.suffix}'
    with removing(part):
        yield part


def move_into_place(part: Path, path: Path) -> None:
    """Flush a complete file or folder to the disk and rename it; what had the name is replaced.

    Raises CommandError.
    """
    with write_errors(path):
        if part.is_dir():
            for each in [*part.rglob('*'), part]:
                _sync(each)
        else:
            _sync(part)
            if path.exists() and not path.is_file():
                raise CommandError(f'{path} exists and is not a file: it is not replaced')
    with signals_held(), write_errors(path):
        if not part.is_dir() or not path.exists():
            part.replace(path)
            return
        with temporary_beside(path) as old:
            path.rename(old)
            try:
                part.rename(path)
            except OSError:
                old.rename(path)
                raise


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a CommandError that names `path` and the reason."""
    try:
        yield
    except OSError as error:
        raise CommandError(f'cannot write {path}: {error.strerror or error}') from error


def _sync(path: Path) -> None:
    """Flush to the disk: some file systems report only then that they are full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without fsync
            raise
    finally:
        os.close(descriptor)
