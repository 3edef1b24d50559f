"""The avoidance as a whole: states by example, and what must always hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from effort import tries
from hypothesis import given, settings
from hypothesis import strategies as st
from scans import CENTRE, fields, points, wall

from midas_depth_ros.avoidance import (
    Avoidance,
    AvoidanceSettings,
    BadScan,
    ClosenessZones,
    Decision,
    MessageTimes,
    ScanView,
    SensorPlace,
    State,
    SteeringOptions,
    read_scan,
)

NAN, INF = math.nan, math.inf
STEP = 0.05
OPTIONS = AvoidanceSettings(
    robot_width=0.4,
    robot_front=0.2,
    robot_rear=0.2,
    stop_distance=0.4,
    slow_distance=1.4,
    sensor=CENTRE,
    resume_delay=0.0,
)
STEERING = dataclasses.replace(OPTIONS, steering=SteeringOptions(enabled=True))


class Driver:
    """Steps an avoidance with fresh data at every step by default."""

    def __init__(self, options: AvoidanceSettings = OPTIONS, start_s: float = 1000.0) -> None:
        self.avoidance = Avoidance(options)
        self.now_s = start_s

    def step(
        self,
        linear: float | None = 0.5,
        angular: float = 0.0,
        scan: ScanView | None = None,
        closeness: tuple[float, float, float] | None = None,
        late_s: float = 0.0,
    ) -> Decision:
        self.now_s += STEP
        moment = MessageTimes(self.now_s, self.now_s - late_s)
        if scan is not None:
            self.avoidance.see_scan(scan, moment)
        if closeness is not None:
            self.avoidance.see_closeness(*closeness, moment)
        if linear is not None:
            self.avoidance.command(linear, angular, MessageTimes(self.now_s))
        return self.avoidance.step(self.now_s)

    def steps(self, count: int, *args: Any, **kwargs: Any) -> Decision:
        for _ in range(count):
            decision = self.step(*args, **kwargs)
        return decision


def settled(options: AvoidanceSettings = OPTIONS, **inputs: Any) -> Decision:
    return Driver(options).steps(60, **inputs)


# --- what it does and says ---------------------------------------------------------------------


def test_a_free_way_is_driven_as_commanded():
    decision = settled(scan=wall(INF), angular=0.3)
    assert (decision.linear, decision.angular) == (0.5, 0.3)
    assert (decision.state, decision.source) == (State.CLEAR, 'scan')


def test_a_wall_in_the_slow_zone_slows_and_in_the_stop_zone_stops():
    slowing = settled(scan=wall(1.1))  # 0.9 m before the front: half way
    assert slowing.state is State.SLOWING
    assert slowing.linear == pytest.approx(0.25, abs=0.001)
    assert slowing.free_m == pytest.approx(0.9, abs=0.001)
    stopped = settled(scan=wall(0.5), angular=0.7)
    assert stopped.state is State.OBSTACLE
    assert (stopped.linear, stopped.angular) == (0.0, 0.7)
    assert settled(scan=wall(0.5)).text == 'free for 0.30 m'


def test_beside_the_corridor_is_no_obstacle_until_one_turns_to_it():
    view = points((0.8, 0.4))
    assert settled(scan=view).state is State.CLEAR
    assert settled(scan=view, angular=0.5).state is not State.CLEAR
    assert settled(scan=view, angular=-0.5).state is State.CLEAR


def test_without_data_nothing_goes_forward():
    driver = Driver()
    decision = driver.step()
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
    assert decision.text == 'scan: none yet; closeness: none yet'
    assert driver.steps(40, scan=wall(INF)).linear == 0.5
    decision = driver.steps(40, angular=0.4)
    assert (decision.linear, decision.angular) == (0.0, 0.4)
    assert decision.state is State.NO_DATA
    assert 'scan: silent for' in decision.text


def test_turning_without_data_can_be_forbidden():
    options = dataclasses.replace(OPTIONS, turn_without_data=False)
    assert settled(options, angular=0.4).angular == 0.0
    unknown = wall(ranges=np.full(121, NAN))
    assert settled(options, angular=0.4, scan=unknown).angular == 0.0
    assert settled(options, angular=0.4, scan=wall(0.5)).angular == 0.4


def test_a_scan_that_comes_late_by_its_stamp_is_none():
    assert settled(scan=wall(INF), late_s=0.7).linear == 0.5
    decision = settled(scan=wall(INF), late_s=0.9)
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
    assert 'late' in decision.text


def test_what_was_driven_since_the_scan_is_taken_off():
    driver = Driver()
    driver.steps(60, scan=wall(INF))
    driver.steps(11)  # 0.5 m/s, and no scan
    late = driver.step(scan=wall(2.0), late_s=0.5)
    assert late.free_m == pytest.approx(2.0 - 0.2 - 0.25, abs=0.001)


@pytest.mark.parametrize('share', [0.1, 0.5])
def test_a_corridor_with_too_many_unknown_beams_is_no_data(share):
    # One beam here and one there is unknown: nothing could hide there.
    bearings = np.linspace(-1, 1, 2001)
    blind = np.random.default_rng(1).random(2001) < share
    ranges = np.where(blind, NAN, 0.9 / np.cos(bearings))
    decision = settled(scan=read_scan(ranges, -1.0, 1.0, 0.001, 0.05, 8.0, CENTRE))
    assert decision.unknown_share == pytest.approx(share, abs=0.1)
    if decision.unknown_share <= OPTIONS.max_unknown:
        assert decision.linear > 0
    else:
        assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
        assert 'of the corridor unknown' in decision.text


@pytest.mark.sampled
@pytest.mark.parametrize('width', [0.03, 0.05, 0.1])
@pytest.mark.parametrize('aside', [-0.15, 0.0, 0.15])
def test_a_gap_as_wide_as_a_pole_is_no_data_however_small_its_share(width, aside):
    # The stop zone ends 0.6 m before the sensor; the robot is 0.4 m wide.
    bearings = np.linspace(-1, 1, 2001)
    blind = np.abs(0.6 * np.tan(bearings) - aside) < width / 2
    ranges = np.where(blind, NAN, 0.9 / np.cos(bearings))
    decision = settled(scan=read_scan(ranges, -1.0, 1.0, 0.001, 0.05, 8.0, CENTRE))
    assert decision.unknown_share < OPTIONS.max_unknown
    assert (decision.linear > 0) == (width < OPTIONS.smallest_obstacle)
    if not decision.linear:
        assert decision.state is State.NO_DATA
        side = 'to the left' if aside > 0 else 'to the right' if aside < 0 else ''
        assert 'm of the corridor unknown, 0.40 m ahead' in decision.text
        assert side in decision.text


def test_a_scan_that_looks_elsewhere_is_no_data():
    aside = read_scan(np.full(100, INF), 1.0, 1.99, 0.01, 0.05, 8.0, CENTRE)
    assert settled(scan=aside).state is State.NO_DATA


def test_what_a_short_sighted_sensor_does_not_see_is_not_free():
    decision = settled(scan=wall(INF, range_max=0.5))
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
    assert 0 < settled(scan=wall(INF, range_max=1.1)).linear < 0.5


@pytest.mark.parametrize('left_over', [0, 40], ids=['no beam', 'beams aside'])
def test_who_sees_nothing_ahead_any_more_does_not_go_on_by_what_he_remembers(left_over):
    """Fresh, well-stamped scans that know nothing of the way count as silence."""
    driver = Driver()
    seen = wall(math.inf)
    assert driver.steps(60, scan=seen).linear > 0.4
    ranges = np.full(seen.ranges.shape, math.nan)
    ranges[:left_over] = seen.ranges[:left_over]
    blind = read_scan(
        ranges, seen.angle_min, seen.angle_min + seen.increment * (len(ranges) - 1),
        seen.increment, 0.05, seen.reach_m, seen.place,
    )  # fmt: skip
    driver.steps(round((OPTIONS.timeout + 0.5) / STEP), scan=blind)
    for _ in range(100):
        assert driver.step(scan=blind).linear == 0.0


def test_a_scan_that_withdraws_what_was_seen_stops_the_robot_at_once():
    """The metres of the last scans were found to be wrong: nothing of them counts any more."""
    unknown = fields()
    unknown['ranges'] = np.full(len(unknown['ranges']), NAN)
    blind = read_scan(**unknown, place=CENTRE)
    withdrawn = read_scan(**unknown, place=CENTRE, seen_free=np.zeros(len(unknown['ranges'])))
    braking = math.ceil(0.5 / OPTIONS.stop_deceleration / STEP) + 1
    assert braking * STEP < OPTIONS.timeout
    for scan, linear in ((withdrawn, 0.0), (blind, pytest.approx(0.5, abs=0.2))):
        driver = Driver()
        driver.steps(60, scan=wall(INF))
        assert driver.steps(braking, scan=scan).linear == linear
    driver = Driver()
    driver.steps(60, scan=wall(INF))
    driver.steps(braking, scan=withdrawn)
    assert driver.steps(60, scan=wall(INF)).linear == 0.5  # what is seen anew counts


def camera(ranges: np.ndarray, turn: float = 0.0) -> ScanView:
    """161 beams over 92 degrees."""
    place = dataclasses.replace(CENTRE, yaw=turn)
    return read_scan(ranges, -0.8, 0.8, 0.01, 0.02, 6.0, place)


BEARINGS = np.linspace(-0.8, 0.8, 161)


@pytest.mark.parametrize(
    'covered',
    [
        BEARINGS > -0.03,
        BEARINGS < 0.2,
        np.abs(BEARINGS) > 0.05,
        (BEARINGS > -0.03) & (BEARINGS < 0.7),
    ],
    ids=['the left and the middle', 'the right and the middle', 'both sides', 'the middle'],
)
def test_a_view_that_goes_blind_anywhere_on_the_way_stops_the_robot(covered):
    """What the sensor looked along a moment ago and does not know now is not out of its view."""
    driver = Driver()
    driver.steps(60, scan=camera(np.full(161, INF)))
    braking = math.ceil(0.5 / OPTIONS.stop_deceleration / STEP) + 2
    blind = camera(np.where(covered, NAN, INF))
    decision = driver.steps(braking, scan=blind)
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
    assert driver.steps(60, scan=blind).linear == 0.0
    assert driver.steps(60, scan=camera(np.full(161, INF))).linear == 0.5


@pytest.mark.parametrize(
    'how', ['another number of beams', 'a trembling transform', 'one that trembles about pi']
)
def test_a_view_is_remembered_though_no_two_scans_are_alike(how):
    driver, braking = Driver(), math.ceil(0.5 / OPTIONS.stop_deceleration / STEP) + 2
    for number in range(60 + braking):
        count = 161 - (number % 2 if how == 'another number of beams' else 0)
        bearings = np.linspace(-0.8, 0.8, count)
        ranges = np.where((bearings > -0.03) & (number >= 60), NAN, INF)
        turn, first = 1e-6 * (number % 2) if how == 'a trembling transform' else 0.0, -0.8
        if how == 'one that trembles about pi':  # of a sensor that is mounted the wrong way round
            turn, first = (-1) ** number * math.pi, math.pi - 0.8
        place = dataclasses.replace(CENTRE, yaw=turn)
        view = read_scan(ranges, first, first + 1.6, 1.6 / (count - 1), 0.02, 6.0, place)
        decision = driver.step(scan=view)
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)


def test_the_border_of_a_view_may_waver():
    driver = Driver()
    for number in range(100):
        border = 0.8 if number % 3 else 0.7
        driver.step(scan=camera(np.where(np.abs(BEARINGS) > border, NAN, INF)))
        assert number < 30 or driver.step(linear=None).linear == 0.5


def test_steering_turns_no_faster_than_allowed():
    options = dataclasses.replace(STEERING, max_turn_rate=0.2)
    ahead = np.where((BEARINGS < 0.3), 0.9 / np.cos(BEARINGS), INF)
    driver = Driver(options)
    rates = [driver.step(linear=0.3, angular=0.1, scan=camera(ahead)).angular for _ in range(60)]
    assert max(map(abs, rates)) == 0.2


@pytest.mark.parametrize('remembered_m', [0.45, 3.0])
def test_turning_without_data_can_be_forbidden_whatever_is_remembered(remembered_m):
    options = dataclasses.replace(OPTIONS, turn_without_data=False)
    driver = Driver(options)
    driver.steps(20, linear=0.0, angular=0.8, scan=camera(np.full(161, remembered_m)))
    blind = camera(np.full(161, NAN))
    late = math.ceil(options.timeout / STEP) + 1
    decision = driver.steps(late, linear=0.0, angular=0.8, scan=blind)
    assert (decision.angular, decision.state) == (0.0, State.NO_DATA)
    assert 'nothing' in decision.text or 'unknown' in decision.text


def test_auto_prefers_a_fresh_scan_and_falls_back_to_closeness():
    far, near = (0.0, 0.0, 0.0), (0.0, 0.9, 0.0)
    assert settled(scan=wall(INF), closeness=near).linear == 0.5
    decision = settled(scan=wall(0.5), closeness=far)
    assert (decision.linear, decision.source) == (0.0, 'scan')
    driver = Driver()
    driver.steps(40, scan=wall(INF), closeness=far)
    decision = driver.steps(40, closeness=far)
    assert (decision.linear, decision.source) == (0.2, 'closeness')
    # A scan that says it does not know is not overruled.
    blind = wall(ranges=np.full(121, NAN))
    assert settled(scan=blind, closeness=far).state is State.NO_DATA


def test_a_chosen_source_is_the_only_one():
    only_scan = dataclasses.replace(OPTIONS, source='scan')
    assert settled(only_scan, closeness=(0.0, 0.0, 0.0)).state is State.NO_DATA
    only_closeness = dataclasses.replace(OPTIONS, source='closeness')
    assert settled(only_closeness, scan=wall(INF)).state is State.NO_DATA


@pytest.mark.parametrize(
    ('values', 'state'),
    [
        ((0.0, 0.0, 0.0), State.SLOWING),  # max_speed of closeness is below the command
        ((0.0, 0.4, 0.0), State.SLOWING),
        ((0.0, 0.7, 0.0), State.OBSTACLE),
        ((0.95, 0.0, 0.0), State.OBSTACLE),
        ((0.0, 0.0, 0.95), State.OBSTACLE),
        ((NAN, NAN, NAN), State.NO_DATA),
        ((0.0, 0.0, NAN), State.NO_DATA),
        ((0.0, -1.0, 0.0), State.NO_DATA),
        ((0.0, INF, 0.0), State.OBSTACLE),
    ],
)
def test_closeness_alone(values, state):
    decision = settled(closeness=values)
    assert decision.state is state
    assert (decision.linear > 0) == (state is State.SLOWING)


def test_a_command_that_stops_arriving_stops_the_robot():
    driver = Driver()
    assert driver.steps(40, scan=wall(INF), angular=0.4).silent is False
    decision = driver.steps(9, linear=None, scan=wall(INF))
    assert decision.linear == 0.5
    decision = driver.steps(10, linear=None, scan=wall(INF))
    assert (decision.linear, decision.angular) == (0.0, 0.0)
    assert (decision.state, decision.silent) == (State.NO_COMMAND, False)
    assert driver.steps(30, linear=None, scan=wall(INF)).silent
    assert not driver.step(linear=0.5, scan=wall(INF)).silent


@pytest.mark.parametrize('how', ['same stamp', 'older', 'late', 'of another clock'])
def test_a_stop_counts_whatever_its_stamp_is(how):
    driver = Driver()
    driver.steps(40, scan=wall(INF))
    given = MessageTimes(driver.now_s, driver.now_s)
    driver.avoidance.command(0.5, 0.3, given)
    stamp_s = {
        'same stamp': given.stamp_s,
        'older': given.stamp_s - 0.1,
        'late': given.stamp_s - 5.0,
        'of another clock': 3.0,
    }[how]
    again = MessageTimes(driver.now_s + 0.01, stamp_s)
    assert driver.avoidance.command(0.5, 0.3, again)  # to drive on, it would have to be new
    assert driver.avoidance.command(0.0, 0.0, again) == ''
    decision = driver.step(linear=None, scan=wall(INF))
    assert (decision.linear, decision.angular) == (0.0, 0.0)
    driver.steps(3, linear=0.5, scan=wall(INF))
    assert driver.step(linear=0.5, scan=wall(INF)).linear > 0.0


@pytest.mark.sampled
@pytest.mark.parametrize('rate', [1.0, 2.0, 5.0, 20.0])
@pytest.mark.parametrize('reaction', [0.0, 0.2, 0.5])
@pytest.mark.parametrize('commanded', [0.5, 1.0, 3.0])
def test_the_stop_zone_is_kept_however_seldom_it_decides_and_late_the_wheels_are(
    rate, reaction, commanded
):
    """It decides once a period; the wheels obey one reaction time later, and brake as they can."""
    options = dataclasses.replace(OPTIONS, rate=rate, reaction_time=reaction, max_speed=5.0)
    options = dataclasses.replace(options, timeout=3.0, command_timeout=3.0)
    avoidance, step_s = Avoidance(options), 0.01
    most = options.stop_deceleration * step_s
    on_the_way = [0.0] * round(reaction / step_s)
    free, rolling, sent = 3.4, 0.0, 0.0
    for number in range(1800):
        now_s = 1000.0 + number * step_s
        if number % round(1 / rate / step_s) == 0:
            avoidance.see_scan(wall(free + options.robot_front), MessageTimes(now_s, now_s))
            avoidance.command(commanded, 0.0, MessageTimes(now_s))
            sent = avoidance.step(now_s).linear
        on_the_way.append(sent)
        rolling = max(on_the_way.pop(0), rolling - most)
        free -= rolling * step_s
        within = options.stop_distance - free
        assert within < (0.01 if max(reaction, 0.2) * commanded <= 0.2 else 0.13)
    assert within > -0.06  # and it went there
    assert rolling == 0.0


def test_nothing_is_sent_before_the_first_command():
    decision = Driver().steps(3, linear=None, scan=wall(INF))
    assert (decision.state, decision.silent) == (State.NO_COMMAND, True)


@pytest.mark.parametrize(('linear', 'angular'), [(NAN, 0.0), (0.5, NAN), (INF, 0.0), (0.1, -INF)])
def test_a_command_that_is_no_number_stops(linear, angular):
    driver = Driver()
    driver.steps(40, scan=wall(INF), angular=0.2)
    decision = driver.steps(10, linear, angular, scan=wall(INF))
    assert (decision.linear, decision.angular) == (0.0, 0.0)
    assert decision.state is State.BAD_COMMAND


def test_backing_up_goes_as_far_as_it_is_seen_behind_and_slowly():
    assert settled(linear=-0.5, scan=points()).linear == -0.15
    assert settled(linear=-0.1, scan=points()).linear == -0.1
    assert settled(linear=-0.5, scan=points((-0.5, 0.0))).linear == 0.0
    assert settled(linear=-0.5, scan=points((-3.0, 0.0))).linear == -0.15
    assert settled(linear=-0.5, angular=0.5, scan=points((-0.55, -0.15))).linear == 0.0
    forbidden = dataclasses.replace(OPTIONS, allow_reverse=False)
    decision = settled(forbidden, linear=-0.5, angular=0.2, scan=points())
    assert (decision.linear, decision.angular) == (0.0, 0.2)
    assert (decision.state, 'allow_reverse' in decision.text) == (State.BAD_COMMAND, True)


@pytest.mark.sampled
@pytest.mark.parametrize(
    'inputs', [{}, {'scan': wall(0.5)}, {'scan': wall(INF)}, {'closeness': (0.0, 0.0, 0.0)}]
)
def test_nobody_backs_up_where_nobody_looks_unless_told_to(inputs):
    for angular in (0.0, 0.4):
        decision = settled(linear=-0.5, angular=angular, **inputs)
        assert decision.linear == 0.0
        assert decision.state is State.NO_DATA
    blind = dataclasses.replace(OPTIONS, blind_reverse_speed=0.04)
    assert settled(blind, linear=-0.5, **inputs).linear == -0.04
    assert settled(blind, linear=-0.02, **inputs).linear == -0.02


def test_one_may_back_up_a_little_to_where_one_has_just_come_from():
    driver = Driver()
    driver.steps(60, scan=wall(INF))  # 1.3 m
    driver.steps(4, linear=-0.5, scan=wall(INF))
    assert driver.step(linear=-0.5, scan=wall(INF)).linear == pytest.approx(-0.125)
    way = sum(-driver.step(linear=-0.5, scan=wall(INF)).linear * STEP for _ in range(100))
    assert 0.1 < way < 1.3 - OPTIONS.robot_front - OPTIONS.robot_rear - OPTIONS.stop_distance
    assert driver.step(linear=-0.5, scan=wall(INF)).linear == 0.0


def test_who_stopped_wants_more_room_and_time_before_going_on():
    options = dataclasses.replace(OPTIONS, resume_margin=0.1, resume_delay=0.3)
    driver = Driver(options)
    driver.steps(40, scan=wall(0.55))
    assert driver.steps(40, scan=wall(0.65)).linear == 0.0
    assert driver.steps(5, scan=wall(0.75)).linear == 0.0
    assert driver.steps(3, scan=wall(0.75)).linear > 0.0
    assert driver.steps(40, scan=wall(0.65)).linear > 0.0  # now the margin is not wanted


def test_a_clock_that_goes_back_starts_anew():
    driver = Driver()
    driver.steps(40, scan=wall(INF))
    driver.now_s -= 500.0
    decision = driver.step(linear=None)
    assert (decision.linear, decision.state) == (0.0, State.NO_DATA)
    assert driver.steps(40, scan=wall(INF)).linear == 0.5


def test_a_late_step_is_no_leap():
    driver = Driver()
    driver.steps(2, scan=wall(INF))
    driver.now_s += 30.0
    assert driver.step(scan=wall(INF)).linear <= 0.05 + 0.2 * OPTIONS.acceleration


@pytest.mark.parametrize('linear', [1.5, 50.0, 1e308])
def test_nobody_goes_faster_than_the_top_speed_and_than_he_sees(linear):
    options = dataclasses.replace(OPTIONS, max_speed=0.8)
    assert settled(options, linear=linear, scan=points()).linear == 0.8
    options = dataclasses.replace(OPTIONS, max_speed=10.0, slow_distance=0.5, acceleration=9.0)
    for reach in (1.0, 2.0, 3.5):
        view = wall(INF, range_max=reach, beams=1001)
        speed = settled(options, linear=linear, scan=view).linear
        way = speed * options.reaction_time + speed**2 / (2 * options.stop_deceleration)
        room = reach - options.robot_front - options.stop_distance
        assert way <= room + 1e-6
        # Less what the beams lose in rings and sections.
        assert way > 0.75 * room or speed == linear
    turning = settled(linear=0.0, angular=-max(linear, 3.0), scan=points())
    assert turning.angular == -OPTIONS.max_turn_rate


@pytest.mark.sampled
@pytest.mark.parametrize('sight_m', [1.0, 2.0, 4.0])
@pytest.mark.parametrize('commanded', [0.5, 2.5, 1e308])
def test_a_wall_beyond_sight_is_never_hit_however_fast_one_is_told_to_go(sight_m, commanded):
    options = dataclasses.replace(OPTIONS, max_speed=5.0, acceleration=3.0)
    driver, where, wall_at = Driver(options), 0.0, 8.0
    for _ in range(400):
        away = wall_at - where
        scan = wall(away if away < sight_m else INF, range_max=sight_m, beams=161)
        where += driver.step(commanded, scan=scan, late_s=0.1).linear * STEP
        assert wall_at - where > options.robot_front
    assert where > 1.0


def test_without_a_command_or_numbers_there_are_no_odd_options():
    for name in ('stop_distance', 'timeout', 'max_speed', 'memory', 'stop_deceleration'):
        for value in (NAN, INF, -1.0):
            with pytest.raises(ValueError, match=name):
                dataclasses.replace(OPTIONS, **{name: value})
    with pytest.raises(ValueError, match=r'slow_distance 0\.3 is not above'):
        dataclasses.replace(OPTIONS, slow_distance=0.3)
    with pytest.raises(ValueError, match='x: NaN is not accepted'):
        SensorPlace(x=NAN)


def test_what_a_scan_has_seen_still_counts_when_only_closeness_is_left():
    far = (0.0, 0.0, 0.0)
    driver = Driver()
    driver.steps(20, scan=wall(0.55), closeness=far)
    decision = driver.steps(30, closeness=far)
    assert (decision.linear, decision.source) == (0.0, 'closeness')
    assert 'a scan showed an obstacle' in decision.text
    assert settled(closeness=far).linear == 0.2


@pytest.mark.parametrize('angular', [0.5, -0.5])
def test_by_closeness_a_tight_curve_is_turned_on_the_spot(angular):
    decision = settled(closeness=(0.0, 0.0, 0.0), angular=angular)
    assert (decision.linear, decision.angular) == (0.0, angular)
    assert (decision.state, 'never in view' in decision.text) == (State.NO_DATA, True)
    assert settled(closeness=(0.0, 0.0, 0.0), angular=angular / 10).linear == 0.2


# --- steering ----------------------------------------------------------------------------------


@pytest.mark.parametrize('side', [1, -1])
def test_steering_turns_toward_the_gap(side):
    posts = points(*((0.9, side * (y / 100)) for y in range(-20, 80, 2)))
    assert settled(scan=posts).angular == 0.0
    decision = settled(STEERING, scan=posts)
    assert decision.angular * side < 0
    assert abs(decision.angular) <= STEERING.steering.max_rate
    assert settled(STEERING, scan=wall(INF), angular=0.1).angular == 0.1


def test_steering_keeps_to_its_side_where_both_are_alike():
    driver = Driver(STEERING)
    signs = set()
    for step in range(60):
        wobble = 0.01 * (-1) ** step
        post = points(*((0.8, y / 100 + wobble) for y in range(-25, 26, 2)))
        signs.add(math.copysign(1, driver.step(scan=post).angular))
    assert len(signs) == 1


def test_steering_does_not_turn_into_the_unknown():
    bearings = np.linspace(-1.5, 1.5, 301)
    ranges = np.where(bearings > 0.5, NAN, np.where(bearings > -0.4, 0.9, INF))
    view = read_scan(ranges, -1.5, 1.5, 0.01, 0.05, 8.0, CENTRE)
    assert settled(STEERING, scan=view).angular < 0


def test_a_camera_without_a_gap_in_view_turns_to_the_more_open_side_and_stays_with_it():
    bearings = np.linspace(-0.55, 0.55, 111)
    driver = Driver(STEERING)
    for ranges in (np.where(bearings < -0.3, 0.8, 0.5), np.where(bearings > 0.3, 0.8, 0.5)):
        decision = driver.steps(20, scan=wall(half_angle=0.55, beams=111, ranges=ranges))
        assert (decision.linear, decision.angular) == (0.0, -STEERING.steering.max_rate)


@pytest.mark.parametrize('side', [1, -1])
def test_a_camera_steers_within_its_narrow_view(side):
    bearings = np.linspace(-0.55, 0.55, 111)
    view = wall(half_angle=0.55, beams=111, ranges=np.where(bearings * side < 0.05, 1.0, INF))
    assert settled(STEERING, scan=view).angular * side > 0.1


def test_steering_does_not_wait_before_what_is_hardly_free():
    # Just enough room to count as free, and too little to go on after a stop: turn round.
    options = dataclasses.replace(STEERING, resume_margin=0.05)
    driver = Driver(options)
    driver.steps(5, scan=wall(0.55))
    for _ in range(20):
        decision = driver.step(scan=wall(0.2 + 0.4 + 0.051))
    assert abs(decision.angular) > 0.3


def test_steering_looks_round_in_a_dead_end_and_only_on_the_way_forward():
    decision = settled(STEERING, scan=wall(0.5))
    assert (decision.linear, abs(decision.angular)) == (0.0, STEERING.steering.max_rate)
    assert settled(STEERING, scan=wall(0.5), linear=0.0).angular == 0.0
    assert settled(STEERING).angular == 0.0


def test_steering_by_closeness_turns_from_the_nearer_side():
    assert settled(STEERING, closeness=(0.8, 0.7, 0.1)).angular < 0
    assert settled(STEERING, closeness=(0.1, 0.7, 0.8)).angular > 0
    assert settled(STEERING, closeness=(NAN, 0.7, 0.8)).angular == 0.0


# --- what must hold whatever comes -------------------------------------------------------------

numbers = st.floats(-3, 3)
anything = st.floats(allow_nan=True, allow_infinity=True)
options_of_all_kinds = st.builds(
    dataclasses.replace,
    st.sampled_from([OPTIONS, STEERING]),
    slow_by=st.sampled_from(['distance', 'time']),
    stop_distance=st.floats(0.1, 0.6),
    slow_distance=st.floats(0.7, 3.0),
    acceleration=st.floats(0.1, 3.0),
    deceleration=st.floats(0.1, 3.0),
    stop_deceleration=st.floats(0.5, 5.0),
    resume_delay=st.sampled_from([0.0, 0.3]),
    allow_reverse=st.booleans(),
    turn_without_data=st.booleans(),
    robot_front=st.floats(0.05, 0.4),
)
walls = st.one_of(st.floats(0.06, 4.0), st.just(INF))
events = st.lists(
    st.fixed_dictionaries(
        {
            'linear': st.one_of(st.none(), numbers, st.just(0.5), st.just(NAN)),
            'angular': numbers,
            'scan': st.one_of(st.none(), walls.map(wall)),
            'closeness': st.one_of(
                st.none(), st.tuples(*[st.one_of(st.floats(0, 2), st.just(NAN))] * 3)
            ),
            'late_s': st.floats(0.0, 1.2),
        }
    ),
    max_size=30,
)


@settings(max_examples=tries(60), deadline=None)
@given(options_of_all_kinds, events)
def test_never_faster_than_commanded_and_never_harder_than_allowed(options, events):
    driver = Driver(options)
    before = Decision(0.0, 0.0, State.NO_DATA, '', '')
    commanded: tuple[float, float] | None = None
    for event in events:
        decision = driver.step(**event)
        if event['linear'] is not None:
            commanded = (event['linear'], event['angular'])
        linear = commanded[0] if commanded else 0.0
        assert math.isfinite(decision.linear)
        assert math.isfinite(decision.angular)
        if decision.linear > 0 and not math.isnan(linear):
            assert decision.linear <= linear
        rise = abs(decision.linear) - abs(before.linear)
        assert rise <= options.acceleration * STEP + 1e-9
        # A lower command takes effect at once; further braking is by the avoidance.
        asked = before.linear if math.isnan(linear) else min(before.linear, max(linear, 0.0))
        braked = asked - decision.linear
        obeyed = decision.linear in (0.0, linear) and linear < before.linear
        if decision.linear >= 0 and not obeyed:
            assert braked <= options.stop_deceleration * STEP + 1e-9
        assert abs(decision.angular) - abs(before.angular) <= (
            options.angular_acceleration * STEP + 1e-9
        )
        if decision.state in (State.OBSTACLE, State.NO_DATA, State.NO_COMMAND, State.BAD_COMMAND):
            slowed = max(0.0, before.linear - options.stop_deceleration * STEP)
            assert decision.linear <= slowed + 1e-9
        before = decision


@settings(max_examples=tries(40), deadline=None)
@given(options_of_all_kinds, st.floats(0.01, 0.99), numbers, st.floats(0.01, 3.0), st.booleans())
def test_from_rest_never_forward_into_the_stop_zone(options, share, angular, linear, straight):
    sensor_to_wall = options.robot_front + share * options.stop_distance
    driver = Driver(options)
    for _ in range(20):
        decision = driver.step(linear, 0.0 if straight else angular, scan=wall(sensor_to_wall))
        assert decision.linear == 0.0


@settings(max_examples=tries(40), deadline=None)
@given(options_of_all_kinds, st.floats(0.1, 3.0), st.floats(0.1, 3.0), st.floats(0.0, 2.0))
def test_a_farther_wall_is_never_slower(options, linear, near, further):
    options = dataclasses.replace(options, steering=SteeringOptions())
    drivers = Driver(options), Driver(options)
    for _ in range(15):
        slow = drivers[0].step(linear, scan=wall(near)).linear
        fast = drivers[1].step(linear, scan=wall(near + further)).linear
        assert slow <= 1.05 * fast + 1e-9  # what is known is asked for in steps


@settings(max_examples=tries(40), deadline=None)
@given(
    st.lists(anything, max_size=9),
    anything,
    anything,
    st.tuples(anything, anything, anything),
    st.tuples(anything, anything),
    anything,
    anything,
    st.booleans(),
)
def test_no_number_whatever_comes_out_as_nan_or_forward_without_sight(
    ranges, low, step, closeness, command, received, stamp, steering
):
    avoidance = Avoidance(STEERING if steering else OPTIONS)
    for now_s in (1.0, 1.05, 1.1, 0.5, 0.55):
        for make in (ranges, [INF, NAN, -INF, 0.0, 1.0]):
            try:
                view = read_scan(make, low, low + step * (len(make) - 1), step, 0.1, 9.0)
            except BadScan:
                continue
            avoidance.see_scan(view, MessageTimes(received, stamp))
        avoidance.see_closeness(*closeness, MessageTimes(received, stamp))
        avoidance.command(*command, MessageTimes(now_s))
        decision = avoidance.step(now_s)
        assert math.isfinite(decision.linear)
        assert math.isfinite(decision.angular)
        assert decision.linear <= 0 or decision.source != 'none'
        assert decision.linear <= max(command[0], 0.0) or decision.linear == 0


@pytest.mark.thorough
@settings(max_examples=16, deadline=None)
@given(
    st.floats(0.8, 2.5),
    st.floats(0.4, 2.0),
    st.floats(0.0, 0.3),
    st.integers(1, 6),
    st.sampled_from(['distance', 'time']),
)
def test_driving_at_a_wall_with_late_and_rare_scans_ends_before_it(
    gap, speed, late_s, every, slow_by
):
    """The wheels respond 0.1 s late; the front stays at least half the stop zone away."""
    driver = Driver(dataclasses.replace(OPTIONS, slow_by=slow_by))
    past, sent, where = [0.0], [0.0, 0.0], 0.0
    for step in range(500):
        scan = None
        if step % every == 0:
            then = past[max(0, len(past) - 1 - round(late_s / STEP))]
            scan = wall(gap + OPTIONS.robot_front - then)
        sent.append(driver.step(speed, scan=scan, late_s=late_s).linear)
        where += sent[-3] * STEP
        past.append(where)
        assert gap - where > OPTIONS.stop_distance / 2
        if step > 40 and not any(sent[-20:]):
            break
    assert sent[-1] == 0.0
    assert gap - where < OPTIONS.stop_distance + 0.1


def test_closeness_zones_of_the_options_are_used():
    zones = ClosenessZones(stop=0.2, slow=0.1, side_stop=0.3, max_speed=0.1)
    options = dataclasses.replace(OPTIONS, closeness=zones)
    assert settled(options, closeness=(0.0, 0.0, 0.0)).linear == 0.1
    assert settled(options, closeness=(0.0, 0.25, 0.0)).state is State.OBSTACLE


def test_fields_of_the_helper_are_a_scan():
    assert len(read_scan(**fields()).ranges) == 121
