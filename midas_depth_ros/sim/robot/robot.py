"""A small differential-drive robot: what it can do, and how it responds to commands.

Commands of forward speed and turning rate act after the latency, within limits of speed and
acceleration, and expire without a new one. The robot is a disc that turns about its centre, with a
camera above it.
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
from midas_depth_ros.sim.robot.ground import Footing, Ground, Stance
from midas_depth_ros.sim.robot.odometry import Grip, Odometry, Rolled, along_arc
from midas_depth_ros.sim.robot.plan_view import Heights, PlanView
from midas_depth_ros.sim.scene.render import Rendering
from midas_depth_ros.sim.scene.scene import Pose

STEP_S = 0.01  # longest step of the motion: 6 mm at the greatest speed


@dataclasses.dataclass(frozen=True)
class RobotModel:
    """What the robot can do and where its camera is; metres, seconds, radians.

    The camera is on the axis of symmetry, `camera_forward_m` ahead of the centre, looking ahead and
    `camera_pitch_rad` down.
    """

    radius_m: float = RobotSettings.radius
    height_m: float = 0.35  # what is above this passes over the robot
    floor_clearance_m: float = 0.02  # what is below this passes under it
    max_speed_m_s: float = RobotSettings.max_speed
    max_turn_rad_s: float = RobotSettings.max_turn
    max_acceleration_m_s2: float = RobotSettings.max_acceleration
    max_turn_acceleration_rad_s2: float = 6.0
    latency_s: float = RobotSettings.latency  # from a command to the wheels
    # Without a command for this long the robot stops.
    command_timeout_s: float = RobotSettings.command_timeout
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
        """Lowest and highest height of what is in the robot's way."""
        return self.floor_clearance_m, self.height_m


def robot_of(settings: SyntheticCameraSettings) -> RobotModel:
    """Return the robot that the parameters describe."""
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
    """Pose and velocity of the robot at a time; yaw and turn to the left positive.

    z, pitch (down) and roll (to the right) are those of the ground it stands on.
    """

    time_s: float = 0.0
    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    speed_m_s: float = 0.0
    turn_rad_s: float = 0.0
    z_m: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    def camera_pose(self, model: RobotModel) -> Pose:
        """Return the pose of the camera."""
        if self.z_m or self.pitch_rad or self.roll_rad:
            return self._tilted_camera_pose(model)
        return Pose(
            self.x_m + model.camera_forward_m * math.cos(self.yaw_rad),
            self.y_m + model.camera_forward_m * math.sin(self.yaw_rad),
            model.camera_height_m,
            self.yaw_rad,
            model.camera_pitch_rad,
        )

    def _tilted_camera_pose(self, model: RobotModel) -> Pose:
        body = Pose(0.0, 0.0, 0.0, self.yaw_rad, self.pitch_rad, self.roll_rad).optical_axes
        across, down, ahead = body.T  # of a level camera on the body
        x, y, z = model.camera_forward_m * ahead - model.camera_height_m * down
        c, s = math.cos(model.camera_pitch_rad), math.sin(model.camera_pitch_rad)
        looks = c * ahead + s * down
        below = c * down - s * ahead
        # The angles of `Pose`: yaw, then pitch, then roll.
        yaw = math.atan2(looks[1], looks[0])
        pitch = math.asin(max(-1.0, min(1.0, -looks[2])))
        roll = math.atan2(-across[2], -below[2])
        return Pose(self.x_m + x, self.y_m + y, self.z_m + z, yaw, pitch, roll)


