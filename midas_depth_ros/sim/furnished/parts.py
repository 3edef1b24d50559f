"""What places of the world are made of: parts of three shapes, finishes, lights, as plain data.

A part is a unit box, ball or tube, scaled, turned and moved; furniture, cars and people are several
parts with one object id. The world is x forward, y left, z up; the floor is z = 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]

BOX, BALL, TUBE = range(3)
SKY_ID, FLOOR_ID, STRUCTURE_ID, FIRST_OBJECT_ID = range(4)


@dataclasses.dataclass(frozen=True)
class Finish:
    """How a surface looks.

    palette: RGB stops (0..1) that the pattern's values are painted with, dark to light. pattern,
    grain: rows of the texture atlas. repeat_m, grain_m: their size on the surface. grain_depth:
    how much the grain changes the brightness. turn_rad: how the pattern lies. glow: light of its
    own; such a surface is not lit. gloss: share of the light that is mirrored.
    """

    palette: tuple[Colour, ...]
    pattern: int = 0
    repeat_m: tuple[float, float] = (1.0, 1.0)
    grain: int = 0
    grain_m: float = 0.5
    grain_depth: float = 0.1
    turn_rad: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    glow: float = 0.0
    gloss: float = 0.0


@dataclasses.dataclass(frozen=True)
class Part:
    """A solid: `shape` fills the box of half sizes `half` about `centre`, in metres.

    Turned by yaw, pitch and roll as a body is (REP 103). A tube stands along its own z; `half`
    is its radius at the bottom, and `taper` that at the top over it (0: a cone). `object_id` is
    what it belongs to, `finish` an index into the finishes of its place.
    """

    shape: int
    centre: Vector
    half: Vector
    finish: int
    object_id: int = STRUCTURE_ID
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    taper: float = 1.0


@dataclasses.dataclass(frozen=True)
class Hall:
    """The upright box that everything is in, seen from inside, and the finishes of its faces."""

    low: tuple[float, float]
    high: tuple[float, float]
    height_m: float
    walls: tuple[int, int, int, int]
    ceiling: int


@dataclasses.dataclass(frozen=True)
class Marking:
    """A flat shape on the floor, painted on it: a rug, a line, a path. Corners (x, y), metres."""

    corners: tuple[tuple[float, float], ...]
    finish: int


@dataclasses.dataclass(frozen=True)
class Light:
    """The light that casts shadows, and the light from everywhere.

    place: where the lamp hangs, or, for the sun (`is_sun`), the direction to it. colour, ambient:
    RGB factors. reach_m: the distance at which a lamp has its nominal brightness.
    """

    place: Vector
    is_sun: bool
    colour: Colour
    ambient: Colour
    reach_m: float = 3.0


@dataclasses.dataclass(frozen=True)
class Sky:
    """Zenith and horizon colours, RGB 0..1, and the atlas row and strength of its clouds."""

    zenith: Colour
    horizon: Colour
    clouds: int = 0
    cloudiness: float = 0.0


@dataclasses.dataclass(frozen=True)
class Place:
    """A whole scene. `floor` is a finish; `ground_m` below 0 is a floor that only parts reach."""

    finishes: tuple[Finish, ...]
    floor: int
    parts: tuple[Part, ...]
    light: Light
    sky: Sky
    hall: Hall | None = None
    markings: tuple[Marking, ...] = ()
    ground_m: float = 0.0
    ground: int = 0
    haze_m: float = math.inf
    mirror: float = 0.0  # share of the light that the floor mirrors


def triple(values: Iterable[float]) -> Vector:
    """Three values as a tuple of three."""
    first, second, third = values
    return first, second, third


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) float64: columns are the turned axes."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


class PartTable:
    """The parts' numbers in arrays, one row per part, for computing with many at once.

    shape, finish, object_id (P,); centre, half (P, 3); turn (P, 3, 3) with the axes as columns;
    to_unit (P, 3, 3): world directions to those of the unit shape; corners (P, 8, 3).
    """

    def __init__(self, parts: tuple[Part, ...]) -> None:
        count = len(parts)
        self.shape = np.array([p.shape for p in parts], np.int16)
        self.finish = np.array([p.finish for p in parts], np.uint8)
        self.object_id = np.array([p.object_id for p in parts], np.int16)
        self.taper = np.array([p.taper for p in parts], np.float64)
        self.centre = np.array([p.centre for p in parts], np.float64).reshape(count, 3)
        self.half = np.array([p.half for p in parts], np.float64).reshape(count, 3)
        turns = [rotation(p.yaw_rad, p.pitch_rad, p.roll_rad) for p in parts]
        self.turn = np.array(turns, np.float64).reshape(count, 3, 3)
        self.to_unit = self.turn.transpose(0, 2, 1) / self.half[:, :, None]
        reach = self.half[:, None, :] * _UNIT_CORNERS
        reach[..., :2] *= np.maximum(self.taper, 1.0)[:, None, None]  # wider at the top
        self.corners = self.centre[:, None, :] + np.einsum('pij,pcj->pci', self.turn, reach)

    def subset(self, chosen: np.ndarray) -> PartTable:
        """The rows where `chosen` (P,) is true."""
        result = object.__new__(PartTable)
        for name, values in vars(self).items():
            setattr(result, name, values[chosen])
        return result

    def __len__(self) -> int:
        return len(self.shape)


_UNIT_CORNERS = np.array([[2 * ((i >> axis) & 1) - 1 for axis in range(3)] for i in range(8)])


# --- Where rays meet the unit shapes, by closed forms: box, ball and tube within -1..1 on all
# axes.

_PARALLEL = 1e-30  # instead of 0, of which 0 times the inverse is not a number

Along = list[np.ndarray]
Start = Sequence[float | np.ndarray]  # one origin for all rays, or one for each


def meet_unit(shape: int, origin: Start, direction: Along, taper: float | np.ndarray) -> np.ndarray:
    """How far along each ray it first meets the shape from outside; inf where it misses.

    `taper`: radius of a tube's top. Divides by 0 where a ray is parallel to a face: silence NumPy.
    `direction` is written to.
    """
    if shape == BOX:
        return _meet_box(origin, direction)
    return _meet_ball(origin, direction) if shape == BALL else _meet_tube(origin, direction, taper)


def _meet_box(origin: Start, direction: Along) -> np.ndarray:
    near, far = np.full((), -np.inf, np.float32), np.full((), np.inf, np.float32)
    for start, along in zip(origin, direction, strict=True):
        along += _PARALLEL
        reach = np.reciprocal(along, out=along)
        middle = reach * -start
        np.abs(reach, out=reach)
        leave = middle + reach
        enter = np.subtract(middle, reach, out=middle)
        near = np.maximum(near, enter, out=enter)
        far = np.minimum(far, leave, out=leave)
    return np.where((near <= far) & (near > 0), near, np.inf)


def _meet_ball(origin: Start, direction: Along) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    inside = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    near = (-b - np.sqrt(inside)) / a  # not a number where it misses
    return np.where(near > 0, near, np.inf)


def _meet_tube(origin: Start, direction: Along, taper: float | np.ndarray) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    middle, rate = 0.5 * (1.0 + taper), 0.5 * (taper - 1.0)  # radius = middle + rate * z
    radius = middle + rate * oz
    a = dx * dx + dy * dy - (rate * rate) * dz * dz
    b = ox * dx + oy * dy - (rate * radius) * dz
    root = np.sqrt(b * b - a * (ox * ox + oy * oy - radius * radius))
    met = (-b - root) / a
    met[~((met > 0) & (np.abs(oz + met * dz) <= 1.0))] = np.inf
    if np.any(rate):
        other = (root - b) / a
        other[~((other > 0) & (np.abs(oz + other * dz) <= 1.0))] = np.inf
        met = np.minimum(met, other)
    outside = np.abs(oz) > 1.0
    if np.any(outside):
        reach = (np.copysign(1.0, oz) - oz) / dz
        x, y = ox + reach * dx, oy + reach * dy
        lid = np.where(oz < 0, 1.0, taper)
        reach[~((reach > 0) & (x * x + y * y <= lid * lid) & outside)] = np.inf
        met = np.minimum(met, reach)
    return met
