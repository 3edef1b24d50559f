"""Plants from near: blades, fronds, twigs with leaves, flowers, hedges."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.furnished.furniture import leaves
from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    BOX,
    FinishMaker,
    ObjectFrame,
    Part,
    Place,
    colour,
    varied,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.indoors import room, table_top
from training.places.layout import rod
from training.places.outdoors import open_ground

GREENS = (
    (0.14, 0.3, 0.08),
    (0.28, 0.42, 0.12),
    (0.1, 0.2, 0.1),
    (0.4, 0.48, 0.2),
    (0.35, 0.2, 0.2),
)
NEAREST_M = 0.1


def green(make: FinishMaker) -> int:
    """One leaf's: nearly one colour."""
    return make.plain(varied(make.rng, make.rng.choice(GREENS), 0.2))


def pot(f: ObjectFrame) -> float:
    """Its height; earth in it."""
    rng, make = f.rng, f.make
    r, tall = rng.uniform(0.07, 0.2), rng.uniform(0.1, 0.4)
    look = make.plain(lively=0.4) if rng.random() < 0.8 else make.odd()
    f.tube(0, 0, 0, r, tall, look, taper=rng.uniform(1.0, 1.3))
    f.tube(0, 0, tall, 0.95 * r, 0.004, make.plain((0.12, 0.09, 0.06)))
    return tall


def blades(f: ObjectFrame, z: float, size: float) -> None:
    """Long leaves from one point, the ends of some of them hanging."""
    rng = f.rng
    looks, wide = [green(f.make) for _ in range(3)], size * rng.uniform(0.03, 0.08)
    for _ in range(rng.randint(8, 18)):
        a, rise = rng.uniform(0, math.tau), rng.uniform(0.4, 1.45)
        long, look = size * rng.uniform(0.5, 0.9), rng.choice(looks)
        c, s = math.cos(a), math.sin(a)
        out, up = 0.5 * long * math.cos(rise), 0.5 * long * math.sin(rise)
        f.ball(out * c, out * s, z + up, 0.55 * long, wide, 0.006, look, yaw=a, pitch=-rise)
        if rng.random() < 0.5:
            drop, tip = rise - rng.uniform(0.6, 1.6), 0.35 * long
            out, up = 2 * out + tip * math.cos(drop), 2 * up + tip * math.sin(drop)
            f.ball(out * c, out * s, max(z + up, 0.01), 1.1 * tip, 0.8 * wide, 0.006, look,
                   yaw=a, pitch=-drop)  # fmt: skip


def twigs(f: ObjectFrame, z: float, size: float) -> None:
    """Stalks with a leaf every few centimetres."""
    rng, make = f.rng, f.make
    bark = make.plain(varied(rng, (0.25, 0.2, 0.12)))
    looks, leaf = [green(make) for _ in range(3)], size * rng.uniform(0.06, 0.14)
    flower = make.plain(colour(rng, 1.0)) if rng.random() < 0.35 else None
    for _ in range(rng.randint(3, 7)):
        a, lean = rng.uniform(0, math.tau), rng.uniform(0.05, 0.7)
        long = size * rng.uniform(0.6, 1.0)
        x, y = (long * math.sin(lean) * t for t in (math.cos(a), math.sin(a)))
        top = x, y, z + long * math.cos(lean)
        rod(f, (0, 0, z), top, 0.006 + 0.008 * size, bark, taper=0.4)
        for share in (0.35, 0.55, 0.75, 0.95):
            turn = rng.uniform(0, math.tau)
            at = share * x + leaf * math.cos(turn), share * y + leaf * math.sin(turn)
            tilt = rng.uniform(-0.8, 0.6)
            f.ball(*at, z + share * (top[2] - z), leaf, 0.45 * leaf, 0.005, rng.choice(looks),
                   yaw=turn, pitch=tilt)  # fmt: skip
        if flower is not None:
            f.ball(*top, 0.4 * leaf, 0.4 * leaf, 0.25 * leaf, flower)


