"""A furnished room with things at arm's length around the start, but for a way out.

Furniture, bags, a wall's corner, the edge of a low table: what a camera sees late or only in part.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import numpy as np

from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.panes import PanedBuilder
from midas_depth_ros.sim.furnished.place import Colour, Hall, ObjectFrame, Part, Place, varied
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.furnished.world import (
    HEIGHT_M,
    WALLS,
    CalmFinishMaker,
    lounge,
    part_outline,
    plan_of,
    wall_look,
)
from midas_depth_ros.sim.robot.plain_world import START_HEIGHTS_M, TRIES, Start, free_start
from midas_depth_ros.sim.robot.plan_view import PlanView
from midas_depth_ros.sim.scene.scene import Room, SceneError

Point = tuple[float, float]  # x and y, metres
BLACK: Colour = (0.05, 0.05, 0.05)
NEAR_M = (0.25, 0.6)  # from the start to things
NEAR_HEIGHTS_M = (0.02, 0.5)  # of what counts as near
WAY_OUT_M = 0.4  # free on both sides of the way out
OUT_M = 1.2  # how far the way out is kept free
TURN_RAD = (0.3, 1.1)  # from where the start looks to the way out
TRIES_NEAR = 8  # to put a thing in a direction


def crowded_start(rng: random.Random, textures: Atlas, seed: int) -> tuple[Place, Start]:
    """Return the room and the start among things. Raises SceneError where nothing fits."""
    lounge_ = lounge(rng, textures)
    builder = PanedBuilder.reopened(lounge_, CalmFinishMaker(rng, textures))
    x, y, out = _way_out(lounge_, seed)
    side = rng.choice((-1, 1))
    count = 0
    for turn in (0.9, 2.0, -0.9, 3.1, -2.0)[: rng.randint(3, 5)]:  # the first where it looks
        bearing = out + side * turn + rng.uniform(-0.2, 0.2)
        count += any(
            _put_near(builder, lounge_.hall, (x, y), (bearing, out)) for _ in range(TRIES_NEAR)
        )
    if count == 0:
        raise SceneError(f'world {seed} has nothing near its start: take another seed')
    start = x, y, math.remainder(out + side * rng.uniform(*TURN_RAD), math.tau)
    return builder.finished(lounge_), start


def _way_out(place: Place, seed: int) -> Start:
    """A free place, and the direction in which the robot gets away from it."""
    rng, plan = np.random.default_rng([seed, 12]), plan_of(place, START_HEIGHTS_M)
    for _ in range(TRIES):
        x, y, out = free_start(rng, plan, seed)
        if _is_free(plan, (x, y), out):
            return x, y, out
    raise SceneError(f'world {seed} has no free place to start from: take another seed')


def _is_free(plan: PlanView, start: Point, out: float) -> bool:
    """Whether a way out is free of things, wider the farther it is from the start."""
    c, s = math.cos(out), math.sin(out)
    return all(
        plan.gap(start[0] + c * way, start[1] + s * way) >= min(NEAR_M[0] + 0.5 * way, WAY_OUT_M)
        for way in np.arange(0, OUT_M, 0.1).tolist()
    )


def _put_near(
    builder: PanedBuilder, hall: Hall | None, start: Point, directions: tuple[float, float]
) -> bool:
    """Add one thing in the first direction, unless in another thing or in the way out, the second.

    directions: rad. Returns whether it was added.
    """
    bearing, out = directions
    rng, mine = builder.rng, len(builder.parts)
    c, s = math.cos(bearing), math.sin(bearing)
    gap = rng.uniform(*NEAR_M)
    build = rng.choice(NEAR)
    # Corners and tables turn an edge to the start, other things any side.
    turn = bearing + math.pi / 4 if build in EDGED else rng.uniform(0, math.tau)
    build(builder.frame(start[0] + 2.0 * c, start[1] + 2.0 * s, turn + rng.gauss(0, 0.2)))
    for _ in range(4):  # nearer, until it is at `gap`
        off = _plan_of_parts(builder.parts[mine:]).gap(*start) - gap
        builder.parts[mine:] = [_moved(p, -off * c, -off * s) for p in builder.parts[mine:]]
    near, others = _plan_of_parts(builder.parts[mine:]), _plan_of_parts(builder.parts[:mine], hall)
    corners = [corner for each in near.outlines for corner in each.corners.tolist()]
    is_good = near.gap(*start) > NEAR_M[0] - 0.01 and _is_free(near, start, out)
    is_good = is_good and all(others.gap(*corner) > 0 for corner in corners)
    if not is_good:
        del builder.parts[mine:]
    return is_good


def _plan_of_parts(parts: list[Part], hall: Hall | None = None) -> PlanView:
    outlines = (part_outline(part, NEAR_HEIGHTS_M) for part in parts)
    room = Room(hall.low[0], hall.high[0], hall.low[1], hall.high[1]) if hall else None
    return PlanView([each for each in outlines if each is not None], room)


def _moved(part: Part, x: float, y: float) -> Part:
    centre = part.centre[0] + x, part.centre[1] + y, part.centre[2]
    return dataclasses.replace(part, centre=centre)


def _wall_corner(f: ObjectFrame) -> None:
    wall = wall_look(f.make, f.rng.choice(WALLS))
    f.box(0, 0, 0, f.rng.uniform(0.3, 0.7), f.rng.uniform(0.3, 0.7), HEIGHT_M, wall)


def _low_table(f: ObjectFrame) -> None:
    """A table whose edge is as high as the camera: it hangs over what is seen of the floor."""
    long, wide = f.rng.uniform(0.6, 1.0), f.rng.uniform(0.45, 0.6)
    furniture.table(f, long, wide, f.rng.uniform(0.3, 0.36))


def _small_cabinet(f: ObjectFrame) -> None:
    furniture.cabinet(f, f.rng.uniform(0.4, 0.8), f.rng.uniform(0.5, 1.2))


def _black_box(f: ObjectFrame) -> None:
    rng = f.rng
    look = f.make.plain(varied(rng, BLACK))
    f.box(0, 0, 0, rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.5), rng.uniform(0.3, 1.2), look)


EDGED = (_wall_corner, _low_table)
NEAR: tuple[Callable[[ObjectFrame], None], ...] = (
    *EDGED,
    _small_cabinet,
    _black_box,
    furniture.bag,
    furniture.cartons,
    furniture.chair,
    furniture.bin_,
)
