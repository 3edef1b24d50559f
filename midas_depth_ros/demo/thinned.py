"""A bounded part of an endless stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Thinned(Generic[Item]):
    """At most `limit` items of an endless stream, evenly spread: full, every second one goes."""

    def __init__(self, limit: int) -> None:
        self.items: list[Item] = []
        self._limit = limit
        self._stride = 1
        self._seen = 0

    def offer(self, make: Callable[[], Item]) -> None:
        """Count one more item; it is made only if it is kept."""
        if self._seen % self._stride == 0 and len(self.items) == self._limit:
            self.items = self.items[::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self.items.append(make())
        self._seen += 1
