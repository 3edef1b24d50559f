"""Turning on the spot beside known objects: corners stop; away from a contact is allowed."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from effort import some, tries
from poles import LIDAR, Pole, Sensor, drive, gap_to
from scans import points, wall

from midas_depth_ros.avoidance import (
    Avoidance,
    AvoidanceSettings,
    MessageTimes,
    SensorPlace,
    State,
    SteeringOptions,
)
from midas_depth_ros.avoidance.speed import turning_speed

SQUARE = AvoidanceSettings(
    robot_width=0.4,
    robot_front=0.2,
    robot_rear=0.2,
    sensor=SensorPlace(blind_range=0.0),
    source='scan',
)
LONG = dataclasses.replace(SQUARE, robot_width=0.3, robot_front=0.5, robot_rear=0.3)
STEERING = SteeringOptions(enabled=True)


def settled(options, view, linear=0.0, angular=0.5, steps=40):
    avoidance, now_s = Avoidance(options), 100.0
    for _ in range(steps):
        now_s += 0.05
        avoidance.see_scan(view, MessageTimes(now_s))
        avoidance.command(linear, angular, MessageTimes(now_s))
        decision = avoidance.step(now_s)
    return decision


@pytest.mark.sampled
@pytest.mark.parametrize('turn', [0.3, 1.5, -0.6, -1.5])
@pytest.mark.parametrize('bearing', some([1.2, -2.0, 2.0, -1.2, 1.57, -1.57]))
def test_the_corner_of_a_square_robot_stops_at_a_pole_beside_it(turn, bearing):
    away = 0.2 / abs(math.sin(bearing)) + 0.05 + 0.02
    pole = Pole(away * math.cos(bearing), away * math.sin(bearing), 0.02)
    found = drive(SQUARE, [pole], lambda _: (0.0, turn), 6.0, LIDAR)
    assert not found.hit
    assert found.gap > 0.005
    assert found.last is not None
    assert found.last.state is State.OBSTACLE
    assert 'a corner of the robot would touch something' in found.last.text
    back = drive(SQUARE, [pole], lambda t: (0.0, turn if t < 4 else -turn), 7.0, LIDAR)
    assert not back.hit
    assert back.turned > found.turned + 0.2


@pytest.mark.parametrize('seed', range(tries(4)))
def test_a_long_robot_turning_among_poles_hits_none(seed):
    rng = np.random.default_rng(seed)
    for _ in range(6):
        poles: list[Pole] = []
        while len(poles) < 5:
            bearing, away = rng.uniform(-math.pi, math.pi), rng.uniform(0.25, 0.8)
            pole = Pole(away * math.cos(bearing), away * math.sin(bearing), rng.uniform(0.02, 0.08))
            if gap_to((0.0, 0.0, 0.0), LONG, [pole]) > 0.03:
                poles.append(pole)
        turn, speed = rng.uniform(-1.5, 1.5), rng.choice([0.0, 0.0, 0.3])
        options = dataclasses.replace(LONG, steering=SteeringOptions(bool(rng.random() < 0.3)))
        found = drive(options, poles, lambda _, c=(speed, turn): c, 5.0, LIDAR)
        assert not found.hit, (poles, turn, speed)


def test_the_turning_rate_falls_as_a_corner_comes_near_and_is_free_where_nothing_is():
    assert settled(SQUARE, points(), angular=1.5).angular == 1.5
    for degrees, y in ((2, 0.2), (10, 0.2), (30, 0.2)):
        # A point on the circle of the front left corner, so far ahead of it.
        bearing = math.atan2(0.2, 0.2) + math.radians(degrees)
        radius = math.hypot(0.2, y) - 0.001
        view = points((radius * math.cos(bearing), radius * math.sin(bearing)))
        options = dataclasses.replace(SQUARE, side_margin=0.0)
        rate = settled(options, view, angular=1.5).angular
        assert rate == pytest.approx(
            min(1.5, turning_speed(math.radians(degrees), options)), rel=0.2
        )
        # Away from it, to the next corner.
        assert settled(options, view, angular=-1.5).angular < -1.2


def test_who_touches_something_may_turn_away_from_it():
    view = points((0.1, 0.195))  # it presses on the left side, before the middle
    assert settled(SQUARE, view, angular=0.5).angular == 0.0
    assert settled(SQUARE, view, angular=-0.5).angular == -0.5


def test_a_part_of_the_robot_in_the_scan_does_not_stop_it():
    assert settled(SQUARE, points((-0.1, 0.05), (-0.12, 0.0)), angular=0.5).angular == 0.5


def test_also_while_it_drives_and_while_it_is_steered():
    wall_beside = points(*((x / 100, 0.23) for x in range(-40, 40)))
    decision = settled(SQUARE, wall_beside, linear=0.3, angular=1.0)
    assert abs(decision.angular) < 0.6
    found = drive(
        dataclasses.replace(LONG, steering=STEERING),
        [Pole(1.2, 0.0, 0.05), Pole(0.2, 0.3, 0.03), Pole(0.2, -0.3, 0.03)],
        lambda _: (0.3, 0.0),
        6.0,
        LIDAR,
    )
    assert not found.hit


def test_what_was_seen_in_passing_counts_when_the_camera_looks_elsewhere():
    camera = Sensor()
    pole = Pole(0.75, 0.28, 0.02)
    found = drive(SQUARE, [pole], lambda t: (0.4, 0.0) if t < 2.8 else (0.0, 1.0), 4.5, camera)
    assert not found.hit
    assert 0.5 < found.distance < 1.0
    assert found.last is not None
    assert 'turning is blocked' in found.last.text
    assert found.last.angular < 0.1


def test_it_is_told_whether_turning_is_checked():
    assert settled(SQUARE, points()).turning_checked
    assert settled(SQUARE, points((0.5, 0.0))).turning_checked
    assert not settled(SQUARE, wall(math.inf)).turning_checked
    behind_a_wall = points(*((x / 1000, 0.21) for x in range(-150, 150)))
    assert not settled(SQUARE, behind_a_wall).turning_checked


def test_remembered_obstacles_stop_corners_when_the_scan_has_fallen_silent():
    avoidance, now_s = Avoidance(SQUARE), 100.0
    for step in range(60):
        now_s += 0.05
        if step < 10:
            avoidance.see_scan(points((0.1, 0.215)), MessageTimes(now_s))
        avoidance.command(0.0, 0.5, MessageTimes(now_s))
        decision = avoidance.step(now_s)
    assert decision.source == 'none'
    assert decision.angular < 0.1


@pytest.mark.parametrize('seed', range(tries(5)))
def test_a_robot_that_rolls_on_turns_where_it_stands_then_not_where_it_was_told_to_stand(seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        side, brakes_s = rng.choice([-1, 1]), rng.uniform(1.0, 2.0)
        # Seen from the start on, and beside the robot when it stands.
        poles = [
            Pole(rng.uniform(0.6, 1.4), side * rng.uniform(0.27, 0.45), 0.03) for _ in range(4)
        ]
        turn, options = rng.uniform(-1.5, 1.5), dataclasses.replace(LONG, acceleration=2.0)
        found = drive(
            options,
            poles,
            lambda t, s=brakes_s, w=turn: (1.0, 0.0) if t < s else (0.0, w),
            brakes_s + 3.0,
            Sensor(half_view=1.0, beams=120, late_steps=1),
            lag_steps=2,
            heavy=True,
        )
        assert not found.hit, (poles, brakes_s, turn)
        assert found.distance > 0.3


def test_a_robot_that_brakes_does_not_turn_into_a_curve_that_is_not_known():
    camera, options = (
        Sensor(half_view=0.35, beams=60),
        dataclasses.replace(SQUARE, acceleration=2.0),
    )
    avoidance, now_s, turned = Avoidance(options), 100.0, False
    view = camera.look((0.0, 0.0, 0.0), [], options)
    for step in range(60):
        now_s += 0.05
        avoidance.see_scan(view, MessageTimes(now_s))
        # A curve too tight to see its inside: it is turned on the spot.
        avoidance.command(*((1.0, 0.0) if step < 25 else (0.2, 1.8)), MessageTimes(now_s))
        decision = avoidance.step(now_s)
        # From 1 m/s it rolls for half a second, straight ahead as before.
        if 25 <= step < 33:
            assert decision.angular == 0.0, (step, decision)
        turned |= decision.angular > 1.0
        assert not (decision.linear and decision.angular)
    assert turned
