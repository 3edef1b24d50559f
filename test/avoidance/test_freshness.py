"""How old a message is, with any clocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.avoidance.freshness import MessageTimes, StampChecker, age_of

NOW = 1_700_000_000.0
TIMEOUT = 0.5


@pytest.mark.parametrize(
    ('received_ago', 'stamped_ago', 'seconds', 'fault'),
    [
        (0.1, 0.3, 0.3, ''),
        (0.1, 0.1, 0.1, ''),
        (0.1, 0.7, 0.7, 'late: stamped 0.7 s ago'),  # came just now, and tells of long ago
        (0.1, 30.0, 30.0, 'late: stamped 30.0 s ago'),
        (0.6, 0.7, 0.6, 'silent for 0.6 s'),
        (0.1, 0.0, 0.1, ''),  # a clock that is slightly ahead
        (0.1, math.nan, 0.1, ''),  # no header
        (0.6, math.nan, 0.6, 'silent for 0.6 s'),
        (-0.1, 0.3, math.inf, 'the clock went back'),
        (math.nan, 0.3, math.inf, 'the clock went back'),
    ],
)
@pytest.mark.parametrize('other_clock', [False, True])
def test_age(received_ago, stamped_ago, seconds, fault, other_clock):
    moment = MessageTimes(NOW - received_ago, NOW - stamped_ago)
    age = age_of(moment, NOW, TIMEOUT, other_clock=other_clock)
    assert age.seconds == pytest.approx(seconds, abs=1e-6)
    assert age.fault == fault


@pytest.mark.parametrize(
    ('stamped_ago', 'words'),
    [
        (-5.0, 'stamped by another clock, 5.1 s ahead of ours'),
        (-1e9, 'ahead of ours'),
        (61.0, 'stamped by another clock, 60.9 s behind ours'),
        (1e6, 'stamped by another clock, 1e+06 s behind ours'),
        (NOW, 'not stamped (its stamp is 0)'),
    ],
)
def test_who_has_another_clock_is_refused_unless_that_is_allowed(stamped_ago, words):
    moment = MessageTimes(NOW - 0.1, NOW - stamped_ago)
    age = age_of(moment, NOW, TIMEOUT)
    assert age.seconds == math.inf
    assert words in age.fault
    assert age_of(moment, NOW, TIMEOUT, other_clock=True).fault == ''
    late = age_of(moment, NOW + 1, TIMEOUT, other_clock=True)
    assert late.fault == 'silent for 1.1 s'
    assert words in age_of(moment, NOW, TIMEOUT, 'require', other_clock=True).fault
    assert age_of(moment, NOW, TIMEOUT, 'ignore').fault == ''


def test_who_requires_stamps_refuses_what_has_none():
    assert age_of(MessageTimes(NOW), NOW, TIMEOUT, 'require').fault == 'not stamped'


def test_who_ignores_stamps_takes_what_is_late():
    moment = MessageTimes(NOW - 0.1, NOW - 3.0)
    assert age_of(moment, NOW, TIMEOUT).fault
    assert age_of(moment, NOW, TIMEOUT, 'require').fault
    assert age_of(moment, NOW, TIMEOUT, 'ignore').fault == ''


def test_it_was_measured_when_it_was_stamped_if_the_clocks_agree():
    assert MessageTimes(NOW, NOW - 0.2).measured_s('auto') == NOW - 0.2
    assert MessageTimes(NOW, NOW + 0.1).measured_s('auto') == NOW  # not in the future
    assert MessageTimes(NOW, NOW - 0.2).measured_s('ignore') == NOW
    assert MessageTimes(NOW, NOW - 1e5).measured_s('auto') == NOW
    assert MessageTimes(NOW).measured_s('auto') == NOW


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, anything, anything, st.sampled_from(['auto', 'require', 'ignore']), st.booleans())
def test_what_came_long_ago_is_never_fresh(received, stamp, now, stamps, other_clock):
    age = age_of(MessageTimes(received, stamp), now, TIMEOUT, stamps, other_clock)
    assert not math.isnan(age.seconds)
    assert age.seconds >= 0
    if not age.fault:
        assert 0 <= now - received <= TIMEOUT


# --- one message after the other ----------------------------------------------------------------


def faults(*moments: tuple[float, float], stamps: str = 'auto', other_clock: bool = False) -> list:
    """Return the faults of messages received and stamped at these times after `NOW`, in order."""
    watch = StampChecker()
    return [
        watch.fault_of(MessageTimes(NOW + came, NOW + stamped), TIMEOUT, stamps, other_clock)
        for came, stamped in moments
    ]


def test_messages_that_go_on_are_taken():
    assert faults((0, -0.1), (0.1, 0.0), (0.2, 0.15), (5.0, 4.9)) == [''] * 4


@pytest.mark.parametrize('other_clock', [False, True])
@pytest.mark.parametrize('offset', [-0.1, 1e6])
def test_a_stamp_that_stands_still_is_that_of_a_frozen_sensor(offset, other_clock):
    stamps = 'auto' if offset == -0.1 or other_clock else 'ignore'
    found = faults(*((0.1 * n, offset) for n in range(30)), stamps=stamps, other_clock=other_clock)
    assert found[0] == ''
    assert all(fault.startswith(('frozen', 'late')) for fault in found[1:])
    assert found[1] == 'frozen: 2 messages with the same stamp'


def test_a_stamp_of_another_clock_that_creeps_is_that_of_a_frozen_sensor():
    creeping = [(0.1 * n, 1e6 + 0.001 * n) for n in range(60)]
    found = faults(*creeping, other_clock=True)
    assert found.count('') <= 7
    assert found[-1].startswith('frozen: its stamp advanced by')
    slow = [(0.1 * n, 1e6 + 0.05 * n) for n in range(60)]  # half as fast as ours: no matter
    assert faults(*slow, other_clock=True) == [''] * 60


def test_by_our_clock_a_creeping_stamp_is_late():
    found = faults(*((0.1 * n, 0.001 * n) for n in range(60)))
    assert found[3] == ''
    assert all(fault.startswith('late') for fault in found[10:])


def test_what_comes_out_of_order_is_refused_and_what_begins_anew_is_not():
    assert faults((0.0, 0.0), (0.1, -0.2), (0.2, 0.1))[1] == (
        'stamped 0.2 s before the previous message'
    )
    assert faults((0.0, 0.0), (0.1, -0.2), (0.2, 0.1))[2] == ''
    # A sensor that was started again counts from its start, after a while.
    again = faults((0, 5e6), (0.1, 5e6 + 0.1), (0.2, 1e6), (0.8, 1e6 + 0.6), other_clock=True)
    assert [bool(fault) for fault in again] == [False, False, True, False]


def test_two_publishers_do_not_take_turns():
    late = [(0.1 * n + 0.05, 0.1 * n - 0.35) for n in range(20)]
    prompt = [(0.1 * n, 0.1 * n) for n in range(20)]
    mixed = sorted(late + prompt)
    found = dict(zip(mixed, faults(*mixed), strict=True))
    assert all(found[each] == '' for each in prompt)
    assert all(found[each] for each in late)


@pytest.mark.parametrize('stamps', ['auto', 'ignore'])
def test_what_has_no_stamp_cannot_stand_still(stamps):
    watch = StampChecker()
    for n in range(9):
        assert watch.fault_of(MessageTimes(NOW + n, math.nan), TIMEOUT, stamps) == ''
        zero = watch.fault_of(MessageTimes(NOW + n, 0.0), TIMEOUT, stamps, other_clock=True)
        assert zero == ''
