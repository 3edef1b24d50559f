"""Idle, slow and hostile connections keep nobody else from being answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from browsing import programs
from web_pictures import png_file, ramp
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from midas_depth_ros.web import access, server
from midas_depth_ros.web.feed import Picture
from midas_depth_ros.web.limits import Limits
from midas_depth_ros.web.server import Connection, max_connections

UNFINISHED = b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: '
WHOLE = b'GET /api/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'
WAIT_S = 60


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f'waited in vain: {what}'
        time.sleep(0.01)


def is_answered(port: int) -> bool:
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/state', timeout=WAIT_S) as answer:
        return answer.status == 200


def read_all(connection: socket.socket) -> bytes:
    """Return what is received until the server closes the connection."""
    data = b''
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def status_of(answer: bytes) -> int:
    return int(answer.split(b' ', 2)[1]) if answer.startswith(b'HTTP/1.1 ') else 0


def slow_reader(served, data: bytes) -> socket.socket:
    """A connection that has sent this and reads almost nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(WAIT_S)
    connection.connect(('127.0.0.1', served.port))
    connection.sendall(data)
    return connection


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Sockets that are closed after the test."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def start(tmp_path):
    with programs(tmp_path, {**os.environ, 'TMPDIR': str(tmp_path)}) as starter:
        yield starter


@pytest.fixture
def program(start):
    """The console script as a process; `port`."""
    program = start('cli.dashboard', '--no-ros', '--model', 'embedded', '--port', '0')
    program.port = int(program.said(r':(\d+)/\n')[1])
    return program


def status(port: int) -> dict:
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/status', timeout=WAIT_S) as answer:
        return json.loads(answer.read())


def test_eleven_hundred_unfinished_headers_lock_nobody_out(program, sockets):
    for _ in range(1100):
        sockets.append(socket.create_connection(('127.0.0.1', program.port), timeout=WAIT_S))
        sockets[-1].sendall(UNFINISHED)
        if len(sockets) % 100 == 0:
            assert is_answered(program.port)
    assert is_answered(program.port)
    assert status(program.port)['connections']['open'] <= 128
    assert len(program.output.splitlines()) < 30
    assert program.stop() == 0


@pytest.mark.skipif(not hasattr(resource, 'prlimit'), reason='prlimit is of Linux')
def test_without_a_file_left_it_neither_spins_nor_floods_the_log_and_goes_on(program, sockets):
    pid = program.process.pid
    assert is_answered(program.port)
    used = len(os.listdir(f'/proc/{pid}/fd'))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, before[1]))
    for _ in range(100):
        sockets.append(socket.create_connection(('127.0.0.1', program.port), timeout=WAIT_S))
        sockets[-1].sendall(UNFINISHED)
    program.said('accepting a connection: OSError')
    time.sleep(2)
    assert len(program.output.splitlines()) < 30
    for each in sockets:
        each.close()
    assert is_answered(program.port)
    # It tries again a few times a second, not a million times.
    assert status(program.port)['faults']['kinds']['accepting a connection'] < 500
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert is_answered(program.port)


def test_the_process_asks_for_the_files_that_it_may_have():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 4096)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 400), hard))
        room = max_connections()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised >= wanted
    assert server.FEWEST <= room < raised


def test_few_files_mean_few_connections_but_some(monkeypatch):
    monkeypatch.setattr(resource, 'getrlimit', lambda kind: (64, 64))
    monkeypatch.setattr(resource, 'setrlimit', lambda kind, limits: None)
    assert server.FEWEST <= max_connections() <= 64


def test_a_header_that_trickles_is_not_waited_for(serving):
    served = serving(Limits(header_s=2.0))
    connection = served.connect(b'GET / HTTP/1.1\r\n')
    ended = threading.Event()
    answer = []

    def read() -> None:
        answer.append(read_all(connection))
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(600):
        if ended.wait(0.1):
            break
        with contextlib.suppress(OSError):
            connection.sendall(b'X-%d: a\r\n' % number)
    reader.join(WAIT_S)
    assert status_of(answer[0]) == 408
    connection.close()
    with served.connect(WHOLE + UNFINISHED) as second:  # and so in a later request
        data = read_all(second)
        assert data.count(b'HTTP/1.1 200 ') == 1
    assert is_answered(served.port)


