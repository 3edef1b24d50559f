"""A small differential-drive robot: what it can do, and how commands become motion.

Commands of forward speed and turn rate come in with their time; they act after the latency, within
limits of speed and acceleration, and lapse when no new one follows. The robot is a disc
that turns about its centre, with a camera above it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Protocol

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.options.stream import RobotSettings, SyntheticCameraSettings
from midas_depth_ros.sim.robot.plan_view import Heights, PlanView
from midas_depth_ros.sim.scene.render import Rendering
from midas_depth_ros.sim.scene.scene import Pose

STEP_S = 0.01  # motion is computed in steps of at most this: 6 mm at the greatest speed


@dataclasses.dataclass(frozen=True)
class RobotModel:
    """What the robot can do and where its camera is; metres, seconds, radians.

    The camera is on the robot's axis of symmetry, `camera_forward_m` ahead of its centre, looking
    ahead and `camera_pitch_rad` down.
    """

    radius_m: float = RobotSettings.radius
    height_m: float = 0.35  # what begins above this passes over the robot
    floor_clearance_m: float = 0.02  # what ends below this passes under it
    max_speed_m_s: float = RobotSettings.max_speed
    max_turn_rad_s: float = RobotSettings.max_turn
    max_acceleration_m_s2: float = RobotSettings.max_acceleration
    max_turn_acceleration_rad_s2: float = 6.0
    latency_s: float = RobotSettings.latency  # from a command to the wheels
    command_timeout_s: float = (
        RobotSettings.command_timeout
    )  # without a command for this long it stops
    camera_forward_m: float = 0.0
    camera_height_m: float = SyntheticCameraSettings.camera_height
    camera_pitch_rad: float = 0.2

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            free = field.name in ('camera_forward_m', 'camera_pitch_rad')
            if not math.isfinite(value) or (value < 0 and not free):
                raise ValueError(f'{field.name} is {value}: it must be a number, not below 0')

    @property
    def heights(self) -> tuple[float, float]:
        """Between which heights something is in the robot's way."""
        return self.floor_clearance_m, self.height_m


def robot_of(settings: SyntheticCameraSettings) -> RobotModel:
    """The robot that the parameters describe."""
    robot = settings.robot
    return RobotModel(
        radius_m=robot.radius,
        height_m=max(settings.camera_height, 0.2) + 0.05,
        max_speed_m_s=robot.max_speed,
        max_turn_rad_s=robot.max_turn,
        max_acceleration_m_s2=robot.max_acceleration,
        latency_s=robot.latency,
        command_timeout_s=robot.command_timeout,
        camera_height_m=settings.camera_height,
        camera_pitch_rad=settings.camera_pitch,
    )


@dataclasses.dataclass(frozen=True)
class Motion:
    """Where the robot is at a time and how it moves; yaw and turn to the left positive."""

    time_s: float = 0.0
    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    speed_m_s: float = 0.0
    turn_rad_s: float = 0.0

    def camera_pose(self, model: RobotModel) -> Pose:
        """Where the camera is and where it looks."""
        return Pose(
            self.x_m + model.camera_forward_m * math.cos(self.yaw_rad),
            self.y_m + model.camera_forward_m * math.sin(self.yaw_rad),
            model.camera_height_m,
            self.yaw_rad,
            model.camera_pitch_rad,
        )


class Robot:
    """The robot in an empty world; `motion` is where it is now."""

    def __init__(self, model: RobotModel, start: Motion) -> None:
        self.model = model
        self.motion = start
        self._waiting: collections.deque[tuple[float, float, float]] = collections.deque()
        self._acting = (-math.inf, 0.0, 0.0)  # since when, speed, turn

    def command(self, time_s: float, speed_m_s: float, turn_rad_s: float) -> None:
        """Take a command at a time; what is not a number stops the robot."""
        if not (math.isfinite(speed_m_s) and math.isfinite(turn_rad_s)):
            speed_m_s = turn_rad_s = 0.0
        self._waiting.append((time_s + self.model.latency_s, speed_m_s, turn_rad_s))

    def step(self, time_s: float) -> Motion:
        """Move on to a time, at most `STEP_S` from now, along an exact arc."""
        before, model = self.motion, self.model
        dt = time_s - before.time_s
        speed, turn = self._wanted(time_s)
        speed = _towards(before.speed_m_s, speed, model.max_acceleration_m_s2 * dt)
        turn = _towards(before.turn_rad_s, turn, model.max_turn_acceleration_rad_s2 * dt)
        mean_speed = 0.5 * (speed + before.speed_m_s)
        half_angle = 0.25 * (turn + before.turn_rad_s) * dt
        # The chord of an arc: its length is the arc's times sin(half angle) / half angle.
        chord = mean_speed * dt * (math.sin(half_angle) / half_angle if half_angle else 1.0)
        self.motion = Motion(
            time_s,
            before.x_m + chord * math.cos(before.yaw_rad + half_angle),
            before.y_m + chord * math.sin(before.yaw_rad + half_angle),
            math.remainder(before.yaw_rad + 2 * half_angle, math.tau),
            speed,
            turn,
        )
        return self.motion

    def hold(self, place: Motion) -> None:
        """Something is in the way: stay where `place` is, turning on at most."""
        self.motion = dataclasses.replace(self.motion, x_m=place.x_m, y_m=place.y_m, speed_m_s=0.0)

    def _wanted(self, time_s: float) -> tuple[float, float]:
        """The speed and turn that are asked for at a time, within the robot's limits."""
        while self._waiting and self._waiting[0][0] <= time_s:
            self._acting = self._waiting.popleft()
        since, speed, turn = self._acting
        if time_s - since > self.model.command_timeout_s:
            return 0.0, 0.0
        return (
            _clamped(speed, self.model.max_speed_m_s),
            _clamped(turn, self.model.max_turn_rad_s),
        )


