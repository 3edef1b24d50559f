"""The robot moves by its kinematics, and collides where the scene is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.sim import Box, DrivenRobot, Motion, PlainWorld, RobotModel, Room, Scene
from midas_depth_ros.sim.robot.robot import Robot

PROMPT = RobotModel(latency_s=0.0, max_acceleration_m_s2=1e9, max_turn_acceleration_rad_s2=1e9)


def run(robot, seconds, speed, turn, step=0.01):
    """Repeat a command for some time; return every motion on the way."""
    motions = []
    start = robot.motion.time_s
    for number in range(1, round(seconds / step) + 1):
        robot.command(robot.motion.time_s, speed, turn)
        motions.append(robot.step(start + number * step))
    return motions


def world(*solids, room=None, start=(0.0, 0.0, 0.0)):
    return PlainWorld(Scene(room=room, solids=solids), start, 'test', 0)


def drive(robot, seconds, speed, turn=0.0):
    start = robot.motion.time_s
    for number in range(1, round(seconds / 0.05) + 1):
        robot.command(robot.motion.time_s, speed, turn)
        robot.advance(start + 0.05 * number)


def test_straight_and_round():
    robot = Robot(PROMPT, Motion(yaw_rad=math.pi / 2))
    run(robot, 2.0, 0.5, 0.0)
    assert robot.motion.x_m == pytest.approx(0.0, abs=1e-6)
    assert robot.motion.y_m == pytest.approx(1.0, abs=0.01)
    robot = Robot(PROMPT, Motion())
    motions = run(robot, math.tau, 0.4, 1.0)  # once around a circle of 0.4 m to the left
    places = np.array([(m.x_m, m.y_m) for m in motions[2:]])
    np.testing.assert_allclose(np.hypot(places[:, 0], places[:, 1] - 0.4), 0.4, atol=0.003)
    assert places[:, 1].max() == pytest.approx(0.8, abs=0.005)


def test_turning_on_the_spot_to_the_left():
    robot = Robot(PROMPT, Motion(x_m=1.0))
    run(robot, 1.0, 0.0, 0.7)
    assert (robot.motion.x_m, robot.motion.y_m) == (1.0, 0.0)
    assert robot.motion.yaw_rad == pytest.approx(0.7, abs=0.01)


def test_limits_of_speed_turn_and_acceleration():
    model = RobotModel(latency_s=0.0, max_speed_m_s=0.5, max_turn_rad_s=1.0)
    robot = Robot(model, Motion())
    motions = run(robot, 2.0, 9.0, -9.0)
    assert motions[-1].speed_m_s == pytest.approx(0.5)
    assert motions[-1].turn_rad_s == pytest.approx(-1.0)
    speeds = [m.speed_m_s for m in motions]
    assert max(np.diff(speeds)) <= model.max_acceleration_m_s2 * 0.01 + 1e-9
    # Braking from 0.5 m/s at 1 m/s^2 takes 12.5 cm.
    start = robot.motion
    run(robot, 1.0, 0.0, -9.0)
    assert robot.motion.speed_m_s == 0
    assert math.hypot(robot.motion.x_m - start.x_m, robot.motion.y_m - start.y_m) < 0.126


def test_latency_and_timeout():
    robot = Robot(RobotModel(latency_s=0.1, command_timeout_s=0.3), Motion())
    robot.command(0.0, 0.4, 0.0)
    moving = [robot.step(0.01 * n).speed_m_s > 0 for n in range(1, 120)]
    assert not any(moving[:9])
    assert all(moving[10:39])
    assert moving[-1] is False, 'no command to go on'


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_command_that_is_no_number_stops(bad):
    robot = Robot(PROMPT, Motion())
    run(robot, 0.5, 0.4, 0.0)
    assert run(robot, 0.02, bad, 0.0)[-1].speed_m_s == 0


@pytest.mark.parametrize(
    'wrong', [{'radius_m': -0.1}, {'latency_s': math.nan}, {'max_speed_m_s': math.inf}]
)
def test_a_model_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RobotModel(**wrong)


def test_the_camera_is_where_the_model_says():
    model = RobotModel(camera_forward_m=0.1, camera_height_m=0.25, camera_pitch_rad=0.3)
    pose = Motion(x_m=1.0, y_m=2.0, yaw_rad=math.pi / 2).camera_pose(model)
    assert (pose.x_m, pose.y_m, pose.z_m) == pytest.approx((1.0, 2.1, 0.25))
    assert (pose.yaw_rad, pose.pitch_rad) == (math.pi / 2, 0.3)


def test_it_stops_at_what_it_hits_and_counts_once():
    robot = DrivenRobot(world(Box(2.0, 0.0, 1.0, 1.0, 0.3)), RobotModel(radius_m=0.2))
    drive(robot, 6.0, 0.5)
    assert robot.motion.x_m == pytest.approx(1.3, abs=0.01)
    assert robot.outcome.collisions == 1
    assert robot.outcome.min_clearance_m == 0
    assert robot.outcome.distance_m == pytest.approx(1.3, abs=0.01)
    drive(robot, 2.0, -0.2)
    assert robot.outcome.collisions == 1
    drive(robot, 4.0, 0.5)
    assert robot.outcome.collisions == 2


@pytest.mark.parametrize(('aside', 'collides'), [(0.69, True), (0.71, False)])
def test_a_collision_is_decided_to_the_centimetre(aside, collides):
    robot = DrivenRobot(world(Box(1.5, aside, 1.0, 1.0, 0.3)), RobotModel(radius_m=0.2))
    drive(robot, 8.0, 0.5)
    assert bool(robot.outcome.collisions) is collides
    if not collides:
        assert robot.outcome.min_clearance_m == pytest.approx(0.01, abs=1e-6)


def test_what_is_above_it_or_flat_is_not_in_the_way():
    board = Box(2.0, 0.0, 1.0, 1.0, 0.04, bottom_m=0.7)
    mat = Box(3.0, 0.0, 0.5, 0.5, 0.01)
    robot = DrivenRobot(world(board, mat), RobotModel())
    drive(robot, 12.0, 0.5)
    assert robot.outcome.collisions == 0
    assert robot.motion.x_m > 4


def test_walls_collide():
    robot = DrivenRobot(world(room=Room(-1, 2, -1, 1)), RobotModel(radius_m=0.2))
    drive(robot, 6.0, 0.5)
    assert robot.outcome.collisions == 1
    assert robot.motion.x_m == pytest.approx(1.8, abs=0.01)


def test_stops_are_counted():
    robot = DrivenRobot(world(), RobotModel())
    for _ in range(3):
        drive(robot, 1.0, 0.4)
        drive(robot, 1.0, 0.0)
    assert robot.outcome.stops == 3


def test_the_scan_is_from_the_camera_and_to_the_left():
    robot = DrivenRobot(world(room=Room(-1, 3, -2, 4)), RobotModel(camera_forward_m=0.5))
    ranges = robot.scan(np.array([0.0, math.pi / 2, -math.pi / 2, math.pi]))
    np.testing.assert_allclose(ranges, [2.5, 4, 2, 1.5])
