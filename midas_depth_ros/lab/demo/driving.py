"""What the demonstration runs where no source is named: a robot that drives and avoids.

From a plan follow the command lines of its processes; the robot, its camera and its avoidance are
those of `midas_depth drive`, with larger pictures.
"""

from __future__ import annotations

import numpy as np

from midas_depth_ros.lab.demo.recording import Beams, DriveRecording, Pair, Picture, Place
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.processes import node_command
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import read_parameters, settings_from
from midas_depth_ros.sim import FurnishedWorld, furnished_world
from midas_depth_ros.views import HeatmapOptions
from midas_depth_ros.views.drawing import text_height
from midas_depth_ros.views.top_view import FloorPlan, RobotSnapshot, TopView

PICTURE = (400, 300)  # what people look at; the network makes it smaller
SPEED_M_S = 0.4
PICTURE_NOISE = 1.0  # grey levels
TIMEOUT_S = 1.6  # how old a scan may be: twice the default, so that busy machines show a drive too


# Colours in even steps for even ratios of distance, from the nearest floor in view to across a
# room: even in 1/Z, nearly all of them would be for less than the first metre and a half. The
# legend stands beside the picture.
HEATMAP: dict[str, str | float | bool] = {
    'mode': 'metric',
    'metric_near': 0.3,
    'metric_far': 6.0,
    'mapping': 'log',
    'legend': False,
}


def heatmap_options(parameters: tuple[str, ...] = ()) -> HeatmapOptions | None:
    """Which colours are how far in the heatmaps of a drive, None where they are not in metres.

    parameters: further `name:=value` of depth_node. Raises ParameterFault.
    """
    given = {f'heatmap.{name}': value for name, value in HEATMAP.items()}
    given |= read_parameters('depth_node', DepthNodeSettings, [], parameters)
    settings = settings_from(DepthNodeSettings, given)
    options = settings.heatmap
    return options if options.mode == 'metric' else None


def world(seed: int) -> FurnishedWorld:
    """The world that is driven through."""
    return furnished_world(seed)


def robot_radius_m() -> float:
    """Of the disc that is driven."""
    return rig.ROBOT.radius_m


def robot_heights() -> tuple[float, float]:
    """Between which heights something is in its way, in metres."""
    return rig.ROBOT.heights


def commands(
    seed: int,
    model: str,
    rate_hz: float,
    camera_rate_hz: float,
    transport: str,
    parameters: tuple[str, ...] = (),
) -> dict[str, list[str]]:
    """The processes by name, in the order in which they start."""
    camera = rig.camera_parameters(False, camera_rate_hz) | {
        'robot.world': 'furnished',
        'robot.picture_noise': PICTURE_NOISE,
        'seed': seed,
        'width': PICTURE[0],
        'height': PICTURE[1],
        'transport': 'both',
    }
    depth = rig.depth_parameters(rate_hz, model) | {
        'output_size': 'input',
        'transport': transport,
        **{f'heatmap.{name}': value for name, value in HEATMAP.items()},
    }
    avoidance = rig.avoidance_parameters() | {'timeout': TIMEOUT_S}
    wishes = {'seed': seed, 'speed': SPEED_M_S}
    remapped = rig.avoidance_topics()
    return {
        'camera': node_command('nodes.sources.synthetic_camera', camera),
        'depth_node': node_command('nodes.depth.node', depth, parameters),
        'avoidance_node': [
            *node_command('nodes.avoidance_node', avoidance),
            *remapped,
        ],
        'commander': node_command('lab.drive.commander_node', wishes),
    }


# --- The top view beside the pictures of a drive: from its recording to a panel for every
# moment.

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
        moment = RobotSnapshot(
            place.x,
            place.y,
            place.yaw,
            robot_radius_m(),
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
    driven, heights = world(seed), robot_heights()
    solid, above = driven.plan(heights), driven.plan((heights[1], HEAD_ROOM_M))
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
