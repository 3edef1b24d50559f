"""How old a message is, whatever clocks there are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.control.freshness import Moment, age_of

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
        (0.1, -5.0, 0.1, ''),  # another clock: only the time of receipt counts
        (0.6, -5.0, 0.6, 'silent for 0.6 s'),
        (0.1, 1e6, 0.1, ''),
        (0.6, 1e6, 0.6, 'silent for 0.6 s'),
        (0.1, NOW, 0.1, ''),  # no stamp
        (0.1, math.nan, 0.1, ''),
        (-0.1, 0.3, math.inf, 'the clock went back'),
        (math.nan, 0.3, math.inf, 'the clock went back'),
    ],
)
def test_age(received_ago, stamped_ago, seconds, fault):
    age = age_of(Moment(NOW - received_ago, NOW - stamped_ago), NOW, TIMEOUT)
    assert age.seconds == pytest.approx(seconds, abs=1e-6)
    assert age.fault == fault


@pytest.mark.parametrize('stamped_ago', [-5.0, 1e6, NOW, math.nan])
def test_who_requires_stamps_refuses_those_of_another_clock(stamped_ago):
    moment = Moment(NOW - 0.1, NOW - stamped_ago)
    assert 'another clock' in age_of(moment, NOW, TIMEOUT, 'require').fault
    assert age_of(moment, NOW, TIMEOUT, 'ignore').fault == ''


def test_who_ignores_stamps_takes_what_is_late():
    moment = Moment(NOW - 0.1, NOW - 3.0)
    assert age_of(moment, NOW, TIMEOUT).fault
    assert age_of(moment, NOW, TIMEOUT, 'require').fault
    assert age_of(moment, NOW, TIMEOUT, 'ignore').fault == ''


def test_it_was_measured_when_it_was_stamped_if_the_clocks_agree():
    assert Moment(NOW, NOW - 0.2).measured_s('auto') == NOW - 0.2
    assert Moment(NOW, NOW + 0.1).measured_s('auto') == NOW  # not in the future
    assert Moment(NOW, NOW - 0.2).measured_s('ignore') == NOW
    assert Moment(NOW, NOW - 1e5).measured_s('auto') == NOW
    assert Moment(NOW).measured_s('auto') == NOW


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, anything, anything, st.sampled_from(['auto', 'require', 'ignore']))
def test_what_came_long_ago_is_never_fresh(received, stamp, now, stamps):
    age = age_of(Moment(received, stamp), now, TIMEOUT, stamps)
    assert not math.isnan(age.seconds)
    assert age.seconds >= 0
    if not age.fault:
        assert 0 <= now - received <= TIMEOUT
