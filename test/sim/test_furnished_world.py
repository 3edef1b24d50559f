"""The furnished world: its plan agrees with its pictures, and the start is free."""

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import DrivenRobot, Pose, RobotModel, furnished_world
from midas_depth_ros.sim.furnished.place import BALL, BOX, TUBE, Part
from midas_depth_ros.sim.furnished.world import part_outline
from midas_depth_ros.sim.robot.plan_view import Convex

CAMERA = CameraModel.from_field_of_view(161, 121, 1.2)
MIDDLE = 60  # the row that looks along the horizon
SQUARE = np.array([(0, 0), (2, 0), (2, 1), (0, 1), (1, 0.5)])


@pytest.mark.parametrize(
    ('x', 'y', 'gap'), [(1, 0.5, 0), (3, 0.5, 1), (-1, -1, math.sqrt(2)), (0.5, 1.25, 0.25)]
)
def test_gap_to_a_convex_outline(x, y, gap):
    assert Convex(SQUARE).gap(x, y) == pytest.approx(gap)


def test_rays_meet_a_convex_outline():
    angles = np.array([0.0, math.pi, math.pi / 2, math.atan2(1.0, 3.0)])
    reach = Convex(SQUARE).reach(-1.0, 0.5, np.cos(angles), np.sin(angles))
    assert reach == pytest.approx([1.0, math.inf, math.inf, math.hypot(1, 1 / 3)])
    assert (Convex(SQUARE).reach(1.0, 0.5, np.cos(angles), np.sin(angles)) == 0).all()


def test_a_thing_as_thin_as_a_point_or_a_line_is_met():
    line = Convex(np.array([(1.0, -1.0), (1.0, 1.0)]))
    assert line.gap(0.0, 0.0) == pytest.approx(1.0, abs=1e-3)
    assert line.reach(0.0, 0.0, np.array([1.0]), np.array([0.0])) == pytest.approx([1.0], abs=1e-3)
    point = Convex(np.array([(1.0, 1.0)]))
    assert point.gap(1.0, 0.0) == pytest.approx(1.0, abs=1e-3)
    rays = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert point.reach(1.0, 0.0, *rays) == pytest.approx([math.inf, 1.0], abs=1e-3)


@pytest.mark.parametrize(
    ('part', 'heights', 'gap'),
    [
        (Part(BOX, (2, 0, 0.5), (0.5, 0.2, 0.5), 0), (0.0, 0.3), 1.5),
        (Part(BOX, (2, 0, 0.5), (0.5, 0.2, 0.5), 0), (1.1, 2.0), None),
        (Part(BOX, (2, 0, 0.5), (0.5, 0.2, 0.5), 0, yaw_rad=math.pi / 2), (0.0, 0.3), 1.8),
        (Part(TUBE, (2, 0, 0.5), (0.4, 0.4, 0.5), 0), (0.0, 0.3), 1.6),
        (Part(TUBE, (2, 0, 0.5), (0.4, 0.4, 0.5), 0, taper=0.5), (0.5, 0.7), 1.7),
        (Part(TUBE, (2, 0, 0.5), (0.4, 0.2, 0.5), 0), (0.0, 0.3), 1.6),
        (Part(BALL, (2, 0, 0.5), (0.5, 0.5, 0.5), 0), (0.4, 0.6), 1.5),
        (Part(BALL, (2, 0, 0.5), (0.5, 0.5, 0.5), 0), (0.0, 0.2), 1.6),
        (Part(BOX, (2, 0, 1.0), (0.1, 0.1, 1.0), 0, pitch_rad=math.pi / 2), (0.9, 1.2), 1.0),
        (Part(BOX, (2, 0, 1.0), (0.1, 0.1, 1.0), 0, pitch_rad=math.pi / 2), (0.0, 0.5), None),
    ],
)
def test_outlines_of_parts(part, heights, gap):
    outline = part_outline(part, heights)
    if gap is None:
        assert outline is None
    else:
        assert outline is not None
        assert outline.gap(0.0, 0.0) == pytest.approx(gap, abs=0.002)


@pytest.mark.sampled
@pytest.mark.parametrize('seed', range(4))
def test_the_plan_is_what_the_camera_sees(seed):
    world = furnished_world(seed)
    x, y, _ = world.start
    across = (np.arange(161) - CAMERA.cx) / CAMERA.fx
    off = []
    for yaw in np.arange(6) * math.pi / 3:
        for height in (0.3, 0.06):
            pose = Pose(x, y, height, yaw)
            depth = world.render(CAMERA, pose).depth_z[MIDDLE]
            distance = depth * np.hypot(1, across)
            plan = world.plan((height - 0.002, height + 0.002))
            reach = plan.reach(x, y, yaw - np.arctan(across))
            off.append(np.abs(distance - reach))
    assert np.median(off) < 0.005
    assert (np.concatenate(off) < 0.03).mean() > 0.97  # but for edges


@pytest.mark.sampled
@pytest.mark.parametrize('seed', range(8))
def test_it_starts_free_and_is_the_same_again(seed):
    world = furnished_world(seed)
    robot = DrivenRobot(world, RobotModel())
    assert robot.clearance_m > 0.3
    furnished_world.cache_clear()
    again = furnished_world(seed)
    assert again.start == world.start
    assert again.place == world.place
    pose = robot.motion.camera_pose(robot.model)
    picture = world.render(CAMERA, pose).rgb
    depth = world.render(CAMERA, pose).depth_z
    np.testing.assert_array_equal(world.depth_z(CAMERA, pose), depth)
    np.testing.assert_array_equal(again.render(CAMERA, pose).rgb, picture)
    assert 60 < picture.mean() < 190
    assert picture.std() > 15
