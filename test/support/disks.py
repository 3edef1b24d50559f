"""Small disks, for tests of full ones: a tmpfs, if this process may mount it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = 4096  # bytes


@contextlib.contextmanager
def small_disk(folder: Path, size: int, *options: str) -> Iterator[Path]:
    """Mount a disk of `size` bytes, at least a page, on `folder`; skip the test if refused."""
    folder.mkdir(parents=True, exist_ok=True)
    how = ','.join((f'size={max(size, PAGE)}', 'mode=0755', *options))
    command = ['mount', '-t', 'tmpfs', '-o', how, 'midas_depth_test', str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f'no small disk can be mounted: {error}')
    if done.returncode:
        pytest.skip(f'no small disk can be mounted: {done.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '--lazy', str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk except for `leave` bytes, in whole pages; return the file that fills it."""
    free = os.statvfs(disk).f_bfree * PAGE
    path = disk / 'filler'
    with path.open('ab') as file:
        file.write(bytes(max(0, free - leave)))
    return path


def read_only(folder: Path) -> None:
    """Make a mounted disk read-only."""
    subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)


def all_files(folder: Path) -> set[str]:
    """Return every file and folder below, hidden ones included."""
    return {str(path.relative_to(folder)) for path in folder.rglob('*')}
