"""What a person looks at: heatmaps and the pictures that the demo and the README show.

NumPy, OpenCV and Pillow, and the options of a heatmap: this room imports neither ROS nor any room
but `options`.
"""

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.drawing import OptionError, PictureError, ValuesError, ViewError
from midas_depth_ros.views.guided import enlarge_along_edges
from midas_depth_ros.views.heatmap import COLORMAPS, Heatmap, colour_table, metric_heatmap
from midas_depth_ros.views.pictures import (
    closeness_bars,
    contact_sheet,
    encode_animation,
    one_above_other,
    side_by_side,
)

__all__ = [
    'COLORMAPS',
    'Heatmap',
    'HeatmapOptions',
    'OptionError',
    'PictureError',
    'ValuesError',
    'ViewError',
    'closeness_bars',
    'colour_table',
    'contact_sheet',
    'encode_animation',
    'enlarge_along_edges',
    'metric_heatmap',
    'one_above_other',
    'side_by_side',
]
