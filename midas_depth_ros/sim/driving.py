"""A robot driving in a scene: it moves, bumps, and a tally is kept.

Commands and times come in; the motion, collisions, distance driven, stops and smallest clearance
go out. A collision stops the robot at the last free place, and is one until it has backed off.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.plan_view import Heights, PlanView
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.render import Rendering
from midas_depth_ros.sim.robot import STEP_S, Motion, Robot, RobotModel

MOVING_M_S, STOPPED_M_S = 0.05, 0.01  # a stop: from faster than the first to slower than the second
APART_M = 0.02  # so far from what it ran into it may run into something anew
SCAN_HEIGHTS_M = (0.03, 0.5)  # what a scan for evaluation takes for an obstacle, at these heights


@dataclasses.dataclass(frozen=True)
class Tally:
    """What came of a drive so far; metres and seconds."""

    collisions: int = 0
    distance_m: float = 0.0
    turned_rad: float = 0.0
    stops: int = 0
    min_clearance_m: float = math.inf
    seconds: float = 0.0


class World(Protocol):
    """What a robot needs of a world: a start, what is in the way, what is to be seen."""

    @property
    def start(self) -> tuple[float, float, float]:
        """x and y in metres, yaw in radians."""

    @property
    def kind(self) -> str:
        """In a word what it is."""

    @property
    def seed(self) -> int:
        """What it was made from."""

    def plan(self, heights: Heights) -> PlanView:
        """What there is between two heights, from above."""

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """What a camera sees from a pose."""

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """The exact depth alone, (H, W) float32."""


class DrivenRobot:
    """A robot in a world, from its start pose on."""

    def __init__(self, world: World, model: RobotModel, time_s: float = 0.0) -> None:
        self.world = world
        self.model = model
        x, y, yaw = world.start
        self._robot = Robot(model, Motion(time_s, x, y, yaw))
        self._in_the_way = world.plan(model.heights)
        self._seen = world.plan(SCAN_HEIGHTS_M)
        self._moving = self._touching = False
        self.tally = Tally(min_clearance_m=self.clearance_m)

    @property
    def motion(self) -> Motion:
        """Where the robot is now."""
        return self._robot.motion

    @property
    def clearance_m(self) -> float:
        """Metres between the robot's edge and the nearest solid or wall; 0 when they touch."""
        motion = self._robot.motion
        return max(self._in_the_way.gap(motion.x_m, motion.y_m) - self.model.radius_m, 0.0)

    def command(self, time_s: float, speed_m_s: float, turn_rad_s: float) -> None:
        """Take a command, as `Robot.command` does."""
        self._robot.command(time_s, speed_m_s, turn_rad_s)

    def advance(self, time_s: float) -> Motion:
        """Drive on until `time_s`; a time that has passed changes nothing."""
        start = self.motion.time_s
        steps = max(0, math.ceil((time_s - start) / STEP_S - 1e-9))
        for number in range(1, steps + 1):
            self._step(start + (time_s - start) * number / steps)
        return self.motion

    def scan(self, angles_rad: np.ndarray) -> np.ndarray:
        """Exact ranges (n,) metres from the camera's place, at angles to the left of ahead."""
        pose = self.motion.camera_pose(self.model)
        return self._seen.reach(pose.x_m, pose.y_m, pose.yaw_rad + angles_rad)

    def _step(self, time_s: float) -> None:
        before, tally = self.motion, self.tally
        after = self._robot.step(time_s)
        gap = self._in_the_way.gap(after.x_m, after.y_m) - self.model.radius_m
        bumped = gap <= 0 and not self._touching
        self._touching = gap <= (APART_M if self._touching else 0.0)
        if gap <= 0:
            self._robot.hold(before)
            after = self.motion
        moved = math.hypot(after.x_m - before.x_m, after.y_m - before.y_m)
        speed = abs(after.speed_m_s)
        stopped = self._moving and speed < STOPPED_M_S
        self._moving = speed > MOVING_M_S or (self._moving and not stopped)
        self.tally = Tally(
            tally.collisions + bumped,
            tally.distance_m + moved,
            tally.turned_rad + abs(math.remainder(after.yaw_rad - before.yaw_rad, math.tau)),
            tally.stops + stopped,
            min(tally.min_clearance_m, max(gap, 0.0)),
            tally.seconds + time_s - before.time_s,
        )
