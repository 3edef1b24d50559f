"""The networks: a picture's worth of colours in, relative inverse depth out.

`MidasSmall` is MiDaS v2.1 small: EfficientNet-Lite3 (from timm) sees the picture at strides 4, 8,
16 and 32; a decoder of four fusion blocks climbs back from the coarsest to the finest, and a small
head gives one value per pixel. Its attribute names are those of the official checkpoint, so the
482 entries load strictly. `EmbeddedNet` is our own, small enough to ship: plain residual stages
down to stride 64, and a decoder of the same residual units.

Source: Ranftl, Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation:
Mixing Datasets for Zero-shot Cross-dataset Transfer", TPAMI 2022; release v2_1 of isl-org/MiDaS.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas_depth_ros.depth.models import embedded

# --- Imports timm where torch and torchvision were built apart.
#
# timm imports torchvision. Where torchvision was compiled against another torch (a CPU torch
# beside a CUDA torchvision, wheels of a Jetson), its compiled operators do not load and its import
# fails, although nothing that is used here needs them. This module then declares the two schemas
# that the import asks for, and only then; a torchvision that imports is left alone.

MISSING_OPERATORS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[Any] = []  # a torch Library takes its schemas with it when it is collected


def import_timm() -> ModuleType:
    """Import and return timm.

    Raises whatever the import raises for any other reason: ImportError where torch, torchvision
    or timm is not installed, OSError or RuntimeError where one of them is broken.
    """
    importlib.import_module('torch')
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::' not in str(error) or _declared:
            raise
        _declare_missing_operators()
        _forget('torchvision')
        importlib.import_module('torchvision')
    return importlib.import_module('timm')


def _declare_missing_operators() -> None:
    import torch

    library = torch.library.Library('torchvision', 'DEF')
    for schema in MISSING_OPERATORS:
        library.define(schema)
    _declared.append(library)


def _forget(package: str) -> None:
    """Drop what a failed import left behind, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        del sys.modules[name]


ENCODER = 'tf_efficientnet_lite3'
ENCODER_CHANNELS = (32, 48, 136, 384)
DECODER_CHANNELS = (64, 128, 256, 512)
HEAD_CHANNELS = 32

# EmbeddedNet
EMBEDDED_SIZE = embedded.SIZE  # it was trained to see this many pixels, and errs at others
EMBEDDED_CHANNELS = embedded.CHANNELS
EMBEDDED_BLOCKS = embedded.BLOCKS
EMBEDDED_DECODER_CHANNELS = embedded.DECODER_CHANNELS
EMBEDDED_STEM_KERNEL = embedded.STEM_KERNEL
EMBEDDED_STEM_STRIDE = embedded.STEM_STRIDE


class MidasSmall(nn.Module):
    """The network, with random weights until a state dict is loaded; nothing is ever fetched.

    `forward` takes (B, 3, H, W) float32, normalised as `preprocessing.preprocess` does, H and W
    multiples of 32, and gives (B, H, W) float32 relative inverse depth: larger = nearer, no unit,
    at least 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = Encoder()
        self.scratch = Decoder()

    def forward(self, picture: Tensor) -> Tensor:
        features = self.pretrained(picture)
        inverse_depth: Tensor = self.scratch(*features)  # (B, 1, H, W)
        return inverse_depth.squeeze(1)  # (B, H, W)


class Encoder(nn.Module):
    """EfficientNet-Lite3 cut into four stages, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        timm = import_timm()
        net = timm.create_model(ENCODER, features_only=True, pretrained=False)
        blocks = net.blocks
        # The checkpoint counts the activation after the first normalisation as entry 2; in timm
        # the normalisation contains it.
        self.layer1 = nn.Sequential(net.conv_stem, net.bn1, nn.Identity(), blocks[0], blocks[1])
        self.layer2 = nn.Sequential(blocks[2])
        self.layer3 = nn.Sequential(blocks[3], blocks[4])
        self.layer4 = nn.Sequential(blocks[5], blocks[6])

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at_4 = self.layer1(picture)  # (B, 32, H/4, W/4)
        at_8 = self.layer2(at_4)  # (B, 48, H/8, W/8)
        at_16 = self.layer3(at_8)  # (B, 136, H/16, W/16)
        at_32 = self.layer4(at_16)  # (B, 384, H/32, W/32)
        return at_4, at_8, at_16, at_32


class Decoder(nn.Module):
    """Four fusion blocks from stride 32 up to stride 2, and the head up to stride 1."""

    def __init__(self) -> None:
        super().__init__()
        c4, c8, c16, c32 = DECODER_CHANNELS
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(fine, wide, 3, padding=1, bias=False)
            for fine, wide in zip(ENCODER_CHANNELS, DECODER_CHANNELS, strict=True)
        )
        self.refinenet4 = Fusion(c32, c16)
        self.refinenet3 = Fusion(c16, c8)
        self.refinenet2 = Fusion(c8, c4)
        self.refinenet1 = Fusion(c4, c4)
        self.output_conv = nn.Sequential(
            nn.Conv2d(c4, HEAD_CHANNELS, 3, padding=1),
            nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False),
            nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HEAD_CHANNELS, 1, 1),
            nn.ReLU(),
        )

    def forward(self, at_4: Tensor, at_8: Tensor, at_16: Tensor, at_32: Tensor) -> Tensor:
        path = self.refinenet4(self.layer4_rn(at_32))  # (B, 256, H/16, W/16)
        path = self.refinenet3(path, self.layer3_rn(at_16))  # (B, 128, H/8, W/8)
        path = self.refinenet2(path, self.layer2_rn(at_8))  # (B, 64, H/4, W/4)
        path = self.refinenet1(path, self.layer1_rn(at_4))  # (B, 64, H/2, W/2)
        inverse_depth: Tensor = self.output_conv(path)  # (B, 1, H, W)
        return inverse_depth


