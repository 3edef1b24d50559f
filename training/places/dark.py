"""Black things: other places with most of their furniture painted black, some of it polished."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np

from midas_depth_ros.sim.furnished.panes import Pane, PanedBuilder, PanedPlace
from midas_depth_ros.sim.furnished.place import (
    BOX,
    FIRST_OBJECT_ID,
    FinishMaker,
    Part,
    rotation,
    scaled,
    triple,
)
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.doors import dark
from training.places.indoors import corridor, room, table_top

MOST_PANES = 2  # polished faces in one picture: each costs as much as a small picture
LEAST_M2 = 0.08


def black(rng: random.Random, atlas: Atlas) -> tuple[PanedPlace, Pose]:
    """A room, a corridor or a table top with black things in it."""
    layout = rng.choices((room, corridor, table_top), (0.6, 0.2, 0.2))[0]
    place, pose = layout(rng, atlas)
    make = FinishMaker(rng, atlas)
    builder = PanedBuilder.reopened(place, make)
    share = rng.choice((0.3, 0.7, 1.0))
    for number in sorted({p.finish for p in place.parts if p.object_id >= FIRST_OBJECT_ID}):
        look = make.finishes[number]
        if number != place.floor and not look.glow and rng.random() < share:
            base = dark(rng)
            palette = tuple(scaled(base, 0.8 + 0.4 * i) for i in range(len(look.palette)))
            make.finishes[number] = dataclasses.replace(look, palette=palette)
    if rng.random() < 0.4:
        _large_screen(builder, pose)
    if rng.random() < 0.6:
        polish(builder, pose, rng.uniform(0.03, 0.14), rng.uniform(0, 4))
    return builder.finished(place), pose


def _large_screen(builder: PanedBuilder, pose: Pose) -> None:
    """A television on a stand, dark, 0.6 to 3 m ahead, its face to the camera."""
    rng, make = builder.rng, builder.make
    far = math.exp(rng.uniform(math.log(0.6), math.log(3.0)))
    bearing = pose.yaw_rad + rng.gauss(0, 0.35)
    x, y = pose.x_m + far * math.cos(bearing), pose.y_m + far * math.sin(bearing)
    f = builder.frame(x, y, bearing + math.pi / 2 + rng.gauss(0, 0.4))
    case, face = make.plain(dark(rng)), make.plain(dark(rng))
    wide = rng.uniform(0.5, 1.0) * min(far, 1.5)
    tall, low = 0.57 * wide, max(pose.z_m - rng.uniform(0.1, 0.8) * wide, 0.05)
    f.box(0, 0, low, wide, 0.05, tall, case)
    f.box(0, 0.026, low + 0.02, wide - 0.04, 0.004, tall - 0.04, face)
    f.tube(0, -0.02, 0, rng.uniform(0.02, 0.06), low, case)
    f.tube(0, -0.02, 0, 0.25 * wide, 0.015, case)
    look = {'shine': rng.uniform(0.03, 0.1), 'blur_px': rng.uniform(0, 3)}
    builder.pane(f, (0, 0.03, low + 0.02), wide - 0.04, tall - 0.04, **look)


def polish(builder: PanedBuilder, pose: Pose, shine: float, blur_px: float) -> None:
    """Let the largest faces of boxes that look at the camera mirror a little."""
    faces = []
    for part in builder.parts:
        if part.shape == BOX and part.object_id >= FIRST_OBJECT_ID:
            faces += _faces(part, pose)
    faces.sort(key=lambda face: -face[0])
    for _, pane in faces[:MOST_PANES]:
        builder.panes.append(dataclasses.replace(pane, shine=shine, blur_px=blur_px))


def _faces(part: Part, pose: Pose) -> list[tuple[float, Pane]]:
    """(how large it seems, pane) of the faces of a box that look at the camera."""
    axes = rotation(part.yaw_rad, part.pitch_rad, part.roll_rad)
    half, found = np.array(part.half), []
    gap = pose.position - np.array(part.centre)
    if gap @ pose.optical_axes[:, 2] > 0:
        return []
    for i in range(3):
        side = math.copysign(1.0, gap @ axes[:, i])
        height = side * (gap @ axes[:, i]) - half[i]
        j, k = (i + 1) % 3, (i + 2) % 3
        area = 4 * half[j] * half[k]
        if height < 0.05 or area < LEAST_M2:
            continue
        middle = np.array(part.centre) + side * (half[i] + 0.002) * axes[:, i]
        size = area * height / np.linalg.norm(gap) ** 3
        across, up = half[j] * axes[:, j], half[k] * axes[:, k]
        found.append((size, Pane(triple(middle), triple(across), triple(up), part.object_id, 0.0)))
    return found
