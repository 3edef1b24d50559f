"""How much is tested at random: a third in an ordinary run, all in `scripts/test --thorough`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar('T')
THOROUGH = os.environ.get('MIDAS_DEPTH_TEST_THOROUGH', '') not in ('', '0')
SHARE = 3  # of which an ordinary run tries one


def tries(count: int) -> int:
    """Return how many of `count` random examples to try."""
    return count if THOROUGH else math.ceil(count / SHARE)


def some(cases: Sequence[T]) -> list[T]:
    """Return every third of some cases, starting with the first; all in a thorough run."""
    return list(cases if THOROUGH else cases[::SHARE])
