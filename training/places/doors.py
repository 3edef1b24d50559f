"""Closed doors, most of them dark, beside doorways that are open: walls across the way, hallways.

A black door and the way into a dark room have the same brightness. What tells them apart is in
these pictures: a leaf ends at the wall's foot and has a frame, a handle, perhaps panels or gloss;
behind a doorway the floor goes on. Where nothing tells them apart it is a door: unlit rooms are
rare here, and not so dark that nothing of them is seen. A robot that takes a door for a dark room
drives into it.
"""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    Colour,
    FinishMaker,
    FloorSpace,
    Hall,
    ObjectFrame,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.layout import (
    before_a_wall,
    floor_finish,
    floor_litter,
    indoor_light,
    indoor_pose,
    keep_clear,
    on_wall,
    scatter,
    wall_finish,
)

DARKS = (
    (0.05, 0.05, 0.05),
    (0.09, 0.06, 0.045),
    (0.05, 0.06, 0.1),
    (0.04, 0.08, 0.06),
    (0.1, 0.1, 0.105),
    (0.12, 0.04, 0.04),
)
IN_A_GAP = {'door': 12, 'front': 2, 'open': 2, 'dark': 1}  # shares of what is in a wall
UNLIT = (0.07, 0.2)  # brightness of what is in an unlit room
THICK_M = 0.14
HEAD_M = 2.05  # height of a doorway


def dark(rng: random.Random) -> Colour:
    """A colour between black and dark wood."""
    return varied(rng, rng.choice(DARKS), 0.3)


# --- A door in a gap of a wall. The wall's front is y = 0, and positive y is before it.


def leaf_finish(make: FinishMaker, black: float = 0.75) -> int:
    """Of a door's leaf: dark, with probability `black`."""
    rng = make.rng
    if rng.random() > black:
        return make.front() if rng.random() < 0.5 else make.plain(lively=0.3)
    if rng.random() < 0.25:
        return make.of('wood', dark(rng), rng.uniform(0.5, 1.6), 0.3, square=False)
    return make.plain(dark(rng))


def closed_door(builder: PanedBuilder, f: ObjectFrame, x: float, width: float) -> None:
    """A frame and one or two leaves that fill a gap `width` wide."""
    rng, make = builder.rng, builder.make
    proud = rng.uniform(0.01, 0.05)
    look = leaf_finish(make)
    trim = look  # a frame in the leaf's own colour is hard to see
    if rng.random() < 0.7:
        trim = rng.choice((make.furniture, lambda: make.plain(dark(rng)), make.plain))()
    edge = rng.uniform(0.03, 0.1)
    for side in (-1, 1):
        f.box(x + side * 0.5 * width, 0.0, 0, edge, 2 * proud, HEAD_M + 0.5 * edge, trim)
    f.box(x, 0.0, HEAD_M - 0.5 * edge, width + edge, 2 * proud, edge, trim)
    back = rng.choice((0.0, 0.02, rng.uniform(0.02, 0.1)))  # from the wall's front to the leaf's
    count = 2 if width > 1.2 else 1
    gloss = {'shine': rng.uniform(0.02, 0.12), 'blur_px': rng.uniform(0.5, 5)}
    glossy = rng.random() < 0.5
    for number in range(count):
        w = width / count
        middle = x + (number - 0.5 * (count - 1)) * w
        f.box(middle, -back - 0.02, 0.008, w - 0.006, 0.04, HEAD_M - 0.01, look)
        hinge = 1 if count == 2 and number == 0 else -1
        if rng.random() < 0.85:
            _fittings(builder, f, middle, -back, w, hinge, look)
        if glossy:
            builder.pane(f, (middle, -back + 0.002, 0.01), w - 0.01, HEAD_M - 0.02, **gloss)


