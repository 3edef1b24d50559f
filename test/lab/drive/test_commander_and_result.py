"""What is commanded, and how drives are summed up."""

from __future__ import annotations

import math

from midas_depth_ros.lab.drive.in_process import Commander
from midas_depth_ros.lab.drive.rig import DrivePlan, WorldResult, drive_line, summary
from midas_depth_ros.sim import DriveOutcome

HIT = DriveOutcome(collisions=2, distance_m=1.5, stops=1, min_clearance_m=0.0, seconds=4.0)
CLEAR = DriveOutcome(distance_m=6.25, stops=3, min_clearance_m=0.125, seconds=20.0)


def test_forward_all_the_time_and_turning_both_ways():
    times = [0.1 * number for number in range(600)]
    commander, other = Commander(3, 0.4, 60.0), Commander(4, 0.4, 60.0)
    commands = [commander.command(time) for time in times]
    assert {speed for speed, _ in commands} == {0.4}
    turns = [turn for _, turn in commands]
    assert min(turns) < -0.25
    assert max(turns) > 0.25
    assert 0.1 < turns.count(0.0) / len(turns) < 0.7
    assert max(map(abs, turns)) <= 0.9
    assert commands == [Commander(3, 0.4, 60.0).command(time) for time in times]
    assert commands != [other.command(time) for time in times]
    assert math.isfinite(commander.command(1e6)[1])


def test_the_worlds_of_a_plan():
    assert list(DrivePlan(worlds=3, seed=7).seeds) == [7, 8, 9]


def test_summary():
    results = [WorldResult(7, 'room', CLEAR, HIT), WorldResult(8, 'room', HIT, CLEAR)]
    found = summary(results, depth='exact')
    assert found['worlds'] == 2
    assert found['collisions'] == 1, 'a drive collides once at most'
    assert found['collisions_without_avoidance'] == 1
    assert found['distance_m'] == 7.75
    assert found['min_clearance_m'] == 0.0
    assert found['stops'] == 4
    assert found['collided'] == [8]
    assert (found['falls'], found['fell']) == (0, [])
    assert found['depth'] == 'exact'


def test_falls_are_told_apart_from_collisions():
    fell = DriveOutcome(distance_m=2.0, min_clearance_m=0.0, seconds=5.0, falls=1)
    found = summary([WorldResult(7, 'ramp', fell, fell), WorldResult(9, 'ramp', CLEAR, HIT)])
    assert (found['falls'], found['falls_without_avoidance'], found['fell']) == (1, 1, [7])
    assert (found['collisions'], found['collisions_without_avoidance']) == (0, 1)
    assert 'with avoidance: fell in 2.0 m' in drive_line(7, fell, True)
    assert summary([WorldResult(7, 'room', None, HIT)])['falls'] is None


def test_summary_of_what_was_left_out():
    found = summary([WorldResult(7, 'room', None, HIT)])
    assert found['collisions'] is None
    assert found['min_clearance_m'] is None
    assert found['collisions_without_avoidance'] == 1
    assert summary([WorldResult(7, 'room', CLEAR, None)])['collisions_without_avoidance'] is None


def test_a_drive_in_words():
    assert drive_line(7, HIT, False).startswith('world 7 without avoidance: collided in 1.5 m')
    assert 'with avoidance: no collision' in drive_line(7, CLEAR, True)
