"""Real processes that fetch the same file: two at once, and one after another was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from weights_server import CONTENT, HALF, Answer, own_home, serving

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder of this test."""
    return own_home(monkeypatch, tmp_path)


WORKER = """
import sys
from midas_depth_ros.depth.weights import ensure_weights
from midas_depth_ros.depth.weights_file import WeightsFile
print(ensure_weights(WeightsFile(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
"""


@pytest.fixture
def start():
    """Start real processes that fetch the server's file; none is left behind."""
    started = []

    def start_one(server):
        spec = server.spec()
        arguments = [spec.name, spec.url, str(spec.size), spec.sha256]
        process = subprocess.Popen(
            [sys.executable, '-c', WORKER, *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        with process:
            process.kill()


def wait_for(condition, process):
    """Wait until something is so; fails when the process ends first."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_of_two_processes_one_fetches_and_the_other_waits(server, cache, start):
    server.answers(Answer(stall_after=HALF), Answer(404))
    first = start(server)
    wait_for(lambda: len(server.ranges) == 1, first)
    second = start(server)
    said = second.stderr.readline()
    assert said == f'another process is fetching {cache}/weights.pt: waiting for it\n'
    server.release()
    for process in (first, second):
        out, err = process.communicate()
        assert (out, err, process.returncode) == (f'{cache}/weights.pt\n', '', 0)
    assert (cache / 'weights.pt').read_bytes() == CONTENT
    assert server.ranges == ['']


def test_a_killed_download_is_resumed_by_the_next_process(server, cache, start):
    server.answers(Answer(stall_after=HALF), Answer())
    part = cache / 'weights.pt.part'
    killed = start(server)
    wait_for(lambda: part.exists() and part.stat().st_size >= 100_000, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (cache / 'weights.pt').exists()
    size = part.stat().st_size
    successor = start(server)
    assert successor.communicate() == (f'{cache}/weights.pt\n', '')
    assert server.ranges == ['', f'bytes={size}-']
    assert (cache / 'weights.pt').read_bytes() == CONTENT
    assert not part.exists()
