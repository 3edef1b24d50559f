"""Downloads that come through: afresh, resumed, over corrupt files, on full disks, and on show."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from weights_server import (
    CONTENT,
    HALF,
    IMPATIENT,
    OTHER,
    Answer,
    failure,
    fetch,
    lay_part,
    own_home,
    serving,
)

from midas_depth_ros.depth.errors import DownloadFailed, WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.weights import ensure_weights, fetch_weights, find_weights
from midas_depth_ros.depth.weights_file import verify


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder of this test."""
    return own_home(monkeypatch, tmp_path)


def test_fetches_into_the_cache_and_leaves_nothing_else(server, cache):
    path = fetch(server)
    assert path == cache / 'weights.pt'
    assert path.read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir() if not p.name.startswith('.')] == ['weights.pt']
    assert server.ranges == ['']
    assert server.headers_seen[0]['Accept-Encoding'] == 'identity'


def test_a_good_file_is_not_fetched_again_unless_forced(server):
    fetch(server)
    fetch(server)
    assert len(server.ranges) == 1
    fetch(server, force=True)
    assert len(server.ranges) == 2


def test_force_leaves_the_good_file_when_it_fails(server):
    path = fetch(server)
    server.answers(Answer(404))
    with pytest.raises(DownloadFailed, match='404'):
        fetch(server, force=True)
    assert path.read_bytes() == CONTENT


def test_force_starts_from_the_first_byte(server, cache):
    lay_part(cache, CONTENT[:HALF])
    fetch(server, force=True)
    assert server.ranges == ['']


def test_resumes_a_partial_file(server, cache):
    lay_part(cache, CONTENT[:HALF])
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == [f'bytes={HALF}-']


def test_finishes_a_complete_partial_file_without_asking(server, cache):
    lay_part(cache, CONTENT)
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == []


def test_starts_again_when_the_server_ignores_range(server, cache):
    lay_part(cache, OTHER[:HALF])
    server.answers(Answer(honour_range=False))
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == [f'bytes={HALF}-']


def test_starts_again_when_the_partial_file_is_too_long(server, cache):
    lay_part(cache, CONTENT + b'more')
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == ['']


@pytest.mark.parametrize('length', [HALF, len(CONTENT)])
def test_a_resumed_file_with_a_wrong_hash_is_fetched_once_from_the_start(
    server, cache, caplog, length
):
    lay_part(cache, OTHER[:length])
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges[-1] == ''
    assert len(server.ranges) == (2 if length == HALF else 1)
    assert 'starting over' in caplog.text


def test_a_resumed_file_that_stays_wrong_is_given_up(server, cache):
    lay_part(cache, CONTENT[:HALF])
    server.answers(Answer(body=OTHER))
    assert 'has SHA-256' in failure(server)
    assert server.ranges == [f'bytes={HALF}-', '']
    assert not (cache / 'weights.pt.part').exists()


@pytest.mark.parametrize(
    'refusal',
    [
        Answer(416, body=b''),
        Answer(206, headers=(('Content-Range', f'bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}'),)),
        Answer(206, headers=(('Content-Range', f'bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}'),)),
        Answer(206, headers=(('Content-Range', 'nonsense'),)),
    ],
)
def test_an_odd_answer_to_a_range_ends_in_the_right_file(server, cache, refusal):
    lay_part(cache, OTHER[:HALF])
    server.answers(refusal, Answer())
    assert fetch(server).read_bytes() == CONTENT


def test_too_little_room_is_told_before_anything_is_asked(server, monkeypatch):
    usage = shutil.disk_usage('/')._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    assert '1000 bytes free, 300000 are needed' in failure(server)
    assert server.ranges == []


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full on this system')
def test_a_disk_that_fills_up_is_told(server, cache):
    cache.mkdir(parents=True)
    (cache / 'weights.pt.part').symlink_to('/dev/full')
    assert f'cannot write into {cache}: No space left on device' in failure(server)


def test_a_folder_that_cannot_be_made_is_told(server, monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path / 'file' / 'weights'))
    assert f'cannot write into {tmp_path}/file/weights: Not a directory' in failure(server)
    assert server.ranges == []


def test_a_folder_without_write_permission_is_told(server, cache):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    if os.access(cache, os.W_OK):
        pytest.skip('this user may write anywhere')
    assert f'cannot write into {cache}: Permission denied' in failure(server)


