"""The closed loop in one process and in simulated time, faster than real time, without ROS.

Robot, camera, depth, geometry and avoidance are stepped in turn; a scan arrives after a latency, as
it does from a node.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from midas_depth_ros.avoidance import Avoidance, AvoidanceSettings, MessageTimes, State, read_scan
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    Agreement,
    Beams,
    BodyPose,
    CameraModel,
    CameraMount,
    FloorInView,
    FloorMotion,
    LowerCorners,
    MetricDepth,
    MetricFrame,
    ParallaxScale,
    Refusal,
    ScaleShift,
    Scan,
    body_from_optical,
    camera_pose,
    fit_ground_plane,
    lower_corners,
    mount_in_view,
    scan_limits,
)
from midas_depth_ros.images import judge_picture
from midas_depth_ros.images.message_bytes import grey_of, grey_reduced
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.by_hand import Person
from midas_depth_ros.lab.drive.rig import (
    DrivePlan,
    MetresTally,
    NodeSettings,
    WorldResult,
    drive_line,
)
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import (
    WORLDS,
    DrivenRobot,
    DriveOutcome,
    Motion,
    RobotModel,
    World,
)
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
TRACKED_WIDTH = 320  # of the grey picture in which corners are tracked, as in depth_node
NEAR_M, LEAST_NEAR = 4.0, 0.05  # where metres are judged, and the share of the picture it takes
# RGB picture -> relative inverse depth, and what the network expects it to be off by.
Infer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
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

    @property
    def knows(self) -> bool:
        """Whether it knows anything; one that knows nothing withdraws the one before."""
        return not np.isnan(self.ranges).all()


@dataclasses.dataclass(frozen=True)
class Seen:
    """What there is of a frame besides its depth.

    rgb: (H, W, 3) uint8 picture. reported: the robot's motion by its odometry. depth_z: (H, W), the
    true depth, by which metres are judged. error: (h, w) float32, what the network expects its
    depth to be off by; None where it does not say that.
    """

    rgb: np.ndarray
    reported: Motion
    depth_z: np.ndarray
    error: np.ndarray | None = None


class FrameSources:
    """Scale and shift of each frame by floor, odometry or both, as depth_node takes them."""

    def __init__(
        self, camera: CameraModel, mount: CameraMount, settings: DepthNodeSettings
    ) -> None:
        self._camera, self._mount, self._settings = camera, mount, settings
        at = settings.camera_x, settings.camera_y, mount.height_m
        self._lens = body_from_optical(mount, *at)
        self._parallax, self._agreement = ParallaxScale(settings.odometry), Agreement()
        self._floor_motion, self._lower = FloorMotion(), LowerCorners()

    @property
    def refuted(self) -> bool:
        """Whether earlier frames must not vouch for this one either."""
        return bool(self._agreement.refuted or self._floor_motion.found or self._lower.found)

    def fit(
        self, stamp_s: float, relative: np.ndarray, grid: Grid, seen: Seen | None
    ) -> ScaleShift | Refusal:
        """Return the scale of a frame; without `seen` there is no odometry."""
        source = self._settings.scale.source
        if seen is None or not self._settings.odometry.topic:
            lower = self._lower_floor(stamp_s, seen)
            return Refusal(lower) if lower else self._by_floor(relative, grid)
        pose = self.pose(seen.reported)
        by_motion = self._by_motion(stamp_s, relative, seen, pose)
        if source == 'odometry':
            return self._unless_lower(stamp_s, by_motion, pose)
        found = {'ground_plane': self._by_floor(relative, grid), 'odometry': by_motion}
        agreed = self._agreement.update(stamp_s, found, relative, pose)
        return self._unless_lower(stamp_s, agreed, pose)

    def _unless_lower(
        self, stamp_s: float, fit: ScaleShift | Refusal, pose: np.ndarray | Refusal
    ) -> ScaleShift | Refusal:
        """The scale, unless corners lie below the floor."""
        place = None if isinstance(pose, Refusal) else pose
        corners, settings = self._parallax.corners, self._settings
        drop_m = settings.metric.obstacles.max_drop
        seen = None
        if corners is not None and place is not None:
            seen = lower_corners(corners, self._mount, settings.sigma, drop_m)
        lower = self._lower.update(stamp_s, seen, place)
        return Refusal(lower) if lower and isinstance(fit, ScaleShift) else fit

    def _by_floor(self, relative: np.ndarray, grid: Grid) -> ScaleShift | Refusal:
        settings = self._settings
        drop_m = settings.metric.obstacles.max_drop
        return fit_ground_plane(
            relative, grid, self._mount, sigma=settings.sigma, max_drop_m=drop_m
        )

    def _lower_floor(self, stamp_s: float, seen: Seen | None) -> str:
        """Why the floor does not go on as it seems to, by how it moves; '' where it may."""
        if seen is None or not self._settings.scale.floor_motion:
            return ''
        grey = grey_reduced(seen.rgb, TRACKED_WIDTH)
        camera = self._camera.scaled(grey.shape[1], grey.shape[0])
        return self._floor_motion.update(stamp_s, grey, camera, self._mount)

    def _by_motion(
        self, stamp_s: float, relative: np.ndarray, seen: Seen, pose: np.ndarray | Refusal
    ) -> ScaleShift | Refusal:
        grey = grey_reduced(seen.rgb, TRACKED_WIDTH)
        camera = self._camera.scaled(grey.shape[1], grey.shape[0])
        shape = self._settings.scale.shape
        return self._parallax.update(stamp_s, grey, relative, camera, pose, shape)

    def pose(self, reported: Motion) -> np.ndarray | Refusal:
        """From the optical into the fixed frame of the odometry, which is planar."""
        half = 0.5 * reported.yaw_rad
        place = np.array([reported.x_m, reported.y_m, 0.0])
        body = BodyPose.of(place, np.array([0.0, 0.0, np.sin(half), np.cos(half)]))
        return camera_pose(body, self._lens)


class ScanMaker:
    """Makes scans of relative inverse depth, frame by frame; None while there is no scale.

    `tally` counts frames and judges the metres of those whose true depth is known.
    """

    def __init__(
        self, camera: CameraModel, mount: CameraMount, settings: DepthNodeSettings
    ) -> None:
        self._camera, self._mount, self._settings = camera, mount, settings
        self._metric = MetricDepth()
        self._sources = FrameSources(camera, mount, settings)
        self.tally = MetresTally()
        self._scan_s = -math.inf  # of the last one with metres
        self._geometry: dict[tuple[int, ...], tuple[Grid, Beams, ScanBeams]] = {}

    @property
    def by_odometry(self) -> bool:
        """Whether pictures and odometry are needed besides depth."""
        return bool(self._settings.odometry.topic)

    def scan_beams(self, shape: tuple[int, ...]) -> ScanBeams:
        """Return the beams of the scans of depth of shape (h, w)."""
        return self._geometry_of(shape)[2]

    def scan(
        self, relative: np.ndarray, stamp_s: float, seen: Seen | None = None
    ) -> PlainScan | None:
        """Return the scan of one frame, (h, w) float32, NaN = unknown."""
        grid, beams, scan_beams = self._geometry_of(relative.shape)
        fit = self._sources.fit(stamp_s, relative, grid, seen)
        if self._sources.refuted:
            self._metric.reset()
        settings = self._settings.metric
        metric = self._metric.update(
            stamp_s,
            relative,
            grid,
            self._mount,
            fit,
            settings,
            *self._to_fuse(relative.shape, seen),
            error=None if seen is None else seen.error,
        )
        if seen is not None:
            self.tally = self.tally.with_frame(_metres_off(metric, seen.depth_z))
        if metric is None or metric.obstacles is None:
            return self._withdrawn(stamp_s, scan_beams)
        self._scan_s = stamp_s
        limits = {'range_min': scan_beams.range_min, 'range_max': scan_beams.range_max}
        scan = beams.scan(metric.obstacles, **limits)
        return PlainScan(scan.ranges, scan_beams, scan.seen_free)

    def _withdrawn(self, stamp_s: float, beams: ScanBeams) -> PlainScan | None:
        """A scan that knows nothing, in place of the last one if that has been refuted."""
        if not self._sources.refuted or stamp_s - self._scan_s > self._settings.scale.expiry:
            return None
        nothing = Scan.withdrawal(len(beams.angles))
        return PlainScan(nothing.ranges, beams, nothing.seen_free)

    def _to_fuse(
        self, shape: tuple[int, ...], seen: Seen | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The picture and the camera's pose, for fusion over time."""
        if seen is None or not self._settings.fusion.enabled:
            return None, None
        pose = self._sources.pose(seen.reported) if self.by_odometry else None
        return grey_of(seen.rgb, shape), pose if isinstance(pose, np.ndarray) else None

    def _geometry_of(self, shape: tuple[int, ...]) -> tuple[Grid, Beams, ScanBeams]:
        if shape not in self._geometry:
            grid = self._camera.normalised_grid(shape[1], shape[0])
            scan_beams = beams_in_view(grid, self._mount, self._settings)
            beams = beams_of(scan_beams, grid, self._mount, self._settings)
            self._geometry[shape] = grid, beams, scan_beams
        return self._geometry[shape]


