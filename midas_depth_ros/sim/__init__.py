"""A procedural world with exact depth: scenes as data, a renderer, a scene that moves."""

from midas_depth_ros.sim.moving_scene import MovingScene, moving_scene
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.render import Rendering, render
from midas_depth_ros.sim.scene import Box, Cylinder, Material, Room, Scene, SceneError, Sphere

__all__ = [
    'Box',
    'Cylinder',
    'Material',
    'MovingScene',
    'Pose',
    'Rendering',
    'Room',
    'Scene',
    'SceneError',
    'Sphere',
    'moving_scene',
    'render',
]
