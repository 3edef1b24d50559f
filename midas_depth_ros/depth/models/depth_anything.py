"""Depth Anything, versions 1 and 2: relative inverse depth, or metres indoors and outdoors.

DINOv2, a vision transformer with patches of 14 pixels, sees the picture; four of its blocks are
tapped and joined by DPT's decoder (`dpt_layers.py`). All variants share one network: they differ in
its width, in the blocks that are tapped, and in what the last layer's values mean.

Sources: Yang, Kang, Huang, Zhao, Xu, Feng, Zhao, "Depth Anything V2", NeurIPS 2024; Yang et al.,
"Depth Anything", CVPR 2024; Oquab et al., "DINOv2", TMLR 2024.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.dpt import (
    Transformer,
    decoder_shapes,
    transformer_shapes,
    weight_and_bias,
)
from midas_depth_ros.depth.models.spec import (
    Interpolation,
    ModelSpec,
    Output,
    PictureInput,
    Shape,
    Sizing,
)
from midas_depth_ros.depth.weights import WeightsFile

Value = TypeVar('Value')

# --- Its layers.

PATCH, GRID = 14, 37  # pixels along a patch, patches along the picture of training (518 pixels)
HEAD_HIDDEN = 32
# The resize of the position embedding: by the factor (patches + GRID_SURPLUS) / GRID, not to the
# number of patches, and by Keys' cubic with this coefficient.
GRID_SURPLUS = 0.1
CUBIC_COEFFICIENT = -0.75


@dataclass(frozen=True)
class Width:
    """How wide and how deep a network is; `channels` of the features at strides 3.5, 7, 14 and 28."""

    transformer: Transformer
    channels: tuple[int, int, int, int]
    decoder: int  # channels

    @property
    def resizing(self) -> dict[int, tuple[int, int]]:
        """Place in the decoder's list of resizing layers: (channels, kernel)."""
        finest, finer, _, coarsest = self.channels
        return {0: (finest, 4), 1: (finer, 2), 3: (coarsest, 3)}


def _transformer(channels: int, depth: int, heads: int) -> Transformer:
    return Transformer(channels, depth, heads, PATCH, GRID, layer_scale=True)


SMALL = Width(_transformer(384, depth=12, heads=6), (48, 96, 192, 384), decoder=64)
BASE = Width(_transformer(768, depth=12, heads=12), (96, 192, 384, 768), decoder=128)
LARGE = Width(_transformer(1024, depth=24, heads=16), (256, 512, 1024, 1024), decoder=256)


@dataclass(frozen=True)
class Network:
    """One of the networks. `taps`: the blocks, counted from 1, that the decoder takes.

    `most_m`: what the last layer's sigmoid is multiplied with, in metres; None where that layer
    gives relative inverse depth.
    """

    width: Width
    taps: tuple[int, int, int, int]
    most_m: float | None = None


def shapes(width: Width) -> dict[str, Shape]:
    """Every entry of the official state dict, and its shape."""
    return dict(_shapes(width))


def _shapes(width: Width) -> Iterator[tuple[str, Shape]]:
    wide, half = width.transformer.channels, width.decoder // 2
    yield 'pretrained.mask_token', (1, wide)  # of the training: unused
    yield from weight_and_bias('pretrained.patch_embed.proj', (wide, 3, PATCH, PATCH))
    yield from transformer_shapes('pretrained', width.transformer)
    for place, channels in enumerate(width.channels):
        yield from weight_and_bias(f'depth_head.projects.{place}', (channels, wide, 1, 1))
    for place, (channels, kernel) in width.resizing.items():
        name = f'depth_head.resize_layers.{place}'
        yield from weight_and_bias(name, (channels, channels, kernel, kernel))
    scratch = 'depth_head.scratch'
    yield from decoder_shapes(scratch, width.channels, width.decoder)
    yield from weight_and_bias(f'{scratch}.output_conv1', (half, width.decoder, 3, 3))
    yield from weight_and_bias(f'{scratch}.output_conv2.0', (HEAD_HIDDEN, half, 3, 3))
    yield from weight_and_bias(f'{scratch}.output_conv2.2', (1, HEAD_HIDDEN, 1, 1))


def rename(table: Mapping[str, Value]) -> dict[str, Value]:
    """An official state dict as the torch module loads it: as it is."""
    return dict(table)


# --- Its torch module.


