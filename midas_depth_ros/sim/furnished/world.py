"""A furnished room to drive in, made and drawn as the training places are.

Like `PlainWorld` it has a start, a plan for collisions and scans, and pictures with exact depth.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.furnished import furniture
from midas_depth_ros.sim.furnished.cast import View, grid_of
from midas_depth_ros.sim.furnished.panes import Pane, PanedPlace, depth_with_panes, view_panes
from midas_depth_ros.sim.furnished.place import (
    BALL,
    BOX,
    FLOOR_ID,
    STRUCTURE_ID,
    WOODS,
    Colour,
    FinishMaker,
    FloorSpace,
    Hall,
    Light,
    ObjectFrame,
    Part,
    PartTable,
    Place,
    PlaceBuilder,
    picked,
    rotation,
    scaled,
    varied,
)
from midas_depth_ros.sim.furnished.shading import Photo, develop
from midas_depth_ros.sim.furnished.textures import Atlas, atlas
from midas_depth_ros.sim.robot.ground import FLAT, Ground
from midas_depth_ros.sim.robot.plain_world import START_HEIGHTS_M, Start, free_start
from midas_depth_ros.sim.robot.plan_view import Convex, Disc, Heights, Outline, PlanView, Rectangle
from midas_depth_ros.sim.scene.render import Rendering
from midas_depth_ros.sim.scene.scene import Pose, Room

# --- A furnished place from above: the outlines of its parts between two heights.
#
# Upright boxes and tubes have exact outlines; tilted parts and balls have the convex hull of many
# lines on their surface, cut off at the two heights.

LINES = 48  # around a tube or a ball, and up a ball


def plan_of(place: Place, heights: Heights) -> PlanView:
    """Return the plan of a place between these heights, in metres above the floor."""
    outlines = [part_outline(part, heights) for part in place.parts]
    if isinstance(place, PanedPlace):
        outlines += [pane_outline(pane, heights) for pane in place.panes]
    hall, room = place.hall, None
    if hall is not None:
        room = Room(hall.low[0], hall.high[0], hall.low[1], hall.high[1], hall.height_m)
    return PlanView([each for each in outlines if each is not None], room)


def part_outline(part: Part, heights: Heights) -> Outline | None:
    """Return the outline of a part between these heights; None if there is nothing."""
    low, high = heights
    upright = not part.pitch_rad and not part.roll_rad
    bottom, top = part.centre[2] - part.half[2], part.centre[2] + part.half[2]
    if upright and (bottom >= high or top <= low):
        return None
    if upright and part.shape == BOX:
        return Rectangle(*part.centre[:2], *part.half[:2], part.yaw_rad)
    if upright and part.shape != BALL and part.half[0] == part.half[1]:
        ends = (np.clip([low, high], bottom, top) - bottom) / (top - bottom)
        widest = max(1 + (part.taper - 1) * float(end) for end in ends)
        return Disc(*part.centre[:2], part.half[0] * widest)
    lines = _surface_lines(part.shape, part.taper) * part.half
    lines = lines @ rotation(part.yaw_rad, part.pitch_rad, part.roll_rad).T + part.centre
    points = _clipped(lines, heights)[:, :2]
    return Convex(points) if len(points) else None


def pane_outline(pane: Pane, heights: Heights) -> Outline | None:
    """Return the outline of a pane between these heights: a line if it is upright."""
    middle, across, up = (np.array(each) for each in (pane.middle, pane.across, pane.up))
    corners = np.array([middle + a * across + b * up for a, b in _ROUND_ABOUT])
    points = _clipped(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), heights)[:, :2]
    return Convex(points) if len(points) else None


_ROUND_ABOUT = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def _clipped(lines: np.ndarray, heights: Heights) -> np.ndarray:
    """Ends of lines (N, 2, 3) cut off at two heights, (M, 3)."""
    start, along = lines[:, 0], lines[:, 1] - lines[:, 0]
    level = np.abs(along[:, 2]) < 1e-9
    slope = np.where(level, 1.0, along[:, 2])
    at = np.sort((np.array(heights) - start[:, 2:]) / slope[:, None], axis=1)
    begin, end = np.maximum(at[:, 0], 0.0), np.minimum(at[:, 1], 1.0)
    within = (start[:, 2] > heights[0]) & (start[:, 2] < heights[1])
    begin, end = np.where(level, 0.0, begin), np.where(level, 1.0, end)
    kept = np.where(level, within, begin < end)
    both = np.stack([start + along * begin[:, None], start + along * end[:, None]], axis=1)
    return both[kept].reshape(-1, 3)


@functools.lru_cache(maxsize=64)
def _surface_lines(shape: int, taper: float) -> np.ndarray:
    """Lines (N, 2, 3) on the surface of a unit shape, whose hull it is."""
    if shape == BOX:
        corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
        pairs = itertools.combinations(range(8), 2)
        edges = [(a, b) for a, b in pairs if (corners[a] != corners[b]).sum() == 1]
        return corners[np.array(edges)]
    line = np.linspace(-1, 1, LINES) if shape == BALL else np.array([-1.0, 1.0])
    around = np.arange(LINES) * math.tau / LINES
    radius = np.sqrt(1 - line**2) if shape == BALL else 1 + (taper - 1) * 0.5 * (line + 1)
    rings = np.stack([np.cos(around), np.sin(around)], axis=1)[None] * radius[:, None, None]
    heights = np.broadcast_to(line[:, None, None], (len(line), LINES, 1))
    grid = np.concatenate([rings, heights], axis=2)  # (from bottom to top, around, 3)
    upward = np.stack([grid[:-1], grid[1:]], axis=2).reshape(-1, 2, 3)
    round_about = np.stack([grid, np.roll(grid, -1, axis=1)], axis=2).reshape(-1, 2, 3)
    return np.concatenate([upward, round_about])


# --- A furnished room to drive in: sofa, table, shelves along the walls, objects in between.
#
# It has the furniture of the training places, in calm colours and with space to drive.

LENGTH_M, WIDTH_M, HEIGHT_M = (6.8, 8.2), (5.2, 6.2), 2.6
PAINTS: tuple[Colour, ...] = (
    (0.90, 0.88, 0.84),
    (0.30, 0.42, 0.50),
    (0.62, 0.30, 0.22),
    (0.22, 0.24, 0.27),
    (0.80, 0.62, 0.30),
    (0.45, 0.55, 0.45),
)
CLOTHS: tuple[Colour, ...] = (
    (0.20, 0.38, 0.44),
    (0.58, 0.24, 0.20),
    (0.70, 0.66, 0.60),
    (0.32, 0.34, 0.42),
    (0.76, 0.56, 0.26),
)
WALLS: tuple[Colour, ...] = ((0.92, 0.90, 0.85), (0.84, 0.88, 0.90), (0.90, 0.84, 0.76))
# Free-standing objects, for `picked`.
FREE = (
    (furniture.cartons, 0.45, 3.0),
    (furniture.plant, 0.35, 2.0),
    (furniture.bin_, 0.3, 2.0),
    (furniture.person, 0.35, 1.5),
    (furniture.cone, 0.3, 1.5),
    (furniture.bag, 0.3, 1.0),
)
APART_M = 0.75  # between free objects: the robot passes if it is careful


class CalmFinishMaker(FinishMaker):
    """Finishes in few colours, without odd patterns."""

    def plain(self, base: Colour | None = None, glow: float = 0.0, lively: float = 0.35) -> int:
        """Return paint of the room's own colours."""
        return super().plain(base or varied(self.rng, self.rng.choice(PAINTS)), glow)

    def cloth(self, lively: float = 0.4) -> int:
        """Return cloth of one colour."""
        base = varied(self.rng, self.rng.choice(CLOTHS))
        return self.of('soft', base, self.rng.uniform(0.15, 0.5), 0.15)

    def odd(self) -> int:
        """Return plain paint."""
        return self.plain()

    def furniture(self) -> int:
        """Return wood or white."""
        return self.wood() if self.rng.random() < 0.7 else self.plain(PAINTS[0])

    def wood(self) -> int:
        """Return light or dark wood."""
        base = varied(self.rng, self.rng.choice(WOODS[:4]), 0.06)
        return self.of('wood', base, self.rng.uniform(0.5, 1.2), 0.2, square=False)

    def front(self, base: int | None = None) -> int:
        """Return doors and drawers of wood or paint."""
        rng = self.rng
        body = rng.choice(WOODS[:4]) if rng.random() < 0.5 else rng.choice(PAINTS)
        return self.of('front', varied(rng, body, 0.06), rng.uniform(0.6, 1.2), 0.35, grain=0.04)


