"""A robot's surroundings from above: the floor plan, its path, and what it sees.

Metres and radians go in, (H, W, 3) uint8 RGB comes out. The plan is drawn once, and each snapshot
onto a copy of it. x is forward and y left at a yaw of 0, as in REP 103.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from midas_depth_ros.views.drawing import (
    BACKGROUND,
    DIM_TEXT,
    TEXT,
    Colour,
    OptionError,
    draw_text,
    fit_text,
    text_mask,
)
from midas_depth_ros.views.heatmap import colour_table

Points = NDArray[np.float64]  # (N, 2) metres

FLOOR: Final[Colour] = (40, 42, 47)
ABOVE: Final[Colour] = (58, 61, 68)  # higher than the robot, which can drive under it
SOLID: Final[Colour] = (104, 109, 120)
WALL: Final[Colour] = (150, 155, 166)
SEEN_FREE: Final[Colour] = (70, 150, 190)
PATH: Final[Colour] = (120, 200, 255)
ROBOT: Final[Colour] = (245, 245, 240)
SEEN_ALPHA: Final = 0.30
HIT_NEAR_M, HIT_FAR_M = 0.3, 3.0  # warm to cold
MARGIN_M: Final = 0.2
SHIFT: Final = 4  # OpenCV draws on 1/16 of a pixel
FINE: Final = 2  # supersampling factor
LARGEST_SIDE: Final = 8192  # pixels
FARTHEST_PX: Final = (
    4 * FINE * LARGEST_SIDE
)  # OpenCV also fills rows far outside: points are clipped


@dataclasses.dataclass(frozen=True)
class FloorPlan:
    """The surroundings: walls as (x_min, x_max, y_min, y_max), outlines as corners (N, 2)."""

    walls: tuple[float, float, float, float]
    solid: Sequence[Points] = ()
    above: Sequence[Points] = ()


@dataclasses.dataclass(frozen=True)
class RobotSnapshot:
    """Where the robot is, where it was, and what it sees; metres and radians.

    scan: (N, 3) x, y and distance of what each beam met, NaN = nothing. free: (N, 2) x, y of how
    far the floor was seen free along each beam, in their order. None while there is none.
    """

    x: float
    y: float
    yaw: float
    radius: float
    path: Points
    scan: NDArray[np.float64] | None = None
    free: Points | None = None


class TopView:
    """Draws snapshots on a plan into pictures of one size."""

    def __init__(self, plan: FloorPlan, height: int, width: int, text_px: int = 12) -> None:
        """Raises OptionError for an unsuitable size, and for walls without an area."""
        self._text_px = text_px
        self._line = text_mask('', text_px).shape[0]
        self._strip = 2 * self._line + 8
        if height < 2 * self._strip or width < 32:
            raise OptionError(f'a top view of {width}x{height} is too small: make it larger')
        if max(height, width) > LARGEST_SIDE:
            raise OptionError(f'a top view of {width}x{height}: no side above {LARGEST_SIDE}')
        x_min, x_max, y_min, y_max = plan.walls
        if not (0 < x_max - x_min < math.inf and 0 < y_max - y_min < math.inf):
            raise OptionError(f'walls at {plan.walls} m enclose no area')
        # The longer side of the room along the longer side of the picture.
        self._upright = (x_max - x_min > y_max - y_min) == (height - self._strip > width)
        spans = (y_max - y_min, x_max - x_min) if self._upright else (x_max - x_min, y_max - y_min)
        room = height - self._strip, width
        self._scale = FINE * min(
            room[0] / (spans[1] + 2 * MARGIN_M), room[1] / (spans[0] + 2 * MARGIN_M)
        )
        self._middle = 0.5 * (x_min + x_max), 0.5 * (y_min + y_max)
        self._size = FINE * room[0], FINE * width
        self._hot = colour_table('inferno')
        self._inside = np.zeros(self._size, np.uint8)
        self._ground = self._drawn(plan)

    @staticmethod
    def fitting_width(plan: FloorPlan, height: int, text_px: int = 12) -> int:
        """Return the width in pixels of an upright plan in a picture of this height."""
        x_min, x_max, y_min, y_max = plan.walls
        short, long = sorted((x_max - x_min, y_max - y_min))
        room = height - 2 * text_mask('', text_px).shape[0] - 8
        return round(room * (short + 2 * MARGIN_M) / (long + 2 * MARGIN_M))

    def draw(self, moment: RobotSnapshot | None, lines: Sequence[str] = ()) -> NDArray[np.uint8]:
        """Draw the plan, with a snapshot if given, and at most two lines of text below."""
        canvas = self._ground.copy()
        if moment is not None:
            if moment.free is not None and len(moment.free):
                self._draw_free(canvas, moment, moment.free)
            if moment.scan is not None and len(moment.scan):
                self._draw_met(canvas, moment.scan)
            if len(moment.path) > 1:
                path = [self._pixels(moment.path)]
                cv2.polylines(canvas, path, False, PATH, 2 * FINE, cv2.LINE_AA, SHIFT)
            self._draw_robot(canvas, moment)
        height, width = self._size
        picture = cv2.resize(canvas, (width // FINE, height // FINE), interpolation=cv2.INTER_AREA)
        return np.vstack([picture, self._caption(lines)])

    def _drawn(self, plan: FloorPlan) -> NDArray[np.uint8]:
        canvas = np.full((*self._size, 3), BACKGROUND, np.uint8)
        x_min, x_max, y_min, y_max = plan.walls
        room = np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)])
        cv2.fillPoly(canvas, [self._pixels(room)], FLOOR, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self._inside, [self._pixels(room)], 255, cv2.LINE_8, SHIFT)
        for outlines, colour in ((plan.above, ABOVE), (plan.solid, SOLID)):
            for outline in outlines:
                cv2.fillPoly(canvas, [self._pixels(outline)], colour, cv2.LINE_AA, SHIFT)
        cv2.polylines(canvas, [self._pixels(room)], True, WALL, 2 * FINE, cv2.LINE_AA, SHIFT)
        return canvas

    def _draw_free(self, canvas: NDArray[np.uint8], moment: RobotSnapshot, free: Points) -> None:
        """Tint the floor that was seen free."""
        around = np.vstack([[(moment.x, moment.y)], free])
        tinted = canvas.copy()
        cv2.fillPoly(tinted, [self._pixels(around)], SEEN_FREE, cv2.LINE_AA, SHIFT)
        tinted = cv2.addWeighted(tinted, SEEN_ALPHA, canvas, 1 - SEEN_ALPHA, 0)
        cv2.copyTo(tinted, self._inside, canvas)

    def _draw_met(self, canvas: NDArray[np.uint8], scan: NDArray[np.float64]) -> None:
        """Draw the obstacles, warmer = nearer."""
        met = scan[np.isfinite(scan[:, 2])]
        if not len(met):
            return
        near = 1 / np.clip(met[:, 2], HIT_NEAR_M, HIT_FAR_M) - 1 / HIT_FAR_M
        near /= 1 / HIT_NEAR_M - 1 / HIT_FAR_M
        colours = self._hot[np.rint(95 + 160 * np.sqrt(near)).astype(int)]
        for (x, y), colour in zip(self._pixels(met[:, :2]), colours, strict=True):
            centre = int(x), int(y)
            cv2.circle(canvas, centre, (2 * FINE) << SHIFT, colour.tolist(), -1, cv2.LINE_AA, SHIFT)

    def _draw_robot(self, canvas: NDArray[np.uint8], moment: RobotSnapshot) -> None:
        if not all(map(math.isfinite, (moment.x, moment.y, moment.yaw, moment.radius))):
            return  # its place is unknown
        nose_x = moment.x + moment.radius * math.cos(moment.yaw)
        nose_y = moment.y + moment.radius * math.sin(moment.yaw)
        (x, y), (nose_x, nose_y) = self._pixels(
            np.array([(moment.x, moment.y), (nose_x, nose_y)])
        ).tolist()
        radius = int(_sixteenths(moment.radius * self._scale))
        cv2.circle(canvas, (x, y), radius, BACKGROUND, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(canvas, (x, y), radius, ROBOT, 2 * FINE, cv2.LINE_AA, SHIFT)
        cv2.line(canvas, (x, y), (nose_x, nose_y), ROBOT, 2 * FINE, cv2.LINE_AA, SHIFT)

    def _caption(self, lines: Sequence[str]) -> NDArray[np.uint8]:
        strip = np.full((self._strip, self._size[1] // FINE, 3), BACKGROUND, np.uint8)
        for number, (text, colour) in enumerate(zip(lines, (TEXT, DIM_TEXT), strict=False)):
            shown = fit_text(text, self._text_px, strip.shape[1] - 12)
            draw_text(strip, shown, (6, 3 + number * self._line), self._text_px, colour)
        return strip

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        """Convert (N, 2) metres to (N, 2) sixteenths of a pixel."""
        away = np.asarray(points, np.float64) - self._middle
        # Upright: x goes up and y to the left; else x goes to the right and y up.
        right, up = (-away[:, 1], away[:, 0]) if self._upright else (away[:, 0], away[:, 1])
        height, width = self._size
        pixels = np.stack([0.5 * width + right * self._scale, 0.5 * height - up * self._scale], 1)
        return _sixteenths(pixels - 0.5)


def _sixteenths(pixels: ArrayLike) -> NDArray[np.int32]:
    """Convert pixels to the unit that OpenCV draws in; NaN becomes 0, and values are clipped."""
    near = np.clip(np.nan_to_num(pixels), -FARTHEST_PX, FARTHEST_PX)
    return np.rint(near * (1 << SHIFT)).astype(np.int32)
