"""What stands and lies about, indoors mostly: lamps, plants, people, boxes, small things.

All are put together in a frame, about (0, 0) if no place is given.
"""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.building import Frame
from midas_depth_ros.sim.stock import Stock, varied


def on_top(f: Frame, stock: Stock, width: float, depth: float, z: float, count: int) -> None:
    """Small things on a surface that reaches from y = 0 to `depth`."""
    rng = stock.rng
    for _ in range(count):
        x, y = rng.uniform(-0.45, 0.45) * width, rng.uniform(0.15, 0.85) * depth
        small_thing(f, stock, x, y, z)


def small_thing(f: Frame, stock: Stock, x: float, y: float, z: float) -> None:
    rng = stock.rng
    pick = rng.random()
    if pick < 0.25:
        r = rng.uniform(0.025, 0.06)
        h = rng.uniform(0.08, 0.3)
        look = stock.plain()
        f.tube(x, y, z, r, h, look)
        if rng.random() < 0.5:
            f.tube(x, y, z + h, 0.4 * r, 0.5 * h, look)
    elif pick < 0.5:
        a, b, c = (rng.uniform(0.04, 0.3) for _ in range(3))
        look = stock.odd() if rng.random() < 0.4 else stock.plain()
        f.box(x, y, z, a, b, c, look, yaw=rng.uniform(-1, 1))
    elif pick < 0.65:
        r = rng.uniform(0.03, 0.12)
        f.ball(x, y, z + r, r, r, r, stock.plain())
    elif pick < 0.8:
        look = stock.picture('picture', 5, 0.3)
        for i in range(rng.randint(1, 4)):
            f.box(x, y, z + 0.03 * i, 0.22, 0.16, 0.03, look, yaw=rng.uniform(-0.6, 0.6))
    elif pick < 0.9:
        lamp(f, stock, x, y, z, rng.uniform(0.25, 0.5))
    else:
        r = rng.uniform(0.06, 0.14)
        f.tube(x, y, z, 0.6 * r, 0.5 * r, stock.plain(), taper=1.6)
        f.ball(x, y, z + 1.5 * r, r, r, 1.2 * r, leaves(stock))


def lamp(f: Frame, stock: Stock, x: float, y: float, z: float, height: float) -> None:
    glow = stock.rng.choice((0.0, 1.6))
    shade = stock.plain((0.95, 0.88, 0.75), glow=glow)
    foot = stock.plain()
    f.tube(x, y, z, 0.25 * min(height, 0.6), 0.02, foot)
    f.tube(x, y, z, 0.012, 0.8 * height, foot)
    r = 0.3 * min(height, 0.7)
    f.tube(x, y, z + 0.65 * height, r, 0.35 * height, shade, taper=0.6)


def leaves(stock: Stock) -> int:
    return stock.shared('leaves', lambda: _leaves(stock))


def _leaves(stock: Stock) -> int:
    rng = stock.rng
    base = varied(rng, rng.choice(((0.2, 0.35, 0.12), (0.3, 0.42, 0.15), (0.12, 0.25, 0.1))), 0.25)
    return stock.of('leaves', base, rng.uniform(0.5, 1.5), 0.75, grain=0.3)


def plant(f: Frame, stock: Stock) -> None:
    rng = stock.rng
    h, green = rng.uniform(0.5, 1.6), leaves(stock)
    f.tube(0, 0, 0, 0.13, 0.28, stock.plain(), taper=1.3)
    f.tube(0, 0, 0.25, 0.02, 0.6 * h, stock.wood())
    for _ in range(rng.randint(3, 7)):
        a, r = rng.uniform(0, math.tau), rng.uniform(0.05, 0.25) * h
        z = 0.3 + rng.uniform(0.2, 0.9) * h
        size = rng.uniform(0.1, 0.2) * h
        f.ball(
            r * math.cos(a),
            r * math.sin(a),
            z,
            size,
            0.6 * size,
            0.35 * size + 0.02,
            green,
            yaw=a,
            pitch=rng.uniform(-0.8, 0.8),
        )


def person(f: Frame, stock: Stock, sitting: bool = False) -> None:
    """Facing positive y."""
    rng = stock.rng
    skin = stock.plain(
        varied(rng, rng.choice(((0.85, 0.65, 0.52), (0.55, 0.38, 0.27), (0.3, 0.2, 0.15))))
    )
    top, trousers, hair = stock.cloth(0.5), stock.cloth(0.3), stock.plain(_hair(rng))
    s = rng.uniform(0.86, 1.06)
    hip = 0.48 if sitting else 0.88 * s
    stride = 0.0 if sitting else rng.uniform(-0.35, 0.35)
    for sx in (-1, 1):
        x = sx * 0.1 * s
        if sitting:
            f.tube(x, 0.22, hip - 0.28, 0.08, 0.5, trousers, roll=math.pi / 2 - 0.05)
            f.tube(x, 0.42, 0, 0.07, hip, trousers)
        else:
            f.tube(
                x,
                sx * 0.2 * math.sin(stride),
                0.03,
                0.065 * s,
                hip,
                trousers,
                taper=1.3,
                roll=sx * stride * 0.55,
            )
        y = 0.48 if sitting else sx * 0.45 * math.sin(stride)
        f.box(x, y, 0, 0.1, 0.26, 0.08, hair)
    f.ball(0, 0, hip + 0.3 * s, 0.2 * s, 0.13 * s, 0.38 * s, top)
    f.tube(0, 0, hip + 0.05, 0.15 * s, 0.42 * s, top, taper=1.25, flat=0.65)
    for sx in (-1, 1):
        swing = rng.uniform(-0.4, 0.6)
        f.tube(
            sx * 0.24 * s,
            0.15 * math.sin(swing),
            hip + 0.02,
            0.05 * s,
            0.56 * s,
            top,
            roll=-swing * 0.6,
        )
    f.tube(0, 0, hip + 0.5 * s, 0.05, 0.14, skin)
    f.ball(0, 0.01, hip + 0.74 * s, 0.085 * s, 0.1 * s, 0.125 * s, skin)
    f.ball(0, -0.02, hip + 0.78 * s, 0.09 * s, 0.1 * s, 0.11 * s, hair)


