"""Tables, desks and benches seen from close by, with many things on them and a room behind."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim import furniture, household
from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.layout import (
    Ground,
    floor_finish,
    four_walls,
    indoor_light,
    keep_clear,
)
from midas_depth_ros.sim.on_floor import scatter
from midas_depth_ros.sim.parts import Hall, Place, Sky
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import Stock
from midas_depth_ros.sim.textures import Atlas
from midas_depth_ros.sim.walls import furnish_wall


def table_top(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """The camera stands before the table's near edge and looks over it."""
    stock = Stock(rng, atlas)
    yard = Yard(rng, stock)
    floor, mirror = floor_finish(stock)
    top, deep, wide = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.4), rng.uniform(0.8, 2.6)
    walls, ceiling = four_walls(stock, 0.3), stock.plain((0.9, 0.9, 0.88))
    behind = rng.choice((rng.uniform(0.0, 0.1), rng.uniform(0.1, 5.0)))  # from table to wall
    near, height = rng.uniform(-0.35, 0.35), rng.uniform(2.3, 3.2)
    half = rng.uniform(max(0.5 * wide, 1.2), 4.0)
    hall = Hall((-2.0, -half), (near + deep + behind + 0.01, half), height, walls, ceiling)
    table = yard.frame(near + 0.5 * deep, rng.gauss(0, 0.15), -math.pi / 2)
    furniture.table(table, stock, wide, deep, top)
    _set(yard, stock, table.at(0, 0), (deep, wide), top)
    if behind > 0.8:
        ground = Ground([(near + 0.5 * deep, 0, 0.5 * max(wide, deep)), (0, 0, 0.8)])
        side = (hall.high[0], 0.0, math.pi / 2)
        furnish_wall(yard, stock, ground, side, 2 * half, height, 0.9)
        for _ in range(rng.randint(0, 5)):
            scatter(yard, stock, ground, hall)
    z = min(top + math.exp(rng.uniform(math.log(0.12), math.log(0.9))), 1.8)
    aim = near + deep * rng.uniform(0.3, 1.2) + 0.4
    pitch = math.atan2(0.7 * (z - top), aim) + rng.gauss(0, 0.08)
    pose = Pose(
        min(near, 0.0) - rng.uniform(0.05, 0.5),
        rng.gauss(0, 0.2),
        z,
        rng.gauss(0, 0.25),
        pitch,
        rng.gauss(0, 0.05),
    )
    keep_clear(yard, pose, 0.1)
    light = indoor_light(rng, rng.uniform(-0.8, 1.2), rng.uniform(-0.8, 0.8), height - 0.3)
    white = Sky((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    place = Place(
        tuple(stock.finishes), floor, tuple(yard.parts), light, white, hall, mirror=mirror
    )
    return place, pose


def _set(
    yard: Yard, stock: Stock, middle: tuple[float, float], size: tuple[float, float], top: float
) -> None:
    """Things side by side on the table, some of them large."""
    rng = stock.rng
    ground = Ground()
    for _ in range(rng.choice((3, 6, 10, 16))):
        x = middle[0] + rng.uniform(-0.48, 0.48) * size[0]
        y = middle[1] + rng.uniform(-0.45, 0.45) * size[1]
        reach = rng.uniform(0.04, 0.14)
        if not ground.free(x, y, reach):
            continue
        ground.take(x, y, reach)
        f = yard.frame(x, y, rng.uniform(0, math.tau), top)
        pick = rng.random()
        if pick < 0.5:
            household.small_thing(f, stock, 0, 0, 0)
        elif pick < 0.85:
            household.anything(f, stock, math.exp(rng.uniform(math.log(0.1), math.log(0.6))))
        elif pick < 0.93:
            furniture.screen(f, stock, 0, 0, 0)
        else:
            household.cartons(f, stock)
