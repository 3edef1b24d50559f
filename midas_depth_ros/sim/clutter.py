"""Heaps of turned solids in all textures, near and far: nothing that exists, everything that can.

A network that has only seen tidy rooms takes any odd thing for wall or floor; here a shape can be
anything anywhere, also in the floor's colour.
"""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim import furniture, household
from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.layout import (
    floor_finish,
    four_walls,
    indoor_light,
    indoor_pose,
    keep_clear,
)
from midas_depth_ros.sim.outdoors import daylight
from midas_depth_ros.sim.parts import BALL, BOX, TUBE, Hall, Part, Place, triple
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import Stock, colour
from midas_depth_ros.sim.textures import Atlas


def clutter(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """In a room, or in the open."""
    stock = Stock(rng, atlas)
    yard = Yard(rng, stock)
    floor, mirror = floor_finish(stock)
    light, sky, haze = daylight(rng, stock)
    hall = None
    reach = math.exp(rng.uniform(math.log(1.2), math.log(9)))
    if rng.random() < 0.75:
        walls = four_walls(stock, 1.0)
        wide, height = reach * rng.uniform(0.6, 1.6), rng.uniform(2.0, 4.0)
        hall = Hall(
            (-1.5, -wide), (reach * rng.uniform(0.9, 2), wide), height, walls, stock.plain()
        )
        light, haze = (
            indoor_light(rng, rng.uniform(-1, reach), rng.uniform(-0.5, 0.5), height - 0.3),
            math.inf,
        )
    pose = indoor_pose(rng, 0, 0, rng.gauss(0, 0.3), 2.2)
    looks = [stock.odd() if rng.random() < 0.5 else stock.plain(lively=0.5) for _ in range(10)]
    looks += [floor] * rng.choice((0, 1, 4))
    for _ in range(rng.choice((2, 5, 10, 20, 30))):
        size = math.exp(rng.uniform(math.log(0.05), math.log(0.9))) * (0.4 + 0.2 * reach)
        x, y = _spot(rng, pose, reach)
        pick = rng.random()
        frame = yard.frame(x, y, rng.uniform(0, math.tau))
        if pick < 0.15:
            rng.choice(
                (
                    furniture.chair,
                    household.cartons,
                    household.person,
                    household.plant,
                    furniture.stool,
                    household.bag,
                )
            )(frame, stock)
            continue
        half = triple(0.5 * size * math.exp(rng.gauss(0, 0.5)) for _ in range(3))
        tipped = rng.random() < 0.3
        floats = rng.uniform(0, 1.5) if rng.random() < 0.15 else 0.0
        yard.parts.append(
            Part(
                rng.choice((BOX, BOX, BALL, TUBE)),
                (x, y, half[2] + floats),
                half,
                rng.choice(looks),
                frame.object_id,
                rng.uniform(0, math.tau),
                rng.uniform(-1.2, 1.2) if tipped else 0.0,
                rng.uniform(-1.2, 1.2) if tipped else 0.0,
                rng.choice((1.0, 1.0, 0.0, rng.random())),
            )
        )
    for _ in range(rng.choice((0, 3, 8))):
        x, y = _spot(rng, pose, reach)
        look = stock.odd() if rng.random() < 0.3 else stock.plain(colour(rng, 0.4))
        if rng.random() < 0.5:
            yard.mark(x, y, rng.uniform(0.05, 2), rng.uniform(0.03, 1), rng.uniform(0, 3), look)
        else:
            yard.mark_round(x, y, rng.uniform(0.05, 1), look, 0.4)
    keep_clear(yard, pose, 0.2)
    place = Place(
        tuple(stock.finishes),
        floor,
        tuple(yard.parts),
        light,
        sky,
        hall,
        tuple(yard.markings),
        haze_m=haze,
        mirror=mirror,
    )
    return place, pose


def _spot(rng: random.Random, pose: Pose, reach: float) -> tuple[float, float]:
    far, bearing = 0.5 + rng.random() * 1.2 * reach, pose.yaw_rad + rng.gauss(0, 0.45)
    return far * math.cos(bearing), far * math.sin(bearing)
