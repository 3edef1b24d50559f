"""Cameras without a horizon: looking down, rolled, or both."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.furnished.place import Place
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.doors import doors
from training.places.first import Layout, any_place
from training.places.indoors import clutter, room, table_top
from training.places.stairs import stairs

LAYOUTS: dict[Layout, float] = {
    room: 0.35,
    clutter: 0.15,
    any_place: 0.2,
    doors: 0.1,
    stairs: 0.1,
    table_top: 0.1,
}


def tilted(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """Another place, seen by a camera that is mounted, or held, like that."""
    layout = rng.choices(list(LAYOUTS), list(LAYOUTS.values()))[0]
    place, pose = layout(rng, atlas)
    return place, tilt(rng, pose)


def tilt(rng: random.Random, pose: Pose) -> Pose:
    """`pose` looking 25 to 65 degrees down, or rolled by 10 to 50, or by a right angle."""
    pitch, roll = pose.pitch_rad, pose.roll_rad
    pick = rng.random()
    if pick < 0.65:
        pitch = math.radians(rng.uniform(25, 65))
    if pick > 0.45:
        angle = rng.uniform(10, 50) if rng.random() < 0.8 else rng.gauss(90, 4)
        roll = rng.choice((-1, 1)) * math.radians(angle)
    return dataclasses.replace(pose, pitch_rad=pitch, roll_rad=roll)
