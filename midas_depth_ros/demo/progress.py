"""What a person sees while the demonstration runs: a moving line, or plain lines in a log.

Built on rich. On anything but a terminal a line is printed when a step begins and every few
seconds while it lasts, so that a log stays readable and nobody waits in front of silence.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from midas_depth_ros.images.errors import printable

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
