"""The closed loop in one process and in simulated time, faster than real time, without ROS.

Robot, camera, depth, geometry and avoidance are stepped in turn; a scan arrives after a latency, as
it does from a node.
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
    FloorInView,
    MetricDepth,
    ScaleShift,
    fit_ground_plane,
    mount_in_view,
    scan_limits,
)
from midas_depth_ros.images import judge_picture
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.rig import DrivePlan, NodeSettings, WorldResult, drive_line
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, DriveOutcome, RobotModel, World
from midas_depth_ros.sim.robot.robot import MEAN_SCALE, Disturbance, noisy, robot_of

# --- The commands: forward at constant speed, with random turns. A function of time alone, so that
# a drive with avoidance and one without get the same commands.

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
        """Return the commanded forward speed in m/s and turn rate in rad/s, left positive."""
        stretch = min(bisect.bisect(self._until, time_s), len(self._until) - 1)
        return self._speed_m_s, self._turns[stretch]


# --- From what the robot's camera sees to a scan, as depth_node does it, without ROS.

NEAREST_METRES, FARTHEST_METRES = 0.1, 20.0  # that a network says, as those that know rooms
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
        """(n,) radians."""
        count = round((self.angle_max - self.angle_min) / self.angle_increment) + 1
        return self.angle_min + self.angle_increment * np.arange(count)


@dataclasses.dataclass(frozen=True)
class PlainScan:
    """A scan as sensor_msgs/LaserScan has it; `ranges` (n,) float32 metres.

    seen_free: (n,) float32 metres, how far the floor was seen free on each beam, NaN = not at all;
    None = not known.
    """

    ranges: np.ndarray
    beams: ScanBeams
    seen_free: np.ndarray | None = None


class ScanMaker:
    """Makes scans of relative inverse depth, frame by frame; None while there is no scale."""

    def __init__(
        self, camera: CameraModel, mount: CameraMount, settings: DepthNodeSettings
    ) -> None:
        self._camera, self._mount, self._settings = camera, mount, settings
        self._metric = MetricDepth()
        self._geometry: dict[tuple[int, ...], tuple[Grid, Beams, ScanBeams]] = {}

    def scan_beams(self, shape: tuple[int, ...]) -> ScanBeams:
        """Return the beams of the scans of depth of shape (h, w)."""
        return self._geometry_of(shape)[2]

    def scan(self, relative: np.ndarray, stamp_s: float) -> PlainScan | None:
        """Return the scan of one frame, (h, w) float32, NaN = unknown."""
        grid, beams, scan_beams = self._geometry_of(relative.shape)
        fit = fit_ground_plane(relative, grid, self._mount)
        metric = self._metric.update(
            stamp_s, relative, grid, self._mount, fit, self._settings.metric
        )
        if metric is None or metric.obstacles is None:
            return None
        limits = {'range_min': scan_beams.range_min, 'range_max': scan_beams.range_max}
        scan = beams.scan(metric.obstacles, **limits)
        return PlainScan(scan.ranges, scan_beams, scan.seen_free)

    def _geometry_of(self, shape: tuple[int, ...]) -> tuple[Grid, Beams, ScanBeams]:
        if shape not in self._geometry:
            grid = self._camera.normalised_grid(shape[1], shape[0])
            scan_beams = beams_in_view(grid, self._mount, self._settings)
            beams = beams_of(scan_beams, grid, self._mount, self._settings)
            self._geometry[shape] = grid, beams, scan_beams
        return self._geometry[shape]


def beams_in_view(grid: Grid, mount: CameraMount, settings: DepthNodeSettings) -> ScanBeams:
    """Return the beams of the scans of a camera."""
    scan = settings.scan
    low, high = scan_limits(grid, mount, scan.angle_increment)
    return ScanBeams(low, high, scan.angle_increment, scan.range_min, scan.range_max)


def beams_of(
    beams: ScanBeams, grid: Grid, mount: CameraMount, settings: DepthNodeSettings
) -> Beams:
    """Return which pixels these beams look along."""
    return Beams(
        grid,
        mount,
        angle_min=beams.angle_min,
        angle_max=beams.angle_max,
        angle_increment=beams.angle_increment,
        max_blind_m=settings.scan.max_blind,
    )


class ModelScanMaker:
    """Makes scans of the metres that a network gives, with `scale.source: model` and no mount.

    How the camera is mounted is seen by the floor, as in a node that is told neither height nor
    pitch.
    """

    def __init__(self, camera: CameraModel, settings: DepthNodeSettings) -> None:
        self._camera, self._settings = camera, settings
        self._metric, self._floor = MetricDepth(), FloorInView()
        self._scan_beams: ScanBeams | None = None  # of the first mount: the same ever after
        self._beams: tuple[CameraMount, Beams] | None = None

    def scan(self, d: np.ndarray, stamp_s: float) -> PlainScan | None:
        """Return the scan of one frame, (h, w) float32 1/metres, NaN = unknown."""
        grid = self._camera.normalised_grid(d.shape[1], d.shape[0])
        scale = ScaleShift(1.0, 0.0, 'model', far_end=1 / FARTHEST_METRES)
        mount = self._floor.update(stamp_s, mount_in_view(d, grid, scale))
        known = mount if isinstance(mount, CameraMount) else None
        metric = self._metric.update(stamp_s, d, grid, known, scale, self._settings.metric)
        if known is None or metric is None or metric.obstacles is None:
            return None
        if self._scan_beams is None:
            self._scan_beams = beams_in_view(grid, known, self._settings)
        if self._beams is None or self._beams[0] != known:
            self._beams = known, beams_of(self._scan_beams, grid, known, self._settings)
        limits = self._settings.scan
        scan = self._beams[1].scan(
            metric.obstacles, range_min=limits.range_min, range_max=limits.range_max
        )
        return PlainScan(scan.ranges, self._scan_beams, scan.seen_free)


class ScanSensor(Protocol):
    """What makes a scan of what the robot's camera sees."""

    def sense(self, robot: DrivenRobot) -> PlainScan | None:
        """Return a scan, or None without a metric scale."""


