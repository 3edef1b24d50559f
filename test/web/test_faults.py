"""A million warnings become a few log lines and a count."""

from __future__ import annotations

import io
import logging

import pytest

from midas_depth_ros.cli.dashboard import LogThrottle, SanitizingFormatter
from midas_depth_ros.web.errors import Faults, sanitize


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('as it is: größe 深度 🙂 <b>&', 'as it is: größe 深度 🙂 <b>&'),
        ('two\r\nlines\tand\x0bmore\u2028', 'two lines and more '),
        ('\x1b[2J\x07\x9b31m', '\ufffd[2J\ufffd\ufffd31m'),
        ('abc\u202egnp.exe', 'abc\ufffdgnp.exe'),
        ('half \ud83d', 'half \ufffd'),
        ('\0', '\ufffd'),
        (ValueError('a\nb'), 'a b'),
    ],
)
def test_what_is_plain(text, expected):
    assert sanitize(text) == expected
    expected.encode()


def test_a_long_text_is_cut():
    assert sanitize('x' * 600, 100) == 'x' * 97 + '...'
    assert sanitize('x' * 100, 100) == 'x' * 100


def test_faults_are_counted_and_said_now_and_then(caplog):
    now = [0.0]
    faults = Faults(lambda: now[0])
    for _ in range(10_000):
        with faults.guard('a message'):
            raise ValueError('bad\nnews')
    faults.count('another', 'one')
    assert [record.getMessage() for record in caplog.records] == [
        'a message: ValueError: bad news',
        'another: one',
    ]
    now[0] = 60.0
    faults.count('a message', 'again')
    assert caplog.records[-1].getMessage() == 'a message: again (10000 since the last report)'
    with faults.guard('a message'):
        raise OSError('/home/robot/secret')
    assert faults.summary()['last'] == 'a message: OSError'
    faults.count('a message', 'again')
    assert faults.summary()['count'] == 10_004
    assert faults.summary() == {
        'count': 10_004,
        'kinds': {'a message': 10_003, 'another': 1},
        'last': 'a message: again',
    }


def test_kinds_of_faults_are_bounded():
    faults = Faults()
    for number in range(5000):
        faults.count(f'topic {number}', 'bad')
    assert len(faults.summary()['kinds']) <= 101
    assert faults.summary()['count'] == 5000


def test_the_boundary_lets_an_end_of_the_process_through():
    faults = Faults()
    with pytest.raises(KeyboardInterrupt), faults.guard('work'):
        raise KeyboardInterrupt
    assert faults.summary()['count'] == 0


@pytest.fixture
def logged():
    """A logger as `configure_logging` makes it, its clock, and what it has written."""
    now = [0.0]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SanitizingFormatter('%(levelname)s %(name)s: %(message)s'))
    handler.addFilter(LogThrottle(lambda: now[0]))
    log = logging.Logger('of a test')
    log.addHandler(handler)
    return log, now, stream


def test_a_flood_becomes_a_few_lines_and_a_count(logged):
    log, now, stream = logged
    for number in range(100_000):
        log.warning('request %d is bad', number)
    assert len(stream.getvalue().splitlines()) == 5
    now[0] = 11.0
    log.warning('request %d is bad', 7)
    assert stream.getvalue().splitlines()[-1] == (
        'WARNING of a test: request 7 is bad (and 99995 more like it)'
    )
    for period in range(2, 8):
        now[0] = period * 11.0
        for number in range(100):
            log.warning('request %d is bad', number)
    assert len(stream.getvalue().splitlines()) == 5 + 1 + 5 + 5 * 1
    now[0] = 1000.0
    log.warning('request %d is bad', 7)
    now[0] = 2000.0  # it was quiet meanwhile
    for number in range(100):
        log.warning('request %d is bad', number)
    assert len(stream.getvalue().splitlines()) == 16 + 1 + 5


def test_a_flood_of_different_things_is_bounded_too(logged):
    log, _, stream = logged
    for number in range(10_000):
        log.error(f'{number} is bad')
    assert len(stream.getvalue().splitlines()) <= 60


def test_what_comes_from_outside_can_neither_forge_lines_nor_steer_a_terminal(logged):
    log, _, stream = logged
    try:
        raise ValueError('x\x1b[31m\nERROR forged')
    except ValueError:
        log.exception('bad %s', 'name\nERROR forged \x1b[2J')
    written = stream.getvalue()
    assert '\x1b' not in written
    assert written.splitlines()[0].startswith('ERROR of a test: bad name ERROR forged')
    assert 'Traceback (most recent call last):' in written
