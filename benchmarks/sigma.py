"""How far each metre can be believed: what sigma promises, against the error that was made.

Views of rendered places are given to the embedded model, as pictures of a camera; the floor gives
scale and shift, with a mount that is off as one measured by hand is. Counted is the share of pixels
whose 1/Z is off by less than some multiples of its sigma, which for a normal distribution is known.
The places are others than those that the constants of `geometry.sigma` were chosen on. The same is
counted on real pictures with measured depth.

    python -m benchmarks.sigma --write docs/accuracy.md
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.sim import WORLDS, Pose
from midas_depth_ros.sim.robot.plain_world import free_start
from midas_depth_ros.sim.robot.robot import noisy
from training.places import sample

SIZE = (256, 192)
GREY_LEVELS = 4.0  # noise of a camera on rendered pictures
# One sigma of a mount measured with ruler and level: the declared uncertainty of the fit.
PITCH_OFF_RAD, HEIGHT_OFF = math.radians(0.5), 0.02
HORIZON_ROWS = 0.1  # of the picture lie above the horizon, at least
START_HEIGHTS_M = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class View:
    """A picture (H, W, 3) uint8 with its exact 1/Z (H, W) float32 (0: sky, NaN: not measured), its
    camera and the true mount.
    """

    name: str
    rgb: NDArray[np.uint8]
    inverse: NDArray[np.float32]
    camera: CameraModel
    mount: CameraMount


def view_of_pose(name: str, world: object, camera: CameraModel, pose: Pose, seed: int) -> View:
    """Return what a camera in a world sees."""
    rendering = world.render(camera, pose)  # type: ignore[attr-defined]
    rgb = noisy(rendering.rgb, GREY_LEVELS, np.random.default_rng([seed, 8]))
    return View(name, rgb, inverse_of(rendering.depth_z), camera, mount_of(pose))


def inverse_of(depth_z: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return 1/Z, 0 for what is infinitely far."""
    with np.errstate(divide='ignore'):
        return (1 / depth_z).astype(np.float32)


def mount_of(pose: Pose) -> CameraMount:
    return CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)


def world_views(kind: str, seeds: range, each: int) -> Iterator[View]:
    """Yield `each` views of every world: other places, cameras and mounts of small robots."""
    for seed in seeds:
        world = WORLDS[kind](seed)
        rng = np.random.default_rng([seed, 7])
        plan = world.plan(START_HEIGHTS_M)
        for number in range(each):
            x, y, yaw = free_start(rng, plan, seed)
            camera = CameraModel.from_field_of_view(*SIZE, math.radians(rng.uniform(55, 95)))
            lowest = math.atan((0.5 - HORIZON_ROWS) * camera.height / camera.fy)
            pitch = rng.uniform(-0.03, min(0.35, lowest))
            roll = rng.normal(0, 0.02)
            pose = Pose(x, y, rng.uniform(0.15, 1.0), yaw, pitch, roll)
            yield view_of_pose(f'{kind} {seed}', world, camera, pose, 100 * seed + number)


def place_views(kinds: tuple[str, ...], seeds: range) -> Iterator[View]:
    """Yield views of training places with textures that no training sample has."""
    for seed in seeds:
        kind = random.Random(seed).choice(kinds)
        seen = sample(seed, *SIZE, kind=kind, textures='eval')
        inverse = inverse_of(seen.depth_z)
        yield View(f'{kind} {seed}', seen.rgb, inverse, seen.camera, mount_of(seen.pose))
