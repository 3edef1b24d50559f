"""Stairs up and down, and railings, indoors and before houses.

Steps up are one object. Steps down are structure: they are below the floor, which ends there.
"""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    FLOOR_ID,
    STRUCTURE_ID,
    FinishMaker,
    FloorSpace,
    Hall,
    ObjectFrame,
    Vector,
    colour,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things
from training.places.layout import (
    floor_finish,
    four_walls,
    indoor_light,
    indoor_pose,
    keep_clear,
    rod,
    scatter,
)
from training.places.outdoors import daylight, meadow_finish, road_finish

LIP_M = 0.002  # by which the edge of a well stands above the floor
SLAB_M = 0.25
BARS = 60  # at most, of one railing


@dataclasses.dataclass(frozen=True)
class Flight:
    """Steps along x from x = 0: how many, how high and deep each, and how wide."""

    count: int
    rise_m: float
    tread_m: float
    width_m: float

    @property
    def length_m(self) -> float:
        return self.count * self.tread_m

    @property
    def height_m(self) -> float:
        return self.count * self.rise_m


def a_flight(rng: random.Random, least: int, most: int) -> Flight:
    """Of usual proportions: twice the rise and the tread are about 0.63 m."""
    rise = rng.uniform(0.12, 0.2)
    tread = max(0.63 - 2 * rise + rng.gauss(0, 0.02), 0.22)
    return Flight(rng.randint(least, most), rise, tread, rng.uniform(0.8, 2.6))


# --- Pieces. The frame's x is the way up, or down.


def step_finish(make: FinishMaker) -> int:
    rng = make.rng
    if rng.random() < 0.35:
        return make.wood()
    grey = rng.uniform(0.15, 0.75)
    base = (grey, grey, grey) if rng.random() < 0.7 else colour(rng, 0.1)
    return make.of(rng.choice(('concrete', 'tile', 'plain')), base, rng.uniform(0.6, 2), 0.2)


def steps_up(f: ObjectFrame, flight: Flight) -> None:
    """Solid, or boards with gaps between them; with dark or light edges, or none."""
    rng, make = f.rng, f.make
    look, nosing = step_finish(make), None
    if rng.random() < 0.35:
        nosing = make.plain(rng.choice(((0.05, 0.05, 0.05), (0.9, 0.8, 0.2), (0.85,) * 3)))
    riser = step_finish(make) if rng.random() < 0.3 else look
    boards = rng.random() < 0.2
    wide = flight.width_m
    for i in range(flight.count):
        x, top = (i + 0.5) * flight.tread_m, (i + 1) * flight.rise_m
        if boards:
            f.box(x, 0, top - 0.045, 1.1 * flight.tread_m, wide, 0.045, look)
        else:
            f.box(x, 0, 0, flight.tread_m, wide, top - 0.02, riser)
            f.box(x - 0.01, 0, top - 0.02, flight.tread_m + 0.02, wide, 0.02, look)
        if nosing is not None:
            f.box(x - 0.5 * flight.tread_m + 0.012, 0, top - 0.02, 0.05, wide, 0.023, nosing)
    if boards:
        for side in (-1, 1):
            end = flight.length_m, side * 0.5 * wide, flight.height_m - 0.1
            rod(f, (0.0, side * 0.5 * wide, -0.05), end, 0.05, riser)


def steps_down(f: ObjectFrame, flight: Flight) -> None:
    look, deep = step_finish(f.make), flight.height_m
    nosing = f.make.plain((0.8, 0.75, 0.3)) if f.rng.random() < 0.25 else None
    for i in range(flight.count - 1):
        x, top = (i + 0.5) * flight.tread_m, -(i + 1) * flight.rise_m
        f.box(x, 0, -deep, flight.tread_m, flight.width_m, deep + top, look)
        if nosing is not None:
            edge = x + 0.5 * flight.tread_m - 0.03
            f.box(edge, 0, top - 0.02, 0.06, flight.width_m, 0.022, nosing)


def railing(f: ObjectFrame, start: Vector, end: Vector) -> None:
    """Along a line from `start` to `end`, level or sloping: bars, wires, boards or a bare rail."""
    rng, make = f.rng, f.make
    tall, thick = rng.uniform(0.85, 1.1), rng.uniform(0.012, 0.03)
    look = make.shared('rail', make.furniture, 0.8)
    if rng.random() < 0.35:
        look = make.shared('black rail', lambda: make.plain((0.05, 0.05, 0.05)), 0.9)
    long = math.dist(start, end)

    def at(share: float, z: float) -> Vector:
        x, y, base = (a + share * (b - a) for a, b in zip(start, end, strict=True))
        return x, y, base + z

    rod(f, at(0, tall), at(1, tall), 1.4 * thick, look)
    posts = max(2, round(long / rng.uniform(0.9, 1.6)) + 1)
    for i in range(posts):
        rod(f, at(i / (posts - 1), 0), at(i / (posts - 1), tall), thick, look)
    pick = rng.random()
    if pick < 0.45:
        rod(f, at(0, 0.1), at(1, 0.1), thick, look)
        count = min(int(long / rng.uniform(0.1, 0.16)), BARS)
        for i in range(1, count):
            rod(f, at(i / count, 0.1), at(i / count, tall), 0.4 * thick + 0.003, look)
    elif pick < 0.8:
        count = rng.randint(1, 5)
        for i in range(1, count + 1):
            rod(f, at(0, i * tall / (count + 1)), at(1, i * tall / (count + 1)), 0.5 * thick, look)


