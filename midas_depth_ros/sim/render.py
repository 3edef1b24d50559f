"""A scene, a camera and a pose -> a picture and the exact depth of every pixel of it.

Rays are cast with NumPy, all at once; every pixel's surface, position on it and light are found
first, and the colours last. The depth is exact; the picture is meant to be recognised by a
person, and is the same to the bit for the same scene.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.fields import dot
from midas_depth_ros.sim.paint import (
    CREASE,
    CREASE_M,
    FIRST_SOLID,
    FLOOR,
    SKY,
    Surfaces,
    backdrop,
    backdrop_materials,
    check_materials,
    paint,
)
from midas_depth_ros.sim.rays import Rays, meet
from midas_depth_ros.sim.scene import Box, Pose, Room, Scene, SceneError, Solid

AMBIENT, SUN, SHADE = 0.62, 0.38, 0.1  # light all around, from the lamp, and lost turned away
TO_SUN = np.array([-0.45, 0.35, 0.82]) / np.linalg.norm([-0.45, 0.35, 0.82])
SHADOW_M, SHADOW = 0.45, 0.55  # how far and how much a solid darkens the floor around its foot


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What the camera sees.

    rgb: (H, W, 3) uint8. depth_z: (H, W) float32, metres along the optical axis (REP 118), inf
    for the sky. floor_mask: (H, W) bool, where the floor is seen.
    """

    rgb: np.ndarray
    depth_z: np.ndarray
    floor_mask: np.ndarray


def render(scene: Scene, camera: CameraModel, pose: Pose) -> Rendering:
    """Render `scene` as `camera` sees it from `pose`.

    Pixels of which the lens model knows no direction are black sky. Raises `SceneError` when
    the camera is below the floor or outside the room, or for a material that cannot be painted.
    """
    materials = [*backdrop_materials(scene), *(solid.material for solid in scene.solids)]
    check_materials(materials)
    _check_inside(scene.room, pose)
    rays = Rays(camera, pose)
    surfaces = backdrop(scene.room, rays)
    for solid in scene.solids:
        _cast_contact_shadow(solid, rays, surfaces)
    for index, solid in enumerate(scene.solids, FIRST_SOLID):
        _place(index, solid, rays, surfaces)
    if rays.blind is not None:
        surfaces.material[rays.blind] = SKY
        surfaces.distance[rays.blind] = np.inf
    rgb = paint(surfaces, materials, scene, camera.fx)
    if rays.blind is not None:
        rgb[rays.blind] = 0
    return Rendering(rgb, surfaces.distance, surfaces.material == FLOOR)


def _check_inside(room: Room | None, pose: Pose) -> None:
    if pose.z_m <= 0:
        raise SceneError(f'camera is {pose.z_m} m high: it must be above the floor')
    if room is not None and not (
        room.x_min_m < pose.x_m < room.x_max_m
        and room.y_min_m < pose.y_m < room.y_max_m
        and pose.z_m < room.height_m
    ):
        raise SceneError(
            f'camera at ({pose.x_m}, {pose.y_m}, {pose.z_m}) m is not inside the room {room}'
        )


def _cast_contact_shadow(solid: Solid, rays: Rays, surfaces: Surfaces) -> None:
    """Darken the floor around the foot of a solid, softly."""
    (x0, y0, bottom), (x1, y1, _) = solid.bounds
    strength = SHADOW * max(0.0, 1.0 - bottom / SHADOW_M)
    window = rays.window(((x0 - SHADOW_M, y0 - SHADOW_M, 0.0), (x1 + SHADOW_M, y1 + SHADOW_M, 0.0)))
    if window is None or strength == 0:
        return
    x = surfaces.across[window] - np.float32(solid.x_m)
    y = surfaces.up[window] - np.float32(solid.y_m)
    if isinstance(solid, Box):
        c, s = np.float32(np.cos(solid.yaw_rad)), np.float32(np.sin(solid.yaw_rad))
        along = np.abs(c * x + s * y) - np.float32(0.5 * solid.length_m)
        beside = np.abs(c * y - s * x) - np.float32(0.5 * solid.width_m)
        gap = np.hypot(np.maximum(along, 0), np.maximum(beside, 0))
    else:
        gap = np.maximum(np.hypot(x, y) - np.float32(solid.radius_m), 0)
    dark = np.square(np.maximum(1 - gap * np.float32(1 / SHADOW_M), 0)) * np.float32(strength)
    dark[surfaces.material[window] != FLOOR] = 0
    surfaces.light[window] *= 1 - dark


def _place(index: int, solid: Solid, rays: Rays, surfaces: Surfaces) -> None:
    """Put a solid before what is there, where it is nearer."""
    window = rays.window(solid.bounds)
    if window is None:
        return
    directions = [axis[window] for axis in rays.directions]
    impact = meet(solid, rays.origin, directions)
    nearer = impact.distance < surfaces.distance[window]
    normal = [axis[nearer] for axis in impact.normal]
    ray = [axis[nearer] for axis in directions]
    facing = dot(normal, TO_SUN)
    light = AMBIENT + SUN * np.maximum(facing, 0) + SHADE * np.minimum(facing, 0)
    height = rays.origin[2] + impact.distance[nearer] * ray[2]
    for target, values in (
        (surfaces.distance, impact.distance[nearer]),
        (surfaces.across, impact.across[nearer]),
        (surfaces.up, impact.up[nearer]),
        (surfaces.light, light * (1 - CREASE / (1 + np.square(height / CREASE_M)))),
        (surfaces.slant, np.abs(dot(normal, ray))),
        (surfaces.material, index),
    ):
        target[window][nearer] = values
