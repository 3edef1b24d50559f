"""Points and their colours as a PLY file, which MeshLab, CloudCompare and Open3D read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.errors import InvalidInverseDepth

VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')]
)
PLY_TYPES = {'f4': 'float', 'u1': 'uchar'}


def ply_bytes(
    points: NDArray[np.float32], rgb: NDArray[np.uint8], comments: Sequence[str] = ()
) -> bytes:
    """A binary little-endian PLY of the points that are finite.

    points: (..., 3) float32, optical frame (x right, y down, z forward). rgb: likewise, uint8.
    comments: lines of its header, which say what the unit is; a PLY has none of its own.
    Raises `InvalidInverseDepth` where points and colours do not fit each other.
    """
    if points.shape != rgb.shape or points.shape[-1] != 3:
        raise InvalidInverseDepth(
            f'points {points.shape} and colours {rgb.shape}: give (..., 3) of both, alike'
        )
    flat, colours = points.reshape(-1, 3), rgb.reshape(-1, 3)
    known = np.isfinite(flat).all(axis=1)
    table = np.empty(int(known.sum()), VERTEX)
    for index, (axis, colour) in enumerate((('x', 'red'), ('y', 'green'), ('z', 'blue'))):
        table[axis] = flat[known, index]
        table[colour] = colours[known, index]
    properties = [
        f'property {PLY_TYPES[VERTEX[name].str[1:]]} {name}' for name in VERTEX.names or ()
    ]
    header = [
        'ply',
        'format binary_little_endian 1.0',
        *(f'comment {" ".join(text.split())}' for text in comments),
        f'element vertex {len(table)}',
        *properties,
        'end_header',
    ]
    return '\n'.join(header).encode('ascii', 'replace') + b'\n' + table.tobytes()