def test_a_connection_that_says_nothing_is_ended(serving):
    served = serving(Limits(header_s=1.0))
    with served.connect() as silent, served.connect(WHOLE) as idle:
        assert status_of(read_all(silent)) == 408
        assert read_all(idle).startswith(b'HTTP/1.1 200 ')
    wait_for(lambda: served.server.summary()['open'] == 0, 'no connection')


@pytest.mark.parametrize('limit', ['connections', 'connections_per_client'])
def test_at_the_bound_the_oldest_that_asks_nothing_makes_room(serving, sockets, limit):
    served = serving(Limits(**{limit: 8}))
    for _ in range(40):
        sockets.append(served.connect(UNFINISHED))
        assert is_answered(served.port)
        assert served.server.summary()['open'] <= 8
    for each in sockets[:20]:
        assert read_all(each) == b''
    with served.connect(WHOLE) as last:
        assert last.recv(100).startswith(b'HTTP/1.1 200 ')


def test_who_is_being_answered_is_not_thrown_out_and_the_next_is_told_to_come_again(
    serving, sockets
):
    going_on = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        while not going_on.is_set():
            await asyncio.sleep(0.01)
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'at last'})

    served = serving(Limits(connections_per_client=4), app=slow)
    sockets += [served.connect(WHOLE) for _ in range(4)]
    wait_for(lambda: served.server.summary()['open'] == 4, 'four connections')
    time.sleep(0.3)  # until their requests are read
    with served.connect(WHOLE) as fifth:
        answer = read_all(fifth)
    assert status_of(answer) == 503
    assert b'Retry-After: ' in answer
    assert json.loads(answer.partition(b'\r\n\r\n')[2])['error']
    assert served.server.summary()['refused'] == 1
    going_on.set()
    for each in sockets:
        assert b'200' in each.recv(100)


def test_an_answer_that_is_never_read_is_given_up(serving, sockets):
    async def large(scope, receive, send) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        for _ in range(64):
            await send({'type': 'http.response.body', 'body': bytes(2**20), 'more_body': True})
        await send({'type': 'http.response.body', 'body': b''})

    served = serving(Limits(stall_s=1.0), app=large)
    sockets += [slow_reader(served, WHOLE) for _ in range(5)]
    wait_for(lambda: served.server.summary()['open'] == 5, 'five connections')
    wait_for(lambda: served.server.summary()['open'] == 0, 'none')


@pytest.mark.thorough
def test_who_reads_slowly_gets_the_whole_answer(serving, monkeypatch):
    monkeypatch.setattr(server, 'CLOSING_S', 1.5)
    size = 2**19

    async def large(scope, receive, send) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': bytes(4 * size)})

    served = serving(Limits(stall_s=1.5, header_s=1.0), app=large)
    with slow_reader(served, WHOLE) as connection:
        data = b''
        while len(data) < size:  # longer than any of these limits
            time.sleep(0.1)
            data += connection.recv(20_000)
        data += read_all(connection)
    assert data.endswith(b'\r\n0\r\n\r\n')
    assert len(data) > 4 * size


def test_answers_that_nobody_reads_are_bounded_in_all(serving, sockets):
    async def large(scope, receive, send) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': bytes(4 * 2**20)})

    served = serving(Limits(unsent_bytes=8 * 2**20), app=large)
    sockets += [slow_reader(served, WHOLE) for _ in range(12)]
    wait_for(lambda: served.faults.summary()['count'] > 0, 'a connection that is given up')
    wait_for(lambda: served.server.summary()['open'] <= 3, 'few that are left')


