"""A conversion happens once, is kept whole or not at all, and is made anew when it is damaged."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.conversion_cache import ABOUT, DIR_VARIABLE, Key, find, provide, store
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.scratch import remove_leftovers

KEY = Key('ab' * 32, 'embedded', '192x256', 'openvino', '2026.4.1', 'f32', 1)
NEEDED = ('model.xml', 'model.bin')
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
    with provide(key, build, NEEDED) as entry:
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


def listing_nothing(entry: Path) -> None:
    """And then the files may be any."""
    rewrite(entry, files={})
    alter(entry)


def listing_half(entry: Path) -> None:
    record = json.loads((entry / ABOUT).read_text())
    rewrite(entry, files={'model.xml': record['files']['model.xml']})
    alter(entry)


def rewrite(entry: Path, **parts: Any) -> None:
    record = json.loads((entry / ABOUT).read_text())
    (entry / ABOUT).write_text(json.dumps({**record, **parts}))


def linked(entry: Path) -> None:
    """To the right bytes, which may be others tomorrow."""
    (entry / 'model.bin').rename(entry.parent.parent / 'elsewhere')
    (entry / 'model.bin').symlink_to(entry.parent.parent / 'elsewhere')


def linked_whole(entry: Path) -> None:
    entry.rename(entry.parent.parent / 'elsewhere')
    entry.symlink_to(entry.parent.parent / 'elsewhere')


def linked_record(entry: Path) -> None:
    (entry / ABOUT).rename(entry.parent.parent / 'elsewhere')
    (entry / ABOUT).symlink_to(entry.parent.parent / 'elsewhere')


def endless_record(entry: Path) -> None:
    (entry / ABOUT).unlink()
    (entry / ABOUT).symlink_to('/dev/zero')


def pipe(entry: Path) -> None:
    (entry / 'model.bin').unlink()
    os.mkfifo(entry / 'model.bin')


def pipe_record(entry: Path) -> None:
    (entry / ABOUT).unlink()
    os.mkfifo(entry / ABOUT)


def a_folder(entry: Path) -> None:
    (entry / 'model.bin').unlink()
    (entry / 'model.bin').mkdir()


def a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_bytes(b'in the way')


def one_more(entry: Path) -> None:
    (entry / 'model.mapping').write_bytes(b'')


def one_more_listed(entry: Path) -> None:
    record = json.loads((entry / ABOUT).read_text())
    outside = entry.parent.parent / 'outside'
    outside.write_bytes(b'weights')
    figures = record['files']['model.bin']
    rewrite(entry, files={**record['files'], '../../outside': figures})


def a_terabyte(entry: Path) -> None:
    with (entry / 'model.bin').open('wb') as file:
        file.truncate(10**12)


def for_everyone(entry: Path) -> None:
    entry.chmod(0o777)


def a_file_for_everyone(entry: Path) -> None:
    (entry / 'model.bin').chmod(0o666)


def empty_record(entry: Path) -> None:
    (entry / ABOUT).write_text('')


def nested_record(entry: Path) -> None:
    (entry / ABOUT).write_text('[' * 100_000)


def long_record(entry: Path) -> None:
    (entry / ABOUT).write_text('{}' + ' ' * (2 << 20))


def no_text(entry: Path) -> None:
    (entry / ABOUT).write_bytes(b'\xff\xfe{}')


def typed(**parts: Any) -> Callable[[Path], None]:
    """A record whose parts are of other types."""
    return lambda entry: rewrite(entry, **parts)


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


FIGURES = {'bytes': 7, 'sha256': hashlib.sha256(b'weights').hexdigest()}
DAMAGES: dict[str, Callable[[Path], None]] = {
    damage.__name__: damage
    for damage in (
        cut, alter, lose, scribble, forge, listing_nothing, listing_half, linked, linked_whole,
        linked_record, endless_record, pipe, pipe_record, a_folder, a_file, one_more,
        one_more_listed, a_terabyte, for_everyone, a_file_for_everyone, empty_record,
        nested_record, long_record, no_text,
    )
} | {
    'files no table': typed(files=['model.xml', 'model.bin']),
    'files of numbers': typed(files={'model.xml': 7, 'model.bin': None}),
    'figures of texts': typed(files={'model.xml': FIGURES, 'model.bin': {'bytes': '7'}}),
    'sizes only': typed(files={'model.xml': {'bytes': 6}, 'model.bin': {'bytes': 7}}),
    'key no table': typed(key='embedded'),
    'about no table': typed(about=None),
    'an entry that is null': typed(key=None, files=None, about=None),
}  # fmt: skip


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
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
    entry = find(KEY, NEEDED)
    assert entry is not None
    assert not entry.folder.is_symlink()
    assert {path.name for path in entry.folder.iterdir()} == {*NEEDED, ABOUT}


def test_the_entry_of_another_key_is_not_taken(folder: Path) -> None:
    other = dataclasses.replace(KEY, precision='bf16')
    contents(other, Builder(b'others'))
    shutil.copytree(folder / other.name, folder / KEY.name)
    assert conversion_cache.remembered(KEY) is None
    assert contents(KEY, Builder()) == b'weights'


def test_what_is_needed_and_not_listed_is_damage(folder: Path) -> None:
    def half(place: Path) -> dict[str, Any]:
        (place / 'model.bin').write_bytes(b'weights')
        return {}

    with provide(KEY, half):
        pass
    assert find(KEY) is not None
    assert find(KEY, NEEDED) is None


def test_a_folder_into_which_everyone_may_write_is_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build = Builder()
    contents(KEY, build)
    for place in (folder, folder.parent):
        place.chmod(0o777)
        with provide(KEY, build, NEEDED) as entry:
            assert folder not in entry.folder.parents
        assert f'everyone may write into {place}: take that right away with chmod' in caplog.text
        place.chmod(0o755)
    assert build.calls == 3
    contents(KEY, build)
    assert build.calls == 3


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may give files away')
def test_in_a_shared_folder_the_entries_of_others_are_not_used(folder: Path) -> None:
    build = Builder()
    contents(KEY, build)
    folder.chmod(0o1777)  # as /tmp: everyone may add, nobody may take away
    contents(KEY, build)
    assert build.calls == 1
    os.chown(folder / KEY.name, 65534, 65534)
    contents(KEY, build)
    assert build.calls == 2


def test_the_cache_is_made_for_its_owner_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        contents(KEY, Builder())
    finally:
        os.umask(before)
    for path in (folder, folder / KEY.name, *(folder / KEY.name).iterdir()):
        assert not path.stat().st_mode & 0o022, path
    assert find(KEY, NEEDED) is not None


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
