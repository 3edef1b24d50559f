"""When pictures are due, which ones pass, and what /clock says: plain numbers."""

from __future__ import annotations

import pytest

from midas_depth_ros.nodes.sources.image_stream import ClockTrack, Pacer, Thinner

MS = 1_000_000


def test_recorded_times_are_kept() -> None:
    pacer = Pacer(0.0, None)
    pacer.start_pass()
    assert [pacer.due_s(t * MS, 0.0) for t in (0, 100, 450)] == pytest.approx([0.0, 0.1, 0.45])


def test_the_next_pass_follows_at_the_last_interval() -> None:
    pacer = Pacer(0.0, None)
    pacer.start_pass()
    for t in (0, 100, 450):
        pacer.due_s(t * MS, 0.0)
    pacer.start_pass()
    assert [pacer.due_s(t * MS, 0.0) for t in (0, 100)] == pytest.approx([0.8, 0.9])


@pytest.mark.parametrize(
    ('rate', 'source_rate', 'period'), [(4.0, 25.0, 0.25), (0.0, 25.0, 0.04), (0.0, None, 0.1)]
)
def test_rates(rate: float, source_rate: float | None, period: float) -> None:
    pacer = Pacer(rate, source_rate)
    dues = []
    for _ in range(2):
        pacer.start_pass()
        dues += [pacer.due_s(None, 0.0) for _ in range(3)]
    assert dues == pytest.approx([i * period for i in range(6)])


def test_a_rate_overrules_recorded_times() -> None:
    pacer = Pacer(2.0, None)
    pacer.start_pass()
    assert [pacer.due_s(t * MS, 0.0) for t in (0, 10, 900)] == pytest.approx([0.0, 0.5, 1.0])


def test_a_single_picture_in_a_loop_keeps_its_rate() -> None:
    pacer = Pacer(0.0, None)
    dues = []
    for _ in range(3):
        pacer.start_pass()
        dues.append(pacer.due_s(None, 0.0))
    assert dues == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize('time_ns', [None, 100 * MS])
def test_after_a_long_stall_nothing_is_caught_up(time_ns: int | None) -> None:
    pacer = Pacer(0.0, 10.0)
    pacer.start_pass()
    pacer.due_s(None if time_ns is None else 0, 0.0)
    assert pacer.due_s(time_ns, 50.0) == pytest.approx(50.0)
    assert pacer.due_s(time_ns and 2 * time_ns, 50.0) == pytest.approx(50.1)


DAYS_30 = 30 * 86400


def test_a_long_gap_of_the_recording_is_skipped() -> None:
    pacer = Pacer(0.0, None)
    pacer.start_pass()
    dues, skipped = [], []
    for t_ms in (0, 100, 200, 300 + DAYS_30 * 1000, 400 + DAYS_30 * 1000):
        dues.append(pacer.due_s(t_ms * MS, 0.0))
        skipped.append(pacer.skipped_s)
    assert dues == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert skipped == pytest.approx([0.0, 0.0, 0.0, DAYS_30, 0.0])


def test_a_recording_that_begins_late_begins_at_once() -> None:
    pacer = Pacer(0.0, None)
    pacer.start_pass()
    assert pacer.due_s(300_000 * MS, 0.0) == 0.0
    assert pacer.due_s(300_100 * MS, 0.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ('times_s', 'next_pass_s'),
    [
        ((0.0, 0.1, 0.2, 30.2), 30.3),  # a gap that is waited for
        ((0.0, 0.1, 0.2, 0.3 + DAYS_30), 0.4),  # one that is skipped
        ((0.0, 10.0, 20.0), 30.0),  # a picture every ten seconds
        ((0.0, 2.0), 4.0),
    ],
)
def test_a_gap_is_not_the_usual_interval(times_s: tuple[float, ...], next_pass_s: float) -> None:
    pacer = Pacer(0.0, None)
    pacer.start_pass()
    for time_s in times_s:
        pacer.due_s(round(time_s * 1000) * MS, 0.0)
    pacer.start_pass()
    assert pacer.due_s(0, 0.0) == pytest.approx(next_pass_s)


def test_a_little_late_is_caught_up() -> None:
    pacer = Pacer(0.0, 10.0)
    pacer.start_pass()
    pacer.due_s(None, 0.0)
    assert pacer.due_s(None, 0.5) == pytest.approx(0.1)
    assert pacer.due_s(None, 0.5) == pytest.approx(0.2)


def test_thinner_keeps_the_rate_and_the_count() -> None:
    thinner = Thinner(10.0)
    passed = [i / 30 for i in range(90) if thinner.passes(i / 30)]
    assert len(passed) == 30
    assert passed[:3] == pytest.approx([0.0, 0.1, 0.2])
    jittering = Thinner(30.0)
    assert all(jittering.passes(i / 30 + (i % 2) * 1e-4) for i in range(90))
    everything = Thinner(0.0)
    assert all(everything.passes(0.0) for _ in range(3))


def test_thinner_does_not_make_up_for_silence() -> None:
    thinner = Thinner(10.0)
    assert thinner.passes(0.0)
    assert thinner.passes(5.0)
    assert not thinner.passes(5.05)


def test_clock_passes_evenly_and_never_ahead() -> None:
    track = ClockTrack()
    assert track.time_ns(0.0) == 0
    track.approach(1000, 0.0)
    assert track.time_ns(0.0) == 1000
    track.approach(2000, 0.5)
    assert [track.time_ns(t) for t in (0.0, 0.25, 0.5, 9.0)] == [1000, 1500, 2000, 2000]


def test_clock_stands_while_stamps_jump_back() -> None:
    track = ClockTrack()
    track.approach(5000, 0.0)
    track.approach(1000, 0.5)
    assert [track.time_ns(t) for t in (0.1, 0.4)] == [5000, 5000]
    assert track.time_ns(0.5) == 1000
    track.approach(2000, 1.0)
    assert track.time_ns(0.75) == 1500