@pytest.mark.thorough
@pytest.mark.parametrize('body', [b'', b'--x\r\n' + b'X-Y: ' + b'z' * 500])
def test_a_body_that_does_not_come_is_not_waited_for(serving, monkeypatch, body):
    """Even if nobody reads it: the path is unknown, or the answer was an error."""
    monkeypatch.setattr(access, 'GRACE_S', 0.5)
    monkeypatch.setattr(server, 'CLOSING_S', 0.2)
    served = serving(Limits(upload_s=1.0))
    head = b'POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\nContent-Type: %s\r\n\r\n'
    multipart = b'multipart/form-data; boundary=x'
    for path, kind, expected in (
        (b'/api/predict', multipart, 408),
        (b'/api/parameters', b'application/json', 408),
        (b'/nothing', b'text/plain', 404),
        (b'/api/predict', b'text/plain', 415),
    ):
        ended = threading.Event()
        with served.connect(head % (path, kind)) as connection:

            def trickle(connection=connection, ended=ended) -> None:
                with contextlib.suppress(OSError):
                    for byte in body:
                        connection.sendall(bytes((byte,)))
                        if ended.wait(0.1):
                            break

            sender = threading.Thread(target=trickle)
            sender.start()
            answer = read_all(connection)  # until the server ends it
            ended.set()
            sender.join()
        assert status_of(answer) == expected, path
    wait_for(lambda: served.server.summary()['open'] == 0, 'no connection')


