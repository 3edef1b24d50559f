"""The folder of a run's results: made anew, or cleared if an earlier run made it.

A marker file tells our folders from others: a folder with somebody else's files is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

MARKER = '.midas_depth_demo'
DEFAULT_PARENT = Path('demo_output')
FOLDERS = ('pictures', 'messages', 'logs')
FILES = ('contact_sheet.png', 'run.gif', 'summary.txt', 'summary.json')


class OutputFolderError(Exception):
    """The folder cannot be used; the text says why and what to do."""


def default_folder(source: str) -> Path:
    """`demo_output/<source>-<date>-<time>`, a name that is not taken."""
    stem = Path(source).stem if source else 'robot'
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', stem).strip('_') or 'source'
    folder = DEFAULT_PARENT / f'{stem}-{time.strftime("%Y%m%d-%H%M%S")}'
    return folder.with_name(f'{folder.name}-{os.getpid()}') if folder.exists() else folder


def claim(folder: Path) -> bool:
    """Make the folder ours and empty of earlier results; whether there were any.

    Raises OutputFolderError when the folder holds files of others or cannot be written.
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
        if ours:
            _clear(folder)
    except OSError as error:
        raise OutputFolderError(
            f'cannot write to {folder}: {error.strerror or error}; name another folder with '
            '--output'
        ) from error
    return ours


def _clear(folder: Path) -> None:
    """Delete what a run leaves, and nothing else."""
    for name in FOLDERS:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
