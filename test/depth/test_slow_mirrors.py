"""Servers that take a day: a robot that starts does not wait for them, and loses nothing."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weights_server import (
    CONTENT,
    HALF,
    Answer,
    WeightsServer,
    lay_part,
    offered,
    own_home,
    serving,
)

from midas_depth_ros.depth import estimator, load_estimator, models, weights
from midas_depth_ros.depth.download_limit import (
    AUTO_LIMIT,
    FETCH_LIMIT,
    NAMED_LIMIT,
    DownloadLimit,
    DownloadOptions,
    DownloadWatch,
    duration,
)
from midas_depth_ros.depth.errors import DownloadFailed
from midas_depth_ros.depth.weights import fetch_weights

ROOT = Path(__file__).resolve().parents[2]
SIZE = len(CONTENT)


class Clock:
    """Seconds that pass with every look at them."""

    def __init__(self, step_s: float = 1.0) -> None:
        self._ticks = itertools.count()
        self._step_s = step_s

    def __call__(self) -> float:
        return next(self._ticks) * self._step_s


def options(auto: DownloadLimit = AUTO_LIMIT, step_s: float = 1.0) -> DownloadOptions:
    """As 'auto' is, with a clock that runs fast; the server itself may be silent for hours."""
    return DownloadOptions(
        read_timeout_s=3600, first_pause_s=0, log_every_s=0, limit=auto, clock=Clock(step_s)
    )


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The user's cache folder of this test; the threads that were left end with their servers."""
    yield own_home(monkeypatch, tmp_path)
    for thread in threading.enumerate():
        if thread.name == 'download':
            thread.join(60)
            assert not thread.is_alive()


def given_up(server: WeightsServer, chosen: DownloadOptions | None = None) -> str:
    with pytest.raises(DownloadFailed) as caught:
        fetch_weights(server.spec(), options=chosen or options())
    text = str(caught.value)
    assert 'by hand' in text
    assert text.isprintable()
    return text


# When to give up.


def watched(seen: list[tuple[float, int]], chosen: DownloadLimit, total: int = 1000) -> str:
    """The judge's last word after a list of (seconds, bytes)."""
    times = iter([0.0, *(now for now, _ in seen)])
    judge = DownloadWatch(chosen, total, lambda: next(times))
    return [judge.reason_to_stop(done) for _, done in seen][-1]


TEN = DownloadLimit(budget_s=100, grace_s=10, remedy='look elsewhere')


@pytest.mark.parametrize(
    ('seen', 'said'),
    [
        ([(1, 0), (9.9, 0)], ''),
        ([(0, 0), (10, 0)], 'nothing came for 10 s'),
        ([(0, 0), (10, 1)], 'at 0.0 kB/s the rest would take 2.8 h'),
        ([(0, 0), (10, 100)], ''),
        ([(0, 0), (10, 99)], 'the rest would take 91 s'),
        ([(0, 0), (10, 500), (20, 600), (30, 610)], 'the rest would take 6 min'),
        ([(0, 0), (10, 500), (20, 900), (99, 999)], ''),
        ([(0, 0), (10, 500), (20, 900), (100, 999)], 'it took more than 100 s'),
        ([(0, 990), (10, 995)], ''),
        ([(0, 900), (5, 950), (6, 0), (15, 400)], ''),
        ([(0, 900), (5, 950), (6, 0), (16, 1)], 'the rest would take'),
    ],
)
def test_a_rate_that_cannot_make_it_is_told_in_time(
    seen: list[tuple[float, int]], said: str
) -> None:
    found = watched(seen, TEN)
    assert said in found
    assert bool(found) == bool(said)
    if said:
        assert 'the limit is 100 s: look elsewhere' in found


def test_durations_are_for_people() -> None:
    told = [duration(s) for s in (0.4, 119, 121, 7100, 7201, 86_400, 10**6)]
    assert told == ['0 s', '119 s', '2 min', '118 min', '2.0 h', '24.0 h', '12 days']


def test_auto_waits_for_minutes_a_name_for_an_hour_and_the_command_for_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def ensure(spec: Any, **rest: Any) -> Path:
        asked.append(rest['options'].limit)
        raise DownloadFailed('no')

    monkeypatch.setattr(weights, 'ensure_weights', ensure)
    assert load_estimator('auto').model == 'embedded'
    with pytest.raises(DownloadFailed):
        load_estimator('midas_small')
    assert asked == [AUTO_LIMIT, NAMED_LIMIT]
    assert [p.budget_s for p in asked] == [300, 3600]
    assert DownloadOptions().limit is FETCH_LIMIT
    assert FETCH_LIMIT.budget_s == 86_400