def lounge(rng: random.Random, atlas: Atlas) -> Place:
    """Return the room, centred on (0, 0), longer along x."""
    make = CalmFinishMaker(rng, atlas)
    builder = PlaceBuilder(make)
    length, width = rng.uniform(*LENGTH_M), rng.uniform(*WIDTH_M)
    floor = make.of('wood', varied(rng, rng.choice(WOODS[:2]), 0.05), 1.6, 0.22, grain=0.06)
    wall = wall_look(make, rng.choice(WALLS))
    accent = wall_look(make, scaled(rng.choice(CLOTHS), 1.25))
    ceiling = wall_look(make, (0.93, 0.93, 0.92))
    hall = Hall(
        (-0.5 * length, -0.5 * width),
        (0.5 * length, 0.5 * width),
        HEIGHT_M,
        (wall, accent, wall, wall),
        ceiling,
    )
    _rugs(builder, length, width)
    space = FloorSpace()
    sides = [
        (0.0, -0.5 * width, 0.0, length),
        (0.0, 0.5 * width, math.pi, length),
        (-0.5 * length, 0.0, -math.pi / 2, width),
        (0.5 * length, 0.0, math.pi / 2, width),
    ]
    for x, y, yaw, span in sides:
        _furnish(builder, space, (x, y, yaw), span)
    _dining(builder, space, length, width)
    for _ in range(rng.randint(4, 5)):
        stand(builder, space, hall)
    _ceiling_lamps(builder)
    lamp_at = 0.1 * length, 0.05 * width, HEIGHT_M - 0.3
    light = Light(lamp_at, False, (0.85, 0.82, 0.76), (0.62, 0.64, 0.68), 3.6)
    return builder.place(floor, light, hall=hall, mirror=0.25)


