"""How a network is to be used, in the words that stand in files: metadata, YAML, parameters.

In: a network of the package. Out: a table for the metadata of an exported file, from which
`file_description` makes the same network again.
"""

from __future__ import annotations

import math
from typing import Any

from midas_depth_ros.depth.models.spec import Enlargement, Interpolation, Network, Output, Sizing

MEANINGS = {
    'inverse_depth': Output.RELATIVE_INVERSE_DEPTH,
    'disparity': Output.DISPARITY,
    'depth': Output.RELATIVE_DEPTH,
    'metres': Output.METRIC_DEPTH,
}
SIZE_RULES = {
    'stretch': Sizing.STRETCH,
    'fit': Sizing.FIT,
    'short_side': Sizing.COVER,
    'long_side': Sizing.FIT,  # of a square
    'nearest_scale': Sizing.NEAREST_SCALE,
    'letterbox': Sizing.LETTERBOX,
}
RESIZES = {
    'cubic': Interpolation.CUBIC,
    'linear': Interpolation.LINEAR,
    'area': Interpolation.AREA,
    'cubic_float64': Interpolation.CUBIC_FLOAT64,
    'lanczos': Interpolation.LANCZOS,
}
ENLARGEMENTS = {
    'cubic': Enlargement.CUBIC,
    'linear': Enlargement.LINEAR,
    'linear_corners': Enlargement.LINEAR_CORNERS,
}


def usage_of(network: Network) -> dict[str, Any]:
    """What a file has to say of a network, as a table for JSON."""
    picture = network.picture
    inside = not any(picture.mean) and set(picture.std) == {1.0}
    usage: dict[str, Any] = {
        'input_size': list(picture.size),
        'multiple_of': picture.multiple,
        'size_rule': _word(SIZE_RULES, picture.sizing),
        'colour': 'bgr' if picture.bgr else 'rgb',
        'range': 1,
        'mean': 'none' if inside else list(picture.mean),
        'std': 'none' if inside else list(picture.std),
        'resize': _word(RESIZES, picture.interpolation),
        'enlarge': _word(ENLARGEMENTS, network.enlargement),
        'output_meaning': _word(MEANINGS, network.output),
    }
    if math.isfinite(picture.most_aspect):
        usage['most_aspect'] = picture.most_aspect
    if network.depth_range_m is not None:
        usage['depth_range_m'] = list(network.depth_range_m)
    if network.focal_reference_px is not None:
        usage['focal_reference'] = network.focal_reference_px
    return usage


def _word(words: dict[str, Any], value: Any) -> str:
    return next(word for word, each in words.items() if each is value)
