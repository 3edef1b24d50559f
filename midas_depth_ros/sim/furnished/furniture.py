"""Furniture and other objects, built from parts.

Wall pieces have their back at y = 0 and extend to positive y, with x along the wall from their
middle. Free pieces stand about (0, 0).
"""

from __future__ import annotations

import math

from midas_depth_ros.sim.furnished.place import FinishMaker, ObjectFrame, colour, varied

SKIN = ((0.85, 0.65, 0.52), (0.55, 0.38, 0.27), (0.3, 0.2, 0.15))
HAIR = ((0.06, 0.05, 0.04), (0.2, 0.13, 0.08), (0.5, 0.4, 0.25))


def on_top(f: ObjectFrame, width: float, depth: float, z: float, count: int) -> None:
    """Add small objects on a surface from y = 0 to `depth`."""
    rng = f.rng
    for _ in range(count):
        x, y = rng.uniform(-0.45, 0.45) * width, rng.uniform(0.15, 0.85) * depth
        small_thing(f, x, y, z)


def small_thing(f: ObjectFrame, x: float, y: float, z: float) -> None:
    rng, make = f.rng, f.make
    pick = rng.random()
    if pick < 0.25:
        r = rng.uniform(0.025, 0.06)
        h = rng.uniform(0.08, 0.3)
        look = make.plain()
        f.tube(x, y, z, r, h, look)
        if rng.random() < 0.5:
            f.tube(x, y, z + h, 0.4 * r, 0.5 * h, look)
    elif pick < 0.5:
        a, b, c = (rng.uniform(0.04, 0.3) for _ in range(3))
        look = make.odd() if rng.random() < 0.4 else make.plain()
        f.box(x, y, z, a, b, c, look, yaw=rng.uniform(-1, 1))
    elif pick < 0.65:
        r = rng.uniform(0.03, 0.12)
        f.ball(x, y, z + r, r, r, r, make.plain())
    elif pick < 0.8:
        look = make.picture('picture', 5, 0.3)
        for i in range(rng.randint(1, 4)):
            f.box(x, y, z + 0.03 * i, 0.22, 0.16, 0.03, look, yaw=rng.uniform(-0.6, 0.6))
    elif pick < 0.9:
        lamp(f, x, y, z, rng.uniform(0.25, 0.5))
    else:
        r = rng.uniform(0.06, 0.14)
        f.tube(x, y, z, 0.6 * r, 0.5 * r, make.plain(), taper=1.6)
        f.ball(x, y, z + 1.5 * r, r, r, 1.2 * r, leaves(make))


def lamp(f: ObjectFrame, x: float, y: float, z: float, height: float) -> None:
    glow = f.rng.choice((0.0, 1.6))
    shade = f.make.plain((0.95, 0.88, 0.75), glow=glow)
    foot = f.make.plain()
    f.tube(x, y, z, 0.25 * min(height, 0.6), 0.02, foot)
    f.tube(x, y, z, 0.012, 0.8 * height, foot)
    r = 0.3 * min(height, 0.7)
    f.tube(x, y, z + 0.65 * height, r, 0.35 * height, shade, taper=0.6)


def leaves(make: FinishMaker) -> int:
    return make.shared('leaves', lambda: _leaves(make))


def _leaves(make: FinishMaker) -> int:
    rng = make.rng
    base = varied(rng, rng.choice(((0.2, 0.35, 0.12), (0.3, 0.42, 0.15), (0.12, 0.25, 0.1))), 0.25)
    return make.of('leaves', base, rng.uniform(0.5, 1.5), 0.75, grain=0.3)


