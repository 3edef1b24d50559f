"""Entries of the cache that are not what was written: named in the log, and built anew."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from entries import KEY, NEEDED, Builder, contents

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.conversion_cache import ABOUT, DIR_VARIABLE, find, provide


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIR_VARIABLE, str(tmp_path))
    return tmp_path / 'converted'


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
        assert f'everyone may write into {place}: remove that permission with chmod' in caplog.text
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
