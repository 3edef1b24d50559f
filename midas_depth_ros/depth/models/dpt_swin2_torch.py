"""The torch module of DPT-Swin2: Swin V2 under DPT's decoder.

It imports torch, so only `dpt.build` may import it. The attribute names are those of the official
checkpoints. Shapes in comments: B pictures, C channels, (h, w) patches, W windows, n patches of a
window.

Source: Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", CVPR 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas_depth_ros.depth.models.dpt import Swin
from midas_depth_ros.depth.models.dpt_parts import CLASSES
from midas_depth_ros.depth.models.dpt_torch import DepthDecoder, Mlp

LARGEST_SCALE = 100.0  # of the cosines before the softmax
LARGEST_BIAS = 16.0
LOGARITHM_RANGE = 8.0  # to which relative positions are stretched before their logarithm is taken
MASKED = -100.0  # what is added between patches that are no neighbours


class DptSwin(nn.Module):
    """(B, 3, H, W) float32 to (B, H, W) float32, at least 0; H and W are those of the `Swin`."""

    def __init__(self, size: Swin) -> None:
        super().__init__()
        self.pretrained = nn.ModuleDict({'model': Encoder(size)})
        self.scratch = DepthDecoder(size.channels)

    def forward(self, picture: Tensor) -> Tensor:
        inverse_depth: Tensor = self.scratch(self.pretrained['model'](picture))
        return inverse_depth


class Encoder(nn.Module):
    """Features at strides 4, 8, 16 and 32: what the last block of each stage gives."""

    def __init__(self, size: Swin) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(size)
        self.layers = nn.ModuleList(Stage(size, place) for place in range(len(size.channels)))
        self.norm = nn.LayerNorm(size.channels[-1])  # it and the classifier are unused
        self.head = nn.Linear(size.channels[-1], CLASSES)

    def forward(self, picture: Tensor) -> list[Tensor]:
        value, found = self.patch_embed(picture), []
        for stage in self.layers:
            features, value = stage(value)
            found.append(features.permute(0, 3, 1, 2))  # (B, C, h, w)
        return found


class PatchEmbedding(nn.Module):
    """Each patch of the picture becomes a vector: (B, 3, H, W) to (B, h, w, C)."""

    def __init__(self, size: Swin) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, size.channels[0], size.patch, stride=size.patch)
        self.norm = nn.LayerNorm(size.channels[0])

    def forward(self, picture: Tensor) -> Tensor:
        patches: Tensor = self.norm(self.proj(picture).permute(0, 2, 3, 1))
        return patches


class Stage(nn.Module):
    """Blocks at one stride, and the step to the next."""

    def __init__(self, size: Swin, place: int) -> None:
        super().__init__()
        count, channels = size.blocks[place], size.channels[place]
        self.blocks = nn.Sequential(*(Block(size, place, number) for number in range(count)))
        last = place + 1 == len(size.channels)
        self.downsample = nn.Identity() if last else Merging(channels)

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """What its last block gives, and what the next stage takes."""
        value = self.blocks(value)
        return value, self.downsample(value)


class Merging(nn.Module):
    """Four neighbours become one: (B, h, w, C) to (B, h/2, w/2, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, value: Tensor) -> Tensor:
        columns = torch.cat([value[:, 0::2], value[:, 1::2]], dim=3)
        merged: Tensor = self.reduction(torch.cat([columns[:, :, 0::2], columns[:, :, 1::2]], 3))
        merged = self.norm(merged)
        return merged


