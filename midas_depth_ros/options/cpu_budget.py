"""How much of the machine the node may have: which processors, and how readily it steps back.

Parameters come in, the operating system is told. Both hold for every thread of the process, those
of the middleware included, and for those that are made later; so they are set before a model is
loaded, whose threads then start with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import cv2

RANGE = re.compile(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?')
HIGHEST_CPU = 4095
ALL_PROCESSORS = -1  # to OpenCV


def check_cpus(text: str) -> str:
    """What is wrong with a list of processors such as '0,2-3'; '' where nothing is."""
    try:
        parse_cpus(text)
    except ValueError as error:
        return str(error)
    return ''


def parse_cpus(text: str) -> frozenset[int]:
    """The processors of a list such as '0,2-3', as taskset takes it; none for ''.

    Raises ValueError.
    """
    cpus: set[int] = set()
    if not text.strip():
        return frozenset()
    for part in text.split(','):
        match = RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f'{text!r} is not a list of processors: write it as 0,2-3')
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or last > HIGHEST_CPU:
            raise ValueError(
                f'{part.strip()!r} is not a range of processors: write the lower number first, '
                f'and none above {HIGHEST_CPU}'
            )
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def threads_for(num_threads: int, cpus: frozenset[int]) -> int:
    """Threads of inference: as many as named, else one per named processor, else 0 (all)."""
    return num_threads or len(cpus)


def bound_opencv_threads(backend: str, threads: int) -> None:
    """One thread for OpenCV, for the whole process, unless OpenCV is what runs the network.

    Its steps on a frame take tenths of a millisecond each; a second thread waits for the next
    one by asking for it again and again, and what it saves is lost in waking it
    (`benchmarks/node.py` shows what it costs).
    """
    cv2.setNumThreads((threads or ALL_PROCESSORS) if backend == 'opencv' else 1)


def apply_cpu_budget(niceness: int, cpus: frozenset[int]) -> None:
    """Tell the operating system, for all threads of this process; 0 and no processors say nothing.

    Raises ValueError where it refuses.
    """
    if cpus:
        _bind(cpus)
    if niceness:
        _step_back(niceness)


def _bind(cpus: frozenset[int]) -> None:
    if not hasattr(os, 'sched_setaffinity'):
        raise ValueError('cpu_affinity needs Linux: leave it empty')
    missing = sorted(cpus - set(range(os.cpu_count() or 1)))
    if missing:
        raise ValueError(
            f'cpu_affinity names processor {missing[0]}, but this machine has 0 to '
            f'{(os.cpu_count() or 1) - 1}'
        )
    try:
        _for_every_thread(lambda thread: os.sched_setaffinity(thread, cpus))
    except OSError as error:
        raise ValueError(
            f'cpu_affinity {sorted(cpus)} is refused ({error}): a container or cgroup may allow '
            'other processors only'
        ) from error


def _step_back(niceness: int) -> None:
    try:
        _for_every_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, niceness))
    except OSError as error:
        raise ValueError(
            f'niceness {niceness} is refused ({error}): without privilege it can only grow while '
            'the process lives'
        ) from error


def _for_every_thread(tell: Callable[[int], None]) -> None:
    """Linux knows priority and affinity per thread; elsewhere 0 is the process."""
    try:
        threads = [int(name) for name in os.listdir('/proc/self/task')]
    except OSError:
        threads = [0]
    for thread in threads:
        try:
            tell(thread)
        except ProcessLookupError:  # it has ended meanwhile
            continue
