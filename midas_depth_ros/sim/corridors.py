"""Corridors with doors, niches and crossings, sometimes with a step or a drop ahead."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim import furniture as made
from midas_depth_ros.sim.building import Frame, Yard
from midas_depth_ros.sim.layout import (
    Ground,
    floor_finish,
    indoor_light,
    indoor_pose,
    keep_clear,
    wall_finish,
)
from midas_depth_ros.sim.on_floor import FREE, camouflaged, floor_litter, rug, sunlight
from midas_depth_ros.sim.parts import FLOOR_ID, STRUCTURE_ID, Hall, Place, Sky
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import Stock, colour
from midas_depth_ros.sim.textures import Atlas
from midas_depth_ros.sim.walls import door, window

THICK_M = 0.15


def corridor(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """Along x; the camera is near x = 0 and looks ahead."""
    stock = Stock(rng, atlas)
    yard = Yard(rng, stock)
    length = rng.choice((rng.uniform(4, 12), rng.uniform(10, 30)))
    half, height = (
        0.5 * rng.choice((rng.uniform(1.1, 2.0), rng.uniform(1.6, 3.6))),
        rng.uniform(2.2, 3.2),
    )
    floor, mirror = floor_finish(stock)
    wall = wall_finish(stock)
    ceiling = stock.of('tile' if rng.random() < 0.4 else 'wall', (0.85, 0.85, 0.83), 2.4, 0.1)
    beyond = rng.uniform(2.0, 5.0)  # how deep the rooms behind the doors are
    hall = Hall((-2.5, -half - beyond), (length, half + beyond), height, (wall,) * 4, ceiling)
    skirting = stock.furniture() if rng.random() < 0.8 else None
    other = wall if rng.random() < 0.8 else wall_finish(stock)
    for side in (-1, 1):
        f = yard.frame(0, side * half, 0.0 if side < 0 else math.pi, object_id=STRUCTURE_ID)
        _wall(f, stock, side, length, height, wall if side < 0 else other, skirting)
    x, y = rng.uniform(-1.0, 0.5), rng.uniform(-0.5, 0.5) * half
    yaw = rng.gauss(0, 0.16) if rng.random() < 0.85 else rng.gauss(0, 0.7)
    pose = indoor_pose(rng, x, y, yaw, height)
    ground = Ground([(x, y, 0.35), (x + 0.8, y, 0.3)])
    if rng.random() < 0.3:
        floor_litter(yard, stock, length, 2 * half)
    if rng.random() < 0.25:
        rug(yard, stock, rng.uniform(1, 5), 0)
    if rng.random() < 0.2:
        edge = stock.plain(lively=0.5)
        for side in (-1, 1):
            yard.mark(0.5 * length, side * (half - 0.12), 40, 0.2, 0, edge)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        sunlight(yard, stock, floor, rng.uniform(0.5, 5), rng.uniform(-1, 0.5) * half)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        camouflaged(yard, stock, floor, rng.uniform(0.8, 5), rng.uniform(-1, 1) * half)
    _line_up(yard, stock, ground, length, half)
    _ceiling_lamps(yard, stock, length, height)
    level = {}
    pick = rng.random()
    if pick < 0.07:
        _step(yard, stock, rng.uniform(2, 7), half + beyond)
    elif pick < 0.14:
        level = _drop(yard, stock, rng.uniform(2, 6), half + beyond, floor)
    keep_clear(yard, pose)
    light = indoor_light(rng, rng.uniform(0.5, 4), rng.uniform(-0.3, 0.3) * half, height - 0.3)
    place = Place(
        tuple(stock.finishes),
        floor,
        tuple(yard.parts),
        light,
        Sky((1, 1, 1), (1, 1, 1)),
        hall,
        tuple(yard.markings),
        mirror=mirror,
        **level,
    )
    return place, pose


def _wall(
    f: Frame, stock: Stock, side: int, length: float, height: float, wall: int, skirting: int | None
) -> None:
    """Stretches of wall with closed doors on them, and openings between. Inside is positive y."""
    rng = stock.rng
    at = -2.5
    while at < length:
        stretch = min(rng.uniform(0.8, 5.0), length - at)
        middle = (at + 0.5 * stretch) * -side  # the frame of the far side is turned round
        f.box(middle, -0.5 * THICK_M, 0, stretch, THICK_M, height, wall)
        if skirting is not None:
            f.box(middle, 0.006, 0, stretch, 0.012, 0.09, skirting)
        pick = rng.random()
        if stretch > 1.3 and pick < 0.45:
            door(f, stock, middle)
        elif stretch > 0.9 and pick < 0.6:
            window(f, stock, middle, stretch, height)
        elif stretch > 0.7 and pick < 0.85:
            w, h = rng.uniform(0.3, min(1.5, stretch)), rng.uniform(0.3, 0.9)
            f.box(middle, 0.012, rng.uniform(1.0, 1.4), w, 0.024, h, stock.picture())
        at += stretch
        if rng.random() < 0.5:
            gap = rng.choice((rng.uniform(0.8, 1.0), rng.uniform(1.0, 2.5)))
            if gap < 1.01:  # a doorway: wall above it
                f.box((at + 0.5 * gap) * -side, -0.5 * THICK_M, 2.05, gap, THICK_M, height, wall)
            at += gap


def _line_up(yard: Yard, stock: Stock, ground: Ground, length: float, half: float) -> None:
    rng = stock.rng
    for _ in range(rng.choice((0, 2, 4, 6, 8))):
        x = rng.uniform(0.6, min(length - 0.3, rng.choice((4.0, 9.0))))
        side = rng.choice((-1, 1))
        if rng.random() < 0.35:
            width = rng.uniform(0.5, 1.4)
            place = x, side * (half - 0.03)
            if ground.free(x, side * half, 0.5 * width):
                f = yard.frame(*place, 0.0 if side < 0 else math.pi)
                if rng.random() < 0.5:
                    made.cabinet(f, stock, width, rng.uniform(0.4, 2.0))
                else:
                    made.shelf(f, stock, width, rng.uniform(0.6, 2.1))
                ground.take(x, side * half, 0.5 * width)
            continue
        build, radius, _ = rng.choices(FREE, [weight for *_, weight in FREE])[0]
        y = (
            side * max(half - radius - rng.uniform(0, 0.3), 0)
            if rng.random() < 0.7
            else (rng.uniform(-1, 1) * max(half - radius, 0))
        )
        if ground.free(x, y, radius):
            ground.take(x, y, radius)
            build(yard.frame(x, y, rng.uniform(0, math.tau)), stock)


def _ceiling_lamps(yard: Yard, stock: Stock, length: float, height: float) -> None:
    rng = stock.rng
    white = stock.plain((1.0, 0.98, 0.93), glow=rng.uniform(1.0, 2.6))
    f = yard.frame(0, 0, object_id=STRUCTURE_ID)
    step, along = rng.uniform(1.8, 4.0), rng.random() < 0.5
    at = rng.uniform(0.5, 2.0)
    while at < min(length, 16):
        f.box(at, 0, height - 0.04, 1.1 if along else 0.3, 0.3 if along else 1.1, 0.04, white)
        at += step


def _step(yard: Yard, stock: Stock, x: float, half: float) -> None:
    """Up: stairs across the way."""
    rng = stock.rng
    look, rise, tread = stock.of('concrete', colour(rng, 0.1)), rng.uniform(0.1, 0.19), 0.3
    f = yard.frame(x, 0)
    for i in range(rng.randint(1, 8)):
        f.box(i * tread + 0.5 * 12, 0, 0, 12, 2 * half, (i + 1) * rise, look)


def _drop(yard: Yard, stock: Stock, x: float, half: float, floor: int) -> dict:
    """Down: the floor ends, and another lies below."""
    rng = stock.rng
    depth = rng.uniform(0.12, 0.8)
    f = yard.frame(0, 0, object_id=FLOOR_ID)
    f.box(0.5 * (x - 40), 0, -0.05 - depth, x + 40, 2 * half + 2, depth + 0.05, floor)
    return {'ground_m': -depth, 'ground': floor if rng.random() < 0.5 else floor_finish(stock)[0]}
