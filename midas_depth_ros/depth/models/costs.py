"""How much arithmetic a network needs, by the size of its input: `ModelSpec.giga_operations`.

Counted on the torch modules, as published, by `python -m benchmarks.operations`, which also says
where a figure here is wrong. Of vision transformers it grows faster than the number of pixels, so
that no figure follows from another.
"""

from __future__ import annotations

from collections.abc import Mapping

Size = tuple[int, int]  # width, height of the network's input

_DEPTH_ANYTHING_SMALL = {
    (686, 518): 167.6,
    (518, 518): 115.3,
    (504, 378): 74.8,
    (336, 252): 28.9,
}
_BY_MODEL: dict[str, dict[Size, float]] = {
    'midas_small': {(256, 256): 9.19, (256, 192): 6.89, (256, 128): 4.60},
    'embedded': {(256, 192): 0.575},
    'zipdepth': {(512, 384): 7.79, (384, 384): 5.84, (320, 256): 3.24},
    'zipdepth_base': {(512, 384): 7.95, (384, 384): 5.96, (320, 256): 3.31},
    'depth_anything_v2_small': _DEPTH_ANYTHING_SMALL,
    'depth_anything_v2_metric_indoor_small': _DEPTH_ANYTHING_SMALL,
    'depth_anything_v2_metric_outdoor_small': _DEPTH_ANYTHING_SMALL,
    'depth_anything_v1_small': _DEPTH_ANYTHING_SMALL,
    'depth_anything_v2_base': {(686, 518): 533.9, (518, 518): 380.9, (224, 168): 45.2},
    'depth_anything_v2_large': {(686, 518): 1806.0, (518, 518): 1304.0, (224, 168): 161.2},
    'midas_v21_384': {(384, 288): 155.2, (384, 384): 206.9, (256, 192): 69.0},
    'dpt_large_384': {(512, 384): 702.8, (384, 384): 516.4, (256, 192): 165.3},
    'dpt_hybrid_384': {(512, 384): 345.7, (384, 384): 255.2, (256, 192): 82.5},
    'dpt_swin2_tiny_256': {(256, 256): 59.6},
    'dpt_levit_224': {(224, 224): 7.77},
    'monodepth2': {(640, 192): 16.0},
}


def giga_operations(model: str) -> Mapping[Size, float]:
    """GFLOP by input size of a model, by its name; empty where nobody has counted."""
    return _BY_MODEL.get(model, {})
