"""What every pixel of a picture shows, before it has a colour: the sheet that rendering fills in.

`backdrop` fills it with the floor, the room and the sky; solids are then placed before them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.sim.fields import look_up
from midas_depth_ros.sim.rays import Rays
from midas_depth_ros.sim.scene import Material, Room, Scene

SKY, FLOOR, SIDE_WALL, END_WALL, CEILING, FIRST_SOLID = range(6)  # material indices
BACKDROP_LIGHT = (1.0, 1.0, 0.9, 0.8, 0.95)  # by material index
CREASE_M, CREASE = 0.22, 0.3  # how far and how much two meeting surfaces darken each other


@dataclasses.dataclass
class Surfaces:
    """Per pixel, (H, W) arrays: what is met there, where on it, and in what light.

    distance: along the ray, = depth Z in metres, inf for the sky. material: index, uint8.
    across, up: position on the surface, metres. light: factor on the colour. slant: cosine of
    ray and normal, how much of a pixel's width the surface shows.
    """

    distance: np.ndarray
    material: np.ndarray
    across: np.ndarray
    up: np.ndarray
    light: np.ndarray
    slant: np.ndarray

    def band(self, rows: slice) -> Surfaces:
        """A view of some rows."""
        return Surfaces(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def backdrop_materials(scene: Scene) -> list[Material]:
    """The materials of SKY to CEILING, in this order."""
    room = scene.room or Room(-1, 1, -1, 1)
    return [
        Material(scene.sky_colour),
        scene.floor,
        room.walls,
        room.ends or room.walls,
        room.ceiling or room.walls,
    ]


def backdrop(room: Room | None, rays: Rays) -> Surfaces:
    """The floor and the room; without walls and ceiling, the sky."""
    (ox, oy, oz), (dx, dy, dz) = rays.origin.astype(np.float32), rays.directions
    with np.errstate(divide='ignore', invalid='ignore'):
        if room is None:
            down = dz < 0
            distance = np.where(down, -oz / dz, np.float32(np.inf))
            material = np.where(down, np.uint8(FLOOR), np.uint8(SKY))
            slant = np.abs(dz)
        else:
            distance, material, slant = _meet_room(room, rays)
    reach = np.where(np.isfinite(distance), distance, np.float32(0))
    x, y, z = ox + reach * dx, oy + reach * dy, oz + reach * dz
    is_end = material == END_WALL
    surfaces = Surfaces(
        distance=distance,
        material=material,
        across=np.where(is_end, y, x),
        up=np.where(is_end | (material == SIDE_WALL), z, y),
        light=np.ones_like(distance),
        slant=slant,
    )
    if room is not None:
        _darken_creases(room, surfaces, y, z)
    return surfaces


def _meet_room(room: Room, rays: Rays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, material and slant of the room's inside (and the sky over walls without lid)."""
    (ox, oy, oz), (dx, dy, dz) = rays.origin, rays.directions
    lid = math.inf if room.ceiling is None else room.height_m - oz
    ends = _until(dx, room.x_min_m - ox, room.x_max_m - ox)
    sides = _until(dy, room.y_min_m - oy, room.y_max_m - oy)
    levels = _until(dz, -oz, lid)
    distance = np.minimum(np.minimum(ends, sides), levels)
    is_level, is_side = distance == levels, distance == sides
    material = np.where(is_side, np.uint8(SIDE_WALL), np.uint8(END_WALL))
    material = np.where(is_level, np.where(dz < 0, np.uint8(FLOOR), np.uint8(CEILING)), material)
    slant = np.where(is_level, np.abs(dz), np.where(is_side, np.abs(dy), np.abs(dx)))
    if room.ceiling is None:
        above = (distance * dz > room.height_m - oz) | ~np.isfinite(distance)
        material[above], distance[above] = SKY, np.inf
    return distance, material, slant


def _until(direction: np.ndarray, low: float, high: float) -> np.ndarray:
    """How far a ray goes along one axis before it meets `low` or `high`; never, if 0."""
    distance = np.where(direction > 0, np.float32(high), np.float32(low)) / direction
    distance[direction == 0] = np.inf
    return distance


def _darken_creases(room: Room, surfaces: Surfaces, y: np.ndarray, z: np.ndarray) -> None:
    """Ambient light reaches a corner from fewer directions."""
    to_side = np.minimum(y - np.float32(room.y_min_m), np.float32(room.y_max_m) - y)
    to_level = np.minimum(z, np.float32(room.height_m) - z)
    material = surfaces.material
    gap = np.where(material == SIDE_WALL, to_level, to_side)
    gap = np.where(material == END_WALL, np.minimum(to_side, to_level), gap)
    gap *= np.float32(1 / CREASE_M)
    gap *= gap
    light = look_up(material, BACKDROP_LIGHT) * (1 - np.float32(CREASE) / (1 + gap))
    surfaces.light = np.where(material == SKY, np.float32(1), light)
