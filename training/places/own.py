"""What a camera sees of its own robot or of who holds it: hulls, bonnets, grippers, hands, feet."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

from midas_depth_ros.sim.furnished.furniture import SKIN
from midas_depth_ros.sim.furnished.panes import PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import FinishMaker, Place, Vector, triple, varied
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.doors import dark
from training.places.first import any_place
from training.places.indoors import corridor, room, table_top
from training.places.layout import rod
from training.places.outdoors import open_ground, street

Axes = tuple[Sequence[float], ...]  # an origin, and two directions from it


def own(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """Another place with something of one's own in the picture."""
    add, layouts = rng.choices(
        ((_hull, (any_place,)), (_bonnet, (street,)), (_hands, (room, table_top, any_place)),
         (_feet, (room, corridor, open_ground)), (_gripper, (any_place,))),
        (0.28, 0.25, 0.25, 0.12, 0.1),
    )[0]  # fmt: skip
    place, pose = rng.choice(layouts)(rng, atlas)
    pose = _looking_at(add, rng, place, pose)
    builder = PanedBuilder.reopened(place, FinishMaker(rng, atlas))
    add(builder, pose)
    return builder.finished(place), pose


def _looking_at(add: Callable, rng: random.Random, place: Place, pose: Pose) -> Pose:
    """Feet and bonnets need a camera at a certain height, and one that looks down."""
    if add is _feet:
        low = place.hall.height_m - 0.3 if place.hall else 9.0
        z, pitch = min(rng.uniform(0.9, 1.7), low), rng.uniform(0.65, 1.25)
        return dataclasses.replace(pose, z_m=z, pitch_rad=pitch)
    if add is _bonnet:
        return dataclasses.replace(pose, z_m=max(pose.z_m, 1.15), pitch_rad=rng.gauss(0.04, 0.04))
    return pose


def _below(rng: random.Random, pose: Pose, ahead: float, least: float = 0.12) -> float:
    """How far below the camera something `ahead` of it is, to be in the picture's lower part."""
    angle = min(max(pose.pitch_rad, 0.0) + rng.uniform(least, 0.5), 1.35)
    return ahead * math.tan(angle)


def _hull(builder: PanedBuilder, pose: Pose) -> None:
    """The robot's front, or one of its corners, with what is mounted on it."""
    rng, make = builder.rng, builder.make
    ahead = rng.uniform(0.12, 0.7)
    below = max(_below(rng, pose, ahead), 0.05)
    f = builder.frame(pose.x_m, pose.y_m, pose.yaw_rad, pose.z_m - below)
    look = rng.choice((lambda: make.plain(dark(rng)), make.plain, make.plain))()
    side, wide = rng.choice((-1, 0, 0, 1)), rng.uniform(0.15, 0.5)
    y, deep = side * rng.uniform(0.1, 0.3), rng.uniform(0.03, 0.3)
    pick = rng.random()
    if pick < 0.5:
        f.box(0.5 * ahead - 0.15, y, -deep, ahead + 0.3, 2 * wide, deep, look)
        if rng.random() < 0.3:
            face = {'shine': rng.uniform(0.03, 0.1), 'blur_px': rng.uniform(0, 3)}
            near = 0.5 * ahead - 0.15, y - wide, pose.z_m - below + 0.002
            builder.pane(f, near, ahead + 0.3, 2 * wide, lean=-0.5 * math.pi, **face)
    elif pick < 0.8:
        f.tube(0, y, -deep, ahead, deep, look, flat=rng.uniform(0.7, 1.6))
    else:
        f.ball(0, y, -deep, ahead, rng.uniform(0.2, 0.6), deep, look)
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        x, at = rng.uniform(0.4, 0.95) * ahead, y + rng.uniform(-0.8, 0.8) * wide
        h, r = rng.uniform(0.2, 0.9) * below, rng.uniform(0.01, 0.05)
        if rng.random() < 0.5:
            f.tube(x, at, -0.5 * deep, r, h + 0.5 * deep, make.plain(lively=0.3))
        else:
            f.box(x, at, -0.5 * deep, 3 * r, 3 * r, h + 0.5 * deep, make.plain(lively=0.3))


