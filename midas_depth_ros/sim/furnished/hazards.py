"""Rooms with what a camera easily misses, to drive in: dark doors, glass, stairs down, near things.

One kind after the other by the seed (`KINDS`). Made and drawn as `furnished_world` is.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from midas_depth_ros.sim.furnished.near_things import crowded_start
from midas_depth_ros.sim.furnished.panes import PanedBuilder
from midas_depth_ros.sim.furnished.place import (
    FLOOR_ID,
    STRUCTURE_ID,
    Colour,
    FloorSpace,
    Hall,
    Light,
    ObjectFrame,
    Place,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas, atlas
from midas_depth_ros.sim.furnished.world import (
    HEIGHT_M,
    WALLS,
    CalmFinishMaker,
    FurnishedWorld,
    picture,
    plan_of,
    stand,
    wall_look,
)
from midas_depth_ros.sim.robot.ground import FLAT, Ground, Slab
from midas_depth_ros.sim.robot.plain_world import (
    START_GAP_M,
    START_HEIGHTS_M,
    START_VIEW_M,
    TRIES,
    Start,
)
from midas_depth_ros.sim.scene.scene import SceneError

DARKS: tuple[Colour, ...] = (
    (0.03, 0.03, 0.03),
    (0.06, 0.04, 0.03),
    (0.03, 0.04, 0.07),
    (0.08, 0.08, 0.085),
)
METALS: tuple[Colour, ...] = ((0.62, 0.62, 0.64), (0.7, 0.55, 0.25), (0.07, 0.07, 0.07))
LAMPS_APART_M = 2.4
AIM_RAD = 0.3  # standard deviation of where the start looks, about the way to a hazard
AIM_M = 3.5  # farthest hazard that the start looks to
PASSABLE_M = 0.02  # a lower step is none

Point = tuple[float, float]  # x and y, metres


@dataclasses.dataclass(frozen=True)
class _Layout:
    """A place, the ground in it, and what a start looks to: (x, y), metres; or the start itself."""

    place: Place
    ground: Ground = FLAT
    aims: tuple[Point, ...] = ()
    start: Start | None = None


@functools.lru_cache(maxsize=4)
def hazard_world(seed: int) -> FurnishedWorld:
    """Return the world of a seed; kinds follow each other. Raises SceneError without a start."""
    names = list(KINDS)
    kind = names[seed % len(names)]
    textures = atlas(0)
    layout = KINDS[kind](random.Random(f'hazards {seed}'), textures, seed)
    start = layout.start or _start(layout, seed)
    return FurnishedWorld(layout.place, textures, start, seed, kind, layout.ground)


def _start(layout: _Layout, seed: int) -> Start:
    """A free place on the upper floor that looks about towards one of the hazards."""
    rng, hall = np.random.default_rng([seed, 11]), layout.place.hall
    plan, edges = plan_of(layout.place, START_HEIGHTS_M), layout.ground.edges(PASSABLE_M)
    if hall is None:
        raise SceneError(f'world {seed} has no walls: give it a hall')
    for _ in range(TRIES):
        x, y = (float(each) for each in rng.uniform(hall.low, hall.high))
        if float(layout.ground.height(np.array(x), np.array(y))) < 0:
            continue
        if min(plan.gap(x, y), edges.gap(x, y)) < START_GAP_M:
            continue
        aim = layout.aims[rng.integers(len(layout.aims))]
        yaw = math.atan2(aim[1] - y, aim[0] - x) + float(rng.normal(0, AIM_RAD))
        free = min(each.reach(x, y, np.array([yaw]))[0] for each in (plan, edges))
        if math.dist(aim, (x, y)) < AIM_M and free >= START_VIEW_M:
            return x, y, math.remainder(yaw, math.tau)
    raise SceneError(f'world {seed} has no free place to start from: take another seed')


# --- An empty room: its frames have x along a wall and positive y into the room.


def _builder(rng: random.Random, textures: Atlas) -> PanedBuilder:
    return PanedBuilder(CalmFinishMaker(rng, textures))


def _floor(builder: PanedBuilder) -> int:
    rng, make = builder.rng, builder.make
    grey = rng.uniform(0.3, 0.7)
    return rng.choice(
        (
            lambda: make.of('wood', (0.62, 0.44, 0.28), 1.6, 0.22, grain=0.06),
            lambda: make.of('tile', (grey + 0.1, grey + 0.08, grey), 0.9, 0.25),
            lambda: make.of('soft', varied(rng, (grey, grey, grey)), 0.5, 0.25, grain=0.15),
            lambda: make.of('concrete', (grey, grey, grey), 2.0, 0.25, grain=0.12),
        )
    )()


def _hall(builder: PanedBuilder, low: tuple[float, float], high: tuple[float, float]) -> Hall:
    wall = wall_look(builder.make, builder.rng.choice(WALLS))
    ceiling = wall_look(builder.make, (0.93, 0.93, 0.92))
    return Hall(low, high, HEIGHT_M, (wall,) * 4, ceiling)


def _sides(length: float, width: float) -> tuple[tuple[float, float, float, float], ...]:
    """x, y and yaw of the frames of four walls about (0, 0), and how long they are."""
    return (
        (0.0, -0.5 * width, 0.0, length),
        (0.0, 0.5 * width, math.pi, length),
        (-0.5 * length, 0.0, -math.pi / 2, width),
        (0.5 * length, 0.0, math.pi / 2, width),
    )


def _lit(builder: PanedBuilder, floor: int, hall: Hall, **more: Any) -> Place:
    """The finished place, with lamps below its ceiling."""
    white = builder.make.plain((1.0, 0.97, 0.9), glow=1.8)
    lamps = builder.frame(0, 0, object_id=STRUCTURE_ID)
    middle = 0.5 * (hall.low[1] + hall.high[1])
    at = hall.low[0] + 1.0
    while at < hall.high[0] - 0.5:
        lamps.box(at, middle, HEIGHT_M - 0.05, 1.1, 0.3, 0.05, white)
        at += LAMPS_APART_M
    place = 0.5 * (hall.low[0] + hall.high[0]), middle, HEIGHT_M - 0.3
    light = Light(place, False, (0.8, 0.77, 0.72), (0.62, 0.64, 0.66), 3.6)
    return builder.place(floor, light, hall=hall, **more)


# --- Dark doors: closed, nearly black, in the walls of a hallway or a room.

THICK_M, HEAD_M = 0.14, 2.05  # of a wall with doors, and how high its doors are
HALLWAY_M, ROOM_M = ((5.0, 9.0), (1.9, 2.8)), ((4.5, 6.5), (3.8, 5.0))


def _dark(builder: PanedBuilder) -> int:
    rng, make = builder.rng, builder.make
    base = varied(rng, rng.choice(DARKS), 0.2)
    if rng.random() < 0.25:
        return make.of('wood', base, rng.uniform(0.5, 1.6), 0.3, square=False)
    return make.plain(base)


def _gloss(builder: PanedBuilder) -> dict[str, float]:
    return {'shine': builder.rng.uniform(0.02, 0.1), 'blur_px': builder.rng.uniform(0.5, 4)}


def _dark_doors(rng: random.Random, textures: Atlas, seed: int) -> _Layout:
    builder = _builder(rng, textures)
    is_hallway = rng.random() < 0.5
    length, width = (rng.uniform(*each) for each in (HALLWAY_M if is_hallway else ROOM_M))
    floor, half = _floor(builder), (0.5 * length + THICK_M, 0.5 * width + THICK_M)
    hall = _hall(builder, (-half[0], -half[1]), half)
    aims = []
    for x, y, yaw, span in _sides(length, width):
        f = builder.frame(x, y, yaw, object_id=STRUCTURE_ID)
        aims += _wall_with_doors(builder, f, span, hall.walls[0], not is_hallway)
    space = FloorSpace()
    for _ in range(0 if is_hallway else rng.randint(0, 3)):
        stand(builder, space, hall)
    return _Layout(_lit(builder, floor, hall, mirror=rng.choice((0.0, 0.25))), aims=tuple(aims))


def _wall_with_doors(
    builder: PanedBuilder, f: ObjectFrame, span: float, wall: int, wardrobes: bool
) -> list[Point]:
    """A wall, y = 0 being its front, with doors and wardrobes; return where these are."""
    rng = builder.rng
    aims: list[Point] = []
    at, end = -0.5 * span - THICK_M, 0.5 * span
    start = -0.5 * span + rng.uniform(0.2, 0.8)
    white = builder.make.plain((0.85, 0.84, 0.8))
    while True:
        width = rng.choice((rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0), 1.6))
        last = start + width > end - 0.15
        stop = end + THICK_M if last else start
        f.box(0.5 * (at + stop), -0.5 * THICK_M, 0, stop - at, THICK_M, HEIGHT_M, wall)
        f.box(0.5 * (at + stop), 0.006, 0, stop - at, 0.012, 0.08, white)
        if stop - at > 1.3:
            picture(f, 0.5 * (at + stop), 0.5)
        if last:
            return aims
        middle = start + 0.5 * width
        own = builder.frame(*f.at(0, 0), f.yaw)
        if wardrobes and rng.random() < 0.3:
            f.box(middle, -0.5 * THICK_M, 0, width, THICK_M, HEIGHT_M, wall)
            _wardrobe(builder, own, middle, width)
        else:
            f.box(middle, -0.5 * THICK_M, HEAD_M, width, THICK_M, HEIGHT_M - HEAD_M, wall)
            _closed_door(builder, own, middle, width)
        aims.append(f.at(middle, 0.0))
        at = start + width
        start = at + rng.choice((rng.uniform(0.15, 0.5), rng.uniform(0.5, 1.8)))


def _closed_door(builder: PanedBuilder, f: ObjectFrame, x: float, width: float) -> None:
    """A frame, and one or two leaves; handles, panels and gloss are on some of them."""
    rng, make, look = builder.rng, builder.make, _dark(builder)
    trim = look if rng.random() < 0.4 else rng.choice((make.wood, make.furniture))()
    edge, proud, back = rng.uniform(0.05, 0.09), rng.uniform(0.02, 0.06), rng.uniform(0.0, 0.06)
    for side in (-1, 1):
        f.box(x + side * 0.5 * width, 0, 0, edge, proud, HEAD_M + 0.5 * edge, trim)
    f.box(x, 0, HEAD_M - 0.5 * edge, width + edge, proud, edge, trim)
    is_glossy, has_handle, has_panels = (rng.random() < p for p in (0.4, 0.8, 0.3))
    metal, gloss = make.plain(rng.choice(METALS)), _gloss(builder)
    count = 2 if width > 1.2 else 1
    leaf = width / count
    for number in range(count):
        middle = x + (number - 0.5 * (count - 1)) * leaf
        f.box(middle, -back - 0.02, 0.004, leaf - 0.006, 0.04, HEAD_M, look)
        side = 1 if count == 2 and number == 0 else -1
        grip = middle + side * (0.5 * leaf - 0.12)
        if has_handle:
            f.box(grip, -back + 0.03, 1.03, 0.13, 0.02, 0.02, metal)
            f.box(grip + side * 0.05, -back + 0.01, 0.93, 0.04, 0.02, 0.2, metal)
        if has_panels:
            for low in (0.2, 1.1):
                f.box(middle, -back + 0.004, low, 0.7 * leaf, 0.012, 0.75, look)
        if is_glossy:
            builder.pane(f, (middle, -back + 0.002, 0.01), leaf - 0.01, HEAD_M - 0.02, **gloss)


def _wardrobe(builder: PanedBuilder, f: ObjectFrame, x: float, width: float) -> None:
    rng = builder.rng
    deep, tall, look = rng.uniform(0.35, 0.6), rng.uniform(1.7, 2.3), _dark(builder)
    f.box(x, 0.5 * deep, 0, width, deep, tall, look)
    seam = builder.make.plain((0.01, 0.01, 0.01))
    f.box(x, deep, 0.02, 0.008, 0.004, tall - 0.04, seam)
    if rng.random() < 0.5:
        builder.pane(f, (x, deep + 0.004, 0.01), width, tall - 0.02, **_gloss(builder))


# --- Glass doors: a partition of framed glass across a room, in most worlds with a way through.

OPENING_M = (0.9, 1.1)


def _glass_doors(rng: random.Random, textures: Atlas, seed: int) -> _Layout:
    builder = _builder(rng, textures)
    length, width = rng.uniform(6.0, 8.0), rng.uniform(3.0, 4.8)
    floor = _floor(builder)
    half = 0.5 * length, 0.5 * width
    hall = _hall(builder, (-half[0], -half[1]), half)
    for x, y, yaw, span in _sides(length, width):
        side = builder.frame(x, y, yaw, object_id=STRUCTURE_ID)
        picture(side, rng.uniform(-0.3, 0.3) * span, rng.uniform(0.5, 1.0))
        side.box(0, 0.008, 0, span, 0.016, 0.08, builder.make.plain((0.85, 0.84, 0.8)))
    f = builder.frame(rng.uniform(-1.0, 1.0), 0, math.pi / 2, object_id=STRUCTURE_ID)
    aims = _partition(builder, f, width, hall.walls[0])
    space = FloorSpace([(*f.at(0, y), 0.7) for y in np.linspace(-half[1], half[1], 7)])
    for _ in range(rng.randint(2, 5)):
        stand(builder, space, hall)
    return _Layout(_lit(builder, floor, hall, mirror=rng.choice((0.0, 0.25))), aims=tuple(aims))


def _partition(builder: PanedBuilder, f: ObjectFrame, width: float, wall: int) -> list[Point]:
    """Sheets and doors of glass side by side; return where they are."""
    rng, make, aims = builder.rng, builder.make, []
    count = max(3, round(width / rng.uniform(0.9, 1.3)))
    opening = rng.uniform(*OPENING_M) if rng.random() < 0.7 else 0.0
    open_at = rng.randrange(count) if opening else -1
    sheet = (width - opening) / (count - bool(opening))
    frame = rng.choice((lambda: make.plain(METALS[0]), lambda: _dark(builder), make.wood))()
    tall = rng.choice((HEAD_M, HEIGHT_M))
    at = -0.5 * width
    for number in range(count):
        wide = opening if number == open_at else sheet
        middle = at + 0.5 * wide
        at += wide
        if number == open_at:
            continue
        _sheet(builder, builder.frame(*f.at(0, 0), f.yaw), middle, sheet, tall, frame)
        aims.append(f.at(middle, 0.0))
    if tall < HEIGHT_M:
        f.box(0, 0, tall, width, 0.12, HEIGHT_M - tall, wall)
    return aims


def _sheet(
    builder: PanedBuilder, f: ObjectFrame, x: float, width: float, tall: float, frame: int
) -> None:
    """A frame about glass from the floor up; a handle or a bar on some."""
    rng = builder.rng
    edge, foot, deep = rng.uniform(0.03, 0.08), rng.uniform(0.03, 0.2), rng.uniform(0.04, 0.08)
    for side in (-1, 1):
        f.box(x + side * 0.5 * (width - edge), 0, 0, edge, deep, tall, frame)
    f.box(x, 0, 0, width, deep, foot, frame)
    f.box(x, 0, tall - edge, width, deep, edge, frame)
    grey, shine, film = rng.uniform(0.75, 0.95), rng.uniform(0.05, 0.14), rng.uniform(0, 0.03)
    size = width - 2 * edge, tall - foot - edge
    clear = (grey, grey, grey)
    builder.pane(f, (x, 0.0, foot), *size, shine=shine, clear=clear, film=film)
    pick = rng.random()
    if pick < 0.4:
        grip, low = x + rng.choice((-1, 1)) * (0.5 * width - edge - 0.07), rng.uniform(0.7, 1.0)
        for y in (-0.07, 0.07):
            f.tube(grip, y, low, 0.014, rng.choice((0.3, 0.6)), frame)
    elif pick < 0.7:
        f.box(x, 0, rng.uniform(0.85, 1.05), width, 0.04, 0.05, frame)


# --- Stairs down: the floor ends at x = 0, over all the width of the room or a part of it.

STEPS, RISE_M, TREAD_M, FLIGHT_M = (4, 6), (0.14, 0.18), (0.26, 0.30), (1.2, 1.8)
PLATE_M = 0.01  # thickness of the floor; below it is masonry
BEYOND_M = 1.0  # by which slabs reach beyond walls, so that no edge is there
OVERLAP_M = 0.1  # of slabs of one height
Span = tuple[float, float]  # along an axis, metres


def _stairs_down(rng: random.Random, textures: Atlas, seed: int) -> _Layout:
    builder = _builder(rng, textures)
    length, width = rng.uniform(3.6, 5.0), rng.uniform(2.6, 4.2)
    count, rise, tread = rng.randint(*STEPS), rng.uniform(*RISE_M), rng.uniform(*TREAD_M)
    end, deep, half = (count - 1) * tread + rng.uniform(1.0, 2.5), count * rise, 0.5 * width
    hall = _hall(builder, (-length, -half), (end, half))
    flight = (-half, half)
    if rng.random() < 0.6:
        wide = min(rng.uniform(*FLIGHT_M), width - 0.8)
        low = rng.choice((-half, half - wide, rng.uniform(-half, half - wide)))
        flight = low, low + wide
    floor, masonry = _floor(builder), wall_look(builder.make, (0.6, 0.58, 0.55))
    slabs = []
    pieces: tuple[tuple[Span, Span], ...] = (
        ((-length, 0.0), (-half, half)),
        ((0.0, end), (-half, flight[0])),
        ((0.0, end), (flight[1], half)),
    )
    for along, across in pieces:
        if across[1] - across[0] > 0.01:
            # A little under the next one, so that there is no gap between them.
            slabs.append(_slab((along[0] - OVERLAP_M, along[1]), across, 0.0, hall))
            _floor_above(builder, along, across, deep, floor, masonry)
    step = _floor(builder) if rng.random() < 0.6 else floor
    stairs = builder.frame(0, 0, object_id=STRUCTURE_ID)
    middle, wide = 0.5 * (flight[0] + flight[1]), flight[1] - flight[0]
    nosing = builder.make.plain((0.8, 0.7, 0.25)) if rng.random() < 0.3 else None
    for number in range(count):
        x_m, top = number * tread, -number * rise
        if nosing is not None:
            stairs.box(x_m - 0.025, middle, top - 0.02, 0.05, wide, 0.021, nosing)
        if number:
            stairs.box(x_m - 0.5 * tread, middle, -deep, tread, wide, deep + top, step)
            slabs.append(_slab((x_m - tread, x_m), flight, top, hall))
    for side in flight:
        if abs(side) < half - 0.01 and rng.random() < 0.6:
            _railing(builder, side, end)
    space = FloorSpace()
    above = Hall((-length, -half), (-0.6, half), HEIGHT_M, hall.walls, hall.ceiling)
    for _ in range(rng.randint(0, 2)):
        stand(builder, space, above)
    back = builder.frame(-length, 0, -math.pi / 2, object_id=STRUCTURE_ID)
    picture(back, rng.uniform(-0.2, 0.2) * width, 0.7)
    for y, yaw in ((-half, 0.0), (half, math.pi)):
        wall = builder.frame(-0.5 * length, y, yaw, object_id=STRUCTURE_ID)
        picture(wall, rng.uniform(-0.3, 0.3) * length, rng.uniform(0.4, 0.9))
        wall.box(0, 0.008, 0, length, 0.016, 0.08, builder.make.plain((0.85, 0.84, 0.8)))
    aims = tuple((0.0, y) for y in np.linspace(*flight, 5)[1:-1].tolist())
    place = _lit(builder, floor, hall, ground_m=-deep, ground=_floor(builder))
    return _Layout(place, Ground(tuple(slabs), -deep), aims)


def _slab(x: Span, y: Span, top_m: float, hall: Hall) -> Slab:
    """A level piece of ground; where it ends at a wall it reaches beyond it."""
    low, high = [x[0], y[0]], [x[1], y[1]]
    for axis in (0, 1):
        low[axis] -= BEYOND_M if low[axis] <= hall.low[axis] + 1e-6 else 0.0
        high[axis] += BEYOND_M if high[axis] >= hall.high[axis] - 1e-6 else 0.0
    middle = 0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1])
    return Slab(*middle, high[0] - low[0], high[1] - low[1], top_m, top_m)


def _floor_above(
    builder: PanedBuilder, x: Span, y: Span, deep: float, floor: int, masonry: int
) -> None:
    at = 0.5 * (x[0] + x[1]), 0.5 * (y[0] + y[1])
    size = x[1] - x[0], y[1] - y[0]
    builder.frame(0, 0, object_id=FLOOR_ID).box(*at, -PLATE_M, *size, PLATE_M, floor)
    body = builder.frame(0, 0, object_id=STRUCTURE_ID)
    body.box(*at, -deep, *size, deep - PLATE_M, masonry)


def _railing(builder: PanedBuilder, y: float, length: float) -> None:
    """Along x from 0, with posts, a rail above and one at the foot, and bars between them."""
    rng, make = builder.rng, builder.make
    look = rng.choice((lambda: _dark(builder), make.wood, lambda: make.plain(METALS[0])))()
    f, tall, thick = builder.frame(0, y), rng.uniform(0.85, 1.05), rng.uniform(0.03, 0.05)
    for low in (0.08, tall - thick):
        f.box(0.5 * length, 0, low, length, thick, thick, look)
    bars = max(2, round(length / rng.uniform(0.1, 0.14)))
    for number in range(bars + 1):
        is_post = number % 8 == 0 or number == bars
        size = thick if is_post else 0.016
        f.box(length * number / bars, 0, 0 if is_post else 0.08, size, size, tall - 0.08, look)


def _near_things(rng: random.Random, textures: Atlas, seed: int) -> _Layout:
    place, start = crowded_start(rng, textures, seed)
    return _Layout(place, start=start)


KINDS: dict[str, Callable[[random.Random, Atlas, int], _Layout]] = {
    'dark doors': _dark_doors,
    'glass doors': _glass_doors,
    'stairs down': _stairs_down,
    "arm's length": _near_things,
}
