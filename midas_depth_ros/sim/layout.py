"""What laying out any place needs: room on the floor, finishes, light, a camera."""

from __future__ import annotations

import dataclasses
import math
import random

from midas_depth_ros.sim.building import Yard
from midas_depth_ros.sim.parts import STRUCTURE_ID, Light, triple
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.stock import WOODS, Stock, colour, varied


@dataclasses.dataclass
class Ground:
    """What is taken on the floor: circles (x, y, radius) that things keep clear of."""

    taken: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def free(self, x: float, y: float, radius: float) -> bool:
        return all(math.hypot(x - a, y - b) > radius + r for a, b, r in self.taken)

    def take(self, x: float, y: float, radius: float) -> None:
        self.taken.append((x, y, radius))


def floor_finish(stock: Stock) -> tuple[int, float]:
    """A floor's finish, and how much it mirrors."""
    rng = stock.rng
    pick = rng.random()
    turn = rng.choice((0.0, math.pi / 2, rng.uniform(0, math.pi)))
    mirror = rng.choice((0.0, 0.0, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9)))
    if pick < 0.3:
        base = varied(rng, rng.choice(WOODS))
        return stock.of('wood', base, rng.uniform(1.0, 2.4), 0.35, turn=turn), mirror
    if pick < 0.5:
        base = colour(rng, 0.15)
        return stock.of(
            'tile', base, rng.uniform(0.5, 2.0), rng.uniform(0.1, 0.6), turn=turn
        ), mirror
    if pick < 0.72:
        return stock.of('soft', colour(rng, 0.35), rng.uniform(0.3, 1.0), 0.25, grain=0.15), 0.0
    if pick < 0.84:
        return stock.of('concrete', colour(rng, 0.05), rng.uniform(1, 3), 0.25, grain=0.12), mirror
    if pick < 0.93:
        return stock.plain(), mirror
    return stock.odd(), mirror


def wall_finish(stock: Stock) -> int:
    rng = stock.rng
    pick = rng.random()
    if pick < 0.72:
        base = colour(rng, 0.2)
        light = triple(0.45 + 0.5 * c for c in base)
        return stock.of('wall', light, rng.uniform(1, 4), rng.uniform(0.02, 0.12), grain=0.04)
    if pick < 0.8:
        return stock.of('brick', varied(rng, (0.6, 0.4, 0.32)), rng.uniform(0.8, 2), 0.4)
    if pick < 0.86:
        return stock.of('tile', colour(rng, 0.2), rng.uniform(0.4, 1.2), 0.2)
    if pick < 0.92:
        return stock.wood()
    return stock.odd()


def four_walls(stock: Stock, unlike: float) -> tuple[int, int, int, int]:
    """Finishes of a room's walls; each is another than the rest with probability `unlike`."""
    wall = wall_finish(stock)
    low, high, right, left = (
        wall_finish(stock) if stock.rng.random() < unlike else wall for _ in range(4)
    )
    return low, high, right, left


def indoor_light(rng: random.Random, x: float, y: float, z: float) -> Light:
    """A lamp at a place; or a dim one, warm or cold."""
    warm = rng.gauss(0.05, 0.1)
    tint = (1 + warm, 1.0, 1 - warm)
    key, ambient = rng.uniform(0.3, 1.3), rng.uniform(0.3, 0.9)
    cool = rng.gauss(0, 0.06)
    return Light(
        (x, y, z),
        False,
        triple(key * t for t in tint),
        triple(ambient * t for t in (1 - cool, 1.0, 1 + cool)),
        rng.uniform(2.0, 4.5),
    )


def indoor_pose(rng: random.Random, x: float, y: float, yaw: float, ceiling: float) -> Pose:
    if rng.random() < 0.45:  # a small robot
        height, pitch = rng.uniform(0.1, 0.6), math.radians(rng.gauss(4, 7))
    else:  # a person or a larger robot
        height, pitch = rng.uniform(0.6, 1.75), math.radians(rng.uniform(-6, 34))
    roll = math.radians(rng.gauss(0, 2.0) if rng.random() < 0.85 else rng.gauss(0, 7))
    return Pose(x, y, min(height, ceiling - 0.4), yaw, pitch, roll)


def keep_clear(yard: Yard, pose: Pose, gap: float = 0.14) -> None:
    """Take away every object that the camera is in, or nearly touches."""
    struck = set()
    for part in yard.parts:
        reach = math.hypot(part.half[0], part.half[1], part.half[2])
        x, y, z = part.centre
        dx, dy, dz = x - pose.x_m, y - pose.y_m, z - pose.z_m
        if math.hypot(dx, dy, dz) > reach + gap:
            continue
        c, s = math.cos(part.yaw_rad), math.sin(part.yaw_rad)
        x, y = c * dx + s * dy, c * dy - s * dx
        level = not part.pitch_rad and not part.roll_rad
        sides = part.half if level else (reach, reach, reach)
        if abs(x) < sides[0] + gap and abs(y) < sides[1] + gap and abs(dz) < sides[2] + gap:
            struck.add((part.object_id, part) if part.object_id == STRUCTURE_ID else part.object_id)
    if struck:
        yard.parts[:] = [
            part
            for part in yard.parts
            if part.object_id not in struck and (part.object_id, part) not in struck
        ]