class Robot:
    """The robot in an empty world; `motion` is its current state."""

    def __init__(self, model: RobotModel, start: Motion) -> None:
        self.model = model
        self.motion = start
        self.rolled = Rolled(0.0, 0.0, start.speed_m_s, start.turn_rad_s)  # the last step
        self._waiting: collections.deque[tuple[float, float, float]] = collections.deque()
        self._acting = (-math.inf, 0.0, 0.0)  # since when, speed, turn

    def command(self, time_s: float, speed_m_s: float, turn_rad_s: float) -> None:
        """Take a command at a time; a command that is not finite stops the robot."""
        if not (math.isfinite(speed_m_s) and math.isfinite(turn_rad_s)):
            speed_m_s = turn_rad_s = 0.0
        self._waiting.append((time_s + self.model.latency_s, speed_m_s, turn_rad_s))

    def step(self, time_s: float) -> Motion:
        """Move on to a time, at most `STEP_S` from now, along an exact arc."""
        before, model, wheels = self.motion, self.model, self.rolled
        dt = time_s - before.time_s
        speed, turn = self._wanted(time_s)
        speed = _towards(wheels.speed_m_s, speed, model.max_acceleration_m_s2 * dt)
        turn = _towards(wheels.turn_rad_s, turn, model.max_turn_acceleration_rad_s2 * dt)
        way = 0.5 * (speed + wheels.speed_m_s) * dt
        angle = 2 * (0.25 * (turn + wheels.turn_rad_s) * dt)
        x, y = along_arc(way * math.cos(before.pitch_rad), angle, before.yaw_rad)
        self.rolled = Rolled(way, angle, speed, turn)
        self.motion = Motion(
            time_s,
            before.x_m + x,
            before.y_m + y,
            math.remainder(before.yaw_rad + angle, math.tau),
            speed,
            turn,
            before.z_m,
            before.pitch_rad,
            before.roll_rad,
        )
        return self.motion

    def stand(self, stance: Stance) -> Motion:
        """Take the height and the tilt of the ground."""
        self.motion = dataclasses.replace(self.motion, **vars(stance))
        return self.motion

    def hold(self, place: Motion, spins: bool = False) -> None:
        """Stay at `place`, as something is in the way; the robot may still turn.

        spins: the wheels turn on as commanded, instead of standing.
        """
        self.motion = dataclasses.replace(
            self.motion,
            x_m=place.x_m,
            y_m=place.y_m,
            speed_m_s=0.0,
            z_m=place.z_m,
            pitch_rad=place.pitch_rad,
            roll_rad=place.roll_rad,
        )
        if not spins:
            self.rolled = dataclasses.replace(self.rolled, way_m=0.0, speed_m_s=0.0)

    def _wanted(self, time_s: float) -> tuple[float, float]:
        """The commanded speed and turn at a time, within the robot's limits."""
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


# --- A robot driving in a world: motion, collisions, distance, stops and smallest clearance.
#
# A collision stops the robot at the last free place, and lasts until it has backed off. So does a
# fall: a wheel that would drop by more than the robot's clearance, as over an edge.

MOVING_M_S, STOPPED_M_S = 0.05, 0.01  # a stop: from faster than the first to slower than the second
APART_M = 0.02  # a collision ends at this distance
SCAN_HEIGHTS_M = (0.03, 0.5)  # between which a scan for evaluation sees obstacles


@dataclasses.dataclass(frozen=True)
class DriveOutcome:
    """The result of a drive so far; metres and seconds. falls: wheels driven over an edge."""

    collisions: int = 0
    distance_m: float = 0.0
    turned_rad: float = 0.0
    stops: int = 0
    min_clearance_m: float = math.inf
    seconds: float = 0.0
    falls: int = 0


class World(Protocol):
    """What a robot needs of a world: a start, what is in the way, and what is in view."""

    @property
    def start(self) -> tuple[float, float, float]:
        """x and y in metres, yaw in radians."""

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""

    @property
    def seed(self) -> int:
        """The seed that it was made from."""

    @property
    def ground(self) -> Ground:
        """What is driven on."""

    def plan(self, heights: Heights) -> PlanView:
        """Return the plan between two heights, from above."""

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """Return what a camera sees from a pose."""

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """Return the exact depth alone, (H, W) float32."""