def _bonnet(builder: PanedBuilder, pose: Pose) -> None:
    """Of the car that the camera is in."""
    rng, make = builder.rng, builder.make
    ahead, wide = rng.uniform(1.1, 2.1), rng.uniform(0.65, 0.9)
    below = min(_below(rng, pose, ahead, 0.17), pose.z_m - 0.55)
    z = pose.z_m - below
    f = builder.frame(pose.x_m, pose.y_m, pose.yaw_rad)
    paint = make.plain(dark(rng)) if rng.random() < 0.35 else make.plain()
    shine = {'shine': rng.uniform(0.05, 0.2), 'blur_px': rng.uniform(1, 5)}
    slope = rng.uniform(0.02, 0.12)
    if rng.random() < 0.5:
        f.box(0.5 * ahead + 0.2, 0, z - 0.3, ahead - 0.4, 2 * wide, 0.3, paint, pitch=slope)
        for side in (-1, 1):
            edge = (0.4, side * wide, z - 0.1), (ahead, side * wide, z - 0.1 - slope * ahead)
            rod(f, *edge, 0.12, paint)
        lower = 0.5 * ahead + 0.2, -wide, z + 0.004
        if slope < 0.06:
            builder.pane(f, lower, ahead - 0.4, 2 * wide, lean=-0.5 * math.pi, **shine)
    else:
        f.ball(0.2, 0, z - 0.25, ahead - 0.2, wide * 1.1, 0.25, paint, pitch=slope)
        f.box(0.5 * ahead + 0.15, 0, z - 0.3, ahead - 0.5, 0.5 * wide, 0.3, paint, pitch=slope)
    if rng.random() < 0.4:
        black = make.plain((0.04, 0.04, 0.04))
        for y in (-0.45, 0.15):
            low = z + 0.03
            rod(f, (0.5, y, low), (0.55, y + 0.5, low + rng.uniform(0, 0.2)), 0.012, black)


def _at(pose: Pose, right: float, down: float, ahead: float) -> Vector:
    """A place in the camera's own frame, in the world."""
    axes = pose.optical_axes
    return triple(pose.position + axes @ (right, down, ahead))


def _hands(builder: PanedBuilder, pose: Pose) -> None:
    """One or two, reaching from the border into the picture; sometimes they hold something."""
    rng, make = builder.rng, builder.make
    skin = make.plain(varied(rng, rng.choice(SKIN)))
    sleeve = make.cloth() if rng.random() < 0.7 else skin
    for side in rng.choice(((-1,), (1,), (-1, 1))):
        f = builder.frame(0, 0)
        far = rng.uniform(0.25, 0.6)
        x, y = side * rng.uniform(0.0, 0.45) * far, rng.uniform(-0.1, 0.35) * far
        start = (x + side * 0.6 * far, y + rng.uniform(0.3, 0.8) * far, 0.75 * far)
        wrist = (x, y, far)
        along = [b - a for a, b in zip(start, wrist, strict=True)]
        long = math.hypot(*along)
        along = [a / long for a in along]
        across = (along[1], -along[0], 0.0)  # in the picture's plane
        rod(f, _at(pose, *start), _at(pose, *wrist), 0.045, sleeve, taper=0.8)

        def point(
            u: float, v: float, w: float = 0.0, axes: Axes = (wrist, along, across)
        ) -> Vector:
            px, py, pz = (p + u * a + v * b for p, a, b in zip(*axes, strict=True))
            return _at(pose, px, py, pz + w)

        rod(f, point(-0.03, 0), point(0.02, 0), 0.028, skin)
        curl = rng.uniform(0.0, 0.06)
        for i in range(4):
            v = (i - 1.5) * 0.021
            knuckle, spread = point(0.095, v), v * rng.uniform(1.0, 1.5)
            rod(f, point(0.0, 0.8 * v), knuckle, 0.014, skin)
            bend = point(0.095 + 0.035, 0.5 * (v + spread), 0.3 * curl)
            rod(f, knuckle, bend, 0.0095, skin)
            rod(f, bend, point(0.17 - 0.5 * curl, spread, curl), 0.0085, skin, taper=0.8)
        rod(f, point(0.01, -0.03 * side), point(0.09, -0.075 * side), 0.012, skin, taper=0.8)
        if rng.random() < 0.35:
            _held(builder, point(0.12, 0.0, 0.05))