class Block(nn.Module):
    """Attention in windows, then an MLP, each with its norm behind it and around a shortcut."""

    def __init__(self, size: Swin, place: int, number: int) -> None:
        super().__init__()
        channels = size.channels[place]
        self.side, self.window = size.patches(place), size.window_of(place)
        self.shift = size.shift_of(place, number)
        self.attn = WindowAttention(size, place)
        self.norm1 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)
        self.norm2 = nn.LayerNorm(channels)
        mask = neighbourhood(self.side, self.window, self.shift) if self.shift else None
        self.register_buffer('mask', mask, persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        value = value + self.norm1(self.attended(value))
        value = value + self.norm2(self.mlp(value))
        return value

    def attended(self, value: Tensor) -> Tensor:
        """(B, h, w, C), each window of patches for itself."""
        if self.shift:
            value = value.roll((-self.shift, -self.shift), (1, 2))
        windows = into_windows(value, self.window)  # (B, W, n, C)
        value = from_windows(self.attn(windows, self.mask), self.side, self.window)
        return value.roll((self.shift, self.shift), (1, 2)) if self.shift else value


class WindowAttention(nn.Module):
    """Cosine attention between the patches of a window, with a bias by relative position."""

    def __init__(self, size: Swin, place: int) -> None:
        super().__init__()
        channels, self.heads = size.channels[place], size.heads[place]
        self.logit_scale = nn.Parameter(torch.full((self.heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, size.bias_hidden),
            nn.ReLU(),
            nn.Linear(size.bias_hidden, self.heads, bias=False),
        )
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(channels))  # keys have none
        self.v_bias = nn.Parameter(torch.zeros(channels))
        self.proj = nn.Linear(channels, channels)
        steps, index = relative_positions(size.window_of(place))
        self.register_buffer('steps', steps, persistent=False)
        self.register_buffer('index', index, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        batch, count, places, channels = windows.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        split = F.linear(windows, self.qkv.weight, bias)
        split = split.reshape(batch, count, places, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (B, W, heads, n, C / heads)
        scale = self.logit_scale.clamp(max=math.log(LARGEST_SCALE)).exp()
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        cosines = query @ key.transpose(3, 4)  # (B, W, heads, n, n)
        likeness = cosines * scale + self.bias()
        if mask is not None:
            likeness = likeness + mask
        mixed = (likeness.softmax(dim=-1) @ value).transpose(2, 3)
        answer: Tensor = self.proj(mixed.reshape(batch, count, places, channels))
        return answer

    def bias(self) -> Tensor:
        """What each patch of a window adds for each other one: (heads, n, n)."""
        table = self.cpb_mlp(self.steps)[self.index]  # (n, n, heads)
        return LARGEST_BIAS * torch.sigmoid(table).permute(2, 0, 1)


def relative_positions(window: int) -> tuple[Tensor, Tensor]:
    """The steps between two patches of a window, and which step leads from which to which.

    Steps are (m, 2) float32, down and right, on a logarithmic scale from -1 to 1 and a little
    beyond; the second is (n, n) int64, rows of the first.
    """
    counted = 2 * window - 1  # along a side: from -(window - 1) to window - 1
    side = torch.arange(counted) - (window - 1)
    stretched = LOGARITHM_RANGE * side / (window - 1)
    scale = stretched.sign() * torch.log2(stretched.abs() + 1) / math.log2(LOGARITHM_RANGE)
    steps = torch.stack(torch.meshgrid(scale, scale, indexing='ij'), dim=-1).flatten(0, 1)
    place = torch.arange(window)
    apart = place[:, None] - place + window - 1  # (window, window)
    index = counted * apart[:, None, :, None] + apart[None, :, None, :]
    return steps, index.reshape(window**2, window**2)


def neighbourhood(side: int, window: int, shift: int) -> Tensor:
    """(W, 1, n, n) float32: 0 between neighbours, else `MASKED`.

    Once the patches are rolled by `shift`, the last windows hold patches of both ends of the
    picture.
    """
    place = torch.arange(side)
    band = (place >= side - window).long() + (place >= side - shift).long()
    region = (3 * band[:, None] + band).reshape(1, side, side, 1)
    windows = into_windows(region, window)[0]  # (W, n, 1)
    return torch.where(windows == windows.transpose(1, 2), 0.0, MASKED)[:, None]


def into_windows(value: Tensor, window: int) -> Tensor:
    """(B, h, w, C) to (B, W, n, C)."""
    batch, high, wide, channels = value.shape
    split = value.reshape(batch, high // window, window, wide // window, window, channels)
    return split.transpose(2, 3).reshape(batch, -1, window**2, channels)


def from_windows(windows: Tensor, side: int, window: int) -> Tensor:
    """(B, W, n, C) to (B, side, side, C)."""
    batch, along = windows.shape[0], side // window
    split = windows.reshape(batch, along, along, window, window, -1)
    return split.transpose(2, 3).reshape(batch, side, side, -1)
