"""Camera models, mounts and fits: from relative inverse depth to metres, obstacles and scans.

    GeometryError
    +-- CameraModelError        a calibration that is not valid or unsupported
    |   +-- Uncalibrated        the camera reports that it has no calibration (K[0] == 0)
    +-- MountError              a camera height or tilt that is not valid
    +-- InvalidInverseDepth     an array that is not valid relative inverse depth
    +-- InvalidReference        reference points or a transform that are not valid
    +-- MarkerError             a marker dictionary that OpenCV does not have
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
from midas_depth_ros.geometry.distance_calibration import (
    DistanceFit,
    Measurement,
    added,
    corrected_field_of_view,
    corrected_mount,
    fit_distances,
    middle_inverse_depth,
    middle_ray,
    middle_value,
    steady_value,
)
from midas_depth_ros.geometry.driven_mount import (
    DrivenEstimate,
    DrivenMount,
    pitch_contradiction,
)
from midas_depth_ros.geometry.fitting import GeometryError, InvalidInverseDepth
from midas_depth_ros.geometry.floor_height import (
    FloorHeight,
    FloorPlane,
    fit_in_metres,
    floor_in_metres,
)
from midas_depth_ros.geometry.floor_motion import FloorMotion
from midas_depth_ros.geometry.fusion import DepthFusion
from midas_depth_ros.geometry.ground_plane import fit_ground_plane, floor_mask
from midas_depth_ros.geometry.lower_corners import LowerCorners, lower_corners
from midas_depth_ros.geometry.marker import (
    Marker,
    MarkerDetector,
    MarkerError,
    MarkerPose,
    MarkerScale,
    fit_markers,
    marker_pose,
)
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
from midas_depth_ros.geometry.motion import (
    STANDS_RAD,
    BodyPose,
    InvalidPose,
    MotionReset,
    PoseHistory,
    between,
    body_from_optical,
    camera_pose,
    moved_between,
    rotation_of,
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
from midas_depth_ros.geometry.parallax import Heading, ParallaxScale
from midas_depth_ros.geometry.reference import (
    InvalidReference,
    ReferencePoints,
    cloud_points,
    fit_range,
    fit_reference,
    range_points,
    scan_points,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift, depth_of_inverse
from midas_depth_ros.geometry.scan import (
    Beams,
    InvalidOptions,
    Scan,
    corridor_free_m,
    laser_scan,
    scan_limits,
    sides_begin_m,
)
from midas_depth_ros.geometry.sigma import depth_sigma, enlarged_sigma, inverse_depth_sigma
from midas_depth_ros.geometry.transforms import TransformFault, TransformTree

__all__ = [
    'STANDS_RAD',
    'UNCALIBRATED',
    'Agreement',
    'Beams',
    'BodyPose',
    'CameraModel',
    'CameraModelError',
    'CameraMount',
    'Closeness',
    'Comparison',
    'DepthFusion',
    'DistanceFit',
    'DrivenEstimate',
    'DrivenMount',
    'FloorHeight',
    'FloorInView',
    'FloorMotion',
    'FloorPlane',
    'GeometryError',
    'Heading',
    'InvalidInverseDepth',
    'InvalidOptions',
    'InvalidPose',
    'InvalidReference',
    'LowerCorners',
    'Marker',
    'MarkerDetector',
    'MarkerError',
    'MarkerPose',
    'MarkerScale',
    'Measurement',
    'MetricDepth',
    'MetricFrame',
    'ModelScale',
    'MotionReset',
    'MountError',
    'MountEstimate',
    'Obstacles',
    'ParallaxScale',
    'PoseHistory',
    'ReferencePoints',
    'Refusal',
    'ScaleFilter',
    'ScaleShift',
    'Scan',
    'SteadyDepth',
    'TransformFault',
    'TransformTree',
    'Uncalibrated',
    'added',
    'between',
    'body_from_optical',
    'camera_pose',
    'closeness',
    'closeness_of_picture',
    'cloud_points',
    'compare_with_floor',
    'compare_with_points',
    'corrected_field_of_view',
    'corrected_mount',
    'corridor_free_m',
    'depth_of_inverse',
    'depth_sigma',
    'enlarged_sigma',
    'estimate_mount',
    'find_obstacles',
    'fit_distances',
    'fit_ground_plane',
    'fit_in_metres',
    'fit_markers',
    'fit_range',
    'fit_reference',
    'floor_in_metres',
    'floor_mask',
    'inverse_depth_sigma',
    'laser_scan',
    'lower_corners',
    'marker_pose',
    'median_estimate',
    'middle_inverse_depth',
    'middle_ray',
    'middle_value',
    'model_scale',
    'mount_in_view',
    'moved_between',
    'pitch_contradiction',
    'ply_bytes',
    'point_cloud',
    'range_points',
    'roll_pitch_yaw',
    'rotation_of',
    'scan_limits',
    'scan_points',
    'sides_begin_m',
    'steady_value',
    'turned',
    'turned_axes',
    'turned_points',
]