def _held(builder: PanedBuilder, at: Vector) -> None:
    rng, make = builder.rng, builder.make
    f = builder.frame(at[0], at[1], rng.uniform(0, 6))
    if rng.random() < 0.5:
        f.tube(0, 0, at[2] - 0.06, rng.uniform(0.03, 0.05), 0.13, make.plain(lively=0.6))
    else:
        f.box(0, 0, at[2] - 0.07, 0.08, rng.uniform(0.01, 0.06), 0.15, make.plain(dark(rng)))


def _feet(builder: PanedBuilder, pose: Pose) -> None:
    """Legs and shoes below a camera that looks down."""
    rng, make = builder.rng, builder.make
    f = builder.frame(pose.x_m, pose.y_m, pose.yaw_rad)
    cloth, shoe = make.cloth(0.3), make.plain(lively=0.4)
    sole = make.plain(rng.choice(((0.9, 0.9, 0.88), (0.1, 0.1, 0.1))))
    far = pose.z_m / math.tan(pose.pitch_rad) * rng.uniform(0.35, 0.8)
    for side in (-1, 1):
        x, y = far + rng.gauss(0, 0.08), side * rng.uniform(0.08, 0.16)
        turn = -side * rng.uniform(-0.1, 0.4)
        f.box(x, y, 0, 0.28, 0.095, 0.025, sole, yaw=turn)
        f.ball(x + 0.05, y, 0.035, 0.1, 0.046, 0.05, shoe, yaw=turn)
        f.ball(x - 0.07, y, 0.05, 0.075, 0.042, 0.06, shoe, yaw=turn)
        hip = -0.3, side * 0.1, 0.55 * pose.z_m
        rod(f, (x - 0.08, y, 0.07), hip, 0.055, cloth, taper=1.4)


def _gripper(builder: PanedBuilder, pose: Pose) -> None:
    """An arm of tubes and a hand of two jaws."""
    rng, make = builder.rng, builder.make
    f, far = builder.frame(0, 0), rng.uniform(0.25, 0.7)
    metal = make.plain(rng.choice(((0.08, 0.08, 0.08), (0.75, 0.76, 0.78), (0.85, 0.45, 0.1))))
    jaw = make.plain((0.06, 0.06, 0.06))
    x, y = rng.gauss(0, 0.12) * far, rng.uniform(0.05, 0.35) * far
    elbow = x + rng.gauss(0, 0.4) * far, y + rng.uniform(0.3, 0.6) * far, 0.6 * far
    rod(f, _at(pose, elbow[0] + rng.gauss(0, 0.1), elbow[1] + 0.4, 0.3 * far),
        _at(pose, *elbow), 0.05, metal)  # fmt: skip
    rod(f, _at(pose, *elbow), _at(pose, x, y, far), 0.035, metal)
    gap = rng.uniform(0.01, 0.05)
    for side in (-1, 1):
        start = _at(pose, x + side * 0.02, y, far)
        bend = _at(pose, x + side * (gap + 0.02), y - 0.03, far + 0.05)
        rod(f, start, bend, 0.012, jaw)
        rod(f, bend, _at(pose, x + side * gap, y - 0.04, far + 0.12), 0.01, jaw)