def wall_look(make: FinishMaker, base: Colour) -> int:
    """Return painted plaster."""
    return make.of('wall', base, make.rng.uniform(2, 4), 0.05, grain=0.03)


def _rugs(builder: PlaceBuilder, length: float, width: float) -> None:
    x, y = builder.rng.uniform(-0.25, 0.0) * length, builder.rng.uniform(-0.1, 0.1) * width
    builder.mark(x, y, 2.5, 1.8, 0.0, builder.make.cloth())
    builder.mark(x, y, 2.3, 1.6, 0.0, builder.make.cloth())


def _furnish(
    builder: PlaceBuilder, space: FloorSpace, side: tuple[float, float, float], span: float
) -> None:
    """Add pieces side by side along a wall whose frame has positive y into the room."""
    rng, make = builder.rng, builder.make
    base = builder.frame(*side, object_id=STRUCTURE_ID)
    base.box(0, 0.008, 0, span, 0.016, 0.08, make.plain(PAINTS[0]))
    pieces = [_shelf, _sofa, _cabinet, _door, _desk, _low_shelf]
    rng.shuffle(pieces)
    at = -0.5 * span + rng.uniform(0.7, 1.0)  # corners stay free, so that the robot gets out
    for build in pieces:
        wide = rng.uniform(1.2, 1.8)
        if at + wide > 0.5 * span - 0.7:
            break
        x, y = base.at(at + 0.5 * wide, 0.35)
        build(builder.frame(*base.at(at + 0.5 * wide, 0.02), side[2]), base, at, wide)
        space.take(x, y, 0.5 * wide)
        at += wide + rng.uniform(0.25, 0.8)