class Fusion(nn.Module):
    """Adds the encoder's features of one stride to the path from below, and doubles the size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, out_channels, 1)
        self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)

    def forward(self, path: Tensor, features: Tensor | None = None) -> Tensor:
        if features is not None:
            path = path + self.resConfUnit1(features)
        path = self.resConfUnit2(path)
        path = F.interpolate(path, scale_factor=2, mode='bilinear', align_corners=True)
        fused: Tensor = self.out_conv(path)
        return fused


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind its activation, around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.conv1(F.relu(features))
        change = self.conv2(F.relu(change))
        return features + change


class HalfUnit(nn.Module):
    """One 3x3 convolution behind its activation, around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.conv(F.relu(features))
        return features + change


class EmbeddedNet(nn.Module):
    """The network that ships in the package, with random weights until a state dict is loaded.

    `forward` takes (B, 3, 192, 256) float32 RGB, 0..1 (8-bit values / 255, nothing else), and
    gives (B, 192, 256) float32 relative inverse depth: larger = nearer, no unit, at least 0.
    Plain residual stages down to stride 64, and a decoder back up to stride 4. It is told where in
    the picture it looks by row and column from -1 to 1, and what the whole picture is like by the
    mean of the coarsest features.
    """

    def __init__(self) -> None:
        super().__init__()
        wide, first = EMBEDDED_DECODER_CHANNELS, EMBEDDED_CHANNELS[0]
        self.stem = stem(first)
        self.place = nn.Conv2d(2, first, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(first)
        ins = (first, *EMBEDDED_CHANNELS[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                Block(before, channels, 1 if stage == 0 else 2),
                *(Block(channels, channels, 1) for _ in range(blocks - 1)),
            )
            for stage, (before, channels, blocks) in enumerate(
                zip(ins, EMBEDDED_CHANNELS, EMBEDDED_BLOCKS, strict=True)
            )
        )
        self.whole = nn.Conv2d(EMBEDDED_CHANNELS[-1], wide, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, wide, 1) for channels in EMBEDDED_CHANNELS)
        # The finest level is where most of the time goes: half a unit, and the head does the rest.
        self.refine = nn.ModuleList(
            ResidualUnit(wide) if stage else HalfUnit(wide)
            for stage in range(len(EMBEDDED_CHANNELS))
        )
        self.head = nn.Conv2d(wide, 4, 3, padding=1)  # the 2x2 pixels that one place becomes

    def forward(self, picture: Tensor) -> Tensor:
        half = F.relu(self.at_half_size(picture)).unsqueeze(1)  # (B, 1, H/2, W/2)
        inverse_depth: Tensor = doubled(half).squeeze(1)  # (B, H, W)
        return inverse_depth

    def at_half_size(self, picture: Tensor) -> Tensor:
        """(B, H/2, W/2), before what is below 0 is cut off: what training looks at."""
        features = self.stem(picture)  # (B, 32, H/4, W/4)
        places = self.place(coordinates(features))  # (1, 32, H/4, W/4)
        features = F.relu(self.stem_norm(features + places))
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        mean = F.adaptive_avg_pool2d(features, 1)  # (B, 192, 1, 1)
        path = self.refine[-1](self.lateral[-1](features) + self.whole(mean))  # (B, 32, H/64, W/64)
        for level in reversed(range(len(levels) - 1)):
            beside = self.lateral[level](levels[level])
            path = self.refine[level](resized(path, beside.shape[-2:]) + beside)
        half: Tensor = F.pixel_shuffle(self.head(F.relu(path)), 2)
        return half.squeeze(1)


def stem(channels: int) -> nn.Conv2d:
    """(B, 3, H, W) to (B, channels, H/4, W/4): every pixel is seen, most of them twice."""
    return nn.Conv2d(
        3, channels, EMBEDDED_STEM_KERNEL, stride=EMBEDDED_STEM_STRIDE, padding=1, bias=False
    )


def doubled(features: Tensor) -> Tensor:
    """Twice as high and wide, bilinear."""
    return F.interpolate(features, scale_factor=2, mode='bilinear', align_corners=False)


def resized(features: Tensor, size: torch.Size) -> Tensor:
    """As high and wide as `size`, bilinear; doubling, but for pictures that 64 does not divide."""
    return F.interpolate(features, size=size, mode='bilinear', align_corners=False)


def coordinates(features: Tensor) -> Tensor:
    """(1, 2, h, w) like (B, C, h, w): row and column, -1 at the first and 1 at the last."""
    height, width = features.shape[-2:]
    rows = torch.linspace(-1, 1, height).to(features).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width).to(features).view(1, 1, 1, width)
    whole = (1, 1, height, width)
    return torch.cat([rows.expand(whole), columns.expand(whole)], dim=1)


class Block(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut, which is one too where sizes differ."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        first = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
        second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.first, self.second = normalised(first, relu=True), normalised(second, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if channels != out_channels or stride != 1:
            short = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = normalised(short, relu=False)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.second(self.first(features)) + self.shortcut(features))


def normalised(convolution: nn.Conv2d, relu: bool) -> nn.Sequential:
    """The convolution, batch normalisation, and the activation if asked for."""
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(convolution.out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))
