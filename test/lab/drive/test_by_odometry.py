"""Metres by odometry in the closed loop, and the person who drives while there are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.by_hand import (
    LET_GO_S,
    PATIENCE_S,
    SPEED_M_S,
    START_S,
    Help,
    Person,
)
from midas_depth_ros.lab.drive.in_process import (
    BEGIN_S,
    LoopOptions,
    ScanAvoidance,
    drive,
    make_sensor,
)
from midas_depth_ros.lab.drive.rig import DrivePlan, MetresTally
from midas_depth_ros.sim import furnished_world

AROUND = np.linspace(-math.pi, math.pi, 72, endpoint=False)
OPEN = np.full(72, 5.0)


def by(scale, seconds=6.0, seed=0, **plan):
    """Drive in a furnished room with exact depth; return outcome, help and tally."""
    settings = rig.node_settings(DrivePlan(scale=scale, **plan))
    sensor, person = make_sensor(settings, seed, None), Person(BEGIN_S)
    avoidance = ScanAvoidance(settings.avoidance)
    outcome = drive(
        furnished_world(seed), rig.ROBOT, LoopOptions(seconds=seconds), sensor, avoidance,
        settings.camera.robot, person,
    )  # fmt: skip
    return outcome, person.help, sensor.tally


def test_the_nodes_are_told_where_metres_come_from():
    given = {scale: rig.node_settings(DrivePlan(scale=scale)).depth for scale in rig.SCALES}
    assert [given[scale].scale.source for scale in rig.SCALES] == ['auto', 'odometry', 'auto']
    assert [given[scale].odometry.topic for scale in rig.SCALES] == ['', 'odom', 'odom']
    robot = rig.node_settings(DrivePlan(odometry_bias=0.05, slip=0.2)).camera.robot
    assert (robot.odometry_bias, robot.slip) == (0.05, 0.2)


def test_by_odometry_alone_it_starts_by_hand_and_then_has_metres():
    outcome, helped, tally = by('odometry')
    assert helped.times >= 1
    assert 0.05 <= helped.way_m < outcome.distance_m
    assert outcome.collisions == 0
    first = START_S * 5  # frames before the person starts
    assert tally.with_metres < tally.frames - first
    assert tally.with_metres > 0


def test_nobody_helps_and_nothing_moves_without_odometry_to_begin_with():
    settings = rig.node_settings(DrivePlan(scale='odometry'))
    outcome = drive(
        furnished_world(0), rig.ROBOT, LoopOptions(seconds=3.0), make_sensor(settings, 0, None),
        ScanAvoidance(settings.avoidance), settings.camera.robot,
    )  # fmt: skip
    assert outcome.distance_m == 0, 'what is not seen is not free'


def test_under_auto_the_floor_starts_it():
    outcome, helped, tally = by('auto', seconds=3.0)
    assert (helped.times, helped.way_m) == (0, 0.0)
    assert outcome.distance_m > 0.3
    assert tally.with_metres > 0.7 * tally.frames


@pytest.mark.parametrize('seed', [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_slip_is_not_published_as_metres_under_auto(seed):
    """By odometry alone it is: the test can fail."""
    _, _, tally = by('auto', 6.0, seed, slip=0.2)
    assert tally.far_off == 0
    # The other way round: what is too far lies below the floor, and corners on it show that.
    _, _, alone = by('odometry', 5.0, seed, slip=-0.3)
    assert alone.far_off > 0.5 * alone.with_metres > 0


def test_a_tally_judges_each_frame():
    tally = MetresTally()
    for off in (None, 0.05, -0.11, 0.3, math.nan):
        tally = tally.with_frame(off)
    assert tally == MetresTally(frames=5, with_metres=4, far_off=2, unjudged=1)
    assert tally.plus(tally) == MetresTally(10, 8, 4, 2)


def watched(person, times, ranges=OPEN):
    """Return its commands; the robot drives as the person commands."""
    commands, driven, before = [], 0.0, times[0]
    for time in map(float, times):
        last = commands[-1] if commands else None
        driven += last[0] * (time - before) if last else 0.0
        commands.append(person.command(time, AROUND, ranges, driven))
        before = time
    return commands


def test_the_person_starts_it_and_hands_over():
    person = Person(1.0)
    early = watched(person, np.arange(1.0, 1.0 + START_S - 0.05, 0.05))
    assert set(early) == {None}
    started = watched(person, np.arange(1.0 + START_S, 2.5, 0.05))
    assert set(started[1:]) == {(SPEED_M_S, 0.0)}
    way = person.help.way_m
    person.see_metres(2.5)
    assert watched(person, [2.5, 3.0]) == [None, None]
    assert person.help.times == 1
    assert way == pytest.approx(SPEED_M_S * (1.5 - START_S), abs=0.03)


def test_the_person_waits_before_taking_over_again():
    person = Person(1.0)
    person.see_metres(5.0)
    assert set(watched(person, np.arange(5.0, 5.0 + PATIENCE_S - 0.05, 0.1))) == {None}
    assert person.help.times == 0
    takes_over = 5.0 + PATIENCE_S + 0.05
    let_go = watched(person, np.arange(takes_over, takes_over + LET_GO_S - 0.05, 0.1))
    assert set(let_go) == {(0.0, 0.0)}, 'until the avoidance sends nothing any more'
    assert person.help.way_m == 0
    assert watched(person, [takes_over + LET_GO_S + 0.05]) == [(SPEED_M_S, 0.0)]


@pytest.mark.parametrize('side', [1.0, -1.0])
def test_the_person_turns_to_where_it_is_free(side):
    ranges = np.where(AROUND * side > 0.5, 4.0, 0.4)
    commands = watched(Person(1.0), np.arange(1.7, 2.0, 0.1), ranges)
    assert all(speed == 0.0 and turn * side > 0 for speed, turn in commands)


def test_the_person_does_not_drive_for_ever():
    person = Person(1.0)
    commands = watched(person, np.arange(1.7, 40.0, 0.1))
    assert None in commands[50:]
    assert person.help.times > 1
    assert person.help.without_metres_s > 30


def test_help_adds_up():
    assert Help(1, 0.5, 2.0).plus(Help(2, 0.25, 1.0)) == Help(3, 0.75, 3.0)


def test_the_command_says_what_a_person_did(tmp_path):
    told = [
        'drive', '--worlds', '1', '--seconds', '4', '--in-process', '--no-blind', '--scale',
        'odometry', '--odometry-bias', '0.02', '--slip', '0.05', '--worlds-are', 'furnished',
    ]  # fmt: skip
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 0, result.output
    assert 'times by hand: 1' in result.output
    assert 'scale: odometry' in result.output


@pytest.mark.parametrize('more', [['--depth', 'exact'], ['--depth', 'metres', '--in-process']])
def test_odometry_needs_pictures(more):
    result = CliRunner().invoke(main, ['drive', '--scale', 'auto', '--worlds', '1', *more])
    assert result.exit_code == 2
    assert '--scale auto needs pictures' in result.output
