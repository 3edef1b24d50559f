"""How much is tested at random: a third in an ordinary run, all in `scripts/test --thorough`.

And in which order, by several workers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar('T')
THOROUGH = os.environ.get('MIDAS_DEPTH_TEST_THOROUGH', '') not in ('', '0')
SHARE = 3  # of which an ordinary run tries one


def tries(count: int) -> int:
    """Return how many of `count` random examples to try."""
    return count if THOROUGH else math.ceil(count / SHARE)


def some(cases: Sequence[T]) -> list[T]:
    """Return every third of some cases, starting with the first; all in a thorough run."""
    return list(cases if THOROUGH else cases[::SHARE])


# Networks of 97 to 344 million parameters: their long tests take up to 7 GB each, four of which
# at a time are more than most machines have. `scripts/test --large` runs them alone.
LARGE = os.environ.get('MIDAS_DEPTH_TEST_LARGE', '') not in ('', '0')
LARGE_NAMES = ('depth_anything_v2_base', 'depth_anything_v2_large', 'dpt_large_384', 'large_graph')


def of_a_large_network(test: str) -> bool:
    """Whether the name of a test says that it is of one of the largest networks."""
    return any(name in test for name in LARGE_NAMES)


TESTS = Path(__file__).resolve().parent.parent
WAITING = ('e2e', 'lab', 'nodes', 'web')  # rooms whose tests mostly wait, for DDS and for processes


def in_turns(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return tests with the files of the rooms that wait spread evenly among the others.

    So that of several workers some compute while others wait, from the first minute to the last.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.relative_to(TESTS).parts[0] in WAITING]
    computing = [path for path in files if path not in waiting]
    place = {
        path: number / len(paths)
        for paths in (waiting, computing)
        for number, path in enumerate(paths)
    }
    return [item for path in sorted(files, key=place.__getitem__) for item in files[path]]
