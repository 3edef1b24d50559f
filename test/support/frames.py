"""Transforms for tests: as ROS messages, as recorded bytes, and the matrices they mean."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from bags import JAZZY, TYPES

from midas_depth_ros.geometry import TransformTree, rotation_of

SECOND = 1_000_000_000
LEVEL = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # z ahead, x to the right (REP 103)


def turned(yaw_rad: float) -> tuple[float, ...]:
    """The quaternion of a turn about z."""
    return 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)


def quaternion_of(matrix: np.ndarray) -> tuple[float, ...]:
    """x, y, z, w of a rotation matrix, by the eigenvector that belongs to it."""
    m = matrix
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    return tuple(np.linalg.eigh(k)[1][:, -1])


def matrix_of(place: Iterable[float], quaternion: Iterable[float]) -> np.ndarray:
    """(4, 4) from the child into the parent."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = rotation_of(np.array(tuple(quaternion))), tuple(place)
    return made


def recorded(
    parent: str, child: str, stamp_s: float, place=(0.0, 0.0, 0.0), quaternion=LEVEL
) -> Any:
    """A geometry_msgs/TransformStamped of the library that writes bags."""
    stamp = round(stamp_s * SECOND)
    return TYPES['geometry_msgs/msg/TransformStamped'](
        header=TYPES['std_msgs/msg/Header'](
            stamp=TYPES['builtin_interfaces/msg/Time'](sec=stamp // SECOND, nanosec=stamp % SECOND),
            frame_id=parent,
        ),
        child_frame_id=child,
        transform=TYPES['geometry_msgs/msg/Transform'](
            translation=TYPES['geometry_msgs/msg/Vector3'](*map(float, place)),
            rotation=TYPES['geometry_msgs/msg/Quaternion'](*map(float, quaternion)),
        ),
    )


def tf_message(*transforms: Any) -> Any:
    """A tf2_msgs/TFMessage of the library that writes bags."""
    return TYPES['tf2_msgs/msg/TFMessage'](transforms=list(transforms))


def tf_bytes(*transforms: Any) -> bytes:
    """The same, serialised."""
    return bytes(JAZZY.serialize_cdr(tf_message(*transforms), 'tf2_msgs/msg/TFMessage'))


def add(
    tree: TransformTree,
    parent: str,
    child: str,
    stamp_s: float | None,
    place=(0.0, 0.0, 0.0),
    quaternion=LEVEL,
) -> None:
    """Add to a tree; stamp_s None = static."""
    stamp = 0 if stamp_s is None else round(stamp_s * SECOND)
    tree.add(parent, child, stamp, (*place, *quaternion), static=stamp_s is None)