def _fittings(
    builder: PanedBuilder, f: ObjectFrame, x: float, y: float, w: float, side: int, look: int
) -> None:
    """Handle, panels, kick plate, sign, slot of glass: some of them."""
    rng, make = builder.rng, builder.make
    metal = make.plain(rng.choice(((0.6, 0.6, 0.62), (0.7, 0.55, 0.25), (0.08, 0.08, 0.08))))
    grip = x + side * (0.5 * w - 0.07)
    pick = rng.random()
    if pick < 0.45:
        f.box(grip, y + 0.012, 0.92, 0.04, 0.02, 0.22, metal)
        f.box(grip - side * 0.05, y + 0.05, 1.03, 0.13, 0.02, 0.02, metal)
    elif pick < 0.65:
        f.ball(grip, y + 0.05, 1.0, 0.03, 0.03, 0.03, metal)
    elif pick < 0.8:
        f.tube(grip, y + 0.06, 0.7, 0.015, 0.7, metal)
    elif pick < 0.92:
        f.box(x, y + 0.05, 1.0, 0.85 * w, 0.05, 0.05, metal)  # a bar to push
    pick = rng.random()
    if pick < 0.3:
        rows = rng.choice((1, 2, 3))
        for row in range(rows):
            low, tall = 0.15 + row * 1.75 / rows, 1.6 / rows - 0.06
            f.box(x, y + 0.004, low, 0.72 * w, 0.012, tall, look)
            f.box(x, y + 0.012, low + 0.06, 0.72 * w - 0.12, 0.012, tall - 0.12, look)
    elif pick < 0.45:
        f.box(x, y + 0.003, 0.02, 0.94 * w, 0.006, rng.uniform(0.1, 0.35), metal)
    if rng.random() < 0.2:
        width, tall = rng.uniform(0.08, 0.4 * w), rng.uniform(0.3, 0.8)
        low = 1.9 - tall
        pane = make.plain((0.9, 0.93, 0.95), glow=rng.uniform(0.1, 1.5))
        f.box(x, y + 0.002, low, width + 0.04, 0.008, tall + 0.04, metal)
        f.box(x, y + 0.004, low + 0.02, width, 0.01, tall, pane)
    if rng.random() < 0.3:
        size = rng.uniform(0.08, 0.3)
        f.box(x, y + 0.002, rng.uniform(1.4, 1.7), size, 0.005, 0.6 * size, make.plain(lively=0.6))


def ajar(builder: PanedBuilder, f: ObjectFrame, x: float, width: float) -> None:
    """An open leaf at the side of a doorway."""
    turn = builder.rng.uniform(0.6, 1.7) * builder.rng.choice((-1, 1))
    side = 1 if turn > 0 else -1
    reach = 0.5 * width
    c, s = math.cos(turn), math.sin(turn)
    hinge = x + side * reach
    look = leaf_finish(builder.make)
    at = hinge - side * reach * c, -0.08 - reach * abs(s)
    f.box(*at, 0.01, width - 0.02, 0.04, HEAD_M - 0.02, look, yaw=turn)


def dark_front(
    builder: PanedBuilder, f: ObjectFrame, x: float, width: float, height: float
) -> None:
    """Other large dark surfaces along a wall: a wardrobe, a curtain, a board."""
    rng, make = builder.rng, builder.make
    pick = rng.random()
    if pick < 0.5:
        deep, tall = rng.uniform(0.15, 0.6), min(rng.uniform(1.6, 2.5), height)
        look = make.plain(dark(rng))
        f.box(x, 0.5 * deep, 0, width, deep, tall, look)
        seam = make.plain((0.01, 0.01, 0.01)) if rng.random() < 0.7 else make.plain((0.6,) * 3)
        for i in range(1, rng.choice((1, 2, 3))):
            f.box(x - 0.5 * width + i * 0.5 * width, deep, 0.02, 0.008, 0.004, tall - 0.04, seam)
        if rng.random() < 0.5:
            gloss = {'shine': rng.uniform(0.02, 0.12), 'blur_px': rng.uniform(0.5, 5)}
            builder.pane(f, (x, deep + 0.004, 0.01), width, tall - 0.02, **gloss)
    elif pick < 0.75:
        cloth = make.of('soft', dark(rng), 0.5, 0.3)
        folds = max(3, round(width / rng.uniform(0.1, 0.2)))
        for i in range(folds):
            at = x + (i + 0.5) / folds * width - 0.5 * width
            f.tube(at, 0.08, 0.02, 0.6 * width / folds, min(2.4, height) - 0.05, cloth, flat=0.6)
    else:
        low, tall = rng.uniform(0.3, 1.0), rng.uniform(0.8, 1.3)
        f.box(x, 0.015, low, width, 0.03, tall, make.furniture())
        f.box(x, 0.018, low + 0.03, width - 0.06, 0.03, tall - 0.06, make.plain(dark(rng)))


