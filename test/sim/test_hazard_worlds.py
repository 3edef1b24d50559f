"""Worlds with hazards: glass, dark doors, stairs and near things are where picture and plan say."""

import collections
import dataclasses
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import (
    LoopOptions,
    PerfectSensor,
    ScanAvoidance,
    ScanMaker,
    drive,
)
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.sim import WORLDS, DrivenRobot, Pose, RobotModel, hazard_world
from midas_depth_ros.sim.furnished.hazards import KINDS
from midas_depth_ros.sim.furnished.panes import Pane, PanedPlace
from midas_depth_ros.sim.furnished.place import BOX
from midas_depth_ros.sim.furnished.world import pane_outline
from midas_depth_ros.sim.robot.ground import Ground, Slab

CAMERA = CameraModel.from_field_of_view(161, 121, 1.2)
MIDDLE = 60  # the row that looks along the horizon
MODEL = RobotModel(camera_pitch_rad=0.25)
DARK, GLASS, STAIRS, NEAR = KINDS
SEEDS = range(16)  # four of each kind


def of_kind(kind, count=4):
    first = list(KINDS).index(kind)
    return [first + number * len(KINDS) for number in range(count)]


def straight(world, start, seconds=12.0):
    """Drive ahead from a start, with no avoidance."""
    moved = world_with(world, start)
    robot = DrivenRobot(moved, MODEL)
    while robot.motion.time_s < seconds and not robot.outcome.collisions + robot.outcome.falls:
        robot.command(robot.motion.time_s, 0.4, 0.0)
        robot.advance(robot.motion.time_s + 0.05)
    return robot


def world_with(world, start):
    return dataclasses.replace(world, start=start)


def test_kinds_follow_each_other_and_a_seed_is_a_world():
    assert WORLDS['hazards'] is hazard_world
    kinds = collections.Counter(hazard_world(seed).kind for seed in SEEDS)
    assert kinds == dict.fromkeys(KINDS, 4)
    for seed in range(4):
        world = hazard_world(seed)
        pose = DrivenRobot(world, MODEL).motion.camera_pose(MODEL)
        picture = world.render(CAMERA, pose).rgb
        hazard_world.cache_clear()
        again = hazard_world(seed)
        assert again.seed == seed
        assert (again.place, again.start, again.ground) == (world.place, world.start, world.ground)
        np.testing.assert_array_equal(again.render(CAMERA, pose).rgb, picture)
        assert 50 < picture.mean() < 200
        assert picture.std() > 12


@pytest.mark.parametrize('seed', SEEDS)
def test_depth_is_that_of_the_picture_and_of_the_plan(seed):
    world = hazard_world(seed)
    x, y, yaw = world.start
    across = (np.arange(161) - CAMERA.cx) / CAMERA.fx
    off = []
    for turn in (0.0, 1.2, 2.4, 3.6, 4.8):
        for height in (0.3, 0.06):
            pose = Pose(x, y, height, yaw + turn)
            depth = world.depth_z(CAMERA, pose)
            np.testing.assert_array_equal(depth, world.render(CAMERA, pose).depth_z)
            plan = world.plan((height - 0.002, height + 0.002))
            reach = plan.reach(x, y, yaw + turn - np.arctan(across))
            off.append(np.abs(depth[MIDDLE] * np.hypot(1, across) - reach))
    assert np.median(off) < 0.005
    assert (np.concatenate(off) < 0.03).mean() > 0.97  # but for edges


def test_the_outline_of_a_pane_is_a_line_between_its_heights():
    pane = Pane((2.0, 0.0, 1.2), (0.0, 0.8, 0.0), (0.0, 0.0, 1.0), 7, 0.1)
    line = pane_outline(pane, (0.0, 0.35))
    assert line.gap(0, 0) == pytest.approx(2.0, abs=1e-3)
    assert line.gap(2.0, 1.8) == pytest.approx(1.0, abs=1e-3)
    assert pane_outline(pane, (0.0, 0.15)) is None
    leaning = Pane((2.0, 0.0, 0.5), (0.0, 0.8, 0.0), (0.5, 0.0, 0.5), 7, 0.1)
    assert pane_outline(leaning, (0.0, 2.0)).gap(0, 0) == pytest.approx(1.5, abs=1e-3)
    assert pane_outline(leaning, (0.8, 2.0)).gap(0, 0) == pytest.approx(2.3, abs=1e-3)


@pytest.mark.parametrize('seed', of_kind(GLASS))
def test_a_pane_is_met_by_camera_plan_and_robot(seed):
    world = hazard_world(seed)
    assert isinstance(world.place, PanedPlace)
    frames = collections.Counter(part.object_id for part in world.place.parts)
    for pane in world.place.panes:
        assert frames[pane.object_id] >= 4, 'a frame all around it'
        x, y, _ = pane.middle
        height = pane.middle[2] - pane.up[2] + 0.02
        before = x - 0.5, y, 0.0
        if world.plan(MODEL.heights).gap(*before[:2]) < 0.2:
            continue
        depth = world.depth_z(CAMERA, Pose(*before[:2], height, 0.0))
        assert depth[MIDDLE, 80] == pytest.approx(0.5, abs=0.05)
        # Nothing but the pane is at this height and place.
        reach = world.plan((height - 0.002, height + 0.002)).reach(*before[:2], np.zeros(1))
        assert reach[0] == pytest.approx(0.5, abs=0.05)
        robot = straight(world, before)
        assert (robot.outcome.collisions, robot.outcome.falls) == (1, 0)
        assert robot.motion.x_m == pytest.approx(x - MODEL.radius_m, abs=0.06)


