"""Downloads from servers that are broken, busy, silent, lying or not there."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import socket
import time

import pytest
from weights_server import CONTENT, HALF, OTHER, Answer, failure, fetch, lay_part, own_home, serving

from midas_depth_ros.depth.download_limit import DownloadOptions
from midas_depth_ros.depth.errors import DownloadFailed

CURT = DownloadOptions(connect_timeout_s=5, read_timeout_s=0.2, first_pause_s=0)
HTML = b'<html><body>Welcome to the airport. Log in, please.</body></html>'


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder of this test."""
    return own_home(monkeypatch, tmp_path)


@pytest.mark.parametrize('how', ['cut_after', 'reset_after'])
def test_a_dropped_connection_is_resumed(server, how):
    server.answers(Answer(**{how: HALF}), Answer())
    assert fetch(server).read_bytes() == CONTENT
    first, second = server.ranges
    assert first == ''
    assert second == '' or 0 < int(second[len('bytes=') : -1]) <= HALF
    if how == 'cut_after':  # a reset may throw away what was under way
        assert second != ''


def test_a_body_without_length_that_is_cut_is_resumed(server):
    server.answers(Answer(headers=(('Content-Length', ''),), cut_after=HALF), Answer())
    assert fetch(server).read_bytes() == CONTENT
    assert server.ranges == ['', f'bytes={HALF}-']


def test_a_line_that_keeps_breaking_but_moves_on_is_followed_to_the_end(server):
    server.answers(Answer(headers=(('Content-Length', ''),), cut_after=40_000))
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.ranges) == 8  # more than the tries that one place is worth


def test_a_connection_that_drops_for_ever_is_given_up(server):
    server.answers(Answer(cut_after=0))
    text = failure(server)
    assert 'broke' in text or 'ended after 0' in text
    assert len(server.ranges) == 4


def test_a_restart_that_never_gets_farther_is_given_up(server):
    cuts = itertools.cycle((100_000, 40_000))
    answers = (
        Answer(honour_range=False, headers=(('Content-Length', ''),), cut_after=next(cuts))
        for _ in range(50)
    )
    server.answers(*answers)
    assert 'ended after' in failure(server)
    assert len(server.ranges) == 4


def test_a_server_that_hangs_up_is_asked_again(server):
    server.answers(Answer(hang_up=True), Answer())
    assert fetch(server).read_bytes() == CONTENT
    server.answers(Answer(hang_up=True))
    with pytest.raises(DownloadFailed, match=r'127\.0\.0\.1 broke'):
        fetch(server, force=True)


def test_a_stalled_body_is_resumed(server):
    server.answers(Answer(stall_after=HALF), Answer())
    assert fetch(server, CURT).read_bytes() == CONTENT
    assert 0 < int(server.ranges[1][len('bytes=') : -1]) <= HALF


def test_a_server_that_stays_silent_is_given_up(server):
    server.answers(Answer(stall_after=0))
    assert 'timed out' in failure(server, CURT).lower()
    assert len(server.ranges) == 4


def test_wrong_bytes_are_refused_and_not_asked_for_again(server, cache):
    server.answers(Answer(body=OTHER))
    text = failure(server)
    assert 'has SHA-256' in text
    assert f'instead of {server.spec().sha256}' in text
    assert len(server.ranges) == 1
    assert not (cache / 'weights.pt.part').exists()


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (Answer(404), '404 Not Found'),
        (Answer(403), '403 Forbidden'),
        (Answer(204, body=b''), '204'),
        (Answer(headers=(('Content-Length', '999999'),)), 'offers 999999 bytes'),
        (Answer(headers=(('Content-Length', '10'),)), 'offers 10 bytes'),
        (Answer(body=HTML, headers=(('Content-Type', 'text/html; charset=x'),)), '(text/html)'),
        (
            Answer(body=HTML, headers=(('Content-Type', 'text/html'), ('Content-Length', ''))),
            'log-in',
        ),
        (Answer(body=CONTENT + b'x', headers=(('Content-Length', ''),)), 'sent more than 300000'),
    ],
)
def test_a_lie_or_refusal_is_told_at_once(server, answer, reason):
    server.answers(answer)
    assert reason in failure(server)
    assert len(server.ranges) == 1


