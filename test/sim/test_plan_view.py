"""Distances from above, against the renderer's depth and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, Sphere, plain_world, render
from midas_depth_ros.sim.robot.plan_view import PlanView

AT_CAMERA = (0.2999, 0.3001)  # heights
CAMERA = CameraModel.from_field_of_view(401, 101, 1.6)  # its middle row is level
ALL_AROUND = np.linspace(-math.pi, math.pi, 3601)


@pytest.mark.parametrize('seed', range(8))
def test_rays_meet_what_a_level_camera_sees(seed):
    world = plain_world(seed)
    x, y, yaw = world.start
    depth = render(world.scene, CAMERA, Pose(x, y, 0.3, yaw)).depth_z[50]
    across = CAMERA.normalised_grid()[0][50].astype(float)
    reach = PlanView.of_scene(world.scene, AT_CAMERA).reach(x, y, yaw - np.arctan(across))
    np.testing.assert_allclose(reach / np.hypot(across, 1), depth, rtol=1e-3)


@pytest.mark.parametrize('seed', range(8))
def test_the_gap_is_the_shortest_ray(seed):
    plan = PlanView.of_scene(plain_world(seed).scene, (0.02, 0.35))
    rng = np.random.default_rng(seed)
    for x, y in rng.uniform(-2, 2, (20, 2)):
        shortest = plan.reach(x, y, ALL_AROUND).min()
        assert shortest - 0.01 < plan.gap(x, y) <= shortest + 1e-9


def test_a_turned_box_by_hand():
    plan = PlanView.of_scene(Scene(solids=(Box(2.0, 0.0, 1.0, 1.0, 0.5, math.pi / 4),)), (0.0, 1.0))
    corner = 2.0 - math.sqrt(0.5)
    assert plan.gap(0.0, 0.0) == pytest.approx(corner)
    assert plan.gap(1.0, 1.0) == pytest.approx(math.sqrt(2) - 0.5)  # its face
    np.testing.assert_allclose(
        plan.reach(0.0, 0.0, np.array([0.0, 0.5, math.pi])), [corner, np.inf, np.inf]
    )
    assert plan.gap(2.1, 0.1) == 0
    assert plan.reach(2.1, 0.1, np.array([1.0]))[0] == 0


@pytest.mark.parametrize(
    ('solid', 'heights', 'gap'),
    [
        (Box(2, 0, 1, 1, 0.04, bottom_m=0.7), (0.0, 0.4), math.inf),  # a table's board
        (Box(2, 0, 1, 1, 0.04, bottom_m=0.7), (0.0, 0.8), 1.5),
        (Cylinder(2, 0, 0.5, 0.1), (0.2, 0.4), math.inf),
        (Cylinder(2, 0, 0.5, 0.3), (0.2, 0.4), 1.5),
        (Sphere(2, 0, 0.5, 0.5), (0.0, 0.2), 2 - 0.4),  # 0.3 below its middle
        (Sphere(2, 0, 0.5, 0.5), (0.0, 1.0), 1.5),
        (Sphere(2, 0, 0.5, 0.3), (0.0, 0.2), math.inf),
    ],
)
def test_heights(solid, heights, gap):
    assert PlanView.of_scene(Scene(solids=(solid,)), heights).gap(0, 0) == pytest.approx(gap)


def test_walls():
    plan = PlanView.of_scene(Scene(room=Room(-1, 3, -2, 2)), (0.0, 0.4))
    assert plan.gap(2.5, 0.0) == pytest.approx(0.5)
    assert plan.gap(3.5, 0.0) == 0
    np.testing.assert_allclose(
        plan.reach(0.0, 0.0, np.array([0.0, math.pi / 2, math.pi])), [3, 2, 1]
    )
