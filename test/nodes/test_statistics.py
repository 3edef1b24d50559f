"""Counts, rates, times and silence of a camera, on a clock that the test turns."""

import collections
import time

import pytest

from midas_depth_ros.nodes.depth.frame_statistics import CameraStatistics, ProcessorUse, Times


class Hands:
    """A clock whose hands the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def statistics(clock):
    return CameraStatistics(clock)


def test_median_and_p95_are_of_the_latest_window():
    times = Times()
    assert times.summary() is None
    for milliseconds in [5000] * 50 + list(range(1, 201)):
        times.add(milliseconds / 1e3)
    assert times.summary() == pytest.approx((100.5, 190), abs=1)


def test_times_that_another_thread_clears_meanwhile_are_none():
    """An exception in the timer of the diagnostics would end the node."""

    class Cleared(collections.deque):
        def __iter__(self):
            self.clear()
            return super().__iter__()

    times = Times()
    times._values = Cleared([1.0])
    assert times.summary() is None


def test_rates_are_of_the_last_seconds(statistics, clock):
    for step in range(100):
        clock.now += 0.1
        statistics.received()
        if step % 5 == 0:
            statistics.processed(0.05, 0.06, 0.02)
    rate_in, rate_out = statistics.rates()
    assert rate_in == pytest.approx(10, rel=0.05)
    assert rate_out == pytest.approx(2, rel=0.05)
    clock.now += 20
    assert statistics.rates() == (0, 0)


def test_the_rate_right_after_start_is_not_diluted(statistics, clock):
    for _ in range(20):
        clock.now += 0.1
        statistics.received()
    assert statistics.rates()[0] == pytest.approx(10, rel=0.05)


def test_silence_counts_from_the_last_image_or_from_the_watch(statistics, clock):
    clock.now += 3
    assert statistics.silent_for() == pytest.approx(3)
    statistics.received()
    assert statistics.silent_for() == 0
    clock.now += 60
    statistics.watch()
    clock.now += 1
    assert statistics.silent_for() == pytest.approx(1)


def test_a_fault_is_counted_and_fades(statistics, clock):
    statistics.fault('rejected', 'step 3 is too small')
    assert statistics.counts.rejected == 1
    assert statistics.recent_fault() == 'step 3 is too small'
    clock.now += 10
    assert statistics.recent_fault() == ''
    assert statistics.last_fault == 'step 3 is too small'


def test_processor_use_is_that_since_the_last_question(clock):
    busy = Hands()
    use = ProcessorUse(clock, busy)
    clock.now, busy.now = clock.now + 2.0, busy.now + 0.5
    assert use.percent() == 25
    clock.now, busy.now = clock.now + 1.0, busy.now + 1.5  # two threads
    assert use.percent() == 150
    assert use.percent() == 0  # asked twice at one moment


def test_processor_use_counts_this_process():
    use = ProcessorUse()
    ends = time.process_time() + 0.05
    while time.process_time() < ends:
        pass
    assert use.percent() > 0
