"""Worlds whose ground is not flat, made from a seed: ramps to drive on, steps up, edges down.

A room has a platform across one end. A ramp leads up to it over all its width or a part; where
there is none, its front is a step up from below and an edge from above.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.robot import plain_world
from midas_depth_ros.sim.robot.ground import Ground, Slab
from midas_depth_ros.sim.robot.plain_world import (
    CEILING,
    CEILING_M,
    FLOORS,
    START_GAP_M,
    START_VIEW_M,
    TRIES,
    WALLS,
    Generator,
    Start,
)
from midas_depth_ros.sim.robot.plan_view import Heights, PlanView
from midas_depth_ros.sim.scene.render import Rendering, render
from midas_depth_ros.sim.scene.scene import Material, Pose, Room, Scene, SceneError, Solid, Sphere

LENGTH_M, WIDTH_M = (7.0, 10.0), (3.0, 4.5)
STEP_M = (0.12, 0.30)  # of platforms: more than `obstacles.max_drop`
SLOPE = (0.05, 0.12)  # of ramps, metres up per metre
NARROW_M = (1.0, 1.6)  # width of a ramp over a part of the front
PASSABLE_M = 0.02  # a lower step is none
THINGS_PER_M2 = 0.12
LOOKS_RAD = 0.8  # how far from straight to the platform's front, at the start
KEPT_FREE_M = 0.8  # from things to edges and ramps
SLABS = (
    Material((0.66, 0.64, 0.60), 'plain', (0.9, 0.9)),
    Material((0.70, 0.52, 0.36), 'planks', (3.0, 1.5)),
    Material((0.58, 0.60, 0.62), 'tiles', (0.6, 0.6)),
)


@dataclasses.dataclass(frozen=True)
class UnevenWorld:
    """A scene whose `ground` is driven on, things that stand on it, and a free place to start."""

    scene: Scene
    things: tuple[Solid, ...]
    ground: Ground
    start: Start
    kind: str
    seed: int

    def plan(self, heights: Heights) -> PlanView:
        """Return things and walls from above, on whatever level they stand.

        heights: above the ground. Steps and edges are those of `ground`.
        """
        return plan_of_things(self.scene.room, self.things, self.ground, heights)

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """Return what a camera sees from a pose: picture, exact depth, floor."""
        return render(self.scene, camera, pose)

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """Return the depth of `render`."""
        return render(self.scene, camera, pose).depth_z


def plan_of_things(
    room: Room | None, things: tuple[Solid, ...], ground: Ground, heights: Heights
) -> PlanView:
    """Return the plan of things between two heights above the ground that each stands on."""
    lowered = tuple(_moved_up(thing, -_level_of(thing, ground)) for thing in things)
    return PlanView.of_scene(Scene(room=room, solids=lowered), heights)


def uneven_world(seed: int) -> UnevenWorld:
    """Return the world of a seed."""
    rng = np.random.default_rng([seed, 9])
    kind = str(rng.choice(list(LAYOUTS)))
    length, width = float(rng.uniform(*LENGTH_M)), float(rng.uniform(*WIDTH_M))
    walls = WALLS[rng.integers(len(WALLS))]
    x, y = 0.5 * length, 0.5 * width
    room = Room(-x, x, -y, y, CEILING_M, walls, ceiling=CEILING)
    ground, zone = LAYOUTS[kind](rng, room)
    things = _things(rng, room, ground)
    floor, material = FLOORS[rng.integers(len(FLOORS))], SLABS[rng.integers(len(SLABS))]
    solids = (*(slab.solid(material) for slab in ground.slabs), *things)
    start = _start(rng, room, things, ground, zone, seed)
    scene = Scene(floor, room, solids, haze_m=40.0, seed=seed)
    return UnevenWorld(scene, things, ground, start, kind, seed)


Zone = tuple[float, float]  # lowest and highest height of the ground to start from


def _ramp(rng: Generator, room: Room) -> tuple[Ground, Zone]:
    """Over all the width: from anywhere to anywhere."""
    height = float(rng.uniform(*STEP_M))
    ramp = _ramp_to(rng, room, height, room.y_max_m - room.y_min_m, 0.0)
    zones = ((0.0, 0.0), (0.1 * height, 0.9 * height), (height, height))
    return Ground((_platform(room, height), ramp)), zones[rng.integers(3)]


def _ramp_and_step(rng: Generator, room: Room) -> tuple[Ground, Zone]:
    """Over a part of the front: beside it is a step from below, an edge from above."""
    height, width = float(rng.uniform(*STEP_M)), float(rng.uniform(*NARROW_M))
    y = float(rng.uniform(room.y_min_m + 0.5 * width, room.y_max_m - 0.5 * width))
    ramp = _ramp_to(rng, room, height, width, y)
    zone = (0.0, 0.0) if rng.random() < 0.5 else (height, height)
    return Ground((_platform(room, height), ramp)), zone


def _step_up(rng: Generator, room: Room) -> tuple[Ground, Zone]:
    return Ground((_platform(room, float(rng.uniform(*STEP_M))),)), (0.0, 0.0)


def _edge_down(rng: Generator, room: Room) -> tuple[Ground, Zone]:
    height = float(rng.uniform(*STEP_M))
    return Ground((_platform(room, height),)), (height, height)


LAYOUTS: dict[str, Callable[[Generator, Room], tuple[Ground, Zone]]] = {
    'ramp': _ramp,
    'ramp and step': _ramp_and_step,
    'step up': _step_up,
    'edge down': _edge_down,
}


def _platform(room: Room, height: float) -> Slab:
    """From the middle of the room to its end, across all of it."""
    width = room.y_max_m - room.y_min_m
    return Slab(0.5 * room.x_max_m, 0.0, room.x_max_m, width, height, height)


def _ramp_to(rng: Generator, room: Room, height: float, width: float, y: float) -> Slab:
    """Up to the platform, whose front is at x = 0; not longer than the room allows."""
    steepest = height / (room.x_max_m - 0.6)
    length = height / max(float(rng.uniform(*SLOPE)), steepest)
    return Slab(-0.5 * length, y, length, width, height, 0.0)


def _things(rng: Generator, room: Room, ground: Ground) -> tuple[Solid, ...]:
    """Objects on the floor and on the platform, away from the ramp and the edges."""
    area = (room.x_max_m - room.x_min_m) * (room.y_max_m - room.y_min_m)
    things: list[Solid] = []
    foot = min(slab.x_m - 0.5 * slab.length_m for slab in ground.slabs)
    for _ in range(round(area * THINGS_PER_M2)):
        below = rng.random() < 0.5
        low, high = (room.x_min_m, foot - KEPT_FREE_M) if below else (KEPT_FREE_M, room.x_max_m)
        x = float(rng.uniform(low + 0.2, max(low + 0.3, high - 0.2)))
        y = float(rng.uniform(room.y_min_m + 0.2, room.y_max_m - 0.2))
        thing = plain_world.random_thing(rng, x, y)
        level = 0.0 if below else ground.highest_m
        things += [_moved_up(part, level) for part in thing]
    return tuple(things)


def _moved_up(thing: Solid, by_m: float) -> Solid:
    if isinstance(thing, Sphere):
        return dataclasses.replace(thing, z_m=thing.z_m + by_m)
    return dataclasses.replace(thing, bottom_m=thing.bottom_m + by_m)


def _level_of(thing: Solid, ground: Ground) -> float:
    """Height of the ground below a thing: on ramps there is none."""
    return float(ground.height(np.array(thing.x_m), np.array(thing.y_m)))


def _start(
    rng: Generator,
    room: Room,
    things: tuple[Solid, ...],
    ground: Ground,
    zone: Zone,
    seed: int,
) -> Start:
    """Return a place on ground of these heights, free of things and edges around and ahead."""
    plan = plan_of_things(room, things, ground, plain_world.START_HEIGHTS_M)
    edges = ground.edges(PASSABLE_M)
    for _ in range(TRIES):
        x = float(rng.uniform(room.x_min_m, room.x_max_m))
        y = float(rng.uniform(room.y_min_m, room.y_max_m))
        yaw = (math.pi if x > 0 else 0.0) + float(rng.uniform(-LOOKS_RAD, LOOKS_RAD))
        height = float(ground.height(np.array(x), np.array(y)))
        if not zone[0] - 1e-9 <= height <= zone[1] + 1e-9:
            continue
        if min(plan.gap(x, y), edges.gap(x, y)) < START_GAP_M:
            continue
        bearing = np.array([yaw])
        if min(each.reach(x, y, bearing)[0] for each in (plan, edges)) >= START_VIEW_M:
            return x, y, math.remainder(yaw, math.tau)
    raise SceneError(f'world {seed} has no free place to start from: take another seed')
