"""Depth Anything under the names that the library transformers gives its weights.

In: the table of a `model.safetensors`, of shapes or of arrays, and the `config.json` beside it.
Out: the same under the official names. Query, key and value of an attention are one entry there.
The table does not say which network it is of: versions, and relative and metric files, share it.

Source: DepthAnythingForDepthEstimation and its configuration in transformers 4.57; compared with it
on random weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from midas_depth_ros.depth.errors import WeightsError
from midas_depth_ros.depth.files import read_file

Value = TypeVar('Value')

MARK = 'backbone.embeddings.'  # how some names begin
CONFIG = 'config.json'
MOST_CONFIG_BYTES = 1 << 20
LEVELS = 4  # of features; transformers counts the fusions from the coarsest
JOINED = ('query', 'key', 'value')  # in this order along the first axis
# Beginnings of names, and what the official ones are.
BLOCK, LAYERS = r'backbone\.encoder\.layer\.(\d+)\.', r'neck\.reassemble_stage\.layers\.(\d+)\.'
NAMES = (
    (r'backbone\.embeddings\.(cls_token|mask_token)', r'pretrained.\1'),
    (r'backbone\.embeddings\.position_embeddings', r'pretrained.pos_embed'),
    (r'backbone\.embeddings\.patch_embeddings\.projection\.', r'pretrained.patch_embed.proj.'),
    (r'backbone\.layernorm\.', r'pretrained.norm.'),
    (rf'{BLOCK}(norm1|norm2|mlp)\.', r'pretrained.blocks.\1.\2.'),
    (rf'{BLOCK}layer_scale(\d)\.lambda1', r'pretrained.blocks.\1.ls\2.gamma'),
    (rf'{BLOCK}attention\.attention\.(?:query|key|value)\.', r'pretrained.blocks.\1.attn.qkv.'),
    (rf'{BLOCK}attention\.output\.dense\.', r'pretrained.blocks.\1.attn.proj.'),
    (rf'{LAYERS}projection\.', r'depth_head.projects.\1.'),
    (rf'{LAYERS}resize\.', r'depth_head.resize_layers.\1.'),
    (r'head\.conv1\.', r'depth_head.scratch.output_conv1.'),
    (r'head\.conv2\.', r'depth_head.scratch.output_conv2.0.'),
    (r'head\.conv3\.', r'depth_head.scratch.output_conv2.2.'),
)
FUSION_PARTS = {
    'projection': 'out_conv',
    **{
        f'residual_layer{unit}.convolution{conv}': f'resConfUnit{unit}.conv{conv}'
        for unit in (1, 2)
        for conv in (1, 2)
    },
}


def is_of_transformers(table: Mapping[str, Any]) -> bool:
    """Whether the names are those of transformers."""
    return any(name.startswith(MARK) for name in table)


def official(
    table: Mapping[str, Value], joined: Callable[[Sequence[Value]], Value]
) -> dict[str, Value]:
    """The table under official names, if its names are those of transformers; else as it is.

    `joined` puts query, key and value together, along the first axis. Unknown names stay.
    """
    if not is_of_transformers(table):
        return dict(table)
    parts: dict[str, dict[str, Value]] = {}
    for name, value in table.items():
        part = next((each for each in JOINED if f'.attention.{each}.' in name), '')
        parts.setdefault(_official_name(name), {})[part] = value
    named = {}
    for name, values in parts.items():
        complete = set(values) == set(JOINED)
        named[name] = joined([values[each] for each in JOINED]) if complete else _first(values)
    return named


def joined_shapes(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of arrays that are put together along the first axis; () where they cannot be."""
    if not all(shapes) or len({shape[1:] for shape in shapes}) > 1:
        return ()
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _first(values: Mapping[str, Value]) -> Value:
    return next(iter(values.values()))


def _official_name(name: str) -> str:
    for pattern, replacement in NAMES:
        changed, count = re.subn(f'^{pattern}', replacement, name)
        if count:
            return changed
    if found := re.fullmatch(r'neck\.convs\.([0-3])\.weight', name):
        return f'depth_head.scratch.layer{int(found[1]) + 1}_rn.weight'
    found = re.fullmatch(r'neck\.fusion_stage\.layers\.([0-3])\.(.+)\.(weight|bias)', name)
    if found and found[2] in FUSION_PARTS:
        level = LEVELS - int(found[1])
        return f'depth_head.scratch.refinenet{level}.{FUSION_PARTS[found[2]]}.{found[3]}'
    return name


def config_beside(weights_file: Path) -> dict[str, Any] | None:
    """The `config.json` in the folder of a file; None where there is none that can be read."""
    try:
        config = json.loads(read_file(weights_file.with_name(CONFIG), MOST_CONFIG_BYTES))
    except (WeightsError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def is_config_of(config: Mapping[str, Any], taps: Sequence[int], farthest_m: float | None) -> bool:
    """Whether a `config.json` is of the network with these tapped blocks and this largest depth.

    `taps` are counted from 1; `farthest_m` is None for relative inverse depth.
    """
    backbone = config.get('backbone_config')
    if config.get('model_type') != 'depth_anything' or not isinstance(backbone, dict):
        return False
    tapped = backbone.get('out_indices') or [
        int(stage.removeprefix('stage'))
        for stage in backbone.get('out_features') or ()
        if isinstance(stage, str) and re.fullmatch(r'stage\d{1,3}', stage)
    ]
    kind = config.get('depth_estimation_type', 'relative')
    if tapped != list(taps) or kind != ('relative' if farthest_m is None else 'metric'):
        return False
    return farthest_m is None or config.get('max_depth') == farthest_m
