"""Model files in the field that are recognised by their SHA-256, and how each is to be used.

Sources: the repositories that publish these files, and public notes of their users; see
docs/model_files.md. Only files whose bytes are known stand here: names are reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGENET = {'range': 1, 'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}
INSIDE = {'range': 1, 'mean': 'none', 'std': 'none'}
# The rule of Depth Anything's official code; multiples of 14 are seen in the graph.
SHORT_518 = {
    'size_rule': 'short_side',
    'input_size': (518, 518),
    'multiple_of': 14,
    'resize': 'cubic',
    'enlarge': 'linear_corners',
}


@dataclass(frozen=True)
class KnownFile:
    """A file in the field. `fields`: as in `file_description.FIELDS`."""

    title: str
    fields: Mapping[str, Any]


KNOWN_FILES: Mapping[str, KnownFile] = {
    '2d8c6cb8f415229daf1eb041024208e2608c9f98e17c81cc7c6ecb449c56fd58': KnownFile(
        "MiDaS's own model-small.onnx of release v2_1 (not equal to its .pt file)",
        {'colour': 'rgb', **INSIDE, 'output_meaning': 'inverse_depth', 'resize': 'cubic'},
    ),
    '93d871071edff1218973ce25ee27ce95ccd20450c70a55e1b89efa3f5a772cdd': KnownFile(
        "MiDaS's own model_opt.tflite of release v2_1",
        {
            'colour': 'rgb',
            'range': 255,
            'mean': (115.0, 115.0, 115.0),
            'std': (58.0, 58.0, 58.0),
            'output_meaning': 'inverse_depth',
        },
    ),
    '46c4e8eeda3a27f34701831b6a2ec7753d7b38779b215acb5633424703deed8f': KnownFile(
        'depth_anything_v2_vits_dynamic.onnx of Depth-Anything-ONNX v2.0.0',
        {'colour': 'rgb', **IMAGENET, **SHORT_518, 'output_meaning': 'inverse_depth'},
    ),
    '2e25a3f332b34d885a1b3059cab471f7916a36099325810821b2d6e0471f74ad': KnownFile(
        'depth_anything_v2_vits_indoor_dynamic.onnx of Depth-Anything-ONNX v2.0.0',
        {
            'colour': 'rgb',
            **IMAGENET,
            **SHORT_518,
            'output_meaning': 'metres',
            'depth_range_m': (0.1, 20.0),
        },
    ),
    'afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c': KnownFile(
        'onnx/model.onnx of depth-anything-v2-small by onnx-community',
        {'colour': 'rgb', **IMAGENET, **SHORT_518, 'output_meaning': 'inverse_depth'},
    ),
    # Its normalisation is not recorded: it follows from the graph, or is assumed aloud.
    'dfc532a08f0ee34283d890d845e3824973f17240ad1d7eb617d9959ec8dc23c9': KnownFile(
        "fast_depth_256x320.onnx of PINTO's model zoo",
        {'colour': 'rgb', 'output_meaning': 'metres', 'depth_range_m': (0.1, 10.0)},
    ),
}
