"""Keeps the memory of one picture for the next one. Linux with glibc; elsewhere nothing happens.

By default glibc gives large blocks back to the kernel as soon as they are free, and the kernel
clears every page of them anew for the next picture: for 1080p that costs several times what
copying it does.
"""

from __future__ import annotations

import ctypes

# <malloc.h>; the largest threshold that glibc takes is half of its largest heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MMAP_BYTES = 64 * 2**20, 32 * 2**20


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
