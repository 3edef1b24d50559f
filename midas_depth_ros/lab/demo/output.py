"""What a run leaves and says: its folder, and a line that moves meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from midas_depth_ros.lab.output import put
from midas_depth_ros.lab.stopping import held
from midas_depth_ros.options.text import printable

# --- The folder of a run's results: made anew, or used again if an earlier run made it.
#
# A marker file tells our folders from others: a folder with somebody else's files is refused.

MARKER = '.midas_depth_demo'
DEFAULT_PARENT = Path('demo_output')
LONGEST_STEM = 60  # letters of a source's name
LOGS = 'logs'
RESULTS = (
    'pictures', 'messages', 'contact_sheet.png', 'run.gif', 'summary.txt', 'summary.json'
)  # fmt: skip


class OutputFolderError(Exception):
    """The folder cannot be used; the text says why and what to do."""


def default_folder(source: str) -> Path:
    """`demo_output/<source>-<date>-<time>`, a name that is not taken."""
    stem = Path(source).stem if source else 'robot'
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', stem).strip('_')[:LONGEST_STEM] or 'source'
    folder = DEFAULT_PARENT / f'{stem}-{time.strftime("%Y%m%d-%H%M%S")}'
    return folder.with_name(f'{folder.name}-{os.getpid()}') if folder.exists() else folder


def claim(folder: Path) -> bool:
    """Make the folder ours and empty of earlier logs; whether there are results of an earlier run.

    Those stay until there are others to take their place. Raises OutputFolderError when the folder
    holds files of others or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = (folder / MARKER).exists()
        if not ours and any(folder.iterdir()):
            raise OutputFolderError(
                f'{folder} is not empty and was not made by this demo: name a new folder with '
                '--output'
            )
        (folder / MARKER).touch()
        _remove(folder / LOGS)
        (folder / LOGS).mkdir()
    except OSError as error:
        raise OutputFolderError(
            f'cannot write to {folder}: {error.strerror or error}; name another folder with '
            '--output'
        ) from error
    return ours


def put_results(made: Path, folder: Path) -> None:
    """Put the results of a run, all of them complete in `made`, in the place of earlier ones.

    Nothing else of the folder is touched. Raises CommandError.
    """
    with held():
        for name in RESULTS:
            if (made / name).exists():
                put(made / name, folder / name)
            else:
                _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- What a person sees while the demonstration runs: a moving line, or plain lines in a log.
#
# Built on rich. On anything but a terminal a line is printed when a step begins and every few
# seconds while it lasts, so that a log stays readable and nobody waits in front of silence.

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