class DrivenRobot:
    """A robot in a world, from the start pose on."""

    def __init__(
        self,
        world: World,
        model: RobotModel,
        time_s: float = 0.0,
        wheels: RobotSettings | None = None,
    ) -> None:
        """wheels: the errors of its odometry; None = none."""
        self.world = world
        self.model = model
        self._wheels = wheels or RobotSettings()
        x, y, yaw = world.start
        self._robot = Robot(model, Motion(time_s, x, y, yaw))
        self._odometry = Odometry(self._robot.motion, self._wheels, world.seed)
        self._grip = Grip(world.seed, self._wheels)
        self._in_the_way = world.plan(model.heights)
        self._seen = world.plan(SCAN_HEIGHTS_M)
        self._edges = world.ground.edges(model.floor_clearance_m)
        self._footing: Footing | None = None  # of ground that is not flat
        self._held_at: tuple[float, float] | None = None  # by a step or an edge of it
        if not world.ground.is_flat:
            on = world.ground, model.radius_m, model.floor_clearance_m
            self._footing = Footing(*on, world.start)
            self._robot.stand(self._footing.stance)
        self._moving = self._touching = False
        self.outcome = DriveOutcome(min_clearance_m=self.clearance_m)

    @property
    def odometry(self) -> Odometry:
        """What its wheels report, up to the time of `motion`."""
        return self._odometry

    @property
    def motion(self) -> Motion:
        """The current state of the robot."""
        return self._robot.motion

    @property
    def clearance_m(self) -> float:
        """Metres between the robot's rim and the nearest solid, wall or edge of the ground; 0 when
        they touch.
        """
        x, y = self._robot.motion.x_m, self._robot.motion.y_m
        gap = min(self._in_the_way.gap(x, y), self._edges.gap(x, y))
        return max(gap - self.model.radius_m, 0.0)

    def command(self, time_s: float, speed_m_s: float, turn_rad_s: float) -> None:
        """Take a command, as `Robot.command` does."""
        self._robot.command(time_s, speed_m_s, turn_rad_s)

    def advance(self, time_s: float) -> Motion:
        """Drive on until `time_s`; a time in the past changes nothing."""
        start = self.motion.time_s
        steps = max(0, math.ceil((time_s - start) / STEP_S - 1e-9))
        for number in range(1, steps + 1):
            self._step(start + (time_s - start) * number / steps)
        return self.motion

    def scan(self, angles_rad: np.ndarray) -> np.ndarray:
        """Return exact ranges (n,) in metres from the camera's place, at angles to the left of
        ahead; edges of the ground count, up or down.
        """
        pose = self.motion.camera_pose(self.model)
        at = pose.x_m, pose.y_m, pose.yaw_rad + angles_rad
        seen = self._seen.reach(*at)
        return seen if self._footing is None else np.minimum(seen, self._edges.reach(*at))

    def _step(self, time_s: float) -> None:
        before, outcome = self.motion, self.outcome
        after = self._robot.step(time_s)
        spins = self._grip.is_lost(time_s, self._robot.rolled.way_m)
        if spins:
            self._robot.hold(before, spins)
            after = self.motion
        gap = self._in_the_way.gap(after.x_m, after.y_m) - self.model.radius_m
        climbs, falls = self._on_ground(after)
        anew = (climbs or falls) and self._held_anew(after)
        bumped = (gap <= 0 and not self._touching) or (climbs and not falls and anew)
        self._touching = gap <= (APART_M if self._touching else 0.0)
        if gap <= 0 or climbs or falls:
            spins = self._wheels.spin != 'none'
            self._robot.hold(before, spins)
            after = self.motion
        self._odometry.roll(time_s, self._robot.rolled, spins)
        moved = math.hypot(after.x_m - before.x_m, after.y_m - before.y_m)
        speed = abs(after.speed_m_s)
        stopped = self._moving and speed < STOPPED_M_S
        self._moving = speed > MOVING_M_S or (self._moving and not stopped)
        if self._footing is not None:
            gap = min(gap, self._edges.gap(after.x_m, after.y_m) - self.model.radius_m)
        self.outcome = DriveOutcome(
            outcome.collisions + bumped,
            outcome.distance_m + moved,
            outcome.turned_rad + abs(math.remainder(after.yaw_rad - before.yaw_rad, math.tau)),
            outcome.stops + stopped,
            min(outcome.min_clearance_m, max(gap, 0.0)),
            outcome.seconds + time_s - before.time_s,
            outcome.falls + (falls and anew),
        )

    def _on_ground(self, after: Motion) -> tuple[bool, bool]:
        """Stand on the ground; return whether it runs against a step up, and over an edge down."""
        if self._footing is None:
            return False, False
        climbs, falls = self._footing.step(after.x_m, after.y_m, after.yaw_rad)
        self._robot.stand(self._footing.stance)
        held = self._held_at
        if held is not None and math.dist(held, (after.x_m, after.y_m)) > APART_M:
            self._held_at = None
        return climbs, falls

    def _held_anew(self, at: Motion) -> bool:
        """Whether a step or an edge holds it now and did not before."""
        anew = self._held_at is None
        if anew:
            self._held_at = at.x_m, at.y_m
        return anew


