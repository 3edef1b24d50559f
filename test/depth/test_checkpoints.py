"""Where weights are looked for, which file is taken, and what is said of wrong ones."""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from weights_server import CONTENT, IMPATIENT, OTHER, Answer, own_home, serving

from midas_depth_ros.depth import models, weights
from midas_depth_ros.depth.errors import DownloadFailed, WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.weights import (
    candidate_paths,
    download_folder,
    ensure_weights,
    examine_all,
    find_weights,
)
from midas_depth_ros.depth.weights_file import FileState, WeightsFile, verify

OFFICIAL = models.spec('midas_small').weights
SPEC = WeightsFile(
    name='weights.pt',
    url='http://127.0.0.1:9/weights.pt',
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    aliases=('weights-by-another-name.pt',),
)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """The home folder of this test, with no variable that leads elsewhere."""
    own_home(monkeypatch, tmp_path)
    return tmp_path


def lay(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_official_file_is_the_published_one():
    assert (
        WeightsFile(
            name='midas_v21_small_256.pt',
            url='https://github.com/isl-org/MiDaS/releases/download/v2_1/midas_v21_small_256.pt',
            size=85761505,
            sha256='70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca',
            aliases=('midas_v21_small-70d6b9c8.pt',),
            licence='MIT',
        )
        == OFFICIAL
    )


def test_every_place_is_looked_at_in_order(home, monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', '~/robot')
    folders = [
        home / 'robot',
        home / '.cache' / 'midas_depth_ros',
        home / '.cache' / 'torch' / 'hub' / 'checkpoints',
    ]
    names = ['midas_v21_small_256.pt', 'midas_v21_small-70d6b9c8.pt']
    assert candidate_paths(OFFICIAL) == [folder / name for folder in folders for name in names]


def test_the_variables_of_xdg_and_torch_are_followed(home, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(home / 'xdg'))
    own, hub = home / 'xdg' / 'midas_depth_ros', home / 'xdg' / 'torch' / 'hub' / 'checkpoints'
    assert [path.parent for path in candidate_paths(SPEC)] == [own, own, hub, hub]
    monkeypatch.setenv('TORCH_HOME', str(home / 'th'))
    assert candidate_paths(SPEC)[-1].parent == home / 'th' / 'hub' / 'checkpoints'


def test_the_first_good_file_is_taken(home, monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(home / 'robot'))
    assert find_weights(SPEC) is None
    for path in reversed(candidate_paths(SPEC)):
        lay(path)
        assert find_weights(SPEC) == path
        assert ensure_weights(SPEC, allow_download=False) == path


def test_a_place_named_twice_is_looked_at_once(home, monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(home / '.cache' / 'midas_depth_ros'))
    assert len(candidate_paths(SPEC)) == len(examine_all(SPEC)) == 4


@pytest.mark.parametrize('content', [OTHER, CONTENT[:-1], CONTENT + b'x', b''])
def test_a_corrupt_file_is_named_and_passed_over_and_left_alone(caplog, content):
    first, *_, last = candidate_paths(SPEC)
    lay(first, content)
    lay(last)
    assert find_weights(SPEC) == last
    assert ensure_weights(SPEC) == last
    assert str(first) in caplog.text
    assert first.read_bytes() == content


def test_a_corrupt_file_of_torch_hub_is_left_alone_when_fetching(caplog):
    with serving(CONTENT) as server:
        spec = server.spec()
        hub = lay(candidate_paths(spec)[-1], OTHER)
        assert ensure_weights(spec, options=IMPATIENT) == candidate_paths(spec)[0]
    assert hub.read_bytes() == OTHER
    assert [path.name for path in hub.parent.iterdir()] == [hub.name]
    assert f'{hub} has SHA-256' in caplog.text


def test_a_corrupt_cached_file_is_fetched_again(caplog):
    with serving(CONTENT) as server:
        spec = server.spec(aliases=('alias.pt',))
        cached, alias, *_ = candidate_paths(spec)
        lay(cached, CONTENT[:99])
        lay(alias, OTHER)
        assert ensure_weights(spec, options=IMPATIENT) == cached
    assert cached.read_bytes() == CONTENT
    assert cached.with_name('weights.pt.corrupt').read_bytes() == CONTENT[:99]
    assert alias.with_name('alias.pt.corrupt').read_bytes() == OTHER
    assert f'{cached} has 99 bytes instead of 300000' in caplog.text


def test_a_corrupt_cached_file_without_download_is_told_and_left_alone():
    cached = lay(candidate_paths(SPEC)[0], OTHER)
    with pytest.raises(WeightsCorrupt, match=rf'{cached} has SHA-256 .*by hand') as caught:
        ensure_weights(SPEC, allow_download=False)
    assert SPEC.url in str(caught.value)
    assert cached.read_bytes() == OTHER


def test_nothing_there_and_no_download_is_told(home):
    with pytest.raises(WeightsNotFound) as caught:
        ensure_weights(SPEC, allow_download=False)
    for part in (SPEC.url, SPEC.sha256, str(SPEC.size), str(home / '.cache' / 'midas_depth_ros')):
        assert part in str(caught.value)


def test_a_download_goes_into_the_named_folder(home, monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(home / 'robot'))
    with serving(CONTENT) as server:
        found = ensure_weights(server.spec(), options=IMPATIENT)
    assert found == home / 'robot' / 'weights.pt'
    assert not (home / '.cache').exists()


def test_verify_tells_good_from_corrupt_from_missing(home):
    path = home / 'w.pt'
    with pytest.raises(WeightsNotFound, match='is not there'):
        verify(path, SPEC)
    lay(path)
    verify(path, SPEC)
    lay(path, CONTENT[:-1])
    with pytest.raises(WeightsCorrupt, match='has 299999 bytes instead of 300000'):
        verify(path, SPEC)
    lay(path, OTHER)
    digest = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(WeightsCorrupt, match=f'has SHA-256 {digest} instead of {SPEC.sha256}'):
        verify(path, SPEC)


def test_what_is_no_file_is_corrupt_and_never_waited_for(home):
    os.mkfifo(home / 'pipe')
    (home / 'folder').mkdir()
    (home / 'loop').symlink_to(home / 'loop')
    for name in ('pipe', 'folder'):
        with pytest.raises(WeightsCorrupt, match='is not a regular file'):
            verify(home / name, SPEC)
    with pytest.raises(WeightsCorrupt, match='cannot be read: Too many levels'):
        verify(home / 'loop', SPEC)
    (home / 'dangling').symlink_to(home / 'nowhere')
    with pytest.raises(WeightsNotFound):
        verify(home / 'dangling', SPEC)


def test_an_unreadable_file_is_named_and_passed_over(caplog):
    first, *_, last = candidate_paths(SPEC)
    lay(first).chmod(0)
    if os.access(first, os.R_OK):
        pytest.skip('this user may read anything')
    lay(last)
    assert find_weights(SPEC) == last
    assert f'{first} cannot be read: Permission denied' in caplog.text


def test_the_survey_shows_every_place():
    paths = candidate_paths(SPEC)
    lay(paths[1])
    lay(paths[2], b'short')
    found = [(place.label, f.path, f.state, f.size) for place, f in examine_all(SPEC)]
    assert found == [
        ("user's cache", paths[0], FileState.MISSING, None),
        ("user's cache", paths[1], FileState.GOOD, len(CONTENT)),
        ('torch hub', paths[2], FileState.CORRUPT, 5),
        ('torch hub', paths[3], FileState.MISSING, None),
    ]


@pytest.mark.parametrize('value', [None, ''])
def test_without_home_the_password_database_says(monkeypatch, value):
    monkeypatch.delenv('HOME') if value is None else monkeypatch.setenv('HOME', value)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert download_folder() == home / '.cache' / 'midas_depth_ros'
    assert candidate_paths(SPEC)[-1].parent == home / '.cache' / 'torch' / 'hub' / 'checkpoints'


@pytest.fixture
def nobody(monkeypatch):
    """A user without home and without an entry in the password database."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv('HOME')
    monkeypatch.setattr(pwd, 'getpwuid', unknown)


@pytest.mark.usefixtures('nobody')
def test_without_any_home_the_remedy_is_told(monkeypatch, tmp_path):
    assert candidate_paths(SPEC) == []
    assert find_weights(SPEC) is None
    for allowed, error in ((True, DownloadFailed), (False, WeightsNotFound)):
        with pytest.raises(error, match='a folder named by MIDAS_DEPTH_WEIGHTS_DIR'):
            ensure_weights(SPEC, allow_download=allowed)
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path))
    assert download_folder() == tmp_path


@pytest.mark.usefixtures('nobody')
def test_without_any_home_xdg_still_counts(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert download_folder() == tmp_path / 'midas_depth_ros'


def test_two_callers_who_found_the_same_corrupt_file_agree(caplog):
    """The second, let in after the first is through, takes what the first brought."""
    caplog.set_level(logging.INFO)
    with serving(CONTENT) as server:
        server.answers(Answer(), Answer(404))
        spec = server.spec()
        lay(candidate_paths(spec)[0], OTHER)
        first = weights.fetch_weights(spec, options=IMPATIENT)
        assert weights.fetch_weights(spec, options=IMPATIENT) == first
    assert first.read_bytes() == CONTENT
    assert caplog.text.count('moved aside') == 1


def test_finding_imports_neither_torch_nor_ros_nor_the_web(home, monkeypatch):
    lay(home / 'found.pt')
    code = (
        'import sys\n'
        'from midas_depth_ros.depth.weights import ensure_weights\n'
        'from midas_depth_ros.depth.weights_file import WeightsFile\n'
        f'spec = WeightsFile("found.pt", "", {SPEC.size}, {SPEC.sha256!r})\n'
        'print(ensure_weights(spec))\n'
        'print(sorted({"torch", "rclpy", "requests"} & set(sys.modules)))'
    )
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(home))
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f'{home}/found.pt\n[]\n', '')
