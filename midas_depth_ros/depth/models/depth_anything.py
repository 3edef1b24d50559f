"""Depth Anything, versions 1 and 2: relative inverse depth, or metres indoors and outdoors.

DINOv2, a vision transformer with patches of 14 pixels, sees the picture; four of its blocks are
tapped and joined by DPT's decoder (`dpt_torch.py`). All variants share one network: they differ in
its width, in the blocks that are tapped, and in what the last layer's values mean.

Sources: Yang, Kang, Huang, Zhao, Xu, Feng, Zhao, "Depth Anything V2", NeurIPS 2024; Yang et al.,
"Depth Anything", CVPR 2024; Oquab et al., "DINOv2", TMLR 2024.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.dpt_parts import (
    Transformer,
    decoder_shapes,
    transformer_shapes,
    weight_and_bias,
)
from midas_depth_ros.depth.models.published import published
from midas_depth_ros.depth.models.spec import (
    Enlargement,
    Fingerprint,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Shape,
    Sizing,
    Weights,
)
from midas_depth_ros.depth.models.transformers_names import is_config_of
from midas_depth_ros.depth.weights_file import WeightsFile

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
    """How wide and deep a network is; `channels` of the features at strides 3.5, 7, 14 and 28.

    `kernels`: see `Fingerprint.convolutions`.
    """

    transformer: Transformer
    channels: tuple[int, int, int, int]
    decoder: int  # channels
    kernels: str

    @property
    def resizing(self) -> dict[int, tuple[int, int]]:
        """Place in the decoder's list of resizing layers: (channels, kernel)."""
        finest, finer, _, coarsest = self.channels
        return {0: (finest, 4), 1: (finer, 2), 3: (coarsest, 3)}


def _transformer(channels: int, depth: int, heads: int) -> Transformer:
    return Transformer(channels, depth, heads, PATCH, GRID, layer_scale=True)


SMALL = Width(
    _transformer(384, depth=12, heads=6),
    (48, 96, 192, 384),
    decoder=64,
    kernels='567e8ccf8cf34c90',
)
BASE = Width(
    _transformer(768, depth=12, heads=12),
    (96, 192, 384, 768),
    decoder=128,
    kernels='e0d4834f53fdd50e',
)
LARGE = Width(
    _transformer(1024, depth=24, heads=16),
    (256, 512, 1024, 1024),
    decoder=256,
    kernels='e59becee24abba26',
)