def test_a_servers_words_cannot_speak_to_the_terminal(server, caplog):
    nasty = 'text/\x1b[31mred' + 'd' * 5000
    server.answers(
        Answer(headers=(('Content-Type', nasty), ('Content-Length', '7'))),
        Answer(302, body=b'', headers=(('Location', 'ftp://x/\x1b[2J' + 'l' * 5000),)),
    )
    for _ in range(2):
        text = failure(server)
        assert text.isprintable()
        assert len(text) < 1500
    assert all(record.getMessage().isprintable() for record in caplog.records)


@pytest.mark.parametrize('status', [429, 500, 503])
def test_a_busy_server_is_asked_again_a_few_times(server, status):
    server.answers(Answer(status, body=b'busy'), Answer(status, body=b'busy'), Answer())
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.ranges) == 3


def test_a_server_that_stays_busy_is_given_up(server):
    server.answers(Answer(503, body=b'busy'))
    assert '503 Service Unavailable' in failure(server)
    assert len(server.ranges) == 4


def test_pauses_grow_between_tries(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, 'sleep', pauses.append)
    server.answers(Answer(503, body=b'busy'))
    failure(server, DownloadOptions(first_pause_s=0.5))
    assert pauses == [0.5, 1.0, 2.0]


def test_a_redirect_is_followed_and_keeps_the_range(server, cache):
    lay_part(cache, CONTENT[:HALF])
    server.answers(Answer(302, body=b'', headers=(('Location', '/elsewhere?secret=1'),)), Answer())
    assert fetch(server).read_bytes() == CONTENT
    assert server.paths == ['/weights.pt', '/elsewhere?secret=1']
    assert server.ranges == [f'bytes={HALF}-'] * 2


def test_a_redirect_loop_is_told(server):
    server.answers(Answer(302, body=b'', headers=(('Location', '/weights.pt'),)))
    assert 'redirects in circles' in failure(server)


@pytest.mark.parametrize('location', ['http://[oops/', 'http://127.0.0.1:99999/', 'ftp://x/'])
def test_a_redirect_to_nowhere_is_told(server, location):
    server.answers(Answer(302, body=b'', headers=(('Location', location),)))
    assert f'the request to {server.url} failed' in failure(server)
    assert len(server.ranges) == 1


def test_nobody_listening_is_told_in_plain_words(cache, caplog):
    with serving(CONTENT) as server:
        pass
    assert f'no connection to 127.0.0.1: {os.strerror(errno.ECONNREFUSED)}' in failure(server)
    assert caplog.text.count('next try') == 1


def test_a_server_that_never_accepts_is_given_up(monkeypatch):
    with serving(CONTENT) as server, socket.socket() as deaf, socket.socket() as filler:
        deaf.bind(('127.0.0.1', 0))
        deaf.listen(0)
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())  # fills the queue: later ones get no answer
        port = deaf.getsockname()[1]
        monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', f'http://127.0.0.1:{port}/w')
        options = DownloadOptions(connect_timeout_s=0.2, read_timeout_s=0.2, first_pause_s=0)
        text = failure(server, options)
    assert 'does not answer' in text or 'timed out' in text.lower()


@pytest.mark.parametrize(
    'address', ['weights.pt', 'ftp://127.0.0.1/w', 'http://[oops/w', 'http:///']
)
def test_an_address_that_is_none_is_told(server, monkeypatch, address):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', address)
    assert 'the request to' in failure(server)


def test_a_mirror_is_used_and_its_secrets_are_kept(server, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    mirror = server.url.replace('http://', 'http://user:hush@').replace(
        'weights.pt', 'm.pt?key=hush'
    )
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', mirror)
    server.answers(Answer(body=OTHER))
    assert 'hush' not in failure(server)
    server.answers(Answer())
    assert fetch(server).read_bytes() == CONTENT
    assert server.paths == ['/m.pt?key=hush'] * 2
    assert 'hush' not in caplog.text
    assert '/m.pt' in caplog.text


def test_a_mirror_with_a_slash_is_a_folder(server, monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', server.url.replace('weights.pt', 'deep/'))
    assert fetch(server).read_bytes() == CONTENT
    assert server.paths == ['/deep/weights.pt']