# --- Exact depth turned into what a network gives: inverse, noisy, of unknown scale and shift.

PATCH_PX = 8  # half of the noise is in patches of this size, since network errors are regional
MEAN_SCALE = 100.0  # of relative inverse depth per 1/Z


class Disturbance:
    """Turns depth into relative inverse depth like that of MiDaS, affine in 1/Z, frame by frame.

    By the settings `depth_noise` (standard deviation, as a share of 1/Z), `depth_scale_factor` (the
    scale varies around `MEAN_SCALE` by up to this factor) and `depth_shift` (in units of the scale
    per metre). The same seed gives the same disturbance.
    """

    def __init__(self, seed: int, settings: RobotSettings) -> None:
        self._rng = np.random.default_rng([seed, 3])
        self._settings = settings

    def relative_inverse_depth(self, depth_z: np.ndarray) -> np.ndarray:
        """Return (H, W) float32, larger = nearer, >= 0, from depth (H, W) in metres, inf = sky."""
        settings, rng = self._settings, self._rng
        stretch = math.log(settings.depth_scale_factor)
        scale = MEAN_SCALE * math.exp(rng.uniform(-stretch, stretch))
        shift = MEAN_SCALE * rng.uniform(-settings.depth_shift, settings.depth_shift)
        with np.errstate(divide='ignore'):
            inverse = (np.float32(1) / depth_z).astype(np.float32)
        relative = scale * inverse * (1 + settings.depth_noise * self._noise(inverse.shape)) + shift
        # The last step of the network is a ReLU.
        return np.maximum(relative, 0).astype(np.float32)

    def _noise(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) float32 of deviation 1: half of single pixels, half of patches."""
        height, width = shape
        fine = self._rng.standard_normal(shape, np.float32)
        small = -(-height // PATCH_PX), -(-width // PATCH_PX)
        coarse = self._rng.standard_normal(small, np.float32)
        size = small[1] * PATCH_PX, small[0] * PATCH_PX
        patches = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)[:height, :width]
        return math.sqrt(0.5) * (fine + patches)


def noisy(rgb: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with sensor noise of this deviation in grey levels."""
    if deviation <= 0:
        return rgb
    noise = cv2.multiply(rng.standard_normal(rgb.shape, np.float32), deviation)
    return cv2.add(rgb, noise, dtype=cv2.CV_8U)


# --- Relative inverse depth in the 24 bits of a picture: the answer of a perfect network, sent as
# an image for evaluation. Such a picture must not be compressed with loss.

STEPS = 4096.0  # per unit: values up to 4095 in steps of 0.0002


def packed(relative: np.ndarray) -> np.ndarray:
    """Return (H, W) float32, 0 to 4095, as (H, W, 3) uint8; values outside are clipped."""
    within = np.clip(np.nan_to_num(relative), 0, (2**24 - 1) / STEPS)
    whole = (within * STEPS).astype(np.uint32)
    return np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=-1).astype(np.uint8)


def unpacked(picture: np.ndarray) -> np.ndarray:
    """Return the (H, W) float32 that `packed` has packed."""
    high, middle, low = (picture[..., i].astype(np.float32) for i in range(3))
    return (high * 65536 + middle * 256 + low) / np.float32(STEPS)
