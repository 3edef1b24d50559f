"""Shared by all places: finishes, light, a camera, and what stands on a floor or along a wall."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.furniture import door
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    WOODS,
    FinishMaker,
    FloorSpace,
    Hall,
    Light,
    Marking,
    ObjectFrame,
    PlaceBuilder,
    Vector,
    colour,
    picked,
    scaled,
    triple,
    varied,
)
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things


def floor_finish(make: FinishMaker) -> tuple[int, float]:
    """A floor's finish, and how much it reflects."""
    rng = make.rng
    pick = rng.random()
    turn = rng.choice((0.0, math.pi / 2, rng.uniform(0, math.pi)))
    mirror = rng.choice((0.0, 0.0, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9)))
    if pick < 0.3:
        base = varied(rng, rng.choice(WOODS))
        return make.of('wood', base, rng.uniform(1.0, 2.4), 0.35, turn=turn), mirror
    if pick < 0.5:
        base, size = colour(rng, 0.15), rng.uniform(0.5, 2.0)
        return make.of('tile', base, size, rng.uniform(0.1, 0.6), turn=turn), mirror
    if pick < 0.72:
        return make.of('soft', colour(rng, 0.35), rng.uniform(0.3, 1.0), 0.25, grain=0.15), 0.0
    if pick < 0.84:
        return make.of('concrete', colour(rng, 0.05), rng.uniform(1, 3), 0.25, grain=0.12), mirror
    if pick < 0.93:
        return make.plain(), mirror
    return make.odd(), mirror


def wall_finish(make: FinishMaker) -> int:
    rng = make.rng
    pick = rng.random()
    if pick < 0.72:
        base = colour(rng, 0.2)
        light = triple(0.45 + 0.5 * c for c in base)
        return make.of('wall', light, rng.uniform(1, 4), rng.uniform(0.02, 0.12), grain=0.04)
    if pick < 0.8:
        return make.of('brick', varied(rng, (0.6, 0.4, 0.32)), rng.uniform(0.8, 2), 0.4)
    if pick < 0.86:
        return make.of('tile', colour(rng, 0.2), rng.uniform(0.4, 1.2), 0.2)
    if pick < 0.92:
        return make.wood()
    return make.odd()


def four_walls(make: FinishMaker, unlike: float) -> tuple[int, int, int, int]:
    """Finishes of a room's walls; each differs from the rest with probability `unlike`."""
    wall = wall_finish(make)
    low, high, right, left = (
        wall_finish(make) if make.rng.random() < unlike else wall for _ in range(4)
    )
    return low, high, right, left


def indoor_light(rng: random.Random, x: float, y: float, z: float) -> Light:
    """A lamp at a place; or a dim one, warm or cold."""
    warm = rng.gauss(0.05, 0.1)
    tint = (1 + warm, 1.0, 1 - warm)
    key, ambient = rng.uniform(0.3, 1.3), rng.uniform(0.3, 0.9)
    cool = rng.gauss(0, 0.06)
    lamp, fill = (key * t for t in tint), (ambient * t for t in (1 - cool, 1.0, 1 + cool))
    return Light((x, y, z), False, triple(lamp), triple(fill), rng.uniform(2.0, 4.5))


def indoor_pose(rng: random.Random, x: float, y: float, yaw: float, ceiling: float) -> Pose:
    if rng.random() < 0.45:  # a small robot
        height, pitch = rng.uniform(0.1, 0.6), math.radians(rng.gauss(4, 7))
    else:  # a person or a larger robot
        height, pitch = rng.uniform(0.6, 1.75), math.radians(rng.uniform(-6, 34))
    roll = math.radians(rng.gauss(0, 2.0) if rng.random() < 0.85 else rng.gauss(0, 7))
    return Pose(x, y, min(height, ceiling - 0.4), yaw, pitch, roll)


