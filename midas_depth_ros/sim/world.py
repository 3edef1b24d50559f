"""Samples of the world: a place drawn from a seed, seen by a camera drawn from it too.

`sample(seed)` gives the picture with the exact depth of every pixel, the floor and the objects:
the same bits for the same arguments on one machine.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.evaluation_textures import evaluation_atlas
from midas_depth_ros.sim.indoors import clutter, corridor, room, table_top
from midas_depth_ros.sim.outdoors import open_ground, street
from midas_depth_ros.sim.parts import FLOOR_ID
from midas_depth_ros.sim.photo import photograph, random_photo
from midas_depth_ros.sim.scene import Pose, SceneError
from midas_depth_ros.sim.shading import view_place
from midas_depth_ros.sim.textures import ATLASES, atlas

# kind -> how it is laid out, and its share of the samples
KINDS = {
    'room': (room, 0.4),
    'corridor': (corridor, 0.12),
    'street': (street, 0.22),
    'open': (open_ground, 0.1),
    'table': (table_top, 0.06),
    'clutter': (clutter, 0.1),
}
TEXTURES = {'train': atlas, 'eval': evaluation_atlas}
LENSES = 24
DISTORTED = 0.3
# Width by height of the pictures that cameras make, before they are resized.
ASPECTS = (4 / 3,) * 6 + (3 / 2, 16 / 9, 16 / 9, 1.0, 3 / 4)
WIDE_ASPECTS = (4 / 3, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 16 / 9, 2.0, 2.5, 3.2, 3.3)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the camera sees.

    rgb: (H, W, 3) uint8. depth_z: (H, W) float32, metres along the optical axis (REP 118), inf
    for the sky. floor: (H, W) bool, the floor at z = 0. ids: (H, W) int16, 0 the sky, 1 the
    floor, 2 walls and what is fixed, from 3 on one number per object.
    """

    rgb: np.ndarray
    depth_z: np.ndarray
    floor: np.ndarray
    ids: np.ndarray
    camera: CameraModel
    pose: Pose
    kind: str


def sample(
    seed: int, width: int = 256, height: int = 192, kind: str | None = None, textures: str = 'train'
) -> Sample:
    """The sample of `seed`: of one of `KINDS`, drawn too where it is None.

    `textures` is 'train', or 'eval' for textures that no training sample has. Raises
    `SceneError` for a kind or a set of textures that does not exist.
    """
    if kind is not None and kind not in KINDS:
        raise SceneError(f'kind {kind!r} is not one of {", ".join(KINDS)}')
    if textures not in TEXTURES:
        raise SceneError(f"textures {textures!r} must be 'train' or 'eval'")
    rng = random.Random(seed)
    drawn = rng.choices(list(KINDS), [share for _, share in KINDS.values()])[0]
    kind = kind or drawn
    texture_atlas = TEXTURES[textures](rng.randrange(ATLASES))
    camera = _camera(rng, width, height, kind)
    place, pose = KINDS[kind][0](rng, texture_atlas)
    light, depth, ids = view_place(place, camera, pose, texture_atlas)
    mean = float(np.minimum(light[::4, ::4], 1.5).mean())
    rgb = photograph(light, random_photo(rng, mean))
    return Sample(rgb, depth, ids == FLOOR_ID, ids, camera, pose, kind)


def _camera(rng: random.Random, width: int, height: int, kind: str) -> CameraModel:
    """A camera whose own picture may have been wider or higher before it was resized to this."""
    lens, plain = rng.randrange(LENSES), rng.random() >= DISTORTED
    fov = math.radians(rng.choice((rng.uniform(50, 74), rng.uniform(45, 110))))
    off = rng.gauss(0, 0.015), rng.gauss(0, 0.015)
    aspects = WIDE_ASPECTS if kind == 'street' else ASPECTS
    aspect = rng.choice(aspects) * math.exp(rng.gauss(0, 0.05)) * height / width
    camera = CameraModel.from_field_of_view(width, height, fov)
    if not plain and aspect < 1.5:
        return _lens(lens, width, height)
    return dataclasses.replace(
        camera,
        fy=camera.fy * aspect,
        cx=camera.cx + off[0] * width,
        cy=camera.cy + off[1] * height,
    )


@functools.lru_cache(maxsize=2 * LENSES)
def _lens(number: int, width: int, height: int) -> CameraModel:
    """One of a few lenses that distort, chosen so that every pixel has a direction."""
    rng = random.Random(number)
    fov = math.radians(rng.uniform(50, 105))
    focal = 0.5 * width / math.tan(0.5 * fov)
    corner = math.hypot(width, 1.25 * height) / (2 * focal)
    k1 = rng.uniform(-0.12, 0.06) / corner**2  # from -0.148 on the corners would see nothing
    tangential = rng.gauss(0, 0.0005), rng.gauss(0, 0.0005)
    return CameraModel(
        width,
        height,
        focal,
        focal * rng.choice((1.0, rng.uniform(0.8, 1.4))),
        0.5 * (width - 1) + rng.gauss(0, 0.01) * width,
        0.5 * (height - 1) + rng.gauss(0, 0.01) * height,
        'plumb_bob',
        (k1, 0.0, *tangential, 0.0),
    )
