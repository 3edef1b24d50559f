"""Places outdoors: open ground and streets, and their daylight."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    FinishMaker,
    FloorSpace,
    Light,
    Marking,
    Place,
    PlaceBuilder,
    Sky,
    colour,
    picked,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places import things
from training.places.layout import keep_clear


def daylight(make: FinishMaker) -> tuple[Light, Sky, float]:
    """Sun, sky and haze distance (m) of one weather."""
    rng = make.rng
    overcast = rng.random() < 0.35
    high, around = math.radians(rng.uniform(14, 75)), rng.uniform(0, math.tau)
    towards = (math.cos(high) * math.cos(around), math.cos(high) * math.sin(around), math.sin(high))
    warm = rng.uniform(0, 0.2) * (1 - math.sin(high))
    if overcast:
        grey = rng.uniform(0.75, 1.3)
        key, ambient = rng.choice((0.0, rng.uniform(0.05, 0.3))), rng.uniform(0.75, 1.0)
        zenith, horizon = (0.8 * grey, 0.85 * grey, 0.9 * grey), (grey, grey, grey)
        sky = Sky(zenith, horizon, make.texture('sky'), rng.uniform(0.0, 0.6))
    else:
        key, ambient = rng.uniform(0.5, 1.2), rng.uniform(0.28, 0.6)
        zenith, horizon = (
            varied(rng, (0.3, 0.52, 0.9), 0.15),
            varied(rng, (0.78, 0.87, 0.97), 0.06),
        )
        sky = Sky(zenith, horizon, make.texture('sky'), rng.choice((0.0, rng.uniform(0.1, 0.7))))
    sunlight = (key * (1 + warm), key, key * (1 - warm))
    light = Light(towards, True, sunlight, (0.96 * ambient, ambient, 1.05 * ambient))
    haze = rng.choice((math.inf, rng.uniform(60, 200), rng.uniform(150, 600)))
    return light, sky, haze


def road_finish(make: FinishMaker) -> int:
    rng = make.rng
    if rng.random() < 0.06:
        return make.odd()
    grey = rng.uniform(0.2, 0.6)
    base = varied(rng, (grey, grey, grey * rng.uniform(0.92, 1.05)), 0.05)
    return make.of('road', base, rng.uniform(1.5, 5), rng.uniform(0.08, 0.3), grain=0.2)


def meadow_finish(make: FinishMaker) -> int:
    rng = make.rng
    base = varied(rng, rng.choice(((0.33, 0.43, 0.16), (0.25, 0.36, 0.13), (0.5, 0.45, 0.24))), 0.2)
    return make.of('meadow', base, rng.uniform(0.6, 3), 0.45, grain=0.35)


# --- Open ground.


def open_ground(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """A meadow, a yard or a square, with paths, trees and things on it."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    light, sky, haze = daylight(make)
    floor = meadow_finish(make) if rng.random() < 0.55 else road_finish(make)
    if rng.random() < 0.15:
        floor = make.of('tile', colour(rng, 0.1), rng.uniform(0.8, 3), 0.3)
    z = rng.uniform(0.1, 0.6) if rng.random() < 0.5 else rng.uniform(0.6, 1.8)
    pose = Pose(
        0, 0, z, rng.gauss(0, 0.3), math.radians(rng.gauss(6, 7)), math.radians(rng.gauss(0, 2.5))
    )
    if rng.random() < 0.6:
        _path(builder)
    for _ in range(rng.choice((0, 2, 5))):
        look = rng.choice((make.plain, lambda: road_finish(make), lambda: meadow_finish(make)))()
        builder.mark_round(rng.uniform(1, 18), rng.uniform(-7, 7), rng.uniform(0.1, 2.5), look, 0.3)
    space = FloorSpace([(0, 0, 0.6)])
    choices = (
        (things.any_tree, 0.5, 3),
        (things.bush, 0.9, 3),
        (things.pole, 0.2, 1.5),
        (things.bench, 0.9, 1),
        (things.rock, 0.6, 2),
        (furniture.person, 0.4, 2),
        (furniture.cone, 0.3, 0.7),
        (furniture.cartons, 0.5, 1),
        (furniture.bin_, 0.3, 0.7),
        (things.bollard, 0.2, 1),
        (things.car, 2.6, 1.5),
        (things.low_clutter, 0.4, 1),
        (furniture.bag, 0.3, 0.5),
    )
    for _ in range(rng.choice((3, 6, 10, 16, 22))):
        build, radius = picked(rng, choices)
        far = radius + 0.6 + rng.expovariate(1 / 7.0)
        bearing = rng.gauss(0, 0.55)
        x, y = far * math.cos(bearing), far * math.sin(bearing)
        if space.free(x, y, radius):
            space.take(x, y, radius)
            build(builder.frame(x, y, rng.uniform(0, math.tau)))
    _horizon(builder)
    keep_clear(builder, pose, 0.25)
    mirror = rng.uniform(0.2, 0.6) if rng.random() < 0.07 else 0.0
    return builder.place(floor, light, sky, haze_m=haze, mirror=mirror), pose


