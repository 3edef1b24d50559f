"""A scene as data: what stands where and what it is made of, in metres.

The world is x forward, y left, z up; the floor is z = 0 and has no edge. Nothing here knows how
to draw itself: `render` does that.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# --- Where a camera is and where it looks.
#
# The world is x forward, y left, z up with the floor at z = 0 (REP 103); the camera looks along
# its own z, with x right and y down (the optical frame).

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


Colour = tuple[float, float, float]


class SceneError(ValueError):
    """A scene, or a place in it, that cannot be rendered; the text says which and why."""


def _check_positive(part: object, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SceneError(
                f'{name} of {type(part).__name__} is {value}: it must be a positive number'
            )


@dataclasses.dataclass(frozen=True)
class Material:
    """A colour (RGB, 0..1) under a pattern that repeats every `repeat_m` (across, up) metres."""

    colour: Colour = (0.7, 0.7, 0.7)
    pattern: str = 'plain'
    repeat_m: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_positive(self, repeat_m=min(self.repeat_m))


@dataclasses.dataclass(frozen=True)
class Room:
    """Four walls around the camera, along x and y, and a ceiling unless `ceiling` is None."""

    x_min_m: float
    x_max_m: float
    y_min_m: float
    y_max_m: float
    height_m: float = 2.5
    walls: Material = Material((0.82, 0.80, 0.74))
    ends: Material | None = None
    ceiling: Material | None = Material((0.9, 0.9, 0.9))

    def __post_init__(self) -> None:
        _check_positive(
            self,
            height_m=self.height_m,
            length=self.x_max_m - self.x_min_m,
            width=self.y_max_m - self.y_min_m,
        )


@dataclasses.dataclass(frozen=True)
class Box:
    """A box standing upright, turned by `yaw_rad` about its vertical axis."""

    x_m: float
    y_m: float
    length_m: float
    width_m: float
    height_m: float
    yaw_rad: float = 0.0
    bottom_m: float = 0.0
    material: Material = Material((0.72, 0.53, 0.33))

    def __post_init__(self) -> None:
        _check_positive(self, length_m=self.length_m, width_m=self.width_m, height_m=self.height_m)

    @property
    def bounds(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """An upright, unturned box around it: lower and upper corner, metres."""
        c, s = abs(math.cos(self.yaw_rad)), abs(math.sin(self.yaw_rad))
        dx = 0.5 * (c * self.length_m + s * self.width_m)
        dy = 0.5 * (s * self.length_m + c * self.width_m)
        return (
            (self.x_m - dx, self.y_m - dy, self.bottom_m),
            (self.x_m + dx, self.y_m + dy, self.bottom_m + self.height_m),
        )


@dataclasses.dataclass(frozen=True)
class Cylinder:
    """An upright cylinder: a pole, a bin, a pillar."""

    x_m: float
    y_m: float
    radius_m: float
    height_m: float
    bottom_m: float = 0.0
    material: Material = Material((0.35, 0.45, 0.55))

    def __post_init__(self) -> None:
        _check_positive(self, radius_m=self.radius_m, height_m=self.height_m)

    @property
    def bounds(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """An upright box around it: lower and upper corner, metres."""
        r = self.radius_m
        return (
            (self.x_m - r, self.y_m - r, self.bottom_m),
            (self.x_m + r, self.y_m + r, self.bottom_m + self.height_m),
        )


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A ball; `z_m` is its centre."""

    x_m: float
    y_m: float
    z_m: float
    radius_m: float
    material: Material = Material((0.75, 0.25, 0.2))

    def __post_init__(self) -> None:
        _check_positive(self, radius_m=self.radius_m)

    @property
    def bounds(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """An upright box around it: lower and upper corner, metres."""
        r = self.radius_m
        return (
            (self.x_m - r, self.y_m - r, self.z_m - r),
            (self.x_m + r, self.y_m + r, self.z_m + r),
        )


Solid = Box | Cylinder | Sphere


@dataclasses.dataclass(frozen=True)
class Scene:
    """A floor, perhaps a room around the camera, solids in it, and the air between.

    `haze_m` is the distance over which a colour fades to 37 %, towards `haze_colour`; `seed`
    chooses the grain of all patterns.
    """

    floor: Material = Material((0.62, 0.62, 0.6), 'tiles', (0.8, 0.8))
    room: Room | None = None
    solids: tuple[Solid, ...] = ()
    sky_colour: Colour = (0.55, 0.7, 0.9)
    haze_colour: Colour = (0.75, 0.77, 0.78)
    haze_m: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, haze_m=self.haze_m)
