"""Glass, mirrors and gloss: flat rectangles that show what is behind them, before them, or both.

A pane's depth is that of the pane itself, not of what it shows: a robot that takes glass or a
mirror for the room that is seen in it drives into it. Every pane therefore has something that lets
one know it: a frame, a rail, a handle, its own reflections.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.furnished.cast import View, cast, grid_of
from midas_depth_ros.sim.furnished.place import (
    FIRST_OBJECT_ID,
    WHITE,
    Colour,
    FinishMaker,
    Hall,
    Light,
    ObjectFrame,
    Part,
    PartTable,
    Place,
    PlaceBuilder,
    Sky,
    Vector,
)
from midas_depth_ros.sim.furnished.shading import MIRROR_STEP, Stage, coarser, shade, stage_of
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.render import dot, smooth_edges, tripled
from midas_depth_ros.sim.scene.scene import Pose

FIRST_PANE = 20_000  # in the index of what a pixel shows
BEHIND_M = 0.01  # parts that reach less than this before a pane are not mirrored in it
BRIGHTEST = 1.5


@dataclasses.dataclass(frozen=True)
class Pane:
    """A rectangle `middle` +- `across` +- `up`, metres, seen from both sides.

    shine: share of the light that is mirrored, seen straight on; it rises to 1 at flat angles
    (Schlick, 1994). clear: RGB factors on what is behind: 0 for a mirror, 1 for varnish. film:
    light of dust and smears. blur_px: how soft the mirror image is.
    """

    middle: Vector
    across: Vector
    up: Vector
    object_id: int
    shine: float
    clear: Colour = (1.0, 1.0, 1.0)
    film: float = 0.0
    blur_px: float = 0.0


@dataclasses.dataclass(frozen=True)
class PanedPlace(Place):
    """A place with panes. `watcher`: who holds the camera, seen in mirrors only."""

    panes: tuple[Pane, ...] = ()
    watcher: tuple[Part, ...] = ()


class PanedBuilder(PlaceBuilder):
    """Collects panes, too, and can go on building where a place was finished."""

    def __init__(self, make: FinishMaker) -> None:
        super().__init__(make)
        self.panes: list[Pane] = []
        self.watcher: list[Part] = []

    @classmethod
    def reopened(cls, place: Place, make: FinishMaker) -> PanedBuilder:
        """Return a builder with all that `place` has; `finished` gives the place again."""
        builder = cls(make)
        make.finishes = list(place.finishes)
        builder.parts, builder.markings = list(place.parts), list(place.markings)
        if isinstance(place, PanedPlace):
            builder.panes, builder.watcher = list(place.panes), list(place.watcher)
        last = max((part.object_id for part in place.parts), default=0)
        builder._objects = max(last + 1, FIRST_OBJECT_ID)
        return builder

    def place(
        self, floor: int, light: Light, sky: Sky = WHITE, hall: Hall | None = None, **more: Any
    ) -> PanedPlace:
        """Return the place; `more` are other fields of `Place`."""
        there = {part.object_id for part in self.parts}  # an object may have been removed
        kept = tuple(pane for pane in self.panes if pane.object_id in there)
        panes: dict[str, Any] = {'panes': kept, 'watcher': tuple(self.watcher)}
        finishes, parts = tuple(self.make.finishes), tuple(self.parts)
        markings = tuple(self.markings)
        return PanedPlace(finishes, floor, parts, light, sky, hall, markings, **more, **panes)

    def finished(self, place: Place, **changes: Any) -> PanedPlace:
        """Return `place` with what was added, and with other `changes`."""
        kept = {name: getattr(place, name) for name in ('sky', 'hall', 'ground_m', 'ground')}
        kept |= {'haze_m': place.haze_m, 'mirror': place.mirror}
        return self.place(**{'floor': place.floor, 'light': place.light, **kept, **changes})

    def pane(
        self,
        f: ObjectFrame,
        at: Vector,
        width: float,
        height: float,
        yaw: float = 0.0,
        lean: float = 0.0,
        **look: Any,
    ) -> None:
        """Add a pane to an object: `at` is the middle of its lower edge, its face along x.

        `yaw` turns it; `lean` (rad) tips it backwards, pi / 2 being a table top. `at` has its
        height above the floor of the world.
        """
        turn = f.yaw + yaw
        c, s = math.cos(turn), math.sin(turn)
        rise, back = 0.5 * height * math.cos(lean), 0.5 * height * math.sin(lean)
        up = (s * back, -c * back, rise)
        x, y = f.at(at[0], at[1])
        middle = (x + up[0], y + up[1], at[2] + rise)
        across = (0.5 * width * c, 0.5 * width * s, 0.0)
        self.panes.append(Pane(middle, across, up, f.object_id, **look))


def view_panes(
    place: Place, camera: CameraModel, pose: Pose, texture_atlas: Atlas
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `view_place` does, with the panes of a `PanedPlace`."""
    view = View(grid_of(camera), pose.optical_axes, pose.position)
    stage = stage_of(place, view, texture_atlas)
    distance, index = cast(view, stage.table, place.hall, place.ground_m)
    light, ids = shade(view, stage, (distance, index))
    if isinstance(place, PanedPlace) and place.panes:
        mirrored = stage
        if place.watcher:
            mirrored = dataclasses.replace(stage, table=PartTable(place.parts + place.watcher))
        ahead = pose.optical_axes[:, 2]
        order = sorted(place.panes, key=lambda pane: -float(ahead @ np.array(pane.middle)))
        for number, pane in enumerate(order):
            hit, met = _met(pane, view, distance)
            if not hit.any():
                continue
            _lay(pane, view, mirrored, light, hit)
            np.copyto(distance, met, where=hit)
            index[hit], ids[hit] = FIRST_PANE + number, pane.object_id
    smooth_edges(light, index, 0.7)
    return light, distance, ids


