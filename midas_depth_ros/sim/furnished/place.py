"""What a furnished place is made of, as plain data, and how it is built.

A part is a unit box, ball or tube, scaled, turned and moved; furniture, cars and people are several
parts with one object id. The world is x forward, y left, z up; the floor is z = 0.
"""

from __future__ import annotations

import colorsys
import dataclasses
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from midas_depth_ros.sim.furnished.textures import Atlas

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]

BOX, BALL, TUBE = range(3)
SKY_ID, FLOOR_ID, STRUCTURE_ID, FIRST_OBJECT_ID = range(4)


@dataclasses.dataclass(frozen=True)
class Finish:
    """How a surface looks.

    palette: RGB stops (0..1) for the values of the pattern, dark to light. pattern, grain: rows of
    the texture atlas. repeat_m, grain_m: their size on the surface. grain_depth: how much the grain
    changes the brightness. turn_rad: direction of the pattern. glow: own light; such a surface is
    not lit.
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


@dataclasses.dataclass(frozen=True)
class Part:
    """A solid: `shape` fills the box of half sizes `half` about `centre`, in metres.

    Turned by yaw, pitch and roll as a body is (REP 103). A tube is along its own z; `half` is its
    radius at the bottom, `taper` the ratio of the radius at the top (0: a cone). `object_id`: the
    object it belongs to; `finish`: index into the finishes of its place.
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
    """The upright box around everything, seen from inside, and the finishes of its faces."""

    low: tuple[float, float]
    high: tuple[float, float]
    height_m: float
    walls: tuple[int, int, int, int]
    ceiling: int


@dataclasses.dataclass(frozen=True)
class Marking:
    """A flat shape on the floor: a rug, a line, a path. Corners (x, y), metres."""

    corners: tuple[tuple[float, float], ...]
    finish: int


@dataclasses.dataclass(frozen=True)
class Light:
    """The light that casts shadows, and ambient light.

    place: of the lamp or, for the sun (`is_sun`), the direction to it. colour, ambient: RGB
    factors. reach_m: the distance at which a lamp has its nominal brightness.
    """

    place: Vector
    is_sun: bool
    colour: Colour
    ambient: Colour
    reach_m: float = 3.0


@dataclasses.dataclass(frozen=True)
class Sky:
    """Zenith and horizon colours, RGB 0..1; atlas row and strength of the clouds."""

    zenith: Colour
    horizon: Colour
    clouds: int = 0
    cloudiness: float = 0.0


@dataclasses.dataclass(frozen=True)
class Place:
    """A whole scene. `floor` is a finish; with `ground_m` below 0 the floor is made of parts."""

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
    """Return three values as a tuple."""
    first, second, third = values
    return first, second, third


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return (3, 3) float64: columns are the turned axes."""
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
    """Parts in arrays, one row per part, for computing with many at once.

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
        """Return the rows where `chosen` (P,) is true."""
        result = object.__new__(PartTable)
        for name, values in vars(self).items():
            setattr(result, name, values[chosen])
        return result

    def __len__(self) -> int:
        return len(self.shape)


_UNIT_CORNERS = np.array([[2 * ((i >> axis) & 1) - 1 for axis in range(3)] for i in range(8)])


# --- Where rays meet the unit shapes, in closed form: box, ball and tube within -1..1 on all axes.

_PARALLEL = 1e-30  # added to avoid 0 times infinity

Along = list[np.ndarray]
Origin = Sequence[float | np.ndarray]  # of all rays, or of each


def meet_unit(
    shape: int, origin: Origin, direction: Along, taper: float | np.ndarray
) -> np.ndarray:
    """Return how far along each ray it first meets the shape from outside; inf if it misses.

    `taper`: radius of the top of a tube. Divides by 0 for rays parallel to a face: silence NumPy.
    `direction` is overwritten.
    """
    if shape == BOX:
        return _meet_box(origin, direction)
    return _meet_ball(origin, direction) if shape == BALL else _meet_tube(origin, direction, taper)


def _meet_box(origin: Origin, direction: Along) -> np.ndarray:
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


def _meet_ball(origin: Origin, direction: Along) -> np.ndarray:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    inside = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    near = (-b - np.sqrt(inside)) / a  # not a number where it misses
    return np.where(near > 0, near, np.inf)


def _meet_tube(origin: Origin, direction: Along, taper: float | np.ndarray) -> np.ndarray:
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


# --- Building a place: random finishes, parts of objects, space on the floor.

