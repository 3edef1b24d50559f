"""A web server on 127.0.0.1 that serves one file, honestly or not, as a test tells it to.

In go `Answer`s, one per request (the last one stays), out come bytes over a real socket and the
list of requests that were made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midas_depth_ros.depth.download_limit import DownloadOptions
from midas_depth_ros.depth.errors import DownloadFailed
from midas_depth_ros.depth.weights import download_folder, fetch_weights
from midas_depth_ros.depth.weights_file import WeightsFile

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)  # as long, and not the same
HALF = 150_000
TRICKLE_S = 0.02
IMPATIENT = DownloadOptions(connect_timeout_s=5, read_timeout_s=5, first_pause_s=0, log_every_s=0)

# Variables that would lead a test out of its own folders or off the local machine.
OUTSIDE = (
    *('MIDAS_DEPTH_WEIGHTS_DIR', 'MIDAS_DEPTH_WEIGHTS_URL', 'TORCH_HOME', 'XDG_CACHE_HOME'),
    *('HF_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE'),
    *('http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'),
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """How one request is answered; the default is the honest way."""

    status: int = 200
    body: bytes | None = None  # other bytes than the file's
    headers: tuple[tuple[str, str], ...] = ()  # over the usual ones; an empty value leaves one out
    honour_range: bool = True
    cut_after: int | None = None  # close after that many bytes of the body
    reset_after: int | None = None  # the same, with a TCP reset
    stall_after: int | None = None  # fall silent after that many bytes until `release()`
    trickle_after: int | None = None  # from there on a byte now and then, until `release()`
    endless: bool = False  # a body without an end, until the client goes away or `release()`
    mute: bool = False  # not even a head before `release()`
    hang_up: bool = False  # close without a word


class WeightsServer(http.server.ThreadingHTTPServer):
    """Serves `content` at every path. `ranges` has the Range header ('' if none) per request."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.content = content
        self.script: list[Answer] = [Answer()]
        self.paths: list[str] = []
        self.ranges: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.released = threading.Event()

    def answers(self, *script: Answer) -> None:
        """What the coming requests get, in turn; the last for all that follow."""
        self.script = list(script)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}/weights.pt'

    def spec(self, name: str = 'weights.pt', aliases: tuple[str, ...] = ()) -> WeightsFile:
        """The promise that fits what is served."""
        digest = hashlib.sha256(self.content).hexdigest()
        return WeightsFile(name, self.url, len(self.content), digest, aliases)

    def release(self) -> None:
        """Let stalled answers go on."""
        self.released.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WeightsServer
    protocol_version = 'HTTP/1.1'

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test reads `ranges`."""

    def do_GET(self) -> None:
        server = self.server
        self.close_connection = True
        server.paths.append(self.path)
        server.ranges.append(self.headers.get('Range', ''))
        server.headers_seen.append(dict(self.headers))
        answer = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        if answer.mute:
            server.released.wait()
        elif not answer.hang_up:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        body = self.server.content if answer.body is None else answer.body
        status = answer.status
        headers = {'Content-Type': 'application/octet-stream', 'Connection': 'close'}
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        if asked and answer.honour_range and status == 200:
            start, whole = int(asked[1]), len(body)
            status, body = 206, body[start:]
            headers['Content-Range'] = f'bytes {start}-{whole - 1}/{whole}'
        headers['Content-Length'] = str(len(body))
        headers.update(answer.headers)
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self._send_body(body, answer)

    def _send_body(self, body: bytes, answer: Answer) -> None:
        if answer.trickle_after is not None:
            place = answer.trickle_after
            self.wfile.write(body[:place])
            while not self.server.released.wait(TRICKLE_S):
                self.wfile.write(body[place : place + 1])
                place += 1
            self.wfile.write(body[place:])
        elif answer.endless:
            while not self.server.released.is_set():
                self.wfile.write(bytes(1 << 16))
        elif answer.stall_after is not None:
            self.wfile.write(body[: answer.stall_after])
            self.server.released.wait()
            self.wfile.write(body[answer.stall_after :])
        elif answer.reset_after is not None:
            self.wfile.write(body[: answer.reset_after])
            linger = struct.pack('ii', 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            self.wfile.write(body[: answer.cut_after])


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[WeightsServer]:
    """A running server, closed at the end with all its threads let go."""
    with WeightsServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release()
            server.shutdown()
            thread.join()


def offered(server: WeightsServer) -> WeightsFile:
    """The promise that fits what is served, as a model's weights file."""
    return dataclasses.replace(server.spec(), licence='MIT')


def own_home(monkeypatch: Any, folder: Path) -> Path:
    """Make `folder` the home of the test, and cut every other way out; returns the cache folder."""
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(folder))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    return folder / '.cache' / 'midas_depth_ros'


def fetch(server: WeightsServer, options: DownloadOptions = IMPATIENT, **more: Any) -> Path:
    """Fetch the server's file into the cache."""
    return fetch_weights(server.spec(), options=options, **more)


def failure(server: WeightsServer, options: DownloadOptions = IMPATIENT) -> str:
    """The text of a download's failure, after checking that it names every remedy."""
    with pytest.raises(DownloadFailed) as caught:
        fetch(server, options)
    text, spec, folder = str(caught.value), server.spec(), download_folder()
    remedies = (spec.url, spec.sha256, f'{spec.size} bytes', f'put it into {folder}')
    for part in (*remedies, 'MIDAS_DEPTH_WEIGHTS_DIR', 'MIDAS_DEPTH_WEIGHTS_URL'):
        assert part in text
    assert '\n' not in text
    assert folder
    assert not (folder / spec.name).exists()
    return text


def lay_part(cache: Path, content: bytes) -> Path:
    """Put what an earlier download left into the cache."""
    cache.mkdir(parents=True)
    part = cache / 'weights.pt.part'
    part.write_bytes(content)
    return part
