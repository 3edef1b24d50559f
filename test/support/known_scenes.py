"""Scenes with known near objects, for tests of what the depth of a model means.

They are drawn with the simple renderer, which the embedded model was not trained on.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Box, Material, Pose, Rendering, Room, Scene, render

WIDTH, HEIGHT = 320, 240
CAMERA = CameraModel.from_field_of_view(WIDTH, HEIGHT, 1.15)
POSE = Pose(0.0, 0.0, 0.35, 0.0, 0.12)
CARTON = Material((0.78, 0.58, 0.37), 'carton', (0.45, 0.45))
CRATE = Material((0.30, 0.42, 0.60), 'bricks', (0.8, 0.8))
FLOORS = {
    'tiles': Material((0.62, 0.62, 0.60), 'tiles', (0.8, 0.8)),
    'planks': Material((0.80, 0.58, 0.38), 'planks', (3.0, 1.5)),
    'plain': Material((0.45, 0.47, 0.50), 'plain', (1.0, 1.0)),
}
ROOM = Room(-1.0, 7.0, -2.0, 2.0, 2.6)
PAIRS = 20_000


def scene_of(*boxes: Box, floor: str = 'tiles') -> Scene:
    return Scene(FLOORS[floor], ROOM, boxes, haze_m=60.0)


def box(x: float, y: float, material: Material = CARTON, size: float = 0.45) -> Box:
    return Box(x, y, size, size, 0.55, 0.2, material=material)


def view(scene: Scene) -> Rendering:
    return render(scene, CAMERA, POSE)


def within(scene: Scene, index: int) -> np.ndarray:
    """(H, W) bool: where the solid of this index is seen."""
    others = tuple(solid for i, solid in enumerate(scene.solids) if i != index)
    without = view(dataclasses.replace(scene, solids=others)).depth_z
    return view(scene).depth_z < without - 1e-3


def order_kept(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of clearly different pixel pairs in `first` that `second` orders alike."""
    a, b = np.random.default_rng(0).integers(0, first.size, (2, PAIRS))
    difference = first.ravel()[a] - first.ravel()[b]
    clear = np.abs(difference) > 0.1 * np.ptp(first)
    return float(np.mean((difference * (second.ravel()[a] - second.ravel()[b]) > 0)[clear]))


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode('.jpg', rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)
