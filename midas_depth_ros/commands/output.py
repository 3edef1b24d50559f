"""What the commands say, and how a file comes into being: whole, or not at all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

ENDLESS = 1_000_000_000  # a total for the library, which wants one


class Reporter:
    """Shows how far a batch is, and says what goes wrong without tearing the bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """One line on standard error."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def reporting(title: str, total: int | None) -> Iterator[Reporter]:
    """A progress bar on standard error; in a pipe or a log there is none, only what is said.

    total: how many there are; None if nobody knows.
    """
    console = Console(stderr=True)
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
    """Write a file under another name beside it, then give it its own. Raises OSError."""
    part = path.with_name(f'.{path.name}.part')
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:  # Ctrl-C too: nothing half written stays, and it is raised again
        part.unlink(missing_ok=True)
        raise
