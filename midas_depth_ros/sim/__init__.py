"""A simulated world with exact depth: scenes, a furnished room, and a robot that drives in them."""

from collections.abc import Callable

from midas_depth_ros.sim.furnished.world import FurnishedWorld, furnished_world
from midas_depth_ros.sim.robot.plain_world import DriveWorld, MovingScene, drive_world, moving_scene
from midas_depth_ros.sim.robot.robot import (
    DrivenRobot,
    DriveOutcome,
    Motion,
    RobotModel,
    World,
)
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
)

WORLDS: dict[str, Callable[[int], World]] = {
    'plain': drive_world,
    'furnished': furnished_world,
}

__all__ = [
    'WORLDS',
    'Box',
    'Cylinder',
    'DriveOutcome',
    'DriveWorld',
    'DrivenRobot',
    'FurnishedWorld',
    'Material',
    'Motion',
    'MovingScene',
    'Pose',
    'Rendering',
    'RobotModel',
    'Room',
    'Scene',
    'SceneError',
    'Sphere',
    'World',
    'drive_world',
    'furnished_world',
    'moving_scene',
    'render',
]
