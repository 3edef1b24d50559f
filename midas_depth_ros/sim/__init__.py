"""A procedural world with exact depth: scenes as data, a renderer, a scene that moves.

`render` draws simple scenes quickly, for moving pictures; `sample` draws furnished rooms, streets
and more, each from a seed, with shadows and a camera's faults, for training and measuring.
"""

from midas_depth_ros.sim.moving_scene import MovingScene, moving_scene
from midas_depth_ros.sim.pose import Pose
from midas_depth_ros.sim.render import Rendering, render
from midas_depth_ros.sim.scene import Box, Cylinder, Material, Room, Scene, SceneError, Sphere
from midas_depth_ros.sim.world import KINDS, Sample, sample

__all__ = [
    'KINDS',
    'Box',
    'Cylinder',
    'Material',
    'MovingScene',
    'Pose',
    'Rendering',
    'Room',
    'Sample',
    'Scene',
    'SceneError',
    'Sphere',
    'moving_scene',
    'render',
    'sample',
]
