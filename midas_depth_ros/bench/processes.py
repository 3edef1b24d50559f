"""What a process costs: CPU time and resident memory, of all its threads. Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path('/proc')
MIB = 2**20


def cpu_seconds(pid: int) -> float:
    """CPU time since the start of a process; 0 once it is gone.

    The scheduler counts nanoseconds, where it was built to; else ticks of 10 ms.
    """
    try:
        tasks = list((PROC / str(pid) / 'task').iterdir())
    except OSError:
        return 0.0
    total = 0.0
    for task in tasks:
        try:
            total += int((task / 'schedstat').read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            total += _ticks(task)
    return total


def _ticks(task: Path) -> float:
    try:
        fields = (task / 'stat').read_text().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mib(pid: int) -> float:
    """Resident memory in MiB; 0 once it is gone."""
    try:
        pages = int((PROC / str(pid) / 'statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / MIB


def cpu_name() -> str:
    """The CPU's name as the kernel tells it, or the architecture."""
    try:
        for line in (PROC / 'cpuinfo').read_text().splitlines():
            key, _, value = line.partition(':')
            if key.strip() in ('model name', 'Model', 'Hardware'):
                return value.strip()
    except OSError:
        pass
    return os.uname().machine


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
