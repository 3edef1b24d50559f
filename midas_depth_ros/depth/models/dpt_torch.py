"""The torch layers that several depth networks share: a vision transformer, and DPT's decoder.

It imports torch, so only a model's `build` may import it. The attribute names are those of the
official checkpoints, so that these load strictly. Shapes in comments: B pictures, C channels,
(h, w) patches, N = 1 + h w tokens, of which the first is the class token.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Ranftl, Bochkovskiy,
Koltun, "Vision Transformers for Dense Prediction", ICCV 2021 (DPT).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas_depth_ros.depth.models.dpt_parts import DECODER_CHANNELS, HEAD_HIDDEN, Transformer

LAYER_NORM_EPSILON = 1e-6  # of the transformers; torch's default is 1e-5

# --- The vision transformer.


class Attention(nn.Module):
    """Every token asks every token."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        split = self.qkv(tokens).reshape(batch, count, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, C / heads) each
        mixed = F.scaled_dot_product_attention(query, key, value)
        answer: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, channels))
        return answer


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them, for each token alone."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        answer: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return answer


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention and MLP, each behind its norm and around a shortcut."""

    def __init__(self, size: Transformer) -> None:
        super().__init__()
        channels = size.channels
        self.norm1 = nn.LayerNorm(channels, eps=LAYER_NORM_EPSILON)
        self.attn = Attention(channels, size.heads)
        self.ls1 = LayerScale(channels) if size.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(channels, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(channels, 4 * channels)
        self.ls2 = LayerScale(channels) if size.layer_scale else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        tokens = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return tokens


class PatchEmbedding(nn.Module):
    """Each patch of the picture becomes a token."""

    def __init__(self, size: Transformer) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, size.channels, size.patch, stride=size.patch)

    def forward(self, picture: Tensor) -> Tensor:
        patches: Tensor = self.proj(picture)  # (B, C, h, w)
        return patches


class VisionTransformer(nn.Module):
    """The blocks, the class token and the embedding of the positions, learned on a square grid."""

    def __init__(self, size: Transformer, patch_embed: nn.Module) -> None:
        super().__init__()
        self.grid = size.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.grid**2, size.channels))
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.channels, eps=LAYER_NORM_EPSILON)

    def embedding_grid(self) -> Tensor:
        """The embedding of the positions without the class token's: (grid, grid, C)."""
        return self.pos_embed[0, 1:].unflatten(0, (self.grid, self.grid))

    def answers(self, patches: Tensor, positions: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """What the blocks `taps`, counted from 1, give: (B, N, C) each.

        Takes the patches as (B, C, h, w) and the embedding of their positions as (h w, C).
        """
        tokens = patches.flatten(2).transpose(1, 2) + positions
        first = (self.cls_token + self.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([first, tokens], dim=1)
        found = []
        for number, block in enumerate(self.blocks[: max(taps)], 1):
            tokens = block(tokens)
            if number in taps:
                found.append(tokens)
        return found


# --- The decoder.


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind its activation, around a shortcut.

    `rectified`: the shortcut carries what the first activation gives, not what it takes.
    """

    def __init__(self, channels: int, rectified: bool = False) -> None:
        super().__init__()
        self.rectified = rectified
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        active = F.relu(features)
        change: Tensor = self.conv2(F.relu(self.conv1(active)))
        return change + (active if self.rectified else features)


class Fusion(nn.Module):
    """Adds the features of one stride to the path from below, and enlarges it."""

    def __init__(self, channels: int, rectified: bool, mixed: bool) -> None:
        super().__init__()
        self.resConfUnit1 = ResidualUnit(channels, rectified)
        self.resConfUnit2 = ResidualUnit(channels, rectified)
        self.out_conv = nn.Conv2d(channels, channels, 1) if mixed else nn.Identity()

    def forward(self, path: Tensor | None, features: Tensor, size: torch.Size | None) -> Tensor:
        """To `size` (h, w), or to twice the size where there is none."""
        path = features if path is None else path + self.resConfUnit1(features)
        path = self.resConfUnit2(path)
        path = F.interpolate(
            path,
            size=size,
            scale_factor=None if size else 2,
            mode='bilinear',
            align_corners=True,
        )
        fused: Tensor = self.out_conv(path)
        return fused


class Decoder(nn.Module):
    """From features of three or four strides, finest first, to one map of `channels`.

    `taken` are the channels of the features. `rectified`: see `ResidualUnit`. `mixed`: each fusion
    ends in a 1x1 convolution.
    """

    def __init__(
        self, taken: Sequence[int], channels: int, rectified: bool = False, mixed: bool = True
    ) -> None:
        super().__init__()
        self.levels = range(1, len(taken) + 1)
        for level, count in zip(self.levels, taken, strict=True):
            narrow = nn.Conv2d(count, channels, 3, padding=1, bias=False)
            self.add_module(f'layer{level}_rn', narrow)
            self.add_module(f'refinenet{level}', Fusion(channels, rectified, mixed))

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """(B, channels, h, w), twice as large as the finest of the features."""
        narrowed = [
            self.get_submodule(f'layer{level}_rn')(each)
            for level, each in zip(self.levels, features, strict=True)
        ]
        sizes = [None, *(each.shape[2:] for each in narrowed)]
        path: Tensor | None = None
        for level in reversed(self.levels):
            fusion = self.get_submodule(f'refinenet{level}')
            path = fusion(path, narrowed[level - 1], sizes[level - 1])
        assert path is not None
        return path


class DepthDecoder(Decoder):
    """The same, and a head that gives one value per pixel, at least 0: (B, H, W).

    `corners`: whether they are aligned in the head's enlargement.
    """

    def __init__(
        self,
        taken: Sequence[int],
        corners: bool = True,
        rectified: bool = False,
        mixed: bool = True,
    ) -> None:
        super().__init__(taken, DECODER_CHANNELS, rectified, mixed)
        self.output_conv = head(DECODER_CHANNELS, HEAD_HIDDEN, corners)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        inverse_depth: Tensor = self.output_conv(self.joined(features))
        return inverse_depth.squeeze(1)


def head(channels: int, hidden: int, corners: bool = True) -> nn.Sequential:
    """(B, channels, h, w) to (B, 1, 2 h, 2 w), at least 0."""
    half = channels // 2
    return nn.Sequential(
        nn.Conv2d(channels, half, 3, padding=1),
        nn.Upsample(scale_factor=2, mode='bilinear', align_corners=corners),
        nn.Conv2d(half, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, 1, 1),
        nn.ReLU(),
    )
