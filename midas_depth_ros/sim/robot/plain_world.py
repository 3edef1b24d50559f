"""Plain worlds made from a seed: to drive in, and an endless corridor to look along.

A world to drive in is a `Scene` (a cluttered room, a corridor, two rooms with a doorway) and a free
place to start from. The same seed is the same world.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim.robot.ground import FLAT, Ground
from midas_depth_ros.sim.robot.odometry import Odometry, Rolled
from midas_depth_ros.sim.robot.plan_view import Heights, PlanView
from midas_depth_ros.sim.robot.robot import Motion
from midas_depth_ros.sim.scene.render import Rendering, render
from midas_depth_ros.sim.scene.scene import (
    Box,
    Cylinder,
    Material,
    Pose,
    Room,
    Scene,
    SceneError,
    Solid,
    Sphere,
)

Generator = np.random.Generator
Start = tuple[float, float, float]  # x and y in metres, yaw in radians

WALL_THICKNESS_M, CEILING_M = 0.12, 2.5
START_GAP_M, START_VIEW_M = 0.55, 1.2  # free around the start, and ahead of it
START_HEIGHTS_M = (0.0, 1.0)
TRIES = 4000

FLOORS = (
    Material((0.80, 0.58, 0.38), 'planks', (3.0, 1.5)),
    Material((0.62, 0.62, 0.60), 'tiles', (0.8, 0.8)),
    Material((0.55, 0.52, 0.50), 'plain', (0.9, 0.9)),
)
WALLS = (
    Material((0.93, 0.92, 0.87), 'wall', (4.0, CEILING_M)),
    Material((0.75, 0.80, 0.78), 'plain', (1.2, 1.2)),
    Material((0.80, 0.62, 0.52), 'bricks', (1.0, 1.0)),
)
CEILING = Material((0.78, 0.78, 0.76), 'lamps', (3.0, 1.5))
CARTON = Material((0.78, 0.58, 0.37), 'carton', (0.45, 0.45))
CUPBOARD = Material((0.60, 0.42, 0.30), 'planks', (1.6, 0.8))
BIN = Material((0.30, 0.45, 0.36), 'plain', (0.5, 0.5))
POLE = Material((0.95, 0.80, 0.15), 'stripes', (0.25, 0.3))
PILLAR = Material((0.72, 0.72, 0.70), 'plain', (0.8, 0.8))
TABLE = Material((0.55, 0.38, 0.24), 'planks', (1.2, 0.6))


@dataclasses.dataclass(frozen=True)
class PlainWorld:
    """A scene and a free place in it; `kind` names its layout."""

    scene: Scene
    start: Start
    kind: str
    seed: int
    ground: Ground = FLAT

    def plan(self, heights: Heights) -> PlanView:
        """Return the plan between two heights, from above."""
        return PlanView.of_scene(self.scene, heights)

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """Return what a camera sees from a pose: picture, exact depth, floor."""
        return render(self.scene, camera, pose)

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """Return the depth of `render`."""
        return render(self.scene, camera, pose).depth_z


def plain_world(seed: int) -> PlainWorld:
    """Return the world of a seed."""
    rng = np.random.default_rng([seed, 4])
    kind = str(rng.choice(list(LAYOUTS)))
    room, solids = LAYOUTS[kind](rng)
    floor = FLOORS[rng.integers(len(FLOORS))]
    scene = Scene(floor, room, tuple(solids), haze_m=40.0, seed=seed)
    plan = PlanView.of_scene(scene, START_HEIGHTS_M)
    return PlainWorld(scene, free_start(rng, plan, seed), kind, seed)


def _cluttered_room(rng: Generator) -> tuple[Room, list[Solid]]:
    room = _room(rng, rng.uniform(5, 8), rng.uniform(4.5, 7))
    area = (room.x_max_m - room.x_min_m) * (room.y_max_m - room.y_min_m)
    return room, _clutter(rng, room, round(area * rng.uniform(0.2, 0.35)))


def _corridor(rng: Generator) -> tuple[Room, list[Solid]]:
    """Narrow and long, with objects along alternating sides."""
    width = float(rng.uniform(1.9, 2.6))
    room = _room(rng, rng.uniform(10, 15), width)
    solids: list[Solid] = []
    side = 1
    for x in np.arange(room.x_min_m + 1.0, room.x_max_m - 1.0, rng.uniform(1.3, 2.0)):
        y = side * (0.5 * width - float(rng.uniform(0.1, 0.45)))
        solids += random_thing(rng, float(x + rng.uniform(-0.3, 0.3)), y)
        side = -side if rng.random() < 0.8 else side
    return room, solids


def _two_rooms(rng: Generator) -> tuple[Room, list[Solid]]:
    """A wall across the room, with a doorway."""
    room = _room(rng, rng.uniform(7, 10), rng.uniform(4, 6))
    x, door = float(rng.uniform(-1, 1)), float(rng.uniform(0.9, 1.4))
    middle = float(rng.uniform(room.y_min_m + 1.0, room.y_max_m - 1.0))
    solids: list[Solid] = []
    for low, high in ((room.y_min_m, middle - 0.5 * door), (middle + 0.5 * door, room.y_max_m)):
        length, centre = high - low, 0.5 * (high + low)
        solids.append(
            Box(x, centre, WALL_THICKNESS_M, length, CEILING_M - 0.01, material=room.walls)
        )
    area = (room.x_max_m - room.x_min_m) * (room.y_max_m - room.y_min_m)
    return room, solids + _clutter(rng, room, round(area * rng.uniform(0.15, 0.25)))


LAYOUTS: dict[str, Callable[[Generator], tuple[Room, list[Solid]]]] = {
    'room': _cluttered_room,
    'corridor': _corridor,
    'two rooms': _two_rooms,
}


def _room(rng: Generator, length: float, width: float) -> Room:
    walls = WALLS[rng.integers(len(WALLS))]
    x, y = 0.5 * float(length), 0.5 * float(width)
    return Room(-x, x, -y, y, CEILING_M, walls, ceiling=CEILING)


def _clutter(rng: Generator, room: Room, count: int) -> list[Solid]:
    solids: list[Solid] = []
    for _ in range(count):
        x = float(rng.uniform(room.x_min_m + 0.2, room.x_max_m - 0.2))
        y = float(rng.uniform(room.y_min_m + 0.2, room.y_max_m - 0.2))
        solids += random_thing(rng, x, y)
    return solids


def random_thing(rng: Generator, x: float, y: float) -> list[Solid]:
    """A random object on the floor."""
    kind = rng.choice(list(THINGS), p=[share for share, _ in THINGS.values()])
    return THINGS[str(kind)][1](rng, x, y)


def _carton(rng: Generator, x: float, y: float) -> list[Solid]:
    length, width, height = (float(v) for v in rng.uniform((0.2, 0.2, 0.12), (0.6, 0.5, 0.6)))
    return [Box(x, y, length, width, height, _any_yaw(rng), material=CARTON)]


def _cupboard(rng: Generator, x: float, y: float) -> list[Solid]:
    length, width, height = (float(v) for v in rng.uniform((0.5, 0.3, 0.8), (1.2, 0.5, 2.0)))
    return [Box(x, y, length, width, height, _any_yaw(rng), material=CUPBOARD)]


def _bin(rng: Generator, x: float, y: float) -> list[Solid]:
    radius, height = (float(v) for v in rng.uniform((0.10, 0.25), (0.22, 0.7)))
    return [Cylinder(x, y, radius, height, material=BIN)]


def _pole(rng: Generator, x: float, y: float) -> list[Solid]:
    return [Cylinder(x, y, float(rng.uniform(0.025, 0.06)), CEILING_M - 0.01, material=POLE)]


def _pillar(rng: Generator, x: float, y: float) -> list[Solid]:
    return [Cylinder(x, y, float(rng.uniform(0.12, 0.25)), CEILING_M - 0.01, material=PILLAR)]


def _table(rng: Generator, x: float, y: float) -> list[Solid]:
    """A board above the robot on four legs that it may pass between."""
    half_length, half_width = (float(v) for v in rng.uniform((0.45, 0.35), (0.7, 0.45)))
    yaw = _any_yaw(rng)
    c, s = math.cos(yaw), math.sin(yaw)
    legs: list[Solid] = [
        Cylinder(x + c * u - s * v, y + s * u + c * v, 0.03, 0.7, material=TABLE)
        for u in (-half_length, half_length)
        for v in (-half_width, half_width)
    ]
    size = 2 * half_length + 0.1, 2 * half_width + 0.1
    return [*legs, Box(x, y, *size, 0.04, yaw, bottom_m=0.7, material=TABLE)]


THINGS: dict[str, tuple[float, Callable[[Generator, float, float], list[Solid]]]] = {
    'carton': (0.34, _carton),
    'cupboard': (0.14, _cupboard),
    'bin': (0.20, _bin),
    'pole': (0.14, _pole),
    'pillar': (0.12, _pillar),
    'table': (0.06, _table),
}


def _any_yaw(rng: Generator) -> float:
    return float(rng.uniform(-math.pi, math.pi))


def free_start(rng: Generator, plan: PlanView, seed: int, view_m: float = START_VIEW_M) -> Start:
    """Return a place with free space around it and ahead of it. Raises SceneError."""
    room = plan.room
    if room is None:
        raise SceneError(f'world {seed} has no walls: give it a room')
    for _ in range(TRIES):
        x = float(rng.uniform(room.x_min_m, room.x_max_m))
        y = float(rng.uniform(room.y_min_m, room.y_max_m))
        yaw = _any_yaw(rng)
        if plan.gap(x, y) < START_GAP_M:
            continue
        if plan.reach(x, y, np.array([yaw]))[0] >= view_m:
            return x, y, yaw
    raise SceneError(f'world {seed} has no free place to start from: take another seed')


# --- An endless corridor: the same every period, without a seam.
#
# Boxes, bins, poles and balls line both sides, and a barrel ahead of the camera moves from side to
# side, nearer and farther. The corridor repeats every `LAP_M`, the camera's way in one period.

LAP_M = 12.0  # a multiple of every pattern's repeat, so that the picture does not jump
PERIOD_S = 20.0
HALF_WIDTH_M = 1.5
BARREL_RADIUS_M, POLE_RADIUS_M = 0.15, 0.04
VIEW_M = (2.0, 22.0)  # how far behind and ahead of the camera solids are kept
HAZE = (0.80, 0.80, 0.77)

CRATE = Material((0.35, 0.50, 0.62), 'bricks', (0.8, 0.8))
SLIM_POLE = Material((0.95, 0.80, 0.15), 'stripes', (math.tau * POLE_RADIUS_M, 0.3))
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
        """The camera that the scene is made for: 640x480, 66 degrees wide."""
        return CameraModel.from_field_of_view(640, 480, math.radians(66.0))

    def pose_at(self, time_s: float) -> Pose:
        """Return the camera: 0.3 m high, looking 6 degrees down, weaving while it drives."""
        turn = self._turn(time_s)
        x, y = LAP_M * turn / math.tau, self._path(turn)
        slope = (self._path(turn + 1e-4) - self._path(turn - 1e-4)) / (2e-4 * LAP_M / math.tau)
        return Pose(x, y, 0.3, math.atan(slope), math.radians(6.0))

    def way_at(self, time_s: float) -> Pose:
        """Return the camera's pose without the jump back after each period, as odometry has it."""
        laps = math.floor(time_s / self.period_s)
        pose = self.pose_at(time_s)
        return dataclasses.replace(pose, x_m=pose.x_m + laps * LAP_M)

    def scene_at(self, time_s: float) -> Scene:
        """Return what is around the camera at this time, barrel included."""
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
        room = Room(
            x - 10, x + 40, -HALF_WIDTH_M, HALF_WIDTH_M, 2.5, WALLS[0], Material(HAZE), CEILING
        )
        return Scene(FLOORS[0], room, tuple(solids), haze_colour=HAZE, haze_m=16.0, seed=self.seed)

    def _turn(self, time_s: float) -> float:
        """The time within the period as an angle from 0 to 2 pi."""
        return math.tau * ((time_s / self.period_s) % 1.0)

    def _path(self, turn: float) -> float:
        """The camera's sideways position, metres to the left."""
        return 0.18 * math.sin(2 * turn + self.sway_rad + 1.5)