class ExactDepthSensor:
    """Exact depth, disturbed in every frame, through the geometry."""

    def __init__(self, camera: CameraModel, scans: ScanMaker, disturbance: Disturbance) -> None:
        self._camera, self._scans, self._disturbance = camera, scans, disturbance

    def sense(self, robot: DrivenRobot) -> PlainScan | None:
        """Return the scan of the present view."""
        pose = robot.motion.camera_pose(robot.model)
        depth = robot.world.depth_z(self._camera, pose)
        relative = self._disturbance.relative_inverse_depth(depth)
        return self._scans.scan(relative, robot.motion.time_s)


class MetresSensor:
    """Exact depth with noise as the metres of a network, all of them off by one factor."""

    def __init__(
        self, camera: CameraModel, scans: ModelScanMaker, noise: Disturbance, factor: float
    ) -> None:
        """noise: without a scale or shift of its own, see `make_sensor`."""
        self._camera, self._scans, self._noise, self._factor = camera, scans, noise, factor

    def sense(self, robot: DrivenRobot) -> PlainScan | None:
        """Return the scan of the present view."""
        depth = robot.world.depth_z(self._camera, robot.motion.camera_pose(robot.model))
        inverse = self._noise.relative_inverse_depth(depth) / np.float32(MEAN_SCALE * self._factor)
        said = np.clip(inverse, 1 / FARTHEST_METRES, 1 / NEAREST_METRES).astype(np.float32)
        return self._scans.scan(said, robot.motion.time_s)


class ModelSensor:
    """A noisy picture through a model, whose depth is masked where the picture is blind."""

    def __init__(
        self, camera: CameraModel, scans: ScanMaker, infer: Infer, noise: float, seed: int
    ) -> None:
        self._camera, self._scans, self._infer = camera, scans, infer
        self._noise, self._rng = noise, np.random.default_rng(seed)

    def sense(self, robot: DrivenRobot) -> PlainScan | None:
        """Return the scan of the present view."""
        pose = robot.motion.camera_pose(robot.model)
        picture = noisy(robot.world.render(self._camera, pose).rgb, self._noise, self._rng)
        answer = self._infer(picture)
        return self._scans.scan(judge_picture(picture).masked(answer), robot.motion.time_s)


class PerfectSensor:
    """Exact scans of what is within the camera's view."""

    def __init__(self, beams: ScanBeams) -> None:
        self._beams = beams

    def sense(self, robot: DrivenRobot) -> PlainScan:
        """Return the exact scan."""
        ranges = robot.scan(self._beams.angles).astype(np.float32)
        ranges[ranges > self._beams.range_max] = np.inf
        return PlainScan(ranges, self._beams)


