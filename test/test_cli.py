"""The command line as a person uses it: what it prints, and how it ends."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from weights_server import CONTENT, OTHER, Answer, own_home, serving

from midas_depth_ros import __version__
from midas_depth_ros.cli.main import main
from midas_depth_ros.depth.errors import DepthError

REPOSITORY = Path(__file__).parents[1]
# click before 8.2 has to be told to keep standard error apart.
APART = {'mix_stderr': False} if 'mix_stderr' in inspect.signature(CliRunner).parameters else {}


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder of this test."""
    return own_home(monkeypatch, tmp_path)


@pytest.fixture
def midas_depth(server):
    """Call the command, with the server's file as the weights."""

    def call(*arguments):
        return CliRunner(**APART).invoke(main, arguments, obj=server.spec())

    return call


def lay(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def rows(output):
    """The cells of the table's lines, by file."""
    lines = [line.split('│')[1:-1] for line in output.splitlines() if line.startswith('│')]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {Path(row[1]): (row[0], *row[2:]) for row in cells}


def error_line(result):
    """The one line of a failed command."""
    assert result.exit_code == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith('error: ')
    assert 'Traceback' not in result.stderr
    return last


def test_show_is_the_default_and_lists_every_place(midas_depth, cache, tmp_path):
    hub = tmp_path / '.cache' / 'torch' / 'hub' / 'checkpoints' / 'weights.pt'
    lay(hub)
    lay(cache / 'weights.pt', OTHER)
    result = midas_depth('weights')
    assert result.exit_code == 0
    assert rows(result.stdout) == {
        cache / 'weights.pt': ("user's cache", '300000', 'corrupt', ''),
        hub: ('torch hub', '300000', 'good', 'yes'),
    }
    assert f'corrupt: {cache}/weights.pt has SHA-256' in result.stdout
    assert result.stdout.endswith(f'used: {hub}\n')
    assert midas_depth('weights', 'show').stdout == result.stdout


def test_show_marks_only_the_first_good_file(midas_depth, cache, tmp_path):
    lay(cache / 'weights.pt')
    hub = lay(tmp_path / '.cache' / 'torch' / 'hub' / 'checkpoints' / 'weights.pt')
    table = rows(midas_depth('weights', 'show').stdout)
    assert [table[cache / 'weights.pt'][-1], table[hub][-1]] == ['yes', '']


def test_show_tells_how_to_get_missing_weights(midas_depth, server, cache):
    result = midas_depth('weights', 'show')
    assert result.exit_code == 0
    assert rows(result.stdout)[cache / 'weights.pt'] == ("user's cache", '', 'missing', '')
    assert '`midas_depth weights fetch`' in result.stdout
    assert f'{server.spec().sha256}) into {cache}' in result.stdout


def test_show_takes_brackets_in_paths_literally(midas_depth, monkeypatch, tmp_path):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path / '[red]x[/bold]'))
    path = lay(tmp_path / '[red]x[/bold]' / 'weights.pt')
    assert rows(midas_depth('weights').stdout)[path][-1] == 'yes'


def test_fetch_prints_the_path_alone_on_standard_output(midas_depth, server, cache):
    result = midas_depth('weights', 'fetch')
    assert (result.exit_code, result.stdout) == (0, f'{cache}/weights.pt\n')
    assert (cache / 'weights.pt').read_bytes() == CONTENT
    assert f'from {server.url}' in result.stderr
    assert midas_depth('weights', 'fetch').exit_code == 0
    assert len(server.ranges) == 1
    assert midas_depth('weights', 'fetch', '--force').exit_code == 0
    assert len(server.ranges) == 2


def test_fetch_into_another_folder_tells_how_to_have_it_found(midas_depth, cache, tmp_path):
    result = midas_depth('weights', 'fetch', '--dir', str(tmp_path / 'usb'))
    assert (tmp_path / 'usb' / 'weights.pt').read_bytes() == CONTENT
    assert result.stdout == f'{tmp_path}/usb/weights.pt\n'
    assert f'set MIDAS_DEPTH_WEIGHTS_DIR={tmp_path}/usb' in result.stderr
    assert not cache.exists()