def test_sixty_unfinished_uploads_take_no_disk_and_little_memory(program, sockets, tmp_path):
    piece = bytes(2**20)
    head = (
        b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000000\r\n'
        b'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n'
        b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    )
    before = memory_mib(program.process.pid)

    def send() -> None:
        with contextlib.suppress(OSError):
            connection = socket.create_connection(('127.0.0.1', program.port), timeout=WAIT_S)
            sockets.append(connection)
            connection.sendall(head)
            for _ in range(18):
                connection.sendall(piece)

    senders = [threading.Thread(target=send) for _ in range(60)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(WAIT_S)
    assert temporary_files(program.process.pid, str(tmp_path)) == []
    assert memory_mib(program.process.pid) - before < 400
    refused = [answer for answer in map(first_of, sockets) if answer]
    assert len(refused) >= 40
    for answer in refused:
        assert status_of(answer) in (408, 413, 429, 503)
        assert status_of(answer) != 503 or b'retry-after: ' in answer.lower()
    for each in sockets:
        each.close()
    wait_for(lambda: predict(program.port) == 200, 'a picture that is taken again')
    program.process.kill()
    program.process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [program.log.name]


def first_of(connection: socket.socket) -> bytes:
    """Return the responses so far."""
    connection.setblocking(False)
    try:
        return connection.recv(2000)
    except OSError:
        return b''


def memory_mib(pid: int) -> float:
    with open(f'/proc/{pid}/status') as file:
        line = next(line for line in file if line.startswith('VmRSS'))
    return int(line.split()[1]) / 1024


def temporary_files(pid: int, folder: str) -> list[str]:
    """Open files below a folder, including deleted ones."""
    found = []
    for name in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(OSError):
            target = os.readlink(f'/proc/{pid}/fd/{name}')
            if target.startswith(folder) and not target.endswith('.log'):
                found.append(target)
    return found


def predict(port: int) -> int:
    data = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    data += png_file(ramp()) + b'\r\n--x--\r\n'
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    request = urllib.request.Request(f'http://127.0.0.1:{port}/api/predict', data, headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_bad_requests_do_not_fill_the_log(program):
    for number in range(300):
        with socket.create_connection(('127.0.0.1', program.port)) as connection:
            connection.sendall(b'rubbish \x1b[31m%d\r\n\r\n' % number)
            read_all(connection)
    assert is_answered(program.port)
    assert 0 < len(program.output.splitlines()) < 30
    assert '\x1b' not in program.output


REQUESTS = [
    b'GET /api/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
    b'POST /api/predict?view=heatmap HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n'
    b'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n'
    b'Content-Disposition: form-data; name="image"; filename="a\r\nX: y"\r\n\r\nabc\r\n--x--\r\n',
    b'POST /api/parameters HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n'
    b'Transfer-Encoding: chunked\r\n\r\n1c\r\n{"name":"max_rate","value":1\r\n1\r\n}\r\n0\r\n\r\n',
    b'GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
    b'\x81\x85\0\0\0\0hello',
    b'GET /static/%2e%2e%2f..%00/%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a={"b":1}\r\n\r\n',
    b'GET http://evil.example/ HTTP/1.0\r\n\r\n',
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
]
PIECES = [
    b'\r\n',
    b'\0',
    b'\xff' * 9,
    b'%00',
    b'Host: evil\r\n',
    b'Content-Length: 5\r\n',
    b'\x1b[31m',
]


def damaged(request: bytes, rng: random.Random) -> bytes:
    data = bytearray(request)
    for _ in range(rng.randrange(6)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[place : place + 1] = rng.randbytes(1)
        elif kind == 1:
            del data[place : place + rng.randrange(1, 9)]
        elif kind == 2:
            data[place:place] = rng.choice(PIECES)
        elif kind == 3:
            data[place:place] = rng.choice(REQUESTS)
        else:
            data[place:place] = rng.randbytes(rng.randrange(20))
    return bytes(data)


def test_damaged_requests_end_nothing_and_show_nothing(program):
    rng = random.Random(5)
    for _ in range(500):
        request = damaged(rng.choice(REQUESTS), rng)
        with (
            socket.create_connection(('127.0.0.1', program.port), timeout=0.05) as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(request)
            answer = connection.recv(65536)
            assert status_of(answer) not in range(500, 503), request
            assert b'Traceback' not in answer
    assert is_answered(program.port)
    assert 'Traceback' not in program.output
    assert '\x1b' not in program.output
    assert program.stop() == 0


CHUNKED = (
    b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n'
    b'Accept: application/json\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n'
)
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def in_chunks(data: bytes, size: int) -> bytes:
    """Data as chunks of a body."""
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    return b''.join(b'%x\r\n%s\r\n' % (len(each), each) for each in pieces)


@pytest.mark.parametrize(('token', 'status'), [('', 400), ('secret', 401)])
def test_a_body_in_thousands_of_tiny_chunks_holds_up_nobody(serving, sockets, token, status):
    """Each takes as long as a large one: eight such clients, without a token, took 19 s."""
    served = serving(access=access.Access.of('127.0.0.1', token))
    attacker = served.connect(CHUNKED + in_chunks(PART, 1000))
    sockets.append(attacker)
    attacker.settimeout(10)  # far less than until a slow body is given up
    answer = attacker.recv(4096) if token else b''
    with contextlib.suppress(ConnectionError):
        attacker.sendall(in_chunks(bytes(2000), 1))
    answer += read_all(attacker)
    assert status_of(answer) == status
    assert answer.count(b'HTTP/1.1 ') == 1, 'one answer, and then the end'


@pytest.mark.parametrize('size', [700, 4000])
def test_a_picture_may_come_in_chunks(serving, sockets, size):
    file = PART + png_file(ramp(320, 240)) + bytes(200_000) + b'\r\n--x--\r\n'
    sender = serving().connect(CHUNKED + in_chunks(file, size) + b'0\r\n\r\n')
    sockets.append(sender)
    assert status_of(sender.recv(4096)) == 200


def live_address(served) -> str:
    return f'ws://127.0.0.1:{served.port}/api/live'


def handshake(served) -> socket.socket:
    """A WebSocket from which only the handshake is read."""
    connection = slow_reader(
        served,
        b'GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n'
        b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    assert connection.recv(12) == b'HTTP/1.1 101'
    return connection


def test_a_browser_that_reads_nothing_is_let_go(serving, sockets, monkeypatch):
    monkeypatch.setattr(server, 'CLOSING_S', 1.0)
    served = serving(Limits(stall_s=1.0))
    feed = served.dashboard.feed
    sockets.append(handshake(served))
    wait_for(lambda: feed.viewers == 1, 'a browser')
    for number in range(8):
        feed.set_picture(f'c{number}/picture', Picture(lambda: bytes(2**20)))
    wait_for(lambda: feed.viewers == 0, 'it is gone')
    wait_for(lambda: served.server.summary()['open'] == 0, 'its connection, too')


@pytest.mark.parametrize(
    ('picture_bytes', 'fact_bytes'), [(4_000_000, 10), (10, 30_000)], ids=['pictures', 'facts']
)
def test_a_browser_that_reads_slowly_stays(serving, sockets, picture_bytes, fact_bytes):
    """Of the pictures, or of the facts, more comes than it can read."""
    served = serving(Limits(stall_s=1.5))
    feed = served.dashboard.feed
    connection = handshake(served)
    sockets.append(connection)
    wait_for(lambda: feed.viewers == 1, 'a browser')
    read, end_s = 0, time.monotonic() + 6
    while time.monotonic() < end_s:
        for stream in 'ab':
            feed.set_picture(f'{stream}/picture', Picture(lambda: bytes(picture_bytes), 60.0))
        feed.set_fact('counted', [time.monotonic(), 'x' * 100] * (fact_bytes // 100))
        read += len(connection.recv(5000))
        time.sleep(0.05)
    assert read > 100_000
    assert feed.viewers == 1
    assert served.server.summary()['open'] == 1


def masked(opcode: int, data: bytes = b'', final: bool = True) -> bytes:
    """A frame as a browser sends it, masked with zeros."""
    head = bytes((opcode | (0x80 if final else 0),))
    size = len(data)
    if size < 126:
        return head + bytes((0x80 | size,)) + bytes(4) + data
    return head + bytes((0x80 | 127,)) + size.to_bytes(8, 'big') + bytes(4) + data


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('first', 'again'),
    [
        (masked(1, b'{}'), masked(1, b'{}')),  # messages
        (b'', masked(9, b'x' * 100)),  # pings
        (b'', masked(10, b'x' * 100)),  # pongs
        (masked(1, b'', final=False), masked(0, b'', final=False)),  # a message without an end
        (masked(1, bytes(100_000)), b''),  # one that is too large
        (b'\x81\xff' + b'\x7f' + b'\xff' * 7, b'x' * 1000),  # and one that cannot be
        (b'\xff' * 100, b''),
    ],
)
def test_a_browser_that_floods_is_ended_and_another_one_goes_on(serving, first, again):
    served = serving()
    feed = served.dashboard.feed
    with connect(live_address(served)) as good:
        good.recv()
        with handshake(served) as bad, contextlib.suppress(OSError):
            bad.sendall(first)
            for _ in range(2**20 // len(again) if again else 0):
                bad.sendall(again)
            read_all(bad)
        wait_for(lambda: feed.viewers == 1, 'only the good one')
        feed.set_fact('present', True)
        while 'present' not in json.loads(good.recv(timeout=WAIT_S)):
            pass


def test_hundreds_of_browsers_of_one_client_leave_room_for_others(serving):
    served = serving(Limits(viewers=20, viewers_per_client=10, connections_per_client=50))
    with contextlib.ExitStack() as stack:
        looking = []
        for _ in range(10):
            looking.append(stack.enter_context(connect(live_address(served))))
            looking[-1].recv()
        for _ in range(20):
            with connect(live_address(served)) as one_too_many:
                with pytest.raises(ConnectionClosed) as closed:
                    one_too_many.recv()
                assert closed.value.rcvd.code == 1013
        served.dashboard.feed.set_fact('present', True)
        for each in looking:
            while 'present' not in json.loads(each.recv(timeout=WAIT_S)):
                pass
        assert is_answered(served.port)


def test_two_signals_at_once_end_it_cleanly(start):
    for _ in range(3):
        program = start('cli.dashboard', '--no-ros', '--model', 'embedded', '--port', '0')
        program.said(r':(\d+)/\n')
        program.process.send_signal(signal.SIGINT)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(WAIT_S) == 0
        assert 'Traceback' not in program.output


def test_a_connection_is_as_old_as_what_it_waits_for():
    connection = Connection('a', 10.0)
    assert (connection.state, connection.since_s, connection.is_closed) == ('header', 10.0, False)
