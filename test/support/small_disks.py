"""Disks of a few pages, to be filled: a tmpfs, where this process may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = 4096  # bytes


@contextlib.contextmanager
def small_disk(folder: Path, size: int, *options: str) -> Iterator[Path]:
    """A disk of `size` bytes at `folder`; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    how = ','.join((f'size={size}', 'mode=0755', *options))
    command = ['mount', '-t', 'tmpfs', '-o', how, 'tmpfs', str(folder)]
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


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill a disk but for `leave` bytes; returns the file that does it."""
    path = folder / 'filler'
    with path.open('ab', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    with path.open('r+b') as file:
        file.truncate(max(0, path.stat().st_size - leave))
    return path


def read_only(folder: Path) -> None:
    """No more writing there."""
    subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)