def dark_space(
    builder: PanedBuilder, f: ObjectFrame, x: float, width: float, deep: float, height: float
) -> None:
    """An unlit room behind a doorway: walls, ceiling and floor that get little light."""
    rng, make = builder.rng, builder.make
    tone = rng.uniform(*UNLIT)
    look = make.of('wall', varied(rng, (tone, tone, tone), 0.2), 2, 0.1)
    for side in (-1, 1):
        f.box(x + side * 0.5 * width, -THICK_M - 0.5 * deep, 0, 0.1, deep, height, look)
    f.box(x, -THICK_M - deep, 0, width, 0.1, height, look)
    f.box(x, -THICK_M - 0.5 * deep, height - 0.02, width, deep, 0.02, look)
    floor = make.of('floor', varied(rng, (0.8 * tone,) * 3, 0.2), 1.5, 0.3)
    at = f.at(x, -THICK_M - 0.5 * deep)
    builder.mark(*at, width, deep, f.yaw, floor)


def wall_with_doors(
    builder: PanedBuilder,
    f: ObjectFrame,
    span: tuple[float, float],
    height: float,
    wall: int,
    gaps: list[tuple[float, float, str]],
) -> None:
    """A wall from `span[0]` to `span[1]` along x with (start, width, what) in it.

    What: 'door', 'open' (into whatever is behind the wall), 'dark' (into an unlit room) or 'front'
    (no gap, but something dark before the wall).
    """
    rng, make = builder.rng, builder.make
    skirting = make.furniture() if rng.random() < 0.7 else None
    at = span[0]
    for start, width, what in [*gaps, (span[1], 0.0, '')]:
        middle, stretch = 0.5 * (at + start), start - at
        if stretch > 0.01:
            f.box(middle, -0.5 * THICK_M, 0, stretch, THICK_M, height, wall)
            if skirting is not None:
                f.box(middle, 0.006, 0, stretch, 0.012, 0.09, skirting)
            if stretch > 0.7 and rng.random() < 0.5:
                on_wall(f, middle, 0.8 * stretch, height)
        at = start + width
        if not what:
            break
        middle = start + 0.5 * width
        if what == 'front':
            f.box(middle, -0.5 * THICK_M, 0, width, THICK_M, height, wall)
            dark_front(builder, builder.frame(*f.at(0, 0), f.yaw), middle, width, height)
            continue
        f.box(middle, -0.5 * THICK_M, HEAD_M, width, THICK_M, height - HEAD_M, wall)
        if what == 'door':
            door = builder.frame(*f.at(0, 0), f.yaw)  # an object of its own
            closed_door(builder, door, middle, width)
            continue
        if what == 'dark':
            dark_space(builder, f, middle, rng.uniform(1.5, 4), rng.uniform(2, 5), height)
        if rng.random() < 0.35:
            ajar(builder, f, middle, width)


def _gaps(
    rng: random.Random, low: float, high: float, crowd: float
) -> list[tuple[float, float, str]]:
    """Doors and doorways along a wall."""
    found: list[tuple[float, float, str]] = []
    at = low + rng.uniform(0.1, 1.5)
    while True:
        width = rng.choice((rng.uniform(0.75, 1.05), rng.uniform(0.75, 1.05), 1.7))
        if at + width > high:
            return found
        (what,) = rng.choices(list(IN_A_GAP), list(IN_A_GAP.values()))
        found.append((at, width, what))
        at += width + rng.choice((0.15, rng.uniform(0.1, 0.6), rng.uniform(0.3, 3.0))) / crowd


# --- The places.


