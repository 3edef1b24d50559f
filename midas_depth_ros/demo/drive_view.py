"""The top view beside the pictures of a drive: from its recording to a panel for every moment."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.demo import driving
from midas_depth_ros.demo.drive_recording import Beams, DriveRecording, Place
from midas_depth_ros.demo.recording import Pair, Picture
from midas_depth_ros.views.legend import text_height
from midas_depth_ros.views.top_view import FloorPlan, Moment, TopView

HEAD_ROOM_M = 2.2  # what hangs higher is not drawn
CLEAR_M = 3.0  # a beam that meets nothing is drawn so long
SAME_FRAME_S = 0.02


class DriveView:
    """Draws the top view of one drive."""

    def __init__(self, drive: DriveRecording, seed: int) -> None:
        self._drive = drive
        self._plan = floor_plan(seed)
        self._views: dict[int, TopView] = {}

    def has_scan(self, pair: Pair) -> bool:
        """Whether the node gave a scan of this frame, which it does while it has a scale."""
        return self._drive.scan_at(pair.stamp_s, SAME_FRAME_S) is not None

    def panel(self, pair: Pair, height: int) -> Picture:
        """The top view at the moment of a pair, so many pixels high."""
        drive, stamp = self._drive, pair.stamp_s
        view = self._view(height)
        place = drive.place_at(stamp)
        if place is None:
            return view.draw(None, ('no odometry: where the robot is, is not known',))
        scan = drive.scan_at(stamp, SAME_FRAME_S)
        moment = Moment(
            place.x,
            place.y,
            place.yaw,
            driving.robot_radius_m(),
            drive.path_until(stamp),
            None if scan is None else ends(scan, place),
        )
        state = drive.state_at(stamp) or 'waiting'
        lines = (
            f'{drive.distance_until(stamp):.1f} m driven, {state}',
            'grey: the room; coloured: the scan' if scan is not None else 'no scale: no scan',
        )
        return view.draw(moment, lines)

    def _view(self, height: int) -> TopView:
        if height not in self._views:
            self._views[height] = self._made(height)
        return self._views[height]

    def _made(self, height: int) -> TopView:
        text_px = text_height(height, height)
        return TopView(
            self._plan, height, TopView.fitting_width(self._plan, height, text_px), text_px
        )


def floor_plan(seed: int) -> FloorPlan:
    """The world's plan: what the robot cannot pass, and what it passes under."""
    world, heights = driving.world(seed), driving.robot_heights()
    solid, above = world.plan(heights), world.plan((heights[1], HEAD_ROOM_M))
    room = solid.room
    if room is None:
        raise ValueError(f'world {seed} has no walls')
    return FloorPlan(
        (room.x_min_m, room.x_max_m, room.y_min_m, room.y_max_m),
        [each.corners for each in solid.outlines],
        [each.corners for each in above.outlines],
    )


def ends(scan: Beams, place: Place) -> np.ndarray:
    """(N, 3) world x, y and distance of where beams end; distance NaN where nothing was met.

    A beam that is unknown ends where it begins.
    """
    met = np.isfinite(scan.ranges)
    length = np.where(met, scan.ranges, np.where(np.isnan(scan.ranges), 0.0, CLEAR_M))
    angle = place.yaw + scan.bearings
    return np.stack(
        [
            place.x + length * np.cos(angle),
            place.y + length * np.sin(angle),
            np.where(met, scan.ranges, np.nan),
        ],
        axis=1,
    )
