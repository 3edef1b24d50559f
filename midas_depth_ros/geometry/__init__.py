"""Camera models, mounts and fits: from relative inverse depth to metres, obstacles and scans.

    GeometryError
    +-- CameraModelError        a calibration that is not valid or unsupported
    |   +-- Uncalibrated        the camera reports that it has no calibration (K[0] == 0)
    +-- MountError              a camera height or tilt that is not valid
    +-- InvalidInverseDepth     an array that is not valid relative inverse depth
    +-- InvalidReference        reference points or a transform that are not valid
    +-- InvalidOptions          options that contradict each other

Every text names the bad value and the remedy.
"""

from midas_depth_ros.geometry.agreement import Agreement
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
from midas_depth_ros.geometry.fusion import DepthFusion
from midas_depth_ros.geometry.ground_plane import fit_ground_plane, floor_mask
from midas_depth_ros.geometry.metric import MetricDepth, MetricFrame, ply_bytes, point_cloud
from midas_depth_ros.geometry.model_scale import (
    UNCALIBRATED,
    Comparison,
    FloorInView,
    ModelScale,
    compare_with_floor,
    compare_with_points,
    model_scale,
    mount_in_view,
)
from midas_depth_ros.geometry.mount import (
    CameraMount,
    MountError,
    MountEstimate,
    estimate_mount,
    median_estimate,
)
from midas_depth_ros.geometry.obstacles import (
    Obstacles,
    find_obstacles,
)
from midas_depth_ros.geometry.parallax import ParallaxScale
from midas_depth_ros.geometry.reference import (
    InvalidReference,
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
from midas_depth_ros.geometry.sigma import depth_sigma, enlarged_sigma, inverse_depth_sigma

__all__ = [
    'UNCALIBRATED',
    'Agreement',
    'Beams',
    'CameraModel',
    'CameraModelError',
    'CameraMount',
    'Closeness',
    'Comparison',
    'DepthFusion',
    'FloorInView',
    'GeometryError',
    'InvalidInverseDepth',
    'InvalidOptions',
    'InvalidReference',
    'MetricDepth',
    'MetricFrame',
    'ModelScale',
    'MountError',
    'MountEstimate',
    'Obstacles',
    'ParallaxScale',
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
    'compare_with_floor',
    'compare_with_points',
    'corridor_free_m',
    'depth_sigma',
    'enlarged_sigma',
    'estimate_mount',
    'find_obstacles',
    'fit_ground_plane',
    'fit_range',
    'fit_reference',
    'floor_mask',
    'inverse_depth_sigma',
    'laser_scan',
    'median_estimate',
    'model_scale',
    'mount_in_view',
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
