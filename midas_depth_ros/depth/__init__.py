"""Image to relative inverse depth. This subpackage never imports ROS, and torch only when it must.

Start at `load_estimator`; everything that can go wrong is drawn in `errors`.
"""

from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.estimator import DepthEstimator, load_estimator

__all__ = ['DepthError', 'DepthEstimator', 'load_estimator']