# Servers.

SLOW = {
    'silent after its head': Answer(stall_after=0),
    'silent in the middle': Answer(stall_after=HALF),
    'silent before its head': Answer(mute=True),
    'a byte now and then': Answer(trickle_after=0),
    'a byte now and then, from the middle on': Answer(trickle_after=HALF),
}


@pytest.mark.parametrize('name', SLOW)
def test_a_server_that_would_take_a_day_is_given_up_and_what_came_stays(
    server: WeightsServer, cache: Path, name: str
) -> None:
    server.answers(SLOW[name], Answer())
    text = given_up(server)
    assert 'nothing came for' in text or 'the rest would take' in text
    assert 'the limit is 5 min' in text
    assert '`midas_depth weights fetch` waits longer' in text
    part = cache / 'weights.pt.part'
    have = part.stat().st_size if part.exists() else 0
    assert have >= (HALF // 4096 * 4096 if 'middle' in name else 0)
    assert CONTENT[:have] == (part.read_bytes() if have else b'')
    path = fetch_weights(server.spec(), options=options(step_s=0.001))
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == (f'bytes={have}-' if have else '')


def test_the_thread_that_was_left_writes_no_more(server: WeightsServer, cache: Path) -> None:
    """Another process may be fetching by then."""
    server.answers(Answer(stall_after=HALF))
    given_up(server)
    left = [thread for thread in threading.enumerate() if thread.name == 'download']
    part = cache / 'weights.pt.part'
    part.write_bytes(b'of another process')
    server.release()
    for thread in left:
        thread.join(60)
        assert not thread.is_alive()
    assert part.read_bytes() == b'of another process'


def test_a_name_whose_lookup_hangs_is_given_up(
    server: WeightsServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_part(cache, CONTENT[:HALF])
    hanging, real = threading.Event(), socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host == 'mirror.example':
            hanging.wait()
            host = '127.0.0.1'
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, 'getaddrinfo', look_up)
    url = server.url.replace('127.0.0.1', 'mirror.example')
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', url)
    server.answers(Answer(honour_range=False))  # the thread that was left would begin anew
    assert 'nothing came for' in given_up(server)
    hanging.set()
    for thread in threading.enumerate():
        if thread.name == 'download':
            thread.join(60)
    assert (cache / 'weights.pt.part').read_bytes() == CONTENT[:HALF]


def test_a_head_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            for byte in itertools.chain(b'HTTP/1.1 200 OK\r\n', itertools.repeat(b'x'[0])):
                if ended.wait(0.02):
                    return
                connection.sendall(bytes([byte]))

    with socket.socket() as listening, serving(CONTENT) as server:
        listening.bind(('127.0.0.1', 0))
        listening.listen()
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        port = listening.getsockname()[1]
        monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', f'http://127.0.0.1:{port}/w')
        try:
            assert 'nothing came for' in given_up(server)
        finally:
            ended.set()
            thread.join()


def test_redirects_from_one_to_the_next_are_told(server: WeightsServer) -> None:
    steps = (Answer(302, b'', (('Location', f'/{n}'),)) for n in itertools.count())
    server.answers(*itertools.islice(steps, 50))
    assert 'redirects in circles' in given_up(server, options(step_s=0))
    assert len(server.paths) == 11


def test_the_body_of_a_redirect_is_not_read(server: WeightsServer) -> None:
    """It may have no end."""
    head = (('Location', '/elsewhere'), ('Content-Length', ''))
    server.answers(Answer(302, headers=head, endless=True), Answer())
    path = fetch_weights(server.spec(), options=options(step_s=0))
    assert path.read_bytes() == CONTENT
    assert server.paths == ['/weights.pt', '/elsewhere']


def test_a_password_goes_along_to_the_same_place_and_to_no_other(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CONTENT) as other:
        mirror = server.url.replace('http://', 'http://user:hush@')
        monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', mirror)
        near = Answer(302, b'', (('Location', server.url + '?near'),))
        far = Answer(302, b'', (('Location', other.url),))
        server.answers(near, far)
        fetch_weights(server.spec(), options=options(step_s=0))
        sent = ['Authorization' in seen for seen in server.headers_seen + other.headers_seen]
    assert sent == [True, True, False]


# Estimates.


def test_how_long_it_will_take_is_said(
    server: WeightsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fetch_weights(server.spec(), options=options(step_s=0.001))
    lines = [record.getMessage() for record in caplog.records if 'of 0.3 MB' in record.message]
    assert all(' kB/s, ' in line and line.endswith(' left') for line in lines[:-1])
    assert lines[-1] == 'weights.pt: 0.3 of 0.3 MB'


# Other processes.

HOLDER = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(handle, fcntl.LOCK_EX)
print('held', flush=True)
with open(sys.argv[2], 'ab', buffering=0) as part:
    while True:
        time.sleep(0.01)
        part.write(bytes(int(sys.argv[3])))
"""


@pytest.fixture
def holding(cache: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """A function that starts a process which fetches, so many bytes at a time."""
    started: list[subprocess.Popen[bytes]] = []

    def start(step: int) -> subprocess.Popen[bytes]:
        cache.mkdir(parents=True, exist_ok=True)
        lock, part = cache / '.weights.pt.lock', cache / 'weights.pt.part'
        command = [sys.executable, '-c', HOLDER, str(lock), str(part), str(step)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.mark.parametrize('step', [0, 1])
def test_a_process_that_fetches_too_slowly_is_not_waited_for(
    server: WeightsServer, holding: Callable[[int], subprocess.Popen[bytes]], step: int
) -> None:
    holding(step)
    text = given_up(server, options(step_s=10))
    assert 'another process is fetching it' in text
    assert server.ranges == []


def test_a_process_that_was_stopped_is_not_waited_for(
    server: WeightsServer, holding: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    holding(100).send_signal(signal.SIGSTOP)
    assert 'another process is fetching it: ' in given_up(server)


def test_a_process_that_comes_to_an_end_is_waited_for(
    server: WeightsServer, cache: Path, holding: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    process = holding(0)
    lay = threading.Timer(0.5, process.kill)
    lay.start()
    path = fetch_weights(server.spec(), options=options(step_s=0.001))
    assert path.read_bytes() == CONTENT
    lay.join()


# The whole way.


def test_auto_falls_back_says_why_and_goes_on_at_the_next_start(
    server: WeightsServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = models.spec('midas_small')
    fetched = dataclasses.replace(official, weights=offered(server))
    monkeypatch.setitem(models._specs, 'midas_small', fetched)
    monkeypatch.setattr(estimator, 'AUTO_LIMIT', DownloadLimit(30.0, 0.3))
    server.answers(Answer(trickle_after=HALF), Answer())
    found = load_estimator('auto')
    assert found.model == 'embedded'
    assert 'MiDaS_small is not available' in found.notice
    assert f'of {SIZE} bytes are here' in found.notice
    assert found.infer(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).any()
    have = (cache / 'weights.pt.part').stat().st_size
    again = load_estimator('auto')  # fetches the rest, which is no state dict
    assert server.ranges[-1] == f'bytes={have}-'
    assert (cache / 'weights.pt').read_bytes() == CONTENT
    assert 'cannot be read as a PyTorch state dict' in again.notice


NODE = """
import dataclasses, sys
from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.weights_file import WeightsFile
file = WeightsFile(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], licence='MIT')
official = models.spec('midas_small')
models.unregister('midas_small')
models.register(dataclasses.replace(official, weights=file))
try:
    load_estimator('auto')
except KeyboardInterrupt:
    print('interrupted')
"""


def test_a_signal_ends_the_waiting_at_once(server: WeightsServer, cache: Path) -> None:
    server.answers(Answer(mute=True))
    spec = server.spec()
    command = [sys.executable, '-c', NODE, spec.name, spec.url, str(spec.size), spec.sha256]
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while not server.paths:
            assert process.poll() is None
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == 'interrupted\n'
        assert process.returncode == 0


def test_the_texts_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / 'docs' / 'backends.md').read_text()
    assert f'`auto` waits for {duration(AUTO_LIMIT.budget_s)}' in page
    assert f'`midas_small` for {duration(NAMED_LIMIT.budget_s)}' in page
    assert f'`midas_depth weights fetch` for {FETCH_LIMIT.budget_s / 3600:g} h' in page
