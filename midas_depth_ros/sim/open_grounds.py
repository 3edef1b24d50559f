"""Open ground: meadows, yards and squares, with paths, trees and whatever stands there."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim import household as made
from midas_depth_ros.sim import outdoor_things as out
from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.layout import Ground, keep_clear
from midas_depth_ros.sim.outdoors import daylight, meadow_finish, road_finish
from midas_depth_ros.sim.parts import STRUCTURE_ID, Marking, Place
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import Stock, colour
from midas_depth_ros.sim.textures import Atlas


def open_ground(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """A meadow, a yard or a square, with paths, trees and whatever stands there."""
    stock = Stock(rng, atlas)
    yard = Yard(rng, stock)
    light, sky, haze = daylight(rng, stock)
    floor = meadow_finish(stock) if rng.random() < 0.55 else road_finish(stock)
    if rng.random() < 0.15:
        floor = stock.of('tile', colour(rng, 0.1), rng.uniform(0.8, 3), 0.3)
    z = rng.uniform(0.1, 0.6) if rng.random() < 0.5 else rng.uniform(0.6, 1.8)
    pose = Pose(
        0, 0, z, rng.gauss(0, 0.3), math.radians(rng.gauss(6, 7)), math.radians(rng.gauss(0, 2.5))
    )
    if rng.random() < 0.6:
        _path(yard, stock)
    for _ in range(rng.choice((0, 2, 5))):
        look = rng.choice((stock.plain, lambda: road_finish(stock), lambda: meadow_finish(stock)))()
        yard.mark_round(rng.uniform(1, 18), rng.uniform(-7, 7), rng.uniform(0.1, 2.5), look, 0.3)
    ground = Ground([(0, 0, 0.6)])
    things = (
        (out.any_tree, 0.5, 3),
        (out.bush, 0.9, 3),
        (out.pole, 0.2, 1.5),
        (out.bench, 0.9, 1),
        (out.rock, 0.6, 2),
        (made.person, 0.4, 2),
        (made.cone, 0.3, 0.7),
        (made.cartons, 0.5, 1),
        (made.bin_, 0.3, 0.7),
        (out.bollard, 0.2, 1),
        (out.car, 2.6, 1.5),
        (made.low_clutter, 0.4, 1),
        (made.bag, 0.3, 0.5),
    )
    for _ in range(rng.choice((3, 6, 10, 16, 22))):
        build, radius, _ = rng.choices(things, [weight for *_, weight in things])[0]
        far = radius + 0.6 + rng.expovariate(1 / 7.0)
        bearing = rng.gauss(0, 0.55)
        x, y = far * math.cos(bearing), far * math.sin(bearing)
        if not ground.free(x, y, radius):
            continue
        ground.take(x, y, radius)
        f = yard.frame(x, y, rng.uniform(0, math.tau))
        build(f, stock)
    _horizon(yard, stock)
    keep_clear(yard, pose, 0.25)
    place = Place(
        tuple(stock.finishes),
        floor,
        tuple(yard.parts),
        light,
        sky,
        None,
        tuple(yard.markings),
        haze_m=haze,
        mirror=rng.uniform(0.2, 0.6) if rng.random() < 0.07 else 0.0,
    )
    return place, pose


def _path(yard: Yard, stock: Stock) -> None:
    """A winding way ahead."""
    rng = stock.rng
    look = (
        road_finish(stock) if rng.random() < 0.7 else stock.of('tile', colour(rng, 0.1), 1.0, 0.3)
    )
    half, y, turn = rng.uniform(0.5, 2.0), rng.uniform(-1, 1), rng.gauss(0, 0.15)
    left, right, x = [], [], -4.0
    while x < 42:
        left.append((x, y + half))
        right.append((x, y - half))
        turn = 0.85 * turn + rng.gauss(0, 0.12)
        x, y = x + 2.0, y + 2.0 * turn
    yard.markings.append(Marking(tuple(left + right[::-1]), look))


def _horizon(yard: Yard, stock: Stock) -> None:
    """Fences, houses, trees and hills farther away."""
    rng = stock.rng
    for _ in range(rng.choice((0, 1, 2, 3))):
        far, bearing = rng.uniform(6, 25), rng.gauss(0, 0.5)
        turn = bearing + math.pi / 2 + rng.gauss(0, 0.4)
        out.fence(
            yard.frame(far * math.cos(bearing), far * math.sin(bearing), turn),
            stock,
            rng.uniform(4, 25),
        )
    for _ in range(rng.choice((0, 1, 3, 5))):
        far, bearing = rng.uniform(14, 70), rng.gauss(0, 0.6)
        f = yard.frame(far * math.cos(bearing), far * math.sin(bearing), bearing + math.pi / 2)
        out.house(f, stock, rng.uniform(6, 22), rng.uniform(6, 12), rng.uniform(3, 14))
    green = made.leaves(stock)
    for _ in range(rng.choice((0, 4, 10))):
        far, bearing = rng.uniform(35, 120), rng.uniform(-1.1, 1.1)
        size = rng.uniform(4, 12)
        f = yard.frame(far * math.cos(bearing), far * math.sin(bearing), object_id=STRUCTURE_ID)
        f.ball(0, 0, 0.3 * size, 1.5 * size, 1.5 * size, 0.8 * size, green)
