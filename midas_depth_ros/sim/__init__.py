"""A simulated world with exact depth: scenes, furnished rooms, and a robot that drives in them."""

from collections.abc import Callable

from midas_depth_ros.sim.furnished.hazards import hazard_world
from midas_depth_ros.sim.furnished.world import furnished_world
from midas_depth_ros.sim.robot.plain_world import PlainWorld, moving_scene, plain_world
from midas_depth_ros.sim.robot.robot import (
    DrivenRobot,
    DriveOutcome,
    Motion,
    RobotModel,
    World,
)
from midas_depth_ros.sim.robot.uneven_world import UnevenWorld, uneven_world
from midas_depth_ros.sim.scene.render import Rendering, render
from midas_depth_ros.sim.scene.scene import (
    Box,
    Cylinder,
    Material,
    Pose,
    Room,
    Scene,
    SceneError,
    Sphere,
    Wedge,
)

WORLDS: dict[str, Callable[[int], World]] = {
    'plain': plain_world,
    'furnished': furnished_world,
    'uneven': uneven_world,
    'hazards': hazard_world,
}

__all__ = [
    'WORLDS',
    'Box',
    'Cylinder',
    'DriveOutcome',
    'DrivenRobot',
    'Material',
    'Motion',
    'PlainWorld',
    'Pose',
    'Rendering',
    'RobotModel',
    'Room',
    'Scene',
    'SceneError',
    'Sphere',
    'UnevenWorld',
    'Wedge',
    'World',
    'furnished_world',
    'hazard_world',
    'moving_scene',
    'plain_world',
    'render',
    'uneven_world',
]
