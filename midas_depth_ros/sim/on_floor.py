"""What is on a floor without being furniture: rugs, stains, sunlight, and things free to stand."""

from __future__ import annotations

import dataclasses
import math

from midas_depth_ros.sim import furniture, household
from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.layout import Ground
from midas_depth_ros.sim.parts import Hall, Marking
from midas_depth_ros.sim.stock import Stock, scaled

# How it is built, the radius it takes, and how often it is taken.
FREE = (
    (furniture.office_chair, 0.35, 3.0),
    (furniture.chair, 0.32, 3.0),
    (furniture.stool, 0.25, 1.0),
    (household.plant, 0.3, 1.5),
    (household.person, 0.35, 1.5),
    (household.cartons, 0.45, 1.5),
    (household.bin_, 0.25, 1.0),
    (household.floor_lamp, 0.3, 0.8),
    (household.bag, 0.3, 1.2),
    (household.low_clutter, 0.4, 2.0),
    (household.cone, 0.25, 0.4),
)


def rug(yard: Yard, stock: Stock, x: float, y: float) -> None:
    rng = stock.rng
    look = stock.odd() if rng.random() < 0.5 else stock.cloth()
    if rng.random() < 0.25:
        yard.mark_round(x, y, rng.uniform(0.5, 1.3), look)
        return
    a, b, yaw = rng.uniform(0.6, 3), rng.uniform(0.5, 2), rng.choice((0.0, rng.uniform(-1.5, 1.5)))
    yard.mark(x, y, a + 0.12, b + 0.12, yaw, stock.cloth())
    yard.mark(x, y, a, b, yaw, look)


def floor_litter(yard: Yard, stock: Stock, length: float, width: float) -> None:
    """Stains, papers, tape, patches of light: on the floor, but nothing to bump into."""
    rng = stock.rng
    for _ in range(rng.randint(1, 6)):
        x, y = rng.uniform(-0.5, 0.5) * length, rng.uniform(-0.5, 0.5) * width
        pick = rng.random()
        if pick < 0.4:
            yard.mark_round(x, y, rng.uniform(0.05, 0.5), stock.plain(), 0.4)
        elif pick < 0.7:
            yard.mark(
                x,
                y,
                rng.uniform(0.5, 4),
                rng.uniform(0.03, 0.12),
                rng.uniform(-1.6, 1.6),
                stock.plain(lively=0.7),
            )
        else:
            yard.mark(
                x,
                y,
                rng.uniform(0.2, 1.5),
                rng.uniform(0.2, 1),
                rng.uniform(-1.6, 1.6),
                stock.plain(lively=0.1),
            )


def sunlight(yard: Yard, stock: Stock, floor: int, x: float, y: float) -> None:
    """Light through a window: brighter panes of the floor itself."""
    rng = stock.rng
    look, factor = stock.finishes[floor], rng.uniform(1.3, 2.6)
    bright = tuple(scaled(stop, factor, 1.6) for stop in look.palette)
    number = stock.add(dataclasses.replace(look, palette=bright))
    lean, yaw = rng.uniform(-0.8, 0.8), rng.uniform(0, math.tau)
    c, s = math.cos(yaw), math.sin(yaw)
    wide, deep = rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.6)
    for i in range(rng.randint(1, 4)):
        corners = []
        for a, b in ((0, 0), (0.9, 0), (0.9, 1), (0, 1)):
            u, v = (i + a) * wide + lean * b * deep, b * deep
            corners.append((x + c * u - s * v, y + s * u + c * v))
        yard.markings.append(Marking(tuple(corners), number))


def camouflaged(yard: Yard, stock: Stock, look: int, x: float, y: float) -> None:
    """Something low of the floor's own look."""
    rng = stock.rng
    f = yard.frame(x, y, rng.uniform(0, 3))
    a, b, h = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.6), rng.uniform(0.04, 0.5)
    if rng.random() < 0.7:
        f.box(0, 0, 0, a, b, h, look)
    else:
        f.tube(0, 0, 0, 0.5 * b, h, look)


def scatter(yard: Yard, stock: Stock, ground: Ground, hall: Hall) -> None:
    """One free-standing thing somewhere."""
    rng = stock.rng
    build, radius, _ = rng.choices(FREE, [weight for *_, weight in FREE])[0]
    for _ in range(4):
        x = rng.uniform(hall.low[0] + radius, hall.high[0] - radius)
        y = rng.uniform(hall.low[1] + radius, hall.high[1] - radius)
        if ground.free(x, y, radius):
            ground.take(x, y, radius)
            if rng.random() < 0.15:
                household.anything(yard.frame(x, y, rng.uniform(0, math.tau)), stock, 2 * radius)
            else:
                build(yard.frame(x, y, rng.uniform(0, math.tau)), stock)
            return
