"""A conversion happens once, is kept whole or not at all, and is made anew when it is damaged."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.conversion_cache import ABOUT, DIR_VARIABLE, Key, find, provide, store

KEY = Key('ab' * 32, 'embedded', '192x256', 'openvino', '2026.4.1', 'f32', 1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIR_VARIABLE, str(tmp_path))
    return tmp_path / 'converted'


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
    with provide(key, build) as entry:
        assert entry.about == {'deviation': {'room': [1.0, 0.0]}}
        return (entry.folder / 'model.bin').read_bytes()


def test_it_is_built_once_and_found_again() -> None:
    build = Builder()
    assert find(KEY) is None
    assert contents(KEY, build) == contents(KEY, build) == b'weights'
    assert build.calls == 1
    assert conversion_cache.remembered(KEY) == {'deviation': {'room': [1.0, 0.0]}}


@pytest.mark.parametrize(
    'change',
    [
        {'weights_sha256': 'cd' * 32},
        {'input_size': 'any'},
        {'precision': 'bf16'},
        {'backend_version': '2027.0'},
        {'conversion': 2},
    ],
)
def test_whatever_it_depends_on_makes_it_another(change: dict[str, Any]) -> None:
    build = Builder()
    contents(KEY, build)
    other = dataclasses.replace(KEY, **change)
    assert find(other) is None
    contents(other, build)
    assert build.calls == 2


def test_what_other_versions_made_of_the_same_weights_is_removed(folder: Path) -> None:
    contents(KEY, Builder())
    others = dataclasses.replace(KEY, weights_sha256='cd' * 32)
    contents(others, Builder())
    newer = dataclasses.replace(KEY, backend_version='2027.0')
    contents(newer, Builder())
    assert (find(KEY), find(others) is None, find(newer) is None) == (None, False, False)


def cut(entry: Path) -> None:
    (entry / 'model.bin').write_bytes(b'weig')


def alter(entry: Path) -> None:
    (entry / 'model.bin').write_bytes(b'WEIGHTS')


def lose(entry: Path) -> None:
    (entry / 'model.xml').unlink()


def scribble(entry: Path) -> None:
    (entry / ABOUT).write_text('{"key": 1')


def forge(entry: Path) -> None:
    record = json.loads((entry / ABOUT).read_text())
    record['key']['precision'] = 'int8'
    (entry / ABOUT).write_text(json.dumps(record))


@pytest.mark.parametrize('damage', [cut, alter, lose, scribble, forge])
def test_a_damaged_entry_is_named_and_built_anew(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    build = Builder()
    contents(KEY, build)
    damage(folder / KEY.name)
    with caplog.at_level(logging.WARNING):
        assert contents(KEY, build) == b'weights'
    assert build.calls == 2
    assert f'{folder / KEY.name} is damaged' in caplog.text
    assert find(KEY) is not None


def test_a_build_that_fails_leaves_nothing(folder: Path) -> None:
    def fail(place: Path) -> dict[str, Any]:
        (place / 'model.bin').write_bytes(b'half')
        raise ValueError('no such weights')

    with pytest.raises(ValueError, match='no such weights'), provide(KEY, fail):
        pass
    assert [path.name for path in folder.iterdir() if not path.name.endswith('.lock')] == []
    assert contents(KEY, Builder()) == b'weights'


def test_storing_replaces_what_was_there() -> None:
    contents(KEY, Builder(b'old'))
    store(KEY, Builder(b'new'))
    assert contents(KEY, Builder(b'never built')) == b'new'


@pytest.mark.skipif(os.geteuid() == 0, reason='root writes everywhere')
def test_a_folder_without_permission_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o500)
    assert contents(KEY, Builder()) == b'weights'
    assert f'name another folder by {DIR_VARIABLE}' in caplog.text
    tmp_path.chmod(0o700)


def test_where_nothing_can_be_kept_it_is_built_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv(DIR_VARIABLE, str(tmp_path / 'file'))
    build = Builder()
    with provide(KEY, build) as entry:
        place = entry.folder
    assert not place.exists()
    assert contents(KEY, build) == b'weights'
    assert build.calls == 2
    assert f'name another folder by {DIR_VARIABLE}' in caplog.text
    with pytest.raises(OSError, match='file'):
        store(KEY, build)


PROCESS = """
import sys, time
from pathlib import Path
from midas_depth_ros.depth.conversion_cache import Key, provide
def build(place):
    time.sleep(0.5)
    (place / 'model.bin').write_bytes(b'weights')
    with open(sys.argv[1], 'a') as tally:
        tally.write('built\\n')
    return {}
with provide(Key(*eval(sys.argv[2])), build) as entry:
    sys.stdout.write((entry.folder / 'model.bin').read_text())
"""


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    tally = tmp_path / 'tally'
    command = [sys.executable, '-c', PROCESS, str(tally), repr(dataclasses.astuple(KEY))]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in running] == [b'weights'] * 3
    assert tally.read_text() == 'built\n'
