"""Names that stand for anything but a picture: refused in a sentence, never waited for."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from midas_depth_ros.images import ImageError
from midas_depth_ros.images.sources import open_source
from midas_depth_ros.options.files import (
    UnreadableFile,
    check_file,
    parse_yaml,
    read_file,
    read_text,
)
from midas_depth_ros.options.text import PRINTED_LENGTH, printable

ODD = {
    'a FIFO': os.mkfifo,
    'a folder': os.mkdir,
    'a device': lambda path: os.symlink('/dev/zero', path),
    'a socket': lambda path: bound(path),
}


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        made.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize('kind', ODD)
def test_what_is_no_file_is_told_by_its_kind(tmp_path: Path, kind: str) -> None:
    ODD[kind](tmp_path / 'x.jpg')
    for call in (check_file, read_text, lambda path: read_file(path, 9)):
        with pytest.raises(UnreadableFile, match=kind):
            call(tmp_path / 'x.jpg')


@pytest.mark.parametrize('name', ['missing', 'x' * 5000, 'null\0character', 'file/below'])
def test_what_cannot_be_there_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(UnreadableFile, match='cannot be read'):
        check_file(tmp_path / name)


def test_a_loop_of_links_is_said(tmp_path: Path) -> None:
    (tmp_path / 'a').symlink_to('b')
    (tmp_path / 'b').symlink_to('a')
    with pytest.raises(UnreadableFile, match='cannot be read'):
        read_file(tmp_path / 'a', 9)


def test_a_file_is_no_larger_than_was_allowed(tmp_path: Path) -> None:
    path = tmp_path / 'x'
    path.write_bytes(b'123456789')
    assert read_file(path, 9) == b'123456789'
    with pytest.raises(UnreadableFile, match='9 bytes, more than the limit of 8'):
        read_file(path, 8)


def test_a_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / 'x.png').open('wb') as file:
        file.truncate(10 << 30)
    said: list[str] = []
    with pytest.raises(ImageError):
        list(open_source(tmp_path / 'x.png', warn=said.append))
    assert '10737418240 bytes' in said[0]


def test_a_file_that_grows_is_left(tmp_path: Path, monkeypatch) -> None:
    """Its size is told before it is read."""
    path = tmp_path / 'x'
    path.write_bytes(bytes(100))
    original = os.fstat

    def small(descriptor: int) -> os.stat_result:
        found = list(original(descriptor))
        found[6] = 1
        return os.stat_result(found)

    monkeypatch.setattr(os, 'fstat', small)
    with pytest.raises(UnreadableFile, match='larger than the limit of 50'):
        read_file(path, 50)


@pytest.mark.parametrize('path', ['/proc/kmsg', '/proc/self/mem', '/proc/self/maps'])
def test_files_of_proc_end(path: str) -> None:
    """They say to be empty; some have no end, some wait, some cannot be read."""
    if not os.access(path, os.R_OK):
        pytest.skip(f'{path} cannot be read here')
    done = threading.Event()

    def read() -> None:
        with contextlib.suppress(UnreadableFile):
            read_file(Path(path), 1000)
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(30), 'it waits'


def test_the_others_of_a_folder_are_read(tmp_path: Path) -> None:
    for number, make in enumerate(ODD.values()):
        make(tmp_path / f'{number}.png')
    (tmp_path / 'loop.png').symlink_to('loop.png')
    rgb = np.full((4, 5, 3), 9, np.uint8)
    assert cv2.imwrite(str(tmp_path / 'good.png'), rgb)
    said: list[str] = []
    (frame,) = open_source(tmp_path, warn=said.append)
    np.testing.assert_array_equal(frame.rgb(), rgb)
    assert len(said) == len(ODD) + 1
    for kind, text in zip(ODD, said, strict=False):
        assert kind in text


@pytest.mark.parametrize('kind', ODD)
@pytest.mark.parametrize('suffix', ['.png', '.mp4', '.db3', '.mcap', '.bag', '', '.mcap.zstd'])
def test_no_source_waits_for_what_is_no_file(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f'x{suffix}'
    ODD[kind](path)
    with pytest.raises(ImageError) as caught:
        list(open_source(path, warn=lambda text: None))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('name', ['a' * 5000, 'a\0b', '~nobody-of-that-name/x', '1' * 400, '٣'])
def test_odd_names_of_sources_are_not_there(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match='there is no such') as caught:
        open_source(name)
    assert len(str(caught.value)) <= PRINTED_LENGTH


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('a: [', 'not valid YAML'),
        ('[' * 5000, 'nested too deeply'),
        ('9' * 5000, 'not valid YAML'),
        ('!!timestamp 2023-99-99', 'not valid YAML'),
        ('!!python/object:os.system x', 'not valid YAML'),
        ('\x00', 'not valid YAML'),
    ],
)
def test_what_is_no_yaml_is_said(text: str, said: str) -> None:
    with pytest.raises(UnreadableFile, match=said) as caught:
        parse_yaml(text)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        *(('1e-05', 1e-5), ('5e-1', 0.5), ('1.', 1.0), ('.5', 0.5), ('-.5E+1', -5.0), ('08', 8.0)),
        *(('+3', 3), ('0x10', 16), ('0X1F', 31), ('-0Xa', -10), ('017', 15), ('+0', 0), ('00', 0)),
        *(('1_000', '1_000'), ('1:30', '1:30'), ('0b11', '0b11'), ('0x', '0x'), ('e5', 'e5')),
    ],
)
def test_a_number_is_what_rcl_takes_for_one(text: str, value: object) -> None:
    found = parse_yaml(text)
    assert (found, type(found)) == (value, type(value))


class TestPrintable:
    @pytest.mark.parametrize(
        ('text', 'line'),
        [
            ('plain ä 日本 🙂 \\', 'plain ä 日本 🙂 \\'),
            ('\x1b[31mred\x1b]0;title\x07', '\\x1b[31mred\\x1b]0;title\\x07'),
            ('a\nb\r\tc\x7f\x85\x9b', 'a\\nb\\r\\tc\\x7f\\x85\\x9b'),
            ('gpj\u202e.exe\u2066\u200b\ufeff', 'gpj\\u202e.exe\\u2066\\u200b\\ufeff'),
            ('\u2028\u2029\xa0\xad', '\\u2028\\u2029\\xa0\\xad'),
            (os.fsdecode(b'\xff\xc3('), '\\xff\\xc3('),
            ('\ud800\udfff\U000e0001', '\\ud800\\udfff\\U000e0001'),
        ],
    )
    def test_what_a_terminal_would_obey_is_escaped(self, text: str, line: str) -> None:
        assert printable(text) == line
        line.encode('utf-8')

    def test_it_is_no_longer_than_was_asked_for(self) -> None:
        assert printable('x' * 100, 100) == 'x' * 100
        assert printable('x' * 99 + 'yz', 100) == 'x' * 65 + '...' + 'x' * 30 + 'yz'
        for text in ('\x1b' * 10**6, '\x1b' * 40, 'x' * 48 + '\x1b', '\x1b' + 'x' * 52):
            assert len(printable(text, 50)) == 50
        assert printable('\x1b' * 12, 50) == '\\x1b' * 12

    def test_every_error_of_this_room_is_printable(self) -> None:
        def kinds(kind: type) -> list[type]:
            return [kind, *(each for sub in kind.__subclasses__() for each in kinds(sub))]

        for kind in kinds(ImageError):
            assert str(kind('\x1b\n' + 'x' * 10**5)).startswith('\\x1b\\nxxx')
            assert len(str(kind('x' * 10**5))) == PRINTED_LENGTH


def test_keys_of_yaml_are_names_whatever_they_look_like():
    """`y` is a coordinate, not yes."""
    assert parse_yaml('y: y\nno: 2\n1: x\n1e3: {off: 3, ~: 4}\n') == {
        'y': True,
        'no': 2,
        '1': 'x',
        '1e3': {'off': 3, '~': 4},
    }
    assert parse_yaml('a: &a {y: 1}\nb: {<<: *a, n: 2}') == {'a': {'y': 1}, 'b': {'y': 1, 'n': 2}}
