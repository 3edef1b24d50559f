"""A small differential-drive robot: what it can do, and how commands become motion.

Commands of forward speed and turn rate come in with their time; they act after the latency, within
limits of speed and acceleration, and lapse when no new one follows. The robot is a disc
that turns about its centre, with a camera above it.
"""

from __future__ import annotations

import collections
import dataclasses
import math

from midas_depth_ros.sim.pose import Pose

STEP_S = 0.01  # motion is computed in steps of at most this: 6 mm at the greatest speed


@dataclasses.dataclass(frozen=True)
class RobotModel:
    """What the robot can do and where its camera is; metres, seconds, radians.

    The camera is on the robot's axis of symmetry, `camera_forward_m` ahead of its centre, looking
    ahead and `camera_pitch_rad` down.
    """

    radius_m: float = 0.18
    height_m: float = 0.35  # what begins above this passes over the robot
    floor_clearance_m: float = 0.02  # what ends below this passes under it
    max_speed_m_s: float = 0.6
    max_turn_rad_s: float = 1.8
    max_acceleration_m_s2: float = 1.0
    max_turn_acceleration_rad_s2: float = 6.0
    latency_s: float = 0.05  # from a command to the wheels
    command_timeout_s: float = 0.5  # without a command for this long it stops
    camera_forward_m: float = 0.0
    camera_height_m: float = 0.3
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
