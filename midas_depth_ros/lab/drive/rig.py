"""The simulated robot, its camera and its avoidance; a plan of drives and their results.

The parameters of the nodes and the settings of the loop in one process both come from here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.lab.drive.by_hand import Help
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import RobotSettings, SyntheticCameraSettings
from midas_depth_ros.sim import DriveOutcome, RobotModel

CAMERA = 'camera'  # the depth node's default camera namespace
HORIZONTAL_FOV_RAD = 1.6  # wide, so that obstacles beside the robot were in view before
SIZE_EXACT, SIZE_MODEL = (256, 192), (320, 240)
ROBOT = RobotModel(camera_pitch_rad=0.25)
MAX_HEIGHT_M = 0.5  # the robot passes under higher obstacles


def camera_model(size: tuple[int, int]) -> CameraModel:
    """Return the robot's camera for pictures of this width and height."""
    return CameraModel.from_field_of_view(*size, HORIZONTAL_FOV_RAD)


def mount() -> CameraMount:
    """Return the mount of the robot's camera."""
    return CameraMount(ROBOT.camera_height_m, ROBOT.camera_pitch_rad)


def camera_parameters(exact: bool, rate_hz: float) -> dict[str, Any]:
    """Return the parameters of `synthetic_camera`."""
    width, height = SIZE_EXACT if exact else SIZE_MODEL
    return {
        'scene': 'robot',
        'camera': CAMERA,
        'rate': rate_hz,
        'width': width,
        'height': height,
        'horizontal_fov': HORIZONTAL_FOV_RAD,
        'camera_height': ROBOT.camera_height_m,
        'camera_pitch': ROBOT.camera_pitch_rad,
        'transport': 'raw',
        'robot.radius': ROBOT.radius_m,
        'robot.latency': ROBOT.latency_s,
        'robot.pictures': 'packed_depth' if exact else 'rendered',
    }


MOUNT_PARAMETERS = ('camera_height', 'camera_pitch')


def depth_parameters(rate_hz: float, model: str) -> dict[str, Any]:
    """Return the parameters of `depth_node`; an empty model is left out."""
    return {
        **({'model': model} if model else {}),
        'camera_height': ROBOT.camera_height_m,
        'camera_pitch': ROBOT.camera_pitch_rad,
        'max_rate': rate_hz,
        'output_size': 'network',
        'obstacles.max_height': MAX_HEIGHT_M,
    }


def avoidance_parameters() -> dict[str, Any]:
    """Return the parameters of `avoidance_node`."""
    return {
        'source': 'scan',
        'robot_width': 2 * ROBOT.radius_m,
        'robot_front': ROBOT.radius_m,
        'robot_rear': ROBOT.radius_m,
        'side_margin': 0.08,
        'sensor.x': ROBOT.camera_forward_m,
        'steering.enabled': True,
    }


def avoidance_topics() -> list[str]:
    """Return the remappings of `avoidance_node` to the topics of the camera."""
    names = ('scan', 'seen_free')
    return [word for name in names for word in ('-r', f'{name}:={CAMERA}/{name}')]


SCALES = ('floor', 'odometry', 'auto')  # where metres come from


def scale_parameters(scale: str, depth: str) -> dict[str, Any]:
    """Return the parameters of `depth_node` for one of `SCALES`; auto = floor and odometry.

    Only a network misses edges that motion shows; pictures of packed depth show no motion.
    """
    if scale == 'floor':
        return {'scale.floor_motion': depth == 'model'}
    return {'scale.source': scale, 'odometry.topic': 'odom'}


# --- The plan of the drives.


class DriveError(Exception):
    """Driving failed; the text gives the reason and the last message of the failed process."""


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """`depth`: exact (disturbed), metres (as of a network that gives them, by a factor `metres_off`
    too far) or model. `scale`: one of `SCALES`. Worlds are `seed`, `seed` + 1 and so on.
    `odometry_bias`, `slip` and so on are parameters `robot.*` of the simulated robot.
    """

    worlds: int = 5
    seed: int = 0
    depth: str = 'exact'
    model: str = DepthNodeSettings.model
    seconds: float = 30.0  # per drive
    speed_m_s: float = 0.4
    rate_hz: float = DepthNodeSettings.max_rate  # pictures per second
    avoiding: bool = True
    blind: bool = True
    worlds_are: str = RobotSettings.world
    metres_off: float = 1.0
    accept_licence: str = ''
    scale: str = 'floor'
    odometry_bias: float = RobotSettings.odometry_bias
    slip: float = RobotSettings.slip

    @property
    def by_odometry(self) -> bool:
        """Whether metres come from odometry, too."""
        return self.scale != 'floor'

    @property
    def seeds(self) -> range:
        """The seeds of the worlds."""
        return range(self.seed, self.seed + self.worlds)


NODES: dict[str, type] = {
    'synthetic_camera': SyntheticCameraSettings,
    'depth_node': DepthNodeSettings,
    'avoidance_node': AvoidanceSettings,
}


