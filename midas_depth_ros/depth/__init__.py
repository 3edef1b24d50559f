"""Image to relative inverse depth. This subpackage never imports ROS, and torch only when it must.

Start at `load_estimator`; `errors` lists everything that can go wrong.
"""

from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.estimator import DepthEstimator, load_estimator

__all__ = ['DepthError', 'DepthEstimator', 'load_estimator']