def _shelf(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.shelf(f, wide, wall.rng.uniform(1.5, 2.0))


def _low_shelf(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.shelf(f, wide, 0.8)
    picture(wall, at + 0.5 * wide, 0.8 * wide)


def _sofa(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.sofa(f, wide + 0.2)
    picture(wall, at + 0.5 * wide, 0.6 * wide)


def _cabinet(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.cabinet(f, wide, wall.rng.uniform(0.7, 1.0))
    _window(wall, at + 0.5 * wide, wide)


def _desk(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.desk(f, wide)
    _window(wall, at + 0.5 * wide, wide)


def _door(f: ObjectFrame, wall: ObjectFrame, at: float, wide: float) -> None:
    furniture.door(wall, at + 0.5 * wide)


def picture(wall: ObjectFrame, x: float, wide: float) -> None:
    """Add a framed picture at x along a wall."""
    frame, show = wall.make.wood(), wall.make.picture('picture', 5, 0.8)
    wall.box(x, 0.012, 1.2, wide, 0.024, 0.55, frame)
    wall.box(x, 0.016, 1.24, wide - 0.08, 0.024, 0.47, show)


def _window(wall: ObjectFrame, x: float, wide: float) -> None:
    day = wall.make.of('leaves', (0.86, 0.94, 1.0), 1.5, 0.2, (0.62, 0.74, 0.62), glow=1.5)
    frame = wall.make.plain(PAINTS[0])
    wall.box(x, 0.02, 1.05, wide + 0.1, 0.04, 1.2, frame)
    wall.box(x, 0.025, 1.1, wide, 0.04, 1.1, day)
    wall.box(x, 0.03, 1.1, 0.05, 0.05, 1.1, frame)


def _dining(builder: PlaceBuilder, space: FloorSpace, length: float, width: float) -> None:
    """Add a table with chairs."""
    rng = builder.rng
    x = rng.choice((-1, 1)) * rng.uniform(0.2, 0.26) * length  # the middle is for driving
    y = rng.choice((-1, 1)) * rng.uniform(0.1, 0.2) * width
    f = builder.frame(x, y, rng.uniform(-0.2, 0.2))
    furniture.table(f, 1.5, 0.85, 0.74)
    for across in (-0.35, 0.35):
        for side in (-1, 1):
            spot = f.at(across, side * 0.5)
            furniture.chair(builder.frame(*spot, f.yaw + (math.pi if side > 0 else 0)))
    space.take(x, y, 1.0)


def stand(builder: PlaceBuilder, space: FloorSpace, hall: Hall) -> None:
    """Add one object where there is space around it."""
    rng = builder.rng
    build, radius = picked(rng, FREE)
    for _ in range(30):
        x = rng.uniform(hall.low[0] + 0.9, hall.high[0] - 0.9)
        y = rng.uniform(hall.low[1] + 0.9, hall.high[1] - 0.9)
        if space.free(x, y, radius + APART_M - 0.4):
            space.take(x, y, radius + 0.4)
            build(builder.frame(x, y, rng.uniform(0, math.tau)))
            return


def _ceiling_lamps(builder: PlaceBuilder) -> None:
    white = builder.make.plain((1.0, 0.97, 0.9), glow=1.8)
    f = builder.frame(0, 0, object_id=STRUCTURE_ID)
    for x in (-1.8, 0.0, 1.8):
        f.box(x, 0, HEIGHT_M - 0.05, 1.1, 0.3, 0.05, white)


MEAN_GREY = 0.45  # grey level of the mean light
METERING = (64, 48)  # pixels
STARTS = 12  # free places to choose from: the one with the longest view


@dataclasses.dataclass(frozen=True)
class FurnishedWorld:
    """A place, the textures that it is drawn with, and a free place to start from."""

    place: Place
    texture_atlas: Atlas
    start: Start
    seed: int
    kind: str = 'furnished room'
    ground: Ground = FLAT

    def plan(self, heights: Heights) -> PlanView:
        """Return the plan between two heights, from above."""
        return plan_of(self.place, heights)

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """Return what a camera sees from a pose: picture, exact depth, floor."""
        light, depth, ids = view_panes(self.place, camera, pose, self.texture_atlas)
        return Rendering(develop(light, self._photo), depth, ids == FLOOR_ID)

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """Return the depth of `render`, without the picture."""
        view = View(grid_of(camera), pose.optical_axes, pose.position)
        return depth_with_panes(self.place, view, self._table)

    @functools.cached_property
    def _table(self) -> PartTable:
        return PartTable(self.place.parts)

    @functools.cached_property
    def _photo(self) -> Photo:
        """The exposure for everything seen from the start, so that pictures do not flicker."""
        x, y, yaw = self.start
        camera = CameraModel.from_field_of_view(*METERING, 1.5)
        lights = [
            view_panes(self.place, camera, Pose(x, y, 0.3, yaw + turn), self.texture_atlas)[0]
            for turn in (0.0, 1.57, 3.14, 4.71)
        ]
        mean = float(np.mean(np.minimum(lights, 1.2)))
        return Photo(
            exposure=MEAN_GREY / mean, gamma=0.85, contrast=0.15, vignette=0.15, blur_px=0.4
        )


@functools.lru_cache(maxsize=4)
def furnished_world(seed: int) -> FurnishedWorld:
    """Return the world of a seed."""
    rng = random.Random(seed)
    texture_atlas = atlas(0)
    place = lounge(rng, texture_atlas)
    plan = plan_of(place, START_HEIGHTS_M)
    starts = np.random.default_rng([seed, 6])
    free = [free_start(starts, plan, seed) for _ in range(STARTS)]
    start = max(free, key=lambda at: float(plan.reach(at[0], at[1], np.array([at[2]]))[0]))
    return FurnishedWorld(place, texture_atlas, start, seed)