def test_a_corrupt_file_in_the_way_is_moved_aside(server, cache, caplog):
    cache.mkdir(parents=True)
    (cache / 'weights.pt').write_bytes(OTHER)
    assert fetch(server).read_bytes() == CONTENT
    assert (cache / 'weights.pt.corrupt').read_bytes() == OTHER
    assert f'moved aside to {cache / "weights.pt.corrupt"}' in caplog.text


def test_a_folder_in_the_way_is_moved_aside(server, cache):
    (cache / 'weights.pt').mkdir(parents=True)
    assert fetch(server).read_bytes() == CONTENT
    assert (cache / 'weights.pt.corrupt').is_dir()


def test_without_a_terminal_progress_goes_to_the_log(server, caplog):
    caplog.set_level(logging.INFO)
    fetch_weights(server.spec(), options=IMPATIENT)
    lines = [r.getMessage() for r in caplog.records if r.name.startswith('midas_depth_ros.depth.')]
    assert lines[-1] == 'weights.pt: 0.3 of 0.3 MB'
    assert len(lines) > 3
    assert f'from {server.url}' in caplog.text


def test_on_a_terminal_a_bar_is_drawn(server, cache, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr(sys, 'stderr', terminal)
    lay_part(cache, CONTENT[:HALF])
    fetch_weights(server.spec(), options=IMPATIENT)
    drawn = terminal.getvalue().split('\r')
    assert 'weights.pt:  50%' in drawn[1]
    assert 'weights.pt: 100%' in drawn[-1]
    assert '300k/300k' in drawn[-1]


def test_without_standard_error_nothing_breaks(server, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    assert fetch_weights(server.spec(), options=IMPATIENT).read_bytes() == CONTENT


def test_an_interrupted_download_keeps_what_it_has(server, cache, monkeypatch):
    server.answers(Answer(cut_after=HALF, headers=(('Content-Length', ''),)), Answer())

    def interrupt(seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(time, 'sleep', interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(server)
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == ['', f'bytes={HALF}-']


def test_the_file_is_on_the_disk_before_it_gets_its_name(server, cache, monkeypatch):
    synced = []
    real = os.fsync

    def watch(descriptor):
        synced.append((os.readlink(f'/proc/self/fd/{descriptor}'), (cache / 'weights.pt').exists()))
        real(descriptor)

    monkeypatch.setattr(os, 'fsync', watch)
    fetch(server)
    assert synced == [(f'{cache}/weights.pt.part', False), (str(cache), True)]


# A file whose size is not published: SHA-256 alone says whether it is the right one.


def fetch_of_unknown_size(server, **changes):
    spec = dataclasses.replace(server.spec(), size=0, **changes)
    return fetch_weights(spec, options=IMPATIENT)


@pytest.mark.parametrize('have', [0, HALF, len(CONTENT)])
def test_a_file_of_unknown_size_is_fetched_and_resumed(server, cache, have):
    if have:
        lay_part(cache, CONTENT[:have])
    assert fetch_of_unknown_size(server).read_bytes() == CONTENT
    wanted = {0: [''], HALF: [f'bytes={HALF}-'], len(CONTENT): []}
    assert server.ranges == wanted[have]


def test_a_wrong_file_of_unknown_size_is_refused(server, cache):
    with pytest.raises(DownloadFailed, match=f'has SHA-256 .* instead of {"a" * 64}') as caught:
        fetch_of_unknown_size(server, sha256='a' * 64)
    assert f'({server.spec().url} ' not in str(caught.value)
    assert f'(SHA-256 {"a" * 64}) and put it into' in str(caught.value)
    assert not (cache / 'weights.pt').exists()


def test_a_file_of_unknown_hash_is_neither_looked_for_nor_fetched(server, cache):
    lay_part(cache, CONTENT).replace(cache / 'weights.pt')
    spec = dataclasses.replace(server.spec(), sha256='')
    assert find_weights(spec) is None
    with pytest.raises(WeightsNotFound, match='give its path as the model'):
        ensure_weights(spec)
    with pytest.raises(DownloadFailed, match=r'no SHA-256 of weights\.pt is published'):
        fetch_weights(spec)
    with pytest.raises(WeightsCorrupt, match='its SHA-256 is not published'):
        verify(cache / 'weights.pt', spec)
    assert server.ranges == []