def fronds(f: ObjectFrame, z: float, size: float) -> None:
    """Palm or fern: arched ribs with leaflets on both sides."""
    rng, make = f.rng, f.make
    looks = [green(make) for _ in range(2)]
    for _ in range(rng.randint(4, 7)):
        a, long = rng.uniform(0, math.tau), size * rng.uniform(0.7, 1.0)
        look, rise = rng.choice(looks), rng.uniform(0.5, 1.2)
        old = (0.0, 0.0, z)
        for i in range(1, 5):
            out = i / 4 * long * math.cos(rise)
            up = i / 4 * long * math.sin(rise) - 0.35 * long * (i / 4) ** 2
            at = out * math.cos(a), out * math.sin(a), max(z + up, 0.02)
            rod(f, old, at, 0.005, look)
            old, leaf = at, size * (0.16 - 0.02 * i)
            for side in (-1, 1):
                turn = a + side * 1.1
                x, y = at[0] + 0.9 * leaf * math.cos(turn), at[1] + 0.9 * leaf * math.sin(turn)
                f.ball(x, y, at[2] - 0.01, leaf, 0.22 * leaf, 0.005, look, yaw=turn, pitch=0.3)


def hedge(f: ObjectFrame, size: float) -> None:
    """A wall of leaves along x, or a climber; its front is near y = 0."""
    rng = f.rng
    look, tall = leaves(f.make), size * rng.uniform(0.8, 2)
    f.box(0, -0.3, 0, 3 * size, 0.5, tall, look)
    looks = [green(f.make) for _ in range(3)]
    for _ in range(30):
        x, z = rng.uniform(-1.2, 1.2) * size, rng.uniform(0.05, 1) * tall
        s = rng.uniform(0.03, 0.1)
        turn, tilt = rng.uniform(0, 3), rng.uniform(-1, 1)
        f.ball(x, rng.uniform(-0.08, 0.05), z, s, 0.6 * s, 0.3 * s, rng.choice(looks), yaw=turn,
               pitch=tilt)  # fmt: skip


def any_plant(f: ObjectFrame, size: float) -> None:
    """In a pot, or out of the ground."""
    rng = f.rng
    z = pot(f) if rng.random() < 0.7 else 0.0
    if rng.random() < 0.3:
        trunk = rng.uniform(0.2, 0.8) * size
        f.tube(0, 0, z, 0.02 + 0.02 * size, trunk, f.make.wood(), taper=0.8)
        z += trunk
    rng.choice((blades, twigs, fronds))(f, z, size)


def plants(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A room, a table or a garden with plants before the camera."""
    layout = rng.choices((room, table_top, open_ground), (0.45, 0.15, 0.4))[0]
    place: Place
    place, pose = layout(rng, atlas)
    builder = PanedBuilder.reopened(place, FinishMaker(rng, atlas))
    first = builder.frame(0, 0).object_id
    for i in range(rng.choice((1, 2, 3))):
        far = math.exp(rng.uniform(math.log(0.45), math.log(3.0))) + 0.5 * i
        bearing = pose.yaw_rad + rng.gauss(0, 0.35)
        x, y = pose.x_m + far * math.cos(bearing), pose.y_m + far * math.sin(bearing)
        size = rng.uniform(0.3, 1.0) * min(max(far, 0.7), 1.3)
        raised = max(pose.z_m - rng.uniform(0.2, 0.8) * size, 0) if rng.random() < 0.4 else 0.0
        if rng.random() < 0.15:
            hedge(builder.frame(x, y, bearing + math.pi / 2), 0.4 + 0.5 * far)
            continue
        f = builder.frame(x, y, rng.uniform(0, math.tau), raised)
        if raised:  # on a stand
            stand = builder.frame(x, y, 0, object_id=f.object_id)
            stand.tube(0, 0, 0, rng.uniform(0.03, 0.2), raised, builder.make.furniture())
        any_plant(f, size)
    builder.parts[:] = [
        part
        for part in builder.parts
        if part.object_id < first or part.shape == BOX or not _too_near(part, pose)
    ]
    return builder.finished(place), pose


def _too_near(part: Part, pose: Pose) -> bool:
    """Whether a leaf or a stalk would hang before the lens."""
    level = not part.pitch_rad and not part.roll_rad
    wide = max(part.half[:2]) if level else max(part.half)
    high = part.half[2] if level else max(part.half)
    away = math.dist(part.centre[:2], (pose.x_m, pose.y_m))
    return away < wide + NEAREST_M and abs(part.centre[2] - pose.z_m) < high + NEAREST_M
