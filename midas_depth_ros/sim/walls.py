"""What stands along a wall and hangs on it: furniture, doors, windows, pictures.

The wall's frame has x along the wall and positive y into the room.
"""

from __future__ import annotations

import math

from midas_depth_ros.sim import furniture as made
from midas_depth_ros.sim.building import Frame, Yard
from midas_depth_ros.sim.layout import Ground
from midas_depth_ros.sim.parts import STRUCTURE_ID, triple
from midas_depth_ros.sim.stock import Stock, varied


def furnish_wall(
    yard: Yard,
    stock: Stock,
    ground: Ground,
    side: tuple[float, float, float],
    span: float,
    height: float,
    crowd: float,
) -> None:
    """Pieces side by side along a wall, and windows, doors and pictures on it."""
    rng = stock.rng
    base = yard.frame(*side, object_id=STRUCTURE_ID)
    if rng.random() < 0.8:
        base.box(0, 0.008, 0, span, 0.016, rng.uniform(0.05, 0.14), stock.furniture())
    at, end = -0.5 * span + rng.uniform(0, 0.6), 0.5 * span
    while at < end - 0.5:
        width = min(rng.uniform(0.5, 2.2), end - at)
        middle = at + 0.5 * width
        at += width + rng.choice((0.02, rng.uniform(0.02, 0.8)))
        x, y = base.at(middle, 0.4)
        pick = rng.random()
        if pick < 0.13 and width > 0.8:
            door(base, stock, middle)
            continue
        low = True
        if pick < 0.13 + 0.75 * crowd and ground.free(x, y, 0.45 * width):
            low = wall_piece(yard, stock, (*base.at(middle, 0.02), side[2]), width, height)
            ground.take(*base.at(middle, 0.35), 0.5 * width)
        if low:
            on_wall(base, stock, middle, width, height)


def wall_piece(
    yard: Yard, stock: Stock, at: tuple[float, float, float], width: float, height: float
) -> bool:
    """One piece with its back to the wall; True when it is low enough for a picture above it."""
    rng = stock.rng
    f = yard.frame(*at)
    pick = rng.random()
    if pick < 0.2:
        tall = min(rng.uniform(0.8, 2.3), height - 0.1)
        made.shelf(f, stock, width, tall)
        return tall < 1.2
    if pick < 0.42:
        tall = min(rng.choice((rng.uniform(0.4, 1.1), rng.uniform(1.5, 2.2))), height - 0.1)
        made.cabinet(f, stock, width, tall)
        return tall < 1.2
    if pick < 0.6:
        made.desk(f, stock, max(width, 0.9))
        if rng.random() < 0.7:
            chair = yard.frame(*f.at(rng.uniform(-0.2, 0.2), 0.95), f.yaw + math.pi)
            (made.office_chair if rng.random() < 0.6 else made.chair)(chair, stock)
        return True
    if pick < 0.72:
        made.sofa(f, stock, max(width, 0.9))
    elif pick < 0.8 and width > 0.85:
        made.bed(f, stock, min(width, 1.9))
    elif pick < 0.88:
        made.counter(f, stock, width)
        return False
    elif pick < 0.92:
        made.fridge(f, stock)
        return False
    elif pick < 0.96:
        made.television(f, stock, width)
        return False
    else:
        f.box(
            0, 0.07, 0.12, min(width, 1.2), 0.1, 0.55, stock.of('front', (0.9, 0.9, 0.88), 0.4, 0.2)
        )
    return True


def door(f: Frame, stock: Stock, x: float) -> None:
    rng = stock.rng
    w, h = rng.uniform(0.75, 1.0), rng.uniform(1.95, 2.15)
    frame, leaf = stock.furniture(), stock.front()
    if rng.random() < 0.25:
        leaf = stock.plain((0.03, 0.03, 0.03))  # open, into the dark
    for sx in (-1, 1):
        f.box(x + sx * (0.5 * w + 0.04), 0.03, 0, 0.08, 0.06, h + 0.08, frame)
    f.box(x, 0.03, h, w, 0.06, 0.08, frame)
    f.box(x, 0.008, 0, w, 0.016, h, leaf)
    f.ball(x + 0.4 * w, 0.06, 1.0, 0.03, 0.03, 0.03, stock.plain())


def on_wall(f: Frame, stock: Stock, x: float, width: float, height: float) -> None:
    """A window, a picture, a board, or nothing."""
    rng = stock.rng
    pick = rng.random()
    if pick < 0.25:
        window(f, stock, x, width, height)
    elif pick < 0.65:
        w, h = rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.7)
        z = rng.uniform(1.15, 1.6)
        f.box(x, 0.012, z, w, 0.024, min(h, height - z - 0.1), stock.furniture())
        f.box(
            x,
            0.016,
            z + 0.03,
            w - 0.06,
            0.024,
            max(min(h, height - z - 0.1) - 0.06, 0.05),
            stock.picture('picture', 6, rng.uniform(0.4, 1)),
        )


def window(f: Frame, stock: Stock, x: float, width: float, height: float) -> None:
    rng = stock.rng
    w, bottom = min(width * rng.uniform(0.6, 1), 1.8), rng.uniform(0.5, 1.1)
    h = min(rng.uniform(0.8, 1.5), height - bottom - 0.15)
    frame = stock.plain(rng.choice(((0.9, 0.9, 0.9), (0.4, 0.28, 0.18), (0.2, 0.2, 0.2))))
    day = triple(min(1.0, c * rng.uniform(0.75, 1.0)) for c in (0.9, 0.97, 1.0))
    glow = rng.choice((0.05, rng.uniform(0.8, 3.0), rng.uniform(1.2, 2.5)))
    second = varied(rng, (0.45, 0.55, 0.4), 0.3) if rng.random() < 0.5 else day
    pane = stock.of('leaves', day, 1.5, 0.3, second, glow=glow)
    f.box(x, 0.03, bottom - 0.05, w + 0.1, 0.06, h + 0.1, frame)
    f.box(x, 0.035, bottom, w, 0.06, h, pane)
    for i in range(1, rng.randint(1, 3)):
        f.box(x - 0.5 * w + w * i / 3, 0.04, bottom, 0.05, 0.07, h, frame)
    if rng.random() < 0.4:
        cloth = stock.cloth()
        for sx in (-1, 1):
            f.box(x + sx * (0.5 * w + 0.08), 0.1, 0.05, 0.35, 0.08, height - 0.2, cloth)
    elif rng.random() < 0.3:
        blind = stock.of('cloth', (0.85, 0.83, 0.78), 0.3, 0.3)
        f.box(x, 0.08, bottom + 0.5 * h, w + 0.1, 0.02, 0.5 * h, blind)