MAX_FINISHES = 250
WHITE = Sky((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
WOODS = (
    (0.72, 0.52, 0.33),
    (0.55, 0.36, 0.2),
    (0.36, 0.22, 0.13),
    (0.84, 0.7, 0.5),
    (0.2, 0.13, 0.09),
)


def colour(rng: random.Random, lively: float = 0.3) -> Colour:
    """Return a random colour: mostly greyish, with probability `lively` any."""
    hue = rng.random()
    if rng.random() < lively:
        saturation, value = rng.uniform(0.3, 1.0), rng.uniform(0.15, 1.0)
    else:
        hue = rng.choice((hue, rng.uniform(0.03, 0.14)))
        saturation, value = rng.uniform(0.0, 0.25), rng.random() ** 0.8 * 0.92 + 0.04
    return colorsys.hsv_to_rgb(hue, saturation, value)


def varied(rng: random.Random, base: Colour, amount: float = 0.12) -> Colour:
    """Return a colour near `base`."""
    light = math.exp(rng.gauss(0, amount * 1.5))
    return triple(min(max(c * light * (1 + rng.gauss(0, 0.5 * amount)), 0.01), 1.0) for c in base)


def scaled(base: Colour, factor: float, most: float = 1.0) -> Colour:
    red, green, blue = base
    return min(red * factor, most), min(green * factor, most), min(blue * factor, most)


class FinishMaker:
    """Makes and numbers finishes with the textures of one atlas."""

    def __init__(self, rng: random.Random, atlas: Atlas) -> None:
        self.rng = rng
        self.finishes: list[Finish] = []
        self._roles = atlas.roles
        self._shared: dict[str, list[int]] = {}

    def texture(self, role: str) -> int:
        return self.rng.choice(self._roles[role])

    def add(self, finish: Finish) -> int:
        """Return the number of `finish`."""
        if len(self.finishes) >= MAX_FINISHES:
            return self.rng.randrange(len(self.finishes))
        self.finishes.append(finish)
        return len(self.finishes) - 1

    def of(
        self,
        role: str,
        base: Colour,
        size: float = 1.0,
        contrast: float = 0.25,
        second: Colour | None = None,
        grain: float = 0.08,
        glow: float = 0.0,
        turn: float = 0.0,
        square: bool = True,
    ) -> int:
        """Return `base` under a texture of `role`, between darker and lighter by `contrast`."""
        rng = self.rng
        low = second or scaled(base, 1 - contrast)
        palette = (low, base) if second else (low, base, scaled(base, 1 + 0.5 * contrast))
        if rng.random() < 0.15:
            palette = palette[::-1]
        across = size * math.exp(rng.gauss(0, 0.25))
        pattern = self.texture(role)
        repeat = across, across if square else across * rng.uniform(0.5, 2)
        fine, fine_m = self.texture('grain'), size * rng.uniform(0.3, 1.5)
        depth, offset = grain * rng.uniform(0.3, 1.8), (rng.random(), rng.random())
        return self.add(Finish(palette, pattern, repeat, fine, fine_m, depth, turn, offset, glow))

    def plain(self, base: Colour | None = None, glow: float = 0.0, lively: float = 0.35) -> int:
        """Return paint, plastic or metal: nearly one colour."""
        base = base or colour(self.rng, lively)
        contrast = self.rng.uniform(0.02, 0.15)
        return self.of('plain', base, self.rng.uniform(0.3, 2), contrast, grain=0.05, glow=glow)

    def wood(self) -> int:
        base = varied(self.rng, self.rng.choice(WOODS))
        return self.of('wood', base, self.rng.uniform(0.5, 1.6), 0.3, square=False)

    def cloth(self, lively: float = 0.4) -> int:
        base = colour(self.rng, lively)
        role = 'soft' if self.rng.random() < 0.7 else 'cloth'
        second = colour(self.rng, lively) if self.rng.random() < 0.25 else None
        return self.of(role, base, self.rng.uniform(0.15, 0.8), 0.2, second)

    def odd(self) -> int:
        """Return a strong pattern, for objects and sometimes floors and walls."""
        rng = self.rng
        palette = tuple(colour(rng, 0.5) for _ in range(rng.choice((2, 2, 3, 5))))
        size = math.exp(rng.uniform(math.log(0.1), math.log(2.0)))
        pattern, repeat = self.texture('odd'), (size, size * rng.uniform(0.6, 1.6))
        fine, depth = self.texture('grain'), rng.uniform(0, 0.2)
        turn, offset = rng.choice((0.0, rng.uniform(0, math.pi))), (rng.random(), rng.random())
        return self.add(Finish(palette, pattern, repeat, fine, size, depth, turn, offset))

    def picture(self, role: str = 'picture', stops: int = 6, size: float = 0.7) -> int:
        """Return many colours: posters, books, screens."""
        palette = tuple(colour(self.rng, 0.5) for _ in range(stops))
        return self.add(Finish(palette, self.texture(role), (size, size), grain_depth=0.03))

    def shared(self, name: str, make: Callable[[], int], again: float = 0.6) -> int:
        """Return a finish made under this name before, with probability `again`, or a new one."""
        known = self._shared.setdefault(name, [])
        if not known or self.rng.random() > again:
            known.append(make())
            return known[-1]
        return self.rng.choice(known)

    def furniture(self) -> int:
        """Return wood, paint, rarely something odd."""
        pick = self.rng.random()
        if pick < 0.5:
            return self.wood()
        if pick < 0.93:
            return self.plain(lively=0.25)
        return self.odd()

    def front(self, base: int | None = None) -> int:
        """Return doors and drawers."""
        rng = self.rng
        body = varied(rng, rng.choice(WOODS)) if rng.random() < 0.45 else colour(rng, 0.2)
        return self.of('front', body, rng.uniform(0.5, 1.6), 0.45, grain=0.05, square=False)


Choices = Sequence[tuple[Callable[..., None], float, float]]


def picked(rng: random.Random, choices: Choices) -> tuple[Callable[..., None], float]:
    """Return (builder, radius) of one of (builder, radius, weight), at random by weight."""
    build, radius, _ = rng.choices(choices, [weight for *_, weight in choices])[0]
    return build, radius


@dataclasses.dataclass
class FloorSpace:
    """Occupied floor: circles (x, y, radius) that objects keep clear of."""

    taken: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def free(self, x: float, y: float, radius: float) -> bool:
        return all(math.hypot(x - a, y - b) > radius + r for a, b, r in self.taken)

    def take(self, x: float, y: float, radius: float) -> None:
        self.taken.append((x, y, radius))


class PlaceBuilder:
    """Collects the parts and markings of a place; every `frame` starts a new object."""

    def __init__(self, make: FinishMaker) -> None:
        self.make, self.rng = make, make.rng
        self.parts: list[Part] = []
        self.markings: list[Marking] = []
        self._objects = FIRST_OBJECT_ID

    def place(
        self, floor: int, light: Light, sky: Sky = WHITE, hall: Hall | None = None, **more: Any
    ) -> Place:
        """Return the place; `more` are other fields of `Place`."""
        finishes, parts = tuple(self.make.finishes), tuple(self.parts)
        return Place(finishes, floor, parts, light, sky, hall, tuple(self.markings), **more)

    def frame(
        self, x: float, y: float, yaw: float = 0.0, z: float = 0.0, object_id: int | None = None
    ) -> ObjectFrame:
        """Return a frame to build an object in; with `object_id`, a piece of that one."""
        if object_id is None:
            object_id = self._objects
            self._objects += 1
        return ObjectFrame(self, x, y, z, yaw, object_id)

    def mark(
        self, x: float, y: float, length: float, width: float, yaw: float, finish: int
    ) -> None:
        """Paint a rectangle on the floor."""
        frame = self.frame(x, y, yaw, object_id=FLOOR_ID)
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        corners = (frame.at(0.5 * a * length, 0.5 * b * width) for a, b in signs)
        self.markings.append(Marking(tuple(corners), finish))

    def mark_round(
        self, x: float, y: float, radius: float, finish: int, rough: float = 0.0
    ) -> None:
        """Paint a round shape, or a blot, on the floor."""
        corners = []
        for i in range(20):
            r, a = radius * (1 + self.rng.uniform(-rough, rough)), i * math.tau / 20
            corners.append((x + r * math.cos(a), y + r * math.sin(a)))
        self.markings.append(Marking(tuple(corners), finish))


class ObjectFrame:
    """Adds parts by their place in an object: x, y of the middle, z of the underside."""

    def __init__(
        self, builder: PlaceBuilder, x: float, y: float, z: float, yaw: float, object_id: int
    ) -> None:
        self.make, self.rng, self._parts = builder.make, builder.rng, builder.parts
        self.yaw, self.object_id = yaw, object_id
        self._x, self._y, self._z = x, y, z
        self._c, self._s = math.cos(yaw), math.sin(yaw)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place in the world."""
        return self._x + self._c * x - self._s * y, self._y + self._s * x + self._c * y

    def _put(
        self,
        shape: int,
        centre: Vector,
        half: Vector,
        finish: int,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        taper: float = 1.0,
    ) -> None:
        place = *self.at(*centre[:2]), self._z + centre[2]
        half = triple(max(size, 1e-3) for size in half)
        part = Part(shape, place, half, finish, self.object_id, self.yaw + yaw, pitch, roll, taper)
        self._parts.append(part)

    def box(
        self,
        x: float,
        y: float,
        z: float,
        length: float,
        width: float,
        height: float,
        finish: int,
        **turn: float,
    ) -> None:
        """Add a box; `turn`: yaw, pitch, roll (rad)."""
        half = (0.5 * length, 0.5 * width, 0.5 * height)
        self._put(BOX, (x, y, z + half[2]), half, finish, **turn)

    def tube(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        height: float,
        finish: int,
        flat: float = 1.0,
        **turn: float,
    ) -> None:
        """Add a tube; `radius` at the foot, which is at z if the tube is upright."""
        half = (radius, radius * flat, 0.5 * height)
        self._put(TUBE, (x, y, z + half[2]), half, finish, **turn)

    def ball(
        self,
        x: float,
        y: float,
        z: float,
        rx: float,
        ry: float,
        rz: float,
        finish: int,
        **turn: float,
    ) -> None:
        """Add a ball; z is that of its middle."""
        self._put(BALL, (x, y, z), (rx, ry, rz), finish, **turn)
