"""Plain worlds: the same for the same seed, all kinds, with a free start."""

from __future__ import annotations

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import DrivenRobot, RobotModel, plain_world, render
from midas_depth_ros.sim.robot.plan_view import PlanView
from midas_depth_ros.sim.robot.robot import Disturbance, noisy

SEEDS = range(60)


def test_a_seed_is_a_world():
    assert plain_world(5) == plain_world(5)
    assert len({str(plain_world(seed)) for seed in SEEDS}) == len(SEEDS)
    assert {plain_world(seed).kind for seed in SEEDS} == {'room', 'corridor', 'two rooms'}


@pytest.mark.parametrize('seed', SEEDS)
def test_the_start_is_free_and_looks_at_something(seed):
    world = plain_world(seed)
    robot = DrivenRobot(world, RobotModel())
    assert robot.clearance_m >= 0.3
    x, y, yaw = world.start
    ahead = PlanView.of_scene(world.scene, (0.02, 0.35)).reach(x, y, np.array([yaw]))[0]
    assert 1.0 < ahead < 20


def test_every_world_can_be_painted():
    camera = CameraModel.from_field_of_view(64, 48, 1.5)
    for seed in SEEDS:
        world = plain_world(seed)
        robot = DrivenRobot(world, RobotModel())
        rendering = render(world.scene, camera, robot.motion.camera_pose(robot.model))
        assert rendering.rgb.std() > 5
        assert np.isfinite(rendering.depth_z).all()


def test_disturbance_is_affine_in_inverse_depth_and_of_another_scale_each_time():
    depth = np.linspace(0.3, 8.0, 48 * 64).reshape(48, 64).astype(np.float32)
    exact = Disturbance(1, RobotSettings(depth_noise=0.0, depth_shift=0.1))
    fits = [
        np.polyfit(1 / depth.ravel(), exact.relative_inverse_depth(depth).ravel(), 1)
        for _ in range(50)
    ]
    frame = exact.relative_inverse_depth(depth)
    assert frame.dtype == np.float32
    assert (np.diff(frame.ravel()) <= 0).all(), 'larger is nearer'
    scales, shifts = np.array(fits).T
    assert 1 / 1.5 <= scales.min() / 100 < 0.75
    assert 1.35 < scales.max() / 100 <= 1.5
    assert shifts.min() < -6
    assert 6 < shifts.max() < 11
    again = Disturbance(1, RobotSettings(depth_noise=0.0, depth_shift=0.1))
    np.testing.assert_array_equal(
        np.polyfit(1 / depth.ravel(), again.relative_inverse_depth(depth).ravel(), 1), fits[0]
    )


def test_noise_is_a_share_of_inverse_depth():
    flat = np.full((240, 320), 2.0, np.float32)
    options = RobotSettings(depth_noise=0.03, depth_scale_factor=1.0, depth_shift=0.0)
    relative = Disturbance(2, options).relative_inverse_depth(flat)
    assert relative.std() / relative.mean() == pytest.approx(0.03, rel=0.05)
    assert (
        Disturbance(0, RobotSettings()).relative_inverse_depth(np.full((48, 64), np.inf)).min() >= 0
    )


def test_a_noisy_picture():
    grey = np.full((60, 80, 3), 128, np.uint8)
    picture = noisy(grey, 4.0, np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert picture.std() == pytest.approx(4.0, rel=0.05)
    assert picture.mean() == pytest.approx(128, abs=0.2)
    assert noisy(grey, 0.0, np.random.default_rng(0)) is grey
