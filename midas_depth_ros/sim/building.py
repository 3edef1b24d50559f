"""Putting a place together: a yard that collects its parts, frames in which objects are built."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.parts import (
    BALL,
    BOX,
    FIRST_OBJECT_ID,
    TUBE,
    Marking,
    Part,
    Vector,
)
from midas_depth_ros.sim.stock import Stock


class Yard:
    """Collects a place's parts and markings; every `frame` starts a new object."""

    def __init__(self, rng: random.Random, stock: Stock) -> None:
        self.rng, self.stock = rng, stock
        self.parts: list[Part] = []
        self.markings: list[Marking] = []
        self._objects = FIRST_OBJECT_ID

    def frame(
        self, x: float, y: float, yaw: float = 0.0, z: float = 0.0, object_id: int | None = None
    ) -> Frame:
        """Where an object is put together; with `object_id`, a piece of that one."""
        if object_id is None:
            object_id = self._objects
            self._objects += 1
        return Frame(self.parts, x, y, z, yaw, object_id)

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


class Frame:
    """Puts parts by their place in an object: x, y of the middle, z of the underside."""

    def __init__(
        self, parts: list[Part], x: float, y: float, z: float, yaw: float, object_id: int
    ) -> None:
        self.object_id = object_id
        self._parts, self._x, self._y, self._z, self._yaw = parts, x, y, z, yaw
        self._c, self._s = math.cos(yaw), math.sin(yaw)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place in the world."""
        return self._x + self._c * x - self._s * y, self._y + self._s * x + self._c * y

    @property
    def yaw(self) -> float:
        return self._yaw

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
                self._yaw + yaw,
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