def _towards(value: float, goal: float, most: float) -> float:
    return value + _clamped(goal - value, most)


def _clamped(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


# --- A robot driving in a scene: it moves, bumps, and what comes of it is counted.
#
# Commands and times come in; the motion, collisions, distance driven, stops and smallest clearance
# go out. A collision stops the robot at the last free place, and is one until it has backed off.

MOVING_M_S, STOPPED_M_S = 0.05, 0.01  # a stop: from faster than the first to slower than the second
APART_M = 0.02  # so far from what it ran into it may run into something anew
SCAN_HEIGHTS_M = (0.03, 0.5)  # what a scan for evaluation takes for an obstacle, at these heights


@dataclasses.dataclass(frozen=True)
class DriveOutcome:
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
        self.outcome = DriveOutcome(min_clearance_m=self.clearance_m)

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
        before, outcome = self.motion, self.outcome
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
        self.outcome = DriveOutcome(
            outcome.collisions + bumped,
            outcome.distance_m + moved,
            outcome.turned_rad + abs(math.remainder(after.yaw_rad - before.yaw_rad, math.tau)),
            outcome.stops + stopped,
            min(outcome.min_clearance_m, max(gap, 0.0)),
            outcome.seconds + time_s - before.time_s,
        )


# --- Exact depth made into what a network would give: inverse, noisy, of unknown scale and
# shift.
#
# In comes depth Z, out goes relative inverse depth in which only the order and the affine relation
# to 1/Z are left, as in MiDaS's output. The same seed disturbs the same way.

PATCH_PX = 8  # half of the noise is of patches so large: a network errs in regions


@dataclasses.dataclass(frozen=True)
class DisturbanceOptions:
    """How much is lost. `noise` is a standard deviation, as a share of 1/Z.

    Every frame has a scale within `scale_factor` times or times less of `scale`, and a shift
    within +-`shift`, in units of `scale` per metre.
    """

    noise: float = RobotSettings.depth_noise
    scale: float = 100.0
    scale_factor: float = RobotSettings.depth_scale_factor
    shift: float = RobotSettings.depth_shift


def disturbance_of(robot: RobotSettings) -> DisturbanceOptions:
    """The disturbance that the parameters describe."""
    return DisturbanceOptions(
        noise=robot.depth_noise, scale_factor=robot.depth_scale_factor, shift=robot.depth_shift
    )


class Disturbance:
    """Disturbs one frame after the other."""

    def __init__(self, seed: int, options: DisturbanceOptions | None = None) -> None:
        self._rng = np.random.default_rng([seed, 3])
        self.options = options or DisturbanceOptions()

    def relative_inverse_depth(self, depth_z: np.ndarray) -> np.ndarray:
        """(H, W) float32, larger = nearer, >= 0, from depth (H, W) in metres, inf for the sky."""
        options, rng = self.options, self._rng
        stretch = math.log(options.scale_factor)
        scale = options.scale * math.exp(rng.uniform(-stretch, stretch))
        shift = options.scale * rng.uniform(-options.shift, options.shift)
        with np.errstate(divide='ignore'):
            inverse = (np.float32(1) / depth_z).astype(np.float32)
        relative = scale * inverse * (1 + options.noise * self._noise(inverse.shape)) + shift
        # A network's last step is a ReLU: nothing is below 0.
        return np.maximum(relative, 0).astype(np.float32)

    def _noise(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) float32 of deviation 1: of single pixels and of patches, half of it each."""
        height, width = shape
        fine = self._rng.standard_normal(shape, np.float32)
        small = -(-height // PATCH_PX), -(-width // PATCH_PX)
        coarse = self._rng.standard_normal(small, np.float32)
        size = small[1] * PATCH_PX, small[0] * PATCH_PX
        patches = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)[:height, :width]
        return math.sqrt(0.5) * (fine + patches)


def noisy(rgb: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A picture (H, W, 3) uint8 as a sensor gives it: grey levels off by `deviation`, of 255."""
    if deviation <= 0:
        return rgb
    noise = cv2.multiply(rng.standard_normal(rgb.shape, np.float32), deviation)
    return cv2.add(rgb, noise, dtype=cv2.CV_8U)


# --- Relative inverse depth in the 24 bits of a picture, so that it can go where pictures go.
#
# For evaluation: a camera sends packed depth, and who unpacks it knows what a perfect network
# would have answered. Such a picture must not be compressed with loss.

STEPS = 4096.0  # per unit: values up to 4095 in steps of 0.0002


def packed(relative: np.ndarray) -> np.ndarray:
    """(H, W) float32, 0 to 4095, as (H, W, 3) uint8; what is outside is clipped."""
    within = np.clip(np.nan_to_num(relative), 0, (2**24 - 1) / STEPS)
    whole = (within * STEPS).astype(np.uint32)
    return np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=-1).astype(np.uint8)


def unpacked(picture: np.ndarray) -> np.ndarray:
    """What `packed` has packed, (H, W) float32."""
    high, middle, low = (picture[..., i].astype(np.float32) for i in range(3))
    return (high * 65536 + middle * 256 + low) / np.float32(STEPS)
