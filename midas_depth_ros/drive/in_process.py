"""The closed loop in one process and in simulated time, faster than real time: no ROS.

Robot, camera, depth, geometry and avoidance are stepped by turns; what is seen arrives after a
latency, as it does from a node. A drive ends at its first collision.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Protocol

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.drive import rig
from midas_depth_ros.drive.commander import Commander
from midas_depth_ros.drive.perception import (
    ExactDepthEyes,
    Infer,
    MetricSight,
    ModelEyes,
    PlainScan,
)
from midas_depth_ros.drive.plan import DrivePlan
from midas_depth_ros.drive.reflexes import ScanReflexes
from midas_depth_ros.drive.result import WorldResult, described
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, RobotModel, Tally, World
from midas_depth_ros.sim.disturb import Disturbance


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How a drive goes; seconds, metres."""

    seconds: float = 40.0
    speed_m_s: float = 0.4
    camera_rate_hz: float = DepthNodeSettings.max_rate
    control_rate_hz: float = 20.0
    perception_latency_s: float = 0.15  # from the picture's stamp to its scan


class Eyes(Protocol):
    """What makes a scan of what the robot's camera sees."""

    def look(self, robot: DrivenRobot) -> PlainScan | None:
        """A scan for `Reflexes.see`, or None where there is none."""


class Reflexes(Protocol):
    """What makes a safe command of a wished one, from the newest scan."""

    def see(self, stamp_s: float, scan: PlainScan, now_s: float) -> None:
        """Take a scan that has come now and shows what was there at `stamp_s`."""

    def limited(self, now_s: float, speed_m_s: float, turn_rad_s: float) -> tuple[float, float]:
        """The command to give to the robot."""


def drive(
    world: World,
    model: RobotModel,
    options: LoopOptions,
    eyes: Eyes | None = None,
    reflexes: Reflexes | None = None,
) -> Tally:
    """Drive through a world, without avoidance if there are no reflexes."""
    robot = DrivenRobot(world, model, time_s=1.0)
    commander = Commander(world.seed, options.speed_m_s, options.seconds)
    on_the_way: collections.deque[tuple[float, PlainScan]] = collections.deque()
    frames = round(options.control_rate_hz / options.camera_rate_hz)
    for tick in range(round(options.seconds * options.control_rate_hz)):
        now_s = 1.0 + tick / options.control_rate_hz  # a stamp of 0 would mean none
        robot.advance(now_s)
        if robot.tally.collisions:
            break
        if eyes is not None and tick % frames == 0:
            scan = eyes.look(robot)
            if scan is not None:
                on_the_way.append((now_s, scan))
        speed, turn = commander.command(now_s)
        if reflexes is not None:
            while on_the_way and on_the_way[0][0] + options.perception_latency_s <= now_s:
                reflexes.see(*on_the_way.popleft(), now_s)
            speed, turn = reflexes.limited(now_s, speed, turn)
        robot.command(now_s, speed, turn)
    return robot.tally


def drive_in_process(plan: DrivePlan, report: Callable[[str], None]) -> list[WorldResult]:
    """Drive all worlds of a plan; raises DepthError where a model cannot be loaded."""
    options = LoopOptions(plan.seconds, plan.speed_m_s, plan.rate_hz)
    infer = None
    if plan.depth == 'model' and plan.avoiding:
        infer = load_estimator(plan.model).infer
    results = []
    for seed in plan.seeds:
        world = WORLDS[plan.worlds_are](seed)
        blind = drive(world, rig.ROBOT, options) if plan.blind else None
        avoiding = None
        if plan.avoiding:
            reflexes = ScanReflexes(rig.avoidance_options())
            avoiding = drive(world, rig.ROBOT, options, eyes(seed, infer), reflexes)
        results.append(WorldResult(seed, world.kind, avoiding, blind))
        for tally, with_avoidance in ((blind, False), (avoiding, True)):
            if tally is not None:
                report(described(seed, tally, with_avoidance))
    return results


def eyes(seed: int, infer: Infer | None) -> Eyes:
    """The eyes of a drive: exact depth disturbed by `seed`, or those of a model."""
    camera = rig.camera_model(rig.SIZE_EXACT if infer is None else rig.SIZE_MODEL)
    sight = MetricSight(camera, rig.mount(), rig.depth_settings())
    if infer is None:
        return ExactDepthEyes(camera, sight, Disturbance(seed))
    return ModelEyes(camera, sight, infer, seed=seed)