def _metres_off(metric: MetricFrame | None, true_z: np.ndarray) -> float | None:
    """By what share metres are off, in the median of what is near; None = there are none."""
    if metric is None:
        return None
    height, width = metric.depth_z.shape
    true = cv2.resize(true_z, (width, height), interpolation=cv2.INTER_NEAREST)
    near = np.isfinite(metric.depth_z) & (true < NEAR_M)
    if near.sum() < LEAST_NEAR * near.size:
        return math.nan
    return float(np.median(metric.depth_z[near] / true[near])) - 1


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
        if not self._scans.by_odometry:
            depth = robot.world.depth_z(self._camera, pose)
            relative = self._disturbance.relative_inverse_depth(depth)
            return self._scans.scan(relative, robot.motion.time_s)
        rendering = robot.world.render(self._camera, pose)
        relative = self._disturbance.relative_inverse_depth(rendering.depth_z)
        seen = Seen(rendering.rgb, robot.odometry.reported, rendering.depth_z)
        return self._scans.scan(relative, robot.motion.time_s, seen)

    @property
    def tally(self) -> MetresTally:
        """How often there were metres, and right ones."""
        return self._scans.tally


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

    @property
    def tally(self) -> MetresTally:
        """How often there were metres, and right ones: not counted."""
        return MetresTally()


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
        rendering = robot.world.render(self._camera, pose)
        picture = noisy(rendering.rgb, self._noise, self._rng)
        relative, error = self._infer(picture)
        masked = judge_picture(picture).masked(relative)
        seen = Seen(picture, robot.odometry.reported, rendering.depth_z, error)
        return self._scans.scan(masked, robot.motion.time_s, seen)

    @property
    def tally(self) -> MetresTally:
        """How often there were metres, and right ones."""
        return self._scans.tally


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
) -> ExactDepthSensor | MetresSensor | ModelSensor:
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


