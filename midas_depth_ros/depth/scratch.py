"""Folders in which files come into being before they get their names.

In: the folder where they will lie. Out: a folder beside them that is gone afterwards, whatever
happens, and what killed processes left behind is removed by the next one. A living process holds a
lock on its folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

YOUNG_S = 60.0  # a folder may be as old before its process holds the lock on it
OLD_S = 86_400.0  # where the file system knows no locks


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent` whose name begins with `prefix`, removed at the end. OSError."""
    remove_leftovers(parent, prefix)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(handle)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the scratch folders of processes that are no more; raises nothing."""
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            if path.name.startswith(prefix) and _is_left(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        age_s = abs(time.time() - os.fstat(handle).st_mtime)
        if age_s < YOUNG_S:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES) and age_s > OLD_S
    finally:
        os.close(handle)
    return True


def remove(path: Path) -> None:
    """Remove what is there, a folder with all in it; what a link leads to stays. OSError."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return


def flush(path: Path) -> None:
    """On to the disk: a power cut must not leave a renamed file or folder that is empty. OSError.

    A disk may notice only now that it is full.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise  # those: a file system that cannot sync, such as some a folder
    finally:
        os.close(handle)
