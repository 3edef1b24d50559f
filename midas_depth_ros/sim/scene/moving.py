"""A drive along a corridor that never ends: the same every period, and smooth over its seam.

Boxes, bins, poles and balls line the corridor left and right, and a barrel wanders ahead of the
camera from side to side, now nearer, now farther. The corridor repeats every `LAP_M`, which is
what the camera drives in one period.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.scene.scene import (
    Box,
    Cylinder,
    Material,
    Pose,
    Room,
    Scene,
    Solid,
    Sphere,
)

LAP_M = 12.0  # every pattern's repeat divides it, else the picture would jump at the seam
PERIOD_S = 20.0
HALF_WIDTH_M = 1.5
BARREL_RADIUS_M, POLE_RADIUS_M = 0.15, 0.04
VIEW_M = (2.0, 22.0)  # how far behind and ahead of the camera solids are kept
HAZE = (0.80, 0.80, 0.77)

WOOD = Material((0.80, 0.58, 0.38), 'planks', (3.0, 1.5))
WALL = Material((0.93, 0.92, 0.87), 'wall', (4.0, 2.5))
CEILING = Material((0.78, 0.78, 0.76), 'lamps', (3.0, 1.5))
CARTON = Material((0.78, 0.58, 0.37), 'carton', (0.45, 0.45))
CRATE = Material((0.35, 0.50, 0.62), 'bricks', (0.8, 0.8))
BIN = Material((0.30, 0.45, 0.36), 'plain', (0.5, 0.5))
POLE = Material((0.95, 0.80, 0.15), 'stripes', (math.tau * POLE_RADIUS_M, 0.3))
BALL = Material((0.85, 0.25, 0.20), 'checker', (0.5, 0.5))
BARREL = Material((0.95, 0.42, 0.12), 'stripes', (math.pi * BARREL_RADIUS_M, 0.5))


@dataclasses.dataclass(frozen=True)
class MovingScene:
    """A scene and a camera pose at any time, in seconds; both repeat every `period_s`."""

    standing: tuple[Solid, ...]
    sway_rad: float
    seed: int
    period_s: float = PERIOD_S

    @property
    def camera(self) -> CameraModel:
        """The camera that the scene was laid out for: 640x480, 66 degrees wide."""
        return CameraModel.from_field_of_view(640, 480, math.radians(66.0))

    def pose_at(self, time_s: float) -> Pose:
        """The camera: 0.3 m high, looking 6 degrees down, weaving a little, driving forward."""
        turn = self._turn(time_s)
        x, y = LAP_M * turn / math.tau, self._path(turn)
        slope = (self._path(turn + 1e-4) - self._path(turn - 1e-4)) / (2e-4 * LAP_M / math.tau)
        return Pose(x, y, 0.3, math.atan(slope), math.radians(6.0))

    def scene_at(self, time_s: float) -> Scene:
        """What stands around the camera, and where the barrel is."""
        turn = self._turn(time_s)
        x = LAP_M * turn / math.tau
        solids = [
            dataclasses.replace(solid, x_m=solid.x_m + lap * LAP_M)
            for solid in self.standing
            for lap in (-1, 0, 1, 2)
            if -VIEW_M[0] < solid.x_m + lap * LAP_M - x < VIEW_M[1]
        ]
        ahead = 1.75 - 0.8 * math.cos(3 * turn + self.sway_rad)
        aside = 0.5 * math.sin(2 * turn + self.sway_rad)
        solids.append(Cylinder(x + ahead, aside, BARREL_RADIUS_M, 0.5, material=BARREL))
        room = Room(x - 10, x + 40, -HALF_WIDTH_M, HALF_WIDTH_M, 2.5, WALL, Material(HAZE), CEILING)
        return Scene(WOOD, room, tuple(solids), haze_colour=HAZE, haze_m=16.0, seed=self.seed)

    def _turn(self, time_s: float) -> float:
        """Where in the period, as an angle from 0 to 2 pi."""
        return math.tau * ((time_s / self.period_s) % 1.0)

    def _path(self, turn: float) -> float:
        """The camera's sideways position, metres to the left."""
        return 0.18 * math.sin(2 * turn + self.sway_rad + 1.5)


@functools.lru_cache(maxsize=8)
def moving_scene(seed: int = 0) -> MovingScene:
    """A corridor laid out from `seed`; the same seed is the same to the bit."""
    rng = np.random.default_rng(seed)
    standing: list[Solid] = []
    side = 1 if rng.random() < 0.5 else -1
    for place in range(8):
        x = LAP_M * (place + rng.uniform(0.2, 0.8)) / 8
        standing.append(_obstacle(rng, x, side))
        side = -side if rng.random() < 0.85 else side
    return MovingScene(tuple(standing), float(rng.uniform(0, math.tau)), seed)


def _obstacle(rng: np.random.Generator, x: float, side: int) -> Solid:
    """Something by the wall, clear of the barrel's and the camera's way."""
    kind = rng.choice(['carton', 'crate', 'bin', 'pole', 'ball'], p=[0.35, 0.2, 0.2, 0.15, 0.1])
    size = float(rng.uniform(0.3, 0.5))
    y = side * (HALF_WIDTH_M - float(rng.uniform(0.3, 0.45)))
    turned = float(rng.uniform(-0.4, 0.4))
    if kind == 'carton':
        return Box(x, y, size, size, float(rng.uniform(0.25, 0.6)), turned, material=CARTON)
    if kind == 'crate':
        return Box(x, y, size, size, float(rng.uniform(0.6, 1.1)), 0.3 * turned, material=CRATE)
    if kind == 'bin':
        return Cylinder(x, y, 0.4 * size, float(rng.uniform(0.4, 0.7)), material=BIN)
    if kind == 'pole':
        return Cylinder(x, y - side * 0.15, POLE_RADIUS_M, 2.5, material=POLE)
    return Sphere(x, y, 0.4 * size, 0.4 * size, BALL)
