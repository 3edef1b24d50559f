"""What `midas_depth bench --share` writes, and the table of boards that is made of such files."""

from __future__ import annotations

import getpass
import json
import platform
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.boards import BOARDS, BoardError, read_board, table
from benchmarks.performance_page import PAGE
from midas_depth_ros.cli import bench as bench_command
from midas_depth_ros.cli.bench import bench
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.speed import share
from midas_depth_ros.lab.speed.run import Result, Row
from midas_depth_ros.lab.speed.share import as_text, shared

PRIVATE = '/home/alice/secret'


def row(part: str, backend: str, precision: str, ms: float, **more: float) -> Row:
    return Row(part, backend, precision, '640x480', ms, ms, 2.0, ms, ms, ms, 9, **more)


def result(**facts: object) -> Result:
    rows = [
        row('pipeline', 'usual recipe', 'f32', 80.0),
        row('pipeline', 'openvino', 'f32', 40.0),
        row('node', 'openvino', 'f32', 45.4, rss_mb=301.6, start_s=1.2),
    ]
    known = {
        'model': 'midas_small', 'weights': PRIVATE, 'judged': False, 'auto': ['openvino', 'f32'],
        'cpu': 'a CPU', 'cores': 2, 'threads': 2, 'matrix_product_gflops': 100.0,
        'system': 'Linux', 'versions': {'openvino': '2026.4.1'}, 'load_average': [0.1, 0.9],
        'seconds': 1.0, **facts,
    }  # fmt: skip
    return Result(rows, known, absent=[f'torch int8: {PRIVATE} is missing'])


def board(**changes: object) -> dict:
    return {**json.loads(as_text(shared(result(), quick=True))), **changes}


def test_what_is_shared_tells_nothing_about_who_measured():
    text = as_text(shared(result(model=f'{PRIVATE}.pt'), quick=False))
    private = (PRIVATE, 'alice', socket.gethostname(), str(Path.home()), str(Path.cwd()), '.pt')
    assert [word for word in private if word in text] == []
    words = set(json.dumps(json.loads(text)).replace('"', ' ').replace('/', ' ').split())
    assert getpass.getuser() not in words
    assert json.loads(text)['model'] == 'other'
    assert json.loads(text)['not_measured'] == ['torch int8']


def test_of_the_kernel_only_the_number_is_shared(monkeypatch):
    monkeypatch.setattr(platform, 'release', lambda: '6.12.3-alices-laptop')
    assert share.machine()['system'].endswith(f'{platform.system()} 6.12')


def test_features_are_those_that_the_kernel_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(share, 'PROC', tmp_path)
    (tmp_path / 'cpuinfo').write_text('processor\t: 0\nFeatures\t: fp asimd crc32 asimddp\n')
    assert share.machine()['features'] == ['asimd', 'asimddp']
    assert share.machine()['virtual'] is False
    (tmp_path / 'cpuinfo').write_text('flags\t\t: fpu avx2 hypervisor avx512f avx512_bf16\n')
    assert share.machine()['features'] == ['avx2', 'avx512f', 'avx512_bf16']
    assert share.machine()['virtual'] is True


def test_the_name_of_a_board_is_that_of_its_device_tree(tmp_path, monkeypatch):
    (tmp_path / 'model').write_bytes(b'Raspberry Pi 5 Model B Rev 1.0\0')
    monkeypatch.setattr(share, 'BOARD_NAME', tmp_path / 'model')
    assert share.machine()['board'] == 'Raspberry Pi 5 Model B Rev 1.0'
    assert share.machine()['cores'] == processes.cores()


def test_a_board_file_is_read_back(tmp_path):
    path = tmp_path / 'board.json'
    written = shared(result(), quick=True)
    path.write_text(as_text(written))
    assert read_board(path) == written
    assert len(path.read_text().splitlines()) < 70  # small enough to look at


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{', 'Expecting'),
        ('[]', 'is not a file of'),
        ('{}', 'is not a file of'),
        (json.dumps(board(schema_version=2)), 'schema version 2'),
        (json.dumps(board(machine=None)), 'machine is None'),
        (json.dumps(board(machine={'cpu': 'x'})), 'board is None'),
        (json.dumps(board(rows=[3])), 'not an object'),
        (json.dumps(board(rows=[{'part': 'node'}])), 'backend is None'),
    ],
)
def test_what_is_no_board_file_is_refused(tmp_path, text, said):
    path = tmp_path / 'board.json'
    path.write_text(text)
    with pytest.raises(BoardError, match=said) as error:
        read_board(path)
    assert error.value.message.startswith('board.json')


def test_the_table_has_the_columns_that_were_measured_and_escapes_what_others_wrote():
    good, evil = board(), board()
    good['machine']['memory_gb'] = 8.2
    evil['machine']['board'] = 'a | b <script>\n**c**'
    lines = table([good, evil]).splitlines()
    assert 'openvino f32' in lines[0]
    assert 'torch f32' not in lines[0]
    assert len(lines) == 4
    assert lines[2].endswith('| 8 | 0.1 to 0.9 | 80 | 40 | 45 (openvino f32) | 45 | 302 |')
    assert r'a \| b \<script\>\\n\*\*c\*\*' in lines[3]


def test_the_page_has_the_boards_of_the_folder():
    files = sorted(BOARDS.glob('*.json'))
    assert files
    assert table([read_board(path) for path in files]) in PAGE.read_text()


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(bench_command, 'measure', lambda *arguments: result(auto_choice='x'))


@pytest.mark.parametrize('answer', ['n\n', ''])
def test_nothing_is_written_without_a_yes(measured, tmp_path, answer):
    path = tmp_path / 'board.json'
    ran = CliRunner().invoke(bench, ['--share', str(path)], input=answer)
    assert ran.exit_code == 1
    assert not path.exists()
    assert '"schema": "midas_depth_board"' in ran.output


def test_what_is_written_is_what_was_shown(measured, tmp_path):
    path = tmp_path / 'board.json'
    ran = CliRunner().invoke(bench, ['--share', str(path)], input='y\n')
    assert ran.exit_code == 0, ran.output
    shown, _, after = ran.output.partition('Write this to')
    assert path.read_text() in shown
    assert str(path) in after


@pytest.mark.parametrize(('load', 'said'), [(1.5, False), (2.5, True)])
def test_a_machine_that_was_busy_is_told(monkeypatch, tmp_path, load, said):
    found = result(auto_choice='x', load_average=[load, 9.0])
    monkeypatch.setattr(bench_command, 'measure', lambda *arguments: found)
    ran = CliRunner().invoke(bench, ['--share', str(tmp_path / 'board.json'), '--yes'])
    assert ran.exit_code == 0, ran.output
    assert ('measure again when it is idle' in ran.output) is said


def test_the_file_has_a_name_if_none_is_given(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(bench, ['--share', '--yes'])
    assert ran.exit_code == 0, ran.output
    assert read_board(tmp_path / 'midas_depth_board.json')['quick'] is False


@pytest.mark.parametrize('other', ['--json', '--models'])
def test_one_output_at_a_time(measured, other):
    ran = CliRunner().invoke(bench, ['--share', '--yes', other])
    assert ran.exit_code == 2
    assert other in ran.output


def test_yes_alone_has_nothing_to_agree_to() -> None:
    ran = CliRunner().invoke(bench, ['--yes'])
    assert ran.exit_code == 2
    assert '--share' in ran.output
