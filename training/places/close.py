"""Things at arm's length: bare walls and corners, tables and shelves, what touches the border."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    FinishMaker,
    FloorSpace,
    Hall,
    ObjectFrame,
    colour,
    triple,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things
from training.places.doors import dark
from training.places.first import any_place
from training.places.layout import (
    floor_finish,
    four_walls,
    furnish_wall,
    indoor_light,
    keep_clear,
    rod,
    scatter,
    wall_finish,
)


def _between(rng: random.Random, low: float, high: float) -> float:
    """Small values as often as large ones: uniform in the logarithm."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


# --- Walls without texture, and corners, from 0.2 m.


def walls(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Before a wall, in a corner, or beside the corner of a wall that ends.

    Something on the wall, or its foot, says how far away it is.
    """
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    gap, height = _between(rng, 0.22, 1.0), rng.uniform(2.2, 3.2)
    bare = _bare(make)
    others = tuple(_bare(make) if rng.random() < 0.3 else bare for _ in range(4))
    left, right = (rng.choice((_between(rng, 0.3, 1.5), rng.uniform(1.5, 5))) for _ in range(2))
    yaw = rng.uniform(-1.1, 1.1)
    outer = rng.random() < 0.35
    far = gap + rng.uniform(1.5, 6) if outer else gap
    low, high, back, front = others
    hall = Hall((-3.0, -right), (far, left), height, (low, high, back, front), make.plain())
    f = builder.frame(gap, 0, math.pi / 2, object_id=STRUCTURE_ID)
    span = -right, left
    if outer:  # the wall ends at `edge`; what is behind it is farther away
        edge = rng.uniform(-0.5, 0.5)
        side = rng.choice((-1, 1))
        span = (edge, left) if side > 0 else (-right, edge)
        deep = rng.choice((0.12, rng.uniform(0.3, 3)))
        f.box(0.5 * sum(span), -0.5 * deep, 0, span[1] - span[0], deep, height, bare)
        yaw = side * rng.uniform(-0.9, 0.4)
        space = FloorSpace([(0, 0, 0.7)])
        beyond = Hall((gap + 0.3, -right), hall.high, height, hall.walls, 0)
        for _ in range(rng.randint(0, 3)):
            scatter(builder, space, beyond)
    z = rng.choice((rng.uniform(0.12, 0.6), rng.uniform(0.6, 1.7)))
    pitch = rng.gauss(0.1, 0.15) if z < 0.8 else rng.gauss(0.15, 0.25)
    aim = min(max(gap * math.tan(yaw), span[0] + 0.1), span[1] - 0.1)
    level = z - gap / math.cos(yaw) * math.tan(pitch)
    _on_bare_wall(builder, f, (aim, min(max(level, 0.1), 2.0)), gap, span)
    pose = Pose(0, 0, z, yaw, pitch, rng.gauss(0, 0.06))
    keep_clear(builder, pose, 0.1)
    light = indoor_light(rng, rng.uniform(-2, -0.2), rng.uniform(-0.8, 0.8), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def _bare(make: FinishMaker) -> int:
    """Paint, hardly any texture."""
    rng = make.rng
    if rng.random() < 0.2:
        return wall_finish(make)
    base = triple(0.3 + 0.65 * c for c in colour(rng, 0.2)) if rng.random() < 0.85 else dark(rng)
    return make.of('plain', base, rng.uniform(1, 4), rng.uniform(0.0, 0.06), grain=0.02)


def _on_bare_wall(
    builder: PanedBuilder,
    f: ObjectFrame,
    aim: tuple[float, float],
    gap: float,
    span: tuple[float, float],
) -> None:
    """Skirting, sockets, switches, pipes, notices; one of them near x, z = `aim`."""
    rng, make = builder.rng, builder.make
    if rng.random() < 0.7:
        tall = rng.uniform(0.05, 0.14)
        middle, long = 0.5 * sum(span), span[1] - span[0]
        f.box(middle, 0.007, 0, long, 0.014, tall, make.furniture())
    white = make.plain(rng.choice(((0.93, 0.93, 0.91), (0.15, 0.15, 0.15), (0.75, 0.73, 0.68))))
    for _ in range(rng.randint(1, 3)):
        at, z = aim[0] + rng.gauss(0, 0.3) * gap, max(aim[1] + rng.gauss(0, 0.25) * gap, 0.02)
        pick = rng.random()
        if pick < 0.35:
            f.box(at, 0.005, z, 0.085, 0.01, 0.085, white)
            if rng.random() < 0.5:
                f.tube(at, 0.008, z + 0.02, 0.02, 0.045, make.plain((0.2,) * 3), flat=0.3)
            else:
                f.box(at, 0.012, z + 0.02, 0.05, 0.006, 0.045, white)
        elif pick < 0.5:
            f.tube(at, 0.04, 0, rng.uniform(0.01, 0.04), 3.0, make.plain())
        elif pick < 0.6:
            f.box(at, 0.012, z, 2.0, 0.024, rng.uniform(0.02, 0.1), white)
        elif pick < 0.85:
            w, h = rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)
            f.box(at, 0.002, max(z - 0.5 * h, 0.02), w, 0.004, h, make.picture())
        else:
            f.box(at, 0.03, z, 0.9, 0.06, 0.04, make.furniture())  # a rail


# --- Tables and shelves from 0.2 m.


def closeup(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Above a table, or before a shelf."""
    return (_above_table if rng.random() < 0.55 else _before_shelf)(rng, atlas)


def _above_table(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    top, deep, wide = rng.uniform(0.35, 1.0), rng.uniform(0.4, 1.2), rng.uniform(0.6, 2.4)
    behind = rng.choice((0.0, 0.0, rng.uniform(0.2, 4)))
    near, height = rng.uniform(-0.6, 0.1), rng.uniform(2.3, 3)
    half = max(0.5 * wide, rng.uniform(1.0, 3.5))
    far = near + deep + behind + 0.02
    hall = Hall((-2.5, -half - 0.5), (far, half), height, four_walls(make, 0.3), make.plain())
    table = builder.frame(near + 0.5 * deep, 0, -math.pi / 2)
    if rng.random() < 0.7:
        furniture.table(table, wide, deep, top)
    else:
        furniture.cabinet(table, wide, top)
        table.box(0, 0, 0, wide, deep, top, make.front())
    gloss = rng.random() < 0.25
    if gloss:  # varnish or glass
        look = {'shine': rng.uniform(0.04, 0.15), 'blur_px': rng.uniform(0, 4)}
        lower = table.at(0, -0.5 * deep)
        f = builder.frame(*lower, table.yaw, object_id=table.object_id)
        builder.pane(f, (0, 0, top + 0.002), wide, deep, lean=-0.5 * math.pi, **look)
    if rng.random() < 0.3:
        _cloth(builder, (near, near + deep), wide, top)
    taken, spots = FloorSpace(), [(near + 0.5 * deep, 0.0)]
    for _ in range(rng.choice((2, 5, 9, 14))):
        x = near + deep * rng.uniform(0.05, 0.95)
        y, reach = rng.gauss(0, 0.35), rng.uniform(0.03, 0.1)
        if abs(y) < 0.48 * wide and taken.free(x, y, reach):
            taken.take(x, y, reach)
            on_table(builder.frame(x, y, rng.uniform(0, math.tau), top))
            spots.append((x, y))
    if behind > 1:
        space = FloorSpace([(near + 0.5 * deep, 0, 0.7 * wide), (0, 0, 0.8)])
        furnish_wall(builder, space, (far, 0.0, math.pi / 2), 2 * half, height, 0.9)
    above, y = _between(rng, 0.16, 0.6), rng.gauss(0, 0.15)
    aim = rng.choice(spots)
    x = min(near + rng.uniform(-0.25, 0.35), aim[0] - 0.15)
    ahead = math.hypot(aim[0] - x, aim[1] - y)
    pitch = math.atan2(above, ahead) + rng.gauss(0, 0.15)
    yaw = math.atan2(aim[1] - y, aim[0] - x) + rng.gauss(0, 0.15)
    pose = Pose(x, y, top + above, yaw, pitch, rng.gauss(0, 0.12))
    keep_clear(builder, pose, 0.12)
    light = indoor_light(rng, rng.uniform(-1, 1), rng.uniform(-0.8, 0.8), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def on_table(f: ObjectFrame) -> None:
    """Something that lies or stands on a table."""
    rng, make = f.rng, f.make
    pick = rng.random()
    if pick < 0.35:
        furniture.small_thing(f, 0, 0, 0)
    elif pick < 0.47:  # a cup or a glass, with a handle
        r, tall, look = rng.uniform(0.03, 0.05), rng.uniform(0.06, 0.13), make.plain(lively=0.5)
        f.tube(0, 0, 0, r, tall, look, taper=rng.uniform(0.9, 1.25))
        f.tube(0, 0, tall, 0.85 * r, 0.002, make.plain((0.12, 0.07, 0.04)))
        f.tube(1.2 * r, 0, 0.2 * tall, 0.45 * r, 0.01, look, roll=math.pi / 2)
    elif pick < 0.57:  # a plate or a bowl
        r, white = rng.uniform(0.08, 0.14), make.plain(lively=0.2)
        f.tube(0, 0, 0, 0.6 * r, rng.uniform(0.015, 0.06), white, taper=1.6)
        for _ in range(rng.randint(0, 4)):
            s = rng.uniform(0.015, 0.04)
            at = rng.gauss(0, 0.3) * r, rng.gauss(0, 0.3) * r
            f.ball(*at, 0.03 + s, s, s, s, make.plain(lively=0.8))
    elif pick < 0.67:  # a keyboard
        body, key = make.plain(lively=0.05), make.plain(lively=0.05)
        f.box(0, 0, 0, 0.42, 0.14, 0.02, body)
        for row in range(4):
            for column in range(10):
                f.box(0.04 * column - 0.18, 0.03 * row - 0.045, 0.02, 0.033, 0.023, 0.006, key)
    elif pick < 0.77:  # a laptop
        body = make.plain(rng.choice(((0.06, 0.06, 0.06), (0.6, 0.6, 0.62))))
        lean = rng.uniform(0.1, 0.6)
        f.box(0, 0, 0, 0.33, 0.23, 0.018, body)
        y, z = -0.115 - 0.11 * math.sin(lean), 0.018 - 0.11 * (1 - math.cos(lean))
        f.box(0, y, z, 0.33, 0.01, 0.22, body, roll=lean)
    elif pick < 0.87:  # sheets of paper
        for i in range(rng.randint(1, 3)):
            turn, look = rng.uniform(-0.6, 0.6), make.picture(size=0.3)
            f.box(rng.gauss(0, 0.04), 0, 0.002 * i, 0.21, 0.297, 0.002, look, yaw=turn)
    elif pick < 0.94:  # a cable
        look, x, y, a = make.plain(dark(rng)), 0.0, 0.0, rng.uniform(0, 6)
        for _ in range(10):
            u, v, a = x + 0.04 * math.cos(a), y + 0.04 * math.sin(a), a + rng.gauss(0, 0.6)
            rod(f, (x, y, 0.004), (u, v, 0.004), 0.004, look)
            x, y = u, v
    else:
        furniture.screen(f, 0, 0, 0)


def _cloth(builder: PanedBuilder, deep: tuple[float, float], wide: float, top: float) -> None:
    """A heap of cloth: a coat, towels, bedding; a large one covers most of the table."""
    rng, make = builder.rng, builder.make
    x, y = rng.uniform(*deep), rng.gauss(0, 0.3)
    f, look = builder.frame(x, y, rng.uniform(0, 3), top), make.cloth()
    size = rng.choice((rng.uniform(0.15, 0.35), 0.5 * wide))
    for _ in range(rng.randint(5, 14)):
        long, thick = min(size, 0.5) * rng.uniform(0.3, 0.8), rng.uniform(0.01, 0.07)
        at = rng.gauss(0, 0.4) * size, rng.gauss(0, 0.4) * size, 0.3 * thick
        tilt = rng.gauss(0, 0.12)
        f.ball(*at, long, 0.4 * long, thick, look, yaw=rng.uniform(0, 3), pitch=tilt)


def _before_shelf(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    gap, height = _between(rng, 0.2, 0.8), rng.uniform(2.2, 3)
    walls_, deep = four_walls(make, 0.2), rng.uniform(0.2, 0.5)
    wide, tall = rng.uniform(0.6, 3.0), rng.uniform(0.8, 2.1)
    half = max(0.5 * wide + 0.05, rng.uniform(0.6, 3))
    hall = Hall((-3, -half), (gap + deep, half), height, walls_, make.plain())
    shift = rng.uniform(-1, 1) * min(0.5 * wide, 0.6)
    f = builder.frame(gap, shift, math.pi / 2)
    board, thick = make.furniture(), rng.uniform(0.015, 0.04)
    for side in (-1, 1):
        f.box(side * 0.5 * wide, -0.5 * deep, 0, thick, deep, tall, board)
    if rng.random() < 0.6:
        f.box(0, -deep + 0.01, 0, wide, 0.02, tall, board)
    levels = max(2, round(tall / rng.uniform(0.22, 0.45)))
    step = tall / levels
    z = rng.uniform(0.2, min(tall + 0.15, 1.6))
    pitch = rng.gauss(0.05, 0.2)
    for level in range(levels + 1):
        f.box(0, -0.5 * deep, level * step - thick, wide, deep, thick, board)
        seen = abs(level * step + 0.5 * step - z) < 0.25 + 0.9 * gap
        if level < levels and seen and rng.random() < 0.9:
            _row(builder, f, (wide, deep, step - thick), level * step, -shift)
    pose = Pose(0, 0, z, rng.gauss(0, 0.4), pitch, rng.gauss(0, 0.08))
    keep_clear(builder, pose, 0.1)
    light = indoor_light(rng, rng.uniform(-2, -0.2), rng.uniform(-0.8, 0.8), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def _row(
    builder: PanedBuilder,
    f: ObjectFrame,
    space: tuple[float, float, float],
    z: float,
    middle: float,
) -> None:
    """Books, boxes, tins or bottles side by side on a board, near x = `middle`."""
    rng, make = builder.rng, builder.make
    wide, deep, tall = space
    row = builder.frame(*f.at(0, 0), f.yaw)
    what = rng.choice(('books', 'boxes', 'tins', 'bottles', 'mixed'))
    at, end = max(-0.48 * wide, middle - 0.7), min(0.48 * wide, middle + 0.7)
    looks = [make.plain(lively=0.7) if rng.random() < 0.6 else make.odd() for _ in range(4)]
    while at < end - 0.05:
        kind = what if what != 'mixed' else rng.choice(('books', 'boxes', 'tins', 'bottles'))
        look, front = rng.choice(looks), rng.uniform(0.0, 0.35) * deep
        if kind in ('books', 'boxes'):
            w = rng.uniform(0.02, 0.05) if kind == 'books' else rng.uniform(0.08, 0.3)
            thing, high = rng.uniform(0.4, 0.65) * deep, tall * rng.uniform(0.4, 0.95)
            row.box(at + 0.5 * w, -front - 0.5 * thing, z, 0.95 * w, thing, high, look)
        else:
            r = rng.uniform(0.03, 0.05)
            w, y = 2.1 * r, -front - 1.2 * r
            high = min(tall * 0.9, rng.uniform(0.1, 0.3))
            row.tube(at + r, y, z, r, 0.65 * high if kind == 'bottles' else high, look)
            if kind == 'bottles':
                row.tube(at + r, y, z + 0.65 * high, 0.8 * r, 0.3 * high, look, taper=0.4)
        at += w + (0.0 if rng.random() < 0.8 else rng.uniform(0.02, 0.2))


# --- Something large at the border of the picture of another place.


def at_border(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A hull, a cupboard's side, a column, a person: near, and cut off by the picture's edge."""
    place, pose = any_place(rng, atlas)
    builder = PanedBuilder.reopened(place, FinishMaker(rng, atlas))
    for _ in range(rng.choice((1, 1, 1, 2))):
        _loom(builder, pose)
    return builder.finished(place), pose


def _loom(builder: PanedBuilder, pose: Pose) -> None:
    """Its edge is near the middle of the picture, or nearer to the border."""
    rng, make = builder.rng, builder.make
    gap, side = _between(rng, 0.25, 1.3), rng.choice((-1, 1))
    look = rng.choice((lambda: make.plain(dark(rng)), make.plain, make.furniture, make.odd))()

    def frame(reach: float, half: float, z: float = 0.0) -> ObjectFrame:
        """Of something `reach` deep and `half` wide from its middle to its side."""
        far = gap + reach
        bearing = pose.yaw_rad + side * (math.atan2(half, far) + rng.uniform(0.0, 0.5))
        x, y = pose.x_m + far * math.cos(bearing), pose.y_m + far * math.sin(bearing)
        return builder.frame(x, y, bearing + rng.gauss(0, 0.2), z)

    pick = rng.random()
    if pick < 0.3:  # a hull
        long, wide, tall = rng.uniform(0.5, 2), rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.2)
        z = pose.z_m - rng.uniform(0.1, 0.9) * tall
        frame(wide, long, z).ball(0, 0, 0, wide, long, tall, look, roll=rng.gauss(0, 0.2))
    elif pick < 0.55:  # the side of a cupboard, a van, a machine
        deep, wide = rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.8)
        tall = pose.z_m + rng.choice((-0.5, 0.3, 1.0)) * rng.uniform(0.2, 0.8)
        frame(deep, wide).box(0, 0, 0, 2 * deep, 2 * wide, max(tall, 0.1), look)
    elif pick < 0.68:
        r = rng.uniform(0.08, 0.4)
        frame(r, r).tube(0, 0, 0, r, rng.choice((pose.z_m + 0.05, 2.4)), look)
    elif pick < 0.82:
        furniture.person(frame(0.3, 0.25))
    elif pick < 0.92:
        things.anything(frame(0.4, 0.4, max(pose.z_m - 0.5, 0)), rng.uniform(0.4, 1.0))
    else:
        furniture.sofa(frame(0.9, 0.8), rng.uniform(1, 2))