def node_parameters(plan: DrivePlan) -> dict[str, dict[str, Any]]:
    """Return the parameters of the nodes of a drive, by name of the node."""
    exact = plan.depth != 'model'
    depth = depth_parameters(plan.rate_hz, '' if exact else plan.model)
    if plan.depth == 'metres':
        depth = {name: depth[name] for name in depth if name not in MOUNT_PARAMETERS}
        depth['scale.source'] = 'model'
    return {
        'synthetic_camera': camera_parameters(exact, plan.rate_hz)
        | {
            'robot.world': plan.worlds_are,
            'robot.odometry_bias': plan.odometry_bias,
            'robot.slip': plan.slip,
        },
        'depth_node': depth
        | scale_parameters(plan.scale, plan.depth)
        | {'accept_licence': plan.accept_licence},
        'avoidance_node': avoidance_parameters(),
    }


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """The settings of the nodes of a drive."""

    camera: SyntheticCameraSettings
    depth: DepthNodeSettings
    avoidance: AvoidanceSettings


def node_settings(plan: DrivePlan) -> NodeSettings:
    """Return the same as settings, for the loop without nodes."""
    given = node_parameters(plan)
    return NodeSettings(*(build(kind, given[name]) for name, kind in NODES.items()))


# --- The results.


FAR_OFF = 0.10  # metres that are off by more than this share are counted


@dataclasses.dataclass(frozen=True)
class MetresTally:
    """Frames, those of them with metres, and those whose metres were `FAR_OFF`; unjudged: with
    metres, but hardly anything near to judge them by, or nobody who could. seconds: the time in
    which they were counted; 0 = not measured.
    """

    frames: int = 0
    with_metres: int = 0
    far_off: int = 0
    unjudged: int = 0
    seconds: float = 0.0

    def with_frame(self, off: float | None) -> MetresTally:
        """Return the tally with one more frame, whose metres are off by a share; None = has none,
        NaN = cannot be judged.
        """
        given = off is not None
        return self.plus(
            MetresTally(
                1, given, off is not None and abs(off) > FAR_OFF, given and math.isnan(off or 0.0)
            )
        )

    def plus(self, other: MetresTally) -> MetresTally:
        """Return the sum."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return MetresTally(*(one + more for one, more in zip(mine, theirs, strict=True)))


@dataclasses.dataclass(frozen=True)
class WorldResult:
    """The outcomes of one world, with avoidance and without (`blind`); None = not driven.

    by_hand: what a person did while there were no metres. metres: how good they were.
    """

    seed: int
    kind: str
    avoiding: DriveOutcome | None
    blind: DriveOutcome | None
    by_hand: Help | None = None
    metres: MetresTally | None = None


def summary(results: Sequence[WorldResult], **facts: Any) -> dict[str, Any]:
    """Return the object of --json; values of drives that were left out are None.

    A drive ends at its first collision or fall, so both count worlds.
    """
    avoiding = [each.avoiding for each in results if each.avoiding is not None]
    blind = [each.blind for each in results if each.blind is not None]

    def total(outcomes: list[DriveOutcome], name: str, digits: int) -> Any:
        return round(sum(getattr(each, name) for each in outcomes), digits) if outcomes else None

    def count(outcomes: list[DriveOutcome], name: str) -> int | None:
        return sum(getattr(each, name) > 0 for each in outcomes) if outcomes else None

    helped = [each.by_hand for each in results if each.by_hand is not None]
    by_hand = functools.reduce(Help.plus, helped, Help())
    judged = [each.metres for each in results if each.metres is not None and each.metres.frames]
    metres = functools.reduce(MetresTally.plus, judged, MetresTally())
    is_judged = metres.unjudged < metres.with_metres
    nearest = min((each.min_clearance_m for each in avoiding), default=None)
    return {
        'worlds': len(results),
        'collisions': count(avoiding, 'collisions'),
        'collisions_without_avoidance': count(blind, 'collisions'),
        'falls': count(avoiding, 'falls'),
        'falls_without_avoidance': count(blind, 'falls'),
        'distance_m': total(avoiding, 'distance_m', 2),
        'distance_without_avoidance_m': total(blind, 'distance_m', 2),
        'min_clearance_m': None if nearest is None else round(nearest, 3),
        'stops': total(avoiding, 'stops', 0),
        'seconds': total(avoiding, 'seconds', 1),
        'collided': [r.seed for r in results if r.avoiding and r.avoiding.collisions],
        'fell': [r.seed for r in results if r.avoiding and r.avoiding.falls],
        'times_by_hand': by_hand.times if helped else None,
        'distance_by_hand_m': round(by_hand.way_m, 2) if helped else None,
        'seconds_without_metres': round(by_hand.without_metres_s, 1) if helped else None,
        'frames': metres.frames if judged else None,
        'frames_with_metres': metres.with_metres if judged else None,
        'frames_far_off': metres.far_off if is_judged else None,
        'frames_unjudged': metres.unjudged if judged else None,
        'frames_seconds': round(metres.seconds, 1) if metres.seconds else None,
        **facts,
    }


def drive_line(seed: int, outcome: DriveOutcome, avoiding: bool) -> str:
    """Return one drive as a line of text."""
    end = 'fell' if outcome.falls else 'collided' if outcome.collisions else 'no collision'
    how = 'with avoidance' if avoiding else 'without avoidance'
    return (
        f'world {seed} {how}: {end} in {outcome.distance_m:.1f} m, {outcome.stops} stops, '
        f'clearance {outcome.min_clearance_m:.2f} m'
    )
