"""Driving by the metres of a network, with neither the camera's height nor its pitch known."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import LoopOptions, ScanAvoidance, drive, make_sensor
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.sim import furnished_world, plain_world

SETTINGS = rig.node_settings(DrivePlan(depth='metres'))
SHORT = LoopOptions(seconds=12.0)


@pytest.mark.sampled
@pytest.mark.parametrize('metres_off', [0.87, 1.0, 1.15])
@pytest.mark.parametrize(('make', 'seed'), [(plain_world, 2), (furnished_world, 0)])
def test_the_floor_in_view_is_enough_to_avoid_everything(make, seed, metres_off):
    """Also where the metres are as wrong as a check against the floor would still allow."""
    world = make(seed)
    assert drive(world, rig.ROBOT, SHORT).collisions
    sensor = make_sensor(SETTINGS, seed, None, metres_off)
    avoiding = drive(world, rig.ROBOT, SHORT, sensor, ScanAvoidance(SETTINGS.avoidance))
    assert not avoiding.collisions
    assert avoiding.distance_m > 0.5, 'standing still is no avoidance'


def test_the_command_drives_in_one_process_only():
    metres = ['drive', '--depth', 'metres', '--worlds', '1']
    result = CliRunner().invoke(main, metres)
    assert result.exit_code == 2
    assert '--depth metres needs --in-process' in result.output
    short = ['--seconds', '2', '--in-process', '--no-blind', '--metres-off', '1.1']
    result = CliRunner().invoke(main, metres + short)
    assert result.exit_code == 0, result.output
    assert 'collisions: 0' in result.output
