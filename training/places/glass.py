"""Glass doors, partitions and mirrors, with their frames, and what is seen through or in them."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    STRUCTURE_ID,
    Colour,
    FinishMaker,
    FloorSpace,
    Hall,
    ObjectFrame,
    triple,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.doors import HEAD_M, THICK_M, dark
from training.places.layout import (
    before_a_wall,
    floor_finish,
    four_walls,
    furnish_wall,
    indoor_light,
    indoor_pose,
    keep_clear,
    scatter,
    wall_finish,
)


def tint(rng: random.Random) -> Colour:
    """What a sheet of glass lets through."""
    grey = rng.uniform(0.7, 0.95)
    if rng.random() < 0.15:
        grey = rng.uniform(0.15, 0.5)
    return triple(grey * (1 + rng.gauss(0, 0.03)) for _ in range(3))


def frame_finish(make: FinishMaker) -> int:
    """Steel, aluminium, black or wood."""
    metal = make.plain((0.65, 0.66, 0.68)), make.plain(dark(make.rng)), make.furniture()
    return make.rng.choice(metal)


def glazing(
    builder: PanedBuilder, f: ObjectFrame, x: float, width: float, height: float, frame: int
) -> None:
    """One framed sheet that fills a gap from the floor to `height`; y = 0 is its front."""
    rng, make = builder.rng, builder.make
    edge, deep = rng.choice((0.02, rng.uniform(0.03, 0.1))), rng.uniform(0.03, 0.08)
    for side in (-1, 1):
        at = x + side * 0.5 * (width - edge)
        f.box(at, -0.5 * deep, 0, edge, deep, height, frame)
    foot = rng.choice((edge, rng.uniform(0.05, 0.3)))
    f.box(x, -0.5 * deep, 0, width, deep, foot, frame)
    f.box(x, -0.5 * deep, height - edge, width, deep, edge, frame)
    bars = rng.choice((0, 0, 0, 1, 2, 4))
    for i in range(1, bars + 1):
        f.box(x, -0.5 * deep, i * height / (bars + 1), width, 0.6 * deep, 0.03, frame)
    film = rng.choice((0.0, rng.uniform(0.0, 0.03), rng.uniform(0.02, 0.09)))
    foot_at, wide, tall = (x, -0.5 * deep, foot), width - 2 * edge, height - foot - edge
    shine, clear = rng.uniform(0.05, 0.14), tint(rng)
    builder.pane(f, foot_at, wide, tall, shine=shine, clear=clear, film=film)
    pick = rng.random()
    if pick < 0.35:  # a handle on both sides
        grip = x + rng.choice((-1, 1)) * (0.5 * width - edge - 0.06)
        low, tall = rng.uniform(0.7, 1.0), rng.choice((0.2, 0.5, 1.0))
        for y in (0.04, -deep - 0.04):
            f.tube(grip, y, low, 0.014, tall, frame)
    elif pick < 0.6:  # marks that one is meant to see
        mark = make.plain(rng.choice(((0.9, 0.9, 0.9), (0.8, 0.1, 0.1), (0.1, 0.1, 0.1))))
        for z in (0.95, 1.5):
            if rng.random() < 0.6:
                f.box(x, -0.5 * deep, z, width, 0.006, rng.uniform(0.03, 0.12), mark)
    elif pick < 0.75:
        size = rng.uniform(0.1, 0.4)
        f.box(x, -0.5 * deep, 1.3, size, 0.006, 1.3 * size, make.picture())


def mirror(builder: PanedBuilder, f: ObjectFrame, x: float, width: float, tall: float) -> None:
    """A framed mirror on a wall, or leaning before it; y = 0 is the wall."""
    rng = builder.rng
    low = rng.choice((0.02, rng.uniform(0.02, 1.1)))
    edge, thick, frame = rng.uniform(0.015, 0.08), rng.uniform(0.01, 0.05), frame_finish(f.make)
    for side in (-1, 1):
        f.box(x + side * 0.5 * (width + edge), 0.5 * thick, low, edge, thick, tall, frame)
    for z in (low - edge, low + tall):
        f.box(x, 0.5 * thick, z, width + 2 * edge, thick, edge, frame)
    f.box(x, 0.25 * thick, low, width, 0.5 * thick, tall, frame)
    shine, film = rng.uniform(0.8, 0.95), rng.choice((0.0, rng.uniform(0, 0.04)))
    at = x, 0.5 * thick + 0.003, low
    builder.pane(f, at, width, tall, shine=shine, clear=(0.0, 0.0, 0.0), film=film)


def watcher(builder: PanedBuilder, pose: Pose) -> None:
    """Who holds the camera: a person, or a robot; a mirror shows it."""
    rng, mine = builder.rng, len(builder.parts)
    c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    if pose.z_m > 0.9:
        f = builder.frame(pose.x_m - 0.25 * c, pose.y_m - 0.25 * s, pose.yaw_rad - math.pi / 2)
        furniture.person(f)
    else:
        f = builder.frame(pose.x_m - 0.2 * c, pose.y_m - 0.2 * s, pose.yaw_rad)
        f.tube(0, 0, 0.05, 0.18, max(pose.z_m - 0.1, 0.05), builder.make.plain(dark(rng)))
        f.ball(0.15, 0, pose.z_m, 0.03, 0.03, 0.03, builder.make.plain((0.02,) * 3))
    builder.watcher += builder.parts[mine:]
    del builder.parts[mine:]


# --- The places.


def glass(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Glass across the way, or a mirror at a wall."""
    return (_partition if rng.random() < 0.62 else _mirrors)(rng, atlas)