def keep_clear(
    builder: PlaceBuilder, pose: Pose, gap: float = 0.14, kept_id: int | None = None
) -> None:
    """Remove every object but `kept_id` that the camera is inside of, or nearly touches."""
    struck: set[object] = set()
    for part in builder.parts:
        reach = math.hypot(part.half[0], part.half[1], part.half[2])
        x, y, z = part.centre
        dx, dy, dz = x - pose.x_m, y - pose.y_m, z - pose.z_m
        if math.hypot(dx, dy, dz) > reach + gap:
            continue
        c, s = math.cos(part.yaw_rad), math.sin(part.yaw_rad)
        x, y = c * dx + s * dy, c * dy - s * dx
        level = not part.pitch_rad and not part.roll_rad
        sides = part.half if level else (reach, reach, reach)
        if abs(x) < sides[0] + gap and abs(y) < sides[1] + gap and abs(dz) < sides[2] + gap:
            struck.add((part.object_id, part) if part.object_id == STRUCTURE_ID else part.object_id)
    struck.discard(kept_id)
    if struck:
        builder.parts[:] = [
            part
            for part in builder.parts
            if part.object_id not in struck and (part.object_id, part) not in struck
        ]


def rod(
    f: ObjectFrame, start: Vector, end: Vector, radius: float, finish: int, taper: float = 1.0
) -> None:
    """A tube from `start` to `end` in the frame of an object: rails, stalks, fingers, arms."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    long = math.hypot(dx, dy, dz)
    x, y, z = (0.5 * (a + b) for a, b in zip(start, end, strict=True))
    turn = {'yaw': math.atan2(dy, dx), 'pitch': math.acos(max(-1.0, min(1.0, dz / long)))}
    f.tube(x, y, z - 0.5 * long, radius, long, finish, taper=taper, **turn)


# --- What stands along a wall and hangs on it: furniture, doors, windows, pictures.
#
# The wall's frame has x along the wall and positive y into the room.


def furnish_wall(
    builder: PlaceBuilder,
    space: FloorSpace,
    side: tuple[float, float, float],
    span: float,
    height: float,
    crowd: float,
) -> None:
    """Pieces side by side along a wall, and windows, doors and pictures on it."""
    rng, make = builder.rng, builder.make
    base = builder.frame(*side, object_id=STRUCTURE_ID)
    if rng.random() < 0.8:
        base.box(0, 0.008, 0, span, 0.016, rng.uniform(0.05, 0.14), make.furniture())
    at, end = -0.5 * span + rng.uniform(0, 0.6), 0.5 * span
    while at < end - 0.5:
        width = min(rng.uniform(0.5, 2.2), end - at)
        middle = at + 0.5 * width
        at += width + rng.choice((0.02, rng.uniform(0.02, 0.8)))
        x, y = base.at(middle, 0.4)
        pick = rng.random()
        if pick < 0.13 and width > 0.8:
            door(base, middle)
            continue
        low = True
        if pick < 0.13 + 0.75 * crowd and space.free(x, y, 0.45 * width):
            low = wall_piece(builder, (*base.at(middle, 0.02), side[2]), width, height)
            space.take(*base.at(middle, 0.35), 0.5 * width)
        if low:
            on_wall(base, middle, width, height)


def wall_piece(
    builder: PlaceBuilder, at: tuple[float, float, float], width: float, height: float
) -> bool:
    """One piece with its back to the wall; True when it is low enough for a picture above it."""
    rng, make = builder.rng, builder.make
    f = builder.frame(*at)
    pick = rng.random()
    if pick < 0.2:
        tall = min(rng.uniform(0.8, 2.3), height - 0.1)
        furniture.shelf(f, width, tall)
        return tall < 1.2
    if pick < 0.42:
        tall = min(rng.choice((rng.uniform(0.4, 1.1), rng.uniform(1.5, 2.2))), height - 0.1)
        furniture.cabinet(f, width, tall)
        return tall < 1.2
    if pick < 0.6:
        furniture.desk(f, max(width, 0.9))
        if rng.random() < 0.7:
            chair = builder.frame(*f.at(rng.uniform(-0.2, 0.2), 0.95), f.yaw + math.pi)
            (things.office_chair if rng.random() < 0.6 else furniture.chair)(chair)
        return True
    if pick < 0.72:
        furniture.sofa(f, max(width, 0.9))
    elif pick < 0.8 and width > 0.85:
        things.bed(f, min(width, 1.9))
    elif pick < 0.88:
        things.counter(f, width)
        return False
    elif pick < 0.92:
        things.fridge(f)
        return False
    elif pick < 0.96:
        things.television(f, width)
        return False
    else:
        radiator = make.of('front', (0.9, 0.9, 0.88), 0.4, 0.2)
        f.box(0, 0.07, 0.12, min(width, 1.2), 0.1, 0.55, radiator)
    return True


def on_wall(f: ObjectFrame, x: float, width: float, height: float) -> None:
    """A window, a picture, a board, or nothing."""
    rng, make = f.rng, f.make
    pick = rng.random()
    if pick < 0.25:
        window(f, x, width, height)
    elif pick < 0.65:
        w, h = rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.7)
        z = rng.uniform(1.15, 1.6)
        tall = min(h, height - z - 0.1)
        f.box(x, 0.012, z, w, 0.024, tall, make.furniture())
        image = make.picture('picture', 6, rng.uniform(0.4, 1))
        f.box(x, 0.016, z + 0.03, w - 0.06, 0.024, max(tall - 0.06, 0.05), image)


def window(f: ObjectFrame, x: float, width: float, height: float) -> None:
    rng, make = f.rng, f.make
    w, bottom = min(width * rng.uniform(0.6, 1), 1.8), rng.uniform(0.5, 1.1)
    h = min(rng.uniform(0.8, 1.5), height - bottom - 0.15)
    frame = make.plain(rng.choice(((0.9, 0.9, 0.9), (0.4, 0.28, 0.18), (0.2, 0.2, 0.2))))
    day = triple(min(1.0, c * rng.uniform(0.75, 1.0)) for c in (0.9, 0.97, 1.0))
    glow = rng.choice((0.05, rng.uniform(0.8, 3.0), rng.uniform(1.2, 2.5)))
    second = varied(rng, (0.45, 0.55, 0.4), 0.3) if rng.random() < 0.5 else day
    pane = make.of('leaves', day, 1.5, 0.3, second, glow=glow)
    f.box(x, 0.03, bottom - 0.05, w + 0.1, 0.06, h + 0.1, frame)
    f.box(x, 0.035, bottom, w, 0.06, h, pane)
    for i in range(1, rng.randint(1, 3)):
        f.box(x - 0.5 * w + w * i / 3, 0.04, bottom, 0.05, 0.07, h, frame)
    if rng.random() < 0.4:
        cloth = make.cloth()
        for sx in (-1, 1):
            f.box(x + sx * (0.5 * w + 0.08), 0.1, 0.05, 0.35, 0.08, height - 0.2, cloth)
    elif rng.random() < 0.3:
        blind = make.of('cloth', (0.85, 0.83, 0.78), 0.3, 0.3)
        f.box(x, 0.08, bottom + 0.5 * h, w + 0.1, 0.02, 0.5 * h, blind)


# --- On the floor, other than furniture: rugs, stains, sunlight, and free-standing things.

# As `picked` takes them.
FREE = (
    (things.office_chair, 0.35, 3.0),
    (furniture.chair, 0.32, 3.0),
    (things.stool, 0.25, 1.0),
    (furniture.plant, 0.3, 1.5),
    (furniture.person, 0.35, 1.5),
    (furniture.cartons, 0.45, 1.5),
    (furniture.bin_, 0.25, 1.0),
    (things.floor_lamp, 0.3, 0.8),
    (furniture.bag, 0.3, 1.2),
    (things.low_clutter, 0.4, 2.0),
    (furniture.cone, 0.25, 0.4),
)


def rug(builder: PlaceBuilder, x: float, y: float) -> None:
    rng, make = builder.rng, builder.make
    look = make.odd() if rng.random() < 0.5 else make.cloth()
    if rng.random() < 0.25:
        builder.mark_round(x, y, rng.uniform(0.5, 1.3), look)
        return
    a, b, yaw = rng.uniform(0.6, 3), rng.uniform(0.5, 2), rng.choice((0.0, rng.uniform(-1.5, 1.5)))
    builder.mark(x, y, a + 0.12, b + 0.12, yaw, make.cloth())
    builder.mark(x, y, a, b, yaw, look)


def floor_litter(builder: PlaceBuilder, length: float, width: float) -> None:
    """Stains, papers, tape, patches of light: flat on the floor."""
    rng, make = builder.rng, builder.make
    for _ in range(rng.randint(1, 6)):
        x, y = rng.uniform(-0.5, 0.5) * length, rng.uniform(-0.5, 0.5) * width
        pick = rng.random()
        if pick < 0.4:
            builder.mark_round(x, y, rng.uniform(0.05, 0.5), make.plain(), 0.4)
        elif pick < 0.7:
            size = rng.uniform(0.5, 4), rng.uniform(0.03, 0.12)
            builder.mark(x, y, *size, rng.uniform(-1.6, 1.6), make.plain(lively=0.7))
        else:
            size = rng.uniform(0.2, 1.5), rng.uniform(0.2, 1)
            builder.mark(x, y, *size, rng.uniform(-1.6, 1.6), make.plain(lively=0.1))


def sunlight(builder: PlaceBuilder, floor: int, x: float, y: float) -> None:
    """Light through a window: brighter panes of the floor itself."""
    rng, make = builder.rng, builder.make
    look, factor = make.finishes[floor], rng.uniform(1.3, 2.6)
    bright = tuple(scaled(stop, factor, 1.6) for stop in look.palette)
    number = make.add(dataclasses.replace(look, palette=bright))
    lean, yaw = rng.uniform(-0.8, 0.8), rng.uniform(0, math.tau)
    c, s = math.cos(yaw), math.sin(yaw)
    wide, deep = rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.6)
    for i in range(rng.randint(1, 4)):
        corners = []
        for a, b in ((0, 0), (0.9, 0), (0.9, 1), (0, 1)):
            u, v = (i + a) * wide + lean * b * deep, b * deep
            corners.append((x + c * u - s * v, y + s * u + c * v))
        builder.markings.append(Marking(tuple(corners), number))


def camouflaged(builder: PlaceBuilder, look: int, x: float, y: float) -> None:
    """Something low in the floor's own finish."""
    rng = builder.rng
    f = builder.frame(x, y, rng.uniform(0, 3))
    a, b, h = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.6), rng.uniform(0.04, 0.5)
    if rng.random() < 0.7:
        f.box(0, 0, 0, a, b, h, look)
    else:
        f.tube(0, 0, 0, 0.5 * b, h, look)


