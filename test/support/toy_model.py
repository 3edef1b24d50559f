"""A model of a dozen lines, which gives metres: the brighter, the farther."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.models import ModelSpec, OnnxGraph, Output, PictureInput
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.weights_file import WeightsFile

NEAR_M, FAR_M = 0.5, 20.0


def graph(weights: Any, metadata: Any) -> bytes:
    """Depth in metres: a mean of the colours, and a number."""
    onnx = Graph()
    kernel = [onnx.weight(name, weights[name]) for name in ('mix.weight', 'mix.bias')]
    onnx.add('Conv', ['picture', *kernel], 'depth', kernel_shape=(1, 1))
    return onnx.to_bytes('picture', (1, 3, 60, 80), 'depth', (1, 1, 60, 80), metadata)


def torch_module() -> Any:
    from torch import nn

    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(3, 1, 1)

        def forward(self, picture: Any) -> Any:
            return self.mix(picture).squeeze(1)

    return Toy()


def toy_spec(folder: Path, weight: float = 2.0, bias: float = 1.0, **fields: Any) -> ModelSpec:
    """The toy, whose weights file is written into the folder: weight * (r + g + b) + bias metres.

    fields: others of its specification.
    """
    path = folder / 'toy.npz'
    np.savez(path, **{'mix.weight': np.full((1, 3, 1, 1), weight), 'mix.bias': np.full(1, bias)})
    spec = ModelSpec(
        name='toy',
        title='the toy',
        weights=WeightsFile(path.name, '', path.stat().st_size, sha256_of(path), licence='MIT'),
        picture=PictureInput((60, 80)),
        output=Output.METRIC_DEPTH,
        depth_range_m=(NEAR_M, FAR_M),
        shapes={'mix.weight': (1, 3, 1, 1), 'mix.bias': (1,)},
        build=torch_module,
        onnx=OnnxGraph(graph),
        shipped=path,
    )
    return dataclasses.replace(spec, **fields)


def picture_of(depth_z: np.ndarray, weight: float) -> np.ndarray:
    """(60, 80, 3) uint8: the picture of which the toy of this weight and no bias says `depth_z`.

    To within weight / 510 metres, and at most 3 * weight.
    """
    levels = np.rint(np.minimum(depth_z, 3 * weight) * 255 / weight).astype(np.int32)
    first = np.minimum(levels, 255)
    second = np.minimum(levels - first, 255)
    return np.stack([first, second, levels - first - second], axis=-1).astype(np.uint8)
