"""Keeps the memory of one picture for the next one, and none of what loading a model left.

Linux with glibc; elsewhere nothing happens. By default glibc gives large blocks back to the kernel
as soon as they are free, and the kernel clears every page of them anew for the next picture: for
1080p that costs several times what copying it does.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

# <malloc.h>; the largest threshold that glibc takes is half of its largest heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MMAP_BYTES = 64 * 2**20, 32 * 2**20
MADV_DONTNEED = 4  # <sys/mman.h>
MAPS = Path('/proc/self/maps')


def keep_freed_memory() -> bool:
    """Let this process keep up to TRIM_BYTES of freed memory; False where that is not possible.

    Blocks larger than MMAP_BYTES still go back at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    kept = mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    return bool(kept)


def give_back_free_memory() -> None:
    """Give back what is free now: loading a model leaves far more than pictures will need."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


def leave_mapped_files(suffix: str) -> int:
    """Give back what lies in memory of files so called that are mapped for reading only.

    A model's file stays mapped after its network was made from it, which has its weights in an
    order of its own. What is read again after all comes from the file. Returns how many bytes
    were mapped.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        lines = MAPS.read_text().splitlines()
    except (OSError, AttributeError, TypeError):
        return 0
    total = 0
    for line in lines:
        place, rights, _, _, _, *path = line.split(maxsplit=5)
        if rights[:2] == 'r-' and path and path[0].endswith(suffix):
            start, end = (int(side, 16) for side in place.split('-'))
            if madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED) == 0:
                total += end - start
    return total
