"""Rooms: homes, offices, classes, shops, with what stands in them."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim import furniture as made
from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.household import on_top
from midas_depth_ros.sim.layout import (
    Ground,
    floor_finish,
    four_walls,
    indoor_light,
    indoor_pose,
    keep_clear,
)
from midas_depth_ros.sim.on_floor import camouflaged, floor_litter, rug, scatter, sunlight
from midas_depth_ros.sim.parts import STRUCTURE_ID, Hall, Place, Sky, triple
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import Stock, colour
from midas_depth_ros.sim.textures import Atlas
from midas_depth_ros.sim.walls import furnish_wall


def room(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """A furnished room with the camera looking along its longer way."""
    stock = Stock(rng, atlas)
    yard = Yard(rng, stock)
    length, width = rng.choice((rng.uniform(2.6, 8.0), rng.uniform(3, 14))), rng.uniform(2.4, 6.5)
    height = rng.uniform(2.3, 3.3)
    floor, mirror = floor_finish(stock)
    walls = four_walls(stock, 0.15)
    ceiling = stock.of(
        'wall', triple(0.55 + 0.4 * c for c in colour(rng, 0.05)), 3, 0.05, grain=0.03
    )
    hall = Hall((-0.5 * length, -0.5 * width), (0.5 * length, 0.5 * width), height, walls, ceiling)
    x = -0.5 * length + rng.uniform(0.15, 0.45) * length
    y = rng.uniform(-0.35, 0.35) * width
    target = rng.uniform(0.1, 0.5) * length, rng.uniform(-0.45, 0.45) * width
    yaw = math.atan2(target[1] - y, target[0] - x) + rng.gauss(0, 0.2)
    pose = indoor_pose(rng, x, y, yaw, height)
    high = pose.z_m > 0.7
    ground = Ground([(x, y, rng.uniform(0.4, 1.1) if high else rng.uniform(0.25, 0.6))])
    if rng.random() < 0.35:
        rug(yard, stock, rng.uniform(-0.2, 0.4) * length, rng.uniform(-0.3, 0.3) * width)
    if rng.random() < 0.3:
        floor_litter(yard, stock, length, width)
    open_end = rng.random() < 0.25
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        sunlight(
            yard, stock, floor, rng.uniform(-0.3, 0.4) * length, rng.uniform(-0.5, 0.3) * width
        )
    for _ in range(rng.choice((0, 0, 0, 0, 1, 3))):
        camouflaged(
            yard, stock, floor, rng.uniform(-0.2, 0.45) * length, rng.uniform(-0.4, 0.4) * width
        )
    sides = [
        (0.0, -0.5 * width, 0.0, length),
        (0.0, 0.5 * width, math.pi, length),
        (-0.5 * length, 0.0, -math.pi / 2, width),
    ]
    if not open_end:
        sides.append((0.5 * length, 0.0, math.pi / 2, width))
    crowd = rng.choice((0.3, 0.8, 1.0, 1.0))
    for cx, cy, side_yaw, span in sides:
        furnish_wall(yard, stock, ground, (cx, cy, side_yaw), span, height, crowd)
    beyond = 0.0
    if length > 7 and rng.random() < 0.75:
        rows(yard, stock, ground, length, width)
    else:
        centrepiece(yard, stock, ground, length, width)
    if open_end:
        beyond = rng.uniform(1.5, 5)
        partition(yard, stock, 0.5 * length, width, height, walls[1])
        far = Hall(
            (0.5 * length, hall.low[1]), (hall.high[0] + beyond, hall.high[1]), height, walls, 0
        )
        for _ in range(4):
            scatter(yard, stock, ground, far)
        hall = dataclasses.replace(hall, high=far.high)
    for _ in range(rng.choice((1, 2, 4, 6, 10))):
        scatter(yard, stock, ground, hall)
    lamp_at = rng.uniform(-0.3, 0.35) * length, rng.uniform(-0.3, 0.3) * width
    lamps(yard, stock, hall, *lamp_at)
    keep_clear(yard, pose, 0.35 if high else 0.14)
    light = indoor_light(rng, *lamp_at, height - 0.35)
    place = Place(
        tuple(stock.finishes),
        floor,
        tuple(yard.parts),
        light,
        Sky((1, 1, 1), (1, 1, 1)),
        hall,
        tuple(yard.markings),
        mirror=mirror,
    )
    return place, pose


def centrepiece(yard: Yard, stock: Stock, ground: Ground, length: float, width: float) -> None:
    """A table with chairs, an island, or a bed, where there is room for it."""
    rng = stock.rng
    for _ in range(3):
        x, y = rng.uniform(-0.15, 0.35) * length, rng.uniform(-0.28, 0.28) * width
        a, b = rng.uniform(0.7, 1.9), rng.uniform(0.5, 1.0)
        if rng.random() > 0.7 or not ground.free(x, y, 0.5 * a):
            continue
        yaw = rng.choice((0.0, math.pi / 2, rng.uniform(0, math.pi)))
        f = yard.frame(x, y, yaw)
        tall = rng.choice((0.73, 0.75, rng.uniform(0.3, 0.5)))
        made.table(f, stock, a, b, tall)
        shifted = yard.frame(*f.at(0, -0.5 * b), yaw, object_id=f.object_id)
        on_top(shifted, stock, a, b, tall, rng.randint(0, 6))
        ground.take(x, y, 0.5 * a)
        if tall > 0.6:
            for sx, sy in ((-0.25, 1), (0.25, 1), (-0.25, -1), (0.25, -1)):
                if rng.random() < 0.6:
                    spot = f.at(sx * a, sy * (0.5 * b + rng.uniform(0.0, 0.35)))
                    turn = yaw + (math.pi if sy > 0 else 0) + rng.gauss(0, 0.25)
                    made.chair(yard.frame(*spot, turn), stock)
                    ground.take(*spot, 0.3)


def rows(yard: Yard, stock: Stock, ground: Ground, length: float, width: float) -> None:
    """Desks one behind the other, as in an office or a class; or shelves, as in a shop."""
    rng = stock.rng
    shop, step = rng.random() < 0.4, rng.uniform(1.4, 2.4)
    turn = rng.choice((0.0, math.pi / 2, -math.pi / 2))
    tall, wide = rng.uniform(1.3, 2.4), rng.uniform(0.9, 1.8)
    x = -0.2 * length
    while x < 0.45 * length:
        y = -0.35 * width
        while y < 0.4 * width:
            if ground.free(x, y, 0.5) and rng.random() < 0.9:
                f = yard.frame(x, y, turn + rng.gauss(0, 0.03))
                if shop:
                    made.shelf(f, stock, wide, tall)
                elif rng.random() < 0.5:
                    made.desk(f, stock, wide)
                else:
                    made.table(f, stock, wide, 0.7, 0.74)
                if not shop:
                    spot = f.at(rng.uniform(-0.2, 0.2), rng.choice((-0.5, 1.1)))
                    build = made.office_chair if rng.random() < 0.5 else made.chair
                    build(yard.frame(*spot, turn + rng.gauss(math.pi, 0.4)), stock)
                ground.take(x, y, 0.6)
            y += wide + rng.uniform(0.1, 1.2)
        x += step


def partition(yard: Yard, stock: Stock, x: float, width: float, height: float, wall: int) -> None:
    """A wall across the room with an opening, through which one sees on."""
    rng = stock.rng
    gap, middle = rng.choice((0.9, rng.uniform(0.9, 2.5))), rng.uniform(-0.25, 0.25) * width
    f = yard.frame(x, 0, object_id=STRUCTURE_ID)
    for low, high in ((-0.5 * width, middle - 0.5 * gap), (middle + 0.5 * gap, 0.5 * width)):
        if high - low > 0.05:
            f.box(0, 0.5 * (low + high), 0, 0.15, high - low, height, wall)
            f.box(0, 0.5 * (low + high), 0, 0.17, high - low, 0.08, stock.furniture())
    f.box(0, middle, 2.05, 0.15, gap, height - 2.05, wall)


def lamps(yard: Yard, stock: Stock, hall: Hall, x: float, y: float) -> None:
    """At the ceiling, or hanging from it; and beams, rarely."""
    rng = stock.rng
    white = stock.plain((1.0, 0.97, 0.9), glow=rng.uniform(1.0, 2.5))
    top = hall.height_m
    f = yard.frame(x, y, rng.choice((0.0, math.pi / 2)), object_id=STRUCTURE_ID)
    pick = rng.random()
    if pick < 0.35:
        drop = rng.uniform(0.3, 0.8)
        f.tube(0, 0, top - drop, 0.01, drop, stock.plain())
        f.tube(0, 0, top - drop - 0.2, 0.2, 0.2, white, taper=0.4)
    elif pick < 0.7:
        for i in range(-1, 2):
            f.box(i * 1.6, 0, top - 0.06, 1.2, 0.25, 0.06, white)
    elif pick < 0.85:
        f.ball(0, 0, top - 0.05, 0.22, 0.22, 0.12, white)
    if rng.random() < 0.08:
        look = stock.furniture()
        for i in range(-2, 3):
            f.box(i * 1.1, 0, top - 0.2, 0.14, 20, 0.2, look)
