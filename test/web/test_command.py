"""The console script as a process: address, warnings, errors, and its end by a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import click
import pytest
from browsing import programs
from click.testing import CliRunner
from web_pictures import png_file, ramp

from midas_depth_ros.cli import dashboard as command
from midas_depth_ros.cli.dashboard import chosen_token, dashboard, split_ros_arguments

PICTURES_ONLY = ['--no-ros', '--model', 'embedded', '--port', '0']


@pytest.fixture
def start(tmp_path):
    with programs(tmp_path, dict(os.environ)) as starter:
        yield starter


def get(address: str | urllib.request.Request, **headers: str) -> int:
    request = urllib.request.Request(address, headers=headers) if headers else address
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_says_its_address_serves_and_ends_cleanly(start, number):
    program = start('cli.dashboard', *PICTURES_ONLY)
    address = program.said(r'dashboard: (http://127\.0\.0\.1:\d+/)\n')[1]
    assert get(address) == get(f'{address}api/state') == 200
    with socket.create_connection(('127.0.0.1', int(address.split(':')[2][:-1]))):
        assert program.stop(number) == 0  # also while somebody holds a connection
    assert program.output == f'dashboard: {address}\n'


HANGING = """
import sys, time
from midas_depth_ros.cli import dashboard as command
class Hanging:
    model = backend = precision = notice = choice = ''
    def infer(self, rgb):
        print('it hangs', flush=True)
        time.sleep(3600)
    def close(self):
        pass
command.load_estimator = lambda *arguments, **options: Hanging()
command.main(['--no-ros', '--port', '0'])
"""


def test_a_picture_that_hangs_does_not_keep_the_process(tmp_path):
    log = tmp_path / 'log'
    with log.open('w') as file:
        process = subprocess.Popen([sys.executable, '-c', HANGING], stdout=file, stderr=file)
    try:
        address = wait_until(lambda: re.search(r'http://\S+', log.read_text()))[0]
        body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        body += png_file(ramp()) + b'\r\n--x--\r\n'
        kind = {'Content-Type': 'multipart/form-data; boundary=x'}
        request = urllib.request.Request(f'{address}api/predict', body, kind)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(get, request)
            wait_until(lambda: 'it hangs' in log.read_text())
            assert get(f'{address}api/state') == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert waiting.result() == 503
    finally:
        process.kill()
        process.wait()
    assert 'Traceback' not in log.read_text()


def wait_until(predicate):
    deadline = time.monotonic() + 60
    while not (value := predicate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_beyond_localhost_a_token_is_made_up(start):
    program = start('cli.dashboard', *PICTURES_ONLY, '--host', '0.0.0.0')
    port, token = program.said(r'http://\S+:(\d+)/\?token=(\S{20,})\n').groups()
    address = f'http://127.0.0.1:{port}/'
    assert get(address) == get(f'{address}api/state') == 401
    assert get(f'{address}api/state', Authorization=f'Bearer {token}') == 200
    assert 'WARNING' not in program.output
    assert program.stop() == 0


def test_without_a_token_beyond_localhost_there_is_a_loud_warning(start):
    program = start('cli.dashboard', *PICTURES_ONLY, '--host', '0.0.0.0', '--no-token')
    program.said('WARNING: anyone who can reach http')
    port = program.said(r':(\d+)/')[1]
    assert get(f'http://127.0.0.1:{port}/api/state') == 200
    assert program.stop() == 0


def test_a_port_that_is_taken_is_named(start):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        program = start('cli.dashboard', '--no-ros', '--port', port)
        assert program.process.wait(timeout=60) == 1
    assert f'127.0.0.1:{port}' in program.output
    assert '--port' in program.output
    assert 'Traceback' not in program.output


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--host', 'no.such.host.invalid'], ['no.such.host.invalid', '--host']),
        (['--host', '203.0.113.7'], ['203.0.113.7', 'cannot listen']),
        (['--port', '70000'], ['70000', '65535']),
        (['--token', 'a', '--no-token'], ['--token', '--no-token']),
    ],
)
def test_wrong_options_are_refused_in_words(arguments, words):
    result = CliRunner().invoke(dashboard, arguments)
    assert result.exit_code in (1, 2)
    for word in words:
        assert word in result.output


def test_missing_libraries_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(command, 'find_spec', lambda name: None)
    with pytest.raises(click.ClickException) as error:
        command.check_libraries()
    assert 'pip install fastapi uvicorn websockets python-multipart' in error.value.message


@pytest.mark.parametrize('old', ['0.63.0', '0.99.1'])
def test_a_library_that_is_too_old_is_named_with_the_remedy(monkeypatch, old):
    monkeypatch.setattr(command, 'version', lambda name: old)
    with pytest.raises(click.ClickException) as error:
        command.check_libraries()
    assert old in error.value.message
    assert 'pip install' in error.value.message


@pytest.mark.parametrize(
    ('host', 'token', 'no_token', 'expected'),
    [
        ('127.0.0.1', '', False, ''),
        ('127.0.0.1', 'mine', False, 'mine'),
        ('0.0.0.0', 'mine', False, 'mine'),
        ('0.0.0.0', '', True, ''),
    ],
)
def test_which_token_is_asked_for(host, token, no_token, expected):
    assert chosen_token(host, token, no_token) == expected


def test_a_token_that_is_made_up_is_long_and_new():
    tokens = {chosen_token('0.0.0.0', '', False) for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 20


@pytest.mark.parametrize(
    ('arguments', 'ours', 'ros'),
    [
        (['--port', '1'], ['--port', '1'], []),
        (['--ros-args', '-r', 'a:=b'], [], ['--ros-args', '-r', 'a:=b']),
        (['--no-ros', '--ros-args', '-r', 'a:=b', '--', '--port', '1'],)
        + (['--no-ros', '--port', '1'], ['--ros-args', '-r', 'a:=b']),
    ],
)
def test_ros_arguments_are_told_apart(arguments, ours, ros):
    assert split_ros_arguments(arguments) == (ours, ros)
