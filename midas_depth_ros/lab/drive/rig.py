"""The simulated robot, its camera and its avoidance; a plan of drives and their results.

The parameters of the nodes and the settings of the loop in one process both come from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from midas_depth_ros.geometry import CameraModel, CameraMount
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


# --- The plan of the drives.


class DriveError(Exception):
    """Driving failed; the text gives the reason and the last message of the failed process."""


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """`depth`: exact (disturbed), metres (as of a network that gives them, by a factor `metres_off`
    too far) or model. Worlds are `seed`, `seed` + 1 and so on.
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
        | {'robot.world': plan.worlds_are},
        'depth_node': depth | {'accept_licence': plan.accept_licence},
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


@dataclasses.dataclass(frozen=True)
class WorldResult:
    """The outcomes of one world, with avoidance and without (`blind`); None = not driven."""

    seed: int
    kind: str
    avoiding: DriveOutcome | None
    blind: DriveOutcome | None


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
