"""The closed loop in one process and in simulated time, faster than real time: no ROS.

Robot, camera, depth, geometry and avoidance are stepped by turns; what is seen arrives after a
latency, as it does from a node. A drive ends at its first collision.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from midas_depth_ros.avoidance import Avoidance, AvoidanceSettings, MessageTimes, State, read_scan
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    Beams,
    CameraModel,
    CameraMount,
    MetricDepth,
    fit_ground_plane,
    scan_limits,
)
from midas_depth_ros.images import judge_picture
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.rig import DrivePlan, NodeSettings, WorldResult, described
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, DriveOutcome, RobotModel, World
from midas_depth_ros.sim.robot.robot import Disturbance, noisy, robot_of

# --- Who wants to drive on, whatever is in the way: a constant forward command with random
# turns.
#
# A function of time alone, so that the same drive with and without avoidance asks for the same.

STRAIGHT = 0.35  # share of stretches without a turn
TURN_RAD_S = (0.25, 0.9)
STRETCH_S = (0.8, 2.5)


class Commander:
    """The commands of one drive of at most `seconds`."""

    def __init__(self, seed: int, speed_m_s: float, seconds: float) -> None:
        rng = np.random.default_rng([seed, 5])
        self._until: list[float] = []
        self._speed_m_s = speed_m_s
        self._turns: list[float] = []
        end_s = 0.0
        while end_s <= seconds:
            end_s += float(rng.uniform(*STRETCH_S))
            self._until.append(end_s)
            turn = float(rng.uniform(*TURN_RAD_S) * rng.choice((-1, 1)))
            self._turns.append(0.0 if rng.random() < STRAIGHT else turn)

    def command(self, time_s: float) -> tuple[float, float]:
        """Forward speed in m/s and turn in rad/s, to the left positive, that are wished for."""
        stretch = min(bisect.bisect(self._until, time_s), len(self._until) - 1)
        return self._speed_m_s, self._turns[stretch]


# --- From what the robot's camera sees to a scan, as depth_node does it, without ROS.
#
# Exact depth, disturbed, or a model's answer to the picture, which is judged first; then floor,
# scale, obstacles, scan, all by the parameters of depth_node.

Infer = Callable[[np.ndarray], np.ndarray]  # RGB picture -> relative inverse depth
Grid = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ScanBeams:
    """The beams of a scan, radians and metres."""

    angle_min: float
    angle_max: float
    angle_increment: float
    range_min: float
    range_max: float

    @property
    def angles(self) -> np.ndarray:
        """(n,) of the beams."""
        count = round((self.angle_max - self.angle_min) / self.angle_increment) + 1
        return self.angle_min + self.angle_increment * np.arange(count)


@dataclasses.dataclass(frozen=True)
class PlainScan:
    """A scan as sensor_msgs/LaserScan has it; `ranges` (n,) float32 metres.

    seen_free: (n,) float32 metres, how far each beam has seen the floor free, NaN = not at all;
    None where nobody tells. view_begins_m: what is less far ahead was not in view.
    """

    ranges: np.ndarray
    options: ScanBeams
    seen_free: np.ndarray | None = None
    view_begins_m: float = 0.0


class MetricSight:
    """Relative inverse depth, frame after frame, to scans; None while there is no scale."""

    def __init__(
        self, camera: CameraModel, mount: CameraMount, settings: DepthNodeSettings
    ) -> None:
        self._camera, self._mount, self._settings = camera, mount, settings
        self._options = settings.metric
        self._metric = MetricDepth()
        self._beams: dict[tuple[int, ...], tuple[Grid, Beams, ScanBeams]] = {}
        self.frames = self.refused = 0

    @property
    def reason(self) -> str:
        """Why there is no scale, or why the last fit was refused."""
        return self._metric.reason

    def scan_options(self, shape: tuple[int, ...]) -> ScanBeams:
        """The beams of scans of depth (h, w) = `shape`."""
        return self._of(shape)[2]

    def scan(self, relative: np.ndarray, stamp_s: float) -> PlainScan | None:
        """The scan of one frame, (h, w) float32, NaN where nothing is known."""
        grid, beams, options = self._of(relative.shape)
        mount = self._mount
        fit = fit_ground_plane(relative, grid, mount)
        metric = self._metric.update(stamp_s, relative, grid, mount, fit, self._options)
        self.frames += 1
        if metric is None or metric.obstacles is None:
            self.refused += 1
            return None
        limits = {'range_min': options.range_min, 'range_max': options.range_max}
        scan = beams.scan(metric.obstacles, **limits)
        return PlainScan(scan.ranges, options, scan.seen_free, beams.view_begins_m)

    def _of(self, shape: tuple[int, ...]) -> tuple[Grid, Beams, ScanBeams]:
        if shape not in self._beams:
            grid, scan = self._camera.normalised_grid(shape[1], shape[0]), self._settings.scan
            angles = scan_limits(grid, self._mount, scan.angle_increment)
            options = ScanBeams(*angles, scan.angle_increment, scan.range_min, scan.range_max)
            beams = Beams(
                grid,
                self._mount,
                angle_min=angles[0],
                angle_max=angles[1],
                angle_increment=scan.angle_increment,
                max_blind_m=scan.max_blind,
            )
            self._beams[shape] = grid, beams, options
        return self._beams[shape]


class ExactDepthEyes:
    """Exact depth, disturbed per frame, through the geometry."""

    def __init__(self, camera: CameraModel, sight: MetricSight, disturbance: Disturbance) -> None:
        self._camera, self._sight, self._disturbance = camera, sight, disturbance

    def look(self, robot: DrivenRobot) -> PlainScan | None:
        """The scan of what the camera sees now."""
        pose = robot.motion.camera_pose(robot.model)
        depth = robot.world.depth_z(self._camera, pose)
        relative = self._disturbance.relative_inverse_depth(depth)
        return self._sight.scan(relative, robot.motion.time_s)


class ModelEyes:
    """A picture, with noise, through a model and the geometry."""

    def __init__(
        self,
        camera: CameraModel,
        sight: MetricSight,
        infer: Infer,
        noise: float = RobotSettings.picture_noise,
        seed: int = 0,
    ) -> None:
        self._camera, self._sight, self._infer = camera, sight, infer
        self._noise, self._rng = noise, np.random.default_rng(seed)

    def look(self, robot: DrivenRobot) -> PlainScan | None:
        """The scan of what the camera sees now."""
        pose = robot.motion.camera_pose(robot.model)
        picture = noisy(robot.world.render(self._camera, pose).rgb, self._noise, self._rng)
        answer = self._infer(picture)
        return self._sight.scan(judge_picture(picture).masked(answer), robot.motion.time_s)


class TrueEyes:
    """Exact scans of what is within the camera's view: what perfect perception would give."""

    def __init__(self, scan: ScanBeams) -> None:
        self._scan = scan

    def look(self, robot: DrivenRobot) -> PlainScan:
        """The scan of what is there now."""
        ranges = robot.scan(self._scan.angles).astype(np.float32)
        ranges[ranges > self._scan.range_max] = np.inf
        return PlainScan(ranges, self._scan)


