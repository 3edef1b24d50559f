"""Cars from near, in a street, a yard or a garage: their sides, wheels and windows."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    FinishMaker,
    FloorSpace,
    Hall,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things
from training.places.dark import polish
from training.places.layout import four_walls, indoor_light, indoor_pose
from training.places.outdoors import daylight, road_finish


def cars(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """The nearest one is 0.6 to 3 m away, at any angle."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, garage = road_finish(make), rng.random() < 0.25
    pose = indoor_pose(rng, 0, 0, rng.gauss(0, 0.3), 2.1)
    space = FloorSpace([(0, 0, 0.8)])
    _near_cars(builder, pose, space)
    for _ in range(rng.choice((0, 0, 2, 4))):  # bays
        x, y = rng.uniform(0, 8), rng.uniform(-4, 4)
        builder.mark(x, y, 5, 0.12, rng.choice((0.0, 1.57)), make.plain((0.85, 0.85, 0.8)))
    if garage:
        wide, height = rng.uniform(4, 10), rng.uniform(2.2, 2.8)
        walls = four_walls(make, 0.2)
        hall = Hall((-4, -wide), (rng.uniform(7, 25), wide), height, walls, make.plain((0.6,) * 3))
        f = builder.frame(0, 0, object_id=STRUCTURE_ID)
        for i in range(4):
            x, y = 3 + 5 * i, rng.choice((-1, 1)) * rng.uniform(2, wide)
            if space.free(x, y, 0.4):
                f.box(x, y, 0, 0.5, 0.5, height, walls[0])
        light = indoor_light(rng, rng.uniform(-1, 4), rng.uniform(-2, 2), height - 0.2)
        more: dict[str, Any] = {'hall': hall}
    else:
        light, sky, haze = daylight(make)
        for _ in range(rng.choice((1, 3, 5))):
            bearing, far = rng.gauss(0, 0.6), rng.uniform(9, 40)
            x, y = far * math.cos(bearing), far * math.sin(bearing)
            f = builder.frame(x, y, bearing + math.pi / 2)
            things.house(f, rng.uniform(8, 20), 8, rng.uniform(4, 14))
        for _ in range(rng.choice((0, 2, 5))):
            x, y = rng.uniform(3, 15), rng.uniform(-7, 7)
            if space.free(x, y, 0.5):
                rng.choice((things.pole, things.bush, things.any_tree, things.bollard))(
                    builder.frame(x, y)
                )
        more = {'sky': sky, 'haze_m': haze}
    if rng.random() < 0.6:
        polish(builder, pose, rng.uniform(0.05, 0.2), rng.uniform(0, 3))
    return builder.place(floor, light, **more), pose


def _near_cars(builder: PanedBuilder, pose: Pose, space: FloorSpace) -> None:
    """The nearest one by the gap to its side, the others beside it or anywhere."""
    rng = builder.rng
    turn = rng.choice((0.0, math.pi / 2, rng.uniform(0, math.pi))) + rng.gauss(0, 0.1)
    turn += rng.choice((0.0, math.pi))
    bearing = pose.yaw_rad + rng.gauss(0, 0.4)
    first = len(builder.parts)
    half = detailed(builder, turn)
    # From the middle of the car to its outline, in the camera's direction.
    along, across = abs(math.cos(turn - bearing)), abs(math.sin(turn - bearing))
    reach = min(half[0] / max(along, 1e-3), half[1] / max(across, 1e-3))
    far = reach + math.exp(rng.uniform(math.log(0.5), math.log(3.0)))
    x, y = pose.x_m + far * math.cos(bearing), pose.y_m + far * math.sin(bearing)
    for i, part in enumerate(builder.parts[first:], first):
        centre = part.centre[0] + x, part.centre[1] + y, part.centre[2]
        builder.parts[i] = dataclasses.replace(part, centre=centre)
    space.take(x, y, half[0])
    step = rng.uniform(2.3, 3.2)
    for i in (-2, -1, 1, 2):
        if rng.random() < 0.5:
            u, v = x - i * step * math.sin(turn), y + i * step * math.cos(turn)
            if math.hypot(u, v) > 3.5:
                things.car(builder.frame(u, v, turn + rng.choice((0, math.pi))), abs(i) < 2)
                space.take(u, v, 2.2)
    for _ in range(rng.choice((0, 1, 3))):
        u, v = rng.uniform(7, 25), rng.uniform(-8, 8)
        if space.free(u, v, 2.5):
            things.car(builder.frame(u, v, rng.uniform(0, math.tau)), False)
            space.take(u, v, 2.5)


def detailed(builder: PanedBuilder, turn: float) -> tuple[float, float]:
    """A car about (0, 0) with hubs, seams, handles, bumpers; half its length and its width."""
    rng, make = builder.rng, builder.make
    f = builder.frame(0, 0, turn)
    first = len(builder.parts)
    things.car(f)
    body = builder.parts[first]
    long, wide = 2 * body.half[0], 2 * body.half[1]
    top = body.centre[2] + body.half[2]
    black, hub = make.plain((0.05,) * 3), make.plain(varied(rng, (0.6, 0.6, 0.62)))
    for side in (-1, 1):
        edge = side * 0.5 * wide
        for share in (-0.32, 0.32):
            f.tube(share * long, edge + side * 0.012, 0.3 - 0.01, 0.19, 0.02, hub, roll=math.pi / 2)
        for share in (-0.12, 0.12):
            f.box(share * long, edge, 0.3, 0.012, 0.008, max(top - 0.3, 0.1), black)
            f.box(share * long - 0.25, edge + side * 0.015, top - 0.14, 0.18, 0.03, 0.025, black)
        f.box(0.2 * long, edge + side * 0.12, top, 0.1, 0.2, 0.13, body.finish)
    for end in (-1, 1):
        f.box(end * 0.51 * long, 0, 0.25, 0.12, 0.96 * wide, 0.2, black)
    return 0.6 * long, 0.5 * wide + 0.15
