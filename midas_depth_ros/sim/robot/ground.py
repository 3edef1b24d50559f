"""Ground that is not flat: platforms and ramps on the floor, how a robot stands on them, and edges.

Heights are exact. An edge is where the ground rises or drops at once: a kerb from below, a fall
from above. Wherever no slab lies is the floor: z = 0, or lower, as at the foot of stairs down.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.sim.robot.plan_view import Convex, PlanView
from midas_depth_ros.sim.scene.scene import Box, Material, Wedge

SAMPLE_M = 0.01  # along the sides of slabs, to find where the ground jumps
BESIDE_M = 1e-3  # how far on both sides of one heights are compared


@dataclasses.dataclass(frozen=True)
class Slab:
    """A platform or a ramp: a rectangle from above, turned by `yaw_rad`, in metres.

    front_m, rear_m: height of its top at its own +x end and at the other one, not the higher of the
    two.
    """

    x_m: float
    y_m: float
    length_m: float
    width_m: float
    front_m: float
    rear_m: float
    yaw_rad: float = 0.0

    @property
    def slope_rad(self) -> float:
        """How steep it is."""
        return math.atan2(self.front_m - self.rear_m, self.length_m)

    def solid(self, material: Material) -> Box:
        """Return it as a solid of a scene."""
        size = self.x_m, self.y_m, self.length_m, self.width_m, self.front_m, self.yaw_rad, 0.0
        if self.front_m == self.rear_m:
            return Box(*size, material)
        return Wedge(*size, material, self.rear_m)

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places along its length and width, from its middle."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return c * (x - self.x_m) + s * (y - self.y_m), c * (y - self.y_m) - s * (x - self.x_m)

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return metres above z = 0, -inf beside it."""
        along, beside = self.local(x, y)
        half = 0.5 * self.length_m
        on_it = (np.abs(along) <= half) & (np.abs(beside) <= 0.5 * self.width_m)
        rise = (self.front_m - self.rear_m) / self.length_m
        return np.where(on_it, self.rear_m + rise * (along + half), -np.inf)

    def outline(self) -> np.ndarray:
        """Return points along its four sides, and the direction out of it there, both (N, 2)."""
        half = np.array([0.5 * self.length_m, 0.5 * self.width_m])
        sides = []
        for axis, sign in ((0, 1), (1, 1), (0, -1), (1, -1)):
            count = max(2, math.ceil(2 * half[1 - axis] / SAMPLE_M) + 1)
            points, outward = np.zeros((count, 2)), np.zeros((count, 2))
            points[:, axis], outward[:, axis] = sign * half[axis], sign
            inset = half[1 - axis] - BESIDE_M
            points[:, 1 - axis] = np.linspace(-inset, inset, count)
            sides.append(np.stack([points, outward]))
        turned = np.concatenate(sides, axis=1)
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        points, outward = turned @ np.array([[c, s], [-s, c]])
        return np.stack([points + (self.x_m, self.y_m), outward])


@dataclasses.dataclass(frozen=True)
class Stance:
    """How a robot stands: height of its middle (m), pitch down and roll to the right (rad)."""

    z_m: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0


@dataclasses.dataclass(frozen=True)
class Ground:
    """The floor and what lies on it to be driven on; without slabs it is flat.

    floor_m: height of the floor where no slab lies.
    """

    slabs: tuple[Slab, ...] = ()
    floor_m: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether there is nothing but the floor."""
        return not self.slabs

    @property
    def highest_m(self) -> float:
        """Height of its highest place."""
        return max((slab.front_m for slab in self.slabs), default=self.floor_m)

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return metres above z = 0 at places, of their shape."""
        heights = [slab.height(x, y) for slab in self.slabs]
        return np.maximum.reduce([np.full(np.shape(x), self.floor_m), *heights])

    @functools.lru_cache(maxsize=16)  # noqa: B019 (of a frozen value, few of which exist)
    def edges(self, clearance_m: float) -> PlanView:
        """Return from above where the ground jumps by more than a clearance."""
        lines = []
        for slab in self.slabs:
            points, outward = slab.outline()
            inside, outside = points - BESIDE_M * outward, points + BESIDE_M * outward
            jump = np.abs(self.height(*inside.T) - self.height(*outside.T)) > clearance_m
            turns = (outward[1:] != outward[:-1]).any(axis=1)
            cuts = np.flatnonzero(turns | (jump[1:] != jump[:-1])) + 1
            for part, jumps in zip(np.split(points, cuts), np.split(jump, cuts), strict=True):
                if jumps[0]:
                    lines.append(Convex(part[[0, -1]]))
        return PlanView(lines)


FLAT = Ground()


# --- A robot on the ground: four wheels around its middle, and its rim.

RIM_POINTS = 72
WHEELS = 0.8  # of the radius: how far from the middle the wheels touch the ground


class Footing:
    """How a robot of a radius stands on a ground, step by step.

    `stance` is how it stands; a step against which it runs, or over an edge, does not change it.
    """

    def __init__(
        self, ground: Ground, radius_m: float, clearance_m: float, start: tuple[float, float, float]
    ) -> None:
        """start: x and y in metres, yaw in radians."""
        self._ground, self._clearance_m = ground, clearance_m
        self._wheels_m = WHEELS * radius_m
        angles = np.concatenate([np.arange(4) / 4, np.arange(RIM_POINTS) / RIM_POINTS]) * math.tau
        reach = np.repeat([self._wheels_m, radius_m], [4, RIM_POINTS])
        self._ahead, self._left = reach * np.cos(angles), reach * np.sin(angles)
        self._contacts = self._heights(*start)[:4]
        self.stance = self._stance()

    def step(self, x_m: float, y_m: float, yaw_rad: float) -> tuple[bool, bool]:
        """Stand at a place; return whether it runs against a step up, and over an edge down."""
        heights, stance = self._heights(x_m, y_m, yaw_rad), self.stance
        falls = bool((heights[:4] < self._contacts - self._clearance_m).any())
        plane = stance.z_m - math.tan(stance.pitch_rad) * self._ahead
        plane += math.tan(stance.roll_rad) / math.cos(stance.pitch_rad) * self._left
        climbs = bool((heights - plane > self._clearance_m).any())
        if not (falls or climbs):
            self._contacts = heights[:4]
            self.stance = self._stance()
        return climbs, falls

    def _heights(self, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
        """Of the ground under the wheels (front, left, rear, right) and under the rim."""
        c, s = math.cos(yaw_rad), math.sin(yaw_rad)
        x, y = c * self._ahead - s * self._left, s * self._ahead + c * self._left
        return self._ground.height(x_m + x, y_m + y)

    def _stance(self) -> Stance:
        front, left, rear, right = self._contacts.tolist()
        pitch = math.atan2(rear - front, 2 * self._wheels_m)
        roll = math.atan(math.cos(pitch) * (left - right) / (2 * self._wheels_m))
        return Stance(0.25 * (front + left + rear + right), pitch, roll)
