"""Guesses what the output of an unknown network means, or says why that cannot be told.

In: names, shapes and the last operation. Out: inverse depth or disparity, never depth or metres:
those are for somebody who knows. ReLU ends networks of both kinds, so that a guess is tested on
pictures afterwards (`model_check`).
"""

from __future__ import annotations

import re
from pathlib import Path

from midas_depth_ros.depth.graph_facts import GraphView
from midas_depth_ros.depth.onnx_reader import Value

# Inputs of published networks that give inverse depth: MiDaS, Depth Anything, this package.
INPUTS = ('0', 'image', 'pixel_values', 'network_input', 'picture')
SAYING = {'inverse_depth': 'inverse_depth', 'disparity': 'disparity', 'disp': 'disparity'}
# In the name of a file or an output: a network that gives metres or depth, or may do so.
OF_METRES = re.compile(
    r'metric|metres|meters|indoor|outdoor|hypersim|vkitti|kitti|nyu|fast_?depth|depth_?pro|zoe|'
    r'da3|anything[-_]?v?3|metric3d|unidepth|unik3d|lotus|marigold|adabins|lapdepth|distance',
    re.IGNORECASE,
)
# Further outputs of networks that give metres or depth.
BESIDE = re.compile(r'sky|normal|focal|confidence|conf\b|intrinsics|extrinsics', re.IGNORECASE)


def guessed_meaning(
    path: Path, graph: GraphView, source: Value, output: Value, layout: str, ending: str
) -> tuple[str, str]:
    """(inverse_depth, disparity or '', why). `ending`: as in `GraphFacts`."""
    others = [each.name for each in graph.outputs if each is not output]
    beside = next((name for name in others if BESIDE.search(name)), '')
    telling = next((n for n in (path.stem, output.name) if OF_METRES.search(n)), '')
    if layout == 'multi-view':
        return '', 'networks for several pictures usually give depth'
    if beside:
        return '', f'networks with an output {beside[:40]!r} usually give depth or metres'
    if telling:
        return '', f'{telling[:40]!r} sounds like a network that gives metres'
    if output.name in SAYING:
        return SAYING[output.name], f'its output is called {output.name}'
    if ending == 'Relu' and source.name in INPUTS:
        return 'inverse_depth', f'it ends in Relu and its input is called {source.name}'
    if ending == 'Sigmoid':
        return 'disparity', 'it ends in Sigmoid'
    if ending.startswith('Sigmoid times'):
        return '', f'it ends in {ending}, as networks do that give metres'
    if ending == 'Relu':
        return '', f'it ends in Relu, but its input {source.name[:40]!r} is not that of a known one'
    return '', f'it ends in {ending}' if ending else 'how it ends is unknown'
