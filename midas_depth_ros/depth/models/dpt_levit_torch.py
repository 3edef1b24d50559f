"""The torch module of DPT-LeViT: LeViT under DPT's decoder.

It imports torch, so only `dpt.build` may import it. The attribute names are those of the official
checkpoints. Shapes in comments: B pictures, C channels, n patches, in rows of a square.

Source: Graham et al., "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from midas_depth_ros.depth.models.dpt import Levit
from midas_depth_ros.depth.models.dpt_parts import CLASSES, DECODER_CHANNELS
from midas_depth_ros.depth.models.dpt_torch import Decoder, head


class DptLevit(nn.Module):
    """(B, 3, H, W) float32 to (B, H, W) float32, at least 0; H and W are those of the `Levit`."""

    def __init__(self, size: Levit) -> None:
        super().__init__()
        self.pretrained = nn.ModuleDict({'model': Encoder(size)})
        self.scratch = LevitDecoder(size)

    def forward(self, picture: Tensor) -> Tensor:
        inverse_depth: Tensor = self.scratch(self.pretrained['model'](picture))
        return inverse_depth


class LevitDecoder(Decoder):
    """The finest features are at stride 16: two more steps up than in the other networks."""

    def __init__(self, size: Levit) -> None:
        super().__init__(size.channels, DECODER_CHANNELS)
        self.stem_transpose = nn.Sequential(*enlarging(size))
        self.output_conv = head(size.after[-1], size.head_hidden)

    def forward(self, features: list[Tensor]) -> Tensor:
        path = self.stem_transpose(self.joined(features))  # (B, 64, H/2, W/2)
        inverse_depth: Tensor = self.output_conv(path)
        return inverse_depth.squeeze(1)


def enlarging(size: Levit) -> Iterator[nn.Module]:
    before = DECODER_CHANNELS
    for wide in size.after:
        conv = nn.ConvTranspose2d(
            before, wide, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        yield Normed(conv, nn.BatchNorm2d(wide))
        yield nn.Hardswish()
        before = wide


class Normed(nn.Module):
    """A layer without bias, and the batch normalisation behind it."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.c, self.bn = layer, norm

    def forward(self, value: Tensor) -> Tensor:
        value = self.bn(self.c(value))
        return value


class NormedLinear(Normed):
    """The same for each of the tokens (B, n, C)."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__(nn.Linear(taken, given, bias=False), nn.BatchNorm1d(given))

    def forward(self, tokens: Tensor) -> Tensor:
        value = self.c(tokens)
        return self.bn(value.flatten(0, 1)).reshape(value.shape)


class Encoder(nn.Module):
    """Features of the three stages: (B, 384, 14, 14), (B, 512, 7, 7) and (B, 768, 4, 4)."""

    def __init__(self, size: Levit) -> None:
        super().__init__()
        self.sides = size.sides
        self.patch_embed = nn.Sequential(*stem(size))
        self.blocks = nn.ModuleList()
        self.tapped: list[int] = []  # places of the MLPs that give the features
        for stage, channels in enumerate(size.channels):
            if stage:
                self.blocks.extend((Subsampling(size, stage), Shortcut(mlp(channels))))
            self.tapped.append(len(self.blocks) + 2 * size.taps[stage] - 1)
            for _ in range(size.pairs[stage]):
                attention = Attention(channels, size.heads[stage], size.sides[stage], size)
                self.blocks.extend((Shortcut(attention), Shortcut(mlp(channels))))
        self.head, self.head_dist = Classifier(size), Classifier(size)  # unused

    def forward(self, picture: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(picture).flatten(2).transpose(1, 2)  # (B, n, C)
        found: list[Tensor] = []
        for place, block in enumerate(self.blocks[: self.tapped[-1] + 1]):
            tokens = block(tokens)
            if place in self.tapped:
                side = self.sides[len(found)]
                found.append(tokens.transpose(1, 2).unflatten(2, (side, side)))
        return found


def stem(size: Levit) -> Iterator[nn.Module]:
    """Four convolutions of stride 2."""
    before = 3
    for wide in size.stem:
        if before != 3:
            yield nn.Hardswish()
        conv = nn.Conv2d(before, wide, 3, stride=2, padding=1, bias=False)
        yield Normed(conv, nn.BatchNorm2d(wide))
        before = wide


class Shortcut(nn.Module):
    """What a layer gives is added to what it takes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.m = layer

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.m(tokens)
        return tokens