def _path(builder: PlaceBuilder) -> None:
    """A winding way ahead."""
    rng, make = builder.rng, builder.make
    look = road_finish(make) if rng.random() < 0.7 else make.of('tile', colour(rng, 0.1), 1.0, 0.3)
    half, y, turn = rng.uniform(0.5, 2.0), rng.uniform(-1, 1), rng.gauss(0, 0.15)
    left, right, x = [], [], -4.0
    while x < 42:
        left.append((x, y + half))
        right.append((x, y - half))
        turn = 0.85 * turn + rng.gauss(0, 0.12)
        x, y = x + 2.0, y + 2.0 * turn
    builder.markings.append(Marking(tuple(left + right[::-1]), look))


def _horizon(builder: PlaceBuilder) -> None:
    """Fences, houses, trees and hills farther away."""
    rng, make = builder.rng, builder.make
    for _ in range(rng.choice((0, 1, 2, 3))):
        far, bearing = rng.uniform(6, 25), rng.gauss(0, 0.5)
        turn = bearing + math.pi / 2 + rng.gauss(0, 0.4)
        f = builder.frame(far * math.cos(bearing), far * math.sin(bearing), turn)
        things.fence(f, rng.uniform(4, 25))
    for _ in range(rng.choice((0, 1, 3, 5))):
        far, bearing = rng.uniform(14, 70), rng.gauss(0, 0.6)
        f = builder.frame(far * math.cos(bearing), far * math.sin(bearing), bearing + math.pi / 2)
        things.house(f, rng.uniform(6, 22), rng.uniform(6, 12), rng.uniform(3, 14))
    green = furniture.leaves(make)
    for _ in range(rng.choice((0, 4, 10))):
        far, bearing = rng.uniform(35, 120), rng.uniform(-1.1, 1.1)
        size = rng.uniform(4, 12)
        f = builder.frame(far * math.cos(bearing), far * math.sin(bearing), object_id=STRUCTURE_ID)
        f.ball(0, 0, 0.3 * size, 1.5 * size, 1.5 * size, 0.8 * size, green)


# --- Streets: roads with kerbs, pavements, cars, people, trees and houses.


