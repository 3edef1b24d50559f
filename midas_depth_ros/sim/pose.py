"""Where a camera is and where it looks.

The world is x forward, y left, z up with the floor at z = 0 (REP 103); the camera looks along
its own z, with x right and y down (the optical frame).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# Columns: the optical frame's axes in a body frame that is x forward, y left, z up.
OPTICAL_IN_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclasses.dataclass(frozen=True)
class Pose:
    """Position in metres; yaw to the left, pitch downwards, roll to the right positive, radians.

    Turned by yaw, then pitch, then roll, each about the axis that the one before has left
    (REP 103, as for a body frame).
    """

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.3
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    @property
    def position(self) -> np.ndarray:
        """(3,) float64, metres, in the world."""
        return np.array([self.x_m, self.y_m, self.z_m])

    @property
    def optical_axes(self) -> np.ndarray:
        """(3, 3) float64: columns are the optical frame's x, y and z in the world."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
        pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
        roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
        return yaw @ pitch @ roll @ OPTICAL_IN_BODY