@functools.lru_cache(maxsize=8)
def moving_scene(seed: int = 0) -> MovingScene:
    """Return the corridor of a seed, bit-identical for the same seed."""
    rng = np.random.default_rng(seed)
    standing: list[Solid] = []
    side = 1 if rng.random() < 0.5 else -1
    for place in range(8):
        x = LAP_M * (place + rng.uniform(0.2, 0.8)) / 8
        standing.append(_obstacle(rng, x, side))
        side = -side if rng.random() < 0.85 else side
    return MovingScene(tuple(standing), float(rng.uniform(0, math.tau)), seed)


def _obstacle(rng: np.random.Generator, x: float, side: int) -> Solid:
    """An object by the wall, clear of the way of barrel and camera."""
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
        return Cylinder(x, y - side * 0.15, POLE_RADIUS_M, 2.5, material=SLIM_POLE)
    return Sphere(x, y, 0.4 * size, 0.4 * size, BALL)


# --- Wheels that carry the camera along its path, for their odometry.

MOST_AHEAD_S = 60.0  # a larger step, or one back, means that the clock was set
PATH_STEP_S = 0.01


class PathOdometry:
    """Odometry of wheels below a camera that moves along a path, by stamps in nanoseconds.

    Time of the path begins at `epoch_ns`, a multiple of its period.
    """

    def __init__(
        self, scene: MovingScene, epoch_ns: int, start_ns: int, settings: RobotSettings
    ) -> None:
        self.scene = scene
        self._epoch_ns = epoch_ns
        start_s = self._seconds(start_ns)
        start = _motion_on(scene, start_s)
        self._odometry = Odometry(start, settings, scene.seed)
        self._true = start

    def follows(self, time_ns: int) -> bool:
        """Return whether a time is soon after the last one."""
        ahead_s = self._seconds(time_ns) - self._true.time_s
        return 0.0 <= ahead_s <= MOST_AHEAD_S

    def advance(self, time_ns: int) -> Odometry:
        """Move on to a time; return what the wheels report then."""
        begin_s, end_s = self._true.time_s, self._seconds(time_ns)
        steps = math.ceil((end_s - begin_s) / PATH_STEP_S - 1e-9)
        for number in range(1, steps + 1):
            before = self._true
            self._true = now = _motion_on(self.scene, begin_s + (end_s - begin_s) * number / steps)
            turn = math.remainder(now.yaw_rad - before.yaw_rad, math.tau)
            chord = math.hypot(now.x_m - before.x_m, now.y_m - before.y_m)
            way = chord * (0.5 * turn / math.sin(0.5 * turn) if turn else 1.0)
            rolled = Rolled(way, turn, now.speed_m_s, now.turn_rad_s)
            self._odometry.roll(now.time_s, rolled)
        return self._odometry

    def _seconds(self, time_ns: int) -> float:
        return (time_ns - self._epoch_ns) / 1e9


def _motion_on(scene: MovingScene, time_s: float) -> Motion:
    """The true motion on the path at a time."""
    late, early, now = (scene.way_at(time_s + by) for by in (1e-3, -1e-3, 0.0))
    speed = math.hypot(late.x_m - early.x_m, late.y_m - early.y_m) / 2e-3
    turn = math.remainder(late.yaw_rad - early.yaw_rad, math.tau) / 2e-3
    return Motion(time_s, now.x_m, now.y_m, now.yaw_rad, speed, turn)