def doors(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Before a wall with doors, or in a hallway of them."""
    return (_wall_ahead if rng.random() < 0.6 else _hallway)(rng, atlas)


def _wall_ahead(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A wall across, 0.6 to 5 m ahead, with a door or the edge of one before the camera."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    # Level and at a person's height: neither the floor nor the ceiling is in view.
    level = rng.random() < 0.4
    far = math.exp(rng.uniform(math.log(0.6), math.log(2.2 if level else 5.0)))
    half, height = rng.uniform(1.3, 4.0), rng.uniform(2.3, 3.0)
    wall = wall_finish(make)
    beyond = rng.uniform(1.5, 6.0)
    ceiling = make.of('wall', (0.85, 0.85, 0.83), 3, 0.1)
    hall = Hall((-2.5, -half), (far + beyond, half), height, (wall_finish(make),) * 4, ceiling)
    f = builder.frame(far, 0, math.pi / 2, object_id=STRUCTURE_ID)
    gaps = _gaps(rng, -half, half, 1.5)
    wall_with_doors(builder, f, (-half, half), height, wall, gaps)
    y = rng.uniform(-0.5, 0.5) * half
    if gaps:
        start, width, _ = rng.choice(gaps)
        y = start + rng.uniform(-0.2, 1.2) * width + rng.gauss(0, 0.2)
    y = min(max(y, -half + 0.3), half - 0.3)
    pose, _ = before_a_wall(builder, hall, far, y, (3, 3))
    if level:
        pitch_rad = math.radians(rng.gauss(0, 7))
        pose = dataclasses.replace(pose, z_m=rng.uniform(0.9, 1.6), pitch_rad=pitch_rad)
    keep_clear(builder, pose, 0.2)
    light = indoor_light(rng, rng.uniform(-1, 0.8) * far, rng.uniform(-0.5, 0.5), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def _hallway(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Along x, doors on both sides and at the end; the camera looks ahead or at one of them."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    length, half = rng.uniform(3, 14), 0.5 * rng.uniform(1.2, 2.8)
    height, beyond = rng.uniform(2.2, 3.0), rng.uniform(2.0, 5.0)
    wall = wall_finish(make)
    ceiling = make.of('tile' if rng.random() < 0.4 else 'wall', (0.85, 0.85, 0.83), 2.4, 0.1)
    high = length + beyond, half + beyond
    hall = Hall((-2.5, -high[1]), high, height, (wall,) * 4, ceiling)
    for side in (-1, 1):
        f = builder.frame(0, side * half, 0.0 if side < 0 else math.pi, object_id=STRUCTURE_ID)
        span = (-2.5, length) if side < 0 else (-length, 2.5)
        wall_with_doors(builder, f, span, height, wall, _gaps(rng, *span, crowd=1.0))
    f = builder.frame(length, 0, math.pi / 2, object_id=STRUCTURE_ID)
    end = []
    if rng.random() < 0.8:
        width = min(rng.choice((0.9, 1.6)), 1.8 * half)
        what = 'door' if rng.random() < 0.9 else 'dark'
        end = [(rng.uniform(-half, half - width), width, what)]
    wall_with_doors(builder, f, (-half - THICK_M, half + THICK_M), height, wall, end)
    if rng.random() < 0.3:
        floor_litter(builder, length, 2 * half)
    y = rng.uniform(-0.6, 0.6) * half
    yaw = rng.gauss(0, 0.2) if rng.random() < 0.6 else rng.gauss(0, 0.8)
    pose = indoor_pose(rng, rng.uniform(-0.5, 0.4) * length * 0.5, y, yaw, height)
    space = FloorSpace([(pose.x_m, y, 0.5), (pose.x_m + 0.8, y, 0.4)])
    ahead = Hall((pose.x_m + 0.5, -half), (length, half), height, hall.walls, 0)
    for _ in range(rng.choice((0, 1, 3))):
        scatter(builder, space, ahead)
    white = make.plain((1.0, 0.98, 0.93), glow=rng.uniform(0.8, 2.4))
    lamps = builder.frame(0, 0, object_id=STRUCTURE_ID)
    at = rng.uniform(0.5, 2.5)
    while at < length:
        lamps.box(at, 0, height - 0.04, 1.1, 0.3, 0.04, white)
        at += rng.uniform(2, 4)
    keep_clear(builder, pose, 0.18)
    light = indoor_light(rng, pose.x_m + rng.uniform(0.3, 3), rng.uniform(-0.3, 0.3), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose
