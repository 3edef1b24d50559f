"""What a place is put together with: random finishes, parts of objects, space on the floor."""

from __future__ import annotations

import colorsys
import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from midas_depth_ros.sim.furnished.parts import (
    BALL,
    BOX,
    FIRST_OBJECT_ID,
    TUBE,
    Colour,
    Finish,
    Hall,
    Light,
    Marking,
    Part,
    Place,
    Sky,
    Vector,
    triple,
)
from midas_depth_ros.sim.furnished.textures import Atlas

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
    """A random colour: mostly greyish; with probability `lively` any."""
    hue = rng.random()
    if rng.random() < lively:
        saturation, value = rng.uniform(0.3, 1.0), rng.uniform(0.15, 1.0)
    else:
        hue = rng.choice((hue, rng.uniform(0.03, 0.14)))
        saturation, value = rng.uniform(0.0, 0.25), rng.random() ** 0.8 * 0.92 + 0.04
    return colorsys.hsv_to_rgb(hue, saturation, value)


def varied(rng: random.Random, base: Colour, amount: float = 0.12) -> Colour:
    """A colour near `base`."""
    light = math.exp(rng.gauss(0, amount * 1.5))
    return triple(min(max(c * light * (1 + rng.gauss(0, 0.5 * amount)), 0.01), 1.0) for c in base)


def scaled(base: Colour, factor: float, most: float = 1.0) -> Colour:
    red, green, blue = base
    return min(red * factor, most), min(green * factor, most), min(blue * factor, most)


class FinishMaker:
    """Makes finishes with the textures of one atlas, and numbers them."""

    def __init__(self, rng: random.Random, atlas: Atlas) -> None:
        self.rng = rng
        self.finishes: list[Finish] = []
        self._roles = atlas.roles
        self._shared: dict[str, list[int]] = {}

    def texture(self, role: str) -> int:
        return self.rng.choice(self._roles[role])

    def add(self, finish: Finish) -> int:
        """The number of `finish`."""
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
        """`base` under a texture of `role`, between darker and lighter by `contrast`."""
        rng = self.rng
        low = second or scaled(base, 1 - contrast)
        palette = (low, base) if second else (low, base, scaled(base, 1 + 0.5 * contrast))
        if rng.random() < 0.15:
            palette = palette[::-1]
        across = size * math.exp(rng.gauss(0, 0.25))
        return self.add(
            Finish(
                palette,
                self.texture(role),
                (across, across if square else across * rng.uniform(0.5, 2)),
                self.texture('grain'),
                size * rng.uniform(0.3, 1.5),
                grain * rng.uniform(0.3, 1.8),
                turn,
                (rng.random(), rng.random()),
                glow,
            )
        )

    def plain(self, base: Colour | None = None, glow: float = 0.0, lively: float = 0.35) -> int:
        """Paint, plastic, metal: nearly one colour."""
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
        """Anything at all: strong patterns, for objects and sometimes floors and walls."""
        rng = self.rng
        palette = tuple(colour(rng, 0.5) for _ in range(rng.choice((2, 2, 3, 5))))
        size = math.exp(rng.uniform(math.log(0.1), math.log(2.0)))
        return self.add(
            Finish(
                palette,
                self.texture('odd'),
                (size, size * rng.uniform(0.6, 1.6)),
                self.texture('grain'),
                size,
                rng.uniform(0, 0.2),
                rng.choice((0.0, rng.uniform(0, math.pi))),
                (rng.random(), rng.random()),
            )
        )

    def picture(self, role: str = 'picture', stops: int = 6, size: float = 0.7) -> int:
        """Many colours: posters, books, screens."""
        palette = tuple(colour(self.rng, 0.5) for _ in range(stops))
        return self.add(Finish(palette, self.texture(role), (size, size), grain_depth=0.03))

    def shared(self, name: str, make: Callable[[], int], again: float = 0.6) -> int:
        """One that was made under this name before, with probability `again`, or a new one."""
        known = self._shared.setdefault(name, [])
        if not known or self.rng.random() > again:
            known.append(make())
            return known[-1]
        return self.rng.choice(known)

    def furniture(self) -> int:
        """Wood, paint, rarely odd."""
        pick = self.rng.random()
        if pick < 0.5:
            return self.wood()
        if pick < 0.93:
            return self.plain(lively=0.25)
        return self.odd()

    def front(self, base: int | None = None) -> int:
        """Doors and drawers."""
        rng = self.rng
        body = varied(rng, rng.choice(WOODS)) if rng.random() < 0.45 else colour(rng, 0.2)
        return self.of('front', body, rng.uniform(0.5, 1.6), 0.45, grain=0.05, square=False)


# --- Putting a place together, object by object.


Choices = Sequence[tuple[Callable[..., None], float, float]]


