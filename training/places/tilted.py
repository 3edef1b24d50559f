"""Cameras without a horizon: looking down, rolled, or both."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.furnished.place import Place
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.first import any_place


def tilted(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """Another place, seen by a camera that is mounted, or held, like that."""
    place, pose = any_place(rng, atlas)
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