def scatter(builder: PlaceBuilder, space: FloorSpace, hall: Hall) -> None:
    """One free-standing thing somewhere."""
    rng = builder.rng
    build, radius = picked(rng, FREE)
    for _ in range(4):
        x = rng.uniform(hall.low[0] + radius, hall.high[0] - radius)
        y = rng.uniform(hall.low[1] + radius, hall.high[1] - radius)
        if space.free(x, y, radius):
            space.take(x, y, radius)
            if rng.random() < 0.15:
                things.anything(builder.frame(x, y, rng.uniform(0, math.tau)), 2 * radius)
            else:
                build(builder.frame(x, y, rng.uniform(0, math.tau)))
            return


def before_a_wall(
    builder: PlaceBuilder, hall: Hall, far: float, y: float, most: tuple[int, int]
) -> tuple[Pose, FloorSpace]:
    """A camera at (0, y) before a wall across at x = `far`, and things on both sides of that.

    most: how many before it, and behind it.
    """
    rng, half, height = builder.rng, hall.high[1], hall.height_m
    pose = indoor_pose(rng, 0, y, rng.gauss(0, 0.3), height)
    space = FloorSpace([(0, y, 0.6), (0.5 * far, y, 0.4)])
    front = Hall((0.3, -half), (far, half), height, hall.walls, 0)
    back = Hall((far + 0.2, -half), hall.high, height, hall.walls, 0)
    for area, count in zip((front, back), most, strict=True):
        for _ in range(rng.randint(0, count)):
            scatter(builder, space, area)
    return pose, space
