"""A world to drive in that is made and drawn as the training world's rooms are.

As `DriveWorld` it has a start, a plan for collisions and scans, and pictures with exact depth. The
same seed is the same world.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.cast import View, cast, grid_of
from midas_depth_ros.sim.drive_world import START_HEIGHTS_M, Start, free_start
from midas_depth_ros.sim.lounge import lounge
from midas_depth_ros.sim.parts import FLOOR_ID, PartTable, Place
from midas_depth_ros.sim.photo import Photo, develop
from midas_depth_ros.sim.place_plan import plan_of
from midas_depth_ros.sim.plan_view import Heights, PlanView
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.render import Rendering
from midas_depth_ros.sim.textures import Atlas, atlas
from midas_depth_ros.sim.world import view_place

MEAN_GREY = 0.45  # what the camera makes of the mean light
METERING = (64, 48)  # pixels
STARTS = 12  # of so many free places the one is taken that looks farthest


@dataclasses.dataclass(frozen=True)
class FurnishedWorld:
    """A place, the textures that it is drawn with, and a free place to start from."""

    place: Place
    texture_atlas: Atlas
    start: Start
    seed: int
    kind: str = 'furnished room'

    def plan(self, heights: Heights) -> PlanView:
        """What there is between two heights, from above."""
        return plan_of(self.place, heights)

    def render(self, camera: CameraModel, pose: Pose) -> Rendering:
        """What a camera sees from a pose: picture, exact depth, floor."""
        light, depth, ids = view_place(self.place, camera, pose, self.texture_atlas)
        return Rendering(develop(light, self._photo), depth, ids == FLOOR_ID)

    def depth_z(self, camera: CameraModel, pose: Pose) -> np.ndarray:
        """The depth of `render`, without the picture."""
        view = View(grid_of(camera), pose.optical_axes, pose.position)
        return cast(view, self._table, self.place.hall, self.place.ground_m)[0]

    @functools.cached_property
    def _table(self) -> PartTable:
        return PartTable(self.place.parts)

    @functools.cached_property
    def _photo(self) -> Photo:
        """Exposed once, for all that is seen from the start: pictures do not flicker."""
        x, y, yaw = self.start
        camera = CameraModel.from_field_of_view(*METERING, 1.5)
        lights = [
            view_place(self.place, camera, Pose(x, y, 0.3, yaw + turn), self.texture_atlas)[0]
            for turn in (0.0, 1.57, 3.14, 4.71)
        ]
        mean = float(np.mean(np.minimum(lights, 1.2)))
        return Photo(
            exposure=MEAN_GREY / mean, gamma=0.85, contrast=0.15, vignette=0.15, blur_px=0.4
        )


@functools.lru_cache(maxsize=4)
def furnished_world(seed: int) -> FurnishedWorld:
    """The world of a seed."""
    rng = random.Random(seed)
    texture_atlas = atlas('train', 0)
    place = lounge(rng, texture_atlas)
    plan = plan_of(place, START_HEIGHTS_M)
    starts = np.random.default_rng([seed, 6])
    start = max((free_start(starts, plan, seed) for _ in range(STARTS)), key=_ahead(plan))
    return FurnishedWorld(place, texture_atlas, start, seed)


def _ahead(plan: PlanView) -> Callable[[Start], float]:
    """How far it is free ahead of a start, in metres."""
    return lambda start: float(plan.reach(start[0], start[1], np.array([start[2]]))[0])
