"""Folders in which files come into being before they get their names.

In: the folder where they will lie. Out: a folder beside them that is gone afterwards, whatever
happens, and what killed processes left behind is removed by the next one. A living process holds a
lock on its folder.
"""

from __future__ import annotations

import contextlib
import ctypes
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
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux, see rename(2)
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
    age_s = 0.0
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


def put(new: Path, target: Path) -> None:
    """Give a file or folder its name; what had the name before is gone afterwards. OSError.

    Somebody who looks finds the one or the other. A file system that cannot exchange two names
    shows none for as long as a renaming takes.
    """
    if not os.path.lexists(target):
        new.rename(target)
        return
    if _exchange(new, target):
        with contextlib.suppress(OSError):  # it is no more than rubbish now
            remove(new)
        return
    old = Path(tempfile.mkdtemp(prefix=f'{new.name}_', dir=new.parent))
    try:
        target.rename(old / target.name)
        new.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at one stroke; False where system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # before glibc 2.28, musl, another system
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    return renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0


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
