"""The parameters of depth_node that a browser may set, and how the page groups them.

A name that is not here cannot be set through the dashboard. Kind, bounds, choices and text come
from the node itself, by its parameter services.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from midas_depth_ros.web.errors import Refused


@dataclasses.dataclass(frozen=True)
class Control:
    """One parameter: its name, what the page calls it, and under which heading.

    step, low, high: of a slider, where the node has no bounds or too wide ones.
    """

    name: str
    label: str
    group: str
    step: float | None = None
    low: float | None = None
    high: float | None = None


CONTROLS = (
    Control('heatmap.colormap', 'Colours', 'Heatmap'),
    Control('heatmap.mode', 'Scale of colours', 'Heatmap'),
    Control('heatmap.overlay_alpha', 'Camera shines through', 'Heatmap', 0.05),
    Control('heatmap.smoothing', 'Smoothing', 'Heatmap', 0.5),
    Control('heatmap.percentile_low', 'Far colour at', 'Range', 0.5),
    Control('heatmap.percentile_high', 'Near colour at', 'Range', 0.5),
    Control('heatmap.range_time_constant', 'Range follows in', 'Range', 0.1, 0.0, 10.0),
    Control('heatmap.metric_near', 'Near colour at', 'Range in metres', 0.05, 0.1, 5.0),
    Control('heatmap.metric_far', 'Far colour at', 'Range in metres', 0.5, 1.0, 30.0),
    Control('max_rate', 'Frames per second', 'Work', 0.5, 0.0, 30.0),
    Control('jpeg_quality', 'JPEG quality', 'Work', 1),
    Control('camera_height', 'Height of the lens', 'Mounting', 0.01),
    Control('camera_pitch', 'Looks down by', 'Mounting', 0.005),
)
BY_NAME = {control.name: control for control in CONTROLS}


def check_value(name: str, value: Any) -> None:
    """Raise Refused unless this can be the value of a parameter; the node checks the rest."""
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise Refused(422, f'{name}: a value is a number, a text, true, false or null (unknown)')
    if isinstance(value, str) and len(value) > 200:
        raise Refused(422, f'{name}: the text is too long')
    if isinstance(value, str) and not value.isprintable():  # a ROS message takes no half characters
        raise Refused(422, f'{name}: the text has characters that cannot be written')
    too_large = isinstance(value, int) and abs(value) > 2**53
    if too_large or (isinstance(value, float) and not math.isfinite(value)):
        raise Refused(422, f'{name}: the number is too large')
