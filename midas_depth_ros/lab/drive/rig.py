"""What is driven: one robot, its camera, and how it is told to avoid, for both ways to drive.

From these follow the parameters of the nodes, and the objects of the loop in one process.
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
HORIZONTAL_FOV_RAD = 1.6  # wide: what stands beside the robot was in view before
SIZE_EXACT, SIZE_MODEL = (256, 192), (320, 240)
ROBOT = RobotModel(camera_pitch_rad=0.25)
MAX_HEIGHT_M = 0.5  # the robot passes below what hangs higher


def camera_model(size: tuple[int, int]) -> CameraModel:
    """The robot's camera with pictures of this width and height."""
    return CameraModel.from_field_of_view(*size, HORIZONTAL_FOV_RAD)


def mount() -> CameraMount:
    """How the robot's camera is mounted, as its user has measured it."""
    return CameraMount(ROBOT.camera_height_m, ROBOT.camera_pitch_rad)


def camera_parameters(exact: bool, rate_hz: float) -> dict[str, Any]:
    """The parameters of `synthetic_camera`."""
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


def depth_parameters(rate_hz: float, model: str) -> dict[str, Any]:
    """The parameters of `depth_node`; '' as model leaves it out."""
    named = {'model': model} if model else {}
    return {
        **named,
        'camera_height': ROBOT.camera_height_m,
        'camera_pitch': ROBOT.camera_pitch_rad,
        'max_rate': rate_hz,
        'output_size': 'network',
        'obstacles.max_height': MAX_HEIGHT_M,
    }


def avoidance_parameters() -> dict[str, Any]:
    """The parameters of `avoidance_node`."""
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
    """The command line that gives `avoidance_node` what the camera has seen."""
    names = ('scan', 'seen_free')
    return [word for name in names for word in ('-r', f'{name}:={CAMERA}/{name}')]


# --- What is asked of a drive: how many worlds, which depth, how long, how fast.


class DriveError(Exception):
    """Driving cannot go on; the text says why, with the last words of who is to blame."""


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """`depth`: exact (disturbed) or model. Worlds are `seed`, `seed` + 1 and so on."""

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

    @property
    def seeds(self) -> range:
        """The worlds."""
        return range(self.seed, self.seed + self.worlds)


# --- What a plan means for the three nodes: as parameters over DDS, as settings in one process.

NODES: dict[str, type] = {
    'synthetic_camera': SyntheticCameraSettings,
    'depth_node': DepthNodeSettings,
    'avoidance_node': AvoidanceSettings,
}


def node_parameters(plan: DrivePlan) -> dict[str, dict[str, Any]]:
    """The parameters that the nodes of a drive are given, by the name of the node."""
    exact = plan.depth == 'exact'
    return {
        'synthetic_camera': camera_parameters(exact, plan.rate_hz)
        | {'robot.world': plan.worlds_are},
        'depth_node': depth_parameters(plan.rate_hz, '' if exact else plan.model),
        'avoidance_node': avoidance_parameters(),
    }


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """What the nodes of a drive read of their parameters."""

    camera: SyntheticCameraSettings
    depth: DepthNodeSettings
    avoidance: AvoidanceSettings


def node_settings(plan: DrivePlan) -> NodeSettings:
    """The same for what does without the nodes."""
    given = node_parameters(plan)
    return NodeSettings(*(build(kind, given[name]) for name, kind in NODES.items()))


# --- What came of driving: per world, and of all of them in one object for --json.


@dataclasses.dataclass(frozen=True)
class WorldResult:
    """One world driven with avoidance and, unless it was left out, without."""

    seed: int
    kind: str
    avoiding: DriveOutcome | None
    blind: DriveOutcome | None


def summary(results: Sequence[WorldResult], **facts: Any) -> dict[str, Any]:
    """The object of --json. A drive ends at its first collision, so these count worlds.

    Values of drives that were not made are None.
    """
    avoiding = [each.avoiding for each in results if each.avoiding is not None]
    blind = [each.blind for each in results if each.blind is not None]
    return {
        'worlds': len(results),
        'collisions': sum(t.collisions > 0 for t in avoiding) if avoiding else None,
        'collisions_without_avoidance': sum(t.collisions > 0 for t in blind) if blind else None,
        'distance_m': round(sum(t.distance_m for t in avoiding), 2) if avoiding else None,
        'distance_without_avoidance_m': (
            round(sum(t.distance_m for t in blind), 2) if blind else None
        ),
        'min_clearance_m': (
            round(min(t.min_clearance_m for t in avoiding), 3) if avoiding else None
        ),
        'stops': sum(t.stops for t in avoiding) if avoiding else None,
        'seconds': round(sum(t.seconds for t in avoiding), 1) if avoiding else None,
        'collided': [r.seed for r in results if r.avoiding and r.avoiding.collisions],
        **facts,
    }


def described(seed: int, outcome: DriveOutcome, avoiding: bool) -> str:
    """One drive in a line."""
    end = 'collided' if outcome.collisions else 'no collision'
    how = 'with avoidance' if avoiding else 'blind'
    return (
        f'world {seed} {how}: {end} in {outcome.distance_m:.1f} m, {outcome.stops} stops, '
        f'clearance {outcome.min_clearance_m:.2f} m'
    )
