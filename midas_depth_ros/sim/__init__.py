"""A procedural world with exact depth: scenes as data, a renderer, a scene that moves.

`render` draws simple scenes quickly, for moving pictures; `sample` draws furnished rooms, streets
and more, each from a seed, with shadows and a camera's faults, for training and measuring.
"""

from collections.abc import Callable

from midas_depth_ros.sim.drive_world import DriveWorld, drive_world
from midas_depth_ros.sim.furnished_world import FurnishedWorld, furnished_world
from midas_depth_ros.sim.moving import MovingScene, moving_scene
from midas_depth_ros.sim.render import Rendering, render
from midas_depth_ros.sim.robot import SCAN_HEIGHTS_M, DrivenRobot, Motion, RobotModel, Tally, World
from midas_depth_ros.sim.scene import Box, Cylinder, Material, Pose, Room, Scene, SceneError, Sphere
from midas_depth_ros.sim.world import KINDS, Sample, sample

WORLDS: dict[str, Callable[[int], World]] = {
    'plain': drive_world,
    'furnished': furnished_world,
}

__all__ = [
    'KINDS',
    'SCAN_HEIGHTS_M',
    'WORLDS',
    'Box',
    'Cylinder',
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
    'Sample',
    'Scene',
    'SceneError',
    'Sphere',
    'Tally',
    'World',
    'drive_world',
    'furnished_world',
    'moving_scene',
    'render',
    'sample',
]
