"""The closed loop in simulated time: avoidance avoids what driving blind runs into."""

from __future__ import annotations

import numpy as np
import pytest

from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import (
    LoopOptions,
    PerfectSensor,
    ScanAvoidance,
    ScanMaker,
    drive,
    drive_in_process,
    make_sensor,
)
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.sim import (
    DrivenRobot,
    PlainWorld,
    Room,
    Scene,
    Sphere,
    furnished_world,
    hazard_world,
    plain_world,
    uneven_world,
)

SHORT = LoopOptions(seconds=12.0)
SETTINGS = rig.node_settings(DrivePlan())


def perfect_sensor():
    scans = ScanMaker(rig.camera_model((256, 192)), rig.mount(), SETTINGS.depth)
    return PerfectSensor(scans.scan_beams((192, 256)))


def avoidance():
    return ScanAvoidance(SETTINGS.avoidance)


@pytest.mark.parametrize('seed', [0, 2, 4])
def test_blind_it_collides_and_avoiding_it_does_not(seed):
    world = plain_world(seed)
    blind = drive(world, rig.ROBOT, SHORT)
    assert blind.collisions
    assert blind.min_clearance_m == 0
    avoiding = drive(world, rig.ROBOT, SHORT, make_sensor(SETTINGS, seed, None), avoidance())
    assert not avoiding.collisions
    assert avoiding.min_clearance_m > 0
    assert avoiding.distance_m > 0.5, 'standing still is no avoidance'
    assert avoiding.seconds > blind.seconds


def test_among_furniture_too():
    world = furnished_world(0)
    assert drive(world, rig.ROBOT, SHORT).collisions
    avoiding = drive(world, rig.ROBOT, SHORT, make_sensor(SETTINGS, 0, None), avoidance())
    assert not avoiding.collisions
    assert avoiding.distance_m > 0.5


@pytest.mark.parametrize(('seed', 'end'), [(0, 'falls'), (6, 'collisions')])
def test_on_uneven_ground_blind_it_falls_or_collides_and_avoiding_it_does_not(seed, end):
    world = uneven_world(seed)
    blind = drive(world, rig.ROBOT, LoopOptions(seconds=15.0))
    assert getattr(blind, end) == 1
    avoiding = drive(world, rig.ROBOT, SHORT, make_sensor(SETTINGS, seed, None), avoidance())
    assert (avoiding.collisions, avoiding.falls) == (0, 0)
    assert avoiding.min_clearance_m > 0, 'nor was its rim over an edge'
    assert avoiding.distance_m > 0.5, 'standing still is no avoidance'


@pytest.mark.parametrize(('seed', 'end'), [(0, 'collisions'), (1, 'collisions'), (2, 'falls')])
def test_before_doors_glass_and_stairs_blind_it_ends_there_and_avoiding_it_does_not(seed, end):
    world = hazard_world(seed)
    assert getattr(drive(world, rig.ROBOT, LoopOptions(seconds=15.0)), end) == 1
    avoiding = drive(world, rig.ROBOT, SHORT, make_sensor(SETTINGS, seed, None), avoidance())
    assert (avoiding.collisions, avoiding.falls) == (0, 0)
    assert avoiding.distance_m > 0.5, 'standing still is no avoidance'


def test_most_worlds_are_not_to_be_driven_blind():
    collided = [drive(plain_world(seed), rig.ROBOT, LoopOptions()).collisions for seed in range(40)]
    assert sum(map(bool, collided)) >= 36


def test_a_drive_is_the_same_again():
    def once():
        options = LoopOptions(seconds=3.0)
        return drive(
            plain_world(9), rig.ROBOT, options, make_sensor(SETTINGS, 9, None), avoidance()
        )

    assert once() == once()


def test_late_sight_is_worse_than_prompt_sight():
    """The latency is real: with a second of it avoidance gives up, its scans are too old."""
    world = plain_world(2)
    prompt = drive(world, rig.ROBOT, SHORT, perfect_sensor(), avoidance())
    late_options = LoopOptions(seconds=12.0, perception_latency_s=1.5)
    late = drive(
        world,
        rig.ROBOT,
        late_options,
        perfect_sensor(),
        avoidance(),
    )
    assert prompt.distance_m > 0.5
    assert late.distance_m == 0


def test_without_a_sensor_nothing_goes_forward():
    outcome = drive(plain_world(0), rig.ROBOT, SHORT, None, avoidance())
    assert outcome.distance_m == 0
    assert outcome.collisions == 0


class Blind:
    """A sensor that sees floor everywhere, whatever is there."""

    def sense(self, robot):
        scan = perfect_sensor().sense(robot)
        scan.ranges[:] = np.inf
        return scan


def test_a_sensor_that_sees_nothing_collides():
    """The harness can fail: it is perception that keeps the robot from colliding."""
    options = LoopOptions(seconds=40.0)
    collided = [
        drive(plain_world(seed), rig.ROBOT, options, Blind(), avoidance()).collisions
        for seed in (0, 2, 4, 5)
    ]
    assert all(collided)


@pytest.mark.parametrize('seed', [1, 3, 5])
def test_scans_of_disturbed_depth_are_near_the_truth(seed):
    world = plain_world(seed)
    robot = DrivenRobot(world, rig.ROBOT, time_s=1.0)
    seen = make_sensor(SETTINGS, seed, None).sense(robot)
    assert seen is not None
    true = PerfectSensor(seen.beams).sense(robot).ranges
    within = np.abs(seen.beams.angles) < 0.75
    near = (true < 3.0) & within
    assert near.sum() > 5
    assert np.isfinite(seen.ranges[near]).all(), 'nothing near is missed'
    beyond = np.abs(seen.beams.angles) > 0.82  # only the lower corners look there
    assert beyond.sum() > 5
    assert not np.isposinf(seen.ranges[beyond]).any()
    off = seen.ranges[near] / true[near] - 1
    assert np.abs(np.median(off)) < 0.08


def test_a_model_is_given_pictures():
    """At the size and rate of the plan."""
    world = plain_world(0)
    shapes = []

    def infer(picture):
        shapes.append((picture.shape, picture.dtype))
        rows = np.linspace(0, 1, 24, dtype=np.float32)[:, None]
        return np.broadcast_to(rows, (24, 32)).copy(), None

    drive(
        world,
        rig.ROBOT,
        LoopOptions(seconds=0.5, camera_rate_hz=10.0),
        make_sensor(rig.node_settings(DrivePlan(depth='model')), 0, infer),
        avoidance(),
    )
    assert set(shapes) == {((240, 320, 3), np.dtype(np.uint8))}
    assert len(shapes) == 5


def test_plan_to_results():
    said = []
    results = drive_in_process(DrivePlan(worlds=2, seed=2, seconds=3.0), said.append)
    assert [result.seed for result in results] == [2, 3]
    assert all(result.avoiding and result.blind for result in results)
    assert len(said) == 4
    only = drive_in_process(DrivePlan(worlds=1, seconds=2.0, avoiding=False), said.append)[0]
    assert only.avoiding is None
    assert only.blind is not None


def test_a_ball_in_the_way_is_seen():
    scene = Scene(room=Room(-2, 6, -2, 2), solids=(Sphere(1.6, 0.0, 0.15, 0.15),))
    robot = DrivenRobot(PlainWorld(scene, (0.0, 0.0, 0.0), 'test', 0), rig.ROBOT, 1.0)
    scan = make_sensor(SETTINGS, 0, None).sense(robot)
    assert scan is not None
    ahead = scan.ranges[len(scan.ranges) // 2]
    assert ahead == pytest.approx(1.45, abs=0.1)
