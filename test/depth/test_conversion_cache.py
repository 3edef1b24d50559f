"""A conversion happens once, is kept whole or not at all, and is made anew when it is damaged."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from entries import KEY, NEEDED, Builder, contents

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.conversion_cache import (
    DIR_VARIABLE,
    Key,
    find,
    provide,
    remove_leftovers,
    store,
)
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIR_VARIABLE, str(tmp_path))
    return tmp_path / 'converted'


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


NEWER = dataclasses.replace(KEY, backend_version='2027.0')
OTHER_MODEL = dataclasses.replace(KEY, weights_sha256='cd' * 32)


def test_versions_that_are_installed_side_by_side_leave_each_other_alone() -> None:
    builds = {KEY: Builder(), NEWER: Builder(), dataclasses.replace(KEY, conversion=2): Builder()}
    for _ in range(3):
        for key, build in builds.items():
            contents(key, build)
    assert [build.calls for build in builds.values()] == [1, 1, 1]


def unused(folder: Path, key: Key, days: float) -> None:
    os.utime(folder / key.name, (time.time() - days * 86_400.0,) * 2)


def test_what_another_version_made_and_nobody_uses_any_more_is_removed(folder: Path) -> None:
    for key in (KEY, OTHER_MODEL):
        contents(key, Builder())
        unused(folder, key, 100)
    contents(NEWER, Builder())
    assert (find(KEY), find(OTHER_MODEL) is None, find(NEWER) is None) == (None, False, False)


@pytest.mark.parametrize('days', [10, -1000])
def test_what_is_used_now_and_then_is_kept(folder: Path, days: float) -> None:
    contents(KEY, Builder())
    unused(folder, KEY, 100)
    assert find(KEY)  # a use
    contents(NEWER, Builder())
    unused(folder, KEY, days)
    contents(dataclasses.replace(KEY, conversion=2), Builder())
    assert find(KEY)


def test_where_there_is_too_much_what_was_used_last_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion_cache, 'MOST_BYTES', 400_000)
    keys = [dataclasses.replace(KEY, weights_sha256=f'{number:064}') for number in range(4)]
    for days, key in zip((3, 1, 2), keys, strict=False):
        contents(key, Builder(b'x' * 150_000))
        unused(folder, key, days)
    contents(keys[3], Builder(b'x' * 150_000))
    assert [find(key) is not None for key in keys] == [False, True, True, True]
    assert [path for path in folder.iterdir() if path.name[0] == '.' and path.is_dir()] == []


def test_what_others_left_in_the_cache_is_no_obstacle(folder: Path) -> None:
    contents(OTHER_MODEL, Builder())
    about = folder / OTHER_MODEL.name / 'about.json'
    about.write_text('{"key": {}, "about": {}, "files": {"model.bin": 7, "model.xml": {}}}')
    (folder / 'file').write_text('a')
    (folder / 'link').symlink_to('nowhere')
    (folder / 'empty').mkdir()
    contents(KEY, Builder())
    assert find(KEY)
    assert {'file', 'empty', OTHER_MODEL.name} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize('exchanges', [True, False])
def test_an_entry_is_there_all_the_while_it_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """Whoever looks without waiting must not find none, or half of one."""
    contents(KEY, Builder())
    entry = folder / KEY.name
    if exchanges:
        missed, ended = [], threading.Event()

        def look() -> None:
            while not ended.is_set():
                if not (entry / 'model.bin').is_file():
                    missed.append(1)

        looking = threading.Thread(target=look)
        looking.start()
    else:
        monkeypatch.setattr(conversion_cache, '_exchange', lambda one, other: False)
    for number in range(60):
        store(KEY, Builder(f'{number}'.encode()))
    if exchanges:
        ended.set()
        looking.join()
        assert not missed
    assert contents(KEY, Builder(b'never built')) == b'59'
    assert {path.name for path in folder.iterdir()} <= {KEY.name, f'.{KEY.name}.lock'}


@pytest.mark.parametrize('kind', ['file', 'link', 'folder'])
def test_whatever_has_the_name_of_an_entry_gives_way(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    entry, precious = folder / KEY.name, tmp_path / 'precious'
    folder.mkdir()
    precious.mkdir()
    (precious / 'thing').touch()
    if kind == 'link':
        entry.symlink_to(precious)
    elif kind == 'file':
        entry.write_text('in the way')
    else:
        (entry / 'deep').mkdir(parents=True)
    assert contents(KEY, Builder()) == b'weights'
    assert find(KEY)
    assert {path.name for path in folder.iterdir()} <= {KEY.name, f'.{KEY.name}.lock'}
    assert (precious / 'thing').exists()


# What `load` makes of it.


def loaded(read: Callable[[Path], Any], build: Builder) -> Any:
    return conversion_cache.load(KEY, build, read, NEEDED)


def test_an_entry_that_cannot_be_used_is_built_anew_once(folder: Path) -> None:
    contents(KEY, Builder(b'other'))
    build = Builder()

    def read(place: Path) -> bytes:
        content = (place / 'model.bin').read_bytes()
        if content == b'other':
            raise WeightsMismatch(f'{place} is of other weights')
        return content

    assert loaded(read, build) == b'weights'
    assert loaded(read, build) == b'weights'
    assert build.calls == 1


def test_a_model_that_can_never_be_read_is_an_error(folder: Path) -> None:
    def read(place: Path) -> None:
        raise WeightsCorrupt('no network')

    build = Builder()
    with pytest.raises(WeightsCorrupt, match='no network'):
        loaded(read, build)
    assert build.calls == 2


def test_an_entry_that_is_replaced_while_it_is_read_is_read_again(folder: Path) -> None:
    """Half of the old one and half of the new one would be another network."""
    contents(KEY, Builder(b'old'))
    build, seen = Builder(b'never used'), []

    def read(place: Path) -> bytes:
        content = (place / 'model.bin').read_bytes()
        if not seen:
            store(KEY, Builder(b'new'))
        seen.append(content)
        return content

    assert loaded(read, build) != b'old'
    assert len(seen) == 2


# What killed processes leave behind.


def left_behind(folder: Path, age_s: float) -> Path:
    place = folder / '.leftover'
    place.mkdir(parents=True)
    (place / 'model.bin').write_bytes(b'half')
    os.utime(place, (time.time() - age_s,) * 2)
    return place


@pytest.mark.parametrize('age_s', [120.0, 10 * 86_400.0, -10 * 86_400.0])
def test_what_a_killed_conversion_left_is_removed_by_the_next(folder: Path, age_s: float) -> None:
    place = left_behind(folder, age_s)
    contents(KEY, Builder())
    assert not place.exists()


def test_what_a_living_process_works_on_is_left_alone(folder: Path) -> None:
    place = left_behind(folder, 10 * 86_400.0)
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as `scratch_folder` does
        contents(KEY, Builder())
        assert (place / 'model.bin').exists()
    finally:
        os.close(handle)


def test_a_folder_that_is_younger_than_its_lock_is_left_alone(folder: Path) -> None:
    place = left_behind(folder, 1.0)
    contents(KEY, Builder())
    assert place.exists()


def test_a_build_holds_the_lock_on_its_folder(folder: Path) -> None:
    def build(place: Path) -> dict[str, Any]:
        os.utime(place, (0, 0))
        remove_leftovers(folder, '.')
        assert place.exists()
        return Builder()(place)

    with provide(KEY, build, NEEDED):
        pass


def test_a_link_among_the_leftovers_is_not_followed(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / 'precious'
    precious.mkdir()
    os.utime(precious, (0, 0))
    folder.mkdir()
    (folder / '.link').symlink_to(precious)
    contents(KEY, Builder())
    assert precious.exists()


HOLDER = """
import fcntl, os, signal, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(handle, fcntl.LOCK_EX)
print('held', flush=True)
signal.pause()
"""


def test_a_process_that_stands_still_is_not_waited_for_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(conversion_cache, 'WAIT_S', 0.2)
    folder.mkdir()
    command = [sys.executable, '-c', HOLDER, str(folder / f'.{KEY.name}.lock')]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            holder.send_signal(signal.SIGSTOP)
            assert contents(KEY, Builder()) == b'weights'
            with pytest.raises(OSError, match='has not finished it within'):
                store(KEY, Builder())
        finally:
            holder.kill()
    assert 'another process has not finished it within 0.2 s' in caplog.text
    assert contents(KEY, Builder()) == b'weights'
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
