"""What the wheels report: the truth where they roll truly, else exactly the error put in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import Box, DrivenRobot, PlainWorld, RobotModel, Scene, moving_scene
from midas_depth_ros.sim.robot.odometry import PATCH_S
from midas_depth_ros.sim.robot.plain_world import LAP_M, PathOdometry

START = (1.0, -2.0, 0.4)


def robot(*solids, start=START, seed=0, **wheels):
    world = PlainWorld(Scene(solids=solids), start, 'test', seed)
    return DrivenRobot(world, RobotModel(), wheels=RobotSettings(**wheels))


def drive(robot, seconds, speed=0.4, turn=0.0, weave=0.0):
    """Return (reported, true) motions, every 50 ms."""
    motions = []
    start = robot.motion.time_s
    for number in range(1, round(seconds / 0.05) + 1):
        bend = turn + weave * math.sin(0.7 * number * 0.05)
        robot.command(robot.motion.time_s, speed, bend)
        true = robot.advance(start + 0.05 * number)
        motions.append((robot.odometry.reported, true))
    return motions


def away(motion):
    return math.hypot(motion.x_m - START[0], motion.y_m - START[1])


def test_wheels_that_roll_truly_report_the_truth():
    for reported, true in drive(robot(), 30.0, weave=0.8):
        assert reported.time_s == true.time_s
        got = reported.x_m, reported.y_m, math.remainder(reported.yaw_rad - true.yaw_rad, math.tau)
        assert got == pytest.approx((true.x_m, true.y_m, 0.0), abs=1e-9)
        assert (reported.speed_m_s, reported.turn_rad_s) == (true.speed_m_s, true.turn_rad_s)


@pytest.mark.parametrize('error', [{'slip': 0.2}, {'odometry_bias': 0.2}, {'slip': -0.1}])
def test_exactly_the_share_that_was_put_in(error):
    share = next(iter(error.values()))
    reported, true = drive(robot(**error), 5.0)[-1]
    assert away(reported) == pytest.approx((1 + share) * away(true), rel=1e-9)
    assert reported.speed_m_s == pytest.approx((1 + share) * true.speed_m_s)
    assert reported.yaw_rad == true.yaw_rad


def test_slip_scales_a_curve_and_leaves_its_turning():
    reported, true = drive(robot(slip=0.2), 20.0, weave=0.8)[-1]
    truly = np.array([true.x_m - START[0], true.y_m - START[1]])
    said = np.array([reported.x_m - START[0], reported.y_m - START[1]])
    np.testing.assert_allclose(said, 1.2 * truly, atol=1e-9)
    assert reported.yaw_rad == pytest.approx(true.yaw_rad)


def test_slip_in_every_second_stretch():
    motions = drive(robot(slip=0.5, slip_stretch=0.5), 10.0)
    true, said = (np.array([away(each[i]) for each in motions]) for i in (1, 0))
    np.testing.assert_allclose(said[true < 0.49], true[true < 0.49], atol=1e-9)
    at = (true > 0.52) & (true < 0.98)
    rate = np.diff(said[at]) / np.diff(true[at])
    np.testing.assert_allclose(rate, 1.5, rtol=1e-6)
    at = (true > 1.02) & (true < 1.48)
    np.testing.assert_allclose(np.diff(said[at]), np.diff(true[at]), atol=1e-9)
    assert said[-1] == pytest.approx(1.25 * true[-1], rel=0.1)


def test_turning_is_reported_too_much():
    reported, true = drive(robot(start=(0.0, 0.0, 0.0), turn_bias=0.1), 2.0, 0.0, 0.5)[-1]
    assert reported.yaw_rad == pytest.approx(1.1 * true.yaw_rad)
    assert (reported.x_m, reported.y_m) == (0.0, 0.0)


def test_noise_gathers_as_declared_and_a_seed_is_a_drive():
    errors = []
    for seed in range(40):
        reported, true = drive(robot(seed=seed, odometry_noise=0.02), 11.0)[-1]
        errors.append(away(reported) - away(true))
    assert np.std(errors) == pytest.approx(0.02 * math.sqrt(4.3), rel=0.35)
    assert abs(np.mean(errors)) < 0.02
    again = drive(robot(seed=39, odometry_noise=0.02), 11.0)[-1][0]
    assert again == reported
    still = robot(odometry_noise=0.5)
    drive(still, 1.0, 0.0)
    assert (still.odometry.reported.x_m, still.odometry.reported.y_m) == START[:2]


WALL = Box(2.0, 0.0, 1.0, 4.0, 0.5)


def test_wheels_stand_with_a_robot_that_is_blocked_unless_they_spin():
    ahead = (0.0, 0.0, 0.0)
    stands = robot(WALL, start=ahead)
    drive(stands, 6.0)
    assert stands.outcome.collisions == 1
    assert stands.odometry.reported.x_m == pytest.approx(stands.motion.x_m, abs=1e-9)
    spins = robot(WALL, start=ahead, spin='blocked')
    reported, true = drive(spins, 6.0)[-1]
    assert true.x_m == pytest.approx(stands.motion.x_m, abs=0.006), 'held'
    assert reported.x_m > true.x_m + 0.7, 'and reports to have driven on'
    assert reported.speed_m_s == pytest.approx(0.4)
    assert true.speed_m_s == 0.0


def test_on_patches_it_reports_motion_without_motion():
    motions = drive(robot(spin='patches', seed=3), 40.0)
    true = np.array([away(motion) for _, motion in motions])
    said = np.array([away(motion) for motion, _ in motions])
    stands = np.flatnonzero((np.diff(true) < 1e-9) & (np.diff(said) > 0.015))
    spells = np.split(stands, np.flatnonzero(np.diff(stands) > 1) + 1)
    assert 2 <= len(spells) <= 20
    assert all(PATCH_S[0] - 0.11 <= 0.05 * len(each) <= PATCH_S[1] + 0.05 for each in spells)
    moving = np.diff(true) > 0.019
    np.testing.assert_allclose(np.diff(said)[moving], np.diff(true)[moving], atol=1e-9)
    assert said[-1] > true[-1] + 1


def test_the_covariance_covers_the_error_but_slip():
    for error in ({'odometry_bias': 0.05}, {'odometry_noise': 0.02}, {'turn_bias': 0.05}):
        driven = robot(**error)
        reported, true = drive(driven, 20.0, weave=0.5)[-1]
        x, y, *_, yaw = np.diag(np.reshape(driven.odometry.pose_covariance, (6, 6)))
        off = np.hypot(reported.x_m - true.x_m, reported.y_m - true.y_m)
        assert off < 3 * math.sqrt(x + y)
        assert math.sqrt(x) < 0.3 * reported.time_s * 0.4, 'and says something'
        assert abs(math.remainder(reported.yaw_rad - true.yaw_rad, math.tau)) < 3 * math.sqrt(yaw)
        speed = np.diag(np.reshape(driven.odometry.twist_covariance, (6, 6)))[0]
        assert abs(reported.speed_m_s - true.speed_m_s) < 3 * math.sqrt(speed)
    slipping = robot(slip=0.2)
    drive(slipping, 20.0)
    assert slipping.odometry.pose_covariance[0] < 0.01, 'slip cannot be known'
    assert slipping.odometry.pose_covariance[14] > 1e3, 'wheels measure no height'


@pytest.mark.parametrize('settings', [RobotSettings(), RobotSettings(slip=0.2)])
def test_along_the_path_of_the_moving_scene(settings):
    scene = moving_scene(0)
    epoch_ns = 85_000_000 * round(scene.period_s * 1e9)  # in this century
    begin_ns = epoch_ns + 7_000_000_000
    path = PathOdometry(scene, epoch_ns, begin_ns, settings)
    first = scene.way_at(7.0)
    gone = 0.0
    for number in range(1, 400):  # over the end of a period
        time_s = 7.0 + 0.05 * number
        reported = path.advance(epoch_ns + round(time_s * 1e9)).reported
        true = scene.way_at(time_s)
        gone = true.x_m - first.x_m
        if not settings.slip:
            assert reported.x_m == pytest.approx(true.x_m, abs=1e-4)
            assert reported.y_m == pytest.approx(true.y_m, abs=1e-4)
            assert math.remainder(reported.yaw_rad - true.yaw_rad, math.tau) == pytest.approx(0)
        else:
            assert reported.x_m - first.x_m == pytest.approx(1.2 * gone, abs=1e-3)
    assert gone > 0.99 * LAP_M
    assert not path.follows(begin_ns)
    assert path.follows(epoch_ns + round((time_s + 1) * 1e9))
