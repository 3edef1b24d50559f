"""Objects of training places only: beds, kitchens, heaps of solids; cars, trees, houses."""

from __future__ import annotations

import math

from midas_depth_ros.sim.furnished.furniture import lamp, leaves, on_top, small_thing
from midas_depth_ros.sim.furnished.place import ObjectFrame, colour, varied

WALLS = (
    (0.72, 0.66, 0.56),
    (0.55, 0.33, 0.26),
    (0.62, 0.6, 0.58),
    (0.8, 0.74, 0.6),
    (0.4, 0.4, 0.42),
)


# --- Indoors, as `furniture` has them: wall pieces have their back at y = 0.


def floor_lamp(f: ObjectFrame) -> None:
    lamp(f, 0, 0, 0, f.rng.uniform(1.2, 1.8))


def low_clutter(f: ObjectFrame) -> None:
    """What a small robot meets: shoes, blocks, books, cables, balls."""
    rng, make = f.rng, f.make
    for _ in range(rng.randint(1, 4)):
        x, y, a = rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0, math.pi)
        pick = rng.random()
        if pick < 0.3:
            look = make.plain()
            f.box(x, y, 0, 0.1, 0.27, 0.05, look, yaw=a)
            f.ball(x, y, 0.05, 0.05, 0.12, 0.07, look, yaw=a)
        elif pick < 0.5:
            r, long = rng.uniform(0.01, 0.05), rng.uniform(0.3, 1.0)
            f.tube(x, y, r - 0.5 * long, r, long, make.plain(), yaw=a, roll=math.pi / 2)
        else:
            small_thing(f, x, y, 0)


def anything(f: ObjectFrame, size: float) -> None:
    """A heap of turned solids."""
    rng, make = f.rng, f.make
    for _ in range(rng.randint(1, 3)):
        look = make.odd() if rng.random() < 0.5 else make.plain()
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