BEGIN_S = 1.0  # of a drive: a stamp of 0 would mean none
AROUND_RAD = np.linspace(-np.pi, np.pi, 180, endpoint=False)  # where a person looks


def drive(
    world: World,
    model: RobotModel,
    options: LoopOptions,
    sensor: ScanSensor | None = None,
    avoidance: ScanAvoidance | None = None,
    wheels: RobotSettings | None = None,
    person: Person | None = None,
) -> DriveOutcome:
    """Drive through a world until the first collision or fall, with avoidance if one is given.

    wheels: the errors of the odometry. person: takes over while there are no metres.
    """
    robot = DrivenRobot(world, model, time_s=BEGIN_S, wheels=wheels)
    commander = Commander(world.seed, options.speed_m_s, options.seconds)
    arriving: collections.deque[tuple[float, PlainScan]] = collections.deque()
    frames = round(options.control_rate_hz / options.camera_rate_hz)
    for tick in range(round(options.seconds * options.control_rate_hz)):
        now_s = BEGIN_S + tick / options.control_rate_hz
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
                taken_s, scan = arriving.popleft()
                avoidance.add_scan(taken_s, scan, now_s)
                if person is not None and scan.knows:
                    person.see_metres(now_s)
            by_hand = None
            if person is not None:
                around = AROUND_RAD, robot.scan(AROUND_RAD)
                by_hand = person.command(now_s, *around, robot.outcome.distance_m)
            speed, turn = by_hand or avoidance.limit(now_s, speed, turn)
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
        ).infer_with_error
    results = []
    for seed in plan.seeds:
        world = WORLDS[settings.camera.robot.world](seed)
        blind = drive(world, robot, options) if plan.blind else None
        result = WorldResult(seed, world.kind, None, blind)
        if plan.avoiding:
            avoidance = ScanAvoidance(settings.avoidance)
            scans = make_sensor(settings, seed, infer, plan.metres_off)
            person = Person(BEGIN_S, robot.radius_m) if plan.by_odometry else None
            wheels = settings.camera.robot
            avoiding = drive(world, robot, options, scans, avoidance, wheels, person)
            result = dataclasses.replace(
                result,
                avoiding=avoiding,
                by_hand=person.help if person else None,
                metres=scans.tally,
            )
        results.append(result)
        for outcome, with_avoidance in ((blind, False), (result.avoiding, True)):
            if outcome is not None:
                report(drive_line(seed, outcome, with_avoidance))
    return results
