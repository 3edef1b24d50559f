"""Places indoors: rooms, corridors, table tops, and heaps of clutter."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.furniture import door, on_top
from midas_depth_ros.sim.furnished.place import (
    BALL,
    BOX,
    FLOOR_ID,
    STRUCTURE_ID,
    TUBE,
    FinishMaker,
    FloorSpace,
    Hall,
    ObjectFrame,
    Part,
    Place,
    PlaceBuilder,
    colour,
    picked,
    triple,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things
from training.places.layout import (
    FREE,
    camouflaged,
    floor_finish,
    floor_litter,
    four_walls,
    furnish_wall,
    indoor_light,
    indoor_pose,
    keep_clear,
    rug,
    scatter,
    sunlight,
    wall_finish,
    window,
)
from training.places.outdoors import daylight

# --- Rooms: homes, offices, classes, shops, with what stands in them.


def room(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """A furnished room with the camera looking along its longer way."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    length, width = rng.choice((rng.uniform(2.6, 8.0), rng.uniform(3, 14))), rng.uniform(2.4, 6.5)
    height = rng.uniform(2.3, 3.3)
    floor, mirror = floor_finish(make)
    walls = four_walls(make, 0.15)
    ceiling = make.of(
        'wall', triple(0.55 + 0.4 * c for c in colour(rng, 0.05)), 3, 0.05, grain=0.03
    )
    hall = Hall((-0.5 * length, -0.5 * width), (0.5 * length, 0.5 * width), height, walls, ceiling)
    x = -0.5 * length + rng.uniform(0.15, 0.45) * length
    y = rng.uniform(-0.35, 0.35) * width
    target = rng.uniform(0.1, 0.5) * length, rng.uniform(-0.45, 0.45) * width
    yaw = math.atan2(target[1] - y, target[0] - x) + rng.gauss(0, 0.2)
    pose = indoor_pose(rng, x, y, yaw, height)
    high = pose.z_m > 0.7
    space = FloorSpace([(x, y, rng.uniform(0.4, 1.1) if high else rng.uniform(0.25, 0.6))])
    if rng.random() < 0.35:
        rug(builder, rng.uniform(-0.2, 0.4) * length, rng.uniform(-0.3, 0.3) * width)
    if rng.random() < 0.3:
        floor_litter(builder, length, width)
    open_end = rng.random() < 0.25
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        sunlight(builder, floor, rng.uniform(-0.3, 0.4) * length, rng.uniform(-0.5, 0.3) * width)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 3))):
        camouflaged(
            builder, floor, rng.uniform(-0.2, 0.45) * length, rng.uniform(-0.4, 0.4) * width
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
        furnish_wall(builder, space, (cx, cy, side_yaw), span, height, crowd)
    beyond = 0.0
    if length > 7 and rng.random() < 0.75:
        rows(builder, space, length, width)
    else:
        centrepiece(builder, space, length, width)
    if open_end:
        beyond = rng.uniform(1.5, 5)
        partition(builder, 0.5 * length, width, height, walls[1])
        far = Hall(
            (0.5 * length, hall.low[1]), (hall.high[0] + beyond, hall.high[1]), height, walls, 0
        )
        for _ in range(4):
            scatter(builder, space, far)
        hall = dataclasses.replace(hall, high=far.high)
    for _ in range(rng.choice((1, 2, 4, 6, 10))):
        scatter(builder, space, hall)
    lamp_at = rng.uniform(-0.3, 0.35) * length, rng.uniform(-0.3, 0.3) * width
    lamps(builder, hall, *lamp_at)
    keep_clear(builder, pose, 0.35 if high else 0.14)
    light = indoor_light(rng, *lamp_at, height - 0.35)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def centrepiece(builder: PlaceBuilder, space: FloorSpace, length: float, width: float) -> None:
    """A table with chairs, an island, or a bed, where there is room for it."""
    rng = builder.rng
    for _ in range(3):
        x, y = rng.uniform(-0.15, 0.35) * length, rng.uniform(-0.28, 0.28) * width
        a, b = rng.uniform(0.7, 1.9), rng.uniform(0.5, 1.0)
        if rng.random() > 0.7 or not space.free(x, y, 0.5 * a):
            continue
        yaw = rng.choice((0.0, math.pi / 2, rng.uniform(0, math.pi)))
        f = builder.frame(x, y, yaw)
        tall = rng.choice((0.73, 0.75, rng.uniform(0.3, 0.5)))
        furniture.table(f, a, b, tall)
        shifted = builder.frame(*f.at(0, -0.5 * b), yaw, object_id=f.object_id)
        on_top(shifted, a, b, tall, rng.randint(0, 6))
        space.take(x, y, 0.5 * a)
        if tall > 0.6:
            for sx, sy in ((-0.25, 1), (0.25, 1), (-0.25, -1), (0.25, -1)):
                if rng.random() < 0.6:
                    spot = f.at(sx * a, sy * (0.5 * b + rng.uniform(0.0, 0.35)))
                    turn = yaw + (math.pi if sy > 0 else 0) + rng.gauss(0, 0.25)
                    furniture.chair(builder.frame(*spot, turn))
                    space.take(*spot, 0.3)


def rows(builder: PlaceBuilder, space: FloorSpace, length: float, width: float) -> None:
    """Desks one behind the other, as in an office or a class; or shelves, as in a shop."""
    rng = builder.rng
    shop, step = rng.random() < 0.4, rng.uniform(1.4, 2.4)
    turn = rng.choice((0.0, math.pi / 2, -math.pi / 2))
    tall, wide = rng.uniform(1.3, 2.4), rng.uniform(0.9, 1.8)
    x = -0.2 * length
    while x < 0.45 * length:
        y = -0.35 * width
        while y < 0.4 * width:
            if space.free(x, y, 0.5) and rng.random() < 0.9:
                f = builder.frame(x, y, turn + rng.gauss(0, 0.03))
                if shop:
                    furniture.shelf(f, wide, tall)
                elif rng.random() < 0.5:
                    furniture.desk(f, wide)
                else:
                    furniture.table(f, wide, 0.7, 0.74)
                if not shop:
                    spot = f.at(rng.uniform(-0.2, 0.2), rng.choice((-0.5, 1.1)))
                    build = things.office_chair if rng.random() < 0.5 else furniture.chair
                    build(builder.frame(*spot, turn + rng.gauss(math.pi, 0.4)))
                space.take(x, y, 0.6)
            y += wide + rng.uniform(0.1, 1.2)
        x += step


def partition(builder: PlaceBuilder, x: float, width: float, height: float, wall: int) -> None:
    """A wall across the room with an opening to what is behind it."""
    rng, make = builder.rng, builder.make
    gap, middle = rng.choice((0.9, rng.uniform(0.9, 2.5))), rng.uniform(-0.25, 0.25) * width
    f = builder.frame(x, 0, object_id=STRUCTURE_ID)
    for low, high in ((-0.5 * width, middle - 0.5 * gap), (middle + 0.5 * gap, 0.5 * width)):
        if high - low > 0.05:
            f.box(0, 0.5 * (low + high), 0, 0.15, high - low, height, wall)
            f.box(0, 0.5 * (low + high), 0, 0.17, high - low, 0.08, make.furniture())
    f.box(0, middle, 2.05, 0.15, gap, height - 2.05, wall)


def lamps(builder: PlaceBuilder, hall: Hall, x: float, y: float) -> None:
    """At the ceiling, or hanging from it; and beams, rarely."""
    rng, make = builder.rng, builder.make
    white = make.plain((1.0, 0.97, 0.9), glow=rng.uniform(1.0, 2.5))
    top = hall.height_m
    f = builder.frame(x, y, rng.choice((0.0, math.pi / 2)), object_id=STRUCTURE_ID)
    pick = rng.random()
    if pick < 0.35:
        drop = rng.uniform(0.3, 0.8)
        f.tube(0, 0, top - drop, 0.01, drop, make.plain())
        f.tube(0, 0, top - drop - 0.2, 0.2, 0.2, white, taper=0.4)
    elif pick < 0.7:
        for i in range(-1, 2):
            f.box(i * 1.6, 0, top - 0.06, 1.2, 0.25, 0.06, white)
    elif pick < 0.85:
        f.ball(0, 0, top - 0.05, 0.22, 0.22, 0.12, white)
    if rng.random() < 0.08:
        look = make.furniture()
        for i in range(-2, 3):
            f.box(i * 1.1, 0, top - 0.2, 0.14, 20, 0.2, look)


# --- Corridors with doors, niches and crossings, sometimes with a step or a drop ahead.

THICK_M = 0.15


def corridor(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """Along x; the camera is near x = 0 and looks ahead."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    length = rng.choice((rng.uniform(4, 12), rng.uniform(10, 30)))
    half = 0.5 * rng.choice((rng.uniform(1.1, 2.0), rng.uniform(1.6, 3.6)))
    height = rng.uniform(2.2, 3.2)
    floor, mirror = floor_finish(make)
    wall = wall_finish(make)
    ceiling = make.of('tile' if rng.random() < 0.4 else 'wall', (0.85, 0.85, 0.83), 2.4, 0.1)
    beyond = rng.uniform(2.0, 5.0)  # how deep the rooms behind the doors are
    hall = Hall((-2.5, -half - beyond), (length, half + beyond), height, (wall,) * 4, ceiling)
    skirting = make.furniture() if rng.random() < 0.8 else None
    other = wall if rng.random() < 0.8 else wall_finish(make)
    for side in (-1, 1):
        f = builder.frame(0, side * half, 0.0 if side < 0 else math.pi, object_id=STRUCTURE_ID)
        _wall(f, side, length, height, wall if side < 0 else other, skirting)
    x, y = rng.uniform(-1.0, 0.5), rng.uniform(-0.5, 0.5) * half
    yaw = rng.gauss(0, 0.16) if rng.random() < 0.85 else rng.gauss(0, 0.7)
    pose = indoor_pose(rng, x, y, yaw, height)
    space = FloorSpace([(x, y, 0.35), (x + 0.8, y, 0.3)])
    if rng.random() < 0.3:
        floor_litter(builder, length, 2 * half)
    if rng.random() < 0.25:
        rug(builder, rng.uniform(1, 5), 0)
    if rng.random() < 0.2:
        edge = make.plain(lively=0.5)
        for side in (-1, 1):
            builder.mark(0.5 * length, side * (half - 0.12), 40, 0.2, 0, edge)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        sunlight(builder, floor, rng.uniform(0.5, 5), rng.uniform(-1, 0.5) * half)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        camouflaged(builder, floor, rng.uniform(0.8, 5), rng.uniform(-1, 1) * half)
    _line_up(builder, space, length, half)
    _ceiling_lamps(builder, length, height)
    level = {}
    pick = rng.random()
    if pick < 0.07:
        _step(builder, rng.uniform(2, 7), half + beyond)
    elif pick < 0.14:
        level = _drop(builder, rng.uniform(2, 6), half + beyond, floor)
    keep_clear(builder, pose)
    light = indoor_light(rng, rng.uniform(0.5, 4), rng.uniform(-0.3, 0.3) * half, height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror, **level), pose


def _wall(
    f: ObjectFrame, side: int, length: float, height: float, wall: int, skirting: int | None
) -> None:
    """Stretches of wall with closed doors on them, and openings between. Inside is positive y."""
    rng, make = f.rng, f.make
    at = -2.5
    while at < length:
        stretch = min(rng.uniform(0.8, 5.0), length - at)
        middle = (at + 0.5 * stretch) * -side  # the frame of the far side is turned round
        f.box(middle, -0.5 * THICK_M, 0, stretch, THICK_M, height, wall)
        if skirting is not None:
            f.box(middle, 0.006, 0, stretch, 0.012, 0.09, skirting)
        pick = rng.random()
        if stretch > 1.3 and pick < 0.45:
            door(f, middle)
        elif stretch > 0.9 and pick < 0.6:
            window(f, middle, stretch, height)
        elif stretch > 0.7 and pick < 0.85:
            w, h = rng.uniform(0.3, min(1.5, stretch)), rng.uniform(0.3, 0.9)
            f.box(middle, 0.012, rng.uniform(1.0, 1.4), w, 0.024, h, make.picture())
        at += stretch
        if rng.random() < 0.5:
            gap = rng.choice((rng.uniform(0.8, 1.0), rng.uniform(1.0, 2.5)))
            if gap < 1.01:  # a doorway: wall above it
                f.box((at + 0.5 * gap) * -side, -0.5 * THICK_M, 2.05, gap, THICK_M, height, wall)
            at += gap


def _line_up(builder: PlaceBuilder, space: FloorSpace, length: float, half: float) -> None:
    rng = builder.rng
    for _ in range(rng.choice((0, 2, 4, 6, 8))):
        x = rng.uniform(0.6, min(length - 0.3, rng.choice((4.0, 9.0))))
        side = rng.choice((-1, 1))
        if rng.random() < 0.35:
            width = rng.uniform(0.5, 1.4)
            place = x, side * (half - 0.03)
            if space.free(x, side * half, 0.5 * width):
                f = builder.frame(*place, 0.0 if side < 0 else math.pi)
                if rng.random() < 0.5:
                    furniture.cabinet(f, width, rng.uniform(0.4, 2.0))
                else:
                    furniture.shelf(f, width, rng.uniform(0.6, 2.1))
                space.take(x, side * half, 0.5 * width)
            continue
        build, radius = picked(rng, FREE)
        if rng.random() < 0.7:
            y = side * max(half - radius - rng.uniform(0, 0.3), 0)
        else:
            y = rng.uniform(-1, 1) * max(half - radius, 0)
        if space.free(x, y, radius):
            space.take(x, y, radius)
            build(builder.frame(x, y, rng.uniform(0, math.tau)))


def _ceiling_lamps(builder: PlaceBuilder, length: float, height: float) -> None:
    rng, make = builder.rng, builder.make
    white = make.plain((1.0, 0.98, 0.93), glow=rng.uniform(1.0, 2.6))
    f = builder.frame(0, 0, object_id=STRUCTURE_ID)
    step, along = rng.uniform(1.8, 4.0), rng.random() < 0.5
    at = rng.uniform(0.5, 2.0)
    while at < min(length, 16):
        f.box(at, 0, height - 0.04, 1.1 if along else 0.3, 0.3 if along else 1.1, 0.04, white)
        at += step


def _step(builder: PlaceBuilder, x: float, half: float) -> None:
    """Up: stairs across the way."""
    rng, make = builder.rng, builder.make
    look, rise, tread = make.of('concrete', colour(rng, 0.1)), rng.uniform(0.1, 0.19), 0.3
    f = builder.frame(x, 0)
    for i in range(rng.randint(1, 8)):
        f.box(i * tread + 0.5 * 12, 0, 0, 12, 2 * half, (i + 1) * rise, look)


def _drop(builder: PlaceBuilder, x: float, half: float, floor: int) -> dict:
    """Down: the floor ends, and another lies below."""
    rng, make = builder.rng, builder.make
    depth = rng.uniform(0.12, 0.8)
    f = builder.frame(0, 0, object_id=FLOOR_ID)
    f.box(0.5 * (x - 40), 0, -0.05 - depth, x + 40, 2 * half + 2, depth + 0.05, floor)
    return {'ground_m': -depth, 'ground': floor if rng.random() < 0.5 else floor_finish(make)[0]}


# --- Tables, desks and benches seen from close by, with many things on them and a room behind.


def table_top(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """The camera stands before the table's near edge and looks over it."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    floor, mirror = floor_finish(make)
    top, deep, wide = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.4), rng.uniform(0.8, 2.6)
    walls, ceiling = four_walls(make, 0.3), make.plain((0.9, 0.9, 0.88))
    behind = rng.choice((rng.uniform(0.0, 0.1), rng.uniform(0.1, 5.0)))  # from table to wall
    near, height = rng.uniform(-0.35, 0.35), rng.uniform(2.3, 3.2)
    half = rng.uniform(max(0.5 * wide, 1.2), 4.0)
    hall = Hall((-2.0, -half), (near + deep + behind + 0.01, half), height, walls, ceiling)
    table = builder.frame(near + 0.5 * deep, rng.gauss(0, 0.15), -math.pi / 2)
    furniture.table(table, wide, deep, top)
    _set(builder, table.at(0, 0), (deep, wide), top)
    if behind > 0.8:
        space = FloorSpace([(near + 0.5 * deep, 0, 0.5 * max(wide, deep)), (0, 0, 0.8)])
        side = (hall.high[0], 0.0, math.pi / 2)
        furnish_wall(builder, space, side, 2 * half, height, 0.9)
        for _ in range(rng.randint(0, 5)):
            scatter(builder, space, hall)
    z = min(top + math.exp(rng.uniform(math.log(0.12), math.log(0.9))), 1.8)
    aim = near + deep * rng.uniform(0.3, 1.2) + 0.4
    pitch = math.atan2(0.7 * (z - top), aim) + rng.gauss(0, 0.08)
    x, y = min(near, 0.0) - rng.uniform(0.05, 0.5), rng.gauss(0, 0.2)
    pose = Pose(x, y, z, rng.gauss(0, 0.25), pitch, rng.gauss(0, 0.05))
    keep_clear(builder, pose, 0.1)
    light = indoor_light(rng, rng.uniform(-0.8, 1.2), rng.uniform(-0.8, 0.8), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def _set(
    builder: PlaceBuilder, middle: tuple[float, float], size: tuple[float, float], top: float
) -> None:
    """Things side by side on the table, some of them large."""
    rng = builder.rng
    space = FloorSpace()
    for _ in range(rng.choice((3, 6, 10, 16))):
        x = middle[0] + rng.uniform(-0.48, 0.48) * size[0]
        y = middle[1] + rng.uniform(-0.45, 0.45) * size[1]
        reach = rng.uniform(0.04, 0.14)
        if not space.free(x, y, reach):
            continue
        space.take(x, y, reach)
        f = builder.frame(x, y, rng.uniform(0, math.tau), top)
        pick = rng.random()
        if pick < 0.5:
            furniture.small_thing(f, 0, 0, 0)
        elif pick < 0.85:
            things.anything(f, math.exp(rng.uniform(math.log(0.1), math.log(0.6))))
        elif pick < 0.93:
            furniture.screen(f, 0, 0, 0)
        else:
            furniture.cartons(f)


# --- Heaps of rotated solids in all textures, near and far.
#
# A network that has only seen tidy rooms mistakes odd things for wall or floor; here any shape can
# be anywhere, also in the floor's colour.


FAMILIAR = (
    *(furniture.chair, furniture.cartons, furniture.person, furniture.plant),
    *(things.stool, furniture.bag),
)


def clutter(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """In a room, or in the open."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    floor, mirror = floor_finish(make)
    light, sky, haze = daylight(make)
    hall = None
    reach = math.exp(rng.uniform(math.log(1.2), math.log(9)))
    if rng.random() < 0.75:
        walls = four_walls(make, 1.0)
        wide, height = reach * rng.uniform(0.6, 1.6), rng.uniform(2.0, 4.0)
        hall = Hall((-1.5, -wide), (reach * rng.uniform(0.9, 2), wide), height, walls, make.plain())
        haze = math.inf
        light = indoor_light(rng, rng.uniform(-1, reach), rng.uniform(-0.5, 0.5), height - 0.3)
    pose = indoor_pose(rng, 0, 0, rng.gauss(0, 0.3), 2.2)
    looks = [make.odd() if rng.random() < 0.5 else make.plain(lively=0.5) for _ in range(10)]
    looks += [floor] * rng.choice((0, 1, 4))
    for _ in range(rng.choice((2, 5, 10, 20, 30))):
        size = math.exp(rng.uniform(math.log(0.05), math.log(0.9))) * (0.4 + 0.2 * reach)
        x, y = _spot(rng, pose, reach)
        pick = rng.random()
        frame = builder.frame(x, y, rng.uniform(0, math.tau))
        if pick < 0.15:
            rng.choice(FAMILIAR)(frame)
            continue
        half = triple(0.5 * size * math.exp(rng.gauss(0, 0.5)) for _ in range(3))
        tipped = rng.random() < 0.3
        floats = rng.uniform(0, 1.5) if rng.random() < 0.15 else 0.0
        shape, centre = rng.choice((BOX, BOX, BALL, TUBE)), (x, y, half[2] + floats)
        look, yaw = rng.choice(looks), rng.uniform(0, math.tau)
        pitch, roll = (rng.uniform(-1.2, 1.2) if tipped else 0.0 for _ in range(2))
        taper = rng.choice((1.0, 1.0, 0.0, rng.random()))
        part = Part(shape, centre, half, look, frame.object_id, yaw, pitch, roll, taper)
        builder.parts.append(part)
    for _ in range(rng.choice((0, 3, 8))):
        x, y = _spot(rng, pose, reach)
        look = make.odd() if rng.random() < 0.3 else make.plain(colour(rng, 0.4))
        if rng.random() < 0.5:
            builder.mark(x, y, rng.uniform(0.05, 2), rng.uniform(0.03, 1), rng.uniform(0, 3), look)
        else:
            builder.mark_round(x, y, rng.uniform(0.05, 1), look, 0.4)
    keep_clear(builder, pose, 0.2)
    return builder.place(floor, light, sky, hall, haze_m=haze, mirror=mirror), pose


def _spot(rng: random.Random, pose: Pose, reach: float) -> tuple[float, float]:
    far, bearing = 0.5 + rng.random() * 1.2 * reach, pose.yaw_rad + rng.gauss(0, 0.45)
    return far * math.cos(bearing), far * math.sin(bearing)