def depth_with_panes(place: Place, view: View, table: PartTable) -> np.ndarray:
    """Return the depth of `view_panes` alone, (H, W) float32 metres; table: the place's parts."""
    distance, _ = cast(view, table, place.hall, place.ground_m)
    for pane in place.panes if isinstance(place, PanedPlace) else ():
        hit, met = _met(pane, view, distance)
        np.copyto(distance, met, where=hit)
    return distance


def _normal(pane: Pane) -> np.ndarray:
    normal = np.cross(pane.across, pane.up)
    return normal / np.linalg.norm(normal)


def _met(pane: Pane, view: View, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rays meet a pane before anything else, and at what Z; (H, W) bool and float32."""
    normal, gap = _normal(pane), np.array(pane.middle) - view.origin
    with np.errstate(divide='ignore', invalid='ignore'):
        met = np.float32(normal @ gap) / dot(view.directions, normal.astype(np.float32))
        hit = (met > 0) & (met < distance)
        for side in (np.array(pane.across), np.array(pane.up)):
            along = (side / (side @ side)).astype(np.float32)
            place = met * dot(view.directions, along) - np.float32(along @ gap)
            hit &= np.abs(place) <= 1
    return hit, met


def _lay(pane: Pane, view: View, stage: Stage, light: np.ndarray, hit: np.ndarray) -> None:
    """Put a pane before the light of what is behind it, where `hit`."""
    lines, aisles = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
    rows = slice(int(lines[0]), int(lines[-1]) + 1)
    columns = slice(int(aisles[0]), int(aisles[-1]) + 1)
    normal = _normal(pane)
    image = _mirror_image(pane, view, stage, (rows, columns), normal)
    directions = [axis[rows, columns] for axis in view.directions]
    facing = np.abs(dot(directions, normal.astype(np.float32)))
    facing /= np.sqrt(dot(directions, directions))
    share = np.float32(pane.shine) + np.float32(1 - pane.shine) * (1 - facing) ** 5
    share = tripled(share)
    behind = light[rows, columns] * np.array(pane.clear, np.float32)
    shown = behind * (1 - share) + image * share + np.float32(pane.film)
    cv2.copyTo(shown, hit[rows, columns].astype(np.uint8), light[rows, columns])


def _mirror_image(
    pane: Pane, view: View, stage: Stage, window: tuple[slice, slice], normal: np.ndarray
) -> np.ndarray:
    """(h, w, 3) float32: what the rays of a window meet after the pane has mirrored them."""
    rows, columns = window
    middle = np.array(pane.middle)
    flip = np.eye(3) - 2 * np.outer(normal, normal)
    origin = middle + flip @ (view.origin - middle)
    inner = View(coarser(view.grid, rows, columns, MIRROR_STEP), flip @ view.axes, origin)
    before = (stage.table.corners - middle) @ normal * np.sign(normal @ (view.origin - middle))
    table = stage.table.subset(before.max(axis=1) > BEHIND_M)
    found = cast(inner, table, stage.place.hall, stage.place.ground_m)
    image, _ = shade(inner, dataclasses.replace(stage, table=table), found, mirror=False)
    if pane.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), pane.blur_px / MIRROR_STEP)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.minimum(cv2.resize(image, size), np.float32(BRIGHTEST))
