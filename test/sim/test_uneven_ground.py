"""Ramps, steps and edges: the robot stands on them, sees them truly, and falls where it falls."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.sim import (
    WORLDS,
    Box,
    DrivenRobot,
    Material,
    Motion,
    Pose,
    RobotModel,
    Room,
    Scene,
    SceneError,
    UnevenWorld,
    Wedge,
    furnished_world,
    plain_world,
    render,
    uneven_world,
)
from midas_depth_ros.sim.robot.ground import FLAT, Ground, Slab

CAMERA = CameraModel.from_field_of_view(160, 120, 1.6)
MATERIAL = Material()
SEEDS = range(60)
# A ramp of 10 % from x = 0 to 2, up to a platform from 2 to 4, both 2 m wide.
RAMP, PLATFORM = Slab(1.0, 0.0, 2.0, 2.0, 0.2, 0.0), Slab(3.0, 0.0, 2.0, 2.0, 0.2, 0.2)
GROUND = Ground((RAMP, PLATFORM))


def world(ground=GROUND, start=(-1.0, 0.0, 0.0), things=()):
    solids = (*(slab.solid(MATERIAL) for slab in ground.slabs), *things)
    return UnevenWorld(Scene(solids=solids), things, ground, start, 'test', 0)


def driven(seconds, speed=0.4, turn=0.0, model=None, **of_world):
    robot = DrivenRobot(world(**of_world), model or RobotModel())
    motions = []
    for number in range(1, round(seconds / 0.05) + 1):
        robot.command(robot.motion.time_s, speed, turn)
        motions.append(robot.advance(0.05 * number))
    return robot, motions


def test_heights_by_hand():
    x = np.array([-0.5, 0.0, 1.0, 2.0, 3.0, 4.5, 1.0])
    y = np.array([0.0, 0.0, 0.5, 0.0, -0.9, 0.0, 1.1])
    np.testing.assert_allclose(GROUND.height(x, y), [0, 0, 0.1, 0.2, 0.2, 0, 0])
    turned = Slab(0.0, 0.0, 2.0, 1.0, 0.3, 0.1, math.pi / 2)  # up to the left
    assert turned.height(np.array(0.0), np.array(0.5)) == pytest.approx(0.25)


def test_a_wedge_is_seen_where_its_planes_are():
    """Of every pixel, against planes alone: floor, slope, sides and back."""
    wedge = RAMP.solid(MATERIAL)
    assert isinstance(wedge, Wedge)
    for pose in (
        Pose(-1, 0.2, 0.3, 0.0, 0.25),
        Pose(1, 3, 0.5, -1.4, 0.3),
        Pose(4, 0, 0.6, 3.0, 0.2),
    ):
        depth = render(Scene(solids=(wedge,)), CAMERA, pose).depth_z.astype(float)
        x, y = CAMERA.normalised_grid()
        rays = np.stack([x, y, np.ones_like(x)], axis=-1).astype(float) @ pose.optical_axes.T
        seen = np.isfinite(depth)
        points = pose.position + rays * depth[..., None]
        px, py, pz = (points[..., i][seen] for i in range(3))
        inside = (px > 1e-3) & (px < 2 - 1e-3) & (np.abs(py) < 1 - 1e-3)
        np.testing.assert_allclose(pz[inside], 0.1 * px[inside], atol=1e-4)
        beside = ~inside & ((px < -1e-3) | (px > 2 + 1e-3) | (np.abs(py) > 1 + 1e-3))
        np.testing.assert_allclose(pz[beside], 0.0, atol=1e-4)
        assert inside.sum() > 100 or pose.x_m == 4
        # What hides the floor is not seen through.
        for share in np.linspace(0.05, 0.99, 15):
            at = (pose.position + rays * (share * depth)[..., None])[seen]
            height = RAMP.height(at[:, 0], at[:, 1])
            assert (at[:, 2] > np.where(np.isfinite(height), height, 0.0) - 1e-4).all()


def test_from_the_middle_of_a_ramp_it_is_the_floor_that_a_level_robot_sees():
    """Depth on a long ramp equals that on the flat floor, as pose and ramp tilt together."""
    ramp = Slab(0.0, 0.0, 40.0, 40.0, 4.0, 0.0)
    robot = DrivenRobot(world(Ground((ramp,)), start=(0.0, 0.0, 0.7)), RobotModel())
    motion = robot.motion
    assert motion.z_m == pytest.approx(2.0, abs=1e-6)
    assert math.atan(0.1) * math.cos(0.7) == pytest.approx(-motion.pitch_rad, rel=0.01)
    depth = robot.world.depth_z(CAMERA, motion.camera_pose(robot.model))
    mount = CameraMount(robot.model.camera_height_m, robot.model.camera_pitch_rad)
    flat = mount.ground_inverse_depth(CAMERA.normalised_grid())
    near = flat > 0.25
    assert near.sum() > 3000
    np.testing.assert_allclose(1 / depth[near], flat[near], rtol=2e-3)


def test_the_camera_of_a_tilted_robot_is_turned_by_yaw_pitch_and_roll():
    model = RobotModel(camera_forward_m=0.1, camera_height_m=0.3, camera_pitch_rad=0.25)
    for angles in ((0.4, 0.1, 0.05), (-2.0, -0.2, 0.1), (0.0, 0.1, 0.0)):
        pose = Motion(0.0, 1.0, 2.0, angles[0], 0.0, 0.0, 0.5, *angles[1:]).camera_pose(model)
        body = Pose(0, 0, 0, *angles).optical_axes
        c, s = math.cos(0.25), math.sin(0.25)
        looks_down = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])  # about the optical x axis
        np.testing.assert_allclose(pose.optical_axes, body @ looks_down, atol=1e-12)
        at = np.array([1, 2, 0.5]) + body @ (0, -0.3, 0.1)
        np.testing.assert_allclose(pose.position, at, atol=1e-12)


def test_it_follows_the_ramp_up_with_both_axles():
    _, motions = driven(14.0)
    x = np.array([each.x_m for each in motions])
    z, pitch = (
        np.array([getattr(each, name) for each in motions]) for name in ('z_m', 'pitch_rad')
    )
    reach = 0.8 * 0.18
    on_floor, on_ramp, on_top = x < -reach, (x > reach) & (x < 2 - reach), x > 2 + reach
    np.testing.assert_allclose(z[on_floor], 0, atol=1e-9)
    np.testing.assert_allclose(pitch[on_floor], 0, atol=1e-9)
    np.testing.assert_allclose(z[on_ramp], 0.1 * x[on_ramp], atol=1e-6)
    np.testing.assert_allclose(pitch[on_ramp], -math.atan(0.1), atol=1e-6)
    np.testing.assert_allclose(z[on_top & (x < 3.8)], 0.2, atol=1e-9)
    between = (np.abs(x) < 0.9 * reach) & (x > -0.9 * reach)
    assert ((pitch[between] < 0) & (pitch[between] > -math.atan(0.1))).all()
    speed = np.diff(x)[(on_ramp[1:]) & (on_ramp[:-1])] / 0.05
    np.testing.assert_allclose(speed, 0.4 * math.cos(math.atan(0.1)), rtol=1e-3)


def test_across_a_ramp_it_rolls():
    robot = DrivenRobot(world(start=(1.0, 0.0, math.pi / 2)), RobotModel())
    assert robot.motion.roll_rad == pytest.approx(math.atan(-0.1), abs=1e-3), 'uphill is right'
    assert robot.motion.pitch_rad == pytest.approx(0, abs=1e-9)


def test_odometry_reports_the_way_along_the_ramp():
    robot, motions = driven(10.0)
    rise = motions[-1].z_m
    assert rise == pytest.approx(0.2, abs=1e-6)
    flat = motions[-1].x_m + 1.0
    assert robot.odometry.reported.x_m + 1.0 == pytest.approx(
        flat - 2 + math.hypot(2, 0.2), abs=2e-3
    )


def test_over_the_edge_it_falls_once_where_the_wheels_leave_the_ground():
    robot, motions = driven(8.0, start=(3.0, 0.0, 0.0))
    assert robot.outcome.falls == 1
    assert robot.outcome.collisions == 0
    assert motions[-1].x_m == pytest.approx(4.0 - 0.8 * 0.18, abs=0.01)
    assert robot.outcome.min_clearance_m == 0


@pytest.mark.parametrize(('start', 'falls'), [((3.0, 0.0, math.pi / 2), 1), ((1.8, 0.0, 1.5), 1)])
def test_it_falls_off_the_sides_too(start, falls):
    robot, _ = driven(6.0, start=start)
    assert robot.outcome.falls == falls


def test_against_a_step_it_collides_from_below():
    robot, motions = driven(6.0, start=(5.5, 0.0, math.pi))
    assert (robot.outcome.collisions, robot.outcome.falls) == (1, 0)
    assert motions[-1].x_m == pytest.approx(4.0 + 0.18, abs=0.01)
    side, _ = driven(6.0, start=(1.8, -2.0, math.pi / 2))
    assert (side.outcome.collisions, side.outcome.falls) == (1, 0)


@pytest.mark.parametrize(('height', 'passes'), [(0.019, True), (0.021, False)])
def test_what_is_lower_than_its_clearance_is_driven_over(height, passes):
    sill = Ground((Slab(1.0, 0.0, 0.5, 4.0, height, height),))
    robot, motions = driven(10.0, ground=sill)
    assert (robot.outcome.collisions == 0) is passes
    assert robot.outcome.falls == 0
    assert (motions[-1].x_m > 2) is passes


def test_a_ramp_down_is_no_fall():
    robot, motions = driven(12.0, start=(3.0, 0.0, math.pi))
    assert (robot.outcome.collisions, robot.outcome.falls) == (0, 0)
    assert motions[-1].x_m < -1
    assert motions[-1].z_m == 0


def test_clearance_and_scan_count_edges_up_and_down():
    robot = DrivenRobot(world(start=(3.0, 0.3, 0.0)), RobotModel(radius_m=0.2))
    assert robot.clearance_m == pytest.approx(0.7 - 0.2, abs=0.002)
    ahead, left, behind, right = robot.scan(np.array([0.0, 0.5, 1.0, -0.5]) * math.pi)
    assert (ahead, left, right) == pytest.approx((1.0, 0.7, 1.3), abs=0.002)
    assert behind == math.inf, 'the ramp is free'
    below = DrivenRobot(world(start=(5.0, 0.0, math.pi)), RobotModel(radius_m=0.2))
    assert below.scan(np.array([0.0]))[0] == pytest.approx(1.0, abs=0.002)
    assert below.clearance_m == pytest.approx(0.8, abs=0.002)


def test_things_stand_in_the_way_on_their_own_level():
    on_top = Box(3.5, 0.0, 0.4, 0.4, 0.3, bottom_m=0.2)
    robot, motions = driven(12.0, things=(on_top,))
    assert (robot.outcome.collisions, robot.outcome.falls) == (1, 0)
    assert motions[-1].x_m == pytest.approx(3.3 - 0.18, abs=0.01)
    hung = Box(3.5, 0.0, 0.4, 0.4, 0.3, bottom_m=0.2 + 0.4)
    assert driven(11.0, things=(hung,))[0].outcome.collisions == 0


def test_flat_worlds_are_flat():
    assert plain_world(0).ground is FLAT
    assert furnished_world(0).ground is FLAT
    assert FLAT.edges(0.02).gap(0, 0) == math.inf


def test_a_seed_is_an_uneven_world():
    assert WORLDS['uneven'] is uneven_world
    assert uneven_world(5) == uneven_world(5)
    kinds = {uneven_world(seed).kind for seed in SEEDS}
    assert kinds == {'ramp', 'ramp and step', 'step up', 'edge down'}
    starts = [DrivenRobot(uneven_world(seed), RobotModel()).motion.z_m for seed in SEEDS]
    assert 0.2 < np.mean([z > 0.1 for z in starts]) < 0.8, 'from above and from below'


@pytest.mark.parametrize('seed', SEEDS)
def test_its_start_is_free_and_stands_on_its_wheels(seed):
    uneven = uneven_world(seed)
    robot = DrivenRobot(uneven, RobotModel())
    assert robot.clearance_m >= 0.3
    assert abs(robot.motion.pitch_rad) < 0.13
    robot.advance(0.5)
    assert (robot.outcome.collisions, robot.outcome.falls) == (0, 0)
    assert 1.0 < robot.scan(np.array([0.0]))[0] < 15


def test_blind_most_end_in_a_collision_or_a_fall():
    ends = []
    for seed in SEEDS:
        robot = DrivenRobot(uneven_world(seed), RobotModel())
        while robot.motion.time_s < 20 and not (robot.outcome.collisions + robot.outcome.falls):
            robot.command(robot.motion.time_s, 0.4, 0.0)
            robot.advance(robot.motion.time_s + 0.05)
        ends.append((robot.outcome.collisions, robot.outcome.falls))
    collided, fell = np.sum(ends, axis=0)
    assert fell >= 8
    assert collided >= 20


@pytest.mark.parametrize('seed', range(6))
def test_depth_is_where_the_ground_is(seed):
    """Every pixel's point lies on ground, things or walls: none below the ground."""
    uneven = uneven_world(seed)
    robot = DrivenRobot(uneven, RobotModel(camera_pitch_rad=0.25))
    pose = robot.motion.camera_pose(robot.model)
    depth = uneven.depth_z(CAMERA, pose).astype(float)
    x, y = CAMERA.normalised_grid()
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).astype(float) @ pose.optical_axes.T
    points = pose.position + rays * depth[..., None]
    height = uneven.ground.height(points[..., 0], points[..., 1])
    above = points[..., 2] - height
    room = uneven.scene.room
    on_wall = np.minimum.reduce(
        [
            points[..., 0] - room.x_min_m,
            room.x_max_m - points[..., 0],
            points[..., 1] - room.y_min_m,
            room.y_max_m - points[..., 1],
        ]
    )
    edges = uneven.ground.edges(0.0)
    odd = (above < -2e-3) & (on_wall > 5e-3)
    for px, py, _ in points[odd][::7]:
        assert edges.gap(px, py) < 5e-3, 'on the face of a step'
    assert (np.abs(above) < 2e-3).mean() > 0.15, 'ground is seen'


@pytest.mark.parametrize('wrong', [{'rear_height_m': -0.1}, {'rear_height_m': 0.3}])
def test_a_wedge_that_cannot_be(wrong):
    with pytest.raises(SceneError, match='rear_height_m'):
        Wedge(0, 0, 1, 1, 0.2, **wrong)


def test_a_room_around_it():
    uneven = uneven_world(1)
    assert isinstance(uneven.scene.room, Room)
    assert uneven.plan((0.0, 1.0)).room is uneven.scene.room