# --- The avoidance of `avoidance/`, fed with plain scans and commands: what avoidance_node does.


class ScanReflexes:
    """Limits commands by the newest scan; `states` counts how many steps it was in each state."""

    def __init__(self, options: AvoidanceSettings) -> None:
        self._avoidance = Avoidance(options)
        self.states: collections.Counter[State] = collections.Counter()

    def see(self, stamp_s: float, scan: PlainScan, now_s: float) -> None:
        """A scan of what was there at `stamp_s` has come at `now_s`."""
        options = scan.options
        view = read_scan(
            scan.ranges,
            options.angle_min,
            options.angle_max,
            options.angle_increment,
            options.range_min,
            options.range_max,
            self._avoidance.options.sensor,
            getattr(scan, 'seen_free', None),
            self._avoidance.options.smallest_obstacle,
        )
        self._avoidance.see_scan(view, MessageTimes(now_s, stamp_s))

    def limited(self, now_s: float, speed_m_s: float, turn_rad_s: float) -> tuple[float, float]:
        """The command to give to the robot instead of the wished one."""
        self._avoidance.command(speed_m_s, turn_rad_s, MessageTimes(now_s, now_s))
        decision = self._avoidance.step(now_s)
        self.states[decision.state] += 1
        return decision.linear, decision.angular


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How a drive goes; seconds, metres."""

    seconds: float = 40.0
    speed_m_s: float = 0.4
    camera_rate_hz: float = DepthNodeSettings.max_rate
    control_rate_hz: float = AvoidanceSettings.rate
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
) -> DriveOutcome:
    """Drive through a world, without avoidance if there are no reflexes."""
    robot = DrivenRobot(world, model, time_s=1.0)
    commander = Commander(world.seed, options.speed_m_s, options.seconds)
    on_the_way: collections.deque[tuple[float, PlainScan]] = collections.deque()
    frames = round(options.control_rate_hz / options.camera_rate_hz)
    for tick in range(round(options.seconds * options.control_rate_hz)):
        now_s = 1.0 + tick / options.control_rate_hz  # a stamp of 0 would mean none
        robot.advance(now_s)
        if robot.outcome.collisions:
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
    return robot.outcome


def drive_in_process(plan: DrivePlan, report: Callable[[str], None]) -> list[WorldResult]:
    """Drive all worlds of a plan; raises DepthError where a model cannot be loaded."""
    settings = rig.node_settings(plan)
    robot = robot_of(settings.camera)
    options = LoopOptions(
        plan.seconds, plan.speed_m_s, settings.depth.max_rate, settings.avoidance.rate
    )
    infer = None
    if plan.depth == 'model' and plan.avoiding:
        infer = load_estimator(settings.depth.model).infer
    results = []
    for seed in plan.seeds:
        world = WORLDS[settings.camera.robot.world](seed)
        blind = drive(world, robot, options) if plan.blind else None
        avoiding = None
        if plan.avoiding:
            reflexes = ScanReflexes(settings.avoidance)
            avoiding = drive(world, robot, options, eyes(settings, seed, infer), reflexes)
        results.append(WorldResult(seed, world.kind, avoiding, blind))
        for outcome, with_avoidance in ((blind, False), (avoiding, True)):
            if outcome is not None:
                report(described(seed, outcome, with_avoidance))
    return results


def eyes(settings: NodeSettings, seed: int, infer: Infer | None) -> Eyes:
    """The eyes of a drive: exact depth disturbed by `seed`, or those of a model."""
    of = settings.camera
    camera = CameraModel.from_field_of_view(of.width, of.height, of.horizontal_fov)
    mount = CameraMount(settings.depth.camera_height, settings.depth.camera_pitch)
    sight = MetricSight(camera, mount, settings.depth)
    if infer is None:
        return ExactDepthEyes(camera, sight, Disturbance(seed, of.robot))
    return ModelEyes(camera, sight, infer, of.robot.picture_noise, seed)
