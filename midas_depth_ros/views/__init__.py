"""What a person looks at: heatmaps, pictures side by side, animations, a top view."""

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.drawing import ViewError
from midas_depth_ros.views.guided import enlarge_along_edges, enlarge_bilinearly
from midas_depth_ros.views.heatmap import (
    COLORMAPS,
    Heatmap,
    InverseScale,
    colour_table,
    metric_heatmap,
)
from midas_depth_ros.views.pictures import (
    contact_sheet,
    encode_animation,
    one_above_other,
    side_by_side,
)

__all__ = [
    'COLORMAPS',
    'Heatmap',
    'HeatmapOptions',
    'InverseScale',
    'ViewError',
    'colour_table',
    'contact_sheet',
    'encode_animation',
    'enlarge_along_edges',
    'enlarge_bilinearly',
    'metric_heatmap',
    'one_above_other',
    'side_by_side',
]
