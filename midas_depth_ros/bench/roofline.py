"""How near a network comes to what this machine can do at all.

The limit is what a plain float32 matrix product reaches here, which NumPy's BLAS is written for.
"""

from __future__ import annotations

import time

import numpy as np

# Floating point operations of one run, a multiplication and an addition counted apart.
GIGA_OPERATIONS = {
    ('midas_small', (256, 256)): 9.19,
    ('midas_small', (256, 192)): 6.89,
    ('midas_small', (256, 128)): 4.60,
}
SIDE = 1024
REPEATS = 12


def matrix_product_gflops() -> float:
    """GFLOP/s of the best of some float32 products of 1024x1024 matrices, on all processors."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(a)
    best = float('inf')
    for _ in range(REPEATS):
        before = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - before)
    return 2 * SIDE**3 / best / 1e9


def network_gflops(model: str, size: tuple[int, int], median_ms: float) -> float | None:
    """What a network of this input size (width, height) reached; None where its cost is unknown."""
    work = GIGA_OPERATIONS.get((model, size))
    return None if work is None else work / median_ms * 1e3