def mlp(channels: int) -> nn.Sequential:
    return nn.Sequential(
        NormedLinear(channels, 2 * channels), nn.Hardswish(), NormedLinear(2 * channels, channels)
    )


class Attention(nn.Module):
    """Every patch asks every patch; how far apart they are adds a bias."""

    index: Tensor

    def __init__(self, channels: int, heads: int, side: int, size: Levit) -> None:
        super().__init__()
        self.heads, self.parts = heads, (size.key, size.key, size.value)
        self.qkv = NormedLinear(channels, heads * sum(self.parts))
        self.proj = nn.Sequential(nn.Hardswish(), NormedLinear(heads * size.value, channels))
        self.attention_biases = nn.Parameter(torch.zeros(heads, side**2))
        self.register_buffer('index', distances(side, side), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = split(self.qkv(tokens), self.heads, self.parts)
        answer: Tensor = self.proj(mixed(query, key, value, self.attention_biases[:, self.index]))
        return answer


class Subsampling(nn.Module):
    """Every second patch of every second row asks every patch."""

    index: Tensor

    def __init__(self, size: Levit, stage: int) -> None:
        super().__init__()
        taken, given = size.channels[stage - 1], size.channels[stage]
        self.side = size.sides[stage - 1]
        self.heads, self.parts = taken // size.key, (size.key, 2 * size.value)
        self.kv = NormedLinear(taken, self.heads * sum(self.parts))
        self.q = nn.Sequential(nn.Identity(), NormedLinear(taken, self.heads * size.key))
        self.proj = nn.Sequential(nn.Hardswish(), NormedLinear(self.heads * 2 * size.value, given))
        self.attention_biases = nn.Parameter(torch.zeros(self.heads, self.side**2))
        index = distances(size.sides[stage], self.side)
        self.register_buffer('index', index, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        key, value = split(self.kv(tokens), self.heads, self.parts)
        rows = tokens.unflatten(1, (self.side, self.side))
        asking = rows[:, ::2, ::2].flatten(1, 2)
        (query,) = split(self.q(asking), self.heads, self.parts[:1])
        answer: Tensor = self.proj(mixed(query, key, value, self.attention_biases[:, self.index]))
        return answer


class Classifier(nn.Module):
    def __init__(self, size: Levit) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(size.channels[-1])
        self.l = nn.Linear(size.channels[-1], CLASSES)


def split(tokens: Tensor, heads: int, parts: tuple[int, ...]) -> tuple[Tensor, ...]:
    """(B, n, heads * sum(parts)) to (B, heads, n, part) for each of the parts."""
    return tokens.unflatten(2, (heads, sum(parts))).transpose(1, 2).split(parts, dim=3)


def mixed(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The values, mixed by how well key and query agree: (B, n, heads * part)."""
    likeness = query @ key.transpose(2, 3) * query.shape[3] ** -0.5 + bias
    return (likeness.softmax(dim=3) @ value).transpose(1, 2).flatten(2)


def distances(asking: int, asked: int) -> Tensor:
    """Which bias belongs to which two patches: (asking**2, asked**2) int64.

    The squares have `asking` and `asked` patches along a side; where the former are fewer, they are
    every second of the latter, in every second row. There is one bias for each distance down and
    right, without its sign.
    """
    step = 1 if asking == asked else 2
    apart = (step * torch.arange(asking)[:, None] - torch.arange(asked)).abs()
    index = asked * apart[:, None, :, None] + apart[None, :, None, :]
    return index.reshape(asking**2, asked**2)
