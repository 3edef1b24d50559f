"""The verdict: never safe with too little data, nor where one frame would have ended in a thing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
from std_msgs.msg import Header

from midas_depth_ros.lab.evaluate.frames import Beams, FrameRecord, compare_floor
from midas_depth_ros.lab.evaluate.summary import (
    corridor_figures,
    judged_beams,
    scan_figures,
    sigma_figures,
)
from midas_depth_ros.lab.evaluate.truth import FloorTruth
from midas_depth_ros.lab.evaluate.verdict import (
    LEAST_MOMENTS,
    Driving,
    Trials,
    upper_bound,
    verdict_of,
)
from midas_depth_ros.nodes.ros.messages import range_message, scan_message
from midas_depth_ros.options.avoidance import AvoidanceSettings

ROBOT = Driving((0.4, 0.8), 0.6, 2.0, 0.2, interval_s=0.2, latency_s=0.1)
LONG = LEAST_MOMENTS + 1


def verdict(frames, driving=ROBOT):
    return verdict_of(Trials.of_frames(frames, 6.0), driving)


def kinds(frames, driving=ROBOT):
    return [row['verdict'] for row in verdict(frames, driving)['speeds']]


def test_the_way_to_standstill():
    # 0.55 s until the wheels brake, 0.05 s of them until avoidance_node decides; then v^2 / 2a.
    assert ROBOT.braking_m(0.4) == pytest.approx(0.4 * 0.55 + 0.04)
    assert ROBOT.braking_m(0.8) == pytest.approx(0.8 * 0.55 + 0.16)
    settings = AvoidanceSettings(stop_deceleration=2.0, reaction_time=0.2)
    assert ROBOT.decision_s + ROBOT.reaction_s == pytest.approx(settings.response_s)


def test_frames_are_processed_one_after_the_other(frame):
    """A network that takes a second gives a frame per second, however often pictures come."""
    late = dataclasses.replace(ROBOT, latency_s=1.0)
    assert late.braking_m(0.4) == pytest.approx(0.4 * (1.0 + 1.0 + 0.05 + 0.2) + 0.04)
    frames = [frame(n, 1.9, 1.9 + 0.75) for n in range(LONG)]
    found = verdict([*frames, *(frame(n, 1.2, 1.3) for n in range(LONG))], late)
    assert [row['verdict'] for row in found['speeds']] == ['unsafe', 'unsafe']
    assert (found['latency_s'], found['interval_s']) == (1.0, 1.0)


def test_nothing_is_safe_without_data(frame):
    assert kinds([]) == ['unknown', 'unknown']
    short = [frame(0.1 * n, 0.7, 0.7) for n in range(10 * (LEAST_MOMENTS - 1))]
    assert kinds(short) == ['unknown', 'unknown']
    assert 'nothing can be said' in verdict(short)['text']


def test_many_frames_of_one_moment_are_one_moment(frame):
    assert kinds([frame(5.0 + 0.001 * n, 0.7, 0.7) for n in range(900)]) == ['unknown'] * 2


def test_an_open_field_says_nothing(frame):
    assert kinds([frame(n, math.inf, math.inf) for n in range(LONG)]) == ['unknown'] * 2
    assert kinds([frame(n, 4.0, 4.0) for n in range(LONG)]) == ['unknown'] * 2


def test_silence_is_no_trial(frame):
    assert kinds([frame(n, 0.7, math.nan) for n in range(LONG)]) == ['unknown'] * 2


def test_metres_that_hold_are_safe(frame):
    found = verdict([frame(n, 0.7, 0.7) for n in range(LONG)])
    assert [row['verdict'] for row in found['speeds']] == ['safe', 'safe']
    assert found['text'] == (
        'Stopping 0.6 m before things is safe at 0.4 and 0.8 m/s, as far as this recording shows.'
    )


@pytest.mark.parametrize('said', [1.35, 6.0, math.inf])
def test_one_frame_that_ends_in_a_thing_is_enough(frame, said):
    frames = [frame(n, 0.7, 0.7) for n in range(LONG)] + [frame(LONG, 0.7, said)]
    assert kinds(frames) == ['unsafe', 'unsafe']


def test_too_near_is_never_unsafe(frame):
    assert kinds([frame(n, 0.9, 0.3) for n in range(LONG)]) == ['safe', 'safe']


def test_the_same_error_in_percent_is_unsafe_at_the_higher_speed_alone(frame):
    # Reaches: 0.84 and 1.16 m. 60 % too far is 0.504 m at the one and 0.696 m at the other.
    frames = [frame(n, 1.5, 1.6 * 1.5) for n in range(LONG)]
    found = verdict(frames)
    assert [row['verdict'] for row in found['speeds']] == ['safe', 'unsafe']
    assert found['text'] == (
        'Stopping 0.6 m before things is safe at 0.4 m/s, as far as this recording shows; it is '
        'not safe at 0.8 m/s.'
    )
    assert found['speeds'][1]['failures'] == LONG


def test_what_is_needed_is_enough(frame):
    frames = [frame(n, 1.5, 1.6 * 1.5) for n in range(LONG)] + [frame(0, 0.8, 0.8)]
    needed = verdict(frames)['speeds'][1]['needed_stopping_distance_m']
    enough = Driving((0.8,), needed, 2.0, 0.2, interval_s=0.2, latency_s=0.1)
    less = Driving((0.8,), needed - 0.05, 2.0, 0.2, interval_s=0.2, latency_s=0.1)
    assert (kinds(frames, enough), kinds(frames, less)) == (['safe'], ['unsafe'])


def test_what_is_needed_is_not_shorter_than_what_was_seen(frame):
    for nearest in (0.7, 1.3):
        frames = [frame(n, nearest, nearest) for n in range(LONG)]
        slow, fast = verdict(frames)['speeds']
        reach = slow['needed_stopping_distance_m'] + slow['braking_m']
        assert nearest <= reach < nearest + 0.05
        assert fast['needed_stopping_distance_m'] == slow['needed_stopping_distance_m']


def test_things_that_were_never_near_make_nothing_safe(frame):
    # Twice the reaches are 1.68 and 2.31 m: no speed is better than a lower one.
    found = verdict([frame(n, 1.9, 1.9) for n in range(LONG)])
    assert [row['verdict'] for row in found['speeds']] == ['unknown', 'unknown']
    assert found['speeds'][0]['why'].startswith('something stood within 1.7 m in only 0 seconds')
    assert found['speeds'][1]['why'] == 'a lower speed is not known'


def test_no_speed_is_better_than_a_lower_one(frame):
    # Only things beyond 2 m: in reach of the faster robot alone.
    fast = Driving((0.4, 2.5), 0.6, 2.0, 0.2, interval_s=0.2, latency_s=0.1)
    assert fast.braking_m(2.5) + 0.6 > 3.0
    assert kinds([frame(n, 2.5, 2.5) for n in range(LONG)], fast) == ['unknown', 'unknown']


def test_no_failure_in_a_minute_is_no_proof_for_an_hour():
    assert upper_bound(LEAST_MOMENTS) == pytest.approx(0.0487, abs=1e-4)  # about 3 / n


def test_tapes_give_trials_where_there_is_no_corridor(frame):
    frames = [frame(n, 0.7, 0.72) for n in range(LONG)]
    for each in frames:
        each.corridor_true = math.nan
    found = verdict(frames)
    assert found['of'] == 'the measured pixels'
    assert [row['verdict'] for row in found['speeds']] == ['safe', 'safe']


def test_tapes_to_pixels_count_beside_those_along_the_corridor(frame):
    """One bearing in a table of pixels does not make them all go."""
    frames = [frame(n, 0.7, 6.0) for n in range(LONG)]
    for each in frames[1:]:
        each.corridor_true = each.corridor_said = math.nan
    frames[0].corridor_said = 0.7
    found = verdict_of(Trials.of_frames(frames, 6.0, taped=True), ROBOT)
    assert found['of'] == 'the corridor ahead or the measured pixels'
    assert [row['trials'] for row in found['speeds']] == [LONG + 1] * 2
    assert [row['verdict'] for row in found['speeds']] == ['unsafe', 'unsafe']
    # Of a sensor's returns only the corridor counts, also where nothing is said of it.
    for each in (frames, [dataclasses.replace(frames[0], corridor_said=math.nan)]):
        trials = Trials.of_frames(each, 6.0)
        assert trials.of == 'the corridor ahead'
        assert trials.failures(0.6, 1.0) == 0


def test_a_sigma_of_nothing_is_not_left_out():
    """Who claims to be exact and is not is off by more than any sigma."""
    true = np.full(100, 2.0, np.float32)
    said, sigma = true.copy(), np.zeros(100, np.float32)
    said[:40] = 2.5
    record = FrameRecord(0, 0.0, z_true=true, z_said=said, sigma=sigma)
    found = sigma_figures([record])
    assert (found['pixels'], found['within_1'], found['within_2']) == (100, 0.6, 0.6)


def test_a_beam_that_reports_something_says_free_up_to_it():
    """So avoidance takes it: a wall at 4 m behind a thing at 2 m is a false clear."""
    said = np.array([4.0, 4.0, 4.0, 2.1, np.nan, np.inf], np.float32)
    seen = np.array([np.nan, 1.5, 0.0, np.nan, 1.5, 6.0], np.float32)
    two = np.full(6, 2.0, np.float32)
    beams = Beams(np.zeros(6, np.float32), said, seen, two, two)
    claim, false_clear, _, _ = judged_beams([FrameRecord(0, 0.0, beams=beams)], 6.0)
    assert claim.tolist() == [True, True, False, True, True, True]
    assert false_clear.tolist() == [True, True, False, False, False, True]


def beside(ahead_m: float, said_m: float, begins_m: float, time_s: float = 0.0) -> FrameRecord:
    """A thing stands `ahead_m` ahead; scan and proximity say `said_m`, inf = clear, NaN: silent."""
    ranges = np.full(3, said_m, np.float32)
    scan = scan_message(ranges, -0.1, 0.1, (0.1, 6.0), Header())
    messages = [('/camera/scan', scan)]
    if not math.isnan(said_m):
        messages.append(('/camera/proximity', range_message(said_m, (0.1, 6.0), 0.2, Header())))
    record = FrameRecord(0, time_s, away_s=0.0)
    floor = FloorTruth(np.array([[ahead_m, 0.0]]), np.zeros((0, 2)), 0.1, False)
    compare_floor(record, floor, messages, 0.4, begins_m)
    return record


@pytest.mark.parametrize('said', [1.5, math.inf])
def test_a_thing_at_the_feet_is_in_the_way_of_who_says_free(said):
    frames = [beside(0.22, said, 0.4)]
    assert kinds(frames) == ['unsafe', 'unsafe']
    assert corridor_figures(frames, 6.0)['false_clear'] == 1
    found = scan_figures(frames, 6.0)
    assert found['false_clear'] == found['beams_that_say_free'] == 1


def test_who_says_nothing_of_a_thing_at_the_feet_has_not_failed():
    frames = [beside(0.22, math.nan, 0.4, n) for n in range(LONG)]
    assert kinds(frames) == ['unknown', 'unknown']
    found = corridor_figures(frames, 6.0)
    assert (found['frames'], found['silent'], found['false_clear']) == (LONG, LONG, 0)


@pytest.mark.parametrize(('begins', 'alarms'), [(0.0, 1), (0.4, 0)])
def test_how_near_a_thing_at_the_feet_is_no_camera_can_tell(begins, alarms):
    """What is reported nearer is neither a false alarm there nor a bias."""
    frames = [beside(0.35, 0.2, begins)]
    assert corridor_figures(frames, 6.0)['false_alarm'] == alarms
    assert scan_figures(frames, 6.0)['false_alarm'] == alarms
    close = [beside(0.35, 0.3, begins)]
    known = corridor_figures(close, 6.0)['bias'], scan_figures(close, 6.0)['range_bias']
    assert [each is None for each in known] == [not alarms] * 2
    assert kinds(frames) == ['unknown', 'unknown']
