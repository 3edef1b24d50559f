"""What the surface is like that every pixel shows: place, normal, place in its texture, finish."""

from __future__ import annotations

import dataclasses

import numpy as np

from midas_depth_ros.sim.cast import CEILING, FIRST_PART, WALLS, View
from midas_depth_ros.sim.fields import dot
from midas_depth_ros.sim.parts import (
    BALL,
    BOX,
    FLOOR_ID,
    SKY_ID,
    STRUCTURE_ID,
    PartTable,
    Place,
)

_BACKDROP_NORMALS = np.array(
    [(0, 0, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], np.float32
)


@dataclasses.dataclass(frozen=True)
class SurfacePoints:
    """Per pixel, (H, W): three arrays of place (metres) and normal, `u`, `v` in metres on the
    surface, float32; `finish` uint8; `object_id` int16."""

    place: list[np.ndarray]
    normal: list[np.ndarray]
    u: np.ndarray
    v: np.ndarray
    finish: np.ndarray
    object_id: np.ndarray


def surface_points(
    view: View, place: Place, table: PartTable, distance: np.ndarray, index: np.ndarray
) -> SurfacePoints:
    """Of what `cast` found."""
    reach = np.where(np.isfinite(distance), distance, np.float32(0))
    points = [
        np.float32(start) + reach * along
        for start, along in zip(view.origin.tolist(), view.directions, strict=True)
    ]
    walls, ceiling = (0, 0, 0, 0), 0
    if place.hall is not None:
        walls, ceiling = place.hall.walls, place.hall.ceiling
    ground, ground_id = place.floor, FLOOR_ID
    if place.ground_m < 0:
        ground, ground_id = place.ground, STRUCTURE_ID
    finishes = np.array([0, ground, ceiling, *walls], np.uint8)
    ids = np.array([SKY_ID, ground_id] + 5 * [STRUCTURE_ID], np.int16)
    extra = np.zeros((len(table), 3), np.float32)
    normals = np.concatenate([_BACKDROP_NORMALS, extra])
    normal = [np.take(normals[:, i], index) for i in range(3)]
    level = index <= CEILING
    u = np.where(level | (index >= WALLS + 2), points[0], points[1])
    v = np.where(level, points[1], points[2])
    result = SurfacePoints(
        points,
        normal,
        u,
        v,
        np.take(np.concatenate([finishes, table.finish]), index),
        np.take(np.concatenate([ids, table.object_id]), index),
    )
    if len(table):
        _add_parts(result, table, index)
    return result


def _add_parts(surface: SurfacePoints, table: PartTable, index: np.ndarray) -> None:
    """Fill in normals and texture coordinates where a part is seen."""
    where = np.flatnonzero(index.ravel() >= FIRST_PART)
    part = index.ravel()[where] - FIRST_PART
    matrix = np.take(table.to_unit.reshape(-1, 9).T.astype(np.float32), part, axis=1)
    centre = np.take(table.centre.T.astype(np.float32), part, axis=1)
    half = np.take(table.half.T.astype(np.float32), part, axis=1)
    x, y, z = (axis.ravel()[where] - centre[i] for i, axis in enumerate(surface.place))
    unit = [dot(matrix[3 * i : 3 * i + 3], (x, y, z)) for i in range(3)]
    shape = table.shape[part]
    is_box, is_ball = shape == BOX, shape == BALL
    size = [np.abs(axis) for axis in unit]
    # Of a box, the face; of a tube, whether it is a lid, and its slope.
    first = is_box & (size[0] >= size[1]) & (size[0] >= size[2])
    second = is_box & ~first & (size[1] >= size[2])
    third = is_box & ~first & ~second
    lid = ~is_box & ~is_ball & (size[2] > 0.9999)
    top = third | lid
    around = ~is_box & ~lid
    taper = np.take(table.taper.astype(np.float32), part)
    rate = 0.5 * (taper - 1)
    slope = -rate * (0.5 * (1 + taper) + rate * unit[2])
    inner = [
        np.where(first | around, unit[0], 0),
        np.where(second | around, unit[1], 0),
        np.where(top | is_ball, unit[2], np.where(around, slope, 0)),
    ]
    outward = [dot(matrix[i::3], inner) for i in range(3)]
    length = np.sqrt(dot(outward, outward))
    length = 1 / np.maximum(length, np.float32(1e-12))
    for target, axis in zip(surface.normal, outward, strict=True):
        target.ravel()[where] = axis * length
    turn = np.zeros_like(length)
    bent = np.flatnonzero(around)
    turn[bent] = np.arctan2(unit[1][bent], unit[0][bent])
    local = [unit[i] * half[i] for i in range(3)]
    across = np.where(around, turn * half[0], np.where(first, local[1], local[0]))
    up = np.where(top, local[1], local[2])
    # Every part has its own piece of the pattern.
    surface.u.ravel()[where] = across + np.float32(0.618) * (part % 97)
    surface.v.ravel()[where] = up + half[2] * ~top
