"""Entries of the cache of conversions for tests: some bytes, and a count of builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from midas_depth_ros.depth.conversion_cache import Key, provide

KEY = Key('ab' * 32, 'embedded', '192x256', 'openvino', '2026.4.1', 'f32', 1)
NEEDED = ('model.xml', 'model.bin')


class Builder:
    """Builds a model of some bytes, and counts."""

    def __init__(self, content: bytes = b'weights') -> None:
        self.content, self.calls = content, 0

    def __call__(self, place: Path) -> dict[str, Any]:
        self.calls += 1
        (place / 'model.xml').write_text('<net/>')
        (place / 'model.bin').write_bytes(self.content)
        return {'deviation': {'room': [1.0, 0.0]}}


def contents(key: Key, build: Callable[[Path], dict[str, Any]]) -> bytes:
    with provide(key, build, NEEDED) as entry:
        assert entry.about == {'deviation': {'room': [1.0, 0.0]}}
        return (entry.folder / 'model.bin').read_bytes()
