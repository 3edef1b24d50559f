"""From a camera's calibration and relative inverse depth to what they say about the world."""

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.closeness import Closeness, closeness
from midas_depth_ros.geometry.errors import (
    CameraModelError,
    GeometryError,
    InvalidInverseDepth,
    Uncalibrated,
)

__all__ = [
    'CameraModel',
    'CameraModelError',
    'Closeness',
    'GeometryError',
    'InvalidInverseDepth',
    'Uncalibrated',
    'closeness',
]