def picked(rng: random.Random, choices: Choices) -> tuple[Callable[..., None], float]:
    """(what builds it, the radius it takes) of one of (builder, radius, how often it is taken)."""
    build, radius, _ = rng.choices(choices, [weight for *_, weight in choices])[0]
    return build, radius


@dataclasses.dataclass
class FloorSpace:
    """What is taken on the floor: circles (x, y, radius) that things keep clear of."""

    taken: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def free(self, x: float, y: float, radius: float) -> bool:
        return all(math.hypot(x - a, y - b) > radius + r for a, b, r in self.taken)

    def take(self, x: float, y: float, radius: float) -> None:
        self.taken.append((x, y, radius))


class PlaceBuilder:
    """Collects a place's parts and markings; every `frame` starts a new object."""

    def __init__(self, make: FinishMaker) -> None:
        self.make, self.rng = make, make.rng
        self.parts: list[Part] = []
        self.markings: list[Marking] = []
        self._objects = FIRST_OBJECT_ID

    def place(
        self, floor: int, light: Light, sky: Sky = WHITE, hall: Hall | None = None, **more: Any
    ) -> Place:
        """All that was collected; `more` are other fields of a `Place`."""
        finishes, parts = tuple(self.make.finishes), tuple(self.parts)
        return Place(finishes, floor, parts, light, sky, hall, tuple(self.markings), **more)

    def frame(
        self, x: float, y: float, yaw: float = 0.0, z: float = 0.0, object_id: int | None = None
    ) -> ObjectFrame:
        """Where an object is put together; with `object_id`, a piece of that one."""
        if object_id is None:
            object_id = self._objects
            self._objects += 1
        return ObjectFrame(self, x, y, z, yaw, object_id)

    def mark(
        self, x: float, y: float, length: float, width: float, yaw: float, finish: int
    ) -> None:
        """Paint a rectangle on the floor."""
        c, s = math.cos(yaw), math.sin(yaw)
        corners = []
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            u, v = 0.5 * a * length, 0.5 * b * width
            corners.append((x + c * u - s * v, y + s * u + c * v))
        self.markings.append(Marking(tuple(corners), finish))

    def mark_round(
        self, x: float, y: float, radius: float, finish: int, rough: float = 0.0
    ) -> None:
        """Paint a round shape, or a blot, on the floor."""
        corners = []
        for i in range(20):
            r = radius * (1 + self.rng.uniform(-rough, rough))
            corners.append(
                (x + r * math.cos(i * math.tau / 20), y + r * math.sin(i * math.tau / 20))
            )
        self.markings.append(Marking(tuple(corners), finish))


class ObjectFrame:
    """Puts parts by their place in an object: x, y of the middle, z of the underside."""

    def __init__(
        self, builder: PlaceBuilder, x: float, y: float, z: float, yaw: float, object_id: int
    ) -> None:
        self.make, self.rng, self._parts = builder.make, builder.rng, builder.parts
        self.yaw, self.object_id = yaw, object_id
        self._x, self._y, self._z = x, y, z
        self._c, self._s = math.cos(yaw), math.sin(yaw)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place in the world."""
        return self._x + self._c * x - self._s * y, self._y + self._s * x + self._c * y

    def _put(
        self,
        shape: int,
        x: float,
        y: float,
        z: float,
        half: Vector,
        finish: int,
        yaw: float,
        pitch: float,
        roll: float,
        taper: float = 1.0,
    ) -> None:
        px, py = self.at(x, y)
        length, width, height = half
        half = max(length, 1e-3), max(width, 1e-3), max(height, 1e-3)
        self._parts.append(
            Part(
                shape,
                (px, py, self._z + z),
                half,
                finish,
                self.object_id,
                self.yaw + yaw,
                pitch,
                roll,
                taper,
            )
        )

    def box(
        self,
        x: float,
        y: float,
        z: float,
        length: float,
        width: float,
        height: float,
        finish: int,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
    ) -> None:
        half = (0.5 * length, 0.5 * width, 0.5 * height)
        self._put(BOX, x, y, z + half[2], half, finish, yaw, pitch, roll)

    def tube(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        height: float,
        finish: int,
        taper: float = 1.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        yaw: float = 0.0,
        flat: float = 1.0,
    ) -> None:
        """`radius` at the foot; the foot is at z where the tube stands upright."""
        half = (radius, radius * flat, 0.5 * height)
        self._put(TUBE, x, y, z + half[2], half, finish, yaw, pitch, roll, taper)

    def ball(
        self,
        x: float,
        y: float,
        z: float,
        rx: float,
        ry: float,
        rz: float,
        finish: int,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
    ) -> None:
        """z is that of the middle."""
        self._put(BALL, x, y, z, (rx, ry, rz), finish, yaw, pitch, roll)