def _partition(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Sheets and doors of glass 0.6 to 5 m ahead, some of them open, and a room behind."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, shine = floor_finish(make)
    far = math.exp(rng.uniform(math.log(0.6), math.log(5.0)))
    half, height = rng.uniform(0.8, 4.0), rng.uniform(2.3, 3.2)
    beyond = rng.uniform(1.5, 8.0)
    hall = Hall(
        (-2.5, -half), (far + beyond, half), height, four_walls(make, 0.3), make.plain((0.85,) * 3)
    )
    f = builder.frame(far, 0, math.pi / 2, object_id=STRUCTURE_ID)
    frame, wall = frame_finish(make), wall_finish(make)
    top = rng.choice((height, HEAD_M, rng.uniform(2.0, height)))
    at = -half
    while at < half - 0.02:
        width = min(rng.choice((rng.uniform(0.7, 1.1), rng.uniform(0.9, 2.0))), half - at)
        middle, pick = at + 0.5 * width, rng.random()
        if pick < 0.72:
            glazing(builder, builder.frame(*f.at(0, 0), f.yaw), middle, width, top, frame)
        elif pick < 0.86 or width < 0.6:
            f.box(middle, -0.5 * THICK_M, 0, width, THICK_M, top, wall)
        at += width
    if top < height:
        f.box(0, -0.5 * THICK_M, top, 2 * half, THICK_M, height - top, wall)
    y = rng.uniform(-0.6, 0.6) * half
    pose, space = before_a_wall(builder, hall, far, y, (2, 6))
    side = hall.high[0], 0.0, math.pi / 2
    furnish_wall(builder, space, side, 2 * half, height, 0.6)
    keep_clear(builder, pose, 0.2)
    watcher(builder, pose)
    lamp = rng.choice((rng.uniform(-1, 0.8) * far, far + 0.5 * beyond))
    light = indoor_light(rng, lamp, rng.uniform(-0.5, 0.5), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=shine), pose


def _mirrors(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A room with a mirror on the wall ahead, or a wall of them."""
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder(make)
    floor, shine = floor_finish(make)
    far, back = math.exp(rng.uniform(math.log(0.6), math.log(4.0))), rng.uniform(1.5, 5)
    half, height = rng.uniform(1.2, 4.0), rng.uniform(2.3, 3.0)
    hall = Hall((-back, -half), (far, half), height, four_walls(make, 0.3), make.plain((0.85,) * 3))
    f = builder.frame(far, 0, math.pi / 2)
    if rng.random() < 0.25:  # doors of a wardrobe
        wide = rng.uniform(0.5, 1.0)
        for i in range(-1, 2):
            mirror(builder, f, i * (wide + 0.1), wide, rng.uniform(1.8, 2.1))
    else:
        wide, tall = rng.uniform(0.4, 1.8), rng.uniform(0.4, 1.9)
        mirror(builder, f, rng.gauss(0, 0.4), wide, min(tall, height - 1.2))
    yaw = rng.gauss(0, 0.3)
    y = -far * math.tan(yaw) * rng.uniform(0.3, 1.0)
    y = min(max(y, 0.3 - half), half - 0.3)
    pose = indoor_pose(rng, 0, y, yaw, height)
    space = FloorSpace([(0, y, 0.6), (far, 0, 0.8)])
    for side in ((0.0, -half, 0.0), (0.0, half, math.pi), (-back, 0.0, -math.pi / 2)):
        furnish_wall(builder, space, side, 2 * half if side[0] else far + back, height, 0.8)
    for _ in range(rng.randint(0, 4)):
        scatter(builder, space, hall)
    keep_clear(builder, pose, 0.2)
    watcher(builder, pose)
    light = indoor_light(rng, rng.uniform(-0.5, 0.5) * far, rng.uniform(-0.5, 0.5), height - 0.3)
    return builder.place(floor, light, hall=hall, mirror=shine), pose
