"""What the wheels of the simulated robot report: its way and turning, with the errors of wheels.

Wheels are of another radius than they are thought to be (bias), slip, and spin on the spot. Their
odometry is planar, as that of wheel drivers: it knows nothing of ramps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from midas_depth_ros.options.stream import RobotSettings

if TYPE_CHECKING:
    from midas_depth_ros.sim.robot.robot import Motion

PATCH_EVERY_M = 2.0  # mean way between two patches on which the wheels find no hold
PATCH_S = (0.5, 1.5)  # how long they spin there
KNOWN_TO = 1e-3  # deviation (m, rad) of what would otherwise be said to be exact
UNMEASURED = 1e6  # variance of what wheels do not measure, by convention of their drivers


@dataclasses.dataclass(frozen=True)
class Rolled:
    """One step of the wheels: way (m, along the ground) and turn (rad), and how fast at its end."""

    way_m: float = 0.0
    turn_rad: float = 0.0
    speed_m_s: float = 0.0
    turn_rad_s: float = 0.0


class Grip:
    """Where wheels lose hold: after ways that the seed gives, for a time that it gives."""

    def __init__(self, seed: int, settings: RobotSettings) -> None:
        self._rng = np.random.default_rng([seed, 7])
        self._has_patches = settings.spin == 'patches'
        self._next_m = self._until_next()
        self._spins_until_s = -math.inf

    def is_lost(self, time_s: float, way_m: float) -> bool:
        """Return whether the wheels spin from now on; way_m: driven since the last call."""
        if not self._has_patches or time_s < self._spins_until_s:
            return self._has_patches
        self._next_m -= abs(way_m)
        if self._next_m > 0:
            return False
        self._spins_until_s = time_s + float(self._rng.uniform(*PATCH_S))
        self._next_m = self._until_next()
        return True

    def _until_next(self) -> float:
        return float(self._rng.exponential(PATCH_EVERY_M))


class Odometry:
    """Integrates what the wheels report, from a true start pose on.

    `reported` is a `Motion` in the plane. The same seed gives the same errors.
    """

    def __init__(self, start: Motion, settings: RobotSettings, seed: int = 0) -> None:
        self.reported = start
        self._settings = settings
        self._rng = np.random.default_rng([seed, 8])
        self._way_m = self._turned_rad = 0.0  # both without sign
        self._on_ground_m = 0.0

    def roll(self, time_s: float, rolled: Rolled, spins: bool = False) -> Motion:
        """Take a step of the wheels that ends at a time; return what they report then.

        spins: they turned without moving the robot.
        """
        settings, before = self._settings, self.reported
        stretched = 1.0 + settings.odometry_bias
        if not spins:
            stretched *= 1.0 + self._slip()
            self._on_ground_m += abs(rolled.way_m)
        turning = 1.0 + settings.turn_bias
        way = rolled.way_m * stretched + self._error(rolled.way_m)
        turn = rolled.turn_rad * turning + self._error(rolled.turn_rad)
        self._way_m += abs(way)
        self._turned_rad += abs(turn)
        x, y = along_arc(way, turn, before.yaw_rad)
        self.reported = dataclasses.replace(
            before,
            time_s=time_s,
            x_m=before.x_m + x,
            y_m=before.y_m + y,
            yaw_rad=math.remainder(before.yaw_rad + turn, math.tau),
            speed_m_s=rolled.speed_m_s * stretched,
            turn_rad_s=rolled.turn_rad_s * turning,
        )
        return self.reported

    @property
    def pose_covariance(self) -> list[float]:
        """Row-major 6 x 6 of x, y, z, roll, pitch, yaw (m, rad), as nav_msgs/Odometry has it.

        Of what a driver can know: noise, and how far its wheels may be off. Slip it cannot know.
        """
        yaw = self._variance(self._turned_rad, self._settings.turn_bias)
        place = self._variance(self._way_m, self._settings.odometry_bias)
        place += 0.5 * yaw * self._way_m**2  # it went off in a direction that was wrong by so much
        return diagonal(place, place, UNMEASURED, UNMEASURED, UNMEASURED, yaw)

    @property
    def twist_covariance(self) -> list[float]:
        """The same of the velocities in the robot's frame (m/s, rad/s)."""
        settings, now = self._settings, self.reported
        ahead = (settings.odometry_bias**2 + settings.odometry_noise**2) * now.speed_m_s**2
        turn = (settings.turn_bias**2 + settings.odometry_noise**2) * now.turn_rad_s**2
        least = KNOWN_TO**2
        return diagonal(ahead + least, least, UNMEASURED, UNMEASURED, UNMEASURED, turn + least)

    def _slip(self) -> float:
        settings = self._settings
        if settings.slip_stretch > 0 and int(self._on_ground_m / settings.slip_stretch) % 2 == 0:
            return 0.0
        return settings.slip

    def _error(self, amount: float) -> float:
        """Of a random walk, so that it does not depend on the length of the steps."""
        noise = self._settings.odometry_noise
        if noise == 0 or amount == 0:
            return 0.0
        return noise * math.sqrt(abs(amount)) * float(self._rng.standard_normal())

    def _variance(self, amount: float, bias: float) -> float:
        noise = self._settings.odometry_noise
        return KNOWN_TO**2 + noise**2 * amount + (bias * amount) ** 2


def along_arc(way_m: float, turn_rad: float, yaw_rad: float) -> tuple[float, float]:
    """Return how far x and y move along an arc that begins at `yaw_rad`: exact."""
    half = 0.5 * turn_rad
    # The chord of an arc: its length is the arc's times sin(half angle) / half angle.
    chord = way_m * (math.sin(half) / half if half else 1.0)
    return chord * math.cos(yaw_rad + half), chord * math.sin(yaw_rad + half)


def diagonal(*variances: float) -> list[float]:
    """Return a row-major square matrix with these on its diagonal."""
    return [float(value) for value in np.diag(variances).ravel()]