def office_chair(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    cloth, metal = make.cloth(0.25), make.plain((0.1, 0.1, 0.11))
    f.box(0, 0, 0.44, 0.48, 0.46, 0.08, cloth)
    f.box(0, -0.22, 0.58, 0.44, 0.06, rng.uniform(0.35, 0.65), cloth, roll=rng.uniform(0, 0.15))
    f.tube(0, 0, 0.08, 0.03, 0.36, metal)
    turn = rng.uniform(0, 1.2)
    for i in range(5):
        a = turn + i * math.tau / 5
        f.box(0.15 * math.cos(a), 0.15 * math.sin(a), 0.05, 0.3, 0.04, 0.04, metal, yaw=a)
    if rng.random() < 0.6:
        for sx in (-0.25, 0.25):
            f.box(sx, 0, 0.64, 0.05, 0.28, 0.03, metal)
            f.box(sx, 0, 0.46, 0.03, 0.04, 0.2, metal)


def stool(f: ObjectFrame) -> None:
    h, r = f.rng.uniform(0.4, 0.75), f.rng.uniform(0.15, 0.22)
    leg = f.make.furniture()
    f.tube(0, 0, h - 0.04, r, 0.04, f.make.furniture())
    for i in range(3):
        a = i * math.tau / 3
        f.tube(0.7 * r * math.cos(a), 0.7 * r * math.sin(a), 0, 0.018, h - 0.04, leg)


def bed(f: ObjectFrame, width: float) -> None:
    rng, make = f.rng, f.make
    cloth, white, wood = make.cloth(), make.cloth(0.15), make.furniture()
    f.box(0, 1.0, 0.1, width, 2.0, 0.2, wood)
    f.box(0, 1.0, 0.3, width, 1.95, 0.18, white)
    f.box(0, 1.25, 0.32, width + 0.06, 1.45, 0.2, cloth)
    f.box(0, 0.03, 0, width, 0.06, rng.uniform(0.7, 1.2), wood)
    for x in (-0.25 * width, 0.25 * width) if width > 1.2 else (0.0,):
        f.ball(x, 0.3, 0.55, 0.32, 0.2, 0.11, white)


def counter(f: ObjectFrame, width: float) -> None:
    """A kitchen's: cupboards below and above, things on it."""
    rng, make = f.rng, f.make
    front, top = make.front(), make.of('concrete', colour(rng, 0.1), 0.6, 0.3)
    f.box(0, 0.3, 0.08, width, 0.58, 0.8, front)
    f.box(0, 0.31, 0.88, width, 0.62, 0.04, top)
    if rng.random() < 0.8:
        f.box(0, 0.17, rng.uniform(1.4, 1.5), width, 0.34, 0.7, front)
    if rng.random() < 0.5:
        x = rng.uniform(-0.4, 0.4) * width
        f.box(x, 0.6, 0.2, 0.6, 0.02, 0.6, make.plain((0.08, 0.08, 0.09)))
    on_top(f, width, 0.6, 0.92, rng.randint(1, 6))


def fridge(f: ObjectFrame) -> None:
    h = f.rng.uniform(1.2, 1.95)
    body = f.make.plain(lively=0.1)
    f.box(0, 0.32, 0, 0.6, 0.62, h, body)
    f.box(0.2, 0.65, 0.5 * h, 0.03, 0.04, 0.35 * h, f.make.plain())


def television(f: ObjectFrame, width: float) -> None:
    black = f.make.plain((0.04, 0.04, 0.05))
    f.box(0, 0.22, 0, width, 0.42, 0.45, f.make.front())
    f.box(0, 0.2, 0.55, 0.75 * width, 0.05, 0.42 * width, black)
    f.box(0, 0.2, 0.45, 0.2, 0.1, 0.1, black)


# --- Outdoors.


def car(f: ObjectFrame, small_parts: bool = True) -> None:
    """Along x, its front at positive x: car, van or lorry."""
    rng, make = f.rng, f.make
    paint = make.plain(colour(rng, 0.35))
    glass = make.shared('glass', lambda: make.plain(varied(rng, (0.1, 0.12, 0.14))))
    black = make.shared('black', lambda: make.plain((0.05, 0.05, 0.05)), 0.8)
    pick = rng.random()
    if pick < 0.75:
        long, wide, high = rng.uniform(3.7, 4.8), rng.uniform(1.65, 1.85), rng.uniform(1.35, 1.7)
        waist = 0.58 * high
        f.box(0, 0, 0.22, long, wide, waist - 0.22, paint)
        f.box(0.45 * long, 0, 0.25, 0.16 * long, 0.96 * wide, 0.7 * waist - 0.25, paint)
        cabin = rng.uniform(0.45, 0.62) * long
        back = rng.uniform(-0.14, -0.06) * long
        f.box(back, 0, waist, 0.8 * cabin, 0.86 * wide, high - waist, glass)
        f.box(back, 0, high - 0.06, 0.78 * cabin, 0.82 * wide, 0.07, paint)
        slope, rise = 0.5, high - waist
        for end in (1, -1):
            x, tall = back + end * 0.42 * cabin, 1.05 * rise / math.cos(slope)
            f.box(x, 0, waist - 0.05, 0.1, 0.84 * wide, tall, glass, pitch=-end * slope)
        for side in (-1, 1):
            f.box(back, side * 0.43 * wide, waist, 0.06, 0.04, rise, paint)
    elif pick < 0.92:
        long, wide, high = rng.uniform(4.6, 6.0), rng.uniform(1.8, 2.1), rng.uniform(1.9, 2.6)
        f.box(0, 0, 0.3, long, wide, high - 0.3, paint)
        f.box(0.5 * long, 0, 0.3, 0.9, 0.96 * wide, 0.45 * high, paint)
        f.box(0.5 * long + 0.01, 0, 0.55 * high, 0.04, 0.85 * wide, 0.3 * high, glass)
        f.box(0.36 * long, 0, 0.55 * high, 0.2 * long, wide + 0.02, 0.3 * high, glass)
        f.box(-0.5 * long, 0, 0.55 * high, 0.03, 0.8 * wide, 0.3 * high, glass)
    else:
        long, wide, high = rng.uniform(7, 11), 2.4, rng.uniform(2.9, 3.7)
        load = make.odd() if rng.random() < 0.3 else make.plain()
        f.box(-0.9, 0, 0.8, long - 1.8, wide, high - 0.8, load)
        f.box(0.5 * long - 0.85, 0, 0.4, 1.7, 0.95 * wide, 2.3, paint)
        f.box(0.5 * long + 0.01, 0, 1.5, 0.03, 0.85 * wide, 0.8, glass)
    r = 0.3 if pick < 0.92 else 0.48
    for x in (-0.32 * long, 0.32 * long):
        for side in (-1, 1):
            y = side * (0.5 * wide - 0.1)
            f.tube(x, y, r - 0.11, r, 0.22, black, roll=math.pi / 2)
    if not small_parts:
        return
    red = make.shared('red', lambda: make.plain((0.75, 0.1, 0.08)), 0.9)
    white = make.shared('white', lambda: make.plain((0.95, 0.95, 0.9)), 0.9)
    z = 0.3 * high
    for side in (-1, 1):
        f.box(-0.5 * long - 0.01, side * 0.38 * wide, z + 0.1, 0.03, 0.25, 0.16, red)
        front = 0.53 * long if pick < 0.75 else 0.5 * long
        f.box(front, side * 0.36 * wide, z, 0.04, 0.28, 0.14, white)
    f.box(-0.5 * long - 0.012, 0, 0.32 if pick < 0.92 else 0.9, 0.02, 0.5, 0.12, white)


def tree(f: ObjectFrame, tall: float, most: int = 9) -> None:
    rng, make = f.rng, f.make
    trunk = make.shared('trunk', lambda: make.of('trunk', varied(rng, (0.3, 0.24, 0.18)), 0.6, 0.5))
    r = rng.uniform(0.025, 0.05) * tall
    bare = rng.uniform(0.2, 0.45) * tall
    f.tube(0, 0, 0, r, 0.75 * tall, trunk, taper=0.5)
    if rng.random() < 0.12:
        return
    green = leaves(make)
    if rng.random() < 0.2:
        f.tube(0, 0, 0.5 * bare, 0.22 * tall, tall - 0.5 * bare, green, taper=0.05)
        return
    wide = rng.uniform(0.14, 0.3) * tall
    for i in range(rng.randint(4, most)):
        a, share = rng.uniform(0, math.tau), rng.random()
        out = wide * math.sqrt(rng.random()) * (1.1 - share)
        size = wide * rng.uniform(0.45, 0.9)
        z = max(bare, 1.5) + (0.15 + 0.85 * share) * (tall - bare)
        look = green if i % 3 else leaves(make)
        f.ball(out * math.cos(a), out * math.sin(a), z, size, 0.85 * size, 0.7 * size, look)


def any_tree(f: ObjectFrame) -> None:
    tree(f, f.rng.uniform(2.5, 10))


def thicket(f: ObjectFrame, length: float) -> None:
    """A wall of leaves along x, with trunks in it."""
    rng, make = f.rng, f.make
    tall = rng.uniform(1.2, 7)
    at = -0.5 * length
    while at < 0.5 * length:
        size = 0.5 * tall * rng.uniform(0.5, 0.8)
        y, z = rng.gauss(0, 0.3) * size, rng.uniform(0.2, 0.7) * tall
        f.ball(at, y, z, size, 0.8 * size, size * rng.uniform(0.7, 1.2), leaves(make))
        f.ball(at + 0.5 * size, y, 0.4 * size, size, 0.8 * size, 0.6 * size, leaves(make))
        if rng.random() < 0.4:
            f.tube(at, y + 0.7 * size, 0, 0.03 * tall, 1.2 * tall, make.shared('trunk', make.wood))
        at += size * rng.uniform(0.8, 1.5)


def bush(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    green, size = leaves(make), rng.uniform(0.3, 1.2)
    for _ in range(rng.randint(1, 4)):
        x, y = rng.uniform(-0.6, 0.6) * size, rng.uniform(-0.6, 0.6) * size
        f.ball(x, y, 0.4 * size, 0.7 * size, 0.7 * size, 0.6 * size, green)


def pole(f: ObjectFrame) -> None:
    """A lamp post, a traffic sign or a light; its arm or face towards negative x or y."""
    rng, make = f.rng, f.make
    metal, pick = make.plain(colour(rng, 0.1)), rng.random()
    if pick < 0.4:
        tall = rng.uniform(3.5, 8)
        f.tube(0, 0, 0, 0.09, tall, metal, taper=0.6)
        f.box(0, 0.6, tall - 0.05, 0.12, 1.3, 0.07, metal)
        f.box(0, 1.2, tall - 0.12, 0.25, 0.55, 0.1, make.plain((0.9, 0.9, 0.85)))
    elif pick < 0.75:
        tall = rng.uniform(1.8, 2.8)
        f.tube(0, 0, 0, 0.035, tall, metal)
        red, blue, yellow, white = (0.8, 0.1, 0.1), (0.1, 0.25, 0.7), (0.95, 0.8, 0.1), (0.9,) * 3
        face = make.of('plain', rng.choice((red, blue, yellow, white)), 1)
        if rng.random() < 0.5:
            f.tube(-0.05, 0, tall - 0.3, 0.3, 0.02, face, pitch=math.pi / 2)
        else:
            f.box(-0.05, 0, tall - 0.5, 0.02, 0.5, 0.5, face)
    elif pick < 0.9:
        f.tube(0, 0, 0, 0.06, 3.0, metal)
        f.box(-0.1, 0, 2.3, 0.2, 0.28, 0.85, make.plain((0.07, 0.07, 0.07)))
        for i, lamp in enumerate(((0.1, 0.8, 0.3), (0.9, 0.6, 0.1), (0.9, 0.12, 0.1))):
            f.ball(-0.2, 0, 2.45 + 0.27 * i, 0.04, 0.09, 0.09, make.plain(lamp))
    else:
        f.tube(0, 0, 0, 0.14, rng.uniform(7, 10), make.of('trunk', (0.35, 0.28, 0.22)), taper=0.7)


def bollard(f: ObjectFrame) -> None:
    h = f.rng.uniform(0.5, 1.1)
    f.tube(0, 0, 0, f.rng.uniform(0.05, 0.15), h, f.make.plain(lively=0.5))


def bench(f: ObjectFrame) -> None:
    wood, leg = f.make.wood(), f.make.plain((0.2, 0.2, 0.2))
    for i in range(3):
        f.box(0, -0.18 + 0.17 * i, 0.43, 1.6, 0.13, 0.04, wood)
    for z in (0.6, 0.76):
        f.box(0, -0.27, z, 1.6, 0.04, 0.12, wood)
    for x in (-0.65, 0.65):
        f.box(x, -0.02, 0, 0.06, 0.4, 0.43, leg)
        f.box(x, -0.25, 0, 0.06, 0.05, 0.88, leg)


def rock(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    s = rng.uniform(0.1, 0.7)
    look = make.of('concrete', colour(rng, 0.05), 0.8, 0.4)
    wide, yaw = s * rng.uniform(0.6, 1), rng.uniform(0, 3)
    f.ball(0, 0, 0.25 * s, s, wide, 0.6 * s, look, yaw=yaw, roll=0.2)


def fence(f: ObjectFrame, length: float) -> None:
    """Along x, in the middle of the frame."""
    rng, make = f.rng, f.make
    h, pick = rng.uniform(0.8, 1.8), rng.random()
    if pick < 0.35:
        f.box(0, 0, 0, length, 0.5, h, leaves(make))
    elif pick < 0.6:
        look = make.of('brick', varied(rng, (0.6, 0.45, 0.38)), 1.2, 0.4)
        f.box(0, 0, 0, length, 0.22, h, look)
    else:
        look = make.furniture()
        for i in range(2):
            f.box(0, 0, (0.3 + 0.5 * i) * h, length, 0.04, 0.08, look)
        count = min(int(length / rng.uniform(1.0, 2.0)) + 1, 12)
        for i in range(count):
            f.box((i / max(count - 1, 1) - 0.5) * length, 0, 0, 0.09, 0.09, h, look)


def house(f: ObjectFrame, width: float, depth: float, height: float) -> None:
    """Front at y = 0 looking to positive y, the body behind it."""
    rng, make = f.rng, f.make
    base = varied(rng, rng.choice(WALLS)) if rng.random() < 0.8 else colour(rng, 0.4)
    pane = varied(rng, (0.2, 0.24, 0.3), 0.3)
    look = make.of('building', base, rng.uniform(6, 11), second=pane, grain=0.1)
    f.box(0, -0.5 * depth, 0, width, depth, height, look)
    if rng.random() < 0.5:
        shop = make.of('building', colour(rng, 0.4), rng.uniform(4, 8), second=pane)
        f.box(0, -0.5 * depth + 0.05, 0, 0.98 * width, depth, rng.uniform(2.8, 3.8), shop)
    if rng.random() < 0.6:
        f.box(0, 0.02, 0, 1.0, 0.08, 2.1, make.front())
    roof = rng.random()
    if roof < 0.4 and height < 12:
        tiles = make.of('brick', varied(rng, (0.45, 0.25, 0.2)), 1.5, 0.4)
        r = 0.5 * depth * 1.1
        for side in (-1, 1):
            y, z = -0.5 * depth + side * 0.5 * r * 0.95, height + 0.2 * r
            f.box(0, y, z, width + 0.4, 1.25 * r, 0.2, tiles, roll=-side * 0.7)
    elif roof < 0.7:
        f.box(0, -0.5 * depth + 0.2, height, width + 0.2, depth + 0.5, 0.3, make.plain())
    for _ in range(rng.choice((0, 0, 1, 2))):
        x = rng.uniform(-0.35, 0.35) * width
        f.box(x, 0.5, rng.uniform(2.8, max(height - 1, 3)), 1.8, 1.0, 0.9, make.plain())
