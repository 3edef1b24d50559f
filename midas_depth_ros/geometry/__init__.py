"""From a camera's calibration and relative inverse depth to what they say about the world."""

from midas_depth_ros.geometry.camera_model import (
    CameraModel,
    CameraModelError,
    Uncalibrated,
    roll_pitch_yaw,
    turned,
    turned_axes,
    turned_points,
)
from midas_depth_ros.geometry.closeness import (
    Closeness,
    SteadyDepth,
    closeness,
    closeness_of_picture,
)
from midas_depth_ros.geometry.fitting import GeometryError, InvalidInverseDepth
from midas_depth_ros.geometry.ground_plane import GroundOptions, fit_ground_plane, floor_mask
from midas_depth_ros.geometry.metric import MetricDepth, MetricFrame, ply_bytes, point_cloud
from midas_depth_ros.geometry.mount import (
    CameraMount,
    MountError,
    MountEstimate,
    estimate_mount,
    middle_of,
)
from midas_depth_ros.geometry.obstacles import (
    ObstacleMemory,
    Obstacles,
    find_obstacles,
)
from midas_depth_ros.geometry.reference import (
    InvalidReference,
    ReferenceOptions,
    ReferencePoints,
    cloud_points,
    fit_range,
    fit_reference,
    range_points,
    scan_points,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift
from midas_depth_ros.geometry.scan import (
    Beams,
    InvalidOptions,
    Scan,
    corridor_free_m,
    laser_scan,
    scan_limits,
)
from midas_depth_ros.options.metric import MetricOptions, ObstacleOptions

__all__ = [
    'Beams',
    'CameraModel',
    'CameraModelError',
    'CameraMount',
    'Closeness',
    'GeometryError',
    'GroundOptions',
    'InvalidInverseDepth',
    'InvalidOptions',
    'InvalidReference',
    'MetricDepth',
    'MetricFrame',
    'MetricOptions',
    'MountError',
    'MountEstimate',
    'ObstacleMemory',
    'ObstacleOptions',
    'Obstacles',
    'ReferenceOptions',
    'ReferencePoints',
    'Refusal',
    'ScaleFilter',
    'ScaleShift',
    'Scan',
    'SteadyDepth',
    'Uncalibrated',
    'closeness',
    'closeness_of_picture',
    'cloud_points',
    'corridor_free_m',
    'estimate_mount',
    'find_obstacles',
    'fit_ground_plane',
    'fit_range',
    'fit_reference',
    'floor_mask',
    'laser_scan',
    'middle_of',
    'ply_bytes',
    'point_cloud',
    'range_points',
    'roll_pitch_yaw',
    'scan_limits',
    'scan_points',
    'turned',
    'turned_axes',
    'turned_points',
]
