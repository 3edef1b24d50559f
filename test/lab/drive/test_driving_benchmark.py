"""benchmarks.driving: its commands are those it runs, and summaries of parts add up."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from click.testing import CliRunner

from benchmarks import driving
from midas_depth_ros.cli import drive as command
from midas_depth_ros.cli.main import main
from midas_depth_ros.lab.drive.rig import WorldResult, summary
from midas_depth_ros.sim import DriveOutcome


def every_plan():
    return [
        (name, plan)
        for name, of in driving.PLANS.items()
        for plan in of(3)
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
    scales = {plan.scale for plan in driving.over_dds_plans(50) if plan.depth == 'model'}
    assert scales == {'floor', 'odometry', 'auto'}
    slipping = [plan for plan in driving.scale_plans(50) if plan.slip]
    assert {(plan.scale, plan.slip) for plan in slipping} == {('odometry', 0.2), ('auto', 0.2)}


@pytest.mark.parametrize(('worlds', 'parallel'), [(50, 2), (5, 3), (1, 4)])
def test_shares_cover_all_worlds_once(worlds, parallel):
    seeds = [
        seed
        for first, count in driving._shares(worlds, parallel)
        for seed in range(first, first + count)
    ]
    assert seeds == list(range(worlds))


def test_parts_merge_into_what_one_drive_would_have_said():
    hit = DriveOutcome(collisions=1, distance_m=1.5, stops=1, min_clearance_m=0.0, seconds=4.0)
    fell = DriveOutcome(distance_m=2.0, stops=2, min_clearance_m=0.1, seconds=8.0, falls=1)
    results = [WorldResult(3, 'a', hit, None), WorldResult(4, 'b', fell, None)]
    parts = [summary([each], depth='model', in_process=False) for each in results]
    assert driving.merged(parts) == summary(results, depth='model', in_process=False)