@pytest.mark.parametrize('seed', of_kind(DARK))
def test_a_dark_door_is_nearly_black_and_is_run_into(seed):
    world = hazard_world(seed)
    leaves = [
        part
        for part in world.place.parts
        if part.shape == BOX and part.half[1] == pytest.approx(0.02) and part.half[2] > 0.9
    ]
    assert leaves
    camera = CameraModel.from_field_of_view(161, 121, 0.6)
    tones, met = [], 0
    for leaf in leaves:
        c, s = -math.sin(leaf.yaw_rad), math.cos(leaf.yaw_rad)  # into the room
        at = leaf.centre[0] + 0.8 * c, leaf.centre[1] + 0.8 * s
        facing = math.atan2(-s, -c)
        if world.plan(MODEL.heights).reach(*at, np.array([facing]))[0] < 0.7:
            continue  # something stands before it
        rgb = world.render(camera, Pose(*at, 0.6, facing)).rgb
        tones.append(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[50:70, 70:90].mean())
        if world.plan(MODEL.heights).gap(*at) > 0.25:
            robot = straight(world, (*at, facing))
            assert robot.outcome.collisions == 1
            assert math.dist((robot.motion.x_m, robot.motion.y_m), at) < 0.7
            met += 1
    assert np.median(tones) < 60
    assert met


@pytest.mark.parametrize('seed', of_kind(STAIRS))
def test_over_the_first_edge_of_the_stairs_it_falls(seed):
    world = hazard_world(seed)
    rise = -world.ground.floor_m
    steps = sorted({slab.front_m for slab in world.ground.slabs}, reverse=True)
    assert steps[0] == 0
    assert 4 <= len(steps) <= 6, 'as many drops as heights but the lowest'
    drops = -np.diff([*steps, -rise])
    assert ((drops > 0.139) & (drops < 0.181)).all()
    first = next(slab for slab in world.ground.slabs if slab.front_m == steps[1])
    assert 0.259 < first.length_m < 0.301
    hall = world.place.hall
    low = max(first.y_m - 0.5 * first.width_m, hall.low[1])
    high = min(first.y_m + 0.5 * first.width_m, hall.high[1])
    robot = straight(world, (-0.8, 0.5 * (low + high), 0.0))
    assert (robot.outcome.collisions, robot.outcome.falls) == (0, 1)
    assert robot.motion.x_m == pytest.approx(-0.8 * MODEL.radius_m, abs=0.01)


@pytest.mark.parametrize('seed', of_kind(STAIRS))
def test_what_is_seen_of_stairs_is_where_the_ground_is(seed):
    world, hall = hazard_world(seed), hazard_world(seed).place.hall
    first = max(
        (slab for slab in world.ground.slabs if slab.front_m < 0), key=lambda slab: slab.front_m
    )
    low = max(first.y_m - 0.5 * first.width_m, hall.low[1])
    high = min(first.y_m + 0.5 * first.width_m, hall.high[1])
    pose = Pose(-0.3, 0.5 * (low + high), 1.2, 0.0, 0.7)
    depth = world.depth_z(CAMERA, pose).astype(float)
    x, y = CAMERA.normalised_grid()
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).astype(float) @ pose.optical_axes.T
    points = pose.position + rays * depth[..., None]
    inside = (points[..., 1] > low + 0.03) & (points[..., 1] < high - 0.03)
    inside &= points[..., 0] < hall.high[0] - 0.02
    above = (points[..., 2] - world.ground.height(points[..., 0], points[..., 1]))[inside]
    assert above.min() > -0.002
    level = np.abs(above) < 0.002
    assert level.mean() > 0.5, 'treads'
    assert len(np.unique(points[..., 2][inside][level].round(2))) >= 3, 'several of them'


def test_ground_below_its_slabs():
    ground = Ground((Slab(0.0, 0.0, 2.0, 2.0, 0.0, 0.0),), floor_m=-0.5)
    x, y = np.array([0.0, 2.0]), np.zeros(2)
    np.testing.assert_array_equal(ground.height(x, y), [0.0, -0.5])
    assert ground.edges(0.02).gap(0.0, 0.0) == pytest.approx(1.0, abs=0.002)
    assert not ground.is_flat


@pytest.mark.parametrize('seed', of_kind(NEAR, 8))
def test_things_are_at_arms_length(seed):
    world = hazard_world(seed)
    gap = world.plan((0.02, 0.5)).gap(*world.start[:2])
    assert 0.24 < gap < 0.61


@pytest.mark.parametrize('seed', SEEDS)
def test_the_start_is_free_and_perfect_sight_finds_a_way(seed):
    world = hazard_world(seed)
    robot = DrivenRobot(world, MODEL)
    assert robot.clearance_m > 0.05
    assert robot.motion.z_m == 0
    given = rig.node_settings(DrivePlan())
    scans = ScanMaker(rig.camera_model(rig.SIZE_EXACT), rig.mount(), given.depth)
    sensor = PerfectSensor(scans.scan_beams(rig.SIZE_EXACT[::-1]))
    found = drive(world, rig.ROBOT, LoopOptions(15.0), sensor, ScanAvoidance(given.avoidance))
    assert (found.collisions, found.falls) == (0, 0)
    assert found.distance_m > 1.0
