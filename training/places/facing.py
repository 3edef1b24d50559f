"""A wall with a dark door a few steps ahead, seen level from a person's height.

Neither the floor nor, often, the ceiling is in view, the wall is light and bare, and something at
the border of the picture is nearer: a pillar, the wall beside, an open leaf. Then the door is the
only thing in view that is dark, as the way into an unlit room would be. It is in its wall all the
same: doorways here are lit, or their unlit room shows a floor.
"""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    FinishMaker,
    Hall,
    ObjectFrame,
    triple,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.doors import HEAD_M, dark, wall_with_doors
from training.places.layout import floor_finish, indoor_light, keep_clear, wall_finish

NEXT_TO_A_DOOR = {'door': 6, 'open': 3, 'dark': 1}  # shares of what else is in the wall
PAINTS = ((0.93, 0.9, 0.8), (0.95, 0.95, 0.93), (0.8, 0.82, 0.82), (0.85, 0.78, 0.66))


def facing(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """The wall is 0.9 to 3.8 m ahead, the camera 0.9 to 1.8 m high and level."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, mirror = floor_finish(make)
    far = math.exp(rng.uniform(math.log(0.9), math.log(3.8)))
    height = rng.uniform(2.3, 3.2)
    paint = _paint(make) if rng.random() < 0.85 else wall_finish(make)
    right, left = (rng.choice((rng.uniform(0.4, 1.2), rng.uniform(1.0, 5.0))) for _ in range(2))
    sides = tuple(paint if rng.random() < 0.6 else wall_finish(make) for _ in range(4))
    ceiling = make.of('tile' if rng.random() < 0.4 else 'wall', (0.85, 0.85, 0.83), 2.4, 0.1)
    beyond = rng.uniform(2.0, 7.0)
    low, high, back, front = sides
    hall = Hall((-2.5, -right), (far + beyond, left), height, (low, high, back, front), ceiling)
    f = builder.frame(far, 0, math.pi / 2, object_id=STRUCTURE_ID)
    gaps = _gaps(rng, -right, left)
    wall_with_doors(builder, f, (-right, left), height, paint, gaps)
    for start, width, what in gaps:
        if what == 'door':
            _about_a_door(builder, f, start + 0.5 * width, width, height)
    if rng.random() < 0.65:
        _near_the_border(builder, far, (-right, left), height, paint)
    start, width, _ = rng.choice(gaps)
    aim = start + rng.uniform(-0.4, 1.4) * width  # in the wall's frame, whose x is y here
    yaw = math.atan2(aim, far) + rng.gauss(0, 0.08)
    pitch, roll = (math.radians(rng.gauss(0, spread)) for spread in (5, 2.5))
    pose = Pose(0, 0, rng.uniform(0.9, 1.8), yaw, pitch, roll)
    keep_clear(builder, pose, 0.2)
    light = indoor_light(rng, rng.uniform(-1, 0.8) * far, rng.uniform(-0.5, 0.5), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=mirror), pose


def _paint(make: FinishMaker) -> int:
    """A light wall, hardly any texture."""
    rng = make.rng
    base = varied(rng, rng.choice(PAINTS), 0.06)
    return make.of('wall', triple(min(c, 1.0) for c in base), rng.uniform(1, 4), 0.03, grain=0.03)


def _gaps(rng: random.Random, low: float, high: float) -> list[tuple[float, float, str]]:
    """A door near the middle, and perhaps something on each side of it."""
    width = min(rng.choice((rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1), 1.7)), high - low - 0.1)
    at = min(max(rng.uniform(-1.0, 1.0) - 0.5 * width, low + 0.05), high - width - 0.05)
    found = [(at, width, 'door')]
    for side in (-1, 1):
        if rng.random() < 0.55:
            other, gap = rng.uniform(0.75, 1.1), rng.choice((0.15, rng.uniform(0.1, 1.2)))
            start = at - gap - other if side < 0 else at + width + gap
            if start > low and start + other < high:
                (what,) = rng.choices(list(NEXT_TO_A_DOOR), list(NEXT_TO_A_DOOR.values()))
                found.append((start, other, what))
    return sorted(found)


def _about_a_door(
    builder: PanedBuilder, f: ObjectFrame, x: float, width: float, height: float
) -> None:
    """Some of: a wide frame, a lit sign above, a grille, signs on the leaf, a switch beside."""
    rng, make = builder.rng, builder.make
    if rng.random() < 0.4:
        edge, proud, trim = rng.uniform(0.06, 0.16), rng.uniform(0.01, 0.04), make.plain(dark(rng))
        for side in (-1, 1):
            f.box(x + side * 0.5 * (width + edge), 0.0, 0, edge, 2 * proud, HEAD_M + edge, trim)
        f.box(x, 0.0, HEAD_M, width, 2 * proud, edge, trim)
    room_above = height - HEAD_M - 0.25
    if rng.random() < 0.25 and room_above > 0.1:
        red = rng.choice(((1.0, 0.15, 0.1), (0.1, 0.9, 0.3), (1.0, 0.98, 0.93)))
        wide = rng.uniform(0.2, 0.45)
        glowing = make.plain(red, glow=rng.uniform(0.3, 1.5))
        f.box(x + rng.gauss(0, 0.1), 0.03, HEAD_M + 0.2, wide, 0.06, 0.4 * wide, glowing)
    pick = rng.random()
    if pick < 0.25:  # a grille for air
        grey = make.of('front', varied(rng, (0.55, 0.55, 0.55), 0.4), 0.1, 0.3)
        tall = rng.uniform(0.25, 0.5)
        f.box(x, 0.012, rng.uniform(0.1, 0.25), rng.uniform(0.4, 0.7) * width, 0.02, tall, grey)
    elif pick < 0.4:
        steel = make.plain(varied(rng, (0.6, 0.6, 0.62), 0.15))
        f.box(x, 0.01, 0.02, 0.92 * width, 0.016, rng.uniform(0.2, 0.9), steel)
    for _ in range(rng.choice((0, 0, 1, 2))):
        size, sign = rng.uniform(0.06, 0.22), make.plain(lively=0.5)
        at = x + rng.uniform(-0.2, 0.2) * width
        f.box(at, 0.008, rng.uniform(1.3, 1.75), size, 0.016, size * rng.uniform(0.4, 1.2), sign)
    if rng.random() < 0.4:
        at = x + rng.choice((-1, 1)) * (0.5 * width + rng.uniform(0.1, 0.4))
        box = make.plain(rng.choice(((0.9, 0.9, 0.88), (0.7, 0.1, 0.1), (0.2, 0.2, 0.2))))
        size = rng.uniform(0.07, 0.25)
        f.box(at, 0.02, rng.uniform(0.9, 1.5), 0.7 * size, 0.04, size, box)


def _near_the_border(
    builder: PanedBuilder, far: float, span: tuple[float, float], height: float, paint: int
) -> None:
    """A pillar, the end of a wall or an open leaf between the camera and the wall, at one side."""
    rng, make = builder.rng, builder.make
    side = rng.choice((-1, 1))
    ahead = rng.uniform(0.35, 0.9) * far
    y = side * ahead * rng.uniform(0.35, 0.8)
    y = min(max(y, span[0]), span[1])
    f = builder.frame(ahead, y, rng.choice((0.0, rng.gauss(0, 0.3))), object_id=STRUCTURE_ID)
    pick = rng.random()
    if pick < 0.4:
        look = make.of('concrete', varied(rng, (0.6, 0.59, 0.57), 0.15), 1.0, 0.2, grain=0.1)
        size = rng.uniform(0.2, 0.5)
        f.box(0, side * 0.5 * size, 0, size, size, height, look)
    elif pick < 0.75:
        look = paint if rng.random() < 0.5 else wall_finish(make)
        deep = rng.uniform(0.1, 1.0) * (far - ahead)
        f.box(0.5 * deep, side * 0.4, 0, deep, 0.8, height, look)
    else:
        f.box(0, side * 0.4, 0.01, 0.04, 0.8, HEAD_M, make.plain(dark(rng)))
