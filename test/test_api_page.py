"""docs/api.md: its examples run as they stand, and what it names is there."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'api.md'


def test_the_examples_run_as_they_stand() -> None:
    """One after the other, as a reader would type them."""
    outcome = doctest.testfile(str(PAGE), module_relative=False, encoding='utf-8')
    assert outcome.failed == 0
    assert outcome.attempted > 25


@pytest.mark.parametrize(
    ('module', 'name'), re.findall(r'^>>> from (\S+) import (.+)$', PAGE.read_text(), re.MULTILINE)
)
def test_what_the_page_imports_is_public(module: str, name: str) -> None:
    """It is in the `__all__` of a room, and has words of its own for `help()`."""
    room = importlib.import_module(module)
    for part in name.split(', '):
        assert part in room.__all__
        assert getattr(room, part).__doc__
