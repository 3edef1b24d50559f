"""The ONNX graphs of DPT-Large and DPT-Hybrid, made from their state dicts as NumPy arrays.

They equal the torch modules in `dpt_vit_torch.py` to rounding; DPT-Hybrid makes much of that. Each
takes every size whose sides are multiples of 32.
"""

from __future__ import annotations

from midas_depth_ros.depth.models.dpt import RESIZING_KERNELS, TransformerEncoder
from midas_depth_ros.depth.models.dpt_resnet_graph import ResNetGraph
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.vit_graph import TransformerGraph

ENCODER = 'pretrained.model'
BILINEAR_REACH = 1
END = 2**62  # behind the last of an axis


class DptTransformerGraph(TransformerGraph, ResNetGraph):
    """The whole network: `network` adds it."""

    def __init__(self, weights: Weights, encoder: TransformerEncoder) -> None:
        super().__init__(weights, ENCODER, encoder.transformer)
        self.encoder = encoder

    def network(self, picture: str, depth: str) -> None:
        """From a picture (1, 3, H, W), normalised, to (1, 1, H, W)."""
        patches, features = self.patches(picture)
        sides = self.sides(patches, 'sides')
        positions = self.positions(sides, self.bilinear, BILINEAR_REACH)
        answers = self.answers(patches, positions, self.encoder.taps)
        levels = range(5 - len(answers), 5)
        features += [
            self.reassembled(answer, level, sides)
            for level, answer in zip(levels, answers, strict=True)
        ]
        self.head(self.decoder(features, 'scratch'), 'scratch.output_conv', depth)

    def patches(self, picture: str) -> tuple[str, list[str]]:
        """The patches (1, C, h, w), and the features of the strides that come before them."""
        name = f'{ENCODER}.patch_embed'
        if not self.encoder.resnet:
            return self.conv(picture, f'{name}.proj', self.size.patch), []
        *finer, coarsest = self.resnet(picture, f'{name}.backbone', self.encoder.resnet)
        return self.conv(coarsest, f'{name}.proj'), finer

    def bilinear(self, apart: str, name: str) -> str:
        return self.left(apart, name, 1)

    def reassembled(self, tokens: str, level: int, sides: str) -> str:
        """Tokens become features again, and take the size of their stride.

        The class token is put into each of the others: its part of that layer is the same for all.
        """
        name, wide = f'pretrained.act_postprocess{level}', self.size.channels
        first = self.sliced(tokens, f'{name}.first', 0, 1)
        places = self.sliced(tokens, f'{name}.places', 1, END)
        project = f'{name}.0.project.0'
        kernel, bias = self.entry(f'{project}.weight'), self.bias(project)
        told = self.matrix(first, f'{project}.first', kernel[:, wide:], bias)
        value = self.matrix(places, f'{project}.places', kernel[:, :wide], None)
        value = self.gelu(self.sum(value, told, project))
        value = self.linear(value, f'{name}.3')
        channels = self.encoder.channels[level - 1]
        value = self.features(value, f'{name}.features', sides, channels)
        side = RESIZING_KERNELS[level]
        if side is None:
            return value
        if side == 3:
            return self.conv(value, f'{name}.4', stride=2)
        return self.enlarged(value, f'{name}.4')