# --- The places.


def stairs(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Stairs up or down ahead, or seen from the side; or a railing alone."""
    layouts = (_well, _up_indoors, _up_outdoors, _balustrade)
    return rng.choices(layouts, (0.4, 0.25, 0.2, 0.15))[0](rng, atlas)


def _up_indoors(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    flight = a_flight(rng, 2, 15)
    height = flight.height_m + rng.uniform(2.2, 3)
    half = max(0.5 * flight.width_m, rng.choice((0.5 * flight.width_m, rng.uniform(1.5, 4.0))))
    near = rng.uniform(0.5, 4.0)
    end = near + flight.length_m + rng.uniform(0.5, 3)
    hall = Hall((-2.5, -half), (end, half), height, four_walls(make, 0.3), make.plain((0.85,) * 3))
    side = 0.5 * flight.width_m
    y = rng.choice((half - side, side - half, rng.uniform(-1, 1) * (half - side)))
    f = builder.frame(near, y)
    steps_up(f, flight)
    landing = end - near - flight.length_m
    f.box(near + flight.length_m - near + 0.5 * landing, 0, flight.height_m - SLAB_M, landing,
          2 * flight.width_m, SLAB_M, step_finish(make))  # fmt: skip
    top = flight.length_m, flight.height_m
    for hand in (-1, 1):
        if rng.random() < 0.7:
            rail = hand * (side - 0.04)
            railing(builder.frame(near, y), (0.1, rail, 0.1), (top[0], rail, top[1]))
    return _seen(rng, builder, hall, (near, y), floor, mirror)


def _up_outdoors(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Before a house, or up a bank."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    light, sky, haze = daylight(make)
    floor = road_finish(make) if rng.random() < 0.6 else meadow_finish(make)
    flight = a_flight(rng, 2, 12)
    flight = dataclasses.replace(flight, width_m=flight.width_m * rng.uniform(1, 3))
    near, y = rng.uniform(0.6, 6), rng.gauss(0, 0.7)
    f = builder.frame(near, y, rng.gauss(0, 0.35))
    steps_up(f, flight)
    side, deep = 0.5 * flight.width_m, rng.uniform(1.0, 3.0)
    top = flight.length_m
    f.box(top + 0.5 * deep, 0, 0, deep, flight.width_m * rng.uniform(1, 4), flight.height_m,
          step_finish(make))  # fmt: skip
    for hand in (-1, 1):
        if rng.random() < 0.6:
            rail = builder.frame(*f.at(0, hand * (side + 0.03)), f.yaw)
            railing(rail, (0.05, 0, 0.1), (top, 0, flight.height_m))
    back = f.at(top + deep, 0)
    house = builder.frame(*back, f.yaw + math.pi / 2)
    things.house(house, rng.uniform(8, 20), rng.uniform(6, 10), rng.uniform(5, 14))
    for _ in range(rng.randint(0, 4)):
        spot = rng.uniform(2, 9), y + rng.choice((-1, 1)) * (side + rng.uniform(0.8, 4))
        rng.choice((things.bush, things.pole, things.any_tree))(builder.frame(*spot))
    pose = indoor_pose(rng, 0, y + rng.gauss(0, 0.5), rng.gauss(0, 0.3), 2.5)
    keep_clear(builder, pose, 0.25)
    return builder.place(floor, light, sky, haze_m=haze), pose


def _balustrade(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A railing across the way outdoors, 0.5 to 5 m ahead; often the ground ends there."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    light, sky, haze = daylight(make)
    floor = road_finish(make) if rng.random() < 0.6 else floor_finish(make)[0]
    far, turn = math.exp(rng.uniform(math.log(0.5), math.log(5.0))), rng.gauss(0, 0.5)
    deep = rng.uniform(0.4, 6) if rng.random() < 0.6 else 0.0
    level: dict[str, Any] = {}
    if deep:
        edge = builder.frame(far + 0.1, 0, turn, object_id=FLOOR_ID)
        edge.box(-30, 0, -SLAB_M, 60, 120, SLAB_M, floor)
        level = {'ground_m': -deep, 'ground': meadow_finish(make)}
    wide = rng.uniform(1.5, 6)
    railing(builder.frame(far, 0, turn + math.pi / 2), (-wide, 0, 0), (wide, 0, 0))
    pose = indoor_pose(rng, 0, rng.gauss(0, 0.4), rng.gauss(0, 0.25), 2.5)
    space = FloorSpace([(0, 0, 0.7), (far, 0, 0.5)])
    for _ in range(rng.choice((2, 5, 9))):  # behind it
        beyond, bearing = far + rng.uniform(1.5, 25), rng.gauss(0, 0.5)
        x, y = beyond * math.cos(bearing), beyond * math.sin(bearing)
        if space.free(x, y, 1.0):
            space.take(x, y, 1.0)
            build = rng.choice((things.any_tree, things.bush, things.car, things.pole))
            build(builder.frame(x, y, rng.uniform(0, math.tau), -deep))
    for _ in range(rng.choice((0, 1, 3))):
        away, bearing = rng.uniform(15, 50), rng.gauss(0, 0.6)
        x, y = away * math.cos(bearing), away * math.sin(bearing)
        house = builder.frame(x, y, bearing + math.pi / 2, -deep)
        things.house(house, rng.uniform(8, 20), 9, rng.uniform(5, 15))
    if far > 1.5 and rng.random() < 0.5:
        build = rng.choice((things.bench, things.bollard, things.bush))
        build(builder.frame(far - 0.6, rng.gauss(0, 1.0), rng.uniform(0, 6)))
    keep_clear(builder, pose, 0.2, FLOOR_ID)
    return builder.place(floor, light, sky, haze_m=haze, **level), pose


def _well(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A flight down through the floor, with or without a railing about it."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    flight = a_flight(rng, 3, 14)
    deep, long, side = flight.height_m, flight.length_m, 0.5 * flight.width_m
    near = math.exp(rng.uniform(math.log(0.35), math.log(4.0)))
    half = max(side + 0.02, rng.choice((side + 0.02, rng.uniform(1.0, 4.0))))
    y = rng.uniform(-1, 1) * (half - side)
    end = near + long + rng.choice((0.1, rng.uniform(0.8, 5)))
    height = rng.uniform(2.3, 3.2)
    hall = Hall((-2.5, -half), (end, half), height, four_walls(make, 0.3), make.plain((0.85,) * 3))
    slab = builder.frame(0, 0, object_id=FLOOR_ID)
    for x0, x1, y0, y1 in (
        (-3.0, near, -half, half),
        (near + long, end, -half, half),
        (near, near + long, -half, y - side),
        (near, near + long, y + side, half),
    ):
        if x1 - x0 > 0.01 and y1 - y0 > 0.01:
            slab.box(0.5 * (x0 + x1), 0.5 * (y0 + y1), -SLAB_M, x1 - x0, y1 - y0, SLAB_M, floor)
    shaft = builder.frame(near, y, object_id=STRUCTURE_ID)
    wall, full = make.of('wall', colour(rng, 0.1), 2, 0.1), deep + LIP_M
    shaft.box(long - 0.01, 0, -deep, 0.02, 2 * side, full, wall)
    for hand in (-1, 1):
        shaft.box(0.5 * long, hand * (side - 0.01), -deep, long, 0.02, full, wall)
    steps_down(shaft, flight)
    rails = rng.random() < 0.75
    for hand in (-1, 1):
        if rails and half - side > 0.15:
            railing(builder.frame(near, y), (0.0, hand * side, 0), (long, hand * side, 0))
        if rng.random() < 0.4:
            rail = hand * (side - 0.07)
            railing(builder.frame(near, y), (0.1, rail, -0.1), (long, rail, -deep))
    if rails and end - near - long > 0.5:
        railing(builder.frame(near, y), (long, -side, 0), (long, side, 0))
    below = {'ground_m': -deep, 'ground': floor_finish(make)[0]}
    return _seen(rng, builder, hall, (near, y), floor, mirror, **below)


def _seen(
    rng: random.Random,
    builder: PanedBuilder,
    hall: Hall,
    stairs_at: tuple[float, float],
    floor: int,
    mirror: float,
    **level: Any,
) -> tuple[PanedPlace, Pose]:
    """The place with a camera that looks towards the stairs, and a thing or two before them."""
    near, y = stairs_at
    high = hall.high[1]
    at = y + rng.gauss(0, 0.5) if rng.random() < 0.7 else rng.uniform(-1, 1) * high
    at = min(max(at, 0.3 - high), high - 0.3)
    yaw = math.atan2(y - at, near + 1.0) * rng.uniform(0.5, 1.2) + rng.gauss(0, 0.2)
    pose = indoor_pose(rng, rng.uniform(-0.4, 0.0), at, yaw, 2.4)
    space = FloorSpace([(pose.x_m, at, 0.5), (0.5 * near, at, 0.5), (near, y, 0.4)])
    front = Hall((-0.5, -high), (max(near - 0.3, 0.2), high), hall.height_m, hall.walls, 0)
    for _ in range(rng.choice((0, 1, 2, 3))):
        scatter(builder, space, front)
    keep_clear(builder, pose, 0.18, FLOOR_ID)
    lamp = rng.uniform(-0.5, 1.5) * near, rng.uniform(-0.5, 0.5), hall.height_m - 0.3
    light = indoor_light(rng, *lamp)
    return builder.place(floor, light, hall=hall, mirror=mirror, **level), pose