def test_a_failed_fetch_ends_in_one_line(midas_depth, server, cache):
    server.answers(Answer(404))
    line = error_line(midas_depth('weights', 'fetch'))
    assert '404 Not Found' in line
    for part in (server.url, server.spec().sha256, str(cache)):
        assert part in line


def test_verify_good(midas_depth, cache):
    lay(cache / 'weights.pt')
    result = midas_depth('weights', 'verify')
    assert (result.exit_code, result.output) == (0, f'good: {cache}/weights.pt\n')


def test_verify_fails_when_one_of_two_is_corrupt(midas_depth, cache, tmp_path):
    lay(cache / 'weights.pt')
    hub = lay(tmp_path / '.cache' / 'torch' / 'hub' / 'checkpoints' / 'weights.pt', OTHER)
    result = midas_depth('weights', 'verify')
    assert f'{hub} has SHA-256' in error_line(result)
    assert result.stdout == f'good: {cache}/weights.pt\n'


def test_verify_fails_when_there_is_none(midas_depth):
    assert 'no valid file' in error_line(midas_depth('weights', 'verify'))


def test_verify_one_path(midas_depth, tmp_path):
    path = tmp_path / 'mine.pt'
    assert f'{path} is not there' in error_line(midas_depth('weights', 'verify', str(path)))
    lay(path, OTHER)
    assert f'{path} has SHA-256' in error_line(midas_depth('weights', 'verify', str(path)))
    lay(path)
    assert midas_depth('weights', 'verify', str(path)).output == f'good: {path}\n'


@pytest.mark.parametrize(
    'arguments',
    [
        ('nonsense',),
        ('weights', 'nonsense'),
        ('weights', 'fetch', '--nonsense'),
        ('weights', 'show', 'x'),
    ],
)
def test_wrong_usage_ends_with_2(midas_depth, arguments):
    result = midas_depth(*arguments)
    assert result.exit_code == 2
    assert 'Usage: ' in result.stderr


def test_version_and_help(midas_depth):
    assert midas_depth('--version').output == f'midas_depth, version {__version__}\n'
    assert 'weights  Show, fetch and verify' in midas_depth('-h').stdout
    text = midas_depth('weights', '--help').stdout
    for part in ('MIDAS_DEPTH_WEIGHTS_DIR', 'MIDAS_DEPTH_WEIGHTS_URL', 'fetch', 'show', 'verify'):
        assert part in text


def test_a_command_that_is_added_fails_the_same_way(monkeypatch):
    @click.command()
    def broken():
        raise DepthError('no\nluck')

    monkeypatch.setitem(main.commands, 'broken', broken)
    result = CliRunner(**APART).invoke(main, ['broken'])
    assert (result.exit_code, result.stderr) == (1, 'error: no luck\n')


def test_logging_is_as_before_after_a_command(midas_depth):
    log = logging.getLogger('midas_depth_ros')
    before = (log.level, list(log.handlers))
    midas_depth('weights')
    assert (log.level, log.handlers) == before


def run(*arguments):
    """A Python process of its own, which knows the official weights only."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )


def test_the_process_ends_with_the_right_codes(monkeypatch, server):
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', server.url)
    command = ('-m', 'midas_depth_ros.cli.main', 'weights')
    shown = run(*command)
    assert (shown.returncode, shown.stderr) == (0, '')
    assert 'midas_v21_small_256.pt' in shown.stdout
    assert 'midas_v21_small-70d6b9c8.pt' in shown.stdout
    fetched = run(*command, 'fetch')
    assert (fetched.returncode, fetched.stdout) == (1, '')
    assert 'offers 300000 bytes' in fetched.stderr.splitlines()[-1]
    assert run(*command, 'nonsense').returncode == 2


@pytest.mark.parametrize('blocked', ['', 'sys.modules["torch"] = sys.modules["rclpy"] = None\n'])
def test_the_command_needs_neither_torch_nor_ros(blocked):
    done = run(
        '-c',
        f'import sys\n{blocked}'
        'from midas_depth_ros.cli.main import main\n'
        'main(["weights"], standalone_mode=False)\n'
        'print([name for name in ("torch", "rclpy") if sys.modules.get(name)])\n',
    )
    assert done.stderr == ''
    assert '`midas_depth weights fetch` downloads midas_v21_small_256.pt' in done.stdout
    assert done.stdout.endswith('\n[]\n')
