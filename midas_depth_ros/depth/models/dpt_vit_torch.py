"""The torch module of DPT-Large and DPT-Hybrid: a vision transformer under DPT's decoder.

It imports torch, so only `dpt.build` may import it. The attribute names are those of the official
checkpoints. Comments say shapes as in `dpt_torch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas_depth_ros.depth.models.dpt import (
    RESIZING_KERNELS,
    RESNET_CHANNELS,
    RESNET_NARROWING,
    RESNET_STEM,
    TransformerEncoder,
)
from midas_depth_ros.depth.models.dpt_parts import CLASSES
from midas_depth_ros.depth.models.dpt_torch import (
    DepthDecoder,
    PatchEmbedding,
    VisionTransformer,
)

GROUPS = 32  # of a group normalisation
STANDARDISING_EPSILON = 1e-8  # that is added to the variance of a kernel


class Dpt(nn.Module):
    """(B, 3, H, W) float32, sides multiples of 32, to (B, H, W) float32, at least 0."""

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.pretrained = Features(encoder)
        self.scratch = DepthDecoder(encoder.channels)

    def forward(self, picture: Tensor) -> Tensor:
        inverse_depth: Tensor = self.scratch(self.pretrained(picture))
        return inverse_depth


class Features(nn.Module):
    """Features at strides 4, 8, 16 and 32: of the ResNet, if there is one, and of the blocks."""

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.taps = encoder.taps
        self.model = Encoder(encoder)
        self.resized = range(5 - len(encoder.taps), 5)
        for level in self.resized:
            resizing = Reassembly(
                encoder.transformer.channels, encoder.channels[level - 1], RESIZING_KERNELS[level]
            )
            self.add_module(f'act_postprocess{level}', resizing)

    def forward(self, picture: Tensor) -> list[Tensor]:
        patches, finer = self.model.patches(picture)
        answers = self.model.answers(patches, self.model.positions(patches), self.taps)
        for level, answer in zip(self.resized, answers, strict=True):
            finer.append(self.get_submodule(f'act_postprocess{level}')(answer, patches.shape))
        return finer


class Encoder(VisionTransformer):
    """The transformer, with or without a ResNet that makes its patches."""

    def __init__(self, encoder: TransformerEncoder) -> None:
        size = encoder.transformer
        embedding = HybridEmbedding(encoder) if encoder.resnet else PatchEmbedding(size)
        super().__init__(size, embedding)
        self.head = nn.Linear(size.channels, CLASSES)  # in the file, unused, as is the last norm

    def patches(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The patches (B, C, h, w), and the features of the strides that the ResNet serves."""
        if isinstance(self.patch_embed, HybridEmbedding):
            *finer, coarsest = self.patch_embed.backbone(picture)
            return self.patch_embed.proj(coarsest), finer
        return self.patch_embed(picture), []

    def positions(self, patches: Tensor) -> Tensor:
        """The embedding of the positions, resized: (h w, C)."""
        grid = self.embedding_grid().permute(2, 0, 1)[None]
        resized = F.interpolate(grid, patches.shape[2:], mode='bilinear', align_corners=False)
        return resized[0].flatten(1).T


class Reassembly(nn.ModuleDict):
    """Tokens become features again, and take the size of their stride.

    The class token is put into each of the others. `kernel`: see `RESIZING_KERNELS`.
    """

    def __init__(self, taken: int, channels: int, kernel: int | None) -> None:
        super().__init__({'0': ClassToken(taken), '3': nn.Conv2d(taken, channels, 1)})
        if kernel == 3:
            self['4'] = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        elif kernel:
            self['4'] = nn.ConvTranspose2d(channels, channels, kernel, stride=kernel)

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        features = self['0'](tokens).transpose(1, 2).reshape(size)  # (B, C, h, w)
        features = self['3'](features)
        return self['4'](features) if '4' in self else features


