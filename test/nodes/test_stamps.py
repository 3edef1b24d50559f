"""Stamps that cannot be right, told apart from those that only look so."""

from __future__ import annotations

import itertools
import random

import pytest

from midas_depth_ros.nodes.depth.camera_input import Frame
from midas_depth_ros.nodes.depth.stamps import BURST, RateBound, RestartDetector, StampJudge

NOW_S = 1_790_000_000.0
HZ = 30.0


def judged(stamps_s, receipts_s=None, clocks_s=None, simulated=False, paced=True):
    """The last verdict about frames with these stamps; received at HZ unless told otherwise."""
    judge = StampJudge(paced)
    for number, stamp_s in enumerate(stamps_s):
        received_s = receipts_s[number] if receipts_s is not None else number / HZ
        clock_s = clocks_s[number] if clocks_s is not None else NOW_S + received_s
        judge.add(round(stamp_s * 1e9), 500.0 + received_s, round(clock_s * 1e9), simulated)
    return judge.verdict


def live(seconds=4.0):
    return [NOW_S + number / HZ for number in range(int(seconds * HZ))]


def interleaved(one, other):
    return list(itertools.chain.from_iterable(zip(one, other, strict=True)))


RANDOM = random.Random(3)
WRONG = {
    'no stamps': ([0.0] * 120, 'no stamps (0)'),
    'still': ([NOW_S] * 120, 'stand still at 1790000000.000'),
    'creeping': ([NOW_S + number / 1000 for number in range(120)], 'advance by 0.03 s'),
    'slow': ([NOW_S + number / HZ / 3 for number in range(120)], 'advance by 0.333 s'),
    'fast': ([NOW_S + 5 * number / HZ for number in range(120)], 'advance by 5 s'),
    'huge steps': ([NOW_S + 1000 * number for number in range(120)], 'advance by 3e+04 s'),
    'back': ([NOW_S - number / HZ for number in range(120)], 'stamps go back (9'),
    'random': ([NOW_S + RANDOM.uniform(-90, 90) for _ in range(120)], 'out of order'),
    'two far apart': (interleaved(live(2), [s - 50 for s in live(2)]), 'two sequences'),
    'two close together': (interleaved(live(2), [s - 0.05 for s in live(2)]), 'two sequences'),
    'two, one without stamps': (interleaved(live(2), [0.0] * 60), 'two sequences'),
    'many jumps': (
        [NOW_S + number / HZ - (number // 20) * 20 for number in range(120)],
        'went back',
    ),
}


@pytest.mark.parametrize('name', WRONG)
def test_stamps_that_do_not_tell_time_are_named_with_a_remedy(name):
    stamps_s, words = WRONG[name]
    verdict = judged(stamps_s)
    assert words in verdict.text
    assert not verdict.tells_time
    assert 'throttled by receipt' in verdict.text
    assert ': ' in verdict.text.partition('by receipt')[2], 'a remedy'


@pytest.mark.parametrize(
    ('off_s', 'words'),
    [
        (-1.5, '1.50 s behind'),
        (1.5, '1.50 s ahead of'),
        (-86400 * 30, '30.0 days behind'),
        (7200.5, '2.0 hours ahead of'),
        (-NOW_S - 5, 'days behind'),
    ],
)
def test_stamps_far_from_the_clock_are_said_but_still_tell_time(off_s, words):
    verdict = judged([stamp + off_s for stamp in live()])
    assert words in verdict.text
    assert 'synchronise' in verdict.text
    assert verdict.tells_time


def right() -> dict[str, dict]:
    noise = random.Random(5)
    stalled = [n / HZ if n < 60 else max(3.5, n / HZ) for n in range(150)]
    return {
        'a camera': {'stamps_s': live()},
        'jitter of arrival': {
            'stamps_s': live(),
            'receipts_s': [n / HZ + noise.uniform(0, 0.2) for n in range(120)],
        },
        'a stall, and what came meanwhile in a burst': {
            'stamps_s': [NOW_S + n / HZ for n in range(150)],
            'receipts_s': stalled,
        },
        'every frame twice': {'stamps_s': [NOW_S + n // 2 * 2 / HZ for n in range(120)]},
        'a clock that is set back once': {
            'stamps_s': [NOW_S + n / HZ - (0.9 if n > 60 else 0) for n in range(120)]
        },
        'a clock that is set forward once': {
            'stamps_s': [NOW_S + n / HZ - (30 if n < 60 else 0) for n in range(120)]
        },
        'one frame in four seconds': {
            'stamps_s': [NOW_S + 4 * n for n in range(10)],
            'receipts_s': [4.0 * n for n in range(10)],
        },
        'a late camera': {'stamps_s': [stamp - 0.7 for stamp in live()]},
    }


@pytest.mark.parametrize('name', right())
def test_stamps_that_only_look_odd_are_right(name):
    verdict = judged(**right()[name])
    assert verdict.text == ''
    assert verdict.tells_time


@pytest.mark.parametrize('speed', [0.1, 1.0, 10.0])
def test_a_simulated_clock_is_what_stamps_are_measured_by(speed):
    stamps_s = [100 + speed * number / HZ for number in range(120)]
    clocks_s = [stamp_s + 0.01 for stamp_s in stamps_s]
    assert judged(stamps_s, clocks_s=clocks_s, simulated=True).text == ''
    creeping = [100 + speed * number / HZ / 20 for number in range(120)]
    verdict = judged(creeping, clocks_s=clocks_s, simulated=True)
    assert 'advance by 0.05 s in a second of /clock' in verdict.text
    assert not verdict.tells_time


def test_a_simulated_clock_that_stands_still_is_said_and_stamps_still_rule():
    verdict = judged(live(), clocks_s=[0.0] * 120, simulated=True)
    assert 'no time on /clock for 3 s' in verdict.text
    assert 'use_sim_time' in verdict.text
    assert verdict.tells_time


def test_a_bag_that_loops_with_its_clock_is_right():
    stamps_s = [100 + number % 45 / HZ for number in range(180)]
    assert judged(stamps_s, clocks_s=stamps_s, simulated=True).text == ''


def test_a_replay_is_judged_by_its_order_alone():
    receipts_s = [number / 1000 for number in range(3000)]
    stamps_s = [7 + number / HZ for number in range(3000)]
    assert judged(stamps_s, receipts_s, paced=False).text == ''
    verdict = judged([7.0] * 3000, receipts_s, paced=False)
    assert 'stand still' in verdict.text
    assert 'by the time of receipt' not in verdict.text


def test_what_was_wrong_is_forgotten_when_stamps_are_right_again():
    still_then_right = [NOW_S] * 120 + [NOW_S + 4 + number / HZ for number in range(120)]
    assert judged(still_then_right).text == ''


# --- new beginnings -----------------------------------------------------------------------------


def beginnings(stamps):
    restarts = RestartDetector()
    told = [restarts.add(stamp) for stamp in stamps]
    return sum(back for back, _ in told), [n for n, (_, restart) in enumerate(told) if restart]


def test_a_loop_and_a_clock_that_was_set_are_new_beginnings():
    assert beginnings([n % 50 for n in range(200)]) == (3, [50, 100, 150])
    assert beginnings([*range(1000, 1100), *range(10, 200)]) == (1, [100])


@pytest.mark.parametrize('ratio', [1, 2, 7, 30])
def test_two_senders_are_not_a_new_beginning_with_every_frame(ratio):
    """One sends `ratio` times as often as the other, which is a minute behind."""
    ahead = itertools.count(100_000, 33)
    stamps = []
    for number in range(300):
        stamps += [next(ahead) for _ in range(ratio)]
        stamps.append(40_000 + 33 * ratio * number)
    back, restarts = beginnings(stamps)
    assert back == 300
    assert len(restarts) <= 2


def test_random_stamps_are_not_a_new_beginning_with_every_frame():
    rng = random.Random(1)
    back, restarts = beginnings([rng.randrange(10**12) for _ in range(1000)])
    assert back > 400
    assert len(restarts) <= 3


def test_once_the_second_sender_is_gone_a_loop_is_a_new_beginning_again():
    mixed = interleaved(range(1000, 1100), range(100))
    _, restarts = beginnings([*mixed, *range(1100, 1300), *range(50)])
    assert restarts[-1] == len(mixed) + 200


# --- what bounds the rate, and the time of a frame ------------------------------------------------


@pytest.mark.parametrize('max_rate', [0.5, 5.0, 100.0])
def test_no_more_than_the_rate_passes_however_many_come(max_rate):
    bound = RateBound()
    passed = sum(bound.passes(number / 1000, max_rate) for number in range(20_000))
    assert max_rate * 20 - 1 <= passed <= max_rate * 20 * 1.03 + BURST


def test_a_camera_at_the_rate_loses_nothing_to_jitter():
    rng = random.Random(2)
    bound = RateBound()
    arrivals = sorted(number / 5 + rng.uniform(0, 0.15) for number in range(500))
    assert all(bound.passes(arrival, 5.0) for arrival in arrivals)


def test_without_a_rate_everything_passes_and_a_clock_set_back_locks_nobody_out():
    bound = RateBound()
    assert all(bound.passes(1.0, 0.0) for _ in range(100))
    assert sum(bound.passes(100 + number / 10, 5.0) for number in range(50)) >= 24
    assert sum(bound.passes(number / 10, 5.0) for number in range(50)) >= 24


def test_the_time_of_a_frame_is_that_of_its_receipt_while_stamps_tell_none():
    assert Frame('a', None, 7_500_000_000, 3.0).time_s == 7.5
    assert Frame('a', None, 7_500_000_000, 3.0, tells_time=False).time_s == 3.0
