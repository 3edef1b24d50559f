"""ZipDepth: what it wants of a picture, its torch module, and its specifications.

It is small and made for processors without a GPU. `zipdepth_layers` describes the network, and
`zipdepth_graph` makes its ONNX graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.layers import add_torch_layers
from midas_depth_ros.depth.models.published import published
from midas_depth_ros.depth.models.spec import (
    Enlargement,
    Fingerprint,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Sizing,
)
from midas_depth_ros.depth.models.zipdepth_graph import INPUT, OUTPUT, zipdepth_onnx
from midas_depth_ros.depth.models.zipdepth_layers import (
    EXCHANGED,
    MEAN,
    NEIGHBOURS,
    PIXELS,
    POOLED,
    POOLING,
    STD,
    half_size_features,
    layers,
    zipdepth_shapes,
)
from midas_depth_ros.depth.weights_file import WeightsFile

MULTIPLE = 32  # of both sides: the coarsest stride
SHORT_SIDE = 384  # of the picture that the network sees, as its authors measured it

# --- Its torch module.


def build(convex: bool = False) -> Any:
    """The network with random weights until a state dict is loaded; imports torch.

    It takes (B, 3, H, W) float32 RGB, 0..1 (8-bit values / 255, nothing else), H and W even, and
    gives (B, H, W) float32 relative inverse depth, at least 0. Its names are the official ones.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class ZipDepth(nn.Module):
        mean: Tensor
        std: Tensor

        def __init__(self) -> None:
            super().__init__()
            add_torch_layers(self, layers(convex))
            for name, values in (('mean', MEAN), ('std', STD)):
                self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

        def forward(self, picture: Tensor) -> Tensor:
            do = Operations(self)
            features = half_size_features(do, picture)  # (B, 32, H/2, W/2)
            depth = do.layer('decoder.head_half')(features)  # (B, 1, H/2, W/2)
            enlarge = do.convex if convex else do.blended
            large: Tensor = F.relu(enlarge(depth, features))  # (B, 1, H, W)
            return large.squeeze(1)

    class Operations:
        """Carries out every operation of `half_size_features`, and the last doubling."""

        def __init__(self, network: ZipDepth) -> None:
            self.network, self.layer = network, network.get_submodule

        def colours(self, picture: Tensor) -> Tensor:
            return (picture - self.network.mean) / self.network.std

        def block(self, value: Tensor, name: str) -> Tensor:
            return F.relu(self.layer(f'{name}.bn')(self.layer(f'{name}.conv')(value)))

        def branched(self, value: Tensor, name: str) -> Tensor:
            total: Tensor = self.pair(value, f'{name}.branch_3x3', 0)
            total = total + self.pair(value, f'{name}.branch_1x1', 0)
            keeps_size = self.layer(f'{name}.branch_3x3.0').stride == (1, 1)
            return F.relu(total + value if keeps_size else total)

        def pair(self, value: Tensor, name: str, first: int) -> Tensor:
            """A convolution and the normalisation after it."""
            result: Tensor = self.layer(f'{name}.{first + 1}')(self.layer(f'{name}.{first}')(value))
            return result

        def looked_around(self, value: Tensor, name: str) -> Tensor:
            near, far = (self.layer(f'{name}.branch{dilation}')(value) for dilation in (1, 2))
            change: Tensor = self.layer(f'{name}.bn')(near + far)
            return value + change

        def gated_by_strips(self, value: Tensor, name: str) -> Tensor:
            strips = value.mean(3, keepdim=True) + value.mean(2, keepdim=True)
            return value * torch.sigmoid(self.pair(strips, f'{name}.gate_conv', 0))

        def gated_by_channel(self, value: Tensor, name: str) -> Tensor:
            whole = self.layer(f'{name}.fc.0')(F.adaptive_avg_pool2d(value, 1))
            return value * torch.sigmoid(self.layer(f'{name}.fc.2')(F.relu(whole)))

        def with_context(self, value: Tensor, name: str) -> Tensor:
            shares = self.layer(f'{name}.context_weight')(value).flatten(2)  # (B, 1, places)
            shares = torch.softmax(shares, 2)
            whole = (value.flatten(2) @ shares.transpose(1, 2)).unsqueeze(3)  # (B, C, 1, 1)
            whole = F.relu(self.pair(whole, f'{name}.transform', 0))
            change: Tensor = self.layer(f'{name}.transform.3')(whole)
            return value + change

        def pyramid(self, value: Tensor, name: str) -> Tensor:
            maps = [self.block(value, f'{name}.cv1')]
            while len(maps) < POOLED:
                maps.append(F.max_pool2d(maps[-1], POOLING, stride=1, padding=POOLING // 2))
            return self.block(torch.cat(maps, 1), f'{name}.cv2')

        def exchanged(self, fine: Tensor, coarse: Tensor, name: str) -> tuple[Tensor, Tensor]:
            up = self.layer(f'{name}.low_to_high')(coarse)
            up = F.interpolate(up, size=fine.shape[2:], mode='nearest')
            down = self.layer(f'{name}.high_to_low')(fine)
            height, width = coarse.shape[2:]
            down = F.adaptive_avg_pool2d(down, (height, width))
            return fine + up * EXCHANGED, coarse + down * EXCHANGED

        def fused(self, beside: Tensor, path: Tensor, name: str) -> Tensor:
            size = beside.shape[2:]
            path = F.interpolate(path, size=size, mode='bilinear', align_corners=False)
            total = self.layer(f'{name}.proj_high')(beside) + self.layer(f'{name}.proj_low')(path)
            return F.relu(self.layer(f'{name}.bn')(total))

        def blended(self, depth: Tensor, features: Tensor) -> Tensor:
            """Every place becomes 2 x 2 pixels, between sharp and smooth."""
            name = 'decoder.convex_up.where_conv'
            value = F.relu(self.pair(features, name, 0))
            value = self.layer(f'{name}.6')(F.relu(self.pair(value, name, 3)))
            sharpness = torch.sigmoid(doubled(value))
            sharp = F.interpolate(depth, scale_factor=2, mode='nearest')
            return sharpness * sharp + (1 - sharpness) * doubled(depth)

        def convex(self, depth: Tensor, features: Tensor) -> Tensor:
            """Every place becomes 2 x 2 pixels, each a mean of the 3 x 3 places around."""
            name = 'decoder.convex_up.mask_pred'
            shares = self.layer(f'{name}.3')(F.relu(self.pair(features, name, 0)))
            shares = shares.unflatten(1, (NEIGHBOURS, PIXELS))  # (B, 9, 4, H/2, W/2)
            shares = torch.softmax(shares, 1)
            places = F.unfold(F.pad(depth, (1, 1, 1, 1), mode='replicate'), 3)
            places = places.unflatten(2, depth.shape[2:]).unsqueeze(2)  # (B, 9, 1, H/2, W/2)
            return F.pixel_shuffle((shares * places).sum(1), 2)

    def doubled(value: Tensor) -> Tensor:
        return F.interpolate(value, scale_factor=2, mode='bilinear', align_corners=False)

    return ZipDepth()


def module() -> Any:
    """The bare torch module of ZipDepth."""
    return build()


def convex_module() -> Any:
    """The bare torch module of the network with convex upsampling."""
    return build(convex=True)


def rename(official: Mapping[str, Any]) -> dict[str, Any]:
    """The official state dict as the module takes it: as it is."""
    return dict(official)


# --- Its specifications. A size in bytes is published for neither file.
FOLDER = (
    'https://github.com/fabiotosi92/ZipDepth/raw/a302e5437bc58f15c4efd41d3e8222bf24f7d470/'
    'checkpoints'
)
PICTURE = PictureInput(
    (SHORT_SIDE, SHORT_SIDE), Sizing.COVER, multiple=MULTIPLE, interpolation=Interpolation.LINEAR
)
TAUGHT = 'ZipDepth was taught by Depth Anything V2 Large, whose weights are CC-BY-NC-4.0.'
SPEC = ModelSpec(
    name='zipdepth',
    title='ZipDepth',
    weights=WeightsFile(
        name='zipdepth_base_npu.pth',
        url=f'{FOLDER}/zipdepth_base_npu.pth',
        size=0,
        sha256='627c04fda584133ead4310074884a4a037061b4c01ba86e73e492ea30fab570d',
        licence='MIT',
    ),
    picture=PICTURE,
    output=Output.RELATIVE_INVERSE_DEPTH,
    shapes=zipdepth_shapes(),
    build=build,
    onnx=OnnxGraph(
        make=lambda weights, metadata: zipdepth_onnx(weights, metadata=metadata),
        picture=INPUT,
        depth=OUTPUT,
        known=(
            Fingerprint(
                '406f4cf7098de1a8df004e1120011da7d55078c19a068612ee61da5facea4818',
                '0ef3f1e53f726195',
            ),
        ),
        opencv=(5, 0),  # 4.6 takes no depth to space at a free size
    ),
    giga_operations=giga_operations('zipdepth'),
    published=published('zipdepth'),
    about=TAUGHT,
    enlargement=Enlargement.LINEAR_CORNERS,
)
CONVEX_SPEC = ModelSpec(
    name='zipdepth_base',
    title='ZipDepth with convex upsampling',
    weights=WeightsFile(
        name='zipdepth_base.pth',
        url=f'{FOLDER}/zipdepth_base.pth',
        size=0,
        sha256='a55910bb0b99c8c5e641cb9206e810b269690ad94e8a2ef08c827c4679391a65',
        licence='MIT',
    ),
    picture=PICTURE,
    output=Output.RELATIVE_INVERSE_DEPTH,
    shapes=zipdepth_shapes(convex=True),
    build=convex_module,
    onnx=OnnxGraph(
        make=lambda weights, metadata: zipdepth_onnx(weights, metadata=metadata, convex=True),
        picture=INPUT,
        depth=OUTPUT,
        known=(
            Fingerprint(
                '6f02c6572f258b07b8e4b46e98387895ef2f126b889836f66612d22eb56b967f',
                '5f723e6fd2c7a03a',
            ),
        ),
        opencv=(5, 0),  # 4.6 takes no integers
    ),
    giga_operations=giga_operations('zipdepth_base'),
    published=published('zipdepth_base'),
    about=TAUGHT,
    enlargement=Enlargement.LINEAR_CORNERS,
)