def _hair(rng: random.Random) -> tuple[float, float, float]:
    return varied(rng, rng.choice(((0.06, 0.05, 0.04), (0.2, 0.13, 0.08), (0.5, 0.4, 0.25))))


def cartons(f: Frame, stock: Stock) -> None:
    rng = stock.rng
    look = stock.of('object', varied(rng, (0.66, 0.5, 0.33)), 0.5, 0.2)
    z, w = 0.0, rng.uniform(0.3, 0.7)
    for _ in range(rng.randint(1, 4)):
        h = rng.uniform(0.2, 0.5)
        if rng.random() < 0.3:
            look = stock.odd() if rng.random() < 0.4 else stock.plain()
        f.box(
            rng.uniform(-0.08, 0.08),
            rng.uniform(-0.08, 0.08),
            z,
            w,
            w * rng.uniform(0.6, 1),
            h,
            look,
            yaw=rng.uniform(-0.4, 0.4),
        )
        z, w = z + h, w * rng.uniform(0.7, 1.0)


def bin_(f: Frame, stock: Stock) -> None:
    h = stock.rng.uniform(0.25, 0.8)
    f.tube(0, 0, 0, 0.32 * h + 0.05, h, stock.plain(), taper=stock.rng.uniform(1.0, 1.3))


def floor_lamp(f: Frame, stock: Stock) -> None:
    lamp(f, stock, 0, 0, 0, stock.rng.uniform(1.2, 1.8))


def bag(f: Frame, stock: Stock) -> None:
    rng = stock.rng
    look, s = stock.cloth(), rng.uniform(0.6, 1.2)
    f.ball(0, 0, 0.2 * s, 0.18 * s, 0.12 * s, 0.24 * s, look)
    f.box(0, 0.1 * s, 0.05 * s, 0.2 * s, 0.06, 0.16 * s, look)


def low_clutter(f: Frame, stock: Stock) -> None:
    """What a small robot meets: shoes, blocks, books, cables, balls."""
    rng = stock.rng
    for _ in range(rng.randint(1, 4)):
        x, y, a = rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0, math.pi)
        pick = rng.random()
        if pick < 0.3:
            look = stock.plain()
            f.box(x, y, 0, 0.1, 0.27, 0.05, look, yaw=a)
            f.ball(x, y, 0.05, 0.05, 0.12, 0.07, look, yaw=a)
        elif pick < 0.5:
            r, long = rng.uniform(0.01, 0.05), rng.uniform(0.3, 1.0)
            f.tube(x, y, r - 0.5 * long, r, long, stock.plain(), yaw=a, roll=math.pi / 2)
        else:
            small_thing(f, stock, x, y, 0)


def cone(f: Frame, stock: Stock) -> None:
    h = stock.rng.uniform(0.3, 0.8)
    look = stock.of('cloth', (0.95, 0.35, 0.1), 0.4, second=(0.9, 0.9, 0.9))
    f.box(0, 0, 0, 0.55 * h, 0.55 * h, 0.03, look)
    f.tube(0, 0, 0.03, 0.2 * h, h, look, taper=stock.rng.uniform(0.0, 0.25))


def anything(f: Frame, stock: Stock, size: float) -> None:
    """A heap of turned solids."""
    rng = stock.rng
    for _ in range(rng.randint(1, 3)):
        look = stock.odd() if rng.random() < 0.5 else stock.plain()
        a, b, c = (size * rng.uniform(0.2, 0.7) for _ in range(3))
        x, y = rng.uniform(-0.3, 0.3) * size, rng.uniform(-0.3, 0.3) * size
        yaw = rng.uniform(0, math.tau)
        tip = rng.choice((0.0, 0.0, rng.uniform(-0.8, 0.8)))
        pick = rng.random()
        if pick < 0.45:
            f.box(x, y, 0, a, b, c, look, yaw=yaw, roll=tip)
        elif pick < 0.7:
            f.tube(x, y, 0, 0.5 * a, c, look, taper=rng.choice((1.0, 0.0, rng.random())), roll=tip)
        else:
            f.ball(x, y, 0.5 * c, 0.5 * a, 0.5 * b, 0.5 * c, look, yaw=yaw, roll=tip)
