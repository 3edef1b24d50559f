"""Weights and inputs that anyone can make, on which a network's official code was run once.

An entry says `[shape, fill, mean, std]`; what the module computes itself (`keep`) is left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

DRAWN = 65521  # a prime: how many numbers are drawn before they repeat
TOLERANCE = 5e-4  # of the spread


def golden_weights(entries: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    """The state dict: normal numbers by the key's name, `abs` their absolute values."""
    return {key: _weight(key, *entry) for key, entry in entries.items() if entry[1] != 'keep'}


def _weight(key: str, shape: list[int], fill: str, mean: float, std: float) -> np.ndarray:
    if fill == 'zero':
        return np.zeros(shape, np.int64)
    drawn = np.random.RandomState(zlib.crc32(key.encode()))
    numbers = drawn.standard_normal(min(int(np.prod(shape)), DRAWN)).astype(np.float32)
    numbers = np.resize(np.abs(numbers) if fill == 'abs' else numbers, shape)
    return np.asarray(np.float32(mean) + np.float32(std) * numbers, np.float32)


def golden_noise(height: int, width: int) -> np.ndarray:
    """The input of a golden output, (1, 3, height, width) float32, -2 to 2."""
    noise = np.random.RandomState(height * 1000 + width)
    return noise.uniform(-2, 2, (1, 3, height, width)).astype(np.float32)


def deviation(found: np.ndarray, wanted: np.ndarray) -> float:
    """The worst difference, in parts of the spread."""
    return float(np.abs(found - wanted).max() / wanted.std())