def plant(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    h, green = rng.uniform(0.5, 1.6), leaves(make)
    f.tube(0, 0, 0, 0.13, 0.28, make.plain(), taper=1.3)
    f.tube(0, 0, 0.25, 0.02, 0.6 * h, make.wood())
    for _ in range(rng.randint(3, 7)):
        a, r = rng.uniform(0, math.tau), rng.uniform(0.05, 0.25) * h
        z = 0.3 + rng.uniform(0.2, 0.9) * h
        size = rng.uniform(0.1, 0.2) * h
        x, y, thick = r * math.cos(a), r * math.sin(a), 0.35 * size + 0.02
        f.ball(x, y, z, size, 0.6 * size, thick, green, yaw=a, pitch=rng.uniform(-0.8, 0.8))


def person(f: ObjectFrame, sitting: bool = False) -> None:
    """Add a person facing positive y."""
    rng, make = f.rng, f.make
    skin = make.plain(varied(rng, rng.choice(SKIN)))
    top, trousers = make.cloth(0.5), make.cloth(0.3)
    hair = make.plain(varied(rng, rng.choice(HAIR)))
    s = rng.uniform(0.86, 1.06)
    hip = 0.48 if sitting else 0.88 * s
    stride = 0.0 if sitting else rng.uniform(-0.35, 0.35)
    for sx in (-1, 1):
        x = sx * 0.1 * s
        if sitting:
            f.tube(x, 0.22, hip - 0.28, 0.08, 0.5, trousers, roll=math.pi / 2 - 0.05)
            f.tube(x, 0.42, 0, 0.07, hip, trousers)
        else:
            foot, bent = sx * 0.2 * math.sin(stride), sx * stride * 0.55
            f.tube(x, foot, 0.03, 0.065 * s, hip, trousers, taper=1.3, roll=bent)
        y = 0.48 if sitting else sx * 0.45 * math.sin(stride)
        f.box(x, y, 0, 0.1, 0.26, 0.08, hair)
    f.ball(0, 0, hip + 0.3 * s, 0.2 * s, 0.13 * s, 0.38 * s, top)
    f.tube(0, 0, hip + 0.05, 0.15 * s, 0.42 * s, top, taper=1.25, flat=0.65)
    for sx in (-1, 1):
        swing = rng.uniform(-0.4, 0.6)
        x, y = sx * 0.24 * s, 0.15 * math.sin(swing)
        f.tube(x, y, hip + 0.02, 0.05 * s, 0.56 * s, top, roll=-swing * 0.6)
    f.tube(0, 0, hip + 0.5 * s, 0.05, 0.14, skin)
    f.ball(0, 0.01, hip + 0.74 * s, 0.085 * s, 0.1 * s, 0.125 * s, skin)
    f.ball(0, -0.02, hip + 0.78 * s, 0.09 * s, 0.1 * s, 0.11 * s, hair)


def cartons(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    look = make.of('object', varied(rng, (0.66, 0.5, 0.33)), 0.5, 0.2)
    z, w = 0.0, rng.uniform(0.3, 0.7)
    for _ in range(rng.randint(1, 4)):
        h = rng.uniform(0.2, 0.5)
        if rng.random() < 0.3:
            look = make.odd() if rng.random() < 0.4 else make.plain()
        x, y = rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08)
        f.box(x, y, z, w, w * rng.uniform(0.6, 1), h, look, yaw=rng.uniform(-0.4, 0.4))
        z, w = z + h, w * rng.uniform(0.7, 1.0)


def bin_(f: ObjectFrame) -> None:
    h = f.rng.uniform(0.25, 0.8)
    f.tube(0, 0, 0, 0.32 * h + 0.05, h, f.make.plain(), taper=f.rng.uniform(1.0, 1.3))


def bag(f: ObjectFrame) -> None:
    rng, make = f.rng, f.make
    look, s = make.cloth(), rng.uniform(0.6, 1.2)
    f.ball(0, 0, 0.2 * s, 0.18 * s, 0.12 * s, 0.24 * s, look)
    f.box(0, 0.1 * s, 0.05 * s, 0.2 * s, 0.06, 0.16 * s, look)


def cone(f: ObjectFrame) -> None:
    h = f.rng.uniform(0.3, 0.8)
    look = f.make.of('cloth', (0.95, 0.35, 0.1), 0.4, second=(0.9, 0.9, 0.9))
    f.box(0, 0, 0, 0.55 * h, 0.55 * h, 0.03, look)
    f.tube(0, 0, 0.03, 0.2 * h, h, look, taper=f.rng.uniform(0.0, 0.25))


def table(f: ObjectFrame, length: float, width: float, height: float) -> None:
    rng, make = f.rng, f.make
    top, leg = make.furniture(), make.furniture()
    thick = rng.uniform(0.02, 0.06)
    if rng.random() < 0.2:
        f.tube(0, 0, height - thick, 0.5 * length, thick, top, flat=width / length)
        f.tube(0, 0, 0, 0.05, height - thick, leg)
        f.tube(0, 0, 0, 0.25 * width, 0.03, leg)
        return
    f.box(0, 0, height - thick, length, width, thick, top)
    t = rng.uniform(0.03, 0.08)
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (0.5 * length - t), sy * (0.5 * width - t)
            f.box(x, y, 0, t, t, height - thick, leg)


def chair(f: ObjectFrame) -> None:
    """Add a chair; its back is at negative y."""
    rng, make = f.rng, f.make
    seat, frame = make.furniture() if rng.random() < 0.5 else make.cloth(), make.furniture()
    w, h, t = rng.uniform(0.38, 0.48), rng.uniform(0.42, 0.48), rng.uniform(0.02, 0.05)
    f.box(0, 0, h - 0.05, w, w, 0.05, seat)
    for sx in (-1, 1):
        x = sx * (0.5 * w - 0.5 * t)
        f.box(x, 0.5 * (w - t), 0, t, t, h - 0.05, frame)
        f.box(x, -0.5 * (w - t), 0, t, t, h + 0.42, frame)
    if rng.random() < 0.6:
        f.box(0, -0.5 * (w - t), h + 0.1, w, 0.5 * t, 0.32, seat)
    else:
        for z in (0.12, 0.24, 0.36):
            f.box(0, -0.5 * (w - t), h + z, w, 0.5 * t, 0.05, frame)


def sofa(f: ObjectFrame, width: float) -> None:
    rng, make = f.rng, f.make
    cloth, cushion = make.cloth(), make.cloth(0.7)
    d, h = rng.uniform(0.8, 0.95), rng.uniform(0.38, 0.46)
    f.box(0, 0.5 * d, 0.06, width, d, h - 0.06, cloth)
    f.box(0, 0.12, h, width, 0.24, rng.uniform(0.3, 0.5), cloth)
    for sx in (-1, 1):
        f.box(sx * (0.5 * width - 0.09), 0.5 * d, h, 0.18, d, 0.18, cloth)
    for _ in range(rng.randint(0, 3)):
        x = rng.uniform(-0.35, 0.35) * width
        f.ball(x, 0.38, h + 0.2, 0.22, 0.1, 0.2, cushion, roll=0.3, yaw=rng.uniform(-0.3, 0.3))


def shelf(f: ObjectFrame, width: float, height: float) -> None:
    """Add boards with books and objects between them, sometimes without a back."""
    rng, make = f.rng, f.make
    wood, books = make.furniture(), make.picture('shelf', 8, rng.uniform(0.5, 0.9))
    d, t = rng.uniform(0.25, 0.4), 0.025
    for sx in (-1, 1):
        f.box(sx * 0.5 * (width - t), 0.5 * d, 0, t, d, height, wood)
    if rng.random() < 0.75:
        f.box(0, 0.01, 0, width, 0.02, height, wood)
    levels = max(2, round(height / rng.uniform(0.3, 0.45)))
    step = (height - t) / levels
    for level in range(levels + 1):
        f.box(0, 0.5 * d, level * step, width, d, t, wood)
        if level < levels and rng.random() < 0.75:
            w = width * rng.uniform(0.3, 0.94)
            x = rng.uniform(-0.5, 0.5) * (width - w - 2 * t)
            deep = d * rng.uniform(0.5, 0.9)
            high = step * rng.uniform(0.5, 0.85)
            f.box(x, 0.5 * deep + 0.02, level * step + t, w, deep, high, books)


def cabinet(f: ObjectFrame, width: float, height: float) -> None:
    d = f.rng.uniform(0.35, 0.62)
    f.box(0, 0.5 * d, 0, width, d, height, f.make.front())
    if f.rng.random() < 0.4:
        f.box(0, 0.5 * d + 0.01, height, width + 0.04, d + 0.04, 0.03, f.make.furniture())
    on_top(f, width, d, height + 0.03, f.rng.randint(0, 4))


def desk(f: ObjectFrame, width: float) -> None:
    """Add a desk with screens and small objects."""
    rng, make = f.rng, f.make
    top, leg, h = make.furniture(), make.furniture(), rng.uniform(0.7, 0.78)
    f.box(0, 0.37, h - 0.03, width, 0.74, 0.03, top)
    for sx in (-1, 1):
        if rng.random() < 0.5:
            f.box(sx * (0.5 * width - 0.2), 0.37, 0, 0.38, 0.66, h - 0.03, make.front())
        else:
            f.box(sx * (0.5 * width - 0.03), 0.37, 0, 0.05, 0.7, h - 0.03, leg)
    for _ in range(rng.randint(0, 2)):
        screen(f, rng.uniform(-0.3, 0.3) * width, 0.2, h)
    on_top(f, width, 0.74, h, rng.randint(2, 9))


def screen(f: ObjectFrame, x: float, y: float, z: float) -> None:
    rng, make = f.rng, f.make
    black, w = make.plain((0.05, 0.05, 0.06)), rng.uniform(0.45, 0.7)
    face = black
    if rng.random() < 0.6:
        face = make.of('picture', colour(rng, 0.5), 0.7, 0.6, colour(rng, 0.3), glow=1.1)
    yaw = rng.uniform(-0.4, 0.4)
    f.box(x, y, z, 0.2, 0.16, 0.02, black, yaw=yaw)
    f.box(x, y - 0.03, z, 0.05, 0.03, 0.2, black, yaw=yaw)
    f.box(x, y, z + 0.12, w, 0.04, 0.6 * w, black, yaw=yaw)
    x, y = x - 0.021 * math.sin(yaw), y + 0.021 * math.cos(yaw)
    f.box(x, y, z + 0.14, w - 0.04, 0.006, 0.6 * w - 0.04, face, yaw=yaw)


def door(f: ObjectFrame, x: float) -> None:
    rng, make = f.rng, f.make
    w, h = rng.uniform(0.75, 1.0), rng.uniform(1.95, 2.15)
    frame, leaf = make.furniture(), make.front()
    if rng.random() < 0.25:
        leaf = make.plain((0.03, 0.03, 0.03))  # open, into the dark
    for sx in (-1, 1):
        f.box(x + sx * (0.5 * w + 0.04), 0.03, 0, 0.08, 0.06, h + 0.08, frame)
    f.box(x, 0.03, h, w, 0.06, 0.08, frame)
    f.box(x, 0.008, 0, w, 0.016, h, leaf)
    f.ball(x + 0.4 * w, 0.06, 1.0, 0.03, 0.03, 0.03, make.plain())