def street(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """Along x; the camera drives on it, or walks beside it."""
    make = FinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    light, sky, haze = daylight(make)
    half = 0.5 * rng.choice((rng.uniform(5, 8), rng.uniform(7, 14)))
    walk = rng.uniform(1.2, 4.5)
    road = road_finish(make)
    driving = rng.random() < 0.72
    if driving:
        y = -rng.uniform(0.15, 0.65) * half
        z, pitch = rng.uniform(1.2, 1.85), rng.gauss(1.5, 2.5)
    else:
        y = rng.uniform(-1, 1) * (half + 0.7 * walk)
        z, pitch = rng.uniform(0.2, 1.75), rng.gauss(3, 6)
    yaw = rng.gauss(0, 0.09) if rng.random() < 0.8 else rng.gauss(0, 0.5)
    roll = rng.gauss(0, 0.02)
    _lines(builder, half)
    kerb = rng.uniform(0.05, 0.16)
    paved = make.of('tile' if rng.random() < 0.6 else 'concrete', colour(rng, 0.05), 1.2, 0.25)
    stone = make.plain((0.62, 0.61, 0.58))
    green = meadow_finish(make)
    crossing = rng.uniform(8, 45) if rng.random() < 0.4 else None
    for side in (-1, 1):
        _pavement(builder, side, half, walk, kerb, (paved, stone, green), crossing)
        _houses(builder, side, half + walk, crossing)
        _beside(builder, side, half, walk, kerb)
    _traffic(builder, half, y if driving else None)
    standing = kerb if not driving and abs(y) > half else 0.0
    pose = Pose(0, y, z + standing, yaw, math.radians(pitch), roll)
    keep_clear(builder, pose, 0.35)
    mirror = rng.uniform(0.2, 0.7) if rng.random() < 0.1 else 0.0
    return builder.place(road, light, sky, haze_m=haze, mirror=mirror), pose


def _lines(builder: PlaceBuilder, half: float) -> None:
    """Paint on the road, and patches in it."""
    rng, make = builder.rng, builder.make
    for _ in range(rng.choice((0, 0, 2, 5))):
        middle = rng.uniform(0, 25), rng.uniform(-1, 1) * half
        size = rng.uniform(0.5, 8), rng.uniform(0.4, 2)
        yaw = rng.choice((0.0, 0.0, rng.uniform(0, 3)))
        builder.mark(*middle, *size, yaw, road_finish(make))
    for _ in range(rng.choice((0, 1, 3))):
        x, y = rng.uniform(2, 15), rng.uniform(-1, 1) * half
        builder.mark_round(x, y, 0.3, make.plain((0.2, 0.2, 0.2)))
    white, yellow = (0.9, 0.9, 0.88), (0.9, 0.72, 0.2)
    paint = make.of('concrete', rng.choice((white, white, yellow)), 1, 0.2)
    if rng.random() < 0.75:
        dash, gap = rng.choice(((3, 6), (2, 2), (6, 3), (60, 1)))
        at = rng.uniform(-8, 0)
        while at < 40:
            builder.mark(at + 0.5 * dash, 0, dash, 0.14, 0, paint)
            at += dash + gap
    if rng.random() < 0.4:
        for side in (-1, 1):
            builder.mark(20, side * (half - 0.3), 80, 0.12, 0, paint)
    if rng.random() < 0.3:
        at, y = rng.uniform(4, 18), -half + 0.5
        while y < half:
            builder.mark(at, y, 3, 0.5, 0, paint)
            y += 1.0


def _pavement(
    builder: PlaceBuilder,
    side: int,
    half: float,
    walk: float,
    kerb: float,
    looks: tuple[int, int, int],
    crossing: float | None,
) -> None:
    """The kerb and the pavement, and grass behind it; with a gap where a road crosses."""
    f = builder.frame(0, 0, object_id=STRUCTURE_ID)
    paved, stone, green = looks
    pieces = [(-30.0, 160.0)] if crossing is None else [(-30.0, crossing), (crossing + 9, 160.0)]
    for start, end in pieces:
        x, long = 0.5 * (start + end), end - start
        f.box(x, side * (half + 0.08), 0, long, 0.16, kerb, stone)
        f.box(x, side * (half + 0.16 + 0.5 * walk), 0, long, walk, kerb - 0.005, paved)
        f.box(x, side * (half + walk + 40), 0, long, 80, kerb - 0.02, green)


def _houses(builder: PlaceBuilder, side: int, edge: float, crossing: float | None) -> None:
    """A row of houses along the street; or trees and fences, where it is green."""
    rng = builder.rng
    town = rng.random()
    back = rng.choice((0.0, rng.uniform(0, 4), rng.uniform(2, 12)))
    at = rng.uniform(-12, -2)
    while at < 80:
        width = rng.uniform(6, 18)
        middle = at + 0.5 * width
        crosses = crossing is not None and at < crossing + 8 and at + width > crossing
        y = side * (edge + back)
        if not crosses and rng.random() < 0.25 + 0.72 * town:
            f = builder.frame(middle, y, 0.0 if side < 0 else math.pi)
            deep, tall = rng.uniform(7, 12), rng.uniform(3.5, 7) + 10 * town * rng.random()
            things.house(f, width, deep, tall)
        elif not crosses and rng.random() < 0.45 and middle < 45:
            things.thicket(builder.frame(middle, y + side * 1.5), width)
        elif not crosses:
            for _ in range(rng.randint(0, 2)):
                spot = middle + rng.uniform(-0.5, 0.5) * width, y + side * rng.uniform(0, 6)
                things.tree(builder.frame(*spot), rng.uniform(4, 12), 9 if middle < 30 else 5)
        if not crosses and back > 1.5 and rng.random() < 0.4 and middle < 35:
            things.fence(builder.frame(middle, side * (edge + 0.4)), width)
        at += width + rng.choice((0.0, 0.0, rng.uniform(0, 5)))


def _beside(builder: PlaceBuilder, side: int, half: float, walk: float, kerb: float) -> None:
    """People, poles and trees on the pavement, parked cars before it."""
    rng = builder.rng
    parked = rng.choice((0.0, 0.3, 0.8))
    at = rng.uniform(-4, 6)
    while at < 50:
        if rng.random() < parked:
            turn = 0.0 if (side < 0) == (rng.random() < 0.9) else math.pi
            things.car(builder.frame(at, side * (half - 1.05), turn + rng.gauss(0, 0.03)), at < 20)
        at += rng.uniform(5.3, 9)
    inner = half + 0.16
    step, at = rng.uniform(6, 20), rng.uniform(0, 8)
    build = rng.choice((things.pole, things.pole, things.bollard, None))
    while build is not None and at < 60:
        build(builder.frame(at, side * (inner + 0.35), 0.0 if side > 0 else math.pi, kerb))
        at += step if build is not things.bollard else max(0.2 * step, 1.5)
        if build is things.bollard and at > 16:
            break
    step, at = rng.uniform(7, 18), rng.uniform(0, 8)
    if rng.random() < 0.4:
        while at < 70:
            f = builder.frame(at, side * (inner + 0.6), rng.uniform(0, 6), kerb)
            things.tree(f, rng.uniform(4, 9))
            at += step
    for _ in range(rng.choice((0, 0, 1, 3))):
        x, y = rng.uniform(2, 25), side * (inner + rng.uniform(0.2, 1.0) * walk)
        person, others = furniture.person, (furniture.bin_, things.bench, things.pole, things.bush)
        build = rng.choice((person, person, *others))
        build(builder.frame(x, y, rng.uniform(0, math.tau), kerb))


def _traffic(builder: PlaceBuilder, half: float, own: float | None) -> None:
    rng = builder.rng
    taken = FloorSpace([(0, own, 3.0)] if own is not None else [])
    for _ in range(rng.choice((0, 1, 2, 4, 6))):
        ahead = 5 + rng.expovariate(1 / 14)
        lane = rng.choice((-0.5, 0.5)) * half + rng.gauss(0, 0.3)
        if taken.free(ahead, lane, 3.2):
            taken.take(ahead, lane, 3.2)
            turn = 0.0 if lane < 0 else math.pi
            turn += rng.gauss(0, 0.05) if rng.random() < 0.9 else rng.uniform(-2, 2)
            things.car(builder.frame(ahead, lane, turn), ahead < 22)
    for _ in range(rng.choice((0, 0, 1, 2))):
        x, y = rng.uniform(3, 20), rng.uniform(-1, 1) * half
        build = rng.choice((furniture.person, furniture.person, furniture.cone, furniture.cartons))
        build(builder.frame(x, y, rng.uniform(0, math.tau)))
