"""benchmarks.driving: its commands are those it runs, and summaries of parts add up."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from click.testing import CliRunner

from benchmarks import driving
from midas_depth_ros.cli import drive as command
from midas_depth_ros.cli.main import main
from midas_depth_ros.lab.drive.rig import MetresTally, WorldResult, summary
from midas_depth_ros.sim import DriveOutcome


def every_plan():
    return [
        (name, plan)
        for name, of in driving.PLANS.items()
        for plan in of(3).values()
    ]  # fmt: skip


@pytest.mark.parametrize(('table', 'plan'), every_plan())
def test_a_row_names_the_command_that_does_it(monkeypatch, table, plan):
    taken = []
    monkeypatch.setattr(command, 'carry_out', lambda given, *_: taken.append(given) or {})
    words = driving.command_of(plan, table != 'over_dds')
    result = CliRunner().invoke(main, shlex.split(words))
    assert result.exit_code == 0, result.output
    (given,) = taken
    same = dataclasses.replace(given, model=plan.model) if plan.depth != 'model' else given
    assert same == plan


def test_every_source_is_driven_with_the_model_among_furniture():
    scales = {plan.scale for plan in driving.over_dds_plans(50).values() if plan.depth == 'model'}
    assert scales == {'floor', 'odometry', 'auto'}
    slipping = [plan for plan in driving.scale_plans(50).values() if plan.slip]
    assert {(plan.scale, plan.slip) for plan in slipping} == {('odometry', 0.2), ('auto', 0.2)}


def test_parts_merge_into_what_one_drive_would_have_said():
    hit = DriveOutcome(collisions=1, distance_m=1.5, stops=1, min_clearance_m=0.0, seconds=4.0)
    fell = DriveOutcome(distance_m=2.0, stops=2, min_clearance_m=0.1, seconds=8.0, falls=1)
    results = [WorldResult(3, 'a', hit, None), WorldResult(4, 'b', fell, None)]
    parts = [summary([each], depth='model', in_process=False) for each in results]
    assert driving.merged(parts) == summary(results, depth='model', in_process=False)


def test_what_one_part_does_not_know_the_whole_does_not_know():
    judged = MetresTally(frames=9, with_metres=8, far_off=2)
    unjudged = MetresTally(frames=9, with_metres=8, unjudged=8, seconds=3.0)
    drive = DriveOutcome(distance_m=1.0)
    parts = [
        summary([WorldResult(seed, 'a', drive, None, None, tally)])
        for seed, tally in enumerate([judged, unjudged])
    ]
    assert (parts[0]['frames_far_off'], parts[1]['frames_far_off']) == (2, None)
    whole = driving.merged(parts)
    assert (whole['frames'], whole['frames_with_metres']) == (18, 16)
    assert (whole['frames_far_off'], whole['frames_seconds']) == (None, None)


def test_collisions_and_falls_are_told_by_kind():
    found = {
        'collisions': 3, 'collided': [0, 1, 5], 'collisions_without_avoidance': 6,
        'falls': 1, 'fell': [2], 'falls_without_avoidance': None,
    }  # fmt: skip
    hazards = dataclasses.replace(driving.hazard_plans(8)['exact'], blind=True)
    assert driving.collisions(hazards, found) == (
        "**3** of 8 (arm's length 0 of 2; dark doors 1 of 2; glass doors 2 of 2; "
        'stairs down 0 of 2; blind 6 of 8)'
    )
    assert driving.falls(hazards, found) == '**1** of 8 (stairs down 1 of 2)'
    uneven = driving.ground_plans(2)['floor']
    of_uneven = {**found, 'fell': []}
    assert driving.collisions(uneven, of_uneven) == '**3** of 2'
    kinds = sorted(driving.kinds_of(uneven).values())
    assert driving.falls(uneven, of_uneven).count(' 0 of ') == len(set(kinds))
    furnished = driving.scale_plans(8)['floor']
    assert driving.falls(furnished, found) == '**1** of 8'