def make_sensor(
    settings: NodeSettings, seed: int, infer: Infer | None, metres_off: float = 1.0
) -> ScanSensor:
    """Return the sensor of a drive: a model's, or exact depth disturbed by `seed`.

    With `scale.source: model` the depth is in metres, by a factor `metres_off` too far.
    """
    of = settings.camera
    camera = CameraModel.from_field_of_view(of.width, of.height, of.horizontal_fov)
    if settings.depth.scale.source == 'model':
        steady = dataclasses.replace(of.robot, depth_scale_factor=1.0, depth_shift=0.0)
        scans_of_model = ModelScanMaker(camera, settings.depth)
        return MetresSensor(camera, scans_of_model, Disturbance(seed, steady), metres_off)
    mount = CameraMount(settings.depth.camera_height, settings.depth.camera_pitch)
    scans = ScanMaker(camera, mount, settings.depth)
    if infer is None:
        return ExactDepthSensor(camera, scans, Disturbance(seed, of.robot))
    return ModelSensor(camera, scans, infer, of.robot.picture_noise, seed)


# --- The loop.


class ScanAvoidance:
    """The avoidance, as avoidance_node runs it; `states` counts the steps in each state."""

    def __init__(self, options: AvoidanceSettings) -> None:
        self._avoidance = Avoidance(options)
        self.states: collections.Counter[State] = collections.Counter()

    def add_scan(self, stamp_s: float, scan: PlainScan, now_s: float) -> None:
        """Take a scan stamped `stamp_s` that arrives at `now_s`."""
        beams, options = scan.beams, self._avoidance.options
        view = read_scan(
            scan.ranges,
            beams.angle_min,
            beams.angle_max,
            beams.angle_increment,
            beams.range_min,
            beams.range_max,
            options.sensor,
            scan.seen_free,
            options.smallest_obstacle,
        )
        self._avoidance.see_scan(view, MessageTimes(now_s, stamp_s))

    def limit(self, now_s: float, speed_m_s: float, turn_rad_s: float) -> tuple[float, float]:
        """Return the safe command for a requested one."""
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


def drive(
    world: World,
    model: RobotModel,
    options: LoopOptions,
    sensor: ScanSensor | None = None,
    avoidance: ScanAvoidance | None = None,
) -> DriveOutcome:
    """Drive through a world until the first collision or fall, with avoidance if one is given."""
    robot = DrivenRobot(world, model, time_s=1.0)
    commander = Commander(world.seed, options.speed_m_s, options.seconds)
    arriving: collections.deque[tuple[float, PlainScan]] = collections.deque()
    frames = round(options.control_rate_hz / options.camera_rate_hz)
    for tick in range(round(options.seconds * options.control_rate_hz)):
        now_s = 1.0 + tick / options.control_rate_hz  # a stamp of 0 would mean none
        robot.advance(now_s)
        if robot.outcome.collisions or robot.outcome.falls:
            break
        if sensor is not None and tick % frames == 0:
            scan = sensor.sense(robot)
            if scan is not None:
                arriving.append((now_s, scan))
        speed, turn = commander.command(now_s)
        if avoidance is not None:
            while arriving and arriving[0][0] + options.perception_latency_s <= now_s:
                avoidance.add_scan(*arriving.popleft(), now_s)
            speed, turn = avoidance.limit(now_s, speed, turn)
        robot.command(now_s, speed, turn)
    return robot.outcome


def drive_in_process(plan: DrivePlan, report: Callable[[str], None]) -> list[WorldResult]:
    """Drive through all worlds of a plan. Raises DepthError if a model cannot be loaded."""
    settings = rig.node_settings(plan)
    robot = robot_of(settings.camera)
    options = LoopOptions(
        plan.seconds, plan.speed_m_s, settings.depth.max_rate, settings.avoidance.rate
    )
    infer = None
    if plan.depth == 'model' and plan.avoiding:
        infer = load_estimator(
            settings.depth.model,
            accept_licence=settings.depth.accept_licence,
            network_size=settings.depth.network_size,
            network_aspect=settings.depth.network_aspect,
            for_robot=True,
        ).infer
    results = []
    for seed in plan.seeds:
        world = WORLDS[settings.camera.robot.world](seed)
        blind = drive(world, robot, options) if plan.blind else None
        avoiding = None
        if plan.avoiding:
            avoidance = ScanAvoidance(settings.avoidance)
            sensor = make_sensor(settings, seed, infer, plan.metres_off)
            avoiding = drive(world, robot, options, sensor, avoidance)
        results.append(WorldResult(seed, world.kind, avoiding, blind))
        for outcome, with_avoidance in ((blind, False), (avoiding, True)):
            if outcome is not None:
                report(drive_line(seed, outcome, with_avoidance))
    return results
