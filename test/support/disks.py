"""Small disks, for tests of what happens when one is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = 4096


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes, mounted on `folder`; skips the test where that is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f'size={max(size, PAGE)},mode=0755'
    command = ['mount', '-t', 'tmpfs', '-o', options, 'midas_depth_test', str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip('there is no command mount, for a disk that is small enough to fill')
    if done.returncode:
        pytest.skip(f'no small disk can be mounted here: {done.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all room of the disk but so many bytes, in whole pages."""
    free = os.statvfs(disk).f_bfree * PAGE
    path = disk / 'filling'
    path.write_bytes(bytes(max(0, free - leave)))
    return path


def all_files(folder: Path) -> set[str]:
    """Every file and folder below, hidden ones included."""
    return {str(path.relative_to(folder)) for path in folder.rglob('*')}
