"""The folder of a run's results: made anew, or used again if an earlier run made it.

A marker file tells our folders from others: a folder with somebody else's files is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from midas_depth_ros.commands.output import put
from midas_depth_ros.commands.stopping import held

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