def build(network: Network) -> Any:
    """The network, with random weights until a state dict is loaded; nothing is ever fetched.

    It takes (B, 3, H, W) float32, normalised, H and W multiples of 14, and gives (B, H, W) float32:
    relative inverse depth, at least 0, or metres. Its attribute names are those of the official
    checkpoint. Imports torch, and no other library.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from midas_depth_ros.depth.models.dpt_layers import (
        Decoder,
        PatchEmbedding,
        VisionTransformer,
    )

    width = network.width

    class DepthAnything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pretrained = Dinov2()
            self.depth_head = Head()

        def forward(self, picture: Tensor) -> Tensor:
            found: Tensor = self.depth_head(self.pretrained(picture), picture.shape[2:])
            if network.most_m is None:
                return F.relu(found).squeeze(1)  # (B, H, W)
            return network.most_m * torch.sigmoid(found).squeeze(1)

    class Dinov2(VisionTransformer):
        def __init__(self) -> None:
            super().__init__(width.transformer, PatchEmbedding(width.transformer))
            self.mask_token = nn.Parameter(torch.zeros(1, width.transformer.channels))

        def forward(self, picture: Tensor) -> list[Tensor]:
            """What the tapped blocks say of the patches: (B, C, H/14, W/14) each."""
            patches = self.patch_embed(picture)
            answers = self.answers(patches, self.positions(patches), network.taps)
            return [self.norm(each)[:, 1:].mT.reshape(patches.shape) for each in answers]

        def positions(self, patches: Tensor) -> Tensor:
            """The embedding of the positions, resized: (h w, C).

            Written as a product of matrices, because a resize by a factor that follows from the
            picture's size is fixed when a network is traced or exported.
            """
            rows = torch.arange(patches.shape[2], device=patches.device)
            columns = torch.arange(patches.shape[3], device=patches.device)
            # At the size of training nothing is resized.
            trained = (rows[-1] == GRID - 1) & (columns[-1] == GRID - 1)
            surplus = torch.where(trained, 0.0, GRID_SURPLUS)
            grid = self.embedding_grid()
            resized = cubic_resize(columns, surplus).to(grid) @ grid  # (GRID, w, C)
            resized = cubic_resize(rows, surplus).to(grid) @ resized.flatten(1)  # (h, w C)
            return resized.reshape(-1, grid.shape[2])

    def cubic_resize(places: Tensor, surplus: Tensor) -> Tensor:
        """The matrix (n, GRID) that resizes GRID values to the n places 0, 1, ..., n - 1.

        As torch does it: bicubic without antialiasing, corners not aligned, the outermost values
        repeated.
        """
        factor = (places[-1] + 1 + surplus) / GRID
        at = (places + 0.5) / factor - 0.5  # (n,) among the GRID values
        before = at.floor()
        columns = torch.arange(GRID, device=places.device)
        matrix = torch.zeros((), device=places.device)
        for step in (-1, 0, 1, 2):
            value = (before + step).clamp(0, GRID - 1)
            weight = cubic((at - before - step).abs())
            matrix = matrix + weight[:, None] * (value[:, None] == columns)
        return matrix

    def cubic(distance: Tensor) -> Tensor:
        """Keys' kernel, for distances from 0 to 2."""
        a = CUBIC_COEFFICIENT
        near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        return torch.where(distance <= 1, near, far)

    class Scratch(Decoder):
        def __init__(self) -> None:
            super().__init__(width.channels, width.decoder)
            half = width.decoder // 2
            self.output_conv1 = nn.Conv2d(width.decoder, half, 3, padding=1)
            self.output_conv2 = nn.Sequential(
                nn.Conv2d(half, HEAD_HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(HEAD_HIDDEN, 1, 1)
            )

        def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
            path = self.output_conv1(self.joined(features))
            # From 16/14 of the patches' 14 pixels straight to the picture's.
            path = F.interpolate(path, size=size, mode='bilinear', align_corners=True)
            found: Tensor = self.output_conv2(path)
            return found

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projects = nn.ModuleList(
                nn.Conv2d(width.transformer.channels, channels, 1) for channels in width.channels
            )
            finest, finer, _, coarsest = width.channels
            self.resize_layers = nn.ModuleList(
                (
                    nn.ConvTranspose2d(finest, finest, 4, stride=4),
                    nn.ConvTranspose2d(finer, finer, 2, stride=2),
                    nn.Identity(),
                    nn.Conv2d(coarsest, coarsest, 3, stride=2, padding=1),
                )
            )
            self.scratch = Scratch()

        def forward(self, answers: list[Tensor], size: torch.Size) -> Tensor:
            """(B, 1, H, W) for `size` (H, W), before the last activation."""
            layers = zip(answers, self.projects, self.resize_layers, strict=True)
            features = [resize(project(answer)) for answer, project, resize in layers]
            found: Tensor = self.scratch(features, size)
            return found

    return DepthAnything()