class ClassToken(nn.Module):
    """Each token, told the class token: (B, N, C) to (B, N - 1, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * channels, channels), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        places = tokens[:, 1:]
        told = torch.cat([places, tokens[:, :1].expand_as(places)], dim=2)
        answer: Tensor = self.project(told)
        return answer


# --- The ResNet of DPT-Hybrid: group norms, and convolutions whose kernels are standardised. Where
# a stride of 2 leaves an odd part of the padding, it lies behind, as TensorFlow does it.


class HybridEmbedding(nn.Module):
    """The ResNet's coarsest features as patches."""

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.backbone = ResNet(encoder.resnet)
        self.proj = nn.Conv2d(RESNET_CHANNELS[-1], encoder.transformer.channels, 1)


class ResNet(nn.Module):
    """Features at strides 4, 8 and 16: (B, 256, H/4, W/4), (B, 512, ...) and (B, 1024, ...)."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.ModuleDict(
            {
                'conv': StandardisedConv2d(3, RESNET_STEM, 7, stride=2),
                'norm': GroupNorm(RESNET_STEM),
            }
        )
        taken = (RESNET_STEM, *RESNET_CHANNELS)
        self.stages = nn.ModuleList(
            Stage(taken[place], wide, count, stride=2 if place else 1)
            for place, (wide, count) in enumerate(zip(RESNET_CHANNELS, blocks, strict=True))
        )

    def forward(self, picture: Tensor) -> list[Tensor]:
        value = F.relu(self.stem['norm'](self.stem['conv'](picture)))
        value = F.max_pool2d(F.pad(value, (0, 1, 0, 1)), 3, stride=2)  # 0 is the least of a ReLU
        found = []
        for stage in self.stages:
            value = stage(value)
            found.append(value)
        return found


class Stage(nn.Module):
    """Residual blocks, the first of which halves the size where `stride` is 2."""

    def __init__(self, taken: int, wide: int, count: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Bottleneck(taken, wide, stride), *(Bottleneck(wide, wide) for _ in range(count - 1))
        )

    def forward(self, value: Tensor) -> Tensor:
        value = self.blocks(value)
        return value


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut; the first of a stage has one in its shortcut, too."""

    def __init__(self, taken: int, wide: int, stride: int = 1) -> None:
        super().__init__()
        narrow = wide // RESNET_NARROWING
        self.downsample = None
        if taken != wide:
            shortcut = StandardisedConv2d(taken, wide, 1, stride)
            self.downsample = nn.ModuleDict({'conv': shortcut, 'norm': GroupNorm(wide)})
        self.conv1, self.norm1 = StandardisedConv2d(taken, narrow, 1), GroupNorm(narrow)
        self.conv2, self.norm2 = StandardisedConv2d(narrow, narrow, 3, stride), GroupNorm(narrow)
        self.conv3, self.norm3 = StandardisedConv2d(narrow, wide, 1), GroupNorm(wide)

    def forward(self, value: Tensor) -> Tensor:
        change = F.relu(self.norm1(self.conv1(value)))
        change = F.relu(self.norm2(self.conv2(change)))
        change = self.norm3(self.conv3(change))
        if self.downsample is not None:
            value = self.downsample['norm'](self.downsample['conv'](value))
        return F.relu(change + value)


class StandardisedConv2d(nn.Conv2d):
    """A convolution without bias; each of its kernels is brought to mean 0 and variance 1."""

    def __init__(self, taken: int, given: int, kernel: int, stride: int = 1) -> None:
        padding = max(kernel - stride, 0)
        super().__init__(taken, given, kernel, stride, padding // 2, bias=False)
        self.behind = padding % 2

    def forward(self, value: Tensor) -> Tensor:
        if self.behind:
            value = F.pad(value, (0, 1, 0, 1))
        # A batch norm over each kernel's numbers, because its rounding is the official network's:
        # mean and variance taken otherwise move the depth by 2e-4 of its spread.
        kernels = torch.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, None, None,
            training=True, momentum=0.0, eps=STANDARDISING_EPSILON, cudnn_enabled=False,
        ).reshape(self.weight.shape)  # fmt: skip
        return F.conv2d(value, kernels, stride=self.stride, padding=self.padding)


class GroupNorm(nn.GroupNorm):
    """Without the check of sizes that torch's has: tracing warns of it."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, value: Tensor) -> Tensor:
        # With the channels last, torch's rounding moves the depth by 9e-4 of its spread, else 1e-4.
        value = value.contiguous()
        return torch.group_norm(value, GROUPS, self.weight, self.bias, self.eps)
