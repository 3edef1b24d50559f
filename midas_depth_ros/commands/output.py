"""What the commands say, and how a file comes into being: whole, or not at all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Shows how far a batch is, and says what goes wrong without tearing the bar."""

    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """One line on standard error."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def reporting(title: str, total: int | None) -> Iterator[Reporter]:
    """A progress bar on standard error; in a pipe or a log there is none, only what is said."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a pipe stays there
    )
    with progress:
        yield Reporter(progress, title, total)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name beside it, then give it its own. Raises OSError."""
    part = path.with_name(f'.{path.name}.part')
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