@dataclass(frozen=True)
class Network:
    """One of the networks. `taps`: the blocks, counted from 1, that the decoder takes.

    `graph`: see `Fingerprint.network`. `farthest_m`: what the last layer's sigmoid is multiplied
    with, in metres; None where that layer gives relative inverse depth.
    """

    title: str
    width: Width
    taps: tuple[int, int, int, int]
    weights: WeightsFile
    graph: str
    farthest_m: float | None = None
    about: str = ''
    domain: str = ''
    enlargement: Enlargement = Enlargement.LINEAR_CORNERS

    @property
    def node_short_side(self) -> int:
        """See `ModelSpec`."""
        return QUICK_SIDE if self.width is SMALL else LEAST_SIDE


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

    from midas_depth_ros.depth.models.dpt_torch import (
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
            if network.farthest_m is None:
                return F.relu(found).squeeze(1)  # (B, H, W)
            return network.farthest_m * torch.sigmoid(found).squeeze(1)

    class Dinov2(VisionTransformer):
        def __init__(self) -> None:
            super().__init__(width.transformer, PatchEmbedding(width.transformer))
            self.mask_token = nn.Parameter(torch.zeros(1, width.transformer.channels))

        def forward(self, picture: Tensor) -> list[Tensor]:
            """What the tapped blocks say of the patches: (B, C, H/14, W/14) each."""
            patches = self.patch_embed(picture)
            answers = self.answers(patches, self.positions(patches), network.taps)
            places = [self.norm(each)[:, 1:].transpose(1, 2) for each in answers]  # (B, C, h w)
            return [each.reshape(patches.shape) for each in places]

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
            value = cubic_resize(rows, surplus).to(grid) @ grid.flatten(1)  # (h, GRID C)
            value = value.unflatten(1, (GRID, -1)).transpose(0, 1).flatten(1)  # (GRID, h C)
            value = cubic_resize(columns, surplus).to(grid) @ value  # (w, h C)
            return value.unflatten(1, (-1, grid.shape[2])).transpose(0, 1).flatten(0, 1)

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
            # Straight from 8 values along a patch to its 14 pixels.
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


def onnx(network: Network, weights: Weights, metadata: Mapping[str, str]) -> bytes:
    """The network as an ONNX model; see `depth_anything_graph`."""
    from midas_depth_ros.depth.models.depth_anything_graph import depth_anything_onnx

    return depth_anything_onnx(network, weights, metadata=metadata)


# --- What it wants of a picture, and what becomes of its output.

SHORT_SIDE = 518  # pixels, of the pictures of training; any multiple of 14 will do
# On two cores, for a 4:3 picture: the small network takes 0.15 s at 252, the base one at 168, the
# large one four times as long; below, 12 patches would become too few.
QUICK_SIDE, LEAST_SIDE = 252, 168
NEAREST_M = 0.1  # below that no robot looks at a thing, and 1/Z grows without bounds

# --- The networks by name.

HUB = 'https://huggingface.co'
NON_COMMERCIAL = 'for non-commercial use only'
V2_TAPS, V1_TAPS = (3, 6, 9, 12), (9, 10, 11, 12)


def _twin(repository: str, revision: str, sha256: str) -> WeightsFile:
    """The same weights as the library transformers has them; all have as many bytes."""
    return WeightsFile(
        name='model.safetensors',
        url=f'{HUB}/depth-anything/{repository}/resolve/{revision}/model.safetensors',
        size=99_173_660,
        sha256=sha256,
        licence='Apache-2.0',
    )


NETWORKS = {
    'depth_anything_v2_small': Network(
        'Depth Anything V2 small',
        SMALL,
        V2_TAPS,
        WeightsFile(
            name='depth_anything_v2_vits.pth',
            url=f'{HUB}/depth-anything/Depth-Anything-V2-Small/resolve/'
            '03876f8651c73a60fe4c2c48294e09fcb6838fcf/depth_anything_v2_vits.pth',
            size=99_218_434,
            sha256='715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378',
            licence='Apache-2.0',
            twins=(
                _twin(
                    'Depth-Anything-V2-Small-hf',
                    '5426e4f0f36572d16453bbda7a8389317b1bef99',
                    '3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70',
                ),
            ),
        ),
        graph='00747a9c05560e8d5b376a85def345a599916d121c55258a4b11f83321a9d0f8',
    ),
    'depth_anything_v2_base': Network(
        'Depth Anything V2 base',
        BASE,
        V2_TAPS,
        WeightsFile(
            name='depth_anything_v2_vitb.pth',
            url=f'{HUB}/depth-anything/Depth-Anything-V2-Base/resolve/'
            'a4e71a6c2ce52fe50df0f212066b0d4a87be9b5e/depth_anything_v2_vitb.pth',
            size=389_961_218,
            sha256='0d2b7002e62d39d655571c371333340bd88f67ab95050c03591555aa05645328',
            licence='CC-BY-NC-4.0',
            restriction=NON_COMMERCIAL,
            must_be_accepted=True,
        ),
        graph='79ebcf323e9106b55a769195fd1305dfb91ebf909e7e3608c171959619bc6aa1',
    ),
    'depth_anything_v2_large': Network(
        'Depth Anything V2 large',
        LARGE,
        (5, 12, 18, 24),
        WeightsFile(
            name='depth_anything_v2_vitl.pth',
            url=f'{HUB}/depth-anything/Depth-Anything-V2-Large/resolve/'
            'cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9/depth_anything_v2_vitl.pth',
            size=1_341_395_338,
            sha256='a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345',
            licence='CC-BY-NC-4.0',
            restriction=NON_COMMERCIAL,
            must_be_accepted=True,
        ),
        graph='e727c3c535d4458579a19d682bf6c915a486f4ad34683339198b136632991a6f',
    ),
    'depth_anything_v2_metric_indoor_small': Network(
        'Depth Anything V2 small, metres indoors',
        SMALL,
        V2_TAPS,
        WeightsFile(
            name='depth_anything_v2_metric_hypersim_vits.pth',
            url=f'{HUB}/depth-anything/Depth-Anything-V2-Metric-Hypersim-Small/resolve/'
            '3bc65d4e14a6786a61acec16453c50e12bf5f338/depth_anything_v2_metric_hypersim_vits.pth',
            size=99_222_290,
            sha256='b782898d8a3e8be1f639de33837ed85e9b4b73e40f8f5e5cd99067588d722545',
            licence='Apache-2.0',
            twins=(
                _twin(
                    'Depth-Anything-V2-Metric-Indoor-Small-hf',
                    '8078d68a9c75a972131914f6afd0c1723be0da7f',
                    'e990eb82fbf11b05b7813261196a2b841bdcf5a05f64396724a8987fa90504a3',
                ),
            ),
        ),
        graph='c9d522ad5df6569c7a85e4613494ae45f632226c8c0480af2cf014547047d74f',
        farthest_m=20.0,
        about='Its metres were learned from rendered rooms (Hypersim), up to 20 m.',
        domain='indoors (rendered rooms, Hypersim)',
    ),
    'depth_anything_v2_metric_outdoor_small': Network(
        'Depth Anything V2 small, metres outdoors',
        SMALL,
        V2_TAPS,
        WeightsFile(
            name='depth_anything_v2_metric_vkitti_vits.pth',
            url=f'{HUB}/depth-anything/Depth-Anything-V2-Metric-VKITTI-Small/resolve/'
            'c725b8589bdf6ab04072cab74c0467830db80d6d/depth_anything_v2_metric_vkitti_vits.pth',
            size=99_221_808,
            sha256='9203e538d35255c90dda4b7fedb47ff33fe725497bcca3b1e53b3a65ee63f0cb',
            licence='Apache-2.0',
            twins=(
                _twin(
                    'Depth-Anything-V2-Metric-Outdoor-Small-hf',
                    'fd2c22027eaf20374204f14099b8341e1925ad39',
                    'ad065c77a7421ca55159a1f0db9433397a607690f2d76bb8a6fc54b1be7a3124',
                ),
            ),
        ),
        graph='57b56c700e954542fd0891749a603c4974516415be4ba05c4c810a6b73a25e02',
        farthest_m=80.0,
        about='Its metres were learned from rendered streets (Virtual KITTI), up to 80 m.',
        domain='outdoors (rendered streets, Virtual KITTI)',
    ),
    'depth_anything_v1_small': Network(
        'Depth Anything V1 small',
        SMALL,
        V1_TAPS,
        WeightsFile(
            name='depth_anything_vits14.pth',
            url=f'{HUB}/spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/'
            'depth_anything_vits14.pth',
            size=0,  # and its hash: not published
            sha256='',
            licence='Apache-2.0',
        ),
        graph='b95814ed955afd1fb5ccd4d19fdd4b4e0ff7bc4efe37cfe28900967c1b5f31be',
        enlargement=Enlargement.LINEAR,
    ),
}


def module(name: str) -> Any:
    """The torch module of a network by its name; see `build`."""
    return build(NETWORKS[name])


def spec(name: str) -> ModelSpec:
    """The specification of a network."""
    network = NETWORKS[name]
    metric = network.farthest_m is not None
    return ModelSpec(
        name=name,
        title=network.title,
        weights=network.weights,
        picture=PictureInput(
            (SHORT_SIDE, SHORT_SIDE),
            Sizing.COVER,
            multiple=PATCH,
            interpolation=Interpolation.CUBIC_FLOAT64,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        output=Output.METRIC_DEPTH if metric else Output.RELATIVE_INVERSE_DEPTH,
        shapes=shapes(network.width),
        build=functools.partial(build, network),
        onnx=OnnxGraph(
            functools.partial(onnx, network),
            known=(Fingerprint(network.graph, network.width.kernels),),
            opencv=None,  # it ends the process
        ),
        depth_range_m=(NEAREST_M, network.farthest_m) if network.farthest_m else None,
        about=f'{network.title}: {network.about}' if network.about else '',
        domain=network.domain,
        enlargement=network.enlargement,
        fits_config=functools.partial(
            is_config_of, taps=network.taps, farthest_m=network.farthest_m
        ),
        giga_operations=giga_operations(name),
        published=published(name),
        keys_tell=False,  # versions 1 and 2, relative and metric: all have the same
        node_short_side=network.node_short_side,
        slow_on_two_cores=network.width is not SMALL,
    )


SPECS = tuple(map(spec, NETWORKS))
